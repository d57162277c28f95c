"""The two numbers that identify a packet to an upstream: its place, and its random number.

The place consists of the packet's upstream, socket and id. The forwarder makes both numbers for each packet. For each
reply, it looks up the packet by its place. The constants of this module are the positions of the fields in the two
numbers. Fast code shifts bits by these positions and calls no functions, because each call adds 0.1 µs to a miss.
"""

from typing import Final

STREAM: Final = 255  # the index of the upstream's TCP or TLS connection, in place of the index of a UDP socket

# A place contains the index of the upstream, the index of the socket, and the id of the packet, in this order.
UPSTREAM_AT: Final = 24
SOCKET_AT: Final = 16
_IDS: Final = 1 << 16

# Each packet has a new random number. The highest octets of the number determine the id and the socket. Bit 5 of each
# octet determines the case of one octet of the name, beginning with the lowest octet. The lowest bits choose the
# server. Octets of the random number; enough for the socket, the id, and the case of the name's last 28 octets.
RANDOM_OCTETS = 32
# If this many of the lowest bits are 0, the bits above them choose a random server. This happens for one query in 32.
EXPLORE_BITS: Final = 5
RANDOM_SOCKET_AT, RANDOM_ID_AT = 8 * RANDOM_OCTETS - 32, 8 * RANDOM_OCTETS - 16
ID_MASK: Final = _IDS - 1


def socket_of(place: int) -> int:
    """Return the index of a packet's socket, or STREAM if the packet was sent over a connection."""
    return place >> SOCKET_AT & 0xFF


def id_of(place: int) -> int:
    """Return the id of the packet with this place."""
    return place & ID_MASK


def places_of(upstream_index: int, socket_index: int) -> range:
    """Return all places that packets of a socket may have."""
    first = upstream_index << UPSTREAM_AT | socket_index << SOCKET_AT
    return range(first, first + _IDS)
