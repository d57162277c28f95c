"""Removes the addresses of one family from answers of upstreams.

The functions take and return an `UpstreamAnswer`, which contains the part of a reply after the question. The question
to the upstream and the question of the client differ only in their types, so pointers to the question stay valid.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.compiled import TO_QUESTION, walk
from pydns.dns.denial import denial_soa
from pydns.dns.message import Rcode
from pydns.dns.reason import Reason
from pydns.dns.response import UpstreamAnswer, uncompressed
from pydns.dns.rrset import AAAA, CLASS_IN, CNAME, SOA, A

# The TTL of a denial for which no upstream has sent a SOA record. It is short, so that clients soon ask again.
DENIAL_TTL_S = 30
IPV4_HINT, IPV6_HINT = 4, 6  # keys of parameters in HTTPS and SVCB records (RFC 9460 section 14.3.2)

_CLASS_IN = CLASS_IN.to_bytes(2)
(_SOA_RDATA,) = denial_soa(name.ROOT, DENIAL_TTL_S).rdatas
_ADDRESSES = frozenset([A, AAAA])
_ADDRESS_TYPES = frozenset([each.to_bytes(2) for each in _ADDRESSES])
_MANDATORY = 0  # key of the parameter that lists the keys which a client must understand


class Record(NamedTuple):
    """A record without compression. Only its owner may be a pointer to the question."""

    owner: bytes
    rtype: int
    ttl_s: int
    rdata: bytes

    def wire(self) -> bytes:
        """Return the octets of the record."""
        fixed = self.rtype.to_bytes(2) + _CLASS_IN + self.ttl_s.to_bytes(4) + len(self.rdata).to_bytes(2)
        return self.owner + fixed + self.rdata


def without_addresses(question: bytes, answer: UpstreamAnswer) -> UpstreamAnswer:
    """Return the answer to a question for addresses of a family that the configuration leaves out.

    `answer` is the upstream's answer. CNAMEs, denials and errors in it are kept. An answer with addresses is replaced
    by NODATA with EDE 17 (Filtered). If no SOA record of the name's zone is known, NODATA gets a SOA record at the name
    itself. So clients can cache NODATA (RFC 2308 section 5).
    """
    if answer.rcode != Rcode.NOERROR or answer.onward:
        return answer
    if answer.counts[2:] != b"\0\0":  # the answer is NODATA already
        return answer._replace(extended_error=Reason.FAMILIES, is_authentic=False)
    if answer.records[2:4] in _ADDRESS_TYPES and answer.records[:2] == TO_QUESTION:
        return _FILTERED  # the most common answer has addresses of the name itself, and no CNAME
    answers, _ = records_of(question, answer)
    return denial([each for each in answers if each.rtype not in _ADDRESSES], Reason.FAMILIES)


def without_hint(question: bytes, answer: UpstreamAnswer, hint: int) -> UpstreamAnswer:
    """Return an answer to a question for HTTPS or SVCB records, without the hints for one address family.

    A record that declares the hint as mandatory is not changed.
    """
    rtype = int.from_bytes(question[-4:-2])
    if hint.to_bytes(2) not in answer.records:
        return answer
    answers, authorities = records_of(question, answer)
    return composed(
        answer,
        [
            each._replace(rdata=_without_parameter(each.rdata, hint)) if each.rtype == rtype else each
            for each in answers
        ],
        authorities,
    )


def _without_parameter(rdata: bytes, key: int) -> bytes:
    """Return the RDATA of a HTTPS or SVCB record without the parameter `key` (RFC 9460 section 2.2).

    Invalid RDATA is not changed.
    """
    position = 2
    try:
        while rdata[position]:
            position += 1 + rdata[position]
        kept = [rdata[: position + 1]]
        position += 1
        while position < len(rdata):
            found, length = int.from_bytes(rdata[position : position + 2]), int.from_bytes(rdata[position + 2 :][:2])
            end = position + 4 + length
            listed = {rdata[at : at + 2] for at in range(position + 4, end, 2)} if found == _MANDATORY else set()
            if key.to_bytes(2) in listed or end > len(rdata):
                return rdata
            if found != key:
                kept.append(rdata[position:end])
            position = end
    except IndexError:
        return rdata
    return b"".join(kept)


def records_of(question: bytes, answer: UpstreamAnswer) -> tuple[list[Record], list[Record]]:
    """Return the records of the answer section and of the authority section."""
    octets = uncompressed(question, answer, question[:-4].lower())
    found = [
        Record(
            octets[begin:fixed],
            int.from_bytes(octets[fixed : fixed + 2]),
            int.from_bytes(octets[fixed + 4 : fixed + 8]),
            octets[fixed + 10 : end],
        )
        for begin, fixed, end in walk(octets)
    ]
    count = int.from_bytes(answer.counts[:2])
    return found[:count], found[count:]


def composed(answer: UpstreamAnswer, answers: Sequence[Record], authorities: Sequence[Record] = ()) -> UpstreamAnswer:
    """Return a copy of an answer with the records `answers` and `authorities` instead of its own.

    The copy isn't authentic (AD is not set), because no server has signed the changed records.
    """
    counts = len(answers).to_bytes(2) + len(authorities).to_bytes(2)
    records = b"".join([each.wire() for each in (*answers, *authorities)])
    return answer._replace(counts=counts, records=records, is_authentic=False)


def denial(answers: Sequence[Record], error: Reason | None = None) -> UpstreamAnswer:
    """Return a NODATA answer whose answer section contains `answers`, which must be CNAMEs.

    The owner of the SOA record is the target of the last CNAME. Without a CNAME, the owner is the question's name.
    """
    owner = next((each.rdata for each in reversed(answers) if each.rtype == CNAME), TO_QUESTION)
    soa = Record(owner, SOA, DENIAL_TTL_S, _SOA_RDATA)
    return composed(UpstreamAnswer(Rcode.NOERROR, b"", b"", error), answers, [soa])


_FILTERED = denial((), Reason.FAMILIES)
