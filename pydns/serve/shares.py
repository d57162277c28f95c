"""Fair shares of a queue: which of its senders are greedy. Knows addresses and numbers, no sockets and no clock."""

from collections import Counter
from collections.abc import Sequence

_JUDGED = 128  # datagrams from one judgement to the next
_FAIR_SHARES = 2.0  # a sender may have so many times its fair share
_MOST = 2 / 3  # of the datagrams, however few others there are
_LEAST = 16  # datagrams: fewer may be chance


class Shares:
    """The senders of a queue's last few hundred datagrams."""

    def __init__(self) -> None:
        self.greedy: frozenset[bytes] = frozenset()  # those with more than twice the fair share
        self._counts: Counter[bytes] = Counter()
        self._unjudged = 0
        self._seen: set[bytes] = set()  # the first senders, also such as are hardly counted

    def count(self, senders: Sequence[bytes]) -> None:
        """Count datagrams by the addresses of their senders, and judge from time to time."""
        self._counts.update(senders)
        self._unjudged += len(senders)
        self.see(senders)
        if self._unjudged >= _JUDGED:
            self.judge()

    def see(self, senders: Sequence[bytes]) -> None:
        """Note that there are these senders, without counting their datagrams."""
        if len(self._seen) < 2:
            self._seen.update(senders)

    def forget(self) -> None:
        """Forget what was counted."""
        self.greedy = frozenset()
        self._counts.clear()
        self._unjudged = 0

    def judge(self) -> None:
        """Find out which senders are greedy. To be called when that begins to matter."""
        counts = self._counts
        most = max(counts.total() * min(_FAIR_SHARES / len(counts), _MOST), _LEAST)
        is_alone = len(self._seen) < 2
        self.greedy = frozenset(() if is_alone else (each for each, count in counts.items() if count > most))
        # What came before counts half. This bounds the counts too.
        self._counts = Counter({each: count // 2 for each, count in counts.items() if count > 1})
        self._unjudged = 0
