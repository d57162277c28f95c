"""TCP connections that are idle, too many or too busy, in a worker's own loop with short timeouts."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pydns.config.model import Config
from pydns.dns.rrset import SOA
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.log import Log
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve import tcp
from pydns.serve.context import Batch
from pydns.serve.port import Port
from pydns.serve.tcp import Connections
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.running import query
from tests.waiting import PATIENCE_S

QUERY = query("cluster.local.", SOA)
MANY = 10_000
FRAME = len(QUERY).to_bytes(2) + QUERY


class Running:
    """A TCP server on a loopback port, and its connections."""

    def __init__(self, state_dir: Path) -> None:
        zone = Zone(ZoneOptions())
        writer = Writer(state_dir, zone.facts(serial=1, synced=False))
        writer.replace(zone.contents, zone.facts(serial=1, synced=True))
        writer.close()
        self._state_dir = state_dir

    async def __aenter__(self) -> "Running":
        loop = asyncio.get_running_loop()
        self.reader = Reader(self._state_dir)
        batch = Batch(self.reader, Log(), Meter(share(1)[0]))
        self.connections = Connections(batch, loop)
        self.answered = 0
        batch.observers.append(self)
        self._server = await loop.create_server(self.connections.accept, "127.0.0.1", 0)
        listening = self._server.sockets[0]
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, 16384
        )  # so that a client that doesn't read is noticed
        self._port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.connections.close_all()
        self._server.close()
        await self._server.wait_closed()
        self.reader.close()

    # As an observer of ports.

    is_on = True

    def configure(self, config: Config) -> None:
        pass

    def received(self, port: Port, messages: Sequence[bytes]) -> None:
        self.answered += len(messages)

    def replied(self, port: Port, peer: Any, reply: bytes, came: float) -> None:
        pass

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


async def is_answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(FRAME)
    try:
        length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), PATIENCE_S))
        return len(await reader.readexactly(length)) == length
    except (asyncio.IncompleteReadError, ConnectionError):
        return False


def test_idle_and_trickling_clients_are_closed_and_busy_ones_are_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Running(tmp_path) as running:
            now = 0.0
            running.connections.now = lambda: now
            idle, trickling, busy = [await running.connect() for _ in range(3)]
            assert await is_answered(*busy)  # all are accepted by now
            now = tcp.IDLE_S - 1
            trickling[1].write(FRAME[:1])
            assert await is_answered(*busy)
            now = tcp.IDLE_S + 1
            running.connections.close_idle()

            assert await is_answered(*busy)
            assert not await is_answered(*idle)
            assert not await is_answered(*trickling)
            for _, writer in (idle, trickling, busy):
                writer.close()

    asyncio.run(scenario())


def test_a_new_connection_beyond_the_limit_replaces_the_one_idle_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 3)

    async def scenario() -> None:
        async with Running(tmp_path) as running:
            clients = [await running.connect() for _ in range(3)]
            for client in (clients[1], clients[2], clients[0]):
                assert await is_answered(*client)
            newest = await running.connect()

            assert await is_answered(*newest)
            assert await is_answered(*clients[0])
            assert await is_answered(*clients[2])
            assert not await is_answered(*clients[1])
            for _, writer in (*clients, newest):
                writer.close()

    asyncio.run(scenario())


def test_a_slow_reader_receives_every_pipelined_answer_and_delays_no_other_client(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Running(tmp_path) as running:
            greedy, other = await running.connect(), await running.connect()
            greedy[1].write(FRAME * MANY)
            assert await is_answered(*other)
            assert running.answered < MANY // 10
            before = 0
            while running.answered > before:
                before = running.answered
                await asyncio.sleep(0.05)
            assert before < MANY  # it has noticed that the client doesn't read
            for _ in range(MANY):
                length = int.from_bytes(await greedy[0].readexactly(2))
                await greedy[0].readexactly(length)
            for _, writer in (greedy, other):
                writer.close()

    asyncio.run(scenario())


class GoneTransport(asyncio.Transport):
    """The transport of a client that has gone: uvloop's raises where it is written to."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        raise RuntimeError("the handler is closed")


def test_replies_for_a_client_that_has_gone_are_dropped() -> None:
    connection = tcp.Connection(None)  # type: ignore[arg-type]  # not used by a connection that has gone
    connection._transport = GoneTransport()
    connection.replies = [b"reply"]
    connection.send()
    connection.reply_later(b"reply", None)
