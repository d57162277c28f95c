"""Keeps what waits in a UDP socket short in time: an answer that nobody waits for any more is work for nothing.

The receive buffer is the queue, and its length is in octets: 50 ms for a worker with a core to itself, but more than a
second for one with a twentieth, as a CPU limit leaves it. In an overload it is always full, and every answer would come
too late. So its length follows how long the last datagram has waited, which the kernel knows. It costs a query nothing.
"""

import socket
import struct
from fcntl import ioctl

from pydns.process.slots import RECEIVE_BUFFER

LOOK_S = 0.2  # how often to look
_LONGEST_S = 0.4  # a quarter of the patience of hasty clients
_SHORT_S = _LONGEST_S / 4
_LEAST = 64 << 10  # octets, as the kernel counts: 80 queries
_SIOCGSTAMP = 0x8906  # when the last datagram that was received had come in (socket(7))
_TIMEVAL = struct.Struct("@ll")


class Backlog:
    """What waits in one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._stamp = bytes(_TIMEVAL.size)
        self._judge_at = 0.0  # before that, what had waited in a longer queue is still being read

    def look(self, now: float) -> None:
        """Adjust the buffer. `now` is by the clock that the kernel stamps with, Unix time."""
        try:
            stamp = ioctl(self._sock, _SIOCGSTAMP, bytes(_TIMEVAL.size))
        except OSError:  # nothing has come yet; from now on the kernel notes it
            return
        seconds, microseconds = _TIMEVAL.unpack(stamp)
        waited_s = now - seconds - microseconds / 1e6
        if stamp == self._stamp:
            waited_s = 0.0  # nobody asks
        self._stamp = stamp
        size = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if waited_s > _LONGEST_S and now >= self._judge_at:
            # To a quarter at most at once: the clock may have been set.
            self._resize(max(int(size * max(_LONGEST_S / 2 / waited_s, 0.25)), _LEAST))
            self._judge_at = now + min(waited_s, 1.0)
        elif waited_s < _SHORT_S and size < 2 * RECEIVE_BUFFER:
            self._resize(size * 2)

    def _resize(self, size: int) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(size // 2, RECEIVE_BUFFER))  # the kernel doubles
