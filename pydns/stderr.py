"""Writes to standard error without waiting for the reader. A full pipe must not block answers or signals.

O_NONBLOCK can't be set on the existing pipe, because the flag would also affect every process that shares the pipe,
including the reader. So this module opens the pipe a second time through /proc. The kernel may refuse this, for example
if the pipe belongs to another user. If the kernel refuses, each write first checks whether the pipe has room. Such a
write waits if another process uses the room first.
"""

import os
import select
import socket
import stat
from collections.abc import Callable
from threading import Lock

PIECE = select.PIPE_BUF  # maximum octets of a write that the kernel never mixes with other writes to the same pipe


class Stderr:
    """Writes whole lines. Several threads may use one `Stderr`."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._lock = Lock()
        self._send: Callable[[bytes], int] | None = None
        self._rest = b""  # the unwritten rest of a long line

    def write(self, lines: bytes, patience_s: float = 0.0) -> bool:
        """Write all of `lines`. If the pipe has no room even after `patience_s`, write nothing and return False.

        If the reader has closed the pipe, lines count as written.
        """
        with self._lock:
            if self._rest and not self._push(patience_s):
                return False
            self._rest = lines
            if not self._push(patience_s) and len(self._rest) == len(lines):
                self._rest = b""
                return False
            return True

    def _push(self, patience_s: float) -> bool:
        if self._send is None:
            self._send = _sender(self._fd)
        while self._rest:
            try:
                self._rest = self._rest[self._send(self._rest[:PIECE]) :]
            except BlockingIOError:
                if not (patience_s and _has_room(self._fd, patience_s)):
                    return False
                patience_s = 0.0
            except OSError:  # the reader has closed the pipe, or the disk is full
                self._rest = b""
        return True


def _sender(fd: int) -> Callable[[bytes], int]:
    """Return a function that writes to `fd` like `os.write`, but raises `BlockingIOError` instead of waiting."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return lambda octets: _send(fd, octets)
        if stat.S_ISREG(mode):  # a write never waits; a second descriptor would overwrite the file
            return lambda octets: os.write(fd, octets)
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return lambda octets: os.write(own, octets)
    except OSError:
        return lambda octets: _write_if_room(fd, octets)


def _send(fd: int, octets: bytes) -> int:
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.send(octets, socket.MSG_DONTWAIT)


def _write_if_room(fd: int, octets: bytes) -> int:
    if not _has_room(fd, 0.0):
        raise BlockingIOError
    return os.write(fd, octets)


def _has_room(fd: int, patience_s: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(patience_s * 1000))
