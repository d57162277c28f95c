"""A set of networks of IP addresses."""

from collections.abc import Iterable

from pydns.dns.address import AddressRange, unmapped


class Networks:
    """A set of networks. The time of a look-up depends only on the number of different prefix lengths."""

    def __init__(self, ranges: Iterable[AddressRange]) -> None:
        """Each range must consist of all addresses with one prefix, such as 10.0.0.0/8."""
        # (number of octets of an address, number of bits after the prefix) -> the prefixes of the networks, as numbers
        self._prefixes: dict[tuple[int, int], set[int]] = {}
        for network in ranges:
            key = len(network.first), network.free_bits
            self._prefixes.setdefault(key, set()).add(int.from_bytes(network.first) >> network.free_bits)

    def __contains__(self, address: bytes) -> bool:
        """Return whether an address of 4 or 16 octets is in a network. An IPv4-mapped address is treated as IPv4."""
        address = unmapped(address)
        number = int.from_bytes(address)
        return any(
            len(address) == octets and number >> free_bits in prefixes
            for (octets, free_bits), prefixes in self._prefixes.items()
        )
