"""A worker process: answers on its own sockets from the table, until it is told to stop.

It knows nothing of the cluster: only the table, which the controller changes under its eyes.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import uvloop

from pydns.log import Log
from pydns.serve import udp
from pydns.serve.batch import Batch
from pydns.serve.recursion import CONFIG_S, Recursion
from pydns.serve.sockets import Slot
from pydns.serve.tcp import Connections
from pydns.table.reader import Reader

_FINISH_S = 2.0  # for what TCP clients have asked before the end


def run(slot: Slot, state_dir: Path, log: Log, lifeline: int) -> None:
    """Answer until SIGTERM, or until the other end of `lifeline` is closed, then answer what has arrived."""
    uvloop.run(_run(slot, state_dir, log, lifeline))


async def _run(slot: Slot, state_dir: Path, log: Log, lifeline: int) -> None:
    loop = asyncio.get_running_loop()
    batch = Batch(Reader(state_dir), log)
    recursion = Recursion(batch, log, loop)
    recursion.poll()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(lifeline, stop.set)

    readers = [udp.reader(sock, batch, recursion) for sock in slot.udp]
    for sock, drain in zip(slot.udp, readers, strict=True):
        loop.add_reader(sock, drain)
    connections = Connections(batch, recursion, loop)
    # A duplicate, for the loop closes what it is given, and the original is to outlive this process's loop.
    servers = [await loop.create_server(connections.accept, sock=sock.dup(), backlog=1024) for sock in slot.tcp]
    tasks = [loop.create_task(_sweep(connections)), loop.create_task(_poll(recursion))]

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
    os.close(lifeline)


async def _sweep(connections: Connections) -> None:
    while True:
        await asyncio.sleep(1)
        connections.close_idle()


async def _poll(recursion: Recursion) -> None:
    while True:
        await asyncio.sleep(CONFIG_S)
        recursion.poll()


async def _answer_who_waits(recursion: Recursion) -> None:
    """Wait for upstreams as long as the clients do: the forwarder answers all of them by its deadline."""
    while recursion.waiting:
        await asyncio.sleep(0.01)


def _drain_all(drain: Callable[[], bool]) -> None:
    for _ in range(10_000):  # bounded: a flood must not keep the process alive
        if not drain():
            return
