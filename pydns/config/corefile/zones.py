"""Parses the zones of a Corefile: the addresses of server blocks, and the arguments of directives."""

from collections.abc import Container, Iterator
from ipaddress import ip_network
from typing import NamedTuple

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile
from pydns.config.corefile.draft import Zone, checked, one_of
from pydns.config.corefile.tokens import Token

_SCHEMES = {"dns": 53, "tls": 853, "grpc": 443, "https": 443, "https3": 443, "quic": 853}


class Address(NamedTuple):
    """The address of a server block."""

    zones: tuple[Zone, ...]  # several zones if the prefix of a range ends within an octet (IPv6: a nibble), like a /20
    scheme: str
    port: int


def parse_address(token: Token) -> Address:
    """Return the address of a block, `[SCHEME://]ZONE[:PORT]`. Raises `BadCorefile`."""
    scheme, separator, rest = token.text.rpartition("://")
    scheme = scheme if separator else "dns"
    one_of(token._replace(text=scheme), _SCHEMES)
    zone, colon, written = rest.rpartition(":")
    port = texts.port_number(written) if colon and not _is_range(rest) else None
    if not port and written.isdecimal() and colon and not _is_range(rest):
        raise BadCorefile(token, f"port {written}", "a number from 1 to 65535")
    if not port:
        zone, port = rest, _SCHEMES[scheme]
    return Address(zones_of(token._replace(text=zone)), scheme, port)


def zones_of(token: Token) -> tuple[Zone, ...]:
    """Return the zones that a word names. A range of addresses names the reverse zones of the addresses.

    Raises `BadCorefile`.
    """
    if _is_range(token.text):
        return tuple([Zone(each, token) for each in _reverse_zones(token)])
    checked(token, texts.parse_domain)
    return (Zone(token.text.lower().removesuffix(".") + ".", token),)


def zones_around(name: str, zones: Container[str]) -> Iterator[str]:
    """Yield the zones that contain a name, the longest first. The time for this doesn't depend on the number of
    zones.
    """
    while True:
        if name in zones:
            yield name
        if name == ".":
            return
        name = name.partition(".")[2] or "."


def is_within(name: str, zone: str) -> bool:
    """Return whether a name is at or below a zone. `name` and `zone` are in lower case, with a final dot."""
    return zone == "." or f".{name}".endswith(f".{zone}")


def _is_range(text: str) -> bool:
    """Return whether Go reads a text as a range.

    `ip_network` alone isn't enough, because it also allows netmasks, and zones of IPv6 addresses such as `%eth0`.
    """
    address, _, length = text.rpartition("/")
    if "%" in address or not length.isdecimal():
        return False
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return bool(address)


def _reverse_zones(token: Token) -> list[str]:
    """Return the reverse zones of a range.

    The result has several zones if the prefix length is not a whole number of octets (nibbles in IPv6).
    """
    network = ip_network(token.text, strict=False)
    bits, form = (8, "d") if network.version == 4 else (4, "x")
    whole = max(-(-network.prefixlen // bits) * bits, bits)
    labels = network.network_address.reverse_pointer.split(".")[(network.max_prefixlen - whole) // bits :]
    first, around = int(labels[0], 10 if form == "d" else 16), ".".join(labels[1:])
    return [f"{first + each:{form}}.{around}." for each in range(1 << whole - network.prefixlen)]
