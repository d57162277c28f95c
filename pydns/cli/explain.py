"""The verb `explain`: prints the reply for a name, the names that a pod would try, and the reasons.

The same responder that answers clients gives the answer. `pydns.cli.reasons` gives the reasons. With `--ask`,
`pydns.cli.ask` sends queries to the upstreams. Without it, no query is sent.
"""

import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import dns.exception
import dns.rdatatype
from msgspec import Struct

from pydns.cli.ask import ask
from pydns.cli.output import Colour, encode, fail, painted, write_lines
from pydns.cli.reasons import Reply, Witness, type_text
from pydns.config import flags
from pydns.config.mistakes import ConfigError, Wanted, quote
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.config.texts import REVERSE_TREES, parse_domain, parse_ip
from pydns.dns import name
from pydns.dns.message import Rcode
from pydns.table.reader import Reader, TableError
from pydns.table.status import Status

_NDOTS = 5  # the value that the kubelet writes into a pod's resolv.conf
_MAX_RECORDS = 20  # the largest number of records that are printed
_FAILURES = (Rcode.NXDOMAIN.name, Rcode.SERVFAIL.name, Rcode.REFUSED.name)
_QUIET_S = 5.0  # after this silence, a note is printed. The controller publishes its status every second


class Wish(NamedTuple):
    """The question to explain."""

    qname: bytes
    is_absolute: bool  # True: no search list is applied
    qtype: int
    namespace: str  # the namespace of the pod that looks up the name
    note: str = ""  # a note if only a part of the argument is the name
    client: bytes = b""  # the octets of the client's address; empty: a client without a class
    asks: bool = False  # True: upstreams are asked


class Answer(Struct, frozen=True, kw_only=True):
    """The reply to one question. `-o json` prints it, and docs/json.md describes it."""

    name: str
    type: str
    has_answer: bool
    reply: str
    reason: str | None  # the code of a reason in docs/reasons.md
    cached_s: int | None
    records: tuple[str, ...]
    source: str
    why: tuple[str, ...]
    asked: tuple[str, ...]  # what upstreams answered


class Explanation(Struct, frozen=True, kw_only=True):
    """The names that were tried until a name had an answer. `-o json` prints it, and docs/json.md describes it."""

    version: int = 1
    has_answer: bool
    search: str | None  # the namespace whose search list was applied
    tried: tuple[Answer, ...]
    notes: tuple[str, ...]


def run(options: Namespace) -> int:
    """Print the explanation. Return 0 if the table or an upstream has an answer of the type, otherwise 1.

    Invalid question: 2.
    """
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    client = flags.CLIENT.read(options.client, mistakes) if options.client is not None else b""
    asks = flags.ASK.read(options.ask, mistakes)
    if mistakes:
        return fail("explain", mistakes[0], 2)
    try:
        wish = parse(options.name, options.type, options.namespace)
    except ValueError as error:
        return fail("explain", error, 2)
    try:
        explanation = explain(Path(options.state_dir), wish._replace(client=client, asks=asks))
    except TableError as error:
        return fail("explain", error)
    write_lines([encode(explanation)] if output is OutputFormat.JSON else lines(explanation))
    return 0 if explanation.has_answer else 1


def parse(name_text: str, qtype_text: str, namespace_text: str) -> Wish:
    """Parse the command line. The default type is PTR for an address, and A for a name.

    Raises `ValueError`. The message contains the invalid argument and the reason.
    """
    mistakes = Mistakes()
    namespace = flags.NAMESPACE.read(namespace_text, mistakes)
    host = _host(name_text)
    note = "" if host == name_text else f"{quote(host)} is the host in {quote(name_text)}"
    address = parse_ip(host)
    is_address = not isinstance(address, Wanted)
    qname = parse_domain(host) if isinstance(address, Wanted) else name.reverse_name(address)
    if isinstance(qname, Wanted):
        raise ValueError(ConfigError("NAME", quote(name_text), qname.text))
    qtype = _parse_type(qtype_text or ("PTR" if is_address else "A"))
    if qtype is None:
        raise ValueError(ConfigError("TYPE", quote(qtype_text), "a type of records, such as A, SRV or TYPE65"))
    if mistakes:
        raise ValueError(mistakes[0])
    is_absolute = is_address or (host.endswith(".") and not host.endswith("\\."))
    return Wish(qname, is_absolute, qtype, namespace, note)


def _host(text: str) -> str:
    """Return the host of a URL or of HOST:PORT. Return any other text unchanged."""
    try:
        if "://" in text:
            return urlsplit(text).hostname or text
        host, colon, port = text.rpartition(":")
        if colon and port.isdecimal() and (":" not in host or host.startswith("[")):
            return host.removeprefix("[").removesuffix("]")
    except ValueError:  # an invalid URL such as http://[::1
        pass
    return text


def _parse_type(text: str) -> int | None:
    try:
        qtype = dns.rdatatype.from_text(text)
    except (dns.exception.DNSException, ValueError):
        return None
    return None if qtype == dns.rdatatype.NONE or dns.rdatatype.is_metatype(qtype) else qtype


def explain(state_dir: Path, wish: Wish) -> Explanation:
    """Return the names that a pod tries, each with its reply. Raises `TableError`."""
    return _explain(Reader(state_dir), wish)


def explain_pasted(reader: Reader, text: str, qtype_text: str, namespace: str, client: str) -> Explanation:
    """Return the explanation of a name for the console. Empty texts mean the defaults.

    Raises `ValueError` for an invalid question.
    """
    mistakes = Mistakes()
    address = flags.CLIENT.read(client, mistakes) if client else b""
    if mistakes:
        raise ValueError(mistakes[0])
    return _explain(reader, parse(text, qtype_text, namespace)._replace(client=address))


def _explain(reader: Reader, wish: Wish) -> Explanation:
    with reader.transaction() as transaction:
        witness = Witness(reader, transaction, wish.client)
        notes = [*filter(None, [wish.note, witness.client_text()])]
        is_whole = wish.is_absolute or _is_whole(wish.qname, witness.domain)
        if is_whole and not wish.is_absolute and _dots(wish.qname) < _NDOTS:
            notes.append("a pod tries the names of its search list first; a final dot spares it these queries")
        if witness.depends_on_client:
            notes.append("`acl` or `views` may give a client another answer; --client names one")
        tried = []
        for qname in [wish.qname] if is_whole else _search_list(wish, witness.domain):
            if len(qname) > name.MAX_NAME:
                continue  # resolvers skip names that are too long, too
            tried.append(_answer(witness.reply_to_client(qname, wish.qtype), asks=wish.asks))
            if tried[-1].has_answer:
                break
        return Explanation(
            has_answer=tried[-1].has_answer,
            search=None if is_whole else wish.namespace,
            tried=tuple(tried),
            notes=(*notes, *_age(witness.status)),
        )


def _answer(reply: Reply, *, asks: bool) -> Answer:
    asked = list(ask(reply.servers, reply.onward, reply.qtype)) if asks and reply.servers else []
    return Answer(
        name=name.to_text(reply.qname),
        type=type_text(reply.qtype),
        has_answer=reply.has_answer or any(each.has_answer for each in asked),
        reply=reply.said,
        reason=None if reply.reason is None else reply.reason.code,
        cached_s=reply.kept_s,
        records=tuple(reply.records),
        source=reply.source,
        why=tuple(reply.why),
        asked=tuple(each.text for each in asked),
    )


def _is_whole(qname: bytes, domain: bytes) -> bool:
    """Return whether a name is complete: it ends with the cluster domain or the domain of a reverse tree."""
    return any(name.is_at_or_below(qname, tree) for tree in (domain, *REVERSE_TREES))


def _dots(qname: bytes) -> int:
    return len(name.labels_of(qname)) - 1


def _search_list(wish: Wish, domain: bytes) -> list[bytes]:
    """Return the names that a pod's resolver tries, in order. The kubelet writes the search list.

    The node's resolv.conf can add domains to this list. These domains are unknown here, so they are left out.
    """
    svc = name.from_labels(b"svc")[:-1] + domain
    suffixes = [name.from_labels(wish.namespace.encode())[:-1] + svc, svc, domain]
    listed = [wish.qname[:-1] + suffix for suffix in suffixes]
    return [*listed, wish.qname] if _dots(wish.qname) < _NDOTS else [wish.qname, *listed]


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the explanation for people. Each tried name has a line. All details of the last name follow."""
    if explanation.search is not None:
        yield from _row("search", [f"as a pod in namespace {explanation.search}, ndots:{_NDOTS}"])
        for each in explanation.tried:
            yield from _row("", [f"{each.name} {_reply(each)}: {'; '.join(each.why or [each.source])}", *each.asked])
    if explanation.search is None or explanation.has_answer:
        yield from _details(explanation.tried[-1])
    yield from _row("note", explanation.notes)


def _details(answer: Answer) -> Iterator[str]:
    records = list(answer.records[:_MAX_RECORDS])
    if len(answer.records) > _MAX_RECORDS:
        records.append(f"and {len(answer.records) - _MAX_RECORDS} more, see pydns dump")
    kept = "" if answer.cached_s is None else f", cached by clients for {answer.cached_s} s"
    yield from _row("question", [f"{answer.name} {answer.type}"])
    yield from _row("reply", [_reply(answer) + kept, *records])
    yield from _row("from", [answer.source])
    yield from _row("why", [*answer.why, *answer.asked])


def _reply(answer: Answer) -> str:
    reason = "" if answer.reason is None else f" ({answer.reason})"
    if answer.reply in _FAILURES:
        return painted(answer.reply, Colour.RED) + reason
    return (painted(answer.reply, Colour.GREEN) if answer.has_answer else answer.reply) + reason


def _age(status: Status) -> Iterator[str]:
    silence_s = time.time() - status.time
    if status.time and silence_s > _QUIET_S:
        yield f"pydns has reported nothing for {silence_s:.0f} s: the table may be out of date"


def _row(title: str, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield f"{title:<9} {text}"
        title = ""
