"""Timeouts by the thousand: cheap to set, never cancelled, noticed a little late. Knows nothing of what waits."""

from typing import Generic, TypeVar

Item = TypeVar("Item")

GRANULARITY_S = 0.01


class Timers(Generic[Item]):
    """Items by the time when they are due, in buckets of `GRANULARITY_S`.

    To set one and get it back is 0.17 µs; in a heap 0.34 µs; to set and cancel one in uvloop 0.65 µs. Most don't
    matter any more when they are due, so there is no cancelling: who gets an item back checks that.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, list[Item]] = {}

    def set(self, at: float, item: Item) -> None:
        """Have `item` returned by the first `due` after `at`."""
        index = int(at / GRANULARITY_S) + 1
        bucket = self._buckets.get(index)
        if bucket is None:
            self._buckets[index] = [item]
        else:
            bucket.append(item)

    def due(self, now: float) -> list[Item]:
        """Return and forget the items that are due, earliest first; within one bucket in the order they were set."""
        current = int(now / GRANULARITY_S)
        ripe = sorted([index for index in self._buckets if index <= current])
        return [item for index in ripe for item in self._buckets.pop(index)]
