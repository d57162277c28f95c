"""Addresses as labels: `10-0-0-1`, `fd00--1`. How endpoints without a hostname and pods are called."""

from collections.abc import Iterator
from socket import AF_INET, AF_INET6, inet_pton

from pydns.dns.address import address_text
from pydns.dns.rrset import SRV, RRset, address_type, srv


def dashed(address: bytes) -> str:
    """Return an address as a label. A 0 keeps one that would end with a dash legal: `fd00--0`."""
    label = address_text(address).replace(":", "-").replace(".", "-")
    return label + "0" if label.endswith("-") else label


def undashed(label: bytes) -> bytes | None:
    """Return the address that a label spells, in any spelling of IPv6, or None if it spells none."""
    try:
        text = label.decode("ascii")
        if text.count("-") == 3 and "--" not in text:
            return inet_pton(AF_INET, text.replace("-", "."))
        return inet_pton(AF_INET6, text.replace("-", ":"))
    except (OSError, ValueError):
        return None


def pod_rrsets(owner: bytes, address: bytes, ttl_s: int) -> Iterator[RRset]:
    """Yield what a pod's name has: its address, and an SRV record with port 0, as CoreDNS gives it."""
    rrset = RRset(owner, address_type(address), ttl_s, (address,))
    yield rrset
    yield RRset(owner, SRV, ttl_s, (srv(0, 100, 0, owner),), (rrset,))
