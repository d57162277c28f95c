"""The two numbers that identify a packet to an upstream: its place, and its random number.

The place says which upstream, socket and id the packet has. The forwarder makes both numbers for each packet. It looks
up the place for each reply. This module names the fields of the numbers. Fast code shifts by these names, because each
function call adds 0.1 µs to a miss.
"""

from typing import Final

STREAM: Final = 255  # socket index of the upstream's TCP or TLS connection

# A place contains the index of the upstream, the index of the socket, and the id of the packet, in this order.
UPSTREAM_AT: Final = 24
SOCKET_AT: Final = 16
_IDS: Final = 1 << 16

# Each packet has a new random number. The highest octets give the id and the socket. Bit 5 of each octet gives the case
# of one octet of the name, beginning with the lowest octet. The lowest bits choose the server.
RANDOM_OCTETS = 32  # for the socket, the id, and the case of the name's last 28 octets
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
