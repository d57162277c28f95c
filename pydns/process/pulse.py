"""Shared memory that shows the health of the processes, with one row for each process.

The supervisor creates the memory before the first fork. Every field has one writer and is one aligned word, so no
reader sees half a value. Times are in nanoseconds, from `time.monotonic_ns`. The clock is the same for all processes.
This module imports no large module.
"""

import mmap
import signal
from collections.abc import Sequence

STUCK_S = 5.0  # a worker that answers no self-check for this time is unhealthy and is restarted
ASK_S = 0.5  # the interval between a worker's self-checks
DRAIN = signal.SIGUSR1  # tells a worker that a drain begins; the signal is blocked from the start, so it is never lost
# Tells a child to end. SIGTERM isn't used for this, because the whole process group may get SIGTERM when a drain
# begins.
STOP = signal.SIGUSR2
NEWS = signal.SIGUSR2  # tells the supervisor that `Pulse.tables` has changed

# The words of a row. The supervisor writes the first three words. The worker that owns the row writes the other words.
_PID, _RESTARTS, _STUCK, _ANSWERED, _ASKED, _LATE = range(6)
_ROW = 8  # words; a row fills one cache line, so writers don't slow each other down
_WORD = 8


class ProcessRow:
    """The health of one process. The values of a worker survive its restarts."""

    def __init__(self, title: str, words: "memoryview[int]") -> None:
        self.title = title
        self._words = words

    @property
    def pid(self) -> int:
        """The id of the running process, or 0 if the process isn't running."""
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
        """Return how often the supervisor ended the process because it was stuck."""
        return self._words[_STUCK]

    @stuck.setter
    def stuck(self, value: int) -> None:
        self._words[_STUCK] = value

    @property
    def answered_ns(self) -> int:
        """The monotonic time of the worker's last answer to its self-check."""
        return self._words[_ANSWERED]

    @answered_ns.setter
    def answered_ns(self, value: int) -> None:
        self._words[_ANSWERED] = value

    @property
    def asked_ns(self) -> int:
        """The monotonic time of the last query that the worker received during a drain."""
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
        """Return the time since the worker's last answer to its self-check."""
        return max(0.0, (now_ns - self.answered_ns) / 1e9)


class Pulse:
    """The rows of all processes, whether a drain has begun, and the number of tables."""

    def __init__(self, workers: int, now_ns: int, *, has_console: bool = False) -> None:
        """Create the memory. A worker counts as silent if it answers no self-check within `STUCK_S` from now."""
        titles = ["supervisor", "controller", *(f"worker {index}" for index in range(workers))]
        titles += ["console"] if has_console else []
        words = memoryview(mmap.mmap(-1, _WORD * _ROW * (1 + len(titles)))).cast("Q")
        self._drain, self._tables = words[:1], words[1:2]
        self._began_ns = now_ns
        rows = [ProcessRow(title, words[_ROW * at : _ROW * (at + 1)]) for at, title in enumerate(titles, start=1)]
        self.supervisor, self.controller = rows[:2]
        self.workers = rows[2 : 2 + workers]
        self.console = rows[-1] if has_console else None
        self._rows = rows
        for row in self.workers:
            row.answered_ns = now_ns

    @property
    def rows(self) -> Sequence[ProcessRow]:
        """The rows of the supervisor, the controller, the workers, and the console if there is one."""
        return self._rows

    @property
    def is_draining(self) -> bool:
        """Return whether a drain has begun. During a drain, new clients should use another server."""
        return bool(self._drain[0])

    def drain(self) -> None:
        """Begin a drain. A drain can't be cancelled."""
        self._drain[0] = 1

    @property
    def tables(self) -> int:
        """Return how many tables the controllers have opened so far. Workers read the last table."""
        return self._tables[0]

    @tables.setter
    def tables(self, value: int) -> None:
        self._tables[0] = value

    def unanswered(self) -> list[ProcessRow]:
        """Return the workers that have never answered a self-check."""
        return [row for row in self.workers if row.answered_ns == self._began_ns]

    def silent(self, now_ns: int) -> list[ProcessRow]:
        """Return the workers that have answered no self-check for more than `STUCK_S`."""
        return [row for row in self.workers if row.silence_s(now_ns) > STUCK_S]
