"""Restricts the clients that overload a UDP socket: the kernel passes only a share of their datagrams.

The share is adapted to the speed of the worker: it grows until the worker has to discard some of the datagrams that the
kernel passes.
"""

import socket

from pydns.serve import source_filter

_AT_FIRST, _MUCH_MORE, _MORE, _LESS, _MUCH_LESS = 1.5, 3.0, 1.2, 0.8, 0.25  # the factors by which the share changes
_MOST_AT_FIRST = 0.5
# Which part of the waiting datagrams the worker should discard. If it discards less than `_FEW`, it may have too little
# to do. If it discards more than `_MANY`, it spends too much time on discarding.
_FEW, _MANY = 0.1, 0.5
_LEAST = 1 / 4096
_NAMED_S = 30.0  # how long a restriction lasts; then the worker finds out again which clients send too much
_DRAINED_S = 0.4  # how long it takes until a new share has an effect on a long queue


class Restriction:
    """Restricts the clients that overload one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.greedy: frozenset[bytes] = frozenset()  # the addresses of the restricted clients
        self.began = 0.0
        self._sock = sock
        self._share = 1.0
        self._changed = 0.0
        source_filter.detach(sock)  # a worker that used the socket before may have left a filter

    def extend(self, greedy: frozenset[bytes], share: float, now: float) -> None:
        """Restrict the clients in `greedy`, in addition to those that are restricted already.

        `share` is the part of the last datagrams that the worker could answer.
        """
        if not self.greedy:
            self.began = now
            self._share = min(self._share, share * _AT_FIRST, _MOST_AT_FIRST)
        self.greedy |= greedy
        self._set(self._share, now)

    def adjust(self, now: float, waited: int, discarded: int, *, is_long: bool) -> None:
        """Adapt the share. The caller calls this function at intervals while clients are restricted.

        Since the last call, `waited` datagrams had to wait, and the worker has discarded `discarded` of them. `is_long`
        is True if the queue is long now.
        """
        if now - self.began > _NAMED_S:  # the share stays the same, and the next restriction begins with it
            self.greedy = frozenset()
            source_filter.detach(self._sock)
        elif not waited:
            self._set(self._share * _MUCH_MORE, now)
        elif now - self._changed > _DRAINED_S and (is_long or discarded > waited * _MANY):
            self._set(max(self._share * (_MUCH_LESS if is_long else _LESS), _LEAST), now)
        elif discarded < waited * _FEW:
            self._set(self._share * _MORE, now)

    def _set(self, share: float, now: float) -> None:
        self._share, self._changed = min(share, 1.0), now
        if share < 1.0:
            source_filter.attach(self._sock, self.greedy, share)
        else:
            self.greedy = frozenset()
            source_filter.detach(self._sock)
