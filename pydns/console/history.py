"""Keeps how many queries were answered in each period of the last ten minutes, by source and by rcode.

This module is pure.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from pydns.metrics.totals import Totals
from pydns.table.status import UpstreamStatus

PERIOD_S = 2.0  # workers publish their counts twice a second, so the counts of shorter periods would vary by chance
KEPT = 300  # the number of periods that are kept: ten minutes
MOST_UPSTREAMS = 20

# The sources of answers, in the order of the chart.
TABLE, CACHE, UPSTREAM, STALE, NOWHERE = "table", "cache", "upstream", "stale", "none"
SOURCES = (TABLE, CACHE, UPSTREAM, STALE, NOWHERE)


class Period(Struct, frozen=True):
    """The queries that were answered in one period."""

    number: int  # the number of the period, counted from the start of the console
    time: float  # the Unix time when the period ended
    seconds: float  # the length of the period, longer than `PERIOD_S` if the process was delayed
    by_source: Mapping[str, int]
    by_rcode: Mapping[str, int]
    latencies_s: Mapping[str, float]  # upstream -> mean time to a reply in the minute before the end


class History:
    """The periods of the last ten minutes."""

    def __init__(self) -> None:
        self._periods: deque[Period] = deque(maxlen=KEPT)
        self._before: tuple[float, Mapping[str, int], Mapping[str, int]] | None = None
        self._number = 0

    def add(self, workers: Sequence[Totals], upstreams: Sequence[UpstreamStatus], now: float, wall: float) -> None:
        """Take the current counts of all workers. `now` is monotonic time, `wall` is Unix time.

        Add a period with the difference between these counts and the counts of the last call. The first call of `add`
        adds no period. A period has the latencies of `MOST_UPSTREAMS` upstreams at most.
        """
        counts = _by_source(workers), _by_rcode(workers)
        if self._before is not None:
            then, *before = self._before
            by_source, by_rcode = map(_gain, before, counts)
            self._number += 1
            latencies_s = {
                each.upstream: each.latency_s for each in upstreams[:MOST_UPSTREAMS] if each.latency_s is not None
            }
            self._periods.append(Period(self._number, wall, now - then, by_source, by_rcode, latencies_s))
        self._before = (now, *counts)

    def after(self, number: int) -> list[Period]:
        """Return the periods with a higher number.

        If `number` is higher than that of the last period, it is from an earlier process, so return all periods.
        """
        periods = list(self._periods)  # a copy, because another thread may add a period at the same time
        if periods and number > periods[-1].number:
            return periods
        return [each for each in periods if each.number > number]


def _by_rcode(workers: Iterable[Totals]) -> dict[str, int]:
    found: dict[str, int] = {}
    for worker in workers:
        for key, number in worker.counts.items():
            if key[0] == "dns_responses_total":
                found[key[2]] = found.get(key[2], 0) + int(number)
    return found


def _by_source(workers: Iterable[Totals]) -> dict[str, int]:
    """Count the replies by source.

    A reply to a forwarded question counts as an answer of an upstream, unless it came from the cache.
    """
    found = dict.fromkeys(SOURCES, 0)
    forwarded = 0
    for worker in workers:
        for key, number in worker.counts.items():
            if key[0] == "dns_responses_total":
                if key[3] == "forward":
                    forwarded += int(number)
                else:
                    found[TABLE if key[3] else NOWHERE] += int(number)
            elif key[0] in _CACHED:
                found[_CACHED[key[0]]] += int(number)
    found[UPSTREAM] = max(0, forwarded - found[CACHE] - found[STALE])
    return found


_CACHED = {"cache_hits_total": CACHE, "cache_served_stale_total": STALE}


def _gain(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    gains = {key: number - before.get(key, 0) for key, number in now.items()}
    return {key: gain for key, gain in gains.items() if gain > 0}
