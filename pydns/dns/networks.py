"""A set of networks of IP addresses."""

from collections.abc import Iterable

from pydns.dns.address import parse_range

_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address in an IPv6 address (RFC 4291 section 2.5.5.2)


class Networks:
    """A set of networks. A look-up costs as much as there are different lengths of prefixes."""

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` are ranges of addresses with a common prefix, as `pydns.dns.address.parse_range` reads them."""
        self._prefixes: dict[tuple[int, int], set[int]] = {}  # octets and bits after the prefix -> prefixes
        for network in map(parse_range, texts):
            after = (int.from_bytes(network.first) ^ int.from_bytes(network.last)).bit_length()
            self._prefixes.setdefault((len(network.first), after), set()).add(int.from_bytes(network.first) >> after)

    def __contains__(self, address: bytes) -> bool:
        """Return whether an address of 4 or 16 octets is in a network. An IPv4-mapped address counts as IPv4."""
        address = address.removeprefix(_MAPPED)
        octets, number = len(address), int.from_bytes(address)
        return any(octets == long and number >> after in found for (long, after), found in self._prefixes.items())
