"""What the greedy clients of a UDP socket may have in an overload: the kernel lets a share of their datagrams pass.

The share follows what the worker can answer: it grows until some of what has passed must be discarded.
"""

import socket

from pydns.serve import source_filter

_AT_FIRST, _MUCH_MORE, _MORE, _LESS, _MUCH_LESS = 1.5, 3.0, 1.2, 0.8, 0.25  # factors of the share
_MOST_AT_FIRST = 0.5
# Discarded of the datagrams that waited: with fewer the worker may be idle, with more it works for nothing.
_FEW, _MANY = 0.1, 0.5
_LEAST = 1 / 4096
_NAMED_S = 30.0  # then greedy clients are named anew
_DRAINED_S = 0.4  # by then a share shows its effect on a long queue


class Restriction:
    """The restriction of one socket's clients. At rest there is none."""

    def __init__(self, sock: socket.socket) -> None:
        self.greedy: frozenset[bytes] = frozenset()  # addresses of those that are restricted
        self.began = 0.0
        self._sock = sock
        self._share = 1.0
        self._changed = 0.0
        source_filter.detach(sock)  # of the worker before

    def extend(self, greedy: frozenset[bytes], share: float, now: float) -> None:
        """Restrict more clients. `share` is what could be answered of all that has come lately."""
        if not self.greedy:
            self.began = now
            self._share = min(self._share, share * _AT_FIRST, _MOST_AT_FIRST)
        self.greedy |= greedy
        self._set(self._share, now)

    def adjust(self, now: float, waited: int, discarded: int, *, is_long: bool) -> None:
        """Change the share. To be called from time to time while clients are restricted.

        `waited` is the number of datagrams that had to wait since the last call, `discarded` that of those of them that
        were discarded. `is_long` is whether many are in the queue now.
        """
        if now - self.began > _NAMED_S:  # the share is a good one to begin with
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
