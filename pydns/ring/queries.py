"""The queries in a ring: what the records of the ring show about each query. Pure.

A worker keeps the replies as it sent them (`pydns.ring.layout`), and this module parses these replies. The names in
replies come from clients and upstreams, so a name may contain any octets.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from itertools import repeat
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import OPT_HEAD, OPT_SIZE, Rcode, rcode_text
from pydns.dns.rrset import NS, type_text
from pydns.ring.layout import Origin, Record

_QR, _AA, _TC = 0x80, 0x04, 0x02  # bits of the third octet of a message
_OPCODE = 0x78


class Source(Enum):
    """Where an answer came from."""

    TABLE = "table"
    DENIAL = "denial"  # the answer table, in which the name or its records are missing
    CACHE = "cache"
    STALE = "stale"
    UPSTREAM = "upstream"
    POLICY = "policy"  # a rule of the configuration
    PYDNS = "pydns"  # pydns itself, which failed or refused the query
    NOBODY = "nobody"  # no reply was sent


class Outcome(Enum):
    """What became of a query."""

    ANSWERED = "answered"
    DENIED = "denied"  # the reply is NXDOMAIN, or the name has no records of the type
    FAILED = "failed"  # the reply has another error code, or there was no reply


class Facts(NamedTuple):
    """What a message in a ring shows about a query."""

    qname: bytes  # as the client sent it; empty if the message has no valid question
    qtype: int
    rcode: int | None  # None if the query got no reply
    answers: int  # number of records in the answer section
    is_truncated: bool
    source: Source  # where the answer came from, as far as the message shows it
    outcome: Outcome

    @property
    def is_denied(self) -> bool:
        """Whether the name doesn't exist, or has no records of the type."""
        return self.outcome is Outcome.DENIED

    @property
    def result(self) -> str:
        """The rcode as text.

        The text is "NODATA" for a NOERROR without records, and "no reply" for a query without a reply.
        """
        if self.rcode is None:
            return "no reply"
        return "NODATA" if self.rcode == 0 and self.is_denied else rcode_text(self.rcode)

    @property
    def name_text(self) -> str:
        """The name of the question as text."""
        return name_text(self.qname)

    @property
    def type_text(self) -> str:
        """The type of the question as text."""
        return type_text(self.qtype) if self.qname else "-"


def name_text(qname: bytes) -> str:
    """Return the name of a question as text. Octets that could control a terminal are escaped."""
    return name.to_text(qname) if qname else "-"


class Query(NamedTuple):
    """A query and its reply."""

    came: float  # when the query came, in seconds since 1970
    spent_s: float  # seconds until the reply was sent; in a batch, until all replies of the batch were sent
    client: bytes  # the IP address of the client in octets; only zeros if the address is unknown
    is_stream: bool  # whether the query came over TCP
    size: int  # the length of the reply in octets, or of the query if there was no reply
    facts: Facts
    source: Source
    server: str  # the upstream that answered; empty if no upstream did
    message: bytes  # the reply, or its first octets; the query if there was no reply


def queries(records: Iterable[Record], offset_s: float, since: float = 0.0) -> list[Query]:
    """Return the queries in the order of the records.

    Queries that came before `since` (seconds since 1970) are left out.
    """
    known: dict[bytes, Facts] = {}  # message without its id -> facts; most messages occur many times
    found: list[Query] = []
    for is_stream, turns, addresses, messages, lengths, origins, servers in records:
        if max(turn.came for turn in turns) + offset_s < since:
            continue
        facts = [known.get(message[2:]) or _learn(known, message) for message in messages]
        # For a full ring, making columns takes half the time of a loop over the queries.
        came = [turn.came + offset_s for turn in turns for _ in range(turn.messages)]
        spent_s = [turn.spent_s for turn in turns for _ in range(turn.messages)]
        sources = list(map(_source_of, facts, origins)) if any(origins) else [each[5] for each in facts]
        rows = zip(
            came, spent_s, addresses, repeat(is_stream), lengths, facts, sources, servers, messages, strict=False
        )
        new = list(map(_new_query, rows))
        if b"" in messages or min(came) < since:
            new = [query for query in new if query.message and query.came >= since]
        found += new
    return found


def _learn(known: dict[bytes, Facts], message: bytes) -> Facts:
    facts = known[message[2:]] = read(message)
    return facts


def _source_of(facts: Facts, origin: int) -> Source:
    return facts.source if facts.rcode is None else _SOURCES.get(origin, facts.source)


def read(message: bytes) -> Facts:
    """Return the facts that a message shows. Never raises an exception."""
    if len(message) < HEADER:
        return Facts(b"", 0, None, 0, False, Source.NOBODY, Outcome.FAILED)
    end = question_end(message)
    qname, qtype = (message[HEADER : end - 4], int.from_bytes(message[end - 4 : end - 2])) if end else (b"", 0)
    flags = message[2]
    if not flags & _QR:
        return Facts(qname, qtype, None, 0, False, Source.NOBODY, Outcome.FAILED)
    rcode, answers = message[3] & 15, int.from_bytes(message[6:8])
    if not rcode and end and message[6:10] == bytes(4):  # the rcode may be BADVERS, with its upper bits in OPT
        opt = message[end : end + OPT_SIZE]
        if opt.startswith(OPT_HEAD) and len(opt) == OPT_SIZE:
            rcode = opt[5] << 4
    is_truncated, source = bool(flags & _TC), _source(message, end, rcode, answers)
    if rcode == Rcode.NXDOMAIN or not (rcode or answers or is_truncated):
        outcome = Outcome.DENIED
    else:
        outcome = Outcome.FAILED if rcode else Outcome.ANSWERED
    return _new(Facts, (qname, qtype, rcode, answers, is_truncated, source, outcome))


def _source(message: bytes, end: int, rcode: int, answers: int) -> Source:
    """Return the source of a reply, as far as the reply itself shows it."""
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
_new = tuple.__new__  # takes 0.15 µs less than the constructor of a NamedTuple
_new_query: Callable[[tuple[object, ...]], Query] = partial(_new, Query)
