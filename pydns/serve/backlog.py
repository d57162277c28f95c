"""Limits the time that queries wait in a UDP socket: an answer that comes too late is wasted work.

The queue is the receive buffer, whose length is in octets. A full buffer is 50 ms of work for a worker with a core to
itself, but more than a second for one that a CPU limit leaves a twentieth. In an overload the buffer is always full,
and every answer would come too late. Rules:

1. Nothing is done while one system call empties the queue, or datagrams wait for less than `_CROWDED_S`.
2. An overload begins when a third of the queue is full, or datagrams have waited for more than `_LONGEST_S` for some
   time. Then greedy clients (`pydns.serve.shares`) are restricted: the kernel drops all but a share of their datagrams,
   and those that have waited for more than `_SHORT_S` are discarded. To discard one costs a tenth of an answer, to have
   it dropped nothing. So the queue doesn't get full, and other clients lose nothing.
3. If others send too much, what has waited for `_LONGEST_S` is discarded, whoever sent it. The buffer gets as short as
   what is answered in half of that time, and the kernel drops the rest.
4. Datagrams that came before this worker began waited for a restart. They are all answered.
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

LOOK_S = 0.1  # how often to look
_LONGEST_S = 0.4  # a quarter of the shortest common client timeout
_SHORT_S = _LONGEST_S / 4  # as long as a worker with a CPU limit may have to pause
_CROWDED_S = 0.01
_COUNTED = 2  # every second datagram: to count all of them would cost more than 0.1 µs each
_LASTING_S = 0.2  # a pause of the worker isn't an overload
_LEAST = 64 << 10  # octets as the kernel counts them: 80 queries
_QUERY_OCTETS = 832  # as the kernel counts a short query
_SIOCGSTAMP = 0x8906  # arrival time of the datagram that was received last (socket(7))
_TIMEVAL = struct.Struct("@ll")
_SO_MEMINFO = 55  # asm-generic/socket.h
_MEMINFO = struct.Struct("@II")  # of linux/sock_diag.h: octets in the queue, octets it may have


class Backlog:
    """The queue of one socket."""

    def __init__(self, sock: socket.socket, inbox: Inbox, clock: Callable[[], float] = time.time) -> None:
        """`inbox` is where datagrams are received. `clock` is Unix time, the clock of the kernel's time stamps."""
        self.sock = sock
        self._inbox = inbox
        self._shares = Shares()
        self._clock = clock
        self._arrived(0.0)  # from now on the kernel stamps datagrams
        self._began = clock()
        self._seen = 0.0  # arrival of the datagram that was last at the look before
        self._restriction = Restriction(sock)
        self._answerable_before = 1.0
        self._begin_interval(clock())
        self._end_crowd()

    def _end_crowd(self) -> None:
        self._is_overloaded = False
        self._shares.forget()
        self._long_since = inf  # datagrams have waited for `_LONGEST_S`

    def _begin_interval(self, now: float) -> None:
        """Count from now to the next look."""
        self._looked_at = now
        self._queued_before = self._queued()
        self._waited = self._answered = self._discarded = 0  # datagrams of full batches that had to wait
        self._is_late = False  # some were too old

    def choose(self, messages: list[bytes]) -> list[bytes]:
        """Return those of a full batch that are to be answered. The inbox then has their senders, in the same order."""
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
        """Find out whether there is an overload, and whose."""
        self._waited += BATCH
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
        """Return what could be answered of all that has come since the last look."""
        growth = max(self._queued() - self._queued_before, 0.0) * self._size() / _QUERY_OCTETS
        return (self._answered + BATCH) / (self._answered + BATCH + growth)

    def look(self, now: float) -> None:
        """Adjust the buffer. To be called every `LOOK_S`. `now` is the time by `clock`."""
        arrived = self._arrived(now)
        waited_s = 0.0 if arrived == self._seen else now - arrived
        self._seen = arrived
        if self._restriction.greedy:
            is_long = self._queued() > 1 / 3
            self._restriction.adjust(now, self._waited, self._discarded, is_long=is_long)
        if self._is_late:
            answered_octets = self._answered * _QUERY_OCTETS / max(now - self._looked_at, LOOK_S)
            self._resize(min(self._size(), max(int(answered_octets * _LONGEST_S / 2), _LEAST)))
        elif waited_s < _SHORT_S and self._size() < 2 * RECEIVE_BUFFER:
            self._resize(self._size() * 2)
        if not self._waited:
            self._shares.see([each for each in self._inbox.senders() if any(each)])
            self._end_crowd()
        self._answerable_before = self._answerable()
        self._begin_interval(now)

    def _arrived(self, now: float) -> float:
        """Return when the datagram that was received last arrived, or `now` if the kernel hasn't stamped one yet."""
        try:
            seconds, microseconds = _TIMEVAL.unpack(ioctl(self.sock, _SIOCGSTAMP, bytes(_TIMEVAL.size)))
        except OSError:
            return now
        return float(seconds + microseconds / 1e6)

    def _queued(self) -> float:
        """Return how full the queue is: 1 if nothing more finds room, 0 where the kernel doesn't tell."""
        try:
            octets, most = _MEMINFO.unpack(self.sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
        except OSError:
            return 0.0
        return float(octets / most)

    def _size(self) -> int:
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def _resize(self, size: int) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, min(size // 2, RECEIVE_BUFFER))  # the kernel doubles
