"""The counts of metrics, by metric and labels. A `Totals` is the content of one block, or the sum of several blocks."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec

Key = tuple[str, ...]  # the key of the metric in `catalog`, then the values of the labels

# Upper bounds of buckets. The bounds equal those of CoreDNS, because dashboards compute quantiles from them.
DURATIONS_S = tuple([0.00025 * 2**power for power in range(16)])
SIZES = (0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000)
PROGRAMMING_S = tuple([0.001 * 2**power for power in range(20)])


class Totals(msgspec.Struct):
    """The values of counters, gauges and histograms.

    A histogram contains a count for each bucket, the count of values above the last bucket, and the sum of all values.
    """

    counts: dict[Key, float] = {}
    gauges: dict[Key, float] = {}
    histograms: dict[Key, list[float]] = {}

    def add(self, key: Key, number: float = 1) -> None:
        """Add to a counter."""
        self.counts[key] = self.counts.get(key, 0) + number

    def observe(self, key: Key, bounds: tuple[float, ...], value: float, times: int = 1) -> None:
        """Add a value to a histogram with these bounds. `times` is how often the value occurred."""
        histogram = self.histogram(key, bounds)
        histogram[bisect_left(bounds, value)] += times
        histogram[-1] += value * times

    def histogram(self, key: Key, bounds: tuple[float, ...]) -> list[float]:
        """Return a histogram. If the histogram doesn't exist, create an empty histogram.

        The caller may change the result.
        """
        return self.histograms.setdefault(key, [0] * (len(bounds) + 2))

    def add_histogram(self, key: Key, histogram: list[float]) -> None:
        """Add a histogram to the histogram under `key`, which has the same bounds."""
        known = self.histograms.setdefault(key, [0] * len(histogram))
        known[:] = map(sum, zip(known, histogram, strict=True))

    def encode(self) -> bytes:
        """Compose the contents of a block."""
        return _encode(self)


class Follower:
    """Adds the counts of other objects to totals. If an object is replaced, the new object counts from zero."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._seen: dict[Key, float] = {}

    def follow(self, current: Mapping[Key, float]) -> None:
        """Add what an object has counted since the last call."""
        for key, number in current.items():
            seen = self._seen.get(key, 0)
            self._totals.add(key, number - seen if number >= seen else number)
            self._seen[key] = number


def decode(octets: bytes) -> Totals:
    """Return the totals in a block. If the block is empty, return empty totals."""
    return _decode(octets) if octets else Totals()


def total(several: Iterable[Totals]) -> Totals:
    """Return the sum of several totals."""
    added = Totals()
    for each in several:
        for key, number in each.counts.items():
            added.add(key, number)
        for key, number in each.gauges.items():
            added.gauges[key] = added.gauges.get(key, 0) + number
        for key, histogram in each.histograms.items():
            added.add_histogram(key, histogram)
    return added


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Totals).decode
