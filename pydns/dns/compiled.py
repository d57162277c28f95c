"""Compiled answers: the part of a reply after the question, composed when the cluster changes.

A compiled answer is

    octet 0      1 if the records of the answer section are rotated, else 0
    octet 1      length of each of these records, if they are rotated and no pointer leads to them, else 0
    octets 2–9   the four counts of a header, QDCOUNT 1
    octets 10–   the records, compressed for a message whose question is at offset 12

so a reply is id + flags + octets 2–9 + question as sent + octets 10–. That works because compression pointers point
into the question, whose length doesn't depend on its case.
"""

from collections.abc import Iterator
from itertools import accumulate
from struct import Struct

from pydns.dns import name
from pydns.dns.rrset import AAAA, CLASS_IN, MX, NS, SRV, A, RRset

HEADER = 12  # octets of a message before the question (RFC 1035 section 4.1.1)
RECORDS = 10  # offset of the records in a compiled answer
ROTATED = frozenset([A, AAAA, SRV])  # types of which clients take the first record


_MAX_POINTER = 0x3FFF  # RFC 1035 section 4.1.4: pointers have 14 bits. dnslib's packer masks longer ones
_TO_QNAME = b"\xc0\x0c"
_CLASS_IN = CLASS_IN.to_bytes(2)
_HEAD = Struct("!2B4H").pack  # octets 0–9
_MESSAGE = 0xFFFF  # octets of the longest message
_MOST = 0xFFFF  # records: more would not fit into a message, as the shortest takes 11 octets
_ONE_RECORD = _HEAD(0, 0, 1, 1, 0, 0) + _TO_QNAME
_FIXED = Struct("!HHIH").pack  # type, class, TTL, RDLENGTH
_RDATA_AT = 12  # in a record whose owner is a pointer
TARGET_AT = {NS: 0, MX: 2, SRV: 6}  # offset in RDATA of the name whose addresses are additional records


def question(qname: bytes, rtype: int) -> bytes:
    """Return the key of an answer: the question it belongs to, in wire form and lower case, class IN.

    Types with an octet that is a letter get a key that is no question: the fast path, which looks up the whole question
    in lower case (pydns.serve.fast, rule 3), would mistake one such type for another.
    """
    key = qname.lower() + rtype.to_bytes(2) + _CLASS_IN
    return b"\0" + key if rtype >= ord("A") and is_lettered(rtype) else key


def is_lettered(rtype: int) -> bool:
    """Return whether an octet of a type is a letter, which changes with its case."""
    octets = rtype.to_bytes(2)
    return octets.lower() != octets.upper()


def compile_answer(rrset: RRset) -> bytes:
    """Compile the answer to the question for `rrset`: its records, then those of its additional RRsets.

    Owners are compressed; names in RDATA are not (RFC 2782 forbids it for SRV targets, and for the others it would
    gain little). The answer may be longer than a message: `fit` cuts it when it is sent.
    """
    owner, rtype, ttl_s, rdatas, additional, _ = rrset
    if not additional and len(rdatas) == 1:
        return _ONE_RECORD + _FIXED(rtype, CLASS_IN, ttl_s, len(rdatas[0])) + rdatas[0]
    records = [_TO_QNAME + _FIXED(rtype, CLASS_IN, ttl_s, len(rdata)) + rdata for rdata in rdatas]
    if not additional:
        length = len(records[0]) if rtype in (A, AAAA) else 0
        return _HEAD(rtype in ROTATED, length, 1, min(len(records), _MOST), 0, 0) + b"".join(records)

    # The address records that follow may point at a target within RDATA.
    target_at = _RDATA_AT + TARGET_AT[rtype]
    position = HEADER + len(owner) + 4
    seen = {owner: HEADER}
    for record in records:
        position += len(record)
        target = record[target_at:].lower()
        if target not in seen:
            seen[target] = position - len(target)
    count = 0
    for extra_owner, extra_rtype, extra_ttl_s, extra_rdatas, _, _ in additional:
        at = seen.get(extra_owner, _MAX_POINTER + 1)
        pointer = (0xC000 | at).to_bytes(2) if at <= _MAX_POINTER else extra_owner
        records += [pointer + _FIXED(extra_rtype, CLASS_IN, extra_ttl_s, len(rdata)) + rdata for rdata in extra_rdatas]
        count += len(extra_rdatas)
    octets = b"".join(records)
    answers = len(rdatas)
    if len(octets) > _MESSAGE:  # additional records that can't be sent take no room in the table
        fitting = sum([end <= _MESSAGE for end in accumulate(map(len, records))])
        count = max(0, fitting - answers)
        octets = b"".join(records[: answers + count])
        answers = min(answers, _MOST)
    return _HEAD(answers > 1 and rtype in ROTATED, 0, 1, answers, 0, count) + octets


def with_ttl(compiled: bytes, before_s: int, ttl_s: int) -> bytes:
    """Return a compiled answer in which `ttl_s` replaces the TTL `before_s`."""
    before, after = before_s.to_bytes(4), ttl_s.to_bytes(4)
    if compiled.startswith(_ONE_RECORD):
        at = len(_ONE_RECORD) + 4
        return compiled[:at] + after + compiled[at + 4 :] if compiled[at : at + 4] == before else compiled
    revised = bytearray(compiled)
    for _, fixed, _ in walk(compiled[RECORDS:]):
        at = RECORDS + fixed + 4
        if revised[at : at + 4] == before:
            revised[at : at + 4] = after
    return bytes(revised)


def rotate_anew(key: bytes, compiled: bytes, turn: int) -> bytes:
    """Return the records of a compiled answer, beginning with a different one each turn. Takes 2 µs a record."""
    rrset, additionals = decompile(key, compiled)
    return compile_answer(rotate_rrset(rrset, turn)._replace(additional=tuple(additionals)))[RECORDS:]


def rotate_rrset(rrset: RRset, turn: int) -> RRset:
    """Return an RRset whose addresses or SRV records begin with a different one each turn."""
    rdatas = rrset.rdatas
    if rrset.rtype not in ROTATED or len(rdatas) < 2:
        return rrset
    cut = turn % len(rdatas)
    return rrset._replace(rdatas=rdatas[cut:] + rdatas[:cut])


def fit(wanted: int, octets: bytes, room: int) -> tuple[int, int, int]:
    """Return how many records of the answer, `wanted` in all, and how many others fit into `room`, and where they end.

    `octets` are records that we composed, those of the answer first. Only whole records count. An answer without its
    additional records isn't truncated (RFC 2181 section 9).
    """
    answers = others = end = 0
    for _, _, next_end in walk(octets):
        if next_end > room:
            break
        end = next_end
        if answers < wanted:
            answers += 1
        else:
            others += 1
    return answers, others, end


def walk(octets: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the offsets of each record, of its type, and of its end. Only for records that we composed."""
    position = 0
    while position < len(octets):
        begin = position
        while 0 < octets[position] < 0xC0:
            position += 1 + octets[position]
        position += 2 if octets[position] >= 0xC0 else 1
        end = position + 10 + int.from_bytes(octets[position + 8 : position + 10])
        yield begin, position, end
        position = end


def decompile(key: bytes, compiled: bytes, most: int | None = None) -> tuple[RRset, list[RRset]]:
    """Return the RRset and the additional RRsets that a compiled answer was made from, owners in full.

    Only whole records within the first `most` octets, if it is given. For tools, and for answers that are composed of
    several RRsets per query.
    """
    qname, octets = key[:-4].removeprefix(b"\0") or name.ROOT, compiled[RECORDS:]
    base = HEADER + len(qname) + 4
    answers = int.from_bytes(compiled[4:6])
    found: dict[tuple[bytes, int, int], list[bytes]] = {}
    for index, (begin, fixed, end) in enumerate(walk(octets)):
        if most is not None and end > most:
            break
        if octets[begin] < 0xC0:
            owner = octets[begin:fixed]
        else:
            at = int.from_bytes(octets[begin:fixed]) & _MAX_POINTER
            owner = qname if at == HEADER else _name_at(octets, at - base)
        rtype = int.from_bytes(octets[fixed : fixed + 2])
        ttl_s = int.from_bytes(octets[fixed + 4 : fixed + 8])
        section = 0 if index < answers else 1
        found.setdefault((owner, rtype, ttl_s * 2 + section), []).append(octets[fixed + 10 : end])
    rrsets = [RRset(owner, rtype, ttl // 2, tuple(rdatas)) for (owner, rtype, ttl), rdatas in found.items()]
    return rrsets[0], rrsets[1:]


def _name_at(octets: bytes, position: int) -> bytes:
    end = position
    while octets[end]:
        end += 1 + octets[end]
    return octets[position:end] + name.ROOT
