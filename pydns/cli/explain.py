"""The verb `explain`: the reply for a name, the names that a pod would try, and the reasons.

The answer comes from the responder that answers clients, the reasons from `pydns.cli.reasons`. No query is sent.
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
from pydns.config import flags
from pydns.config.mistakes import ConfigError, Wanted, quote
from pydns.config.shapes import Mistakes
from pydns.config.texts import parse_domain
from pydns.dns import name
from pydns.table.reader import Reader, TableError
from pydns.table.status import Status

_NDOTS = 5  # as the kubelet writes it into a pod's resolv.conf
_MAX_RECORDS = 20  # that are printed
_QUIET_S = 5.0  # a controller publishes its status every second


class Wish(NamedTuple):
    """The question to explain."""

    qname: bytes
    is_absolute: bool  # written with a final dot: no search list is applied
    qtype: int
    namespace: str  # of the pod that looks up the name


def run(options: Namespace) -> int:
    """Print the explanation. Return 0 if the table has an answer of the type, 1 if not, 2 for an invalid question."""
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


def parse(qname_text: str, qtype_text: str, namespace_text: str) -> Wish:
    """Parse the command line. Raises `ValueError` with the invalid argument and what is wrong with it."""
    mistakes = Mistakes()
    namespace = flags.NAMESPACE.read(namespace_text, mistakes)
    qname = parse_domain(qname_text)
    if isinstance(qname, Wanted):
        raise ValueError(ConfigError("NAME", quote(qname_text), qname.text))
    qtype = _parse_type(qtype_text)
    if qtype is None:
        raise ValueError(ConfigError("TYPE", quote(qtype_text), "a type of records, such as A, SRV or TYPE65"))
    if mistakes:
        raise ValueError(mistakes[0])
    is_absolute = qname_text.endswith(".") and not qname_text.endswith("\\.")
    return Wish(qname, is_absolute, qtype, namespace)


def _parse_type(text: str) -> int | None:
    try:
        qtype = dns.rdatatype.from_text(text)
    except (dns.exception.DNSException, ValueError):
        return None
    return None if qtype == dns.rdatatype.NONE or dns.rdatatype.is_metatype(qtype) else qtype


def explain(state_dir: Path, wish: Wish) -> tuple[bool, list[str]]:
    """Return whether the table has an answer of the type, and the lines to print. Raises `TableError`."""
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
                continue  # resolvers don't try it either
            reply = witness.reply(qname, wish.qtype)
            lines += _row("", [f"{name.to_text(qname)} {reply.said}: {'; '.join(reply.why or [reply.source])}"])
            if reply.has_answer:
                return True, [*lines, *_details(reply), *note]
        return False, [*lines, *note]


def _search_list(wish: Wish, domain: bytes) -> list[bytes]:
    """Return the names that a pod's resolver tries, in order, with the search list that the kubelet writes.

    Domains that the node's own resolv.conf adds to that list are unknown here and left out.
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
    kept = "" if reply.kept_s is None else f", cached by clients for {reply.kept_s} s"
    yield from _row("question", [f"{name.to_text(reply.qname)} {type_text(reply.qtype)}"])
    yield from _row("reply", [reply.said + kept, *records])
    yield from _row("from", [reply.source])
    yield from _row("why", reply.why)


def _note(status: Status) -> Iterator[str]:
    silence_s = time.time() - status.time
    if status.time and silence_s > _QUIET_S:
        yield from _row("note", [f"pydns has reported nothing for {silence_s:.0f} s: the table may be out of date"])


def _row(title: str, texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield f"{title:<9} {text}"
        title = ""
