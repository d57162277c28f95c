"""Limits the time that queries wait in a UDP socket: an answer that comes too late is wasted work.

The queue is the receive buffer, whose length is in octets. A full buffer is 50 ms of work for a worker with a core to
itself, but more than a second for one that a CPU limit leaves a twentieth. In an overload the buffer is always full,
and every answer would come too late. So its length follows the time that the last datagram has waited, which the kernel
knows. This costs nothing per query.
"""

import socket
import struct
from fcntl import ioctl

from pydns.process.slots import RECEIVE_BUFFER

LOOK_S = 0.2  # how often to look
_LONGEST_S = 0.4  # a quarter of the shortest common client timeout
_SHORT_S = _LONGEST_S / 4
_LEAST = 64 << 10  # octets as the kernel counts them: 80 queries
_SIOCGSTAMP = 0x8906  # arrival time of the datagram that was received last (socket(7))
_TIMEVAL = struct.Struct("@ll")


class Backlog:
    """The queue of one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stamp = bytes(_TIMEVAL.size)
        self._judge_at = 0.0  # until then we still drain the old, longer queue

    def look(self, now: float) -> None:
        """Adjust the buffer. `now` is Unix time, the clock of the kernel's time stamps."""
        try:
            stamp = ioctl(self._sock, _SIOCGSTAMP, bytes(_TIMEVAL.size))
        except OSError:  # no datagram has come yet; from now on the kernel stamps them
            return
        seconds, microseconds = _TIMEVAL.unpack(stamp)
        waited_s = now - seconds - microseconds / 1e6
        if stamp == self._stamp:
            waited_s = 0.0  # no query has come since
        self._stamp = stamp
        size = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if waited_s > _LONGEST_S and now >= self._judge_at:
            # One step shrinks it to a quarter at most: a clock that was set looks like a long wait.
            self._resize(max(int(size * max(_LONGEST_S / 2 / waited_s, 0.25)), _LEAST))
            self._judge_at = now + min(waited_s, 1.0)
        elif waited_s < _SHORT_S and size < 2 * RECEIVE_BUFFER:
            self._resize(size * 2)

    def _resize(self, size: int) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(size // 2, RECEIVE_BUFFER))  # the kernel doubles
