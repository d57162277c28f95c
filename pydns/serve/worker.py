"""A worker process: answers the queries on its sockets from the table, until the supervisor ends the process.

The worker reads the table, which the controller changes meanwhile. The worker knows nothing else about the cluster.
"""

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from pydns.config.model import Config
from pydns.dns.message import Rcode
from pydns.dns.reason import Reason
from pydns.log import Level, Log
from pydns.metrics.meter import Meter
from pydns.process.block import Block
from pydns.process.pulse import ASK_S, DRAIN, STOP, ProcessRow
from pydns.process.slots import Slot
from pydns.ring.layout import Origin
from pydns.serve import udp
from pydns.serve.backlog import LOOK_S, Backlog
from pydns.serve.client_lookup import ClientLookup
from pydns.serve.context import Batch
from pydns.serve.port import UDP_LIMIT, Observer, Port
from pydns.serve.query_log import QueryLog
from pydns.serve.query_ring import QueryRing
from pydns.serve.recursion import Recursion
from pydns.serve.response_rate import ResponseRate
from pydns.serve.tap import Tap
from pydns.serve.tcp import Connections, limit_buffers
from pydns.table.reader import Reader

_WAIT_S = 5.0  # how long a worker waits for upstreams at its end; the forwarder answers every client in less time
_FINISH_S = 2.0  # how long a worker waits at its end for TCP clients that still expect replies


def run(slot: Slot, state_dir: Path, log: Log, lifeline: int, row: ProcessRow, block: Block) -> None:
    """Answer queries until the signal `STOP` comes or the other end of `lifeline` closes.

    Then answer the queries that have arrived, and return. The worker shows in `row` that it works. It publishes its
    counts in `block`. After the signal `DRAIN`, the worker also publishes in `row` how many queries still come.
    """
    uvloop.run(_run(slot, state_dir, log, lifeline, row, block))


async def _run(slot: Slot, state_dir: Path, log: Log, lifeline: int, row: ProcessRow, block: Block) -> None:
    loop = asyncio.get_running_loop()
    table = Reader(state_dir)
    meter = Meter(block)
    batch = Batch(table, log, meter)
    recursion = Recursion(batch, log, loop)
    batch.defer = recursion.ask
    recursion.poll()
    # Cached answers live long and contain no reference cycles. With Python's usual thresholds, the garbage collector
    # would look at them again and again, and each miss would take 4 µs more. Objects that exist now are never looked
    # at.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    stop = asyncio.Event()
    loop.add_signal_handler(STOP, stop.set)
    loop.add_reader(lifeline, stop.set)

    ports = [udp.UdpPort(sock, batch, loop) for sock in slot.udp]
    queries = QueryLog(log, loop.call_later, ClientLookup(table, loop.call_later), batch.why)
    late = LateQueries(row)
    tap = Tap(log, loop, meter.untapped)
    ring = QueryRing(slot.queries, log)
    observers: tuple[Observer, ...] = (ring, queries, tap, late)  # the worker calls only those that are on

    def configure() -> None:
        rate = response_rate(ports[0].rate if ports else None, recursion.config)
        for port in ports:
            port.rate = rate
        for each in observers:
            each.configure(recursion.config)
        batch.observers[:] = [each for each in observers if each.is_on]
        recursion.observe([tap.upstreams] if tap.taps_upstreams else [])

    def drain() -> None:
        late.is_on = True
        configure()

    configure()
    check = _self_check(batch, table, row)
    # The self-check runs before any client is answered. So if a client gets an answer, the worker has shown that it
    # works.
    check()
    # DRAIN may have come before the worker could handle it. Then queries may already wait in the sockets.
    if signal.sigtimedwait({DRAIN}, 0):
        drain()
    else:
        loop.add_signal_handler(DRAIN, drain)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {DRAIN})
    readers = [udp.reader(port, batch) for port in ports]
    for sock, read in zip(slot.udp, readers, strict=True):
        loop.add_reader(sock, read)
    connections = Connections(batch, loop)
    for sock in slot.tcp:
        limit_buffers(sock)
    # `dup` copies the socket: the event loop closes the copy, but the original must stay open longer.
    servers = [await loop.create_server(connections.accept, sock=sock.dup(), backlog=1024) for sock in slot.tcp]
    backlogs = [port.backlog for port in ports]

    def work() -> None:
        check()
        recursion.poll()
        configure()
        connections.close_idle()
        for backlog in backlogs:
            backlog.see()
        ring.write()
        log.summarize()
        recursion.report(meter)
        meter.fold()

    tasks = [loop.create_task(each) for each in (_repeat(work), _look(backlogs))]
    for task in tasks:
        task.add_done_callback(partial(stop_if_failed, stop=stop, log=log))

    await stop.wait()
    for sock, read in zip(slot.udp, readers, strict=True):
        loop.remove_reader(sock)
        _read_all(read)
    await _wait_for_upstreams(recursion)
    await asyncio.sleep(0.05)  # meanwhile, the last connections are accepted, and their queries are read
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
    tap.close()
    ring.close()
    os.close(lifeline)


def response_rate(rate: ResponseRate | None, config: Config) -> ResponseRate | None:
    """Return the object that limits replies, or None if the configuration sets no limit.

    If the limit is the same, return `rate` itself.
    """
    wanted = config.responses_per_second
    if not wanted:
        return None
    if rate is not None and rate.responses_per_second == wanted:
        return rate
    return ResponseRate(wanted, time.monotonic)


def stop_if_failed(task: asyncio.Task[None], stop: asyncio.Event, log: Log) -> None:
    """If a task has failed, end this worker in an orderly way. The supervisor then starts a new worker."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log("worker failed", level=Level.ERROR, error=f"{type(error).__name__}: {error}", action="end this process")
        stop.set()


class LateQueries:
    """Counts the queries that come while the worker drains.

    From the count, the supervisor knows whether clients still send queries.
    """

    def __init__(self, row: ProcessRow) -> None:
        self.is_on = False
        self._row = row

    def configure(self, config: Config) -> None:
        """Do nothing, because no key of the configuration affects the count."""

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        """Count the received messages."""
        self._row.asked_ns = time.monotonic_ns()
        self._row.late_queries += len(messages)

    def replied_later(
        self,
        port: Port,
        peer: Any,
        reply: bytes,
        came: float,
        spent_s: float,
        origin: Origin,
        server: str,
        error: Reason | int | None,
    ) -> None:
        """Do nothing, because `answered` has counted the query."""


class SelfCheck(Port):
    """A port for queries of the worker itself. It has no socket and no observers."""

    __slots__ = ()

    def __init__(self, batch: Batch) -> None:
        super().__init__("self-check", UDP_LIMIT, batch.meter.unseen)

    def source(self, peer: Any) -> bytes:
        """Return an empty address, because the question has no client."""
        return b""


def _self_check(batch: Batch, table: Reader, row: ProcessRow) -> Callable[[], None]:
    """Return a function that answers the worker's own SOA query with the code that answers clients.

    If the reply is right, the function publishes the time.
    """
    with table.transaction() as transaction:
        domain = table.facts(transaction).domain
    # The domain has a SOA record even before the cluster is synced. With `--answer external`, the domain isn't served,
    # and the reply is REFUSED.
    query = b"\0\0\0\0\0\1" + bytes(6) + domain + b"\0\6\0\1"
    port = SelfCheck(batch)

    def check() -> None:
        batch.answer([query], port, time.monotonic())
        reply = port.replies[0]
        if reply is not None and reply[3] & 15 in (Rcode.NOERROR, Rcode.REFUSED):
            row.answered_ns = time.monotonic_ns()

    return check


async def _repeat(work: Callable[[], None]) -> None:
    """Call `work` twice a second. All periodic work is in this one function, so that an idle worker seldom wakes up."""
    while True:
        await asyncio.sleep(ASK_S)
        work()


async def _look(backlogs: list[Backlog]) -> None:
    """Call `look` of the backlogs every `LOOK_S` while datagrams wait in one of them."""
    crowded = asyncio.Event()
    for backlog in backlogs:
        backlog.crowded = crowded.set
    while True:
        while any(backlog.needs_looks for backlog in backlogs):
            await asyncio.sleep(LOOK_S)
            for backlog in backlogs:
                backlog.look(time.time())
        crowded.clear()
        await crowded.wait()


async def _wait_for_upstreams(recursion: Recursion) -> None:
    """Wait until no client waits for an upstream.

    The wait ends, because the forwarder answers every client before a deadline.
    """
    end = time.monotonic() + _WAIT_S
    while recursion.waiting and time.monotonic() < end:
        await asyncio.sleep(0.01)


def _read_all(read: Callable[[], bool]) -> None:
    for _ in range(10_000):  # the number is limited, so that a flood of queries can't keep the process from ending
        if not read():
            return
