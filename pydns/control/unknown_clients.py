"""Measures which share of recent queries comes from clients without a name (`pydns.table.client_names`).

Queries of such clients aren't counted when they come, because workers don't know the names of clients. The measurement
takes a sample of the last queries, and looks for the names of their clients in the table. Rules:

1. A measurement begins every `_PERIOD_S`. Each call of `look` reads one piece of the table, so changes of the table
   wait for a few milliseconds at most. With 150,000 Pods, a measurement takes some minutes.
2. The sample has the queries of the last minute, from the last `SAMPLE_OCTETS` of the rings: about 2,000.
"""

from collections import Counter
from collections.abc import Callable, Iterable

from pydns.control.clock import Clock
from pydns.dns.address import unmapped
from pydns.table.client_names import FIRST_ENTRY, ClientNames

SAMPLE_OCTETS = 256 << 10
SAMPLE_S = 60.0
_PERIOD_S = 60.0
_EMPTY_S = 5.0  # the time until the next measurement if there are no recent queries
_PAUSE_S = 0.1  # the time between two pieces, even while many changes come
_PIECE = 20  # how many entries or addresses `look` reads at once; this takes about 3 ms with 30 Pods an entry

Entries = Callable[[bytes, int], tuple[list[tuple[bytes, bytes]], bytes]]  # `Writer.client_entries`


class UnknownClients:
    """The share of recent queries from unknown clients. One thread calls `look` now and then."""

    def __init__(self, recent: Callable[[], Iterable[bytes]], entries: Entries, clock: Clock) -> None:
        """`recent` returns the client's address of each query in the sample."""
        self.share: float | None = None  # the share; None if there are no recent queries, or if no client has a name
        self._recent = recent
        self._read = entries
        self._clock = clock
        self._began = self._due = clock.monotonic()
        self._sample: Counter[bytes] = Counter()
        self._next = b""  # the key of the next entry to read
        self._names = ClientNames()  # the names in those entries that contain addresses of the sample
        self._left: list[bytes] = []  # addresses of the sample whose names haven't been looked up
        self._unknown = 0  # queries of the sample from clients without a name
        self._has_entries = False

    def look(self) -> None:
        """Continue the current measurement, or begin the next one if it is due."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + _PAUSE_S
        if self._next:
            self._read_piece()
        elif self._left:
            self._look_up_piece()
        else:
            self._begin(now)
            return
        if not self._next and not self._left:
            self.share = self._unknown / self._sample.total() if self._has_entries else None
            self._names = ClientNames()
            self._due = self._began + _PERIOD_S

    def _begin(self, now: float) -> None:
        self._sample = Counter(map(unmapped, self._recent()))
        self._began, self._unknown, self._has_entries = now, 0, False
        self._left = list(self._sample)
        if self._sample:
            self._next = FIRST_ENTRY
        else:
            self.share, self._due = None, now + _EMPTY_S

    def _read_piece(self) -> None:
        entries, self._next = self._read(self._next, _PIECE)
        self._has_entries = self._has_entries or bool(entries)
        self._names.add([each for each in entries if ClientNames([each]).has_any(self._sample.keys())])

    def _look_up_piece(self) -> None:
        for address in self._left[:_PIECE]:
            if self._names.name_of(address) is None:
                self._unknown += self._sample[address]
        del self._left[:_PIECE]
