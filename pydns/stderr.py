"""Standard error, without waiting for who reads it: a pipe that nobody empties must stop neither answers nor signals.

O_NONBLOCK can't be set: it would hold for all processes that share the pipe, and for what reads it too. So the pipe is
opened once more, through /proc. Where that is refused (it may belong to another user), it is asked whether there is
room before each write; another process may take that room in between, and then a write waits.
"""

import os
import select
import socket
import stat
from collections.abc import Callable
from threading import Lock

PIECE = select.PIPE_BUF  # octets: what a pipe takes whole or not at all, never mixed with another process's


class Stderr:
    """Takes whole lines. Safe to use from several threads."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._lock = Lock()
        self._send: Callable[[bytes], int] | None = None
        self._rest = b""  # the end of a long line whose beginning was written

    def write(self, lines: bytes, patience_s: float = 0.0) -> bool:
        """Write all of `lines`, or nothing and return False: there was no room, even after `patience_s`.

        What nobody can read any more counts as written.
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
            except OSError:  # its reader is gone, its disk is full
                self._rest = b""
        return True


def _sender(fd: int) -> Callable[[bytes], int]:
    """Return what writes to `fd` as `os.write` does, but raises `BlockingIOError` instead of waiting."""
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return lambda octets: _send(fd, octets)
        if stat.S_ISREG(mode):  # never waits; opened anew it would be written from its beginning
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
