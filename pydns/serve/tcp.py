"""TCP: messages with a length prefix (RFC 1035 section 4.2.2, RFC 7766). A connection carries many messages.

Rules:

1. The worker answers a message when all of it has arrived. Client addresses take turns, and the connections of one
   address take turns too. `TURN` messages are divided equally among the waiting connections, but each connection gets
   at least one. So if many connections wait, the worker answers one message of an address, then one message of the
   next address. After `TURN` messages or `TURN_OCTETS` of replies, the remaining messages wait for the next turn of the
   event loop. So the worker can serve other sockets in between. Deferred replies are sent when they are ready, so the
   order of the replies can differ from the order of the questions.
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
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Protocol, cast

from pydns.metrics.meter import Tally
from pydns.serve.port import STREAM_LIMIT, Client, Observer, Port, address_octets

IDLE_S = 10.0  # as in CoreDNS. NodeLocal DNSCache keeps its connections open for this time
MAX_CONNECTIONS = 1000  # per worker
# Without the next two limits, twenty clients with 6,000 queries each delayed all others by more than a second.
TURN = 64  # messages per turn, the same number as for a UDP socket
# Octets of replies per turn. The last reply may exceed this limit. It isn't enough to count messages, because the
# longest replies take 200 times as long as the shortest.
TURN_OCTETS = 64 << 10
KERNEL_OCTETS = 32 << 10  # size of each kernel buffer of a connection, for replies and for queries; Linux doubles it
MAX_UNREAD = 512 << 10  # octets of unread replies of one connection
MAX_UNREAD_IN_ALL = 16 << 20
# If more octets of replies to a connection wait in this process, the worker stops reading from it. A connection's turn
# also ends after so many octets of replies. So the worker notices early that a client doesn't read.
_STALLED_AT = 16 << 10


def limit_buffers(listening: socket.socket) -> None:
    """Limit the kernel buffers of each connection that a listening socket accepts."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_OCTETS)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_OCTETS)


class Answerer(Protocol):
    """What connections need of a `Batch`. Tests replace it."""

    @property
    def observers(self) -> Sequence[Observer]:
        """The observers that are on."""

    def tally(self, protocol: str, family: int) -> Tally:
        """Return the counts for a protocol and an address family."""

    def answer(self, messages: list[bytes], port: Port, came: float, source: Iterator[bytes]) -> None:
        """Answer the messages of `source`, which appends them to `messages`."""


class Connections:
    """The open connections of a worker, and their limits."""

    def __init__(self, batch: Answerer, loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.now: Callable[[], float] = monotonic
        self.call_soon = loop.call_soon
        self.is_ending = False  # whether the worker ends
        self._ports: dict[int, StreamPort] = {}  # address family -> port
        self._open: dict[Connection, None] = {}  # the oldest comes first
        # IP address -> open connections of the address; the oldest comes first
        self._by_client: dict[str, dict[Connection, None]] = {}
        # Connection whose client doesn't read -> octets of unread replies. The client that has not read for the longest
        # time comes first.
        self._unread: dict[Connection, int] = {}

    def accept(self) -> "Connection":
        """Return the object that handles a new connection."""
        return Connection(self)

    def port(self, family: int) -> "StreamPort":
        """Return the port of an address family."""
        if family not in self._ports:
            self._ports[family] = StreamPort(self, family)
        return self._ports[family]

    def add(self, connection: "Connection") -> None:
        """Add a new connection. If there are too many, close another one."""
        if len(self._open) >= MAX_CONNECTIONS:
            self._least_deserving().close()
        self._open[connection] = None
        self._by_client.setdefault(connection.client.ip, {})[connection] = None

    def _least_deserving(self) -> "Connection":
        held = max(self._by_client.values(), key=len)
        return next((each for each in held if not each.has_asked), None) or min(held, key=lambda each: each.used_at)

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
        if connection in self._open:
            del self._open[connection]
            held = self._by_client[connection.client.ip]
            del held[connection]
            if not held:
                del self._by_client[connection.client.ip]

    def close_idle(self) -> None:
        """Close connections that have been idle for too long. The caller calls this function about twice a second."""
        before = self.now() - IDLE_S
        for connection in [each for each in self._open if each.used_at < before]:
            connection.close()

    def close_all(self) -> None:
        """Answer the messages that every connection has received, then close the connections."""
        self.is_ending = True
        for connection in list(self._open):
            connection.finish()
        for port in self._ports.values():
            while port.has_waiting:
                port.answer()
        for connection in list(self._open):
            connection.close_after_replies()


class StreamPort(Port):
    """The connections of one address family, which take turns (rule 1 at the top of this file).

    All messages of a turn of the event loop are one batch, and a connection gets its replies with one system call.
    With a batch for each message, the worker took twice as long (tests/bench/README.md).
    """

    __slots__ = ("_connections", "_family", "_is_due", "_octets", "_peers", "_unsent", "_visited", "_waiting")

    def __init__(self, connections: Connections, family: int) -> None:
        batch = connections.batch
        super().__init__("tcp", STREAM_LIMIT, batch.tally("tcp", family), batch.observers)
        self._connections = connections
        self._family = family
        # IP address -> connections with whole messages. The address that has the next turn comes first.
        self._waiting: dict[str, deque[Connection]] = {}
        self._is_due = False
        self._peers: list[Connection] = []  # the connections of the messages of the batch
        self._visited: Connection | None = None  # the connection that has its turn now
        self._unsent: list[bytes] = []  # the replies for the visited connection, each after its length
        self._octets = 0  # number of octets of the replies of the batch

    def wait(self, connection: "Connection") -> None:
        """Add a connection with a whole message to those that wait for their turns."""
        connections = self._waiting.get(connection.client.ip)
        if connections is None:
            self._waiting[connection.client.ip] = deque((connection,))
        else:
            connections.append(connection)
        self._answer_later()

    @property
    def has_waiting(self) -> bool:
        """Whether a connection waits for its turn."""
        return bool(self._waiting)

    def _answer_later(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._connections.call_soon(self.answer)

    def answer(self) -> None:
        """Answer messages for one turn of the event loop."""
        self._is_due = False
        messages: list[bytes] = []
        self._peers = []
        self._octets = 0
        now = self._connections.now()
        self._connections.batch.answer(messages, self, now, self._messages(messages, now))
        if self._waiting:
            self._answer_later()

    def _messages(self, messages: list[bytes], now: float) -> Iterator[bytes]:
        """Yield the messages of this turn of the event loop, and append them to `messages`. Send the replies."""
        waiting, peers, replies = self._waiting, self._peers, self.replies
        share = max(1, TURN // sum(map(len, waiting.values()))) if waiting else 0
        while waiting and len(messages) < TURN and self._octets < TURN_OCTETS:
            ip = next(iter(waiting))
            connections = waiting.pop(ip)
            connection = connections.popleft()
            if connection.is_served:
                self._visited = connection
                connection.used_at, connection.has_asked = now, True
                self._unsent = unsent = []
                deferred = self.deferred
                # Comparisons take 0.3 µs less than `min`.
                most, most_octets = len(messages) + share, self._octets + _STALLED_AT
                if most > TURN:
                    most = TURN
                if most_octets > TURN_OCTETS:
                    most_octets = TURN_OCTETS
                received, start, end = connection.received, connection.start, connection.end
                while end <= len(received) and len(messages) < most and self._octets < most_octets:
                    message = received[start:end]
                    messages.append(message)
                    peers.append(connection)
                    yield message
                    reply = replies[-1]
                    if reply is not None:
                        unsent.append(len(reply).to_bytes(2))
                        unsent.append(reply)
                        self._octets += len(reply)
                    start = end + 2
                    end = start + int.from_bytes(received[end:start])
                self._visited = None
                connection.deferred += self.deferred - deferred
                connection.end_turn(b"".join(unsent), start, end)
            else:
                connection.is_waiting = False
            if connection.is_waiting:
                connections.append(connection)
            if connections:
                waiting[ip] = connections

    def peer(self, place: int) -> "Connection":
        """Return the connection of a message of the batch."""
        return self._peers[place]

    def client_at(self, peer: "Connection") -> Client:
        """Return the client of a connection."""
        return peer.client

    def source(self, peer: "Connection") -> bytes:
        """Return the octets of the IP address of a connection's client."""
        return peer.address

    def senders(self, _count: int) -> bytes:
        """Return the IP addresses of the clients of the batch."""
        return b"".join([peer.address for peer in self._peers])

    def sources(self, senders: bytes) -> bytes:
        """Return the IP addresses of senders."""
        return senders if self._family == socket.AF_INET else super().sources(senders)

    def reply_later(self, reply: bytes, peer: "Connection") -> None:
        """Send a deferred reply. During the connection's turn, it is sent at the end of the turn."""
        octets = len(reply).to_bytes(2) + reply
        peer.replied_later += 1
        if peer is self._visited:
            self._unsent.append(octets)
            self._octets += len(reply)
        else:
            peer.send_later(octets)


class Connection(asyncio.Protocol):
    """One TCP connection of a client."""

    __slots__ = (
        "_connections",
        "_has_ended",
        "_is_reading",
        "_is_stalled",
        "_transport",
        "address",
        "client",
        "deferred",
        "end",
        "has_asked",
        "is_served",
        "is_waiting",
        "port",
        "received",
        "replied_later",
        "start",
        "used_at",
    )

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.received = b""
        # The next message is between these offsets of `received`, if it is whole. The two octets before are its length.
        self.start = self.end = 2
        self.deferred = self.replied_later = 0  # numbers of deferred messages, and of those that have got their replies
        self._has_ended = False  # whether the client has finished sending
        self._is_reading = True
        self._is_stalled = False  # whether the client has stopped reading
        self.is_served = True  # whether messages are answered; False if the client has stopped reading or has gone
        self.is_waiting = False  # whether the connection waits for its turn, or has it now
        self.has_asked = False
        self.used_at = connections.now()  # time of the last whole message
        self.client: Client
        self.address: bytes  # the octets of the client's IP address
        self.port: StreamPort
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set up the connection."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport isn't a subclass of asyncio's
        self._transport.set_write_buffer_limits(_STALLED_AT)
        family = transport.get_extra_info("socket").family
        ip, port, *_ = transport.get_extra_info("peername") or (_UNKNOWN[family], 0)
        self.client, self.address = Client(ip, port), address_octets(ip)
        self.port = self._connections.port(family)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take octets from the client. Whole messages are answered when this connection has its turn."""
        if self.received:
            data = self.received[self.start - 2 :] + data
        self.received, self.start, self.end = data, 2, 2 + int.from_bytes(data[:2])
        self._wait()

    def _wait(self) -> None:
        if self.end <= len(self.received) and not self.is_waiting:
            self.is_waiting = True
            self.port.wait(self)

    def end_turn(self, replies: bytes, start: int, end: int) -> None:
        """Send the replies. `start` and `end` are the offsets of the next message.

        Afterwards, `is_waiting` is True if another message waits. While a message waits, the connection reads nothing
        more.
        """
        self._write(replies)
        if end <= len(self.received):
            self.start, self.end = start, end
            self._is_reading = False
            self._transport.pause_reading()
            return
        self.is_waiting = False
        self.received = self.received[start - 2 :]  # a part of the next message
        self.start, self.end = 2, end - start + 2
        if self._has_ended or not self._is_reading:
            self._rest()

    def _rest(self) -> None:
        """If no message waits, read again. If the client has finished and has all its replies, close instead."""
        if self.is_waiting or not self.is_served or self._transport.is_closing():
            return
        if not self._has_ended:
            self._transport.resume_reading()
            self._is_reading = True
        elif self.replied_later == self.deferred:
            self._transport.close()  # the transport first sends all written data

    def send_later(self, octets: bytes) -> None:
        """Send a deferred reply outside of the connection's turn."""
        self._write(octets)
        self._rest()

    def _write(self, octets: bytes) -> None:
        # Writing to a closed transport raises an exception, or logs a warning.
        if not octets or self._transport.is_closing():
            return
        self._transport.write(octets)
        if self._is_stalled:
            self._connections.note_unread(self, self._transport.get_write_buffer_size())

    def pause_writing(self) -> None:
        """Stop reading, because the client doesn't read its replies."""
        self._is_stalled = True
        self.is_served = self._connections.is_ending
        self._is_reading = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read and answer again."""
        self._is_stalled = False
        self.is_served = True
        self._connections.note_read(self)
        self._wait()
        self._rest()

    def eof_received(self) -> bool:
        """Keep the connection open until all messages are answered."""
        self._has_ended = True
        self._rest()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Clean up after the connection has ended."""
        self.is_served = False
        self._connections.forget(self)

    def close(self) -> None:
        """Close at once. Unsent replies are lost."""
        self.is_served = False
        self._connections.forget(self)
        self._transport.abort()

    def finish(self) -> None:
        """Let all received messages be answered, even if the client doesn't read."""
        self.is_served = True
        self._wait()

    def close_after_replies(self) -> None:
        """Close the connection. The transport first sends all written data."""
        self._transport.close()


_UNKNOWN = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # the address of a client that has already gone
