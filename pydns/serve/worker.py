"""A worker process: answers on its own sockets from the table, until it is told to stop.

It knows nothing of the cluster: only the table, which the controller changes under its eyes.
"""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from pydns.dns.message import Rcode
from pydns.log import Level, Log
from pydns.metrics.meter import FOLD_S, Meter
from pydns.process.block import Block
from pydns.process.pulse import ASK_S, DRAIN, ProcessRow
from pydns.process.slots import Slot
from pydns.serve import udp
from pydns.serve.backlog import LOOK_S, Backlog
from pydns.serve.context import Batch
from pydns.serve.query_log import QueryLog
from pydns.serve.recursion import CONFIG_S, Recursion
from pydns.serve.tcp import Connections
from pydns.table.reader import Reader

_WAIT_S = 5.0  # for upstreams: longer than any client is kept waiting
_FINISH_S = 2.0  # for what TCP clients have asked before the end


def run(slot: Slot, state_dir: Path, log: Log, lifeline: int, row: ProcessRow, block: Block) -> None:
    """Answer until SIGTERM, or until the other end of `lifeline` is closed, then answer what has arrived.

    Shows in `row` that it is well and, from the signal `DRAIN` on, that it is asked; counts in `block`.
    """
    uvloop.run(_run(slot, state_dir, log, lifeline, row, block))


async def _run(slot: Slot, state_dir: Path, log: Log, lifeline: int, row: ProcessRow, block: Block) -> None:
    loop = asyncio.get_running_loop()
    table = Reader(state_dir)
    meter = Meter(block)
    batch = Batch(table, log, meter)
    recursion = Recursion(batch, log, loop)
    recursion.poll()
    # What is cached lives long and makes no cycles; looking through all of it again and again cost a miss 4 µs.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(lifeline, stop.set)

    readers: list[Callable[[], bool]] = []

    def read() -> None:
        readers[:] = [udp.reader(sock, batch, recursion, loop) for sock in slot.udp]
        for sock, drain in zip(slot.udp, readers, strict=True):
            loop.add_reader(sock, drain)

    def count_late_queries() -> None:
        batch.respond = _counted(batch.respond, row)
        read()  # anew: a reader keeps the `respond` that it found

    queries = QueryLog(log, loop.call_later)

    def choose_queries() -> None:
        chosen = recursion.config.log.queries
        queries.choose(chosen)
        if (chosen is None) is not (batch.queries is None):
            batch.queries = None if chosen is None else queries
            if readers:
                read()

    choose_queries()
    if signal.sigtimedwait({DRAIN}, 0):  # it came before us: in time for what waits in the sockets
        count_late_queries()
    else:
        read()
        loop.add_signal_handler(DRAIN, count_late_queries)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {DRAIN})
    connections = Connections(batch, recursion, loop)
    # A duplicate, for the loop closes what it is given, and the original is to outlive this process's loop.
    servers = [await loop.create_server(connections.accept, sock=sock.dup(), backlog=1024) for sock in slot.tcp]
    beats = _beat(batch, table, row), _sweep(connections), _poll(recursion, choose_queries), _look(slot.udp)
    tasks = [loop.create_task(each) for each in (*beats, _fold(meter, recursion, log))]
    for task in tasks:
        task.add_done_callback(partial(stop_if_failed, stop=stop, log=log))

    await stop.wait()
    for sock, drain in zip(slot.udp, readers, strict=True):
        loop.remove_reader(sock)
        _drain_all(drain)
    await _answer_who_waits(recursion)
    await asyncio.sleep(0.05)  # one more turn for connections that are waiting to be accepted, or have asked
    for server in servers:
        server.close()
    connections.close_all()
    for server in servers:
        try:
            await asyncio.wait_for(server.wait_closed(), _FINISH_S)
        except TimeoutError:
            break
    for task in tasks:
        task.cancel()
    recursion.close()
    recursion.report(meter)
    meter.fold()
    queries.write()
    os.close(lifeline)


def stop_if_failed(task: asyncio.Task[None], stop: asyncio.Event, log: Log) -> None:
    """Have a task that fails end this worker, in order: the supervisor starts it again, and nothing stands still."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log("worker failed", level=Level.ERROR, error=f"{type(error).__name__}: {error}", action="end this process")
        stop.set()


async def _beat(batch: Batch, table: Reader, row: ProcessRow) -> None:
    """Ask as a client does, but for the socket, and show when it was answered."""
    respond = batch.responder.respond  # not `batch.respond`, which may count
    with table.transaction() as transaction:
        domain = table.facts(transaction).domain
    query = b"\0\0\0\0\0\1" + bytes(6) + domain + b"\0\6\0\1"  # SOA: there is one before the first sync too
    while True:
        with batch.transaction() as transaction:
            batch.responder.tally = batch.meter.unseen
            try:
                reply = respond(query, transaction)
            except Exception as error:
                reply = batch.fail(query, error)
        if reply is not None and reply[3] & 15 == Rcode.NOERROR:
            row.answered_ns = time.monotonic_ns()
        await asyncio.sleep(ASK_S)


def _counted(respond: Callable[..., bytes | None], row: ProcessRow) -> Callable[..., bytes | None]:
    """Return `respond`, counting. In a drain only, where its cost of 0.3 µs a query matters to nobody."""

    def respond_late(*args: Any, **options: Any) -> bytes | None:
        row.asked_ns = time.monotonic_ns()
        row.late_queries += 1
        return respond(*args, **options)

    return respond_late


async def _sweep(connections: Connections) -> None:
    while True:
        await asyncio.sleep(1)
        connections.close_idle()


async def _poll(recursion: Recursion, configured: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(CONFIG_S)
        recursion.poll()
        configured()


async def _look(sockets: list[socket.socket]) -> None:
    backlogs = [Backlog(sock) for sock in sockets]
    while True:
        await asyncio.sleep(LOOK_S)
        for backlog in backlogs:
            backlog.look(time.time())


async def _fold(meter: Meter, recursion: Recursion, log: Log) -> None:
    while True:
        await asyncio.sleep(FOLD_S)
        log.summarize()
        recursion.report(meter)
        meter.fold()


async def _answer_who_waits(recursion: Recursion) -> None:
    """Wait for upstreams as long as the clients do: the forwarder answers all of them by its deadline."""
    end = time.monotonic() + _WAIT_S
    while recursion.waiting and time.monotonic() < end:
        await asyncio.sleep(0.01)


def _drain_all(drain: Callable[[], bool]) -> None:
    for _ in range(10_000):  # bounded: a flood must not keep the process alive
        if not drain():
            return
