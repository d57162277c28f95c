"""Parses and composes IP addresses. Every package that reads or writes addresses uses this module.

An address is `bytes`: 4 octets for IPv4, 16 octets for IPv6, as in A and AAAA records. Text is only for people. This
module uses functions of `socket`, but it opens no socket. The standard library's `ipaddress` takes four times as long,
and API objects contain many addresses.
"""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

_LOOPBACK_6 = bytes(15) + b"\1"
MAPPED = bytes(10) + b"\xff\xff"  # the first octets of an IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)


class BadAddress(ValueError):
    """A text is not an IP address. The message quotes the text."""


def parse_address(text: str) -> bytes:
    """Parse an IPv4 or IPv6 address. Raises `BadAddress`. An IPv6 zone (`fe80::1%eth0`) is not allowed."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):  # ValueError: the text contains a NUL or half a surrogate pair
        shortened = text if len(text) <= 80 else text[:77] + "…"
        raise BadAddress(f"{shortened!r} is not an IP address") from None


def address_text(address: bytes) -> str:
    """Return the canonical text of an address (RFC 5952)."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def endpoint_text(host: str, port: int) -> str:
    """Return `192.0.2.1:53` or `[2001:db8::1]:53`. The host may also be a name: `ns.example.:53`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: bytes) -> bool:
    """Return whether an address is a loopback address (127.0.0.0/8, ::1)."""
    return address[0] == 127 if len(address) == 4 else address == _LOOPBACK_6


def unmapped(address: bytes) -> bytes:
    """Return the IPv4 address of an IPv4-mapped IPv6 address. Return any other address unchanged."""
    return address.removeprefix(MAPPED)


class AddressRange(NamedTuple):
    """The addresses of one family from `first` to `last`."""

    first: bytes
    last: bytes

    def __contains__(self, address: object) -> bool:
        """Return whether an address, as octets, is in the range."""
        return isinstance(address, bytes) and len(address) == len(self.first) and self.first <= address <= self.last

    @property
    def free_bits(self) -> int:
        """Return the number of bits after the common prefix of all addresses in the range."""
        return (int.from_bytes(self.first) ^ int.from_bytes(self.last)).bit_length()


def parse_range(text: str) -> AddressRange:
    """Parse a range such as 10.0.0.0/8.

    Raises `BadAddress` if the text is invalid, or if a bit after the prefix is 1.
    """
    first_text, _, length_text = text.partition("/")
    address = parse_address(first_text)
    found = range_around(address, length_text)
    if found.first != address:
        raise BadAddress(text)
    return found


def range_around(address: bytes, length_text: str) -> AddressRange:
    """Return the range that has the given prefix length and contains the address.

    Raises `BadAddress` for an invalid length.
    """
    bits = 8 * len(address)
    if not (length_text.isascii() and length_text.isdecimal() and len(length_text) <= 3 and int(length_text) <= bits):
        raise BadAddress(length_text)
    others = (1 << bits - int(length_text)) - 1
    first = int.from_bytes(address) & ~others
    return AddressRange(first.to_bytes(len(address)), (first | others).to_bytes(len(address)))
