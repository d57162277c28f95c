"""The health of the processes, in memory that they share: one row for each process.

The supervisor makes the memory before the first fork. Every field has one writer and is one aligned word, so no reader
sees half of a value. Times are nanoseconds of `time.monotonic_ns`, whose clock is the same in all processes. Imports
nothing heavy.
"""

import mmap
import signal
from collections.abc import Sequence

STUCK_S = 5.0  # a worker without a self-check for this long is unhealthy and is replaced
ASK_S = 0.5  # between self-checks of a worker
DRAIN = signal.SIGUSR1  # tells a worker to count queries as late ones. Blocked from the start, so it is never lost.
STOP = signal.SIGUSR2  # tells a child to end. Not SIGTERM, which may reach the whole group when a drain is to begin.
NEWS = signal.SIGUSR2  # tells the supervisor that `Pulse.tables` has changed

# The words of a row. The supervisor writes the first three, the worker that owns the row the others.
_PID, _RESTARTS, _STUCK, _ANSWERED, _ASKED, _LATE = range(6)
_ROW = 8  # words: one cache line, so that writers don't slow each other down
_WORD = 8


class ProcessRow:
    """The health of one process. A worker's fields survive its restarts."""

    def __init__(self, title: str, words: "memoryview[int]") -> None:
        self.title = title
        self._words = words

    @property
    def pid(self) -> int:
        """The running process; 0 if there is none."""
        return self._words[_PID]

    @pid.setter
    def pid(self, value: int) -> None:
        self._words[_PID] = value

    @property
    def restarts(self) -> int:
        """Return how often the process was restarted."""
        return self._words[_RESTARTS]

    @restarts.setter
    def restarts(self, value: int) -> None:
        self._words[_RESTARTS] = value

    @property
    def stuck(self) -> int:
        """Return how often the process was ended because it was stuck."""
        return self._words[_STUCK]

    @stuck.setter
    def stuck(self, value: int) -> None:
        self._words[_STUCK] = value

    @property
    def answered_ns(self) -> int:
        """When the worker last answered its self-check."""
        return self._words[_ANSWERED]

    @answered_ns.setter
    def answered_ns(self, value: int) -> None:
        self._words[_ANSWERED] = value

    @property
    def asked_ns(self) -> int:
        """When the worker last got a query during a drain."""
        return self._words[_ASKED]

    @asked_ns.setter
    def asked_ns(self, value: int) -> None:
        self._words[_ASKED] = value

    @property
    def late_queries(self) -> int:
        """Return how many queries arrived during a drain."""
        return self._words[_LATE]

    @late_queries.setter
    def late_queries(self, value: int) -> None:
        self._words[_LATE] = value

    def silence_s(self, now_ns: int) -> float:
        """Return how long ago the worker last answered its self-check."""
        return max(0.0, (now_ns - self.answered_ns) / 1e9)


class Pulse:
    """The rows of all processes, and whether a drain has begun."""

    def __init__(self, workers: int, now_ns: int) -> None:
        """Make the memory. Workers count as silent if their first self-check takes longer than `STUCK_S` from now."""
        titles = ["supervisor", "controller", *(f"worker {index}" for index in range(workers))]
        words = memoryview(mmap.mmap(-1, _WORD * _ROW * (1 + len(titles)))).cast("Q")
        self._drain, self._tables = words[:1], words[1:2]
        self._began_ns = now_ns
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
        """Whether new clients should go elsewhere."""
        return bool(self._drain[0])

    def drain(self) -> None:
        """Begin to drain. This can't be undone."""
        self._drain[0] = 1

    @property
    def tables(self) -> int:
        """Return how many tables the controllers have opened. Workers read the last one."""
        return self._tables[0]

    @tables.setter
    def tables(self, value: int) -> None:
        self._tables[0] = value

    def unanswered(self) -> list[ProcessRow]:
        """Return the workers that have never answered a self-check."""
        return [row for row in self.workers if row.answered_ns == self._began_ns]

    def silent(self, now_ns: int) -> list[ProcessRow]:
        """Return the workers whose last self-check is longer ago than `STUCK_S`."""
        return [row for row in self.workers if row.silence_s(now_ns) > STUCK_S]
