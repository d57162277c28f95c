"""The queries of a ring: what its records show about each query. Pure.

The worker keeps the replies as it sent them (`pydns.ring.layout`). This module reads them. Their names come from
clients and upstreams, so they may have any octets.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from pydns.dns.compiled import HEADER
from pydns.dns.message import OPT_HEAD, OPT_SIZE, Rcode, rcode_text
from pydns.dns.rrset import NS, type_text
from pydns.ring.layout import Origin, Record

_QR, _AA, _TC = 0x80, 0x04, 0x02  # bits of the third octet of a message
_OPCODE = 0x78


class Source(Enum):
    """Where an answer came from."""

    TABLE = "table"
    DENIAL = "denial"  # the answer table: there is no such name or record
    CACHE = "cache"
    STALE = "stale"
    UPSTREAM = "upstream"
    POLICY = "policy"  # a rule of the configuration
    PYDNS = "pydns"  # pydns itself failed or refused
    NOBODY = "nobody"  # there was no reply


class Facts(NamedTuple):
    """What a message shows."""

    qname: bytes  # as the client sent it; empty if the message has no valid question
    qtype: int
    rcode: int | None  # None: this is a query without a reply
    answers: int  # number of records in the answer section
    is_truncated: bool
    source: Source  # if the worker knows nothing more

    @property
    def is_denied(self) -> bool:
        """Whether the name doesn't exist, or has no records of the type."""
        return self.rcode == Rcode.NXDOMAIN or (self.rcode == 0 and not self.answers and not self.is_truncated)

    @property
    def result(self) -> str:
        """The rcode, but NODATA for NOERROR without records. "no reply" if there was none."""
        if self.rcode is None:
            return "no reply"
        return "NODATA" if self.rcode == 0 and self.is_denied else rcode_text(self.rcode)

    @property
    def type_text(self) -> str:
        """The type of the question as text."""
        return type_text(self.qtype) if self.qname else "-"


class Query(NamedTuple):
    """A query and its reply."""

    came: float  # seconds since 1970
    spent_s: float  # until the reply was sent; for a batch, until all of its replies were sent
    client: bytes  # octets of the IP address; zeros if it is not known
    is_stream: bool  # whether it came over TCP
    size: int  # octets of the reply, or of the query if there was no reply
    facts: Facts
    source: Source
    server: str  # the upstream that answered, or empty
    message: bytes  # the reply, or its first octets; or the query if there was no reply


def queries(records: Iterable[Record], offset_s: float, since: float = 0.0) -> Iterator[Query]:
    """Yield the queries in the order of the records. Leave out those that came before `since` (seconds since 1970)."""
    known: dict[bytes, Facts] = {}  # message without its id -> facts: most messages occur many times
    since -= offset_s
    for is_stream, turns, addresses, messages, lengths, origins, servers in records:
        at = 0
        for came, spent_s, count in turns:
            begin, at = at, at + count
            if came < since:
                continue
            for place in range(begin, at):
                message = messages[place]
                if not message:
                    continue
                facts = known.get(message[2:])
                if facts is None:
                    facts = known[message[2:]] = read(message)
                source = facts.source
                if origins[place] and facts.rcode is not None:
                    source = _SOURCES.get(origins[place], source)
                fields = (came + offset_s, spent_s, addresses[place], is_stream, lengths[place], facts, source)
                yield _new(Query, (*fields, servers[place], message))


def read(message: bytes) -> Facts:
    """Return what a message shows. Never raises an exception."""
    if len(message) < HEADER:
        return Facts(b"", 0, None, 0, False, Source.NOBODY)
    end = question_end(message)
    qname, qtype = (message[HEADER : end - 4], int.from_bytes(message[end - 4 : end - 2])) if end else (b"", 0)
    flags = message[2]
    if not flags & _QR:
        return Facts(qname, qtype, None, 0, False, Source.NOBODY)
    rcode, answers = message[3] & 15, int.from_bytes(message[6:8])
    if not rcode and end and message[6:10] == bytes(4):  # BADVERS, or a truncated answer without records
        opt = message[end : end + OPT_SIZE]
        if opt.startswith(OPT_HEAD) and len(opt) == OPT_SIZE:
            rcode = opt[5] << 4
    return Facts(qname, qtype, rcode, answers, bool(flags & _TC), _source(message, end, rcode, answers))


def _source(message: bytes, end: int, rcode: int, answers: int) -> Source:
    """Return where a reply came from that was sent at once."""
    if message[2] & _AA:
        return Source.DENIAL if rcode == Rcode.NXDOMAIN or (not rcode and not answers) else Source.TABLE
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN) or message[2] & _OPCODE:
        return Source.PYDNS
    return Source.TABLE if not answers and _is_referral(message, end) else Source.CACHE


def _is_referral(message: bytes, end: int) -> bool:
    """Return whether the first record after the question, at `end`, is a NS record in the authority section."""
    if not end or message[8:10] == b"\0\0":
        return False
    at = end
    while at < len(message) and 0 < message[at] < 0xC0:
        at += 1 + message[at]
    at += 2 if message[at : at + 1] >= b"\xc0" else 1
    return message[at : at + 2] == NS.to_bytes(2)


def question_end(message: bytes) -> int:
    """Return the offset after the question. Return 0 if there is no valid question."""
    if message[4:6] != b"\0\1":
        return 0
    at, size = HEADER, len(message)
    while at < size:
        length = message[at]
        if not length:
            return at + 5 if at + 5 <= size else 0
        if length > 63:
            return 0
        at += 1 + length
    return 0


_SOURCES: dict[int, Source] = {
    Origin.RULE: Source.POLICY,
    Origin.CACHE: Source.CACHE,
    Origin.STALE: Source.STALE,
    Origin.UPSTREAM: Source.UPSTREAM,
}
_new = tuple.__new__  # 0.15 µs faster than the constructor of a NamedTuple
