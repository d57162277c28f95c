"""Looks up the names of clients for the query log of a worker (`pydns.table.client_names`).

The table has no keys for single addresses. So while the log is on, the worker reads all client names: a few at a time,
with answers to queries in between. After a change, it reads all names again, and uses the old names until it has read
them. While the log is off, this module does nothing and uses no memory.
"""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

from pydns.table.client_names import ClientNames, entries_in_pieces

if TYPE_CHECKING:
    from pydns.table.reader import Reader

_PIECE = 10  # how many entries are read at once; reading the Pods of 10 nodes takes about 1 ms
_PAUSE_S = 0.01  # seconds between reading two pieces
_LOOK_S = 0.5  # seconds between two looks for a change
_SHARE = 20  # after all names are read, the pause lasts this many times as long as reading took
_MAX_TEXTS = 10_000


class ClientLookup:
    """Looks up the names of clients. While the query log is on, it keeps the names current."""

    def __init__(self, table: "Reader", call_later: Callable[[float, Callable[[], None]], object]) -> None:
        """`call_later` is the event loop's method."""
        self._table = table
        self._call_later = call_later
        self._is_wanted = False
        self._is_due = False
        self._names = ClientNames()
        self._texts: dict[bytes, tuple[str, str]] = {}  # name and labels; unpacking them takes 50 µs
        self._commit = -1  # the commit from which the names were read, or are being read
        self._reading: Iterator[list[tuple[bytes, bytes]]] | None = None
        self._next = ClientNames()  # the names that are being read
        self._spent_s = 0.0

    def want(self, *, is_wanted: bool) -> None:
        """Start or stop the regular updates of the names."""
        if self._is_wanted and not is_wanted:
            self._names, self._next, self._reading, self._commit = ClientNames(), ClientNames(), None, -1
            self._texts.clear()
        self._is_wanted = is_wanted
        if is_wanted and not self._is_due:
            self._go_on()

    def texts_of(self, address: bytes) -> tuple[str, str]:
        """Return the name and the labels of the client with an address, or empty texts if they are unknown."""
        text = self._texts.get(address)
        if text is None:
            name = self._names.name_of(address)
            text = ("", "") if name is None else (str(name), name.labels_text)
            if len(self._texts) < _MAX_TEXTS:
                self._texts[address] = text
        return text

    def _go_on(self) -> None:
        self._is_due = self._is_wanted
        if self._is_wanted:
            self._call_later(self._read(), self._go_on)

    def _read(self) -> float:
        """Read a piece of the names, if any must be read. Return the seconds until the next call."""
        began = monotonic()
        if self._reading is None:
            with self._table.transaction() as transaction:
                commit = self._table.facts(transaction).clients_commit
            if commit == self._commit:
                return _LOOK_S
            self._commit, self._next, self._spent_s = commit, ClientNames(), 0.0
            self._reading = entries_in_pieces(self._table, _PIECE)
        if (piece := next(self._reading, None)) is not None:
            self._next.add(piece)
            self._spent_s += monotonic() - began
            return _PAUSE_S
        self._names, self._next, self._reading = self._next, ClientNames(), None
        self._texts.clear()
        return max(_LOOK_S, _SHARE * self._spent_s)
