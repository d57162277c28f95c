"""Random messages on TCP connections, in random segments: each connection gets the replies that UDP clients get."""

import random
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pydns.config.model import Config
from pydns.dns.message import TC
from pydns.dns.rrset import TXT
from pydns.log import Log
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.context import Batch
from pydns.serve.deferred import Asked
from pydns.serve.extras import Extras
from pydns.serve.port import Port
from pydns.serve.tcp import Connections
from tests import hostile_messages
from tests.fakes.manifests import service
from tests.running import query
from tests.serve.turns import Loop, Transport
from tests.subject import InProcess, load, load_static

RUNS = 150
MAX_STEPS = 100_000  # until the server has closed every connection
ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.3")
LONG = query("long.example.org", TXT)
ZONE = "@ SOA ns hostmaster 1 7200 1800 86400 5\n@ NS ns\n" + f'long TXT "{"x" * 250}"' + f' "{"x" * 250}"' * 40
EXTRAS = Extras(max_udp_size=1232)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[InProcess]:
    found = InProcess(tmp_path, load([service("web", "10.96.0.10")]), statics=load_static({"example.org.zone": ZONE}))
    found.responder.configure(offered=True, extras=EXTRAS)
    yield found
    found.close()


def of_upstream(asked: Asked) -> bytes:
    return asked.id + b"\x81\x80\0\1\0\0\0\0\0\0" + asked.question


def expected(server: InProcess, message: bytes) -> bytes | None:
    """Return the reply that a UDP client gets, or the reply over a stream if that one is truncated."""
    reply = server.respond(message, tcp=False)
    if isinstance(reply, bytes) and reply[2] & TC >> 8:
        reply = server.respond(message, tcp=True)
    return of_upstream(reply) if isinstance(reply, Asked) else reply


def replies(stream: bytes) -> list[bytes]:
    """Return the messages of a stream, without their lengths."""
    found = []
    while stream:
        end = 2 + int.from_bytes(stream[:2])
        assert end <= len(stream)
        found.append(stream[2:end])
        stream = stream[end:]
    return found


class Client:
    """A client that sends messages in random segments, and then closes its side of the connection."""

    def __init__(self, transport: Transport, messages: list[bytes], chance: random.Random) -> None:
        self.transport = transport
        self.messages = messages
        stream = b"".join(len(each).to_bytes(2) + each for each in messages)
        stream += chance.choice((b"", b"", b"\0", b"\0\5abcd"))  # a part of a message may be left over
        self._segments = []
        while stream:
            size = chance.choice((1, 2, 3, 50, 500, 5000))
            self._segments.append(stream[:size])
            stream = stream[size:]
        self.has_ended = False

    def send(self) -> None:
        """Send the next segment, if the server reads."""
        if not self.transport.is_read or self.has_ended:
            return
        if self._segments:
            self.transport.connection.data_received(self._segments.pop(0))
        else:
            self.has_ended = True
            assert self.transport.connection.eof_received()


class Deferred:
    """Replies of upstreams. Some are there at once, as if they were cached, and others come later."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._waiting: list[tuple[Asked, Port, Any]] = []

    def defer(self, asked: Asked, port: Port, peer: Any, _came: float) -> None:
        if self._chance.randrange(2):
            port.reply_later(of_upstream(asked), peer)
        else:
            self._waiting.append((asked, port, peer))

    def reply(self) -> None:
        """Reply to one of the clients that wait, if there is one."""
        if self._waiting:
            asked, port, peer = self._waiting.pop(self._chance.randrange(len(self._waiting)))
            port.reply_later(of_upstream(asked), peer)


class Observed:
    """An observer of ports."""

    is_on = True

    def __init__(self) -> None:
        self.messages: dict[str, list[bytes]] = {ip: [] for ip in ADDRESSES}  # IP address -> messages from it

    def configure(self, config: Config) -> None:
        pass

    def answered(self, port: Port, messages: Sequence[bytes], _came: float, _spent_s: float) -> None:
        ips = [port.client_at(port.peer(place)).ip for place in range(len(messages))]
        assert port.sources(port.senders(len(messages))) == b"".join(map(socket.inet_aton, ips))
        for ip, message in zip(ips, messages, strict=True):
            self.messages[ip].append(message)

    def replied_later(self, port: Port, peer: Any, reply: bytes, *_facts: Any) -> None:
        pass


def some_messages(chance: random.Random) -> list[bytes]:
    found = chance.choices([*hostile_messages.queries(), LONG, LONG], k=chance.choice((1, 3, 100)))
    return [hostile_messages.mutated(each, chance) if chance.random() < 0.2 else each for each in found]


def test_replies_over_tcp_equal_those_over_udp_however_the_stream_is_cut(server: InProcess) -> None:
    for seed in range(RUNS):
        chance = random.Random(seed)
        loop, deferred, observed = Loop(), Deferred(chance), Observed()
        batch = Batch(server.reader, Log(), Meter(share(1)[0]))
        batch.responder.configure(offered=True, extras=EXTRAS)
        batch.defer = deferred.defer
        batch.observers.append(observed)
        connections = Connections(batch, loop)  # type: ignore[arg-type]  # the methods that it calls
        clients = [
            Client(Transport(chance.choice(ADDRESSES), connections.accept()), some_messages(chance), chance)
            for _ in range(chance.randrange(1, 8))
        ]
        for _ in range(MAX_STEPS):
            if all(client.transport.is_closing() for client in clients):
                break
            client = chance.choice(clients)
            match chance.randrange(4):
                case 0:
                    client.transport.read()
                case 1:
                    loop.turn()
                case 2:
                    deferred.reply()
                case _:
                    client.send()
        for client in clients:
            assert client.has_ended
            assert client.transport.is_closing(), seed
            wanted = [reply for each in client.messages if (reply := expected(server, each)) is not None]
            assert sorted(replies(bytes(client.transport.written))) == sorted(wanted), seed
        for ip in ADDRESSES:
            sent = [message for client in clients if client.transport.ip == ip for message in client.messages]
            assert sorted(observed.messages[ip]) == sorted(sent), seed
