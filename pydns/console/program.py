"""Runs the process of the console: looks at the table and the counts every second, and serves the pages.

A request waits at most for one look or one explanation. The process has a low priority, so the workers come first.
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

import msgspec
from msgspec import Struct

from pydns.config import model, summary
from pydns.console.history import PERIOD_S, History
from pydns.console.pages import ConsolePages, Snapshot
from pydns.control import http
from pydns.control.clock import Clock, Every
from pydns.log import Log
from pydns.metrics.totals import Totals, decode
from pydns.process.block import Block
from pydns.process.pulse import STOP
from pydns.table import status
from pydns.table.reader import Reader, TableError

LOOK_S = 1.0
_NICE = 5

# Explains a name from an open table: text, type, namespace, address of a client.
ExplainFrom = Callable[[Reader, str, str, str, str], Struct]


def run(
    state_dir: Path, log: Log, lifeline: int, listening: socket, blocks: Sequence[Block], explain: ExplainFrom
) -> None:
    """Serve the console until the signal `STOP` comes or the other end of `lifeline` closes.

    The first block is the controller's, the others are the workers'.
    """
    with suppress(OSError):
        os.nice(_NICE)
    ends, wakes = os.pipe()
    signal.signal(STOP, lambda *_: os.write(wakes, b"."))
    table = Table(Reader(state_dir), explain)
    clock = Clock()
    history = History()
    pages = ConsolePages(history, table.explain, clock)
    pages.snapshot = table.look()
    history.add(_counts(blocks), pages.snapshot.status.upstreams, clock.monotonic(), clock.wall())
    http.start([(listening, pages.pages())], log)
    period = Every(PERIOD_S - LOOK_S / 2, clock)  # due in every second look
    while not select.select([lifeline, ends], [], [], LOOK_S - time.time() % LOOK_S)[0]:
        with suppress(TableError):
            pages.snapshot = table.look()
        if period.is_due():
            history.add(_counts(blocks), pages.snapshot.status.upstreams, clock.monotonic(), clock.wall())


def _counts(blocks: Sequence[Block]) -> list[Totals]:
    return [decode(block.load()) for block in blocks[1:]]


class Table:
    """The answer table for the threads of this process.

    Only one of them uses it at a time, because LMDB's map may be enlarged only while there is no transaction.
    """

    def __init__(self, reader: Reader, explain: ExplainFrom) -> None:
        self._reader = reader
        self._explain = explain
        self._lock = Lock()
        self._composed = b""
        self._configuration: tuple[str, ...] = ()

    def look(self) -> Snapshot:
        """Return the status and the configuration in force."""
        with self._lock, self._reader.transaction() as transaction:
            known = status.decode(self._reader.status(transaction))
            composed = self._reader.config(transaction)
        if composed != self._composed:
            self._composed, self._configuration = composed, _configuration(composed)
        return Snapshot(known, self._configuration)

    def explain(self, text: str, rtype: str, namespace: str, client: str) -> Struct:
        """Explain a name. Raises `ValueError` for an invalid question."""
        with self._lock:
            return self._explain(self._reader, text, rtype, namespace, client)


def _configuration(composed: bytes) -> tuple[str, ...]:
    try:
        return tuple(summary.lines(model.load(composed))) if composed else ()
    except msgspec.MsgspecError:  # a table of another version
        return ()
