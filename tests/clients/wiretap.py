"""The packets on a namespace's loopback: DNS queries and replies over UDP, and TCP connections of clients.

After the client has its result, all packets of the look-up are available here, so nobody needs to wait for them.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rdatatype

from tests.clients.namespace import Namespace

_ALL_PROTOCOLS = 3
_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_TIME = struct.Struct("@qq")  # a time as seconds and nanoseconds
_ETHERNET = 14  # the number of octets before the IP header
_TCP, _UDP = 6, 17
_DNS = 53
_SYN, _ACK = 0x02, 0x10


@dataclass(frozen=True, slots=True)
class Query:
    """A query over UDP."""

    qname: str
    rtype: str
    at: float = field(default=0.0, compare=False)  # the time of the packet, in seconds


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a query."""

    to: Query
    truncated: bool
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Connection:
    """An attempt to connect over TCP."""

    address: str
    port: int


Seen = Query | Reply | Connection


class Wiretap:
    """Records packets from its creation on."""

    def __init__(self, namespace: Namespace) -> None:
        """Start recording. This needs the rights of root in the namespace."""
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self._socket.bind(("lo", _ALL_PROTOCOLS))
        self._socket.setblocking(False)

    def seen(self) -> list[Seen]:
        """Return the packets since the last call, in the order of their arrival."""
        return [each for packet, at in self._packets() if (each := _parse(packet, at)) is not None]

    def _packets(self) -> Iterator[tuple[bytes, float]]:
        while True:
            try:
                packet, ancillary, _, where = self._socket.recvmsg(1 << 16, socket.CMSG_SPACE(_TIME.size))
            except BlockingIOError:
                return
            # Loopback shows each packet twice: when it is sent and when it is received.
            if where[2] != socket.PACKET_OUTGOING:
                seconds, nanoseconds = _TIME.unpack(ancillary[0][2])
                yield packet[_ETHERNET:], seconds + nanoseconds / 1e9

    def close(self) -> None:
        """Stop recording."""
        self._socket.close()


def _parse(packet: bytes, at: float) -> Seen | None:
    if packet[0] >> 4 == 4:
        protocol, destination, segment = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
    else:
        protocol, destination, segment = packet[6], packet[24:40], packet[40:]
    source_port, port = int.from_bytes(segment[:2]), int.from_bytes(segment[2:4])
    if protocol == _UDP and _DNS in (source_port, port):
        return _parse_message(segment[8:], at)
    if protocol == _TCP and segment[13] & (_SYN | _ACK) == _SYN:
        return Connection(str(ip_address(destination)), port)
    return None


def _parse_message(message: bytes, at: float) -> Query | Reply:
    parsed = dns.message.from_wire(message, question_only=True)
    (asked,) = parsed.question
    query = Query(asked.name.to_text().lower(), dns.rdatatype.to_text(asked.rdtype), at)
    if parsed.flags & dns.flags.QR:
        return Reply(query, bool(parsed.flags & dns.flags.TC), at)
    return query
