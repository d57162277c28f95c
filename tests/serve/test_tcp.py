"""TCP connections that are idle, too many or too busy, in a worker's event loop with short timeouts."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pydns.config.model import Config
from pydns.dns.rrset import SOA
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.log import Log
from pydns.metrics.meter import Meter, Tally
from pydns.metrics.totals import Totals
from pydns.process.block import share
from pydns.serve import tcp
from pydns.serve.context import Batch
from pydns.serve.extras import Extras
from pydns.serve.port import Port
from pydns.serve.tcp import Connections
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.running import query
from tests.serve.turns import Loop, Transport
from tests.waiting import PATIENCE_S

QUERY = query("cluster.local.", SOA)
MANY = 10_000
FRAME = len(QUERY).to_bytes(2) + QUERY
FOREIGN_QUERY = query("www.example.com.")
FOREIGN_FRAME = len(FOREIGN_QUERY).to_bytes(2) + FOREIGN_QUERY


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
        self.batch = batch = Batch(self.reader, Log(), Meter(share(1)[0]))
        self.connections = Connections(batch, loop)
        self.messages = 0
        self.accepted: list[tcp.Connection] = []
        batch.observers.append(self)
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        listening = self._server.sockets[0]
        listening.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, 16384
        )  # with a small buffer, the server soon notices a client that doesn't read
        self._port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.connections.close_all()
        self._server.close()
        await self._server.wait_closed()
        self.reader.close()

    def _accept(self) -> tcp.Connection:
        self.accepted.append(self.connections.accept())
        return self.accepted[-1]

    # The methods of an observer of ports.

    is_on = True

    def configure(self, config: Config) -> None:
        pass

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        self.messages += len(messages)

    def replied_later(self, port: Port, peer: Any, reply: bytes, *_facts: Any) -> None:
        pass

    async def connect(self, ip: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from an address, and return when the server has accepted the connection."""
        before = len(self.accepted)
        streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(ip, 0))
        await until(lambda: len(self.accepted) > before)
        return streams

    async def defer(self, writer: asyncio.StreamWriter) -> Callable[[], None]:
        """Send a query that is deferred. Return the function that sends its reply."""
        deferred: list[Callable[[], None]] = []

        def defer(_asked: Any, port: Port, peer: Any, _came: float) -> None:
            deferred.append(lambda: port.reply_later(QUERY, peer))

        self.batch.responder.configure(offered=True, extras=Extras(max_udp_size=1232))
        self.batch.defer = defer
        writer.write(FOREIGN_FRAME)
        await until(lambda: deferred)
        return deferred[0]


async def until(holds: Callable[[], object]) -> None:
    """Return as soon as the condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.001)


async def count_replies(reader: asyncio.StreamReader) -> int:
    """Return how many replies arrive until the server closes the connection."""
    stream, count = await asyncio.wait_for(reader.read(), PATIENCE_S), 0
    while stream:
        stream = stream[2 + int.from_bytes(stream[:2]) :]
        count += 1
    return count


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
            assert await is_answered(*busy)  # by now the server has accepted all connections
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


def test_a_new_connection_above_the_limit_replaces_the_one_idle_longest(
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


def test_a_slow_reader_receives_every_pipelined_answer_without_delaying_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Running(tmp_path) as running:
            greedy, other = await running.connect(), await running.connect()
            greedy[1].write(FRAME * MANY)
            assert await is_answered(*other)
            assert running.messages < MANY // 10
            before = 0
            while running.messages > before:
                before = running.messages
                await asyncio.sleep(0.05)
            assert before < MANY  # the server has noticed that the client doesn't read
            for _ in range(MANY):
                length = int.from_bytes(await greedy[0].readexactly(2))
                await greedy[0].readexactly(length)
            for _, writer in (greedy, other):
                writer.close()

    asyncio.run(scenario())


class GoneTransport(asyncio.Transport):
    """The transport of a client that has disconnected. Like uvloop's transport, it raises an exception on a write."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        raise RuntimeError("the handler is closed")


def test_replies_for_a_disconnected_client_are_dropped() -> None:
    crowd = Crowd(100)
    transport = crowd.send(GREEDY, 1)
    transport.connection._transport = GoneTransport()
    crowd.loop.turn()
    transport.connection.port.reply_later(b"reply", transport.connection)


# Clients that have closed their sending side


def test_a_client_that_has_finished_sending_gets_every_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Running(tmp_path) as running:
            reader, writer = await running.connect()
            writer.write(FRAME * 1000 + FRAME[:5])
            writer.write_eof()
            assert await count_replies(reader) == 1000  # after the replies, the server closes the connection
            writer.close()

    uvloop.run(scenario())


def test_a_client_that_has_finished_sending_gets_a_deferred_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Running(tmp_path) as running:
            reader, writer = await running.connect()
            reply = await running.defer(writer)
            writer.write_eof()
            other = await running.connect()
            for _ in range(3):  # several turns, so that the server has also received the end of the stream
                assert await is_answered(*other)
            reply()
            assert await count_replies(reader) == 1
            for each in writer, other[1]:
                each.close()

    uvloop.run(scenario())


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_deferred_answer_for_a_disconnected_client_is_dropped(tmp_path: Path, leave: str) -> None:
    async def scenario() -> None:
        async with Running(tmp_path) as running:
            _, writer = await running.connect()
            reply = await running.defer(writer)
            if leave == "reset":
                writer.transport.abort()
            writer.close()
            other = await running.connect()
            for _ in range(3):
                assert await is_answered(*other)
                reply()
            assert await is_answered(*other)
            other[1].close()

    uvloop.run(scenario())


# Shares of the connections


def test_used_connections_outlive_new_ones_of_the_same_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 5)

    async def scenario() -> None:
        async with Running(tmp_path) as running:
            busy = [await running.connect() for _ in range(3)]
            for each in busy:
                assert await is_answered(*each)
            idle = [await running.connect() for _ in range(20)]
            for each in busy:
                assert await is_answered(*each)
            for _, writer in (*busy, *idle):
                writer.close()

    uvloop.run(scenario())


def test_a_client_above_its_share_loses_only_its_own_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "MAX_CONNECTIONS", 8)

    async def scenario() -> None:
        async with Running(tmp_path) as running:
            others = [await running.connect(f"127.0.0.{number}") for number in (2, 3, 4)]
            for each in others:
                assert await is_answered(*each)
            greedy = [await running.connect() for _ in range(20)]
            for each in greedy[-5:]:
                assert await is_answered(*each)
            for each in others:
                assert await is_answered(*each)
            for _, writer in (*others, *greedy):
                writer.close()

    uvloop.run(scenario())


# Turns of the event loop and unread replies, without sockets


class Crowd:
    """Connections whose messages each get a reply of `octets`. `answered` shows the order of the replies."""

    observers: tuple[()] = ()

    def __init__(self, octets: int, *, is_deferred: bool = False) -> None:
        """If `is_deferred` is true, every message is deferred, and its reply comes at once, as from the cache."""
        self.loop = Loop()
        self._is_deferred = is_deferred
        self.answered: list[str] = []  # the address of the client for each reply
        self._reply = bytes(octets)
        self._connections = Connections(self, self.loop)  # type: ignore[arg-type]

    def tally(self, _protocol: str, _family: int) -> Tally:
        return Tally(Totals(), 0)

    def answer(self, _messages: Sequence[bytes], port: Port, _came: float, source: Iterable[bytes]) -> None:
        port.replies = []
        for _ in source:
            self.answered.append(port.client.ip)
            if self._is_deferred:
                port.deferred += 1
                port.reply_later(self._reply, port.peer(len(port.replies)))
            port.replies.append(None if self._is_deferred else self._reply)

    def send(self, ip: str, messages: int) -> Transport:
        """Connect and send messages."""
        connection = self._connections.accept()
        transport = Transport(ip, connection)
        connection.data_received(FRAME * messages)
        return transport

    def close(self) -> None:
        """Close all connections, as a worker does at its end."""
        self._connections.close_all()


GREEDY, OTHER = "192.0.2.1", "192.0.2.2"


def test_addresses_take_turns_however_many_connections_they_have() -> None:
    crowd = Crowd(100)
    for _ in range(50):
        crowd.send(GREEDY, 20)
    crowd.send(OTHER, 3)
    crowd.loop.turn()
    assert crowd.answered[:6] == [GREEDY, OTHER] * 3


def test_connections_of_an_address_take_turns() -> None:
    crowd = Crowd(100)
    crowd.send(GREEDY, 200)
    other = crowd.send(GREEDY, 1)
    crowd.loop.turn()
    assert other.unread == 102


def test_waiting_connections_get_equal_shares_of_a_turn() -> None:
    crowd = Crowd(100)
    transports = [crowd.send(f"192.0.2.{number}", 100) for number in range(4)]
    crowd.loop.turn()
    assert [each.unread for each in transports] == [tcp.TURN // 4 * 102] * 4


@pytest.mark.parametrize("is_deferred", [False, True])
@pytest.mark.parametrize(("octets", "most"), [(100, tcp.TURN), (10_000, 7), (60_000, 2)])
def test_a_turn_of_the_event_loop_has_limited_work_and_loses_no_message(
    octets: int, most: int, is_deferred: bool
) -> None:
    crowd = Crowd(octets, is_deferred=is_deferred)
    transports = [crowd.send(f"192.0.2.{number}", 20) for number in range(20)]
    before = 0
    while crowd.loop.turn():
        assert len(crowd.answered) - before <= most
        before = len(crowd.answered)
        for transport in transports:
            transport.read()
    assert len(crowd.answered) == 400


def test_pydns_stops_reading_from_a_client_with_waiting_messages_or_unread_replies() -> None:
    crowd = Crowd(1000)
    one, many = crowd.send(GREEDY, 1), crowd.send(OTHER, 100)
    crowd.loop.turn()
    assert one.is_read
    assert not many.is_read
    while crowd.loop.turn():
        pass
    assert not many.is_read
    assert len(crowd.answered) < 30
    many.read()
    while crowd.loop.turn():
        many.read()
    assert many.is_read
    assert len(crowd.answered) == 101


def test_at_its_end_pydns_answers_all_received_messages_even_of_clients_that_do_not_read() -> None:
    crowd = Crowd(1000)
    transports = [crowd.send(ip, 200) for ip in (GREEDY, OTHER)]
    for _ in range(4):
        crowd.loop.turn()
    crowd.close()
    assert [each.unread for each in transports] == [200 * 1002] * 2
    assert all(each.is_closing() for each in transports)
    while crowd.loop.turn():
        pass


def test_at_the_limit_of_unread_replies_the_connection_with_the_oldest_read_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tcp, "MAX_UNREAD_IN_ALL", 200_000)
    crowd = Crowd(60_000)
    transports = []
    for number in range(6):
        transports.append(crowd.send(f"192.0.2.{number}", 1))
        crowd.loop.turn()
    assert [each.is_closing() for each in transports] == [True] * 3 + [False] * 3


def test_unread_deferred_replies_are_limited() -> None:
    crowd = Crowd(60_000)
    transport = crowd.send(GREEDY, 1)
    crowd.loop.turn()
    for _ in range(20):
        transport.connection.port.reply_later(bytes(60_000), transport.connection)
    assert transport.is_closing()
    assert transport.unread < tcp.MAX_UNREAD + 61_000
