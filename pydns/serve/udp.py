"""UDP: takes queries from a socket in batches and sends the replies.

Replies leave together: those of a batch when it is done, those that have waited for upstreams at the end of the event
loop's turn. Who sleeps is woken by the first one only: one that comes alone costs its sender 4 µs more.

A socket that is bound to all addresses is told what address a query came to, since the reply has to leave from there.
The supervisor, which opens the sockets, has asked the kernel to say it.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from pydns.metrics.meter import Tally
from pydns.process.slots import IP_PKTINFO
from pydns.serve.context import Batch
from pydns.serve.datagrams import BATCH, NAME_LENGTHS, Inbox, Outbox
from pydns.serve.query_log import QueryLog
from pydns.serve.recursion import Recursion

_MAX_SOURCES = 256
_CMSG = struct.Struct("@Nii")  # length, level, type (cmsg(3)); then the data
_Peer = tuple[
    bytes, bytes
]  # an address as the kernel writes it, and what makes a reply leave from where the query came to


def reader(
    sock: socket.socket, batch: Batch, recursion: Recursion, loop: asyncio.AbstractEventLoop
) -> Callable[[], bool]:
    """Return what to call when the socket is readable. It returns whether there may be more to read."""
    tally = batch.tally(sock)
    port = _Port(sock, tally, loop) if batch.queries is None else _LoggedPort(sock, tally, loop, batch.queries)
    receive, reply_to, peer, reply_later, send = port.receive, port.reply_to, port.peer, port.reply_later, port.send
    respond, responder = batch.respond, batch.responder

    def drain() -> bool:
        with batch.transaction() as transaction:
            responder.tally = tally
            began = monotonic()
            messages = receive()
            for place, message in enumerate(messages):
                try:
                    reply = respond(message, transaction)
                    if reply is None and responder.asked is not None:
                        recursion.ask(reply_later, peer(place))
                except Exception as error:
                    reply = batch.fail(message, error)
                if reply is not None:
                    reply_to(place, reply)
            send()
            tally.timed(len(messages), monotonic() - began)
        return len(messages) == BATCH

    return drain


class _Port:
    """A socket that queries come by and replies leave by."""

    def __init__(self, sock: socket.socket, tally: Tally, loop: asyncio.AbstractEventLoop) -> None:
        any_address = sock.getsockname()[0] in ("0.0.0.0", "::")
        name_length = NAME_LENGTHS[sock.family]
        self._fd = sock.fileno()
        self._tally = tally
        self._loop = loop
        self._inbox = Inbox(name_length, with_control=any_address)
        self._outbox = Outbox(name_length, with_control=any_address)
        self._outbox.aim(self._fd, self._unsent)
        self._put_for = self._outbox.put_for
        self._put, self._names = self._outbox.put, self._inbox.names
        self._is_due = False
        self._sources: dict[bytes, bytes] = {}
        self._where = self._peer_and_source if any_address else self._peer
        # As attributes, for who calls them often. With `_LoggedPort` they are others.
        self.send = self._outbox.send
        self.peer: Callable[[int], Any] = self._where
        self.reply_to = self._reply_from if any_address else self._reply_to

    def receive(self) -> list[bytes]:
        """Return the next queries."""
        try:
            return self._inbox.receive(self._fd)
        except OSError:  # of a reply that was sent; there may be queries all the same, and we are called for them again
            return []

    def _reply_to(self, place: int, reply: bytes) -> None:
        """Have a reply to one of the last queries sent by the next `send`."""
        self._put(reply, self._names[place])

    def _reply_from(self, place: int, reply: bytes) -> None:
        self._outbox.put_for(reply, *self._where(place))

    def _peer(self, place: int) -> _Peer:
        """Return what `reply_later` needs to know of one of the last queries."""
        return self._inbox.name(place), b""

    def _peer_and_source(self, place: int) -> _Peer:
        control = self._inbox.control(place)
        source = self._sources.get(control)
        if source is None:
            if len(self._sources) >= _MAX_SOURCES:
                self._sources.clear()
            source = self._sources[control] = _source(control)
        return self._inbox.name(place), source

    def reply_later(self, reply: bytes, peer: Any) -> None:
        """Send a reply to a query that had to wait, with others of this turn."""
        name, source = peer
        self._put_for(reply, name, source)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send_later)

    def _send_later(self) -> None:
        self._is_due = False
        self.send()

    def _unsent(self, _error: int) -> bool:
        # The peer's port is 0, its network is gone, the buffer is full: it asks again.
        self._tally.unsent()
        return False


class _LoggedPort(_Port):
    """The same, while some queries get a line in the log. Another class, for it to cost nothing while none do."""

    def __init__(self, sock: socket.socket, tally: Tally, loop: asyncio.AbstractEventLoop, queries: QueryLog) -> None:
        super().__init__(sock, tally, loop)
        self._queries = queries
        self._came = 0.0
        self._unlogged_reply_to, self.reply_to = self.reply_to, self._reply_and_log
        self.peer = self._peer_and_time

    def receive(self) -> list[bytes]:
        self._came = monotonic()
        return super().receive()

    def _reply_and_log(self, place: int, reply: bytes) -> None:
        self._unlogged_reply_to(place, reply)
        self._log(self._inbox.name(place), reply, self._came)

    def _peer_and_time(self, place: int) -> Any:
        return *self._where(place), self._came

    def reply_later(self, reply: bytes, peer: Any) -> None:
        name, source, came = peer
        super().reply_later(reply, (name, source))
        self._log(name, reply, came)

    def _log(self, name: bytes, reply: bytes, came: float) -> None:
        self._queries.replied("udp", _address(name), reply, came)


def _address(name: bytes) -> tuple[str, int]:
    """Return the IP address and the port in a sockaddr_in or sockaddr_in6."""
    port = int.from_bytes(name[2:4])
    if len(name) == NAME_LENGTHS[socket.AF_INET]:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, name[8:24]), port


def _source(control: bytes) -> bytes:
    """Return what makes a reply leave from where its query came to (ip(7), RFC 3542 section 6).

    The interface is left to routing, except for link-local addresses, which mean nothing without one.
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
