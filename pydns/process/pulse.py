"""What the processes show each other of how they are, in memory that they share: one row for each of them.

The supervisor makes it before the first fork. Every field has one writer, and is one aligned word: nobody sees half of
a value. Times are nanoseconds of the monotonic clock, which is the same in all processes, as `time.monotonic_ns` has
them. Imports nothing heavy: the supervisor does.
"""

import mmap
import signal
from collections.abc import Sequence

STUCK_S = 5.0  # without an answer to itself: then a worker isn't well, and is replaced
ASK_S = 0.5  # how often a worker asks itself
DRAIN = signal.SIGUSR1  # has a worker count queries, which come too late. Blocked from the start, so never lost.

# The words of a row. The supervisor writes the first ones, the worker whose row it is the last ones.
_PID, _RESTARTS, _STUCK, _ANSWERED, _ASKED, _LATE = range(6)
_ROW = 8  # words: a cache line each, so that writers don't wait for each other
_WORD = 8


class ProcessRow:
    """What one process shows. The worker's fields stay over its restarts."""

    def __init__(self, title: str, words: "memoryview[int]") -> None:
        self.title = title
        self._words = words

    @property
    def pid(self) -> int:
        """The process that runs now; 0: none."""
        return self._words[_PID]

    @pid.setter
    def pid(self, value: int) -> None:
        self._words[_PID] = value

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return self._words[_RESTARTS]

    @restarts.setter
    def restarts(self, value: int) -> None:
        self._words[_RESTARTS] = value

    @property
    def stuck(self) -> int:
        """How often it was ended because it was stuck."""
        return self._words[_STUCK]

    @stuck.setter
    def stuck(self, value: int) -> None:
        self._words[_STUCK] = value

    @property
    def answered_ns(self) -> int:
        """When a worker last answered itself."""
        return self._words[_ANSWERED]

    @answered_ns.setter
    def answered_ns(self, value: int) -> None:
        self._words[_ANSWERED] = value

    @property
    def asked_ns(self) -> int:
        """When, in a drain, someone last asked it."""
        return self._words[_ASKED]

    @asked_ns.setter
    def asked_ns(self, value: int) -> None:
        self._words[_ASKED] = value

    @property
    def late_queries(self) -> int:
        """How many queries came in a drain."""
        return self._words[_LATE]

    @late_queries.setter
    def late_queries(self, value: int) -> None:
        self._words[_LATE] = value

    def silence_s(self, now_ns: int) -> float:
        """Return how long ago a worker last answered itself."""
        return max(0.0, (now_ns - self.answered_ns) / 1e9)


class Pulse:
    """The rows of all processes, and whether they are draining."""

    def __init__(self, workers: int, now_ns: int) -> None:
        """Make the memory. Workers have until `STUCK_S` from now to answer themselves for the first time."""
        titles = ["supervisor", "controller", *(f"worker {index}" for index in range(workers))]
        words = memoryview(mmap.mmap(-1, _WORD * _ROW * (1 + len(titles)))).cast("Q")
        self._drain = words[:1]
        rows = [ProcessRow(title, words[_ROW * at : _ROW * (at + 1)]) for at, title in enumerate(titles, start=1)]
        self.supervisor, self.controller, *self.workers = rows
        for row in self.workers:
            row.answered_ns = now_ns

    @property
    def rows(self) -> Sequence[ProcessRow]:
        """All rows: the supervisor's, the controller's, the workers'."""
        return self.supervisor, self.controller, *self.workers

    @property
    def is_draining(self) -> bool:
        """Whether new clients are to go elsewhere."""
        return bool(self._drain[0])

    def drain(self) -> None:
        """Begin to drain. There is no way back."""
        self._drain[0] = 1

    def silent(self, now_ns: int) -> list[ProcessRow]:
        """Return the workers that have not answered themselves for too long."""
        return [row for row in self.workers if row.silence_s(now_ns) > STUCK_S]
