"""The two numbers that identify a packet to an upstream: its place, and its random number.

The place consists of the packet's upstream, socket and id. The forwarder makes both numbers for each packet. For each
reply, it looks up the place. This module has names for the positions of the fields in the numbers. Fast code shifts
bits by these positions, because each function call adds 0.1 µs to a miss.
"""

from typing import Final

STREAM: Final = 255  # socket index of the upstream's TCP or TLS connection

# A place contains the index of the upstream, the index of the socket, and the id of the packet, in this order.
UPSTREAM_AT: Final = 24
SOCKET_AT: Final = 16
_IDS: Final = 1 << 16

# Each packet has a new random number. Its highest octets determine the id and the socket. Bit 5 of each octet
# determines the case of one octet of the name, beginning with the lowest octet. The lowest bits choose the server.
RANDOM_OCTETS = 32  # enough for the socket, the id, and the case of the name's last 28 octets
EXPLORE_BITS: Final = 5  # if these lowest bits are all 0 (one query in 32), the bits above them choose a random server
RANDOM_SOCKET_AT, RANDOM_ID_AT = 8 * RANDOM_OCTETS - 32, 8 * RANDOM_OCTETS - 16
ID_MASK: Final = _IDS - 1


def socket_of(place: int) -> int:
    """Return the index of the socket, or STREAM."""
    return place >> SOCKET_AT & 0xFF


def id_of(place: int) -> int:
    """Return the id of the packet."""
    return place & ID_MASK


def places_of(upstream_index: int, socket_index: int) -> range:
    """Return all places of a socket."""
    first = upstream_index << UPSTREAM_AT | socket_index << SOCKET_AT
    return range(first, first + _IDS)
