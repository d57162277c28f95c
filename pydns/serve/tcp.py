"""TCP: messages with a length in front (RFC 1035 section 4.2.2, RFC 7766), many on a connection.

Rules:

1. Whole messages are answered as they come, in one write for up to `TURN` that came together. Deferred replies follow
   when they are ready, so not always in the order of the questions. A client that sends more at once waits until all
   other clients have had a turn.
2. A connection is closed when no whole message has come for `IDLE_S`: idle clients, and those that send an octet a
   second. A client that doesn't read its replies becomes idle too, because nothing more is read from it.
3. There are at most `MAX_CONNECTIONS`; a new one replaces the one that has been idle longest.
"""

import asyncio
from time import monotonic
from typing import cast

from pydns.serve.context import Batch
from pydns.serve.port import STREAM_LIMIT, Client, Port

IDLE_S = 10.0  # as CoreDNS; NodeLocal DNSCache keeps its connections for that long
MAX_CONNECTIONS = 1000  # a worker
TURN = 16  # messages: without it, twenty clients with 6,000 each delayed all others by more than a second


class Connections:
    """The open connections of a worker, idle longest first."""

    def __init__(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.now = loop.time
        self.call_soon = loop.call_soon
        self._open: dict[Connection, float] = {}  # when the last whole message came

    def accept(self) -> "Connection":
        """Return the protocol of a new connection."""
        return Connection(self)

    def touch(self, connection: "Connection") -> None:
        """Note that a connection is in use now."""
        self._open.pop(connection, None)
        if len(self._open) >= MAX_CONNECTIONS:
            next(iter(self._open)).close()
        self._open[connection] = self.now()

    def forget(self, connection: "Connection") -> None:
        """Note that a connection is gone."""
        self._open.pop(connection, None)

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

    __slots__ = ("_client", "_connections", "_is_behind", "_is_stalled", "_received", "_transport")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._received = bytearray()
        self._is_behind = False  # whole messages wait for the next turn
        self._is_stalled = False  # the client doesn't read
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        batch, family = self._connections.batch, transport.get_extra_info("socket").family
        Port.__init__(self, "tcp", STREAM_LIMIT, batch.tally("tcp", family), batch.observers)
        ip, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self._client = Client(ip, port)
        self._connections.touch(self)

    def data_received(self, data: bytes) -> None:
        """Answer the messages that are whole."""
        self._received += data
        if not self._is_behind:
            self._take_turn()

    def _take_turn(self) -> None:
        """Answer a few, and the others at our next turn. Until then nothing more is read."""
        if self._transport.is_closing():
            return
        was_behind = self._is_behind
        self._is_behind = self._answer() and not self._is_stalled
        if self._is_behind:
            self._transport.pause_reading()
            self._connections.call_soon(self._take_turn)
        elif was_behind and not self._is_stalled:
            self._transport.resume_reading()

    def _answer(self) -> bool:
        """Answer a turn's messages. Returns whether there may be more."""
        messages, end = _split(self._received)
        if messages:
            came = monotonic()
            del self._received[:end]
            self._connections.touch(self)
            self._connections.batch.answer(messages, self, came)
        return len(messages) == TURN

    def send(self) -> None:
        """Send `replies` in one write, if the client is still there."""
        if self._transport.is_closing():  # a write would raise, or be logged for each reply
            return
        self._transport.write(b"".join([len(each).to_bytes(2) + each for each in self.replies if each is not None]))

    def reply_later(self, reply: bytes, _peer: None) -> None:
        """Send a reply that was deferred, if the client is still there."""
        if not self._transport.is_closing():
            self._transport.write(len(reply).to_bytes(2) + reply)

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
        if not self._is_behind:
            self._is_behind = True
            self._take_turn()

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connections.forget(self)

    def close(self) -> None:
        """Close at once. Unsent replies are lost."""
        self._connections.forget(self)
        self._transport.abort()

    def finish(self) -> None:
        """Close after all queries that have come are answered and the replies are sent."""
        while self._answer():
            pass
        self._transport.close()


def _split(received: bytearray) -> tuple[list[bytes], int]:
    """Return the whole messages at the beginning, at most `TURN`, and where they end."""
    messages: list[bytes] = []
    position = 0
    while len(messages) < TURN and len(received) - position >= 2:
        end = position + 2 + int.from_bytes(received[position : position + 2])
        if end > len(received):
            break
        messages.append(bytes(received[position + 2 : end]))
        position = end
    return messages, position
