"""Allocates a ClusterIP for a Service that has none.

The address depends only on the names of the Service and its namespace, and on the addresses that are already in use. So
a Service keeps its address after a restart. Addresses come from two ranges: 10.96.0.0/12, the usual range of kubeadm
and kind, and fd00:10:96::/108, a unique local range (RFC 4193) of the same size. The lowest 256 addresses are never
allocated, as in the API server (KEP-3070). These addresses are for people who choose an address, such as .10 for
kube-dns.
"""

from hashlib import blake2b

from pydns.dns.address import address_text, parse_address


def allocate(namespace: str, service: str, family: str, taken: set[bytes]) -> str:
    """Return an address of `family` (IPv4 or IPv6) for a Service and add it to `taken`.

    A hash of the name determines the address. Another Service matters only if its name has the same hash.
    """
    base = _RANGES[family]
    start = int.from_bytes(blake2b(f"{namespace}/{service}".encode(), digest_size=8).digest())
    width = 4 if family == "IPv4" else 16
    offsets = (_FIRST + (start + probe) % _COUNT for probe in range(_COUNT))
    address = next(free for offset in offsets if (free := (base + offset).to_bytes(width)) not in taken)
    taken.add(address)
    return address_text(address)


_RANGES = {
    "IPv4": int.from_bytes(parse_address("10.96.0.0")),
    "IPv6": int.from_bytes(parse_address("fd00:10:96::")),
}
_FIRST = 256
# How many addresses can be allocated. The last address is left out, because in IPv4 it is the broadcast address.
_COUNT = 2**20 - _FIRST - 1
