"""UDP: receives queries from a socket in batches and sends the replies.

The worker sends several replies together. It sends the replies to a batch when the batch is done. It sends deferred
replies at the end of the turn of the event loop. Only the first of these replies wakes a sleeping receiver, so a reply
that is sent alone costs 4 µs more.

A reply must leave from the address that its query was sent to. If a socket is bound to all addresses, the kernel
reports this address with each query. The supervisor opens the sockets and sets the option for these reports.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from time import monotonic

from pydns.process.slots import IP_PKTINFO
from pydns.serve.backlog import Backlog
from pydns.serve.context import Batch
from pydns.serve.datagrams import BATCH, NAME_LENGTHS, NAME_SIZE, Inbox, Outbox, addresses_of
from pydns.serve.port import UDP_LIMIT, Client, Port
from pydns.serve.response_rate import ResponseRate

_MAX_SOURCES = 256
_CMSG = struct.Struct("@Nii")  # length, level and type (cmsg(3)), followed by the data
# The client's address in the format of the kernel, and control data with the address that the reply must leave from.
_Peer = tuple[bytes, bytes]


def reader(port: "UdpPort", batch: Batch) -> Callable[[], bool]:
    """Return a function that the event loop must call when the socket of a port is readable.

    The function returns whether the socket may contain more queries.
    """
    receive, choose, answer = port.receive, port.backlog.choose, batch.answer

    def drain() -> bool:
        came = monotonic()
        messages = receive()
        is_full = len(messages) == BATCH
        if is_full:
            messages = choose(messages)
            if len(messages) < BATCH:
                port.tally.discarded(BATCH - len(messages))
        if messages:
            answer(messages, port, came)
        return is_full

    return drain


class UdpPort(Port):
    """A UDP socket that receives queries and sends replies."""

    __slots__ = (
        "_addresses",
        "_any_address",
        "_fd",
        "_inbox",
        "_is_due",
        "_loop",
        "_memory",
        "_name_length",
        "_names",
        "_outbox",
        "_put",
        "_send_joined",
        "_sources",
        "backlog",
        "rate",
    )

    def __init__(self, sock: socket.socket, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__("udp", UDP_LIMIT, batch.tally("udp", sock.family), batch.observers)
        self._any_address = any_address = sock.getsockname()[0] in ("0.0.0.0", "::")
        name_length = NAME_LENGTHS[sock.family]
        self._name_length = name_length
        self._fd = sock.fileno()
        self._loop = loop
        self._inbox = Inbox(name_length, with_control=any_address)
        self.backlog = Backlog(sock, self._inbox)
        self._outbox = Outbox(name_length, with_control=any_address)
        self._outbox.aim(self._fd, self._unsent)
        self._memory, self._addresses = self._inbox.memory, self._inbox.addresses
        self._put, self._names = self._outbox.put, self._inbox.names
        self._outbox.answer_to(self._inbox)
        self._send_joined = self._outbox.send_joined
        self._is_due = False
        self._sources: dict[bytes, bytes] = {}
        self.rate: ResponseRate | None = None  # None: replies aren't limited

    def receive(self) -> list[bytes]:
        """Return the next batch of queries."""
        try:
            return self._inbox.receive(self._fd)
        except OSError:  # the error belongs to an earlier reply. If there are queries, the socket stays readable
            return []

    def _limited(self, reply: bytes, address: bytes) -> bytes | None:
        """Return the reply if it is within the limit. Otherwise count it, and return a truncated reply or None."""
        assert self.rate is not None
        limited = self.rate.limit(reply, address)
        if limited is not reply:
            self.tally.limited(dropped=limited is None)
        return limited

    def send(self) -> None:
        """Send `replies` to the clients whose queries were received last."""
        if self.rate is not None:
            for place, reply in enumerate(self.replies):
                if reply is not None:
                    self.replies[place] = self._limited(reply, self.source(self.peer(place)))
        if self._any_address:
            for place, reply in enumerate(self.replies):
                if reply is not None:
                    self._outbox.put_for(reply, *self.peer(place))
        else:
            try:
                self.joined = self._send_joined(self.replies)  # type: ignore[arg-type]
                return
            except TypeError:  # some messages have no reply, or no reply yet
                self.joined = None
            put = self._put
            for reply, name_at in zip(self.replies, self._names, strict=False):
                if reply is not None:
                    put(reply, name_at)
        self._outbox.send()

    def peer(self, place: int) -> _Peer:
        """Return the address and the control data that `reply_later` needs for one of the last queries."""
        if not self._any_address:
            return self._inbox.name(place), b""
        control = self._inbox.control(place)
        source = self._sources.get(control)
        if source is None:
            if len(self._sources) >= _MAX_SOURCES:
                self._sources.clear()
            source = self._sources[control] = _source(control)
        return self._inbox.name(place), source

    def client_at(self, peer: _Peer) -> Client:
        """Return the client at `peer`."""
        return _client(peer[0])

    @property
    def address(self) -> bytes:
        """The octets of the client's IP address. This is 0.2 µs faster than `source(peer(…))`."""
        return self._memory[self._addresses[len(self.replies)]]

    def source(self, peer: _Peer) -> bytes:
        """Return the octets of the client's IP address."""
        name = peer[0]
        return name[4:8] if len(name) == _IPV4_LENGTH else name[8:24]

    def senders(self, count: int) -> bytes:
        """Return the senders of the first `count` messages, in the format of the kernel."""
        return self._memory[: count * NAME_SIZE]

    def sources(self, senders: bytes) -> bytes:
        """Return the IP addresses of senders."""
        return addresses_of(senders, self._name_length)

    def reply_later(self, reply: bytes, peer: _Peer) -> None:
        """Queue a deferred reply. The port sends it together with other replies of this turn of the event loop."""
        if self.rate is not None:
            limited = self._limited(reply, self.source(peer))
            if limited is None:
                return
            reply = limited
        name, source = peer
        self._outbox.put_for(reply, name, source)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send_later)

    def _send_later(self) -> None:
        self._is_due = False
        self._outbox.send()

    def _unsent(self, _error: int) -> bool:
        # A reply can't be sent if the client's port is 0, if the client's network is gone, or if the buffer is full.
        # The client will ask again.
        self.tally.unsent()
        return False


_IPV4_LENGTH = NAME_LENGTHS[socket.AF_INET]


def _client(name: bytes) -> Client:
    """Return the client whose IP address and port are in a sockaddr_in or sockaddr_in6."""
    port = int.from_bytes(name[2:4])
    if len(name) == NAME_LENGTHS[socket.AF_INET]:
        return Client(socket.inet_ntop(socket.AF_INET, name[4:8]), port)
    return Client(socket.inet_ntop(socket.AF_INET6, name[8:24]), port)


def _source(control: bytes) -> bytes:
    """Return control data with the address that a reply must leave from: the destination of the query.

    Routing chooses the interface, except for link-local addresses. For these, the control data also contains the
    interface, because such an address has no meaning without it. The format is in ip(7) and RFC 3542 section 6.
    """
    if len(control) < _CMSG.size:
        return b""
    length, level, kind = _CMSG.unpack_from(control)
    info = control[_CMSG.size : length]
    if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
        info = bytes(4) + info[4:8] + bytes(4)
    elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
        link_local = info[0] == 0xFE and info[1] & 0xC0 == 0x80
        info = info if link_local else info[:16] + bytes(4)
    else:
        return b""
    return control[: _CMSG.size] + info
