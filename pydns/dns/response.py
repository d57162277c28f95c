"""Replies of upstreams: a strict parser that returns the part that may be cached and passed on.

All bytes of other resolvers pass through here. A parsed reply has valid names, ends where its counts end it, and
answers the question that was sent. Knows no transaction, id, cache or clock: the caller has matched the id.

1. The question must equal the one sent, byte for byte: the case of its letters is part of the secret (0x20).
2. Names have labels of at most 63 octets, 255 octets in all, and compression pointers that point backwards. The work is
   linear in the packet's octets: consecutive records with one owner and type are read together, each place in the
   packet is read at most once, and records, groups of them and labels are counted.
3. Two kinds of records are kept: answers along the CNAME chain from the question, and the authority records that a
   negative answer needs for caching or proof. The rest is dropped, as `minimal-responses` does in Unbound and BIND for
   positive answers. No stub resolver misses it. Records that are dropped beside the answer are only walked over.
4. Answers are in the order of their chain, as glibc needs them. An owner that equals the question is a pointer to it,
   so it is spelled as the client spelled it. Other owners are in lower case, or as the zone spells them.
5. The kept records are nearly always the beginning of the reply, which is passed on unchanged: pointers point
   backwards, so cutting the end breaks none. Otherwise they are composed anew.
6. The addresses of an answer, or its SRV records, can be moved among themselves: no pointer leads into them.
"""

from collections.abc import Sequence
from enum import Enum
from struct import Struct
from struct import error as StructError  # noqa: N812 (an exception: it reads as one)
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import EDE_OPTION, OPT_HEAD, OPT_SIZE
from pydns.dns.rrset import AAAA, CNAME, NS, OPT, PTR, SOA, SRV, A

# Replies with more are refused. These limits keep the worst packet of 64 KB at about 1 ms.
MAX_ANSWERS = 4096  # more than 65,535 octets hold of addresses, the shortest records that are of use
MAX_BESIDE = 2000  # records of authority and additional sections: addresses of 1,000 SRV targets
MAX_NAMED = 1200  # records whose rdata has names, in groups of several: what 65,535 octets hold of another pydns's SRV
MAX_COMPOSED = 450  # of the records in MAX_NAMED, those that must be composed anew
MAX_GROUPS = 400  # of consecutive records with one owner and type, in the answer section and among proofs
MAX_LABELS = 600  # that are read. Names that are repeated, or that differ in their first label, count once
MAX_STEPS = 2000  # labels of names that are only walked over
MAX_CHAIN = 16  # CNAMEs from the question on; Unbound follows 11


class UpstreamAnswer(NamedTuple):
    """The part of a reply after its question: whole records, compressed only against the question."""

    rcode: int
    counts: bytes  # ANCOUNT and NSCOUNT, as in the header
    records: bytes
    extended_error: int | None = None  # for clients that sent OPT; an `Ede` of ours, or any code of an upstream
    onward: bytes = b""  # the name that a chain of CNAMEs ends at, in lower case, if the reply has no records of it
    is_authentic: bool = False  # an upstream whose AD bit counts has set it (RFC 4035 section 3.2.3)


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
    TOO_MUCH = "too many records or names"
    LONG_CHAIN = "too many CNAMEs"
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
                answer = _new(UpstreamAnswer, (0, b"\0\1\0\0", packet[start:end], None, b"", False))
                return _new(Response, (answer, (6,), ttl_s, False, False))
    flags, questions, answers, authorities, additionals = _FLAGS_AND_COUNTS(packet, 2)
    if flags & 0xF800 != 0x8000 or questions != 1:
        return Unusable.MALFORMED
    if flags & 0x0200:
        return Response(UpstreamAnswer(flags & 15, _NO_RECORDS, b""), (), 0, False, True)
    if authorities == 0 and (plain := _parse_addresses(packet, start, answers, additionals, question)):
        return plain
    if answers > MAX_ANSWERS or authorities + additionals > MAX_BESIDE:
        return Unusable.TOO_MUCH
    try:
        reader = _Reader(packet, question[:-4].lower())
        found, position = reader.groups(start, answers)
        proofs, position = reader.proofs(position, authorities)
        extended_rcode, extended_error = reader.additional(position, additionals)
        kept = _select(packet, found, proofs, question, flags & 15 | extended_rcode << 4)
        return _compose_response(reader, start, kept, extended_error)
    except _Refused as error:
        return error.why
    except (IndexError, StructError):
        return Unusable.MALFORMED


def uncompressed(question: bytes, answer: UpstreamAnswer, client_qname: bytes = b"") -> bytes:
    """Return the answer's records without compression, so that they fit into any message with the client's question.

    Owners and targets of CNAMEs are in lower case. An owner that equals `client_qname`, in lower case, is a pointer to
    the question of the message.
    """
    reader = _Reader(bytes(HEADER) + question + answer.records, question[:-4].lower(), is_ours=True)
    answers, position = reader.groups(HEADER + len(question), int.from_bytes(answer.counts[:2]))
    authorities, _ = reader.groups(position, int.from_bytes(answer.counts[2:]))
    places = {client_qname: HEADER} if client_qname else {}
    return _compose(reader, [*answers, *authorities], 0, places)[0]


def rotation(answer: UpstreamAnswer, ttl_offsets: Sequence[int]) -> tuple[int, ...]:
    """Return where in `answer.records` each of several addresses or SRV records begins, and where the last one ends.

    They may be moved among themselves. Empty if there aren't several with one TTL, as an RRset has (RFC 2181 section
    5.2).
    """
    records = answer.records
    index = int.from_bytes(answer.counts[:2]) - 1
    rtype = b""
    while index > 0 and (rtype := _type_at(records, ttl_offsets[index])) == _RRSIG_OCTETS:
        index -= 1
    if index < 1 or rtype not in _ROTATED:
        return ()
    # Records of one RRset begin with the same octets, up to their TTL.
    size = ttl_offsets[index] - _end_of_record(records, ttl_offsets[index - 1])
    head = records[ttl_offsets[index] - size : ttl_offsets[index] + 4]
    begins = [_end_of_record(records, ttl_offsets[index])]
    while index >= 0 and records[(begin := ttl_offsets[index] - size) : ttl_offsets[index] + 4] == head:
        begins.append(begin)
        index -= 1
    return tuple(reversed(begins)) if len(begins) > 2 else ()


def rotated(records: bytes, places: Sequence[int], turn: int) -> bytes:
    """Return the records with those at `places`, from `rotation`, beginning with a different one each turn."""
    cut, begin, end = places[turn % (len(places) - 1)], places[0], places[-1]
    return records[:begin] + records[cut:end] + records[begin:cut] + records[end:]


def _type_at(records: bytes, ttl_at: int) -> bytes:
    return records[ttl_at - 4 : ttl_at - 2]


def _end_of_record(records: bytes, ttl_at: int) -> int:
    return ttl_at + 6 + int.from_bytes(records[ttl_at + 4 : ttl_at + 6])


def _parse_addresses(packet: bytes, start: int, count: int, additionals: int, question: bytes) -> Response | None:
    """Return the result of `parse_response` for the commonest reply, and None for any other.

    Its answers are addresses of the question's name, and only OPT follows them. Each address takes 0.25 µs.
    """
    type_and_class = question[-4:]
    length = _ADDRESS_LENGTHS.get(type_and_class[:2])
    if length is None or not 0 < count <= MAX_ANSWERS or packet[3] & 15:
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
    answer = _new(UpstreamAnswer, (0, packet[6:10], packet[start:end], None, b"", False))
    return _new(Response, (answer, tuple(range(6, end - start, size)), ttl_s, False, False))


class _Group(NamedTuple):
    """Consecutive records with one owner, type and class."""

    owner: bytes  # lower case
    rtype: int
    rclass: bytes
    ttl_s: int  # the lowest
    target: bytes  # the last name in the last one's rdata, lower case; empty if there is none
    ttls: Sequence[int]  # offset of each one's TTL
    begin: int
    end: int
    # Whether the octets can be passed on: owners are pointers or in lower case, and where the records may be rotated,
    # they can be moved.
    is_as_wanted: bool


class _Refused(Exception):
    def __init__(self, why: Unusable) -> None:
        super().__init__(why)
        self.why = why


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
_TTL_AND_LENGTH = Struct("!IH").unpack_from
_NO_RECORDS = bytes(4)
_MAX_TTL = (1 << 31) - 1
_MAX_MESSAGE, _MAX_POINTER = 0xFFFF, 0x3FFF  # RFC 1035 sections 4.2.2 and 4.1.4
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


_PROOFS = frozenset([SOA, _NSEC, _NSEC3, _RRSIG])  # what is kept of authority sections
_ROTATES = frozenset([A, AAAA, SRV])
_ROTATED = frozenset([rtype.to_bytes(2) for rtype in _ROTATES])
_RRSIG_OCTETS = _RRSIG.to_bytes(2)


class _Reader:
    """Reads the sections of a packet, and counts the work."""

    moves = True  # no name that was read so far points at a place that might move
    named = 0  # records in groups whose rdata has names
    _groups = 0
    _steps = 0

    def __init__(self, packet: bytes, qname: bytes, *, is_ours: bool = False) -> None:
        """`qname` is in lower case. `is_ours` if the packet's records have been accepted before."""
        self.packet = packet
        self._qname = qname
        # Each offset that was read -> the name there. No offset is read twice, so the size is the work done.
        self.names = {HEADER: qname}
        self._tails: dict[bytes, bytes] = {}  # octets at the end of a name -> what they mean
        self._is_ours = is_ours

    def groups(self, position: int, count: int) -> tuple[list[_Group], int]:
        """Return `count` records from `position` on, and the offset after them."""
        groups = []
        while count:
            group = self._group(position, count)
            groups.append(group)
            count -= len(group.ttls)
            position = group.end
        if position > len(self.packet):
            raise _Refused(Unusable.MALFORMED)
        return groups, position

    def _group(self, begin: int, most: int) -> _Group:
        packet, names = self.packet, self.names
        self._groups += 1
        if self._groups > MAX_GROUPS and not self._is_ours:
            raise _Refused(Unusable.TOO_MUCH)
        # Most owners are one pointer to a name that has been read.
        if packet[begin] >= 0xC0 and (known := names.get((packet[begin] & 0x3F) << 8 | packet[begin + 1])):
            owner, position = known, begin + 2
        else:
            owner, position = self.name(begin)
        rtype, rclass, _, _ = _FIXED(packet, position)
        if rtype == OPT:
            raise _Refused(Unusable.MALFORMED)
        head = packet[begin : position + 4]
        size = len(head)
        named, wanted = _NAMED.get(rtype), _LENGTHS.get(rtype)
        if named is not None and not self._is_ours:
            most = min(most, MAX_NAMED + 1 - self.named)
        lowest, target, ttls = _MAX_TTL, b"", []
        position = begin
        while True:
            ttl_at = position + size
            ttl_s, length = _TTL_AND_LENGTH(packet, ttl_at)
            ttls.append(ttl_at)
            rdata_at = ttl_at + 6
            position = rdata_at + length
            if named is not None:
                target = self.last_name(rdata_at, position, named, begin)
            elif wanted is not None and length != wanted:
                raise _Refused(Unusable.MALFORMED)
            if ttl_s < lowest:
                lowest = ttl_s
            elif ttl_s > _MAX_TTL:
                lowest = 0  # RFC 2181 section 8
            if len(ttls) == most or packet[position : position + size] != head:
                break
        if named is not None:
            self.named += len(ttls)
            if self.named > MAX_NAMED and not self._is_ours:
                raise _Refused(Unusable.TOO_MUCH)
        is_pointer = head[0] >= 0xC0
        is_as_wanted = is_pointer or (owner != self._qname and head[:-4] == head[:-4].lower())
        if rtype == CNAME:
            is_as_wanted = is_as_wanted and packet[rdata_at:position] == packet[rdata_at:position].lower()
        elif rtype in _ROTATES and len(ttls) > 1:
            is_as_wanted = is_pointer and (named is None or self.moves)
        return _new(_Group, (owner, rtype, rclass, lowest, target, ttls, begin, position, is_as_wanted))

    def last_name(self, rdata_at: int, end: int, named: tuple[int, int, int], begin: int) -> bytes:
        """Return the last name in the rdata of a type in `_NAMED`. Records from `begin` on might move."""
        before, how_many, after = named
        at = rdata_at + before
        if how_many > 1:
            for _ in range(how_many):
                target, at = self.name(at)
            if at + after != end:
                raise _Refused(Unusable.MALFORMED)
            return target
        # Targets of one answer mostly differ in their first label alone.
        packet, tails = self.packet, self._tails
        length = packet[at]
        tail_at = at + 1 + length if 0 < length <= name.MAX_LABEL else at
        tail = packet[tail_at:end]
        rest = tails.get(tail)
        if rest is None:
            rest, tail_end = self.name(tail_at)
            if tail_end != end:
                raise _Refused(Unusable.MALFORMED)
            tails[tail] = rest
            is_literal = len(tail) == len(rest)
            self.moves = self.moves and (is_literal or (len(tail) == 2 and tail < (0xC000 | begin).to_bytes(2)))
            target = self.names[at] = packet[at:tail_at].lower() + rest  # owners point at the first such target, mostly
        else:
            target = packet[at:tail_at].lower() + rest
        if len(target) > name.MAX_NAME:
            raise _Refused(Unusable.MALFORMED)
        return target

    def proofs(self, position: int, count: int) -> tuple[list[_Group], int]:
        """Return the records of an authority section that a negative answer needs, and the offset after the section."""
        found = []
        for _ in range(count):
            owner_end = self._skip(position)
            rtype, _, _, length = _FIXED(self.packet, owner_end)
            if rtype in _PROOFS:
                found.append(self._group(position, 1))
            elif rtype == OPT:
                raise _Refused(Unusable.MALFORMED)
            position = owner_end + 10 + length
        if position > len(self.packet):
            raise _Refused(Unusable.MALFORMED)
        return found, position

    def additional(self, position: int, count: int) -> tuple[int, int | None]:
        """Walk over the additional section to the packet's end.

        Return what OPT has: the upper bits of the rcode, and the code of an extended error (RFC 8914).
        """
        extended_rcode = extended_error = None
        for _ in range(count):
            owner_end = self._skip(position)
            rtype, _, ttl, length = _FIXED(self.packet, owner_end)
            if rtype == OPT:
                if extended_rcode is not None or self.packet[position] != 0:
                    raise _Refused(Unusable.MALFORMED)
                extended_rcode = ttl >> 24
                extended_error = _extended_error(self.packet[owner_end + 10 : owner_end + 10 + length])
            position = owner_end + 10 + length
        if position > len(self.packet):  # some servers send octets after the end of the message
            raise _Refused(Unusable.MALFORMED)
        return extended_rcode or 0, extended_error

    def _skip(self, position: int) -> int:
        """Return the offset after a name that isn't needed. A pointer at its end isn't followed."""
        packet = self.packet
        while length := packet[position]:
            if length >= 0xC0:
                return position + 2
            if length > name.MAX_LABEL:
                raise _Refused(Unusable.MALFORMED)
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise _Refused(Unusable.TOO_MUCH)
            position += 1 + length
        return position + 1

    def name(self, position: int) -> tuple[bytes, int]:
        """Return the name at `position` in lower case, and the offset after it."""
        packet, names = self.packet, self.names
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
                    raise _Refused(Unusable.MALFORMED)
                if known := names.get(target):
                    rest = known
                    break
                places.append((at, b""))
                at = segment = target
            else:
                raise _Refused(Unusable.MALFORMED)
            if size > name.MAX_NAME or len(places) > name.MAX_NAME:
                raise _Refused(Unusable.MALFORMED)
        if size + len(rest) > name.MAX_NAME:
            raise _Refused(Unusable.MALFORMED)
        for place, label in reversed(places):
            rest = label.lower() + rest
            names[place] = rest
        if len(names) > MAX_LABELS and not self._is_ours:
            raise _Refused(Unusable.TOO_MUCH)
        return rest, end


class _Kept(NamedTuple):
    """What is kept of a reply."""

    rcode: int
    answers: list[_Group]
    authorities: list[_Group]
    ttl_s: int
    negative: bool = False
    onward: bytes = b""


def _select(packet: bytes, found: list[_Group], proofs: list[_Group], question: bytes, rcode: int) -> _Kept:
    """Return the records to keep, answers in the order of their chain."""
    qname = question[:-4].lower()
    qtype = question[-4] << 8 | question[-3]
    qclass = question[-2:]
    places = {qname: 0}  # names of the chain
    last = qname
    aliases: dict[bytes, bytes] = {}
    if qtype not in (CNAME, _ANY):
        aliases = {group.owner: group.target for group in found if group.rtype == CNAME}
        while aliases and (target := aliases.get(last)) and target not in places:
            places[target] = len(places)
            last = target
            if len(places) > MAX_CHAIN:
                raise _Refused(Unusable.LONG_CHAIN)
    kept = [group for group in found if group.owner in places and group.rclass == qclass]
    if len(kept) < len(found):
        # A DNAME comes before the CNAME that was made from it. 0.5: above the question's own place.
        above = {parent: at for each, at in reversed(places.items()) for parent in name.ancestors(each)}
        kept += [
            group
            for group in found
            if group.rtype == _DNAME
            and group.rclass == qclass
            and group.owner != name.ROOT
            and group.owner in above
            and group.owner not in places
        ]
        kept.sort(key=lambda group: places.get(group.owner, above.get(group.owner, 0) - 0.5))
    elif len(places) > 1:
        kept.sort(key=lambda group: places[group.owner])
    ttl_s = min([group.ttl_s for group in kept], default=0)
    if rcode == 0:
        for group in kept:
            if group.owner == last and (group.rtype == qtype or qtype == _ANY):
                return _Kept(rcode, kept, _proofs_of(packet, kept, proofs, last) if proofs else proofs, ttl_s)
    for soa in proofs:
        if soa.rtype != SOA:
            continue
        if soa.rclass != qclass or not name.is_at_or_below(last, soa.owner):
            break
        authorities = [g for g in proofs if g.rclass == qclass and name.is_at_or_below(g.owner, soa.owner)]
        negative_ttl_s = min(soa.ttl_s, int.from_bytes(packet[soa.end - 4 : soa.end]))
        return _Kept(rcode, kept, authorities, min(ttl_s, negative_ttl_s) if kept else negative_ttl_s, negative=True)
    # Without a SOA a negative answer may not be cached (RFC 2308 section 5). A CNAME that leads out of the server's
    # zones and isn't followed there is not negative, and has its own TTL.
    if rcode or len(places) == 1:
        return _Kept(rcode, kept, [], 0)
    return _Kept(rcode, kept, [], ttl_s, onward=b"" if last in aliases else last)


def _proofs_of(packet: bytes, answers: list[_Group], proofs: list[_Group], last: bytes) -> list[_Group]:
    """Return the proofs of a positive answer: those of the zones that signed it.

    Without a signature, those of names beside the answer's.
    """
    zones: dict[bytes, bytes] = {}  # owner of a signature -> the zone that made it
    for group in answers:
        if group.rtype == _RRSIG and group.owner not in zones:
            signer_at = group.ttls[0] + 24
            signer = packet[signer_at : signer_at + name.MAX_NAME].lower()
            above = (group.owner, *name.ancestors(group.owner))
            zones[group.owner] = next((each for each in above if signer.startswith(each)), name.ROOT)
    wanted = set(zones.values()) - {name.ROOT} or {next(name.ancestors(last), name.ROOT)}
    return [
        group
        for group in proofs
        if group.rtype != SOA and any(name.is_at_or_below(group.owner, each) for each in wanted)
    ]


def _extended_error(options: bytes) -> int | None:
    """Return the code of the first extended error. Broken options have none."""
    position = 0
    while position + 6 <= len(options):
        code, length = options[position : position + 2], int.from_bytes(options[position + 2 : position + 4])
        if code == EDE_OPTION and length >= 2:
            return int.from_bytes(options[position + 4 : position + 6])
        position += 4 + length
    return None


def _compose_response(reader: _Reader, start: int, kept: _Kept, extended_error: int | None) -> Response:
    rcode, answers, authorities, ttl_s, negative, onward = kept
    wanted = answers + authorities
    if _can_pass(wanted, start):
        body = reader.packet[start : wanted[-1].end] if wanted else b""
        offsets = tuple([ttl_at - start for group in wanted for ttl_at in group.ttls])
    else:
        if reader.named > MAX_COMPOSED:
            raise _Refused(Unusable.TOO_MUCH)
        body, offsets = _compose(reader, wanted, start, {reader.names[HEADER]: HEADER})
        if start + len(body) > _MAX_MESSAGE:
            raise _Refused(Unusable.TOO_MUCH)
    answer_count = sum([len(group.ttls) for group in answers])
    counts = answer_count.to_bytes(2) + (len(offsets) - answer_count).to_bytes(2)
    answer = _new(UpstreamAnswer, (rcode, counts, body, extended_error, onward, False))
    return _new(Response, (answer, offsets, ttl_s, negative, False))


def _can_pass(wanted: list[_Group], start: int) -> bool:
    """Return whether the octets of the reply, up to the last record that is kept, can be passed on as they are."""
    position = start
    moves = False
    for group in wanted:
        # Octets of SRV records move. Nothing may come after them, as it might point at them.
        if group.begin != position or not group.is_as_wanted or moves:
            return False
        position = group.end
        moves = group.rtype == SRV and len(group.ttls) > 1
    return True


def _compose(
    reader: _Reader, groups: Sequence[_Group], start: int, places: dict[bytes, int]
) -> tuple[bytes, tuple[int, ...]]:
    """Return the records and the offsets of their TTLs. `places` has names that owners may point at.

    Targets of CNAMEs become such places, if the records are for a message in which they begin at `start`. Other names
    are not compressed.
    """
    packet = reader.packet
    body = bytearray()
    offsets = []
    for group in groups:
        named = _NAMED.get(group.rtype)
        for ttl_at in group.ttls:
            at = places.get(group.owner)
            body += group.owner if at is None else (0xC000 | at).to_bytes(2)
            offsets.append(len(body) + 4)
            rdata_at = ttl_at + 6
            end = rdata_at + int.from_bytes(packet[ttl_at + 4 : rdata_at])
            rdata = packet[rdata_at:end]
            if named is not None:
                rdata = _expanded(reader, rdata_at, end, named, group.rtype)
                if group.rtype == CNAME and start:
                    place = start + len(body) + 10
                    if place <= _MAX_POINTER:
                        places.setdefault(rdata, place)
            body += packet[ttl_at - 4 : ttl_at + 4] + len(rdata).to_bytes(2) + rdata
    return bytes(body), tuple(offsets)


def _expanded(reader: _Reader, rdata_at: int, end: int, named: tuple[int, int, int], rtype: int) -> bytes:
    """Return the rdata with its names in full: as the zone spells them, or in lower case if they were compressed.

    The target of a CNAME is in lower case, as it may have been made from the question.
    """
    packet = reader.packet
    before, how_many, after = named
    names_at = rdata_at + before
    if how_many == 1:
        names = reader.last_name(rdata_at, end, named, rdata_at)
    else:
        first, at = reader.name(names_at)
        names = first + reader.name(at)[0]
    if rtype != CNAME and len(names) == end - after - names_at:
        return packet[rdata_at:end]
    return packet[rdata_at:names_at] + names + packet[end - after : end]
