"""Messages that hostile clients and servers send. This module doesn't know the right replies."""

import random

from tests.running import query

_NAMES = (
    "web.shop.svc.cluster.local", "none.shop.svc.cluster.local", "_http._tcp.web.shop.svc.cluster.local",
    "in.shop.svc.cluster.local", "out.shop.svc.cluster.local", "10-1-2-3.shop.pod.cluster.local",
    "10.0.96.10.in-addr.arpa", "cluster.local", "example.com", "ping.shop.svc.cluster.local",
)  # fmt: skip
_TYPES = (1, 2, 5, 6, 12, 16, 28, 33, 41, 65, 251, 252, 255)
_OPTS = (
    b"",
    bytes.fromhex("00 0029 04d0 00000000 0000"),
    bytes.fromhex("00 0029 0000 00008000 0000"),
    bytes.fromhex("00 0029 ffff 00008000 000c 000a 0008 0102030405060708"),
    bytes.fromhex("00 0029 04d0 00010000 0000"),
)


def queries() -> list[bytes]:
    """Return well-formed queries for names of the cases, in many forms."""
    found = []
    for qname_text in _NAMES:
        for qtype in _TYPES:
            for opt in _OPTS:
                message = query(qname_text, qtype)
                found.append(message[:11] + bytes([1 if opt else 0]) + message[12:] + opt)
    return found


def mutated(message: bytes, chance: random.Random) -> bytes:
    """Return a message with up to three random changes."""
    octets = bytearray(message)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(octets)) if octets else 0
        match chance.randrange(6):
            case 0:
                octets[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                octets[at : at + 1] = bytes([(octets[at] if octets else 0) ^ 1 << chance.randrange(8)])
            case 2:
                del octets[at:]
            case 3:
                octets[at:at] = chance.randbytes(chance.randrange(1, 40))
            case 4:
                octets += octets[at : at + 300]
            case _:
                octets[at : at + 1] = bytes([chance.choice((0x00, 0x3F, 0x40, 0x80, 0xC0, 0xFF))])
    return bytes(octets)
