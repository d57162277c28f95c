"""Sends frames to a collector over a Unix socket or TCP (Frame Streams, the variant with a handshake).

The worker never waits for the collector. Rules:

1. Frames wait in a buffer of at most `MAX_WAITING` octets. Every `EVERY_S` seconds, they are written together.
2. While there is no connection, or while the buffer is full, frames are dropped and counted.
3. After a failed connection, the stream waits for `FIRST_PAUSE_S` before it tries again. The pause doubles with each
   further failure, up to `LAST_PAUSE_S`.
4. A lost connection is logged once, and so is the next connection after it.
"""

import asyncio
import os
from collections.abc import Callable
from typing import cast

from pydns.config.model import Collector
from pydns.dns.dnstap import READY, START, STOP, BadFrame, Control, controls
from pydns.log import Level, Log

EVERY_S = 0.05
MAX_WAITING = 1 << 20
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 10.0
_HANDSHAKE_S = 5.0  # how long a collector may take to accept the stream


class FrameStream:
    """A stream of frames to one collector. If its connection ends, the stream connects again."""

    def __init__(
        self, to: Collector, loop: asyncio.AbstractEventLoop, log: Log, dropped: Callable[[int], object]
    ) -> None:
        """`dropped` is called with the number of frames, whenever frames are dropped."""
        self.to = to
        self._loop = loop
        self._log = log
        self._dropped = dropped
        self._waiting: list[bytes] = []
        self._octets = 0
        self._is_due = False
        self._trouble = ""  # the reason that was logged for the lost connection; empty after the next connection
        self._connection: _Connection | None = None
        self._task = loop.create_task(self._connect())

    def put(self, frame: bytes) -> None:
        """Add a data frame to the buffer, or drop it if there is no connection or no room."""
        connection = self._connection
        if connection is None or self._octets + connection.unwritten() + len(frame) > MAX_WAITING:
            self._dropped(1)
            return
        self._waiting.append(frame)
        self._octets += len(frame)
        if not self._is_due:
            self._is_due = True
            self._loop.call_later(EVERY_S, self._write)

    def close(self) -> None:
        """Write the frames in the buffer, and end the stream."""
        self._task.cancel()
        if self._connection is not None:
            self._write()
            self._connection.end()
            self._connection = None

    def _write(self) -> None:
        self._is_due = False
        waiting, self._waiting, self._octets = self._waiting, [], 0
        if self._connection is None:
            self._dropped(len(waiting))
        elif waiting:
            self._connection.write(b"".join(waiting))

    async def _connect(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            reason = "the collector has closed the connection"
            try:
                async with asyncio.timeout(_HANDSHAKE_S):
                    connection = await self._open()
                    await connection.accepted
            except OSError as error:  # TimeoutError is a subclass of OSError
                is_late = isinstance(error, TimeoutError)
                reason = f"no handshake within {_HANDSHAKE_S:.0f} s" if is_late else os.strerror(error.errno or 0)
            except BadFrame as error:
                reason = str(error)
            else:
                pause_s = FIRST_PAUSE_S
                self._connection = connection
                if self._trouble:
                    self._trouble = ""
                    self._log("collector connected", to=self.to.text)
                try:
                    await connection.ended
                except BadFrame as error:
                    reason = str(error)
                self._connection = None
            if reason != self._trouble:
                self._trouble = reason
                action = "drop dnstap messages, and try again"
                self._log("collector lost", level=Level.WARNING, to=self.to.text, reason=reason, action=action)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _open(self) -> "_Connection":
        to = self.to
        if to.path is not None:
            _, connection = await self._loop.create_unix_connection(lambda: _Connection(self._loop), to.path)
        else:
            _, connection = await self._loop.create_connection(lambda: _Connection(self._loop), to.ip, to.port)
        return connection


class _Connection(asyncio.Protocol):
    """One connection to the collector. Its two futures get a `BadFrame` if the collector breaks the protocol."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.accepted: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport isn't a subclass of asyncio's
        self._transport.write(READY)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            for each in controls(self._received):
                if each is Control.ACCEPT and not self.accepted.done():
                    self._transport.write(START)
                    self.accepted.set_result(None)
                else:
                    self._transport.close()
        except BadFrame as error:
            self._finish(error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(BadFrame("the collector has closed the connection"))

    def _finish(self, error: BadFrame) -> None:
        for each in (self.accepted, self.ended):
            if not each.done():
                each.set_exception(error)
                each.exception()  # this marks the exception as seen, because nobody may wait for the future

    def unwritten(self) -> int:
        """Return how many octets wait until the kernel takes them."""
        return self._transport.get_write_buffer_size()

    def write(self, octets: bytes) -> None:
        """Write the octets of frames."""
        if not self._transport.is_closing():
            self._transport.write(octets)

    def end(self) -> None:
        """Send the control frame that ends the stream, and close the connection."""
        self.write(STOP)
        self._transport.close()
