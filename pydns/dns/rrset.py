"""RRsets: all records of one name and type, with RDATA in uncompressed wire form (RFC 9499 section 5, RFC 1035).

The functions of this module compose RDATA, and don't check their arguments. So callers must pass valid values.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final, NamedTuple

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
HINFO: Final = 13
MX: Final = 15
TXT: Final = 16
AAAA: Final = 28
SRV: Final = 33
DNAME: Final = 39
OPT: Final = 41
DS: Final = 43
RRSIG: Final = 46
NSEC: Final = 47
SVCB: Final = 64
HTTPS: Final = 65
IXFR: Final = 251
AXFR: Final = 252
ANY: Final = 255

CLASS_IN: Final = 1
CLASS_CH = 3

# The types that metrics show by name.
TYPE_NAMES: Final = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    43: "DS",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    50: "NSEC3",
    64: "SVCB",
    65: "HTTPS",
    251: "IXFR",
    252: "AXFR",
    255: "ANY",
}
# Further types that logs show by name. A configuration may also contain these names.
_OTHER_TYPES = {
    "HINFO": 13,
    "RP": 17,
    "LOC": 29,
    "NAPTR": 35,
    "CERT": 37,
    "DNAME": 39,
    "SSHFP": 44,
    "NSEC3PARAM": 51,
    "TLSA": 52,
    "SMIMEA": 53,
    "CDS": 59,
    "CDNSKEY": 60,
    "OPENPGPKEY": 61,
    "CSYNC": 62,
    "ZONEMD": 63,
    "SPF": 99,
    "URI": 256,
    "CAA": 257,
}

_SRV: Final = Struct("!HHH").pack


class RRset(NamedTuple):
    """Records of one owner and type. `additional` contains the RRsets for the additional section of a reply.

    `is_cut` is True if records were left out because no message can contain all of them.
    """

    owner: bytes
    rtype: int
    ttl_s: int
    rdatas: tuple[bytes, ...]
    additional: tuple["RRset", ...] = ()
    is_cut: bool = False


class Hosts(NamedTuple):
    """Names below one parent, in lower case.

    Each name has one address. All names have the same SRV records, but the target of each SRV record is the name
    itself. `pydns.dns.compiled.compile_hosts` compiles the answers without making RRsets.
    """

    parent: bytes
    ttl_s: int
    addresses: list[tuple[bytes, bytes]]  # for each name: the first label with its length octet, and the address
    services: tuple[bytes, ...]  # RDATA of the SRV records, without the target

    def rrsets(self) -> Iterator[RRset]:
        """Yield all RRsets, name by name."""
        for label, address in self.addresses:
            owner = label + self.parent
            found = RRset(owner, address_type(address), self.ttl_s, (address,))
            yield found
            if self.services:
                yield RRset(owner, SRV, self.ttl_s, tuple([each + owner for each in self.services]), (found,))


def each_rrset(found: Iterable[RRset | Hosts]) -> Iterator[RRset]:
    """Yield every RRset of `found`. For a `Hosts`, yield the RRset of each of its names."""
    for each in found:
        if isinstance(each, Hosts):
            yield from each.rrsets()
        else:
            yield each


class Soa(NamedTuple):
    """The RDATA of a SOA record."""

    mname: bytes
    rname: bytes
    serial: int
    refresh_s: int
    retry_s: int
    expire_s: int
    minimum_s: int

    def timers(self) -> bytes:
        """Compose the part of the RDATA after the two names: five numbers of 4 octets."""
        return b"".join([value.to_bytes(4) for value in self[2:]])


def srv(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """Compose SRV RDATA (RFC 2782)."""
    return _SRV(priority, weight, port) + target


def txt(text: bytes) -> bytes:
    """Compose TXT RDATA of one character-string of at most 255 octets."""
    return len(text).to_bytes(1) + text


def address_type(address: bytes) -> int:
    """Return the type of the record that contains `address`: A or AAAA."""
    return A if len(address) == 4 else AAAA


def type_text(rtype: int) -> str:
    """Return the name of a record type, such as `AAAA`.

    The result for an unknown type has the form of RFC 3597 (`TYPE123`).
    """
    return _TEXTS.get(rtype, f"TYPE{rtype}")


def type_number(text: str) -> int | None:
    """Return the number of the record type that is called `text`, or None if pydns knows no such type."""
    return _TYPE_NUMBERS.get(text.upper())


_TYPE_NUMBERS: Final = {text: number for number, text in TYPE_NAMES.items()} | _OTHER_TYPES
_TEXTS: Final = {number: text for text, number in _TYPE_NUMBERS.items()}
