"""What identifies a packet to an upstream: the place that it left from, and its random parts.

Both are one number each, because they are made for each packet and looked up for each reply. Their fields have names
here. Hot code shifts by these names: a function would cost a miss 0.1 µs a call.
"""

STREAM = 255  # in place of a UDP socket's index: the upstream's TCP or TLS connection

# A place: the upstream's index, then the socket's, then the packet's id.
UPSTREAM_AT, SOCKET_AT = 24, 16
_IDS = 1 << 16

# A random number, made for each packet. Its highest octets are the id and the socket. The case of the name takes
# bit 5 of each octet, from the lowest octet on. The choice of a server takes the lowest bits.
RANDOM_OCTETS = 32  # for the socket, the id, and the case of the name's last 28 octets
EXPLORE_BITS = 5  # lowest bits: all 0 for one query in 32, which goes to a random server; the server is from there on
RANDOM_SOCKET_AT, RANDOM_ID_AT = 8 * RANDOM_OCTETS - 32, 8 * RANDOM_OCTETS - 16
ID_MASK = _IDS - 1


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
