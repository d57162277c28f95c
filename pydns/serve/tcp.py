"""TCP: messages with a length in front (RFC 1035 section 4.2.2, RFC 7766), many on a connection.

Rules:

1. Whole messages are answered as they come. A client address has its turn for one message, then the next address has;
   its connections take its turns by turns. After `TURN` messages or `TURN_OCTETS` of replies the rest waits for the
   next turn of the event loop, and other sockets are served before. Deferred replies follow when they are ready, so not
   always in the order of the questions.
2. A connection is closed when no whole message has come for `IDLE_S`: idle clients, and those that send an octet a
   second. A client that doesn't read its replies becomes idle too, because nothing more is read from it.
3. There are at most `MAX_CONNECTIONS`. A new one replaces one of the client address that has most: the oldest that has
   asked nothing yet, else the one that has been idle longest.
4. Replies that clients don't read are bounded. The kernel keeps `KERNEL_OCTETS` of a connection, this process
   `MAX_UNREAD`, and `MAX_UNREAD_IN_ALL` of all connections. Beyond these, the connection that has not read for longest
   is closed.
5. A client that has finished sending still gets all its replies. Replies to a client that has gone are dropped.
"""

import asyncio
import socket
from collections import deque
from time import monotonic
from typing import cast

from pydns.serve.context import Batch
from pydns.serve.port import STREAM_LIMIT, Client, Port

IDLE_S = 10.0  # as CoreDNS; NodeLocal DNSCache keeps its connections for that long
MAX_CONNECTIONS = 1000  # a worker
# Without these, twenty clients with 6,000 queries each delayed all others by more than a second.
TURN = 64  # messages, as of a UDP socket
TURN_OCTETS = 64 << 10  # of replies, and then the last one's: the longest take 200 times as long as the shortest
KERNEL_OCTETS = 32 << 10  # for replies and for queries of a connection; Linux takes twice as much
MAX_UNREAD = 512 << 10  # octets of a connection's replies
MAX_UNREAD_IN_ALL = 16 << 20
_STALLED_AT = 16 << 10  # octets of replies that wait here, from which on nothing more is read


def limit_buffers(listening: socket.socket) -> None:
    """Limit what the kernel keeps for each connection that is accepted from a socket."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_OCTETS)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_OCTETS)


class Connections:
    """The open connections of a worker."""

    def __init__(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.now = loop.time
        self._call_soon = loop.call_soon
        self._open: dict[Connection, float] = {}  # when the last whole message came, idle longest first
        self._by_client: dict[str, dict[Connection, None]] = {}  # the same by IP address, likewise
        self._unread: dict[Connection, int] = {}  # octets of those that don't read, for longest first
        # Those that may have messages to answer, by IP address. The address whose turn is next is first.
        self._waiting: dict[str, deque[Connection]] = {}
        self._is_due = False

    def accept(self) -> "Connection":
        """Return the protocol of a new connection."""
        return Connection(self)

    def touch(self, connection: "Connection") -> None:
        """Note that a connection is in use now."""
        if self._open.pop(connection, None) is None and len(self._open) >= MAX_CONNECTIONS:
            self._least_deserving().close()
        self._open[connection] = self.now()
        held = self._by_client.pop(connection.ip, {})
        held.pop(connection, None)
        held[connection] = None
        self._by_client[connection.ip] = held

    def _least_deserving(self) -> "Connection":
        held = max(self._by_client.values(), key=len)
        return next((each for each in held if not each.has_asked), next(iter(held)))

    def wait(self, connection: "Connection") -> None:
        """Answer the messages of a connection in its turns."""
        self._waiting.setdefault(connection.ip, deque()).append(connection)
        self._answer_later()

    def _answer_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._call_soon(self._answer)

    def _answer(self) -> None:
        self._is_due = False
        messages = octets = 0
        while self._waiting and messages < TURN and octets < TURN_OCTETS:
            ip = next(iter(self._waiting))
            connections = self._waiting.pop(ip)
            connection = connections.popleft()
            messages += 1
            octets += connection.answer_next()
            if connection.is_waiting:
                connections.append(connection)
            if connections:
                self._waiting[ip] = connections
        if self._waiting:
            self._answer_later()

    def note_unread(self, connection: "Connection", octets: int) -> None:
        """Note how much a client that doesn't read has not read."""
        self._unread[connection] = octets
        if octets > MAX_UNREAD:
            connection.close()
        while sum(self._unread.values()) > MAX_UNREAD_IN_ALL:
            next(iter(self._unread)).close()

    def note_read(self, connection: "Connection") -> None:
        """Note that a client has read its replies."""
        self._unread.pop(connection, None)

    def forget(self, connection: "Connection") -> None:
        """Note that a connection is gone."""
        self._unread.pop(connection, None)
        if self._open.pop(connection, None) is not None:
            held = self._by_client[connection.ip]
            del held[connection]
            if not held:
                del self._by_client[connection.ip]

    def close_idle(self) -> None:
        """Close connections that have been idle for too long. To be called about once a second."""
        before = self.now() - IDLE_S
        for connection in [each for each, at in self._open.items() if at < before]:
            connection.close()

    def close_all(self) -> None:
        """Finish every connection."""
        for connection in list(self._open):
            connection.finish()


class Connection(Port, asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_client",
        "_connections",
        "_has_ended",
        "_is_stalled",
        "_received",
        "_replied_later",
        "_transport",
        "has_asked",
        "ip",
        "is_waiting",
    )

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._received = bytearray()
        self._replied_later = 0
        self._has_ended = False  # the client sends no more
        self._is_stalled = False  # the client doesn't read
        self.is_waiting = False  # for its turn
        self.has_asked = False
        self.ip: str
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._transport.set_write_buffer_limits(_STALLED_AT)
        batch, family = self._connections.batch, transport.get_extra_info("socket").family
        Port.__init__(self, "tcp", STREAM_LIMIT, batch.tally("tcp", family), batch.observers)
        ip, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self._client, self.ip = Client(ip, port), ip
        self._connections.touch(self)

    def data_received(self, data: bytes) -> None:
        """Answer the messages that are whole, in our turns."""
        self._received += data
        self._wait()

    def _wait(self) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self._connections.wait(self)

    def answer_next(self) -> int:
        """Answer a message. Returns the octets of the reply, and leaves in `is_waiting` whether there is another one.

        Until there is none, nothing more is read.
        """
        octets = self._answer() if self._has_next() and not self._is_stalled else 0
        self.is_waiting = self._has_next() and not self._is_stalled
        if self.is_waiting:
            self._transport.pause_reading()
        else:
            self._rest()
        return octets

    def _has_next(self) -> bool:
        """Return whether there is a whole message, and somebody to answer."""
        return len(self._received) >= _end(self._received) and not self._transport.is_closing()

    def _answer(self) -> int:
        """Answer the first message, which is whole. Returns the octets of the reply."""
        end = _end(self._received)
        message = bytes(self._received[2:end])
        del self._received[:end]
        self.has_asked = True
        self._connections.touch(self)
        self._connections.batch.answer((message,), self, monotonic())
        return len(self.replies[0] or b"")

    def _rest(self) -> None:
        """Read again if no message waits, or close if there will be none and nothing is owed."""
        if self.is_waiting or self._is_stalled or self._transport.is_closing():
            return
        if not self._has_ended:
            self._transport.resume_reading()
        elif self._replied_later == self.deferred:
            self._transport.close()  # after what is written has been sent

    def send(self) -> None:
        """Send `replies`, if the client is still there."""
        self._write(b"".join([len(each).to_bytes(2) + each for each in self.replies if each is not None]))

    def reply_later(self, reply: bytes, _peer: None) -> None:
        """Send a reply that was deferred, if the client is still there."""
        self._replied_later += 1
        self._write(len(reply).to_bytes(2) + reply)
        self._rest()

    def _write(self, octets: bytes) -> None:
        if not octets or self._transport.is_closing():  # a write would raise, or be logged for each reply
            return
        self._transport.write(octets)
        if self._is_stalled:
            self._connections.note_unread(self, self._transport.get_write_buffer_size())

    def client_at(self, _peer: None) -> Client:
        """Return the client of the connection."""
        return self._client

    def pause_writing(self) -> None:
        """Stop reading: the client doesn't read its replies."""
        self._is_stalled = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read and answer again."""
        self._is_stalled = False
        self._connections.note_read(self)
        self._wait()

    def eof_received(self) -> bool:
        """Stay open until everything that came before is answered."""
        self._has_ended = True
        self._rest()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connections.forget(self)

    def close(self) -> None:
        """Close at once. Unsent replies are lost."""
        self._connections.forget(self)
        self._transport.abort()

    def finish(self) -> None:
        """Close after all queries that have come are answered and the replies are sent."""
        while self._has_next():
            self._answer()
        self._transport.close()


def _end(received: bytearray) -> int:
    """Return where the first message ends, whether it has come or not."""
    return 2 + int.from_bytes(received[:2])
