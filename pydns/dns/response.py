"""Parses replies of upstreams strictly, and returns the part that pydns may cache and send to clients.

All bytes from other resolvers pass through this module. In a parsed reply, all names are valid, and the packet contains
all records that the header counts. The question equals the question that was sent. This module knows no transaction,
id, cache or clock. The caller has already matched the id.

1. The question must equal the question that was sent, byte for byte. The random case of its letters is part of the
   secret that protects against spoofed replies (0x20).
2. A name has at most 255 octets, and each label has at most 63. Compression pointers must point backwards. The work is
   linear in the size of the packet, for three reasons. Consecutive records with the same owner and type are read
   together. Each position in the packet is read at most once. The numbers of records, of groups of records and of
   labels are limited.
3. Two kinds of records are kept: answers along the CNAME chain from the question, and the authority records that a
   negative answer needs for caching or proof. All other records are dropped. With `minimal-responses`, Unbound and BIND
   do the same for positive answers. Stub resolvers don't need the dropped records. Dropped records outside the answer
   section are skipped without being parsed.
4. Answers are in the order of the CNAME chain, because glibc needs this order. A pointer to the question replaces each
   owner that equals the question's name. So the client sees its own spelling of the name. All other owners are in lower
   case, or as the zone spells them.
5. The kept records are nearly always the first records of the reply. In this case, their octets are passed on
   unchanged. This is safe: pointers point backwards, so no kept record points at a dropped one. In all other cases, the
   records are composed again.
6. The addresses or SRV records of an answer can be reordered, because no pointer points into these records.
"""

from collections.abc import Sequence
from enum import Enum
from struct import Struct
from struct import error as StructError  # noqa: N812 (the name is in CamelCase, because it is an exception)
from typing import Final, NamedTuple

from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import OPT_HEAD, OPT_SIZE
from pydns.dns.reason import EDE_OPTION, Reason
from pydns.dns.rrset import AAAA, CNAME, NS, OPT, PTR, SOA, SRV, A

# A reply that exceeds one of these limits is refused. With these limits, the worst packet of 64 KB takes about 1 ms.
# The maximum number of answer records. Addresses are the shortest useful records, and a message can't contain more of
# them.
MAX_ANSWERS: Final = 4096
# The maximum number of records in the authority and additional sections. This is enough for the addresses of 1,000 SRV
# targets.
MAX_BESIDE: Final = 2000
# The maximum number of records with names in rdata. No message that pydns composes contains more SRV records.
MAX_NAMED: Final = 1200
MAX_COMPOSED: Final = 450  # maximum number of records with names in rdata, if the records must be composed again
# The maximum number of groups, in the answer section and among proofs. A group consists of consecutive records with the
# same owner and type.
MAX_GROUPS: Final = 400
MAX_LABELS: Final = 600  # maximum number of labels that are read; each position in the packet counts once
MAX_STEPS: Final = 2000  # maximum number of labels of names that are only skipped
MAX_CHAIN: Final = 16  # maximum number of CNAMEs in the chain from the question; Unbound follows 11


class UpstreamAnswer(NamedTuple):
    """The part of a reply after its question.

    This part consists of whole records. The only compression pointers in it lead to the question.
    """

    rcode: int
    counts: bytes  # ANCOUNT and NSCOUNT, as in the header
    records: bytes
    # A reason of pydns, or the INFO-CODE from an upstream. Only clients that sent OPT get it.
    extended_error: Reason | int | None = None
    onward: bytes = b""  # the last name of the CNAME chain in lower case, if the reply has no records for this name
    is_authentic: bool = False  # a trusted upstream has set AD (RFC 4035 section 3.2.3)


class Response(NamedTuple):
    """The useful part of a reply. If `truncated` is true, the response contains only the rcode."""

    answer: UpstreamAnswer
    ttl_offsets: tuple[int, ...]  # the offset of each record's TTL in `answer.records`
    ttl_s: int  # for how many seconds the response may be cached; 0 if it must not be cached
    negative: bool  # True: the SOA record limits `ttl_s` (RFC 2308 section 5), and `ttl_s` limits every record's TTL
    truncated: bool


class Unusable(Enum):
    """The reason why a packet can't be used as a reply to the question."""

    MALFORMED = "malformed"
    TOO_MUCH = "too many records or names"
    LONG_CHAIN = "too many CNAMEs"
    WRONG_QUESTION = "wrong question"
    CASE_CHANGED = "question in another case"


def parse_response(packet: bytes, question: bytes) -> Response | Unusable:
    """Return the useful part of `packet`, a reply to `question`. Never raises an exception.

    `question` contains the name, type and class exactly as they were sent. The caller must check the sender and the id.
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
        # Nine of ten replies contain one address of the question's name, with or without a plain OPT. This branch
        # parses such replies. `_parse_addresses` would return the same result, but would take 0.5 µs more.
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
    """Return the answer's records without compression, so that they are valid in any message to the client.

    Owners and targets of CNAMEs are in lower case. An owner that equals `client_qname` (a name in lower case) becomes a
    pointer to the question of the message.
    """
    reader = _Reader(bytes(HEADER) + question + answer.records, question[:-4].lower(), is_ours=True)
    answers, position = reader.groups(HEADER + len(question), int.from_bytes(answer.counts[:2]))
    authorities, _ = reader.groups(position, int.from_bytes(answer.counts[2:]))
    places = {client_qname: HEADER} if client_qname else {}
    return _compose(reader, [*answers, *authorities], 0, places)[0]


def rotation(answer: UpstreamAnswer, ttl_offsets: Sequence[int]) -> tuple[int, ...]:
    """Return the offsets of the records in `answer.records` that can be rotated, and the offset after the last of them.

    Only addresses and SRV records can be rotated. The result is empty if there is only one such record, or if the TTLs
    of these records differ: an RRset has one TTL (RFC 2181 section 5.2).
    """
    records = answer.records
    index = int.from_bytes(answer.counts[:2]) - 1
    rtype = b""
    while index > 0 and (rtype := _type_at(records, ttl_offsets[index])) == _RRSIG_OCTETS:
        index -= 1
    if index < 1 or rtype not in _ROTATED:
        return ()
    # All records of an RRset begin with the same octets, up to and including the TTL.
    size = ttl_offsets[index] - _end_of_record(records, ttl_offsets[index - 1])
    head = records[ttl_offsets[index] - size : ttl_offsets[index] + 4]
    begins = [_end_of_record(records, ttl_offsets[index])]
    while index >= 0 and records[(begin := ttl_offsets[index] - size) : ttl_offsets[index] + 4] == head:
        begins.append(begin)
        index -= 1
    return tuple(reversed(begins)) if len(begins) > 2 else ()


def rotated(records: bytes, places: Sequence[int], turn: int) -> bytes:
    """Return the records in rotation. `places` is the result of `rotation`. `turn` determines the first record."""
    cut, begin, end = places[turn % (len(places) - 1)], places[0], places[-1]
    return records[:begin] + records[cut:end] + records[begin:cut] + records[end:]


def _type_at(records: bytes, ttl_at: int) -> bytes:
    return records[ttl_at - 4 : ttl_at - 2]


def _end_of_record(records: bytes, ttl_at: int) -> int:
    return ttl_at + 6 + int.from_bytes(records[ttl_at + 4 : ttl_at + 6])


def _parse_addresses(packet: bytes, start: int, count: int, additionals: int, question: bytes) -> Response | None:
    """Return the result of `parse_response` for the most common kind of reply. Return None for any other reply.

    In the most common kind, all answers are addresses of the question's name, and only OPT may follow. Each address
    takes 0.25 µs.
    """
    type_and_class = question[-4:]
    length = _ADDRESS_LENGTHS.get(type_and_class[:2])
    if length is None or not 0 < count <= MAX_ANSWERS or packet[3] & 15:
        return None
    size = 12 + length
    end = start + count * size
    if additionals:
        # After the addresses, there must be exactly one OPT record without options, and the upper bits of its rcode
        # must be 0.
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
    """Consecutive records with the same owner, type and class."""

    owner: bytes  # the owner in lower case
    rtype: int
    rclass: bytes
    ttl_s: int  # the lowest TTL of the records
    target: bytes  # the last name in the rdata of the last record, in lower case; empty if the rdata contains no names
    ttls: Sequence[int]  # the offset of the TTL of each record
    begin: int
    end: int
    # Whether the octets of the group can be passed on unchanged. For this, owners must be pointers or in lower case,
    # and records that may be rotated must stay valid when they move.
    is_as_wanted: bool


class _Refused(Exception):
    def __init__(self, why: Unusable) -> None:
        super().__init__(why)
        self.why = why


_FLAGS_AND_COUNTS: Final = Struct("!5H").unpack_from
_ADDRESS: Final = Struct("!H4sIH").unpack_from
_OPT: Final = Struct("!3sHB3sH").unpack_from
_TO_QNAME: Final = 0xC000 | HEADER
_LENGTHS: Final = {A: 4, AAAA: 16}
_ADDRESS_LENGTHS: Final = {rtype.to_bytes(2): length for rtype, length in _LENGTHS.items()}
# Flags and counts -> the octets that may come after the answer. This dict is for replies with one answer, and with no
# other record, except an OPT record without options. AA, RD, RA, AD, CD and the reserved bit may have any value. The
# octets don't include the size in OPT. The upper bits of the rcode and the version must be 0. DO may be set.
_ONE_ANSWER: Final = {
    bytes([0x80 | upper, lower]) + b"\0\1\0\1\0\0\0" + bytes([additionals]): tails
    for upper in (0, 1, 4, 5)
    for lower in range(0, 0x100, 0x10)
    for additionals, tails in ((0, {b""}), (1, {OPT_HEAD + bytes(6), OPT_HEAD + b"\0\0\x80\0\0\0"}))
}
# Type and class -> the octets before the TTL, the octets after the TTL, and the size of the record. This dict is for
# addresses of the question's name.
_ADDRESS_FORMS: Final = {
    rtype + b"\0\1": (_TO_QNAME.to_bytes(2) + rtype + b"\0\1", length.to_bytes(2), 12 + length)
    for rtype, length in _ADDRESS_LENGTHS.items()
}
_AROUND_TTL: Final = Struct("!6sI2s").unpack_from
_FIXED: Final = Struct("!H2sIH").unpack_from
_TTL_AND_LENGTH: Final = Struct("!IH").unpack_from
_NO_RECORDS = bytes(4)
_MAX_TTL: Final = (1 << 31) - 1
# Octets of a message, and offset in a pointer (RFC 1035 sections 4.2.2 and 4.1.4).
_MAX_MESSAGE, _MAX_POINTER = 0xFFFF, 0x3FFF
# Makes a NamedTuple 0.15 µs faster than its constructor does. Each cache miss makes two NamedTuples.
_new: Final = tuple.__new__

_MX, _RP, _AFSDB, _DNAME, _RRSIG, _NSEC, _NSEC3, _ANY = 15, 17, 18, 39, 46, 47, 50, 255
# Type -> three numbers: octets of rdata before the names, number of names, and octets after the names. This dict
# contains the types whose rdata may contain compressed names (RFC 3597 section 4). It also contains SRV, because some
# servers compress SRV targets although this is not allowed.
_NAMED: Final = {
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


_PROOFS: Final = frozenset([SOA, _NSEC, _NSEC3, _RRSIG])  # the types that are kept from the authority section
_ROTATES: Final = frozenset([A, AAAA, SRV])
_ROTATED: Final = frozenset([rtype.to_bytes(2) for rtype in _ROTATES])
_RRSIG_OCTETS: Final = _RRSIG.to_bytes(2)


class _Reader:
    """Reads the sections of a packet, and counts names and labels to enforce the limits."""

    moves = True  # True as long as no name points at an offset that might move
    named = 0  # how many records with names in rdata have been read
    _groups = 0
    _steps = 0

    def __init__(self, packet: bytes, qname: bytes, *, is_ours: bool = False) -> None:
        """Prepare to read a packet.

        `qname` is in lower case. With `is_ours`, no limits apply, because pydns has accepted the records earlier.
        """
        self.packet = packet
        self._qname = qname
        # Offset -> the name at this offset. No offset is read twice, so the number of entries measures the work.
        self.names = {HEADER: qname}
        # octets after the first label of a name -> the name that these octets stand for.
        self._tails: dict[bytes, bytes] = {}
        self._is_ours = is_ours

    def groups(self, position: int, count: int) -> tuple[list[_Group], int]:
        """Return the groups of the `count` records that begin at `position`, and the offset after the last record."""
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
        # Most owners are only a pointer to a name that was read before.
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
                lowest = 0  # a TTL with the highest bit set is treated as 0 (RFC 2181 section 8)
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
        """Return the last name in the rdata of a record whose type is in `_NAMED`.

        Records at the offset `begin` and after it might move.
        """
        before, how_many, after = named
        at = rdata_at + before
        if how_many > 1:
            for _ in range(how_many):
                target, at = self.name(at)
            if at + after != end:
                raise _Refused(Unusable.MALFORMED)
            return target
        # The targets of one answer usually differ only in the first label.
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
            # The owners of most additional records point at this target.
            target = self.names[at] = packet[at:tail_at].lower() + rest
        else:
            target = packet[at:tail_at].lower() + rest
        if len(target) > name.MAX_NAME:
            raise _Refused(Unusable.MALFORMED)
        return target

    def proofs(self, position: int, count: int) -> tuple[list[_Group], int]:
        """Return the authority records that a negative answer may need, and the offset after the authority section."""
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
        """Read the additional section up to the end of the packet. Only the OPT record is parsed.

        Return what the OPT record contains: the upper bits of the rcode, and the code of an extended error (RFC 8914).
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
        """Return the offset after a name that isn't needed. A pointer at the end of the name isn't followed."""
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
    """The parts of a reply that are kept."""

    rcode: int
    answers: list[_Group]
    authorities: list[_Group]
    ttl_s: int
    negative: bool = False
    onward: bytes = b""


def _select(packet: bytes, found: list[_Group], proofs: list[_Group], question: bytes, rcode: int) -> _Kept:
    """Return the parts of a reply that are kept. The answers are in the order of the CNAME chain."""
    qname = question[:-4].lower()
    qtype = question[-4] << 8 | question[-3]
    qclass = question[-2:]
    places = {qname: 0}  # name in the chain -> its position
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
        # A DNAME comes before the CNAME that was synthesized from it. So the position of the DNAME is 0.5 lower than
        # the position of the CNAME's owner.
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
    # A negative answer without a SOA must not be cached (RFC 2308 section 5). But a CNAME chain to a name outside the
    # server's zones is not negative, even if the server doesn't follow the chain. The TTLs of its CNAMEs determine how
    # long the chain is cached.
    if rcode or len(places) == 1:
        return _Kept(rcode, kept, [], 0)
    return _Kept(rcode, kept, [], ttl_s, onward=b"" if last in aliases else last)


def _proofs_of(packet: bytes, answers: list[_Group], proofs: list[_Group], last: bytes) -> list[_Group]:
    """Return the proofs of a positive answer: the proofs from the zones that signed the answer.

    If the answer has no signature, these are the proofs at or below the parent of the answer's name.
    """
    zones: dict[bytes, bytes] = {}  # owner of a signature -> the zone that made the signature
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
    """Return the code of the first extended error.

    Return None if the options are invalid, or contain no extended error.
    """
    position = 0
    while position + 6 <= len(options):
        code, length = (int.from_bytes(options[at : at + 2]) for at in (position, position + 2))
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
    """Return whether the octets up to the last kept record can be passed on unchanged."""
    position = start
    moves = False
    for group in wanted:
        # SRV records may be reordered. So no record may come after them: its pointers might lead to octets that move.
        if group.begin != position or not group.is_as_wanted or moves:
            return False
        position = group.end
        moves = group.rtype == SRV and len(group.ttls) > 1
    return True


def _compose(
    reader: _Reader, groups: Sequence[_Group], start: int, places: dict[bytes, int]
) -> tuple[bytes, tuple[int, ...]]:
    """Return the records, and the offsets of their TTLs. `places` contains names to which owners may point.

    If `start` is not 0, the records begin at this offset in a message, and the targets of CNAMEs are added to `places`.
    Names in rdata are not compressed.
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
    """Return the rdata of a record without compression. Names that were compressed are in lower case.

    All other names are spelled as in the zone. But the target of a CNAME is in lower case, because it may have been
    synthesized from the question.
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
