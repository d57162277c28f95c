"""Computes figures on how well pydns works (service level indicators), and defines the objectives for these figures.

An indicator counts events in a window of time, and how many of them were good. docs/slo.md defines each indicator, next
to the indicators of Kubernetes. The controller passes in the counts of all processes. This module keeps the counts of
the last hour. The status contains the indicators. Rules:

1. Quantiles are estimated from buckets as Prometheus's `histogram_quantile` does it.
2. The threshold of an objective is a bound of a bucket, so the share of good events is exact.
3. Names of the cluster and of zone files are `own`. Names that upstreams answer are `forwarded`. A query that gets
   REFUSED or FORMERR is in neither group, because pydns need not answer it.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydns.metrics.totals import DURATIONS_S, PROGRAMMING_S, Totals
from pydns.table.status import IndicatorStatus

WINDOWS_S = {"5m": 300.0, "1h": 3600.0}
SAMPLE_S = 15.0  # the time between two samples; a window may be longer by this time than its name says
PROGRAMMING, LOOKUPS, ERRORS = "programming", "lookups", "errors"
OWN, FORWARDED = "own", "forwarded"
DATA_AGE_S = 900.0  # objective for the age of the data: even if nothing changes, a watch is renewed every 5 to 10 min


class Objective(NamedTuple):
    """The share of events that should be good, and when an event is good."""

    share: float
    # An event is good if it took this time or less. If this is None, an event is good if it is no error.
    within_s: float | None = None


# manifests/overlays/monitoring/prometheusrule.yaml has the same objectives; a test compares the numbers.
OBJECTIVES = {
    (PROGRAMMING, ""): Objective(0.99, 1.024),  # this objective applies to each kind of Service
    (LOOKUPS, OWN): Objective(0.99, 0.016),
    (ERRORS, OWN): Objective(0.999),
}
_BOUNDS = {PROGRAMMING: PROGRAMMING_S, LOOKUPS: DURATIONS_S}

Numbers = tuple[float, ...]  # a histogram as in `Totals`; for errors, the number of replies and the number of SERVFAIL
Sample = Mapping[tuple[str, str], Numbers]  # indicator and group of events -> the counts since the start


class Windows:
    """Keeps the counts of the last hour: at most 242 samples.

    The samples take 0.3 MB while nothing changes, and 1 MB otherwise.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Sample]] = deque()

    def measure(self, counted: Sequence[Totals], now: float) -> tuple[IndicatorStatus, ...]:
        """Return the indicators for each window that ends now. `now` is in seconds, and never goes back.

        After the start of pydns, a window contains only the time since the start. A group without an event since the
        start is left out.
        """
        sample = _sample(counted)
        if not self._kept or now >= self._kept[-1][0] + SAMPLE_S:
            last = self._kept[-1][1] if self._kept else {}
            self._kept.append((now, {key: _same(last.get(key), numbers) for key, numbers in sample.items()}))
        while len(self._kept) > 1 and self._kept[1][0] <= now - max(WINDOWS_S.values()):
            self._kept.popleft()
        found = []
        for name, seconds in WINDOWS_S.items():
            since, before = self._before(now - seconds)
            for key, numbers in sorted(sample.items(), key=lambda each: _order(*each[0])):
                known = before.get(key) or (0.0,) * len(numbers)
                gained = [max(0.0, now_counted - then) for now_counted, then in zip(numbers, known, strict=True)]
                found.append(_indicator(*key, gained, name, now - since))
        return tuple(found)

    def _before(self, at: float) -> tuple[float, Sample]:
        """Return the last sample up to a time, or the oldest sample if all are later."""
        found = self._kept[0]
        for each in self._kept:
            if each[0] > at:
                break
            found = each
        return found


def is_met(row: IndicatorStatus) -> bool:
    """Return whether the objective of a figure is met.

    A figure without events or without an objective counts as met.
    """
    return row.good is None or row.objective is None or row.good >= row.objective


def quantile(share: float, bounds: Sequence[float], histogram: Sequence[float]) -> float | None:
    """Return a quantile of a histogram by linear interpolation in its bucket. Return None if the histogram is empty.

    Values above the last bound are treated as if they were equal to the last bound.
    """
    *buckets, _ = histogram
    wanted = share * sum(buckets)
    if not wanted:
        return None
    below = 0.0
    for place, number in enumerate(buckets[:-1]):
        if number and below + number >= wanted:
            lower = bounds[place - 1] if place else 0.0
            return lower + (bounds[place] - lower) * (wanted - below) / number
        below += number
    return bounds[-1]


def _indicator(indicator: str, group: str, numbers: Sequence[float], window: str, covered_s: float) -> IndicatorStatus:
    objective = _objective(indicator, group)
    events, good = sum(numbers[:-1]), None
    p50_s = p99_s = None
    if indicator == ERRORS:
        events, failed = numbers
        good = events - failed
    else:
        bounds = _BOUNDS[indicator]
        p50_s, p99_s = quantile(0.5, bounds, numbers), quantile(0.99, bounds, numbers)
        if objective is not None and objective.within_s is not None:
            good = sum(numbers[: bounds.index(objective.within_s) + 1])
    return IndicatorStatus(
        indicator=indicator,
        group=group,
        window=window,
        covered_s=round(covered_s, 1),
        events=int(events),
        p50_s=None if p50_s is None else round(p50_s, 6),
        p99_s=None if p99_s is None else round(p99_s, 6),
        good=good / events if good is not None and events else None,
        objective=objective.share if objective is not None else None,
        within_s=objective.within_s if objective is not None else None,
    )


def _objective(indicator: str, group: str) -> Objective | None:
    return OBJECTIVES.get((indicator, group)) or OBJECTIVES.get((indicator, ""))


def _order(indicator: str, group: str) -> tuple[int, bool, str]:
    return (PROGRAMMING, LOOKUPS, ERRORS).index(indicator), group == FORWARDED, group


def _sample(counted: Sequence[Totals]) -> Sample:
    sample: dict[tuple[str, str], list[float]] = {}
    for totals in counted:
        for key, histogram in totals.histograms.items():
            if key[0] == "kubernetes_dns_programming_duration_seconds":
                _add(sample, (PROGRAMMING, key[1]), histogram)
            elif key[0] == "dns_request_duration_seconds":
                _add(sample, (LOOKUPS, FORWARDED if key[1] == "." else OWN), histogram)
        for key, number in totals.counts.items():
            if key[0] == "dns_responses_total" and (group := _GROUPS.get(key[3])) is not None:
                _add(sample, (ERRORS, group), (number, number if key[2] == "SERVFAIL" else 0))
    return {key: tuple(numbers) for key, numbers in sample.items()}


_GROUPS = {"kubernetes": OWN, "forward": FORWARDED}  # label `plugin` -> group


def _add(sample: dict[tuple[str, str], list[float]], key: tuple[str, str], numbers: Sequence[float]) -> None:
    known = sample.setdefault(key, [0.0] * len(numbers))
    known[:] = map(sum, zip(known, numbers, strict=True))


def _same(before: Numbers | None, numbers: Numbers) -> Numbers:
    """Return the earlier tuple if it is equal, so that samples share their memory."""
    return before if before == numbers else numbers
