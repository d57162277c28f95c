"""An event loop and connections without sockets, for tests that decide what happens in each turn of the event loop."""

import asyncio
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pydns.serve import tcp


class Loop:
    """An event loop that runs only when the test calls `turn`."""

    def __init__(self) -> None:
        self._due: list[Callable[[], None]] = []

    def time(self) -> float:
        return 0.0

    def call_soon(self, call: Callable[[], None]) -> None:
        self._due.append(call)

    def turn(self) -> bool:
        """Run the calls that are due now. Return whether there were any."""
        due, self._due = self._due, []
        for call in due:
            call()
        return bool(due)


class Transport(asyncio.Transport):
    """A connection of a client that reads nothing until the test calls `read`."""

    def __init__(self, ip: str, connection: tcp.Connection) -> None:
        super().__init__({"socket": SimpleNamespace(family=socket.AF_INET), "peername": (ip, 1)})
        self.ip = ip
        self.unread = 0
        self.written = bytearray()
        self.is_read = True
        self._is_closing = False
        self.connection = connection
        connection.connection_made(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._limit = high

    def write(self, data: Any) -> None:
        assert not self._is_closing
        self.written += data
        self.unread += len(data)
        if self.unread > self._limit:
            self.connection.pause_writing()

    def read(self) -> None:
        """Read everything, as the client does."""
        is_paused, self.unread = self.unread > self._limit, 0
        if is_paused:
            self.connection.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self._is_closing = True
