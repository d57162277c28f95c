"""Computes the mean reply time of each upstream in the last minute from the counts of the workers."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pydns.metrics.totals import Totals

RECENT_S = 60.0
_KEY = "proxy_request_duration_seconds"


class _Sums(NamedTuple):
    replies: float = 0
    seconds: float = 0.0


class Latencies:
    """Keeps the counts of the last minute, and computes the mean reply times from these counts."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, dict[str, _Sums]]] = deque()

    def measure(self, workers: Sequence[Totals], now: float) -> dict[str, float]:
        """Return the mean reply time of each upstream.

        The result lacks upstreams that sent no reply in the last minute.
        """
        current = _sums(workers)
        self._kept.append((now, current))
        while len(self._kept) > 1 and self._kept[1][0] <= now - RECENT_S:
            self._kept.popleft()
        before = self._kept[0][1]
        means = {}
        for upstream, sums in current.items():
            known = before.get(upstream, _Sums())
            if (replies := sums.replies - known.replies) > 0:
                means[upstream] = (sums.seconds - known.seconds) / replies
        return means


def _sums(workers: Sequence[Totals]) -> dict[str, _Sums]:
    sums: dict[str, _Sums] = {}
    for worker in workers:
        for key, histogram in worker.histograms.items():
            if key[0] == _KEY:
                known = sums.get(key[2], _Sums())
                sums[key[2]] = _Sums(known.replies + sum(histogram[:-1]), known.seconds + histogram[-1])
    return sums
