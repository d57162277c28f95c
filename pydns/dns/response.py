"""Replies of upstreams: a strict parser that returns the part that may be cached and passed on.

All bytes of other resolvers pass through here. A parsed reply has valid names, ends where its counts end it, and
answers the question that was sent. Knows no transaction, id, cache or clock: the caller has matched the id.

1. The question must equal the one sent, byte for byte: the case of its letters is part of the secret (0x20).
2. Names have labels of at most 63 octets, 255 octets in all, and compression pointers that point backwards. Each place
   in the packet is read at most once, and records and labels are counted, so the cost of any packet is bounded.
3. Two kinds of records are kept: answers along the CNAME chain from the question, and the authority records that a
   negative answer needs for caching or proof. The rest is dropped, as `minimal-responses` does in Unbound and BIND for
   positive answers. No stub resolver misses it. OPT is dropped with the additional section.
4. The kept records are nearly always the beginning of the reply, which is passed on unchanged: pointers point
   backwards, so cutting the end breaks none. Otherwise they are composed anew, uncompressed.
"""

from collections.abc import Sequence
from enum import Enum
from struct import Struct
from struct import error as StructError  # noqa: N812 (an exception: it reads as one)
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import OPT_HEAD, OPT_SIZE, Ede
from pydns.dns.rrset import AAAA, CNAME, NS, OPT, PTR, SOA, SRV, A

# Larger replies are refused. These limits keep the worst packet of 64 KB below 1 ms.
MAX_ADDRESSES = 3000  # of the question's name and nothing else: a headless Service of another cluster may have so many
MAX_RECORDS = 400  # of anything else
MAX_AUTHORITIES = 64
MAX_LABELS = 600
MAX_CHAIN = 16  # CNAMEs from the question on; Unbound follows 11


class UpstreamAnswer(NamedTuple):
    """The part of a reply after its question: whole records, compressed only against the question."""

    rcode: int
    counts: bytes  # ANCOUNT and NSCOUNT, as in the header
    records: bytes
    extended_error: Ede | None = None  # for clients that sent OPT
    onward: bytes = b""  # the name that a chain of CNAMEs ends at, in lower case, if the reply has no records of it


class Response(NamedTuple):
    """The useful part of a reply. A `truncated` one has only the rcode."""

    answer: UpstreamAnswer
    ttl_offsets: tuple[int, ...]  # offset in `answer.records` of each record's TTL
    ttl_s: int  # how long its own records allow to cache it; 0: not at all
    negative: bool  # `ttl_s` is then the SOA's (RFC 2308 section 5), which limits every record's TTL
    truncated: bool


class Unusable(Enum):
    """The reason why a packet is no answer to the question."""

    MALFORMED = "malformed"
    WRONG_QUESTION = "wrong question"
    CASE_CHANGED = "question in another case"


def parse_response(packet: bytes, question: bytes) -> Response | Unusable:
    """Return the useful part of `packet` as a reply to `question` (name, type and class, exactly as sent).

    Never raises. The caller must check the sender and the id.
    """
    start = HEADER + len(question)
    if packet[HEADER:start] != question:
        same_but_for_case = (
            packet[HEADER:start].lower() == question.lower() and packet[start - 4 : start] == question[-4:]
        )
        return Unusable.CASE_CHANGED if same_but_for_case else Unusable.WRONG_QUESTION
    form = _ADDRESS_FORMS.get(question[-4:])
    tails = _ONE_ANSWER.get(packet[2:HEADER])
    if form is not None and tails is not None:
        # One address of the question's name, with or without a plain OPT: nine of ten replies. `_parse_addresses`
        # gives the same and takes 0.5 µs more.
        before_ttl, after_ttl, size = form
        end = start + size
        if len(packet) >= end and packet[end : end + 3] + packet[end + 5 :] in tails:
            before, ttl_s, after = _AROUND_TTL(packet, start)
            if before == before_ttl and after == after_ttl:
                if ttl_s > _MAX_TTL:
                    ttl_s = 0
                answer = _new(UpstreamAnswer, (0, b"\0\1\0\0", packet[start:end], None, b""))
                return _new(Response, (answer, (6,), ttl_s, False, False))
    flags, questions, answers, authorities, additionals = _FLAGS_AND_COUNTS(packet, 2)
    if flags & 0xF800 != 0x8000 or questions != 1:
        return Unusable.MALFORMED
    if flags & 0x0200:
        return Response(UpstreamAnswer(flags & 15, _NO_RECORDS, b""), (), 0, False, True)
    if authorities == 0 and (plain := _parse_addresses(packet, start, answers, additionals, question)):
        return plain
    if answers + authorities + additionals > MAX_RECORDS or authorities > MAX_AUTHORITIES:
        return Unusable.MALFORMED
    try:
        qname = question[:-4].lower()
        names = {HEADER: qname}
        records, position = _read_records(packet, start, answers + authorities, names)
        rcode = flags & 15 | _walk_additional(packet, position, additionals, names) << 4
        kept, kept_answers, ttl_s, negative, onward = _select(packet, records, answers, question, rcode)
    except (_Malformed, IndexError, StructError):
        return Unusable.MALFORMED
    counts = kept_answers.to_bytes(2) + (len(kept) - kept_answers).to_bytes(2)
    if kept == records[: len(kept)]:
        body = packet[start : kept[-1].end] if kept else b""
        offsets = tuple([record.ttl_at - start for record in kept])
    else:
        body, offsets = _compose(packet, kept, names)
    return _new(Response, (_new(UpstreamAnswer, (rcode, counts, body, None, onward)), offsets, ttl_s, negative, False))


def uncompressed(question: bytes, answer: UpstreamAnswer) -> bytes:
    """Return the answer's records without compression, so that they fit into any message. Names are in lower case."""
    packet = bytes(HEADER) + question + answer.records
    names = {HEADER: question[:-4].lower()}
    count = int.from_bytes(answer.counts[:2]) + int.from_bytes(answer.counts[2:])
    records, _ = _read_records(packet, HEADER + len(question), count, names, max_labels=len(packet))
    return _compose(packet, records, names)[0]


def _parse_addresses(packet: bytes, start: int, count: int, additionals: int, question: bytes) -> Response | None:
    """Return the result of `parse_response` for the commonest reply, and None for any other.

    The commonest reply has addresses of the question's name and nothing but OPT after them. Only this function accepts
    more than MAX_RECORDS of them, at 0.3 µs each.
    """
    type_and_class = question[-4:]
    length = _ADDRESS_LENGTHS.get(type_and_class[:2])
    if length is None or not 0 < count <= MAX_ADDRESSES or packet[3] & 15:
        return None
    size = 12 + length
    end = start + count * size
    if additionals:
        # Exactly OPT, without options and with nothing in the rcode's upper bits.
        if additionals != 1 or len(packet) != end + OPT_SIZE:
            return None
        head, _, extended_rcode, _, options = _OPT(packet, end)
        if head != OPT_HEAD or extended_rcode or options:
            return None
    elif len(packet) != end:
        return None
    ttl_s = _MAX_TTL
    for at in range(start, end, size):
        owner, found, ttl, found_length = _ADDRESS(packet, at)
        if owner != _TO_QNAME or found != type_and_class or found_length != length:
            return None
        if ttl < ttl_s:
            ttl_s = ttl
        elif ttl > _MAX_TTL:
            ttl_s = 0
    answer = _new(UpstreamAnswer, (0, packet[6:10], packet[start:end], None, b""))
    return _new(Response, (answer, tuple(range(6, end - start, size)), ttl_s, False, False))


class _Record(NamedTuple):
    owner: bytes  # lower case
    rtype: int
    rclass: bytes
    ttl_s: int
    target: bytes  # the last name in its rdata, lower case; empty if there is none
    ttl_at: int
    end: int


class _Malformed(Exception):
    pass


_FLAGS_AND_COUNTS = Struct("!5H").unpack_from
_ADDRESS = Struct("!H4sIH").unpack_from
_OPT = Struct("!3sHB3sH").unpack_from
_TO_QNAME = 0xC000 | HEADER
_LENGTHS = {A: 4, AAAA: 16}
_ADDRESS_LENGTHS = {rtype.to_bytes(2): length for rtype, length in _LENGTHS.items()}
# Flags and counts of replies with one answer and at most one additional record -> the octets that may follow the
# answer: none, or an OPT without options. AA, RD, RA, AD, CD and the reserved bit may have any value. The size in OPT
# is left out, the upper bits of the rcode and the version are 0, DO may be set.
_ONE_ANSWER = {
    bytes([0x80 | upper, lower]) + b"\0\1\0\1\0\0\0" + bytes([additionals]): tails
    for upper in (0, 1, 4, 5)
    for lower in range(0, 0x100, 0x10)
    for additionals, tails in ((0, {b""}), (1, {OPT_HEAD + bytes(6), OPT_HEAD + b"\0\0\x80\0\0\0"}))
}
# Type and class -> the octets before and after the TTL of an address of the question's name, and the record's size.
_ADDRESS_FORMS = {
    rtype + b"\0\1": (_TO_QNAME.to_bytes(2) + rtype + b"\0\1", length.to_bytes(2), 12 + length)
    for rtype, length in _ADDRESS_LENGTHS.items()
}
_AROUND_TTL = Struct("!6sI2s").unpack_from
_FIXED = Struct("!H2sIH").unpack_from
_NO_RECORDS = bytes(4)
_MAX_TTL = (1 << 31) - 1
_new = tuple.__new__  # 0.15 µs less than a NamedTuple's own constructor; a miss makes two

_MX, _RP, _AFSDB, _DNAME, _RRSIG, _NSEC, _NSEC3, _ANY = 15, 17, 18, 39, 46, 47, 50, 255
# Types whose rdata may hold compressed names (RFC 3597 section 4, and SRV, which some compress all the same):
# octets before the names, how many names, octets after them.
_NAMED = {
    NS: (0, 1, 0),
    CNAME: (0, 1, 0),
    SOA: (0, 2, 20),
    PTR: (0, 1, 0),
    _MX: (2, 1, 0),
    _RP: (0, 2, 0),
    _AFSDB: (2, 1, 0),
    SRV: (6, 1, 0),
    _DNAME: (0, 1, 0),
}


def _read_records(
    packet: bytes, position: int, count: int, names: dict[int, bytes], max_labels: int = MAX_LABELS
) -> tuple[list[_Record], int]:
    """Return `count` records from `position` on, and the offset after them."""
    records = []
    for _ in range(count):
        lead = packet[position]
        # Most owners are one pointer to a name that has been read.
        if lead >= 0xC0 and (known := names.get((lead & 0x3F) << 8 | packet[position + 1])):
            owner = known
            position += 2
        else:
            owner, position = _read_name(packet, position, names, max_labels)
        rtype, rclass, ttl_s, length = _FIXED(packet, position)
        ttl_at = position + 4
        rdata_at = position + 10
        position = rdata_at + length
        target = b""
        if rtype in _LENGTHS:
            if length != _LENGTHS[rtype]:
                raise _Malformed
        elif rtype in _NAMED:
            before, how_many, after = _NAMED[rtype]
            at = rdata_at + before
            for _ in range(how_many):
                target, at = _read_name(packet, at, names, max_labels)
            if at + after != position:
                raise _Malformed
        elif rtype == OPT:
            raise _Malformed
        if ttl_s > _MAX_TTL:
            ttl_s = 0  # RFC 2181 section 8
        records.append(_new(_Record, (owner, rtype, rclass, ttl_s, target, ttl_at, position)))
    if position > len(packet):
        raise _Malformed
    return records, position


def _walk_additional(packet: bytes, position: int, count: int, names: dict[int, bytes]) -> int:
    """Check the additional section up to the packet's end. Return the upper bits of the rcode, from OPT."""
    extended_rcode = None
    for _ in range(count):
        owner, position = _read_name(packet, position, names)
        rtype, _, ttl, length = _FIXED(packet, position)
        position += 10 + length
        if rtype == OPT:
            if extended_rcode is not None or owner != name.ROOT:
                raise _Malformed
            extended_rcode = ttl >> 24
    if position > len(packet):  # some servers send octets after the end of the message
        raise _Malformed
    return extended_rcode or 0


def _read_name(
    packet: bytes, position: int, names: dict[int, bytes], max_labels: int = MAX_LABELS
) -> tuple[bytes, int]:
    """Return the name at `position` in lower case, and the offset after it.

    `names` maps each offset read so far to the name there, and gets those read now, pointers included. No offset is
    read twice, so the size of `names` is the work done.
    """
    places: list[tuple[int, bytes]] = []
    at = segment = position
    end = size = 0
    while True:
        length = packet[at]
        if length == 0:
            rest = name.ROOT
            end = end or at + 1
            break
        if length < 0x40:
            places.append((at, packet[at : at + 1 + length]))
            at += 1 + length
            size += 1 + length
        elif length >= 0xC0:
            target = (length & 0x3F) << 8 | packet[at + 1]
            end = end or at + 2
            if not HEADER <= target < segment:
                raise _Malformed
            if known := names.get(target):
                rest = known
                break
            places.append((at, b""))
            at = segment = target
        else:
            raise _Malformed
        if size > name.MAX_NAME or len(places) > name.MAX_NAME:
            raise _Malformed
    if size + len(rest) > name.MAX_NAME:
        raise _Malformed
    for place, label in reversed(places):
        rest = label.lower() + rest
        names[place] = rest
    if len(names) > max_labels:
        raise _Malformed
    return rest, end


def _select(
    packet: bytes, records: list[_Record], answers: int, question: bytes, rcode: int
) -> tuple[list[_Record], int, int, bool, bytes]:
    """Return the records to keep, the number of answers, how long to cache them, if negative, and the onward name."""
    qname = question[:-4].lower()
    qtype = question[-4] << 8 | question[-3]
    qclass = question[-2:]
    chain = {qname}
    last = qname
    aliases: dict[bytes, bytes] = {}
    if qtype not in (CNAME, _ANY):
        # By owner, not in order: some resolvers send a CNAME after the records that it leads to.
        aliases = {r.owner: r.target for r in records[:answers] if r.rtype == CNAME}
        while aliases and (target := aliases.get(last)) and target not in chain:
            chain.add(target)
            last = target
            if len(chain) > MAX_CHAIN:
                raise _Malformed
    kept = [r for r in records[:answers] if r.owner in chain and r.rclass == qclass]
    if len(kept) < answers:
        above = {parent for each in chain for parent in name.ancestors(each)} - {name.ROOT}
        kept = [
            r
            for r in records[:answers]
            if r.rclass == qclass and (r.owner in chain or (r.rtype == _DNAME and r.owner in above))
        ]
    kept_answers = len(kept)
    ttl_s = min([record.ttl_s for record in kept], default=0)
    if rcode == 0:
        for record in kept:
            if record.owner == last and (record.rtype == qtype or qtype == _ANY):
                kept += [r for r in records[answers:] if r.rtype in (_NSEC, _NSEC3, _RRSIG)]
                return kept, kept_answers, ttl_s, False, b""
    for soa in records[answers:]:
        if soa.rtype != SOA:
            continue
        if soa.rclass != qclass or not name.is_at_or_below(last, soa.owner):
            break
        kept += [r for r in records[answers:] if r.rclass == qclass and name.is_at_or_below(r.owner, soa.owner)]
        negative_ttl_s = min(soa.ttl_s, int.from_bytes(packet[soa.end - 4 : soa.end]))
        return kept, kept_answers, min(ttl_s, negative_ttl_s) if kept_answers else negative_ttl_s, True, b""
    # Without a SOA a negative answer may not be cached (RFC 2308 section 5). A CNAME that leads out of the server's
    # zones and isn't followed there is not negative, and has its own TTL.
    if rcode or len(chain) == 1:
        return kept, kept_answers, 0, False, b""
    return kept, kept_answers, ttl_s, False, b"" if last in aliases else last


def _compose(packet: bytes, records: Sequence[_Record], names: dict[int, bytes]) -> tuple[bytes, tuple[int, ...]]:
    """Return the records without compression, and the offsets of their TTLs."""
    body = bytearray()
    offsets = []
    for record in records:
        body += record.owner
        offsets.append(len(body) + 4)
        rdata_at = record.ttl_at + 6
        rdata = packet[rdata_at : record.end]
        if record.rtype in _NAMED:
            before, how_many, after = _NAMED[record.rtype]
            rdata = packet[rdata_at : rdata_at + before]
            at = rdata_at + before
            for _ in range(how_many):
                expanded, at = _read_name(packet, at, names, len(packet))
                rdata += expanded
            rdata += packet[at : at + after]
        body += packet[record.ttl_at - 4 : record.ttl_at + 4] + len(rdata).to_bytes(2) + rdata
    return bytes(body), tuple(offsets)
