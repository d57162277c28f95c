"""Limits the time that queries wait in a UDP socket: an answer that comes too late is wasted work.

The queue is the receive buffer of the socket. The kernel limits the queue in octets, not in time. A worker with a CPU
core of its own answers a full buffer in 50 ms. A worker with a CPU limit of a twentieth of a core needs more than a
second. In an overload the buffer is always full, so every answer would come too late. Rules:

1. Nothing is limited while one system call empties the queue, or while datagrams wait less than `_CROWDED_S`.
2. An overload begins when a third of the queue is full. It also begins when, for some time, datagrams have waited
   longer than `_LONGEST_S`. Then the worker restricts the clients that send more than their share
   (`pydns.serve.shares`). The kernel passes only a share of their datagrams. Of the datagrams that the kernel passes,
   the worker discards those that have waited longer than `_SHORT_S`. A discarded datagram costs a tenth of the time of
   an answer. A datagram that the kernel drops costs nothing. So the queue doesn't become full, and other clients lose
   no datagrams.
3. If the other clients alone send too much, the worker discards all datagrams that have waited for `_LONGEST_S`, from
   any client. It also makes the buffer so small that it can answer all datagrams in it in half of that time. The kernel
   drops datagrams that don't fit into the buffer.
4. Datagrams that came before this worker started had to wait for its start. The worker answers all of them.
5. While no datagrams wait, the worker doesn't look at the queue at intervals. A look takes five system calls for each
   socket.
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

LOOK_S = 0.1  # interval between two calls of `look` while `needs_looks` is True
_LONGEST_S = 0.4  # a quarter of the shortest client timeout in common use
_SHORT_S = _LONGEST_S / 4  # a CPU limit may make a worker pause for this long
_CROWDED_S = 0.01
_COUNTED = 2  # only every second datagram is counted, because counting costs more than 0.1 µs for each
_LASTING_S = 0.2  # a shorter wait may be a pause of the worker, which isn't an overload
_LEAST = 64 << 10  # the smallest buffer, in octets as the kernel counts them: 80 queries
_QUERY_OCTETS = 832  # octets that the kernel counts for a short query
_SIOCGSTAMP = 0x8906  # returns the arrival time of the datagram that was received last (socket(7))
_TIMEVAL = struct.Struct("@ll")
_SO_MEMINFO = 55  # asm-generic/socket.h
_MEMINFO = struct.Struct("@II")  # from linux/sock_diag.h: octets in the queue, and the maximum of octets


class Backlog:
    """The queue of datagrams of one socket."""

    def __init__(self, sock: socket.socket, inbox: Inbox, clock: Callable[[], float] = time.time) -> None:
        """`inbox` receives the datagrams. `clock` returns Unix time, which the kernel's time stamps use too."""
        self.sock = sock
        self._inbox = inbox
        self._shares = Shares()
        self._clock = clock
        self._arrived(0.0)  # this first call makes the kernel stamp all later datagrams
        self._began = clock()
        self._seen = 0.0  # arrival time of the newest datagram at the previous call of `look`
        self._restriction = Restriction(sock)
        self._answerable_before = 1.0
        self._is_small = True  # whether the buffer may be smaller than it can be
        self.needs_looks = True
        self.crowded: Callable[[], None] = _do_nothing  # called when datagrams wait, so `look` must be called
        self._begin_interval(clock())
        self._end_crowd()

    def _end_crowd(self) -> None:
        self._is_overloaded = False
        self._shares.forget()
        self._long_since = inf  # time since which datagrams have waited longer than `_LONGEST_S`

    def _begin_interval(self, now: float) -> None:
        """Reset the counts, which cover the time until the next call of `look`."""
        self._looked_at = now
        self._queued_before = self._queued()
        self._waited = self._answered = self._discarded = 0  # counts of datagrams in full batches that had to wait
        self._is_late = False  # whether some datagrams were too old

    def choose(self, messages: list[bytes]) -> list[bytes]:
        """Return the messages of a full batch that the worker should answer.

        Afterwards the inbox contains the senders of these messages, in the same order.
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
        """Find out whether there is an overload, and which clients cause it."""
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
        """Record the senders of the last datagrams. The caller calls this function now and then.

        If there are several clients, one that sends too much is restricted. If there is only one, it never is.
        """
        if self._shares.has_one_sender:
            self._shares.see([each for each in self._inbox.senders() if any(each)])

    def _grow(self) -> None:
        """Double the buffer, until it is as large as the kernel allows."""
        size = self._size()
        if size < 2 * RECEIVE_BUFFER:
            self._resize(size * 2)
        self._is_small = self._size() > size

    def _arrived(self, now: float) -> float:
        """Return the arrival time of the last received datagram, or `now` if the kernel has no time stamp yet."""
        try:
            seconds, microseconds = _TIMEVAL.unpack(ioctl(self.sock, _SIOCGSTAMP, bytes(_TIMEVAL.size)))
        except OSError:
            return now
        return float(seconds + microseconds / 1e6)

    def _queued(self) -> float:
        """Return the part of the queue that is full, from 0 to 1. Return 0 if the kernel doesn't report it."""
        try:
            octets, most = _MEMINFO.unpack(self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except OSError:
            return 0.0
        return float(octets / most)

    def _size(self) -> int:
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _resize(self, size: int) -> None:
        # The kernel doubles the size that we set.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(size // 2, RECEIVE_BUFFER))


def _do_nothing() -> None:
    pass
