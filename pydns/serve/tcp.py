"""TCP: messages with a length prefix (RFC 1035 section 4.2.2, RFC 7766). A connection carries many messages.

Rules:

1. The worker answers a message when all of it has arrived. Client addresses take turns: the worker answers one message
   of an address, then one message of the next address. The connections of one address take turns too. After `TURN`
   messages or `TURN_OCTETS` of replies, the remaining messages wait for the next turn of the event loop. So the worker
   can serve other sockets in between. Deferred replies are sent when they are ready, so the order of the replies can
   differ from the order of the questions.
2. The worker closes a connection if no whole message has come for `IDLE_S`. This rule also closes the connection of a
   client that sends one octet per second. It also closes the connection of a client that doesn't read its replies,
   because the worker reads nothing more from that client.
3. There are at most `MAX_CONNECTIONS`. When a new connection exceeds the limit, the worker closes one connection of the
   client address with the most connections. It closes the oldest connection that has not sent a query yet. If all have
   sent queries, it closes the connection that has been idle longest.
4. The size of replies that clients don't read is limited. For each connection the kernel keeps at most `KERNEL_OCTETS`,
   and this process at most `MAX_UNREAD`. For all connections this process keeps at most `MAX_UNREAD_IN_ALL`. Above the
   limit for one connection, the worker closes this connection. Above the limit for all connections, the worker closes
   the connection that has not read for the longest time.
5. A client that has finished sending still gets all its replies. The worker drops replies to a client that has gone.
"""

import asyncio
import socket
from collections import deque
from time import monotonic
from typing import cast

from pydns.serve.context import Batch
from pydns.serve.port import STREAM_LIMIT, Client, Port

IDLE_S = 10.0  # as in CoreDNS. NodeLocal DNSCache keeps its connections open for this time
MAX_CONNECTIONS = 1000  # per worker
# Without the next two limits, twenty clients with 6,000 queries each delayed all others by more than a second.
TURN = 64  # messages per turn, the same number as for a UDP socket
# Octets of replies per turn. The last reply may exceed this limit. Messages alone are no measure: the longest replies
# take 200 times as long as the shortest.
TURN_OCTETS = 64 << 10
KERNEL_OCTETS = 32 << 10  # size of each kernel buffer of a connection, for replies and for queries; Linux doubles it
MAX_UNREAD = 512 << 10  # octets of unread replies of one connection
MAX_UNREAD_IN_ALL = 16 << 20
_STALLED_AT = 16 << 10  # if more octets of replies wait in this process, the worker stops reading


def limit_buffers(listening: socket.socket) -> None:
    """Limit the kernel buffers of each connection that a listening socket accepts."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_OCTETS)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_OCTETS)


class Connections:
    """The open connections of a worker."""

    def __init__(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.now = loop.time
        self._call_soon = loop.call_soon
        # connection -> time of its last whole message; the longest idle comes first
        self._open: dict[Connection, float] = {}
        # IP address -> open connections of the address; the longest idle comes first.
        self._by_client: dict[str, dict[Connection, None]] = {}
        # Connection whose client doesn't read -> octets of unread replies. The client that has not read for the longest
        # time comes first.
        self._unread: dict[Connection, int] = {}
        # IP address -> connections that may have messages to answer. The address that has the next turn comes first.
        self._waiting: dict[str, deque[Connection]] = {}
        self._is_due = False

    def accept(self) -> "Connection":
        """Return the object that handles a new connection."""
        return Connection(self)

    def touch(self, connection: "Connection") -> None:
        """Record that a connection is in use now."""
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
        """Add a connection to those that wait for their turns."""
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
        """Record the number of octets that a client has not read, and close connections that exceed the limits."""
        self._unread[connection] = octets
        if octets > MAX_UNREAD:
            connection.close()
        while sum(self._unread.values()) > MAX_UNREAD_IN_ALL:
            next(iter(self._unread)).close()

    def note_read(self, connection: "Connection") -> None:
        """Record that a client has read its replies."""
        self._unread.pop(connection, None)

    def forget(self, connection: "Connection") -> None:
        """Remove a connection that has ended."""
        self._unread.pop(connection, None)
        if self._open.pop(connection, None) is not None:
            held = self._by_client[connection.ip]
            del held[connection]
            if not held:
                del self._by_client[connection.ip]

    def close_idle(self) -> None:
        """Close connections that have been idle for too long. The caller calls this function about twice a second."""
        before = self.now() - IDLE_S
        for connection in [each for each, at in self._open.items() if at < before]:
            connection.close()

    def close_all(self) -> None:
        """Answer the messages that every connection has received, then close the connections."""
        for connection in list(self._open):
            connection.finish()


class Connection(Port, asyncio.Protocol):
    """One TCP connection of a client."""

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
        self._has_ended = False  # whether the client has finished sending
        self._is_stalled = False  # whether the client has stopped reading
        self.is_waiting = False  # whether the connection waits for its turn
        self.has_asked = False
        self.ip: str
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport isn't a subclass of asyncio's
        self._transport.set_write_buffer_limits(_STALLED_AT)
        batch, family = self._connections.batch, transport.get_extra_info("socket").family
        Port.__init__(self, "tcp", STREAM_LIMIT, batch.tally("tcp", family), batch.observers)
        ip, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self._client, self.ip = Client(ip, port), ip
        self._connections.touch(self)

    def data_received(self, data: bytes) -> None:
        """Take octets from the client. Whole messages are answered when this connection has its turn."""
        self._received += data
        self._wait()

    def _wait(self) -> None:
        if not self.is_waiting:
            self.is_waiting = True
            self._connections.wait(self)

    def answer_next(self) -> int:
        """Answer a message, and return the number of octets of the reply.

        Afterwards, `is_waiting` is True if another message waits. While a message waits, the connection reads nothing
        more.
        """
        octets = self._answer() if self._has_next() and not self._is_stalled else 0
        self.is_waiting = self._has_next() and not self._is_stalled
        if self.is_waiting:
            self._transport.pause_reading()
        else:
            self._rest()
        return octets

    def _has_next(self) -> bool:
        """Return whether a whole message has arrived and the connection is still open."""
        return len(self._received) >= _end(self._received) and not self._transport.is_closing()

    def _answer(self) -> int:
        """Answer the first message, which must be complete. Return the number of octets of the reply."""
        end = _end(self._received)
        message = bytes(self._received[2:end])
        del self._received[:end]
        self.has_asked = True
        self._connections.touch(self)
        self._connections.batch.answer((message,), self, monotonic())
        return len(self.replies[0] or b"")

    def _rest(self) -> None:
        """If no message waits, read again. If the client has finished and has all its replies, close instead."""
        if self.is_waiting or self._is_stalled or self._transport.is_closing():
            return
        if not self._has_ended:
            self._transport.resume_reading()
        elif self._replied_later == self.deferred:
            self._transport.close()  # the transport first sends all written data

    def send(self) -> None:
        """Send `replies`, if the client is still there."""
        self._write(b"".join([len(each).to_bytes(2) + each for each in self.replies if each is not None]))

    def reply_later(self, reply: bytes, _peer: None) -> None:
        """Send a reply that was deferred, if the client is still there."""
        self._replied_later += 1
        self._write(len(reply).to_bytes(2) + reply)
        self._rest()

    def _write(self, octets: bytes) -> None:
        # Writing to a closed transport raises an exception, or logs a warning.
        if not octets or self._transport.is_closing():
            return
        self._transport.write(octets)
        if self._is_stalled:
            self._connections.note_unread(self, self._transport.get_write_buffer_size())

    def client_at(self, _peer: None) -> Client:
        """Return the client of this connection."""
        return self._client

    def pause_writing(self) -> None:
        """Stop reading, because the client doesn't read its replies."""
        self._is_stalled = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read and answer again."""
        self._is_stalled = False
        self._connections.note_read(self)
        self._wait()

    def eof_received(self) -> bool:
        """Keep the connection open until all messages are answered."""
        self._has_ended = True
        self._rest()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Clean up after the connection has ended."""
        self._connections.forget(self)

    def close(self) -> None:
        """Close at once. Unsent replies are lost."""
        self._connections.forget(self)
        self._transport.abort()

    def finish(self) -> None:
        """Close the connection after the worker has answered all received queries and sent the replies."""
        while self._has_next():
            self._answer()
        self._transport.close()


def _end(received: bytearray) -> int:
    """Return the offset of the end of the first message, even if the message is incomplete."""
    return 2 + int.from_bytes(received[:2])
