"""DNS64: maps IPv4 addresses of answers to IPv6 addresses that a NAT64 serves (RFC 6147, RFC 6052).

The functions take and return an `UpstreamAnswer`, like the functions of `pydns.dns.derived`.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.address import AddressRange, parse_range
from pydns.dns.compiled import TO_QUESTION
from pydns.dns.derived import Record, composed, denial, records_of
from pydns.dns.message import Rcode
from pydns.dns.response import UpstreamAnswer
from pydns.dns.rrset import AAAA, CNAME, SOA, A

# The well-known prefix for NAT64 (RFC 6052 section 2.1).
WELL_KNOWN_PREFIX = parse_range("64:ff9b::/96")
TTL_S = 600  # the maximum TTL of a mapped address if the SOA record of the zone is unknown (RFC 6147 section 5.1.7)
IPV4ONLY_ARPA = name.from_text("ipv4only.arpa.")
# The addresses of `ipv4only.arpa`. Clients ask for this name to find out the prefix of the NAT64 (RFC 7050). The
# addresses never change, so pydns needs no upstream for them.
_IPV4ONLY = tuple([Record(TO_QUESTION, A, TTL_S, bytes([192, 0, 0, last])) for last in (170, 171)])

# Ranges of IPv4 addresses that aren't global (RFC 1918, RFC 5735 section 3, RFC 6598).
_PRIVATE = tuple(
    map(
        parse_range,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)


class Dns64(NamedTuple):
    """The rules of one DNS64."""

    prefixes: tuple[AddressRange, ...]  # each prefix has 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2)
    exclude: tuple[AddressRange, ...] = ()  # IPv6 addresses that are treated as missing (RFC 6147 section 5.1.4)
    translate_all: bool = False  # also map the IPv4 addresses of names that have IPv6 addresses
    map_private: bool = False  # map private IPv4 addresses into the well-known prefix, too

    def usable(self, question: bytes, answer: UpstreamAnswer) -> UpstreamAnswer | None:
        """Return the answer to a question for AAAA, or None if IPv4 addresses must be mapped for the answer.

        `answer` is the upstream's answer. Excluded addresses are removed from it. An error other than NXDOMAIN is
        treated as NODATA.
        """
        if answer.rcode == Rcode.NXDOMAIN or answer.onward:
            return answer
        if answer.rcode != Rcode.NOERROR or self.translate_all or answer.counts[:2] == b"\0\0":
            return None
        records, authorities = records_of(question, answer)
        kept = [each for each in records if each.rtype != AAAA or not is_within(each.rdata, self.exclude)]
        if not any(each.rtype == AAAA for each in kept):
            return None
        return answer if len(kept) == len(records) else composed(answer, kept, authorities)

    def synthesised(self, question: bytes, answer: UpstreamAnswer, found: UpstreamAnswer) -> UpstreamAnswer:
        """Return the answer to a question for AAAA, made from the IPv4 addresses in `found`.

        `found` is the upstream's answer to the same question for A, and `answer` is its answer for AAAA. If there is no
        IPv4 address to map, the result is `answer`.
        """
        if found.rcode != Rcode.NOERROR:
            return found if found.rcode == Rcode.NXDOMAIN or answer.rcode != Rcode.NOERROR else answer
        made = list(self._mapped(records_of(question, found)[0], _longest_ttl(question, answer)))
        if found.onward or any(each.rtype == AAAA for each in made):
            return composed(found, made)
        if answer.rcode == Rcode.NOERROR:
            return answer
        return denial(made) if found.counts[2:] == b"\0\0" else found

    def ipv4only(self, rtype: int) -> UpstreamAnswer:
        """Return the answer for the addresses of `ipv4only.arpa` (RFC 8880 section 7.1)."""
        mapped = [_with_prefix(each, prefix, TTL_S) for prefix in self.prefixes for each in _IPV4ONLY]
        return composed(UpstreamAnswer(Rcode.NOERROR, b"", b""), mapped if rtype == AAAA else _IPV4ONLY)

    def reverse(self, qname: bytes) -> UpstreamAnswer | None:
        """Return a CNAME from the reverse name of a mapped address to the reverse name of its IPv4 address.

        Return None for all other names. `qname` is in lower case. Spec: RFC 6147 section 5.3.1.
        """
        address = _address_of(qname)
        for prefix in self.prefixes if address is not None else ():
            if address in prefix:
                target = name.reverse_name(extracted(prefix, address))
                found = UpstreamAnswer(Rcode.NOERROR, b"", b"", None, target)
                return composed(found, [Record(TO_QUESTION, CNAME, TTL_S, target)])
        return None

    def _mapped(self, records: Iterable[Record], longest_s: int) -> Iterator[Record]:
        """Yield the records, but with mapped addresses.

        An A record is replaced by an AAAA record for each prefix.
        """
        for each in records:
            if each.rtype != A:
                yield each
                continue
            for prefix in self.prefixes:
                if self.map_private or prefix != WELL_KNOWN_PREFIX or not is_within(each.rdata, _PRIVATE):
                    yield _with_prefix(each, prefix, longest_s)


def _with_prefix(record: Record, prefix: AddressRange, longest_s: int) -> Record:
    rdata = embedded(prefix, record.rdata)
    return record._replace(rtype=AAAA, ttl_s=min(record.ttl_s, longest_s), rdata=rdata)


def embedded(prefix: AddressRange, address: bytes) -> bytes:
    """Return the IPv6 address that consists of a prefix and an IPv4 address (RFC 6052 section 2.2)."""
    at = _prefix_octets(prefix)
    octets = prefix.first[:at] + address
    if at <= _ZERO_AT:
        octets = octets[:_ZERO_AT] + b"\0" + octets[_ZERO_AT:]
    return octets.ljust(16, b"\0")


def extracted(prefix: AddressRange, address: bytes) -> bytes:
    """Return the IPv4 address that an IPv6 address with this prefix contains (the inverse of `embedded`)."""
    at = _prefix_octets(prefix)
    if at <= _ZERO_AT:
        address = address[:_ZERO_AT] + address[_ZERO_AT + 1 :]
    return address[at : at + 4]


def is_within(address: bytes, ranges: Iterable[AddressRange]) -> bool:
    """Return whether one of the ranges contains an address."""
    return any(address in each for each in ranges)


_ZERO_AT = 8  # the octet with bits 64 to 71, which are always zero (RFC 6052 section 2.2)


def _prefix_octets(prefix: AddressRange) -> int:
    return len(prefix.first) - prefix.free_bits // 8


def _longest_ttl(question: bytes, answer: UpstreamAnswer) -> int:
    """Return the maximum TTL of a mapped address: that of the denial's SOA record, or `TTL_S` without a SOA record."""
    _, authorities = records_of(question, answer)
    return next((each.ttl_s for each in authorities if each.rtype == SOA), TTL_S)


def _address_of(qname: bytes) -> bytes | None:
    """Return the IPv6 address to which a reverse name in lower case belongs, or None for any other name."""
    labels = name.labels_of(qname)
    if len(labels) != _REVERSE_LABELS or labels[-2:] != [b"ip6", b"arpa"]:
        return None
    nibbles = b"".join(reversed(labels[:-2]))
    return bytes.fromhex(nibbles.decode()) if len(nibbles) == 32 and _HEXADECIMAL.issuperset(nibbles) else None


_REVERSE_LABELS = 34  # a label for each of the 32 nibbles, and the labels `ip6` and `arpa`
_HEXADECIMAL = frozenset(b"0123456789abcdef")
