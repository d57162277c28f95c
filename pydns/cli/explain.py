"""The verb `explain`: what a client is told about a name now, in which names a pod looks for it, and why.

The answer comes from `pydns.serve.respond`, the code that answers clients. The reasons are `pydns.cli.reasons`'
business. Nobody is asked.
"""

import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dns.exception
import dns.rdatatype

from pydns.cli.output import fail, write_lines
from pydns.cli.reasons import Reply, Witness, type_text
from pydns.config.mistakes import Wanted
from pydns.config.texts import parse_namespace
from pydns.dns import name
from pydns.table.reader import Reader, TableError
from pydns.table.status import Status

_NDOTS = 5  # what the kubelet writes into a pod's resolv.conf
_MAX_RECORDS = 20  # that are printed
_QUIET_S = 5.0  # a controller publishes its status every second


class Wish(NamedTuple):
    """What is to be explained."""

    qname: bytes
    is_absolute: bool  # written with a final dot: no search list is applied
    qtype: int
    namespace: str  # of the pod that asks


def run(options: Namespace) -> int:
    """Print what the table has for a name. Return 0 if that is an answer of the type that was asked for."""
    try:
        wish = parse(options.name, options.type, options.namespace)
    except ValueError as error:
        return fail("explain", error, 2)
    try:
        has_answer, lines = explain(Path(options.state_dir), wish)
    except TableError as error:
        return fail("explain", error)
    write_lines(lines)
    return 0 if has_answer else 1


def parse(qname_text: str, qtype_text: str, namespace: str) -> Wish:
    """Read what was given on the command line. Raises `ValueError` that says which of it can't be meant, and why."""
    try:
        qname = name.from_text(qname_text.lower())
    except name.BadName as error:
        raise ValueError(f"NAME {qname_text!r}: {error}") from None
    try:
        qtype = dns.rdatatype.from_text(qtype_text)
    except (dns.exception.DNSException, ValueError):
        qtype = dns.rdatatype.NONE
    if qtype == dns.rdatatype.NONE or dns.rdatatype.is_metatype(qtype):
        raise ValueError(f"TYPE {qtype_text}: is not a type of records, such as A, SRV or TYPE65")
    if isinstance(parse_namespace(namespace), Wanted):
        raise ValueError(f"--namespace {namespace}: is not the name of a namespace")
    is_absolute = qname_text.endswith(".") and not qname_text.endswith("\\.")
    return Wish(qname, is_absolute, qtype, namespace)


def explain(state_dir: Path, wish: Wish) -> tuple[bool, list[str]]:
    """Return whether the table has an answer of the type, and what there is to say. Raises `TableError`."""
    reader = Reader(state_dir)
    with reader.transaction() as transaction:
        witness = Witness(reader, transaction)
        note = list(_note(witness.status))
        if wish.is_absolute:
            reply = witness.reply(wish.qname, wish.qtype)
            return reply.has_answer, [*_details(reply), *note]
        lines = list(_row("search", [f"as a pod in namespace {wish.namespace}, ndots:{_NDOTS}"]))
        for qname in _search_list(wish, witness.domain):
            if len(qname) > name.MAX_NAME:
                continue  # a resolver doesn't try it either
            reply = witness.reply(qname, wish.qtype)
            lines += _row("", [f"{name.to_text(qname)} {reply.said}: {'; '.join(reply.why or [reply.source])}"])
            if reply.has_answer:
                return True, [*lines, *_details(reply), *note]
        return False, [*lines, *note]


def _search_list(wish: Wish, domain: bytes) -> list[bytes]:
    """Return the names that a pod's resolver tries, in order, by the search list that the kubelet writes.

    What the node's own resolv.conf adds to that list, we don't know.
    """
    svc = name.from_labels(b"svc")[:-1] + domain
    suffixes = [name.from_labels(wish.namespace.encode())[:-1] + svc, svc, domain]
    listed = [wish.qname[:-1] + suffix for suffix in suffixes]
    dots = len(name.labels_of(wish.qname)) - 1
    return [*listed, wish.qname] if dots < _NDOTS else [wish.qname, *listed]


def _details(reply: Reply) -> Iterator[str]:
    records = reply.records[:_MAX_RECORDS]
    if len(reply.records) > _MAX_RECORDS:
        records.append(f"and {len(reply.records) - _MAX_RECORDS} more, see pydns dump")
    kept = "" if reply.kept_s is None else f", kept by clients for {reply.kept_s} s"
    yield from _row("question", [f"{name.to_text(reply.qname)} {type_text(reply.qtype)}"])
    yield from _row("reply", [reply.said + kept, *records])
    yield from _row("from", [reply.source])
    yield from _row("why", reply.why)


def _note(status: Status) -> Iterator[str]:
    silence_s = time.time() - status.time
    if status.time and silence_s > _QUIET_S:
        yield from _row("note", [f"pydns has said nothing for {silence_s:.0f} s: this is the table that it left"])


def _row(title: str, texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield f"{title:<9} {text}"
        title = ""
