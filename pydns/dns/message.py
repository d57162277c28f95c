"""Parses queries strictly, and composes replies (RFC 1035 section 4, RFC 6891).

Bytes from the network may be hostile. The parser makes one pass in linear time, and allocates little memory. The parser
follows no compression pointer, because no name comes before the question.

The left side of each line describes a message, and the right side is the reply of pydns. The RFCs require these
replies, and NSD and CoreDNS send the same.

    fewer than 12 octets, or QR set                      no reply, because a reply could start a loop
    opcode other than QUERY                              NOTIMP
    QDCOUNT other than 1; ANCOUNT, NSCOUNT > 1; ARCOUNT > 2     FORMERR
    a name with a pointer, a label over 63, a name over 255     FORMERR
    a record that is cut short, two OPTs, a broken OPT   FORMERR
    EDNS version other than 0                            BADVERS, with the version of pydns (RFC 6891 section 6.1.3)
    octets after the last record                         ignored
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.reason import EDE_OPTION, Reason
from pydns.dns.rrset import OPT, RRset

# The size that pydns advertises. Networks don't fragment packets of this size (DNS flag day 2020).
EDNS_SIZE: Final = 1232
OPT_HEAD: Final = b"\0\0\x29"  # the first octets of every OPT record: the root's name and the type (RFC 6891)
OPT_SIZE: Final = 11  # octets of an OPT record without options
_OPT_BEGIN: Final = OPT_HEAD + EDNS_SIZE.to_bytes(2)  # the first octets of an OPT record that pydns composes
PLAIN_SIZE: Final = 512  # the maximum size of a UDP reply without EDNS (RFC 1035 section 4.2.1)
TCP_SIZE: Final = 65535

# Bits of a header's second word (RFC 1035 section 4.1.1, RFC 4035 section 3.2).
QR: Final = 0x8000
AA: Final = 0x0400
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
_OPCODE: Final = 0x7800


class Rcode(IntEnum):
    """Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    YXDOMAIN = 6
    BADVERS = 16


class Edns(NamedTuple):
    """The content of a query's OPT record."""

    size: int
    dnssec_ok: bool
    version: int
    options: frozenset[int] = frozenset()  # the codes of the query's EDNS options


class Query(NamedTuple):
    """A well-formed query with one question."""

    id: bytes
    flags: bytes
    question: bytes  # the question as sent; the case of letters is kept
    qname: bytes  # the question's name in lower case
    qtype: int
    qclass: int
    edns: Edns | None
    reply_options: bytes = b""  # EDNS options for the reply, in wire form


def parse_query(message: bytes) -> Query | bytes | None:
    """Return the parsed query. Return an error reply if the query is malformed, or None if there must be no reply."""
    if len(message) < HEADER or message[2] & 0x80:
        return None
    if message[2] & 0x78:
        return error_reply(message, Rcode.NOTIMP)
    try:
        query = _parse(message)
    except _Malformed:
        return error_reply(message, Rcode.FORMERR)
    if query.edns is not None and query.edns.version != 0:
        return compose_reply(query, Rcode.BADVERS, authoritative=False)
    return query


class _Malformed(Exception):
    """The message has an invalid format."""


def _parse(message: bytes) -> Query:
    questions, answers, authorities, additionals = (int.from_bytes(message[at : at + 2]) for at in (4, 6, 8, 10))
    if questions != 1 or answers > 1 or authorities > 1 or additionals > 2:
        raise _Malformed
    end = _end_of_name(message, HEADER, pointer_may_end_it=False)
    if end - HEADER > name.MAX_NAME or end + 4 > len(message):
        raise _Malformed
    question = message[HEADER : end + 4]
    edns = None
    position = end + 4
    for index in range(answers + authorities + additionals):
        begin, end = position, _end_of_name(message, position, pointer_may_end_it=True)
        position = end + 10 + int.from_bytes(message[end + 8 : end + 10])
        if end + 10 > len(message) or position > len(message):
            raise _Malformed
        if int.from_bytes(message[end : end + 2]) == OPT:
            if index < answers + authorities or edns is not None or message[begin] != 0:
                raise _Malformed
            options = _parse_options(message[end + 10 : position])
            size, version, flags = message[end + 2 : end + 4], message[end + 5], message[end + 6]
            edns = Edns(int.from_bytes(size), bool(flags & 0x80), version, options)
    return Query(
        message[:2],
        message[2:4],
        question,
        question[:-4].lower(),
        int.from_bytes(question[-4:-2]),
        int.from_bytes(question[-2:]),
        edns,
    )


def _end_of_name(message: bytes, position: int, *, pointer_may_end_it: bool) -> int:
    """Return the offset after a name. If the name ends with a pointer, the pointer isn't followed."""
    try:
        while length := message[position]:
            if length >= 0xC0 and pointer_may_end_it:
                return position + 2
            if length > name.MAX_LABEL:
                raise _Malformed
            position += 1 + length
    except IndexError:
        raise _Malformed from None
    return position + 1


def _parse_options(rdata: bytes) -> frozenset[int]:
    position = 0
    codes = set()
    while position + 4 <= len(rdata):
        codes.add(int.from_bytes(rdata[position : position + 2]))
        position += 4 + int.from_bytes(rdata[position + 2 : position + 4])
    if position != len(rdata):
        raise _Malformed
    return frozenset(codes)


def error_reply(message: bytes, rcode: Rcode) -> bytes:
    """Compose a reply that is only a header, because the question may be invalid.

    The opcode and RD are copied from the query.
    """
    flags = QR | int.from_bytes(message[2:4]) & (_OPCODE | RD) | rcode
    return message[:2] + flags.to_bytes(2) + bytes(8)


def compose_reply(
    query: Query,
    rcode: Rcode,
    answers: Sequence[RRset] = (),
    authorities: Sequence[RRset] = (),
    additionals: Sequence[RRset] = (),
    *,
    authoritative: bool = True,
    limit: int = TCP_SIZE,
    error: Reason | None = None,
) -> bytes:
    """Compose a reply with the question as sent, and with the records that fit into `limit`.

    The records have the class of the question. The reply has an OPT record if the query had one. Owners are compressed,
    but names in RDATA are not. If a record of the answer or authority section doesn't fit, TC is set and no further
    records are added. An extended error is sent only if the query had an OPT record. If not everything fits, the
    extended error is left out first (RFC 8914 section 3).
    """
    opt = b"" if query.edns is None else compose_opt(query.edns.dnssec_ok, rcode >> 4, error, query.reply_options)
    message = bytearray(query.id + bytes(10) + query.question)
    pointers = _offsets(query.qname)
    room = limit - len(opt)
    counts = [0, 0, 0]
    truncated = False
    for section, rrsets in enumerate((answers, authorities, additionals)):
        for rrset in rrsets:
            for rdata in rrset.rdatas:
                at = pointers.get(rrset.owner.lower())
                owner = (0xC000 | at).to_bytes(2) if at is not None else rrset.owner
                fixed = rrset.rtype.to_bytes(2) + query.question[-2:] + rrset.ttl_s.to_bytes(4) + len(rdata).to_bytes(2)
                if truncated or len(message) + len(owner) + len(fixed) + len(rdata) > room:
                    truncated = truncated or section < 2
                    break
                if at is None and len(message) <= 0x3FFF:
                    pointers[rrset.owner.lower()] = len(message)
                message += owner + fixed + rdata
                counts[section] += 1
    if truncated and opt and error is not None:
        return compose_reply(query, rcode, answers, authorities, additionals, authoritative=authoritative, limit=limit)
    message[2:HEADER] = (
        reply_flags(query.flags, rcode, AA if authoritative else 0, TC if truncated else 0)
        + b"\0\1"
        + b"".join([count.to_bytes(2) for count in counts[:2]])
        + (counts[2] + (1 if opt else 0)).to_bytes(2)
    )
    return bytes(message) + opt


def reply_flags(query_flags: bytes | int, rcode: int = Rcode.NOERROR, *set_flags: int) -> bytes:
    """Return the second word of a reply's header: the flags and the rcode.

    RD and CD are copied from the query. The flags `set_flags` are added.
    """
    asked = query_flags if isinstance(query_flags, int) else int.from_bytes(query_flags)
    return (QR | asked & (RD | CD) | sum(set_flags) | rcode & 15).to_bytes(2)


def one_more(count: bytes) -> bytes:
    """Return the two octets of a header's count, increased by one."""
    return b"\0\1" if count == b"\0\0" else (int.from_bytes(count) + 1).to_bytes(2)


def with_flags(reply: bytes, flags: int) -> bytes:
    """Return a copy of a reply with `flags` added to its own flags."""
    return reply[:2] + (int.from_bytes(reply[2:4]) | flags).to_bytes(2) + reply[4:]


def _offsets(qname: bytes) -> dict[bytes, int]:
    """Return the offsets of the question's name and of its ancestors in a message. The root is left out."""
    found = {each: HEADER + len(qname) - len(each) for each in (qname, *name.ancestors(qname))}
    del found[name.ROOT]
    return found


def compose_opt(
    dnssec_ok: bool, extended_rcode: int = 0, error: Reason | int | None = None, options: bytes = b""
) -> bytes:
    """Compose the OPT record of a reply, with the size that pydns advertises.

    `dnssec_ok` is the DO bit of the query (RFC 6891 section 6.1.4). `error` becomes an extended error. `options`
    contains further EDNS options in wire form.
    """
    rdata = options if error is None else options + _error_option(error)
    flags = b"\x80\0" if dnssec_ok else b"\0\0"
    return OPT_HEAD + EDNS_SIZE.to_bytes(2) + bytes([extended_rcode, 0]) + flags + len(rdata).to_bytes(2) + rdata


def compose_option(code: int, data: bytes) -> bytes:
    """Compose an EDNS option (RFC 6891 section 6.1.2)."""
    return code.to_bytes(2) + len(data).to_bytes(2) + data


def _error_option(error: Reason | int) -> bytes:
    return error.option if isinstance(error, Reason) else compose_option(EDE_OPTION, error.to_bytes(2))


def with_error(opt: bytes, error: Reason | int) -> bytes:
    """Return a copy of an OPT record with an extended error after its other options.

    `error` is a reason of pydns, or the INFO-CODE that an upstream has sent.
    """
    rdata = opt[OPT_SIZE:] + _error_option(error)
    return opt[: OPT_SIZE - 2] + len(rdata).to_bytes(2) + rdata


def reply_facts(reply: bytes) -> tuple[int, int, bool]:
    """Return the question's type, the full rcode, and whether DO is set. pydns must have composed the reply."""
    rcode = reply[3] & 15
    end = question_end(reply)
    rtype = int.from_bytes(reply[end - 4 : end - 2]) if end > HEADER else 0
    if not reply[11]:
        return rtype, rcode, False
    opt = reply[reply.rfind(_OPT_BEGIN, end) :]  # the OPT record is the last record
    if opt[:3] != OPT_HEAD or len(opt) != OPT_SIZE + int.from_bytes(opt[9:OPT_SIZE]):
        return rtype, rcode, False
    return rtype, rcode | opt[5] << 4, bool(opt[7] & 0x80)


def question_end(reply: bytes) -> int:
    """Return the offset after the question, or after the header if there is no question.

    pydns must have composed the reply.
    """
    if not reply[5]:
        return HEADER
    end = HEADER
    while reply[end]:
        end += 1 + reply[end]
    return end + 5


def rcode_text(rcode: int) -> str:
    """Return the name of an rcode, or its number if `Rcode` doesn't contain it."""
    try:
        return Rcode(rcode).name
    except ValueError:
        return str(rcode)


_FLAG_NAMES: Final = {AA: "aa", TC: "tc", RD: "rd", RA: "ra", AD: "ad", CD: "cd"}


def flags_text(reply: bytes) -> str:
    """Return the flags of a reply as `dig` prints them, without qr. The text is "-" if no flag is set."""
    flags = int.from_bytes(reply[2:4])
    return " ".join([text for flag, text in _FLAG_NAMES.items() if flags & flag]) or "-"
