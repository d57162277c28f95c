"""Compiles answers when the cluster changes. A compiled answer contains the part of a reply after the question.

The format of a compiled answer is:

    octet 0      bit 0: 1 if the records of the answer section are rotated
                 other bits: a bit for each level, 1 if a client class of the level gets another answer
                 (`pydns.table.client_classes`)
    octet 1      the length of each answer record, if these records are rotated and no pointer leads to them, else 0
    octets 2–9   the four counts of the reply's header; QDCOUNT is 1
    octets 10–   the records, compressed for a message whose question is at offset 12

So a reply consists of the id, the flags, octets 2–9, the question as the client sent it, and octets 10–. The letters of
the question may be in any case. Compression pointers point into the question, but a change of case moves no octet.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from struct import Struct
from typing import Final

from pydns.dns import name
from pydns.dns.rrset import AAAA, CLASS_IN, MX, NS, PTR, SRV, A, Hosts, RRset

HEADER: Final = 12  # octets of a message before the question (RFC 1035 section 4.1.1)
RECORDS: Final = 10  # offset of the records in a compiled answer
ROTATED: Final = frozenset([A, AAAA, SRV])  # types whose records are rotated, because clients use the first record


_MAX_POINTER: Final = 0x3FFF  # pointers have 14 bits (RFC 1035 section 4.1.4)
TO_QUESTION: Final = (0xC000 | HEADER).to_bytes(2)  # a pointer to the name of the question, as the owner of a record
_CLASS_IN: Final = CLASS_IN.to_bytes(2)
_HEAD: Final = Struct("!2B4H").pack  # octets 0–9
_MESSAGE: Final = 0xFFFF  # maximum size of a message in octets
# The largest count that a header can contain. No message has so many records: the shortest record has 11 octets.
_MOST: Final = 0xFFFF
_ONE_RECORD: Final = _HEAD(0, 0, 1, 1, 0, 0) + TO_QUESTION
_FIXED: Final = Struct("!HHIH").pack  # type, class, TTL, RDLENGTH
_A_IN, _PTR_IN, _AAAA_IN, _SRV_IN = [rtype.to_bytes(2) + _CLASS_IN for rtype in (A, PTR, AAAA, SRV)]
_RDATA_AT: Final = 12  # offset of RDATA in a record whose owner is a pointer
# Type -> offset of the target's name in RDATA. The addresses of the target become additional records.
TARGET_AT: Final = {NS: 0, MX: 2, SRV: 6}


def question(qname: bytes, rtype: int) -> bytes:
    """Return the key of an answer in the table: the question in wire form and lower case, with class IN.

    The fast path converts the whole question to lower case before the lookup (pydns.serve.fast, rule 3). So it can't
    distinguish two types that differ only in the case of an ASCII letter. The key of a type with such a letter
    therefore begins with a zero octet. This key isn't a valid question, so the fast path never finds it.
    """
    key = qname.lower() + rtype.to_bytes(2) + _CLASS_IN
    return b"\0" + key if rtype >= ord("A") and is_lettered(rtype) else key


def is_lettered(rtype: int) -> bool:
    """Return whether an octet of a type is an ASCII letter. `bytes.lower()` would change such a type."""
    octets = rtype.to_bytes(2)
    return octets.lower() != octets.upper()


def compile_answer(rrset: RRset) -> bytes:
    """Compile the answer for `rrset`: the records of `rrset`, then the records of its additional RRsets.

    Owners are compressed, but names in RDATA are not. RFC 2782 forbids compression of SRV targets. For other types,
    compression would save little. A compiled answer may be longer than a message. `fit` decides how much of it a reply
    contains.
    """
    owner, rtype, ttl_s, rdatas, additional, _ = rrset
    if not additional and len(rdatas) == 1:
        return compile_record(rtype, ttl_s, rdatas[0])
    records = [TO_QUESTION + _FIXED(rtype, CLASS_IN, ttl_s, len(rdata)) + rdata for rdata in rdatas]
    if not additional:
        length = len(records[0]) if rtype in (A, AAAA) else 0
        return _HEAD(rtype in ROTATED, length, 1, min(len(records), _MOST), 0, 0) + b"".join(records)

    # The owner of an additional address record may be a pointer to a target in the RDATA of an answer record.
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
    if len(octets) > _MESSAGE:  # don't store additional records that can't be sent
        fitting = sum([end <= _MESSAGE for end in accumulate(map(len, records))])
        count = max(0, fitting - answers)
        octets = b"".join(records[: answers + count])
        answers = min(answers, _MOST)
    return _HEAD(answers > 1 and rtype in ROTATED, 0, 1, answers, 0, count) + octets


def compile_record(rtype: int, ttl_s: int, rdata: bytes) -> bytes:
    """Compile the answer for an RRset of one record without additional records."""
    return _ONE_RECORD + _FIXED(rtype, CLASS_IN, ttl_s, len(rdata)) + rdata


def compile_hosts(hosts: Hosts) -> dict[bytes, bytes]:
    """Return a dict with the compiled answers for all RRsets of `hosts`: key of the table -> answer.

    Calling `question` and `compile_answer` for each RRset would have the same result. This function takes a fifth of
    the time, because nearly all octets are the same for each host. Most records of a large cluster are made by this
    function.
    """
    parent, ttl_s, addresses, services = hosts
    of_type = {4: (parent + _A_IN, compile_record(A, ttl_s, bytes(4))[:-4])}
    of_type[16] = parent + _AAAA_IN, compile_record(AAAA, ttl_s, bytes(16))[:-16]
    heads = {4: of_type[4][1][RECORDS:], 16: of_type[16][1][RECORDS:]}
    srv_key = parent + _SRV_IN
    leads: dict[int, list[bytes]] = {}  # length of a name -> the octets before each copy of the name in the SRV records
    answers: dict[bytes, bytes] = {}
    for label, address in addresses:
        family = len(address)
        key, lead = of_type[family]
        answers[label + key] = lead + address
        if services:
            owner = label + parent
            length = len(owner)
            before = leads.get(length)
            if before is None:
                before = [TO_QUESTION + _FIXED(SRV, CLASS_IN, ttl_s, len(each) + length) + each for each in services]
                before[0] = _HEAD(len(services) > 1, 0, 1, len(services), 0, 1) + before[0]
                leads[length] = before
            answers[label + srv_key] = owner.join(before) + owner + heads[family] + address
    return answers


def compile_pointers(named: Iterable[tuple[bytes, bytes]], ttl_s: int) -> dict[bytes, bytes]:
    """Return a dict with the compiled answers for PTR records: key of the table -> answer.

    `named` contains pairs: an address, and its only name. Calling `question` and `compile_answer` for the PTR record of
    each address would have the same result.
    """
    leads: dict[int, bytes] = {}  # length of a name -> the octets before the name
    answers: dict[bytes, bytes] = {}
    for address, target in named:
        lead = leads.get(len(target))
        if lead is None:
            lead = leads[len(target)] = compile_record(PTR, ttl_s, bytes(len(target)))[: -len(target)]
        answers[name.reverse_name(address) + _PTR_IN] = lead + target
    return answers


def with_ttl(compiled: bytes, before_s: int, ttl_s: int) -> bytes:
    """Return a copy of a compiled answer, in which `ttl_s` replaces each TTL that equals `before_s`."""
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
    """Return the records of a compiled answer in rotation.

    `turn` determines the first record. Takes 2 µs per record.
    """
    rrset, additionals = decompile(key, compiled)
    return compile_answer(rotate_rrset(rrset, turn)._replace(additional=tuple(additionals)))[RECORDS:]


def rotate_rrset(rrset: RRset, turn: int) -> RRset:
    """Return a copy of an RRset. Addresses and SRV records are rotated: `turn` determines the first record."""
    rdatas = rrset.rdatas
    if rrset.rtype not in ROTATED or len(rdatas) < 2:
        return rrset
    cut = turn % len(rdatas)
    return rrset._replace(rdatas=rdatas[cut:] + rdatas[:cut])


def fit(wanted: int, octets: bytes, room: int) -> tuple[int, int, int]:
    """Return how many answer records and how many other records fit into `room`, and the offset after these records.

    `octets` contains records that pydns composed. The first `wanted` records are the answer. Only whole records count.
    A reply that has all answer records, but lacks additional records, needs no TC (RFC 2181 section 9).
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
    """For each record, yield the offsets of its start, type and end. pydns must have composed the records."""
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
    """Return the RRset and the additional RRsets of a compiled answer. All owners are uncompressed names.

    If `most` is given, only records that end within the first `most` octets are returned. Tools call `decompile`. A
    worker calls `decompile` only when it composes an answer from several RRsets.
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
