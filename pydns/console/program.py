"""Runs the process of the console: looks at the table and the counts every second, and serves the pages.

A request waits for one look or one explanation at most. The process has a low priority, so workers run before it.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from socket import socket
from threading import Lock
from typing import NamedTuple

import msgspec
from msgspec import Struct

from pydns.config import model, summary
from pydns.console.history import PERIOD_S, History
from pydns.console.pages import ConsolePages, Snapshot
from pydns.console.recent import KEPT_S, NameOf, Recent, Top
from pydns.control import http
from pydns.control.clock import Clock, Every
from pydns.log import Log
from pydns.metrics.totals import Totals, decode
from pydns.process.block import Block
from pydns.process.pulse import STOP
from pydns.ring.queries import Query
from pydns.table import status
from pydns.table.client_names import ClientNames, read_client_names
from pydns.table.reader import Reader, TableError

LOOK_S = 1.0
TOP_EVERY_S = 3  # finding the busiest names among 20,000 queries takes 50 ms
_NICE = 5
_NAMES_S = 10.0
_MOST_NAMES = 10_000


class Tools(NamedTuple):
    """Functions of the command line that the console also uses."""

    # Explains a name from an open table. The first argument is the table. The others are texts: the name, the type and
    # the client.
    explain: Callable[[Reader, str, str, str], Struct]
    # Returns the queries that workers wrote after the last call. The argument is a Unix time: earlier queries are left
    # out. If no ring can be read, returns the reason.
    new_queries: Callable[[float], list[Query] | str]


def run(state_dir: Path, log: Log, lifeline: int, listening: socket, blocks: Sequence[Block], tools: Tools) -> None:
    """Serve the console until the signal `STOP` comes or the other end of `lifeline` closes.

    The first block belongs to the controller, the others belong to the workers.
    """
    with suppress(OSError):
        os.nice(_NICE)
    ends, wakes = os.pipe()
    signal.signal(STOP, lambda *_: os.write(wakes, b"."))
    table = Table(Reader(state_dir), tools)
    clock = Clock()
    history, recent = History(), Recent()
    pages = ConsolePages(history, recent, table.explain, clock)
    pages.snapshot = table.look()
    history.add(_counts(blocks), pages.snapshot.status.upstreams, clock.monotonic(), clock.wall())
    http.start([(listening, pages.pages())], log)
    # Looks come about once a second. With half a second less than `PERIOD_S`, a period ends after two looks.
    period = Every(PERIOD_S - LOOK_S / 2, clock)
    while not select.select([lifeline, ends], [], [], LOOK_S - time.time() % LOOK_S)[0]:
        with suppress(TableError):
            seen = table.look()
            if pages.is_watched:
                seen = _with_queries(seen, pages.snapshot.top, recent, table.name_of(), tools, clock.wall())
            pages.snapshot = seen
        recent.forget(clock.wall())
        if period.is_due():
            history.add(_counts(blocks), pages.snapshot.status.upstreams, clock.monotonic(), clock.wall())


def _with_queries(seen: Snapshot, before: Top, recent: Recent, name_of: NameOf, tools: Tools, now: float) -> Snapshot:
    found = tools.new_queries(now - KEPT_S)
    if isinstance(found, str):
        return seen._replace(no_queries=found)
    recent.add(found)
    top = recent.top(now, name_of, seen.domains) if int(now) % TOP_EVERY_S == 0 or not before.queries else before
    return seen._replace(top=top, name_of=name_of)


def _counts(blocks: Sequence[Block]) -> list[Totals]:
    return [decode(block.load()) for block in blocks[1:]]


class Table:
    """The answer table for the threads of this process.

    Only one thread at a time uses the table: LMDB's map may be enlarged only while no transaction is open.
    """

    def __init__(self, reader: Reader, tools: Tools) -> None:
        self._reader = reader
        self._explain = tools.explain
        self._lock = Lock()
        self._names = ClientNames(())
        self._names_due = 0.0  # the monotonic time at which the names of clients are read again
        self._known: dict[bytes, str | None] = {}  # octets of a client's address -> name of the client, or None
        self._composed = b""
        self._configuration: tuple[str, ...] = ()

    def look(self) -> Snapshot:
        """Return the status and the configuration in force."""
        with self._lock, self._reader.transaction() as transaction:
            known = status.decode(self._reader.status(transaction))
            domains = self._reader.facts(transaction).domains
            composed = self._reader.config(transaction)
        if composed != self._composed:
            self._composed, self._configuration = composed, _configuration(composed)
        return Snapshot(known, self._configuration, tuple(domains))

    def name_of(self) -> NameOf:
        """Return a function that returns the name of a client. The names are at most `_NAMES_S` old."""
        if time.monotonic() >= self._names_due:
            with self._lock:
                self._names = read_client_names(self._reader)
            self._names_due, self._known = time.monotonic() + _NAMES_S, {}
        names, known = self._names, self._known

        def name_of(address: bytes) -> str | None:
            if address in known:
                return known[address]
            found = names.name_of(address)
            text = None if found is None else str(found)
            if len(known) < _MOST_NAMES:
                known[address] = text
            return text

        return name_of

    def explain(self, text: str, rtype: str, asker: str) -> Struct:
        """Explain a name to `asker`, as the verb `explain` does. Raises `ValueError` for an invalid question."""
        with self._lock:
            return self._explain(self._reader, text, rtype, asker)


def _configuration(composed: bytes) -> tuple[str, ...]:
    try:
        return tuple(summary.lines(model.load(composed))) if composed else ()
    except msgspec.MsgspecError:  # another version of pydns has written the table
        return ()
