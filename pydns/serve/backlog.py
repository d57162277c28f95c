"""Limits the time that queries wait in a UDP socket, because an answer that comes too late is wasted work.

The queue is the receive buffer of the socket. The kernel limits its octets, but not the time that datagrams wait in it.
A worker with a CPU core of its own answers a full buffer in 50 ms. A worker with a CPU limit of a twentieth of a core
needs more than a second to answer a full buffer. In an overload the buffer is always full, so every answer would come
too late. Rules:

1. Nothing is limited while one system call empties the queue, or while datagrams wait for less than `_CROWDED_S`.
2. An overload begins when a third of the buffer is full. It also begins when datagrams have waited longer than
   `_LONGEST_S`, and this has gone on for `_LASTING_S`. Then the worker restricts the clients that send more than their
   share (`pydns.serve.shares`). The kernel passes only a share of the datagrams of these clients. The worker discards a
   passed datagram that has waited longer than `_SHORT_S`. A discarded datagram takes a tenth of the time of an answer,
   and a datagram that the kernel drops takes no time. So the buffer doesn't become full, and no other client loses
   datagrams.
3. If the clients that aren't restricted send too much together, the worker discards all datagrams that have waited
   longer than `_LONGEST_S`. The worker also makes the buffer so small that it can answer a full buffer in half of
   `_LONGEST_S`. The kernel drops datagrams that don't fit into the buffer.
4. Datagrams that came before this worker started had to wait until it started. The worker answers all of them.
5. While no datagrams wait, `look` isn't called at intervals, because a call takes five system calls for each socket.
"""

import socket
import struct
import time
from collections.abc import Callable
from fcntl import ioctl
from math import inf

from pydns.process.slots import RECEIVE_BUFFER
from pydns.serve.datagrams import BATCH, Inbox
from pydns.serve.restriction import Restriction
from pydns.serve.shares import Shares

LOOK_S = 0.1  # seconds between two calls of `look` while `needs_looks` is True
_LONGEST_S = 0.4  # a quarter of the shortest timeout that clients commonly use
_SHORT_S = _LONGEST_S / 4  # a worker with a CPU limit may pause for this long
_CROWDED_S = 0.01
_COUNTED = 2  # only every second datagram is counted, because counting a datagram takes more than 0.1 µs
_LASTING_S = 0.2  # an overload lasts at least this long; a shorter wait may be a pause of the worker
_LEAST = 64 << 10  # the smallest buffer, in octets as the kernel counts them; it has room for 80 queries
_QUERY_OCTETS = 832  # how many octets the kernel counts for a short query
_SIOCGSTAMP = 0x8906  # ioctl request for the arrival time of the last received datagram (socket(7))
_TIMEVAL = struct.Struct("@ll")
_SO_MEMINFO = 55  # number of the socket option, from asm-generic/socket.h
_MEMINFO = struct.Struct("@II")  # two values of linux/sock_diag.h: the octets in the queue, and their maximum


class Backlog:
    """The queue of the datagrams that wait in one socket."""

    def __init__(self, sock: socket.socket, inbox: Inbox, clock: Callable[[], float] = time.time) -> None:
        """`inbox` receives the datagrams.

        `clock` returns the seconds since 1970, like the time stamps of the kernel.
        """
        self.sock = sock
        self._inbox = inbox
        self._shares = Shares()
        self._clock = clock
        self._arrived(0.0)  # this first call makes the kernel stamp all later datagrams
        self._began = clock()
        self._seen = 0.0  # the arrival time of the datagram that was the newest at the previous call of `look`
        self._restriction = Restriction(sock)
        self._answerable_before = 1.0
        self._is_small = True  # whether the kernel may allow a larger buffer
        self.needs_looks = True
        # This is called when datagrams wait, so that the worker calls `look`.
        self.crowded: Callable[[], None] = _do_nothing
        self._begin_interval(clock())
        self._end_crowd()

    def _end_crowd(self) -> None:
        self._is_overloaded = False
        self._shares.forget()
        self._long_since = inf  # since when datagrams have waited longer than `_LONGEST_S`

    def _begin_interval(self, now: float) -> None:
        """Reset the counts of the datagrams between two calls of `look`."""
        self._looked_at = now
        self._queued_before = self._queued()
        self._waited = self._answered = self._discarded = 0  # counts of the datagrams in full batches that had to wait
        self._is_late = False  # whether the worker has discarded datagrams of all clients

    def choose(self, messages: list[bytes]) -> list[bytes]:
        """Return those messages of a full batch that the worker should answer.

        Afterwards, the inbox contains the senders of these messages, in the same order.
        """
        now = self._clock()
        arrived = self._arrived(now)
        waited_s = now - arrived
        if waited_s < _CROWDED_S or arrived < self._began:
            return messages
        self._judge(waited_s, now)
        greedy = self._restriction.greedy
        chosen = messages
        if greedy and waited_s > _SHORT_S:
            places = [place for place, sender in enumerate(self._inbox.senders()) if sender not in greedy]
            self._inbox.keep(places)
            chosen = [messages[place] for place in places]
        if waited_s > _LONGEST_S and now - self._long_since > _LASTING_S and len(chosen) > BATCH // 2:
            self._is_late = True
            chosen = []
        self._answered += len(chosen)
        self._discarded += len(messages) - len(chosen)
        return chosen

    def _judge(self, waited_s: float, now: float) -> None:
        """Find out whether there is an overload, and restrict the clients that cause it."""
        self._waited += BATCH
        self.needs_looks = True
        self.crowded()
        self._long_since = min(self._long_since, now) if waited_s > _LONGEST_S else inf
        self._shares.count(self._inbox.senders(_COUNTED))
        if self._is_overloaded or now - self._long_since > _LASTING_S or self._queued() > 1 / 3:
            if not self._is_overloaded:
                self._shares.judge()
            self._is_overloaded = True
            if not self._shares.greedy <= self._restriction.greedy:
                share = min(self._answerable(), self._answerable_before)
                self._restriction.extend(self._shares.greedy, share, now)

    def _answerable(self) -> float:
        """Return the share of datagrams that the worker could answer since the last call of `look`."""
        growth = max(self._queued() - self._queued_before, 0.0) * self._size() / _QUERY_OCTETS
        return (self._answered + BATCH) / (self._answered + BATCH + growth)

    def look(self, now: float) -> None:
        """Adjust the size of the buffer.

        The caller calls this function every `LOOK_S` while `needs_looks` is True. `now` is the time from `clock`.
        """
        arrived = self._arrived(now)
        waited_s = 0.0 if arrived == self._seen else now - arrived
        self._seen = arrived
        if self._restriction.greedy:
            is_long = self._queued() > 1 / 3
            self._restriction.adjust(now, self._waited, self._discarded, is_long=is_long)
        if self._is_late:
            answered_octets = self._answered * _QUERY_OCTETS / max(now - self._looked_at, LOOK_S)
            self._resize(min(self._size(), max(int(answered_octets * _LONGEST_S / 2), _LEAST)))
            self._is_small = True
        elif waited_s < _SHORT_S and self._is_small:
            self._grow()
        self.needs_looks = bool(self._waited or self._restriction.greedy or self._is_small)
        if not self._waited:
            self.see()
            self._end_crowd()
        self._answerable_before = self._answerable()
        self._begin_interval(now)

    def see(self) -> None:
        """Note the senders of the last datagrams. The worker calls this function now and then.

        A client that sends too much is restricted only if others send, too. A single client is never restricted.
        """
        if self._shares.has_one_sender:
            self._shares.see([each for each in self._inbox.senders() if any(each)])

    def _grow(self) -> None:
        """Double the size of the buffer, until it is as large as the kernel allows."""
        size = self._size()
        if size < 2 * RECEIVE_BUFFER:
            self._resize(size * 2)
        self._is_small = self._size() > size

    def _arrived(self, now: float) -> float:
        """Return when the last received datagram arrived, or `now` if the kernel has no time stamp yet."""
        try:
            seconds, microseconds = _TIMEVAL.unpack(ioctl(self.sock, _SIOCGSTAMP, bytes(_TIMEVAL.size)))
        except OSError:
            return now
        return float(seconds + microseconds / 1e6)

    def _queued(self) -> float:
        """Return which part of the buffer is full, from 0 to 1. Return 0 if the kernel doesn't report it."""
        try:
            octets, most = _MEMINFO.unpack(self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except OSError:
            return 0.0
        return float(octets / most)

    def _size(self) -> int:
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _resize(self, size: int) -> None:
        # The kernel doubles the size that it gets.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(size // 2, RECEIVE_BUFFER))


def _do_nothing() -> None:
    pass
