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
from tests.hostile_messages import mutated, queries
from tests.running import query
from tests.subject import PROBE_ID, InProcess, Server, load

_SEED = 20240229
_PACKETS = 200_000
_PARSED_EVERY = 20  # parse only some replies with dnspython: it takes 50 times as long as pydns
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


def _check(message: bytes, reply: bytes | None, limit: int) -> None:
    if reply is None:
        assert len(message) < 12 or message[2] & 0x80
        return
    assert reply[:2] == message[:2]
    assert reply[2] & 0x80
    assert 12 <= len(reply) <= limit


def test_mutated_queries_get_no_reply_or_a_well_formed_one(in_process: InProcess) -> None:
    chance = random.Random(_SEED)
    valid = queries()
    shapes = set()
    with in_process.reader.transaction() as transaction:
        for number in range(_PACKETS):
            message = mutated(chance.choice(valid), chance)
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
    assert len(shapes) > 100  # with fewer shapes, the mutations would change too little


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
