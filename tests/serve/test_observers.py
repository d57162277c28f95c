"""Observers of ports: every enabled observer sees each query and reply, at any port and from any source."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pydns.config import model
from pydns.config.model import Config
from pydns.dns.message import Edns
from pydns.log import Log
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.context import Batch
from pydns.serve.port import UDP_LIMIT, Client, Port
from pydns.serve.recursion import Recursion
from pydns.serve.udp import UdpPort, reader
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.running import query
from tests.subject import load
from tests.upstream import world
from tests.waiting import PATIENCE_S


class Seen:
    """Stores what an observer sees."""

    is_on = True

    def __init__(self) -> None:
        self.queries: list[bytes] = []
        self.replies: list[tuple[Client, bytes]] = []

    def configure(self, config: Config) -> None:
        pass

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        self.queries += messages
        for place, reply in enumerate(port.replies):
            if reply is not None:
                self.replies.append((port.client_at(port.peer(place)), reply))

    def replied_later(self, port: Port, peer: Any, reply: bytes, *_facts: Any) -> None:
        self.replies.append((port.client_at(peer), reply))


class Worker:
    """A worker with one UDP socket, and an upstream that answers only when the test allows it."""

    def __init__(self, state_dir: Path, loop: asyncio.AbstractEventLoop) -> None:
        zone = load([])
        facts = zone.facts(serial=1, synced=True)
        writer = Writer(state_dir, facts)
        writer.put_config(model.dump(Config(upstreams=(model.ServerSpec("192.0.2.53"),))))
        writer.replace(zone.contents, facts)
        writer.close()  # a process may open an LMDB file only once
        self.table = Reader(state_dir)
        self.batch = Batch(self.table, Log(), Meter(share(1)[0]))
        self._packets: list[tuple[int, int, bytes]] = []
        self._recursion = Recursion(self.batch, Log(), loop, sockets=self._sockets)
        self.batch.defer = self._recursion.ask
        self._recursion.poll()
        self._loop = loop
        self._packets.clear()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self._read = reader(UdpPort(self._sock, self.batch, loop), self.batch)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.settimeout(PATIENCE_S)
        self.client.connect(self._sock.getsockname())

    def ask(self, *messages: bytes) -> list[bytes]:
        """Send queries together and return the replies. Replies that came from the upstream are last."""
        for each in messages:
            self.client.send(each)
        self._read()
        for index, socket_index, packet in self._packets:
            self._received(index, socket_index, [world.reply_to(packet, world.Server())])
        self._packets.clear()
        self._loop.run_until_complete(asyncio.sleep(0))
        return [self.client.recv(512) for each in messages if len(each) >= 12]

    def close(self) -> None:
        self._sock.close()
        self.client.close()
        self.table.close()

    # These methods replace the recursion's sockets to upstreams.

    def _sockets(self, _: object, received: Any, __: object) -> Any:
        self._received = received
        return self

    def add(self, index: int, server: model.ServerSpec) -> None:
        pass

    def send_udp(self, *packet: Any) -> bool:
        self._packets.append(packet)
        return True

    send_stream = send_udp

    def sweep(self, now: float) -> None:
        pass


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    loop = asyncio.new_event_loop()
    started = Worker(tmp_path, loop)
    yield started
    started.close()
    loop.close()


def test_every_enabled_observer_sees_all_queries_and_replies(worker: Worker) -> None:
    queries = [
        query("dns-version.cluster.local", 16, 1),
        query("none.cluster.local", 1, 2),
        b"short",  # this message gets no reply
        query("www.example.com", 1, 3),  # the reply waits for the upstream
    ]
    first, second = Seen(), Seen()
    worker.batch.observers += [first, second]
    replies = worker.ask(*queries)
    assert len(replies) == 3
    for seen in first, second:
        assert seen.queries == queries
        assert sorted(reply for _, reply in seen.replies) == sorted(replies)
        assert {client for client, _ in seen.replies} == {Client(*worker.client.getsockname())}
    worker.batch.observers.remove(first)
    worker.ask(queries[0])
    assert (len(first.queries), len(second.queries)) == (4, 5)


def test_the_client_is_known_while_its_query_is_answered(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    respond = worker.batch._respond
    clients = []

    def note_client(message: bytes, transaction: Any, port: Port) -> Any:
        clients.append(port.client)
        return respond(message, transaction, port)

    monkeypatch.setattr(worker.batch, "_respond", note_client)  # like a guard of the responder
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other.connect(worker.client.getpeername())
    other.send(query("cluster.local", 6))
    worker.ask(query("cluster.local", 6))
    assert clients == [Client(*other.getsockname()), Client(*worker.client.getsockname())]
    other.close()


def test_edns_extends_the_limit_of_udp_only() -> None:
    tally = Meter(share(1)[0]).tallies[0]
    udp, stream = Port("udp", UDP_LIMIT, tally), Port("tcp", 65535, tally)
    for size, wanted in ((None, 512), (0, 512), (1000, 1000), (4096, 2000)):
        edns = None if size is None else Edns(size, False, 0)
        assert (udp.reply_limit(edns, 2000), stream.reply_limit(edns, 2000)) == (wanted, 65535)
