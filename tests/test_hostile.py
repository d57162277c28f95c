"""Arbitrary bytes cause no exception: the client gets a well-formed reply or none."""

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.serve.deferred import Asked
from tests.running import query
from tests.subject import PROBE_ID, InProcess, Server, load

_SEED = 20240229
_PACKETS = 200_000
_PARSED_EVERY = 20  # parse only some replies with dnspython: it takes 50 times as long as pydns
_NAMES = (
    "web.shop.svc.cluster.local", "none.shop.svc.cluster.local", "_http._tcp.web.shop.svc.cluster.local",
    "in.shop.svc.cluster.local", "out.shop.svc.cluster.local", "10-1-2-3.shop.pod.cluster.local",
    "10.0.96.10.in-addr.arpa", "cluster.local", "example.com", "ping.shop.svc.cluster.local",
)  # fmt: skip
_TYPES = (1, 2, 5, 6, 12, 16, 28, 33, 41, 65, 251, 252, 255)
_OPTS = (
    b"",
    bytes.fromhex("00 0029 04d0 00000000 0000"),
    bytes.fromhex("00 0029 0000 00008000 0000"),
    bytes.fromhex("00 0029 ffff 00008000 000c 000a 0008 0102030405060708"),
    bytes.fromhex("00 0029 04d0 00010000 0000"),
)
_MESSAGES = st.binary(max_size=600).filter(lambda message: message[:2] != PROBE_ID)


def _cluster() -> list[Any]:
    folder = Path(__file__).with_name("cases")
    return [
        each
        for file in ("services.yaml", "headless.yaml", "external-name.yaml")
        for each in yaml.safe_load((folder / file).read_text())["cluster"]
    ]


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    subject = InProcess(tmp_path_factory.mktemp("state"), load(_cluster()))
    yield subject
    subject.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    subject = Server(_cluster())
    yield subject
    subject.close()


def _queries() -> list[bytes]:
    found = []
    for qname_text in _NAMES:
        for qtype in _TYPES:
            for opt in _OPTS:
                message = query(qname_text, qtype)
                found.append(message[:11] + bytes([1 if opt else 0]) + message[12:] + opt)
    return found


def _mutate(message: bytes, chance: random.Random) -> bytes:
    octets = bytearray(message)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(octets)) if octets else 0
        match chance.randrange(6):
            case 0:
                octets[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                octets[at : at + 1] = bytes([(octets[at] if octets else 0) ^ 1 << chance.randrange(8)])
            case 2:
                del octets[at:]
            case 3:
                octets[at:at] = chance.randbytes(chance.randrange(1, 40))
            case 4:
                octets += octets[at : at + 300]
            case _:
                octets[at : at + 1] = bytes([chance.choice((0x00, 0x3F, 0x40, 0x80, 0xC0, 0xFF))])
    return bytes(octets)


def _check(message: bytes, reply: bytes | None, limit: int) -> None:
    if reply is None:
        assert len(message) < 12 or message[2] & 0x80
        return
    assert reply[:2] == message[:2]
    assert reply[2] & 0x80
    assert 12 <= len(reply) <= limit


def test_mutated_queries_get_no_reply_or_a_well_formed_one(in_process: InProcess) -> None:
    chance = random.Random(_SEED)
    valid = _queries()
    shapes = set()
    with in_process.reader.transaction() as transaction:
        for number in range(_PACKETS):
            message = _mutate(chance.choice(valid), chance)
            tcp = bool(number & 1)
            reply = in_process.responder.respond(message, transaction, in_process.tcp if tcp else in_process.udp)
            assert not isinstance(reply, Asked)
            _check(message, reply, 65535 if tcp else 1232)
            if reply is None:
                continue
            shape = reply[2:12], len(reply)
            if shape not in shapes or number % _PARSED_EVERY == 0:
                shapes.add(shape)
                dns.message.from_wire(reply)
    assert len(shapes) > 100  # fewer shapes would mean that the mutations change too little


@settings(max_examples=300, deadline=None)
@given(message=_MESSAGES)
def test_arbitrary_octets_over_udp_do_not_stop_the_server(server: Server, message: bytes) -> None:
    _check(message, server.ask(message, tcp=False), 1232)


@settings(max_examples=100, deadline=None)
@given(message=_MESSAGES)
def test_arbitrary_octets_in_a_tcp_frame_do_not_stop_the_server(server: Server, message: bytes) -> None:
    _check(message, server.ask(message, tcp=True), 65535)


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), max_size=20), before=st.integers(0, 3))
def test_messages_in_pieces_are_answered(server: Server, cuts: list[int], before: int) -> None:
    messages = [query("web.shop.svc.cluster.local", 1, number) for number in range(before + 1)]
    stream = b"".join(len(each).to_bytes(2) + each for each in messages)

    async def converse() -> list[bytes]:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
        rest = stream
        for cut in cuts:
            writer.write(rest[:cut])
            await writer.drain()
            rest = rest[cut:]
        writer.write(rest)
        replies = []
        for _ in messages:
            length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 10))
            replies.append(await asyncio.wait_for(reader.readexactly(length), 10))
        writer.close()
        await writer.wait_closed()
        return replies

    replies = asyncio.run(converse())
    assert [reply[:2] for reply in replies] == [message[:2] for message in messages]
    assert all(reply[-4:] == bytes([10, 96, 0, 10]) for reply in replies)
