"""Finds greedy clients: those whose datagrams take much more than a fair share of a queue.

This module uses no sockets and no clock.
"""

from collections import Counter
from collections.abc import Sequence

_JUDGED = 128  # after how many counted datagrams the greedy senders are found again
_FAIR_SHARES = 2.0  # a sender with more than this multiple of the fair share is greedy
_MOST = 2 / 3  # a sender with more than this part of all datagrams is greedy, also if there are only two senders
_LEAST = 16  # a sender with at most this many datagrams isn't greedy, because so few may be chance


class Shares:
    """Counts the senders of the last few hundred datagrams of a queue."""

    def __init__(self) -> None:
        self.greedy: frozenset[bytes] = frozenset()  # the greedy senders
        self._counts: Counter[bytes] = Counter()
        self._unjudged = 0
        self._seen: set[bytes] = set()  # the first two senders, also if their datagrams weren't counted

    def count(self, senders: Sequence[bytes]) -> None:
        """Count datagrams by the addresses of their senders.

        After every `_JUDGED` datagrams, find the greedy senders again.
        """
        self._counts.update(senders)
        self._unjudged += len(senders)
        self.see(senders)
        if self._unjudged >= _JUDGED:
            self.judge()

    @property
    def has_one_sender(self) -> bool:
        """Whether at most one sender has been seen."""
        return len(self._seen) < 2

    def see(self, senders: Sequence[bytes]) -> None:
        """Remember senders without counting their datagrams."""
        if self.has_one_sender:
            self._seen.update(senders)

    def forget(self) -> None:
        """Reset the counts and the greedy senders."""
        self.greedy = frozenset()
        self._counts.clear()
        self._unjudged = 0

    def judge(self) -> None:
        """Find the greedy senders.

        `count` calls this function now and then, and the caller calls it when an overload begins.
        """
        counts = self._counts
        most = max(counts.total() * min(_FAIR_SHARES / len(counts), _MOST), _LEAST)
        self.greedy = frozenset(() if self.has_one_sender else (each for each, count in counts.items() if count > most))
        # The counts are halved, so that older datagrams count less. A count of 1 is dropped, so that the number of
        # counts stays limited.
        self._counts = Counter({each: count // 2 for each, count in counts.items() if count > 1})
        self._unjudged = 0
