"""TCP: messages with a length in front (RFC 1035 section 4.2.2, RFC 7766), many on a connection.

Rules:

1. Whole messages are answered as they come, in one write for up to `TURN` that came together; what upstreams are
   asked for, when they have answered, so not always in the order of the questions. Who sends more at once waits until
   everyone else has had a turn.
2. A connection is closed when no whole message has come for `IDLE_S`: idle clients, and those that send an octet a
   second. So is one whose client doesn't read what it asked for: nothing more is read from it, so it becomes idle.
3. There are at most `MAX_CONNECTIONS`; one more takes the place of the one that has been idle longest.
"""

import asyncio
from time import monotonic
from typing import cast

from pydns.serve.context import Batch
from pydns.serve.recursion import Recursion

IDLE_S = 10.0  # as CoreDNS; NodeLocal DNSCache keeps its connections for that long
MAX_CONNECTIONS = 1000  # a worker
TURN = 16  # messages: twenty clients with a read's worth each, 6,000, kept the others waiting for more than a second


class Connections:
    """The open connections of a worker, idle longest first."""

    def __init__(self, batch: Batch, recursion: Recursion, loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.recursion = recursion
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
        """Close what has been idle for too long. To be called about once a second."""
        before = self.now() - IDLE_S
        for connection in [each for each, at in self._open.items() if at < before]:
            connection.close()

    def close_all(self) -> None:
        """Close every connection after what has been written to it."""
        for connection in list(self._open):
            connection.finish()


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._received = bytearray()
        self._is_behind = False  # whole messages wait for the next turn
        self._is_stalled = False  # the client doesn't read
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._tally = self._connections.batch.tally(transport.get_extra_info("socket"))
        self._peer = transport.get_extra_info("peername") or ("", 0)
        self._connections.touch(self)

    def data_received(self, data: bytes) -> None:
        """Answer the messages that are whole."""
        self._received += data
        if not self._is_behind:
            self._take_turn()

    def _take_turn(self) -> None:
        """Answer a few, and the others when it is our turn again; until then nothing more is read."""
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
        received = self._received
        replies = []
        position = count = 0
        batch = self._connections.batch
        batch.responder.tally = self._tally
        began = monotonic()
        with batch.transaction() as transaction:
            while count < TURN and len(received) - position >= 2:
                end = position + 2 + int.from_bytes(received[position : position + 2])
                if end > len(received):
                    break
                message = bytes(received[position + 2 : end])
                try:
                    reply = batch.respond(message, transaction, tcp=True)
                    if reply is None and batch.responder.asked is not None:
                        self._connections.recursion.ask(self._send, began)
                except Exception as error:
                    reply = batch.fail(message, error)
                if reply is not None:
                    replies.append(len(reply).to_bytes(2) + reply)
                position = end
                count += 1
        if position:
            del received[:position]
            self._connections.touch(self)
            self._transport.write(b"".join(replies))
            self._tally.timed(count, monotonic() - began)
            if batch.queries is not None:
                for reply in replies:
                    batch.queries.replied("tcp", self._peer, reply[2:], began)
        return count == TURN

    def _send(self, reply: bytes, began: float) -> None:
        """Write a reply that had to be waited for, if the client is still there."""
        self._transport.write(len(reply).to_bytes(2) + reply)
        queries = self._connections.batch.queries
        if queries is not None:
            queries.replied("tcp", self._peer, reply, began)

    def pause_writing(self) -> None:
        """Stop reading from a client that doesn't read."""
        self._is_stalled = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._is_stalled = False
        if not self._is_behind:
            self._is_behind = True
            self._take_turn()

    def connection_lost(self, error: Exception | None) -> None:
        """End."""
        self._connections.forget(self)

    def close(self) -> None:
        """Close at once; what isn't sent is lost."""
        self._connections.forget(self)
        self._transport.abort()

    def finish(self) -> None:
        """Close after what has been asked is answered, and sent."""
        while self._answer():
            pass
        self._transport.close()
