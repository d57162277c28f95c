"""dnstap: what a collector gets, and that no client waits for a collector."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pydns.config.model import Collector as Target
from pydns.config.model import Config, DnstapOptions
from pydns.dns.dnstap import BadFrame, Control, controls
from tests.fakes.collector import CONTENT_TYPE, Collector
from tests.forwarding import Fake, Start, ask
from tests.running import query
from tests.waiting import until

LOOPBACK = bytes([127, 0, 0, 1])
OURS, FORWARDED = "web.shop.svc.cluster.local.", "www.example.com."


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    started: list[Collector] = []

    def begin(path: Path | None = tmp_path / "tap", **how: Any) -> Collector:
        started.append(Collector(path, **how))
        return started[-1]

    yield begin
    for each in started:
        each.close()


Collect = Callable[..., Collector]


def config(fake: Fake, collector: Collector, **options: Any) -> dict[str, Any]:
    upstream = fake()
    return {"upstreams": [f"127.0.0.1:{upstream.port}"], "dnstap": {"to": collector.to, **options}}


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("path", [Path("tap"), None])
def test_a_collector_gets_both_sides_of_a_forwarded_query(
    tcp: bool, path: Path | None, collect: Collect, fake: Fake, start: Start, tmp_path: Path
) -> None:
    collector = collect(path and tmp_path / path)
    server = start(config(fake, collector, identity="dns-1"))
    question = query(FORWARDED)[12:]
    ask_until_collected(server, collector, tcp=tcp)
    reply = ask(server, query(FORWARDED, message_id=7), tcp=tcp)
    wanted = ["CLIENT_QUERY", "CLIENT_RESPONSE", "FORWARDER_QUERY", "FORWARDER_RESPONSE"]
    until(lambda: set(wanted) <= set(collector.kinds(question)), found=lambda: collector.messages)
    assert collector.identities == {b"dns-1"}
    answered = [each for each in collector.messages if each.response_message == reply]
    assert len(answered) == 1
    (found,) = answered
    assert found.query_address == LOOPBACK
    assert found.socket_protocol == (2 if tcp else 1)
    assert (found.query_time_sec, found.query_time_nsec) <= (found.response_time_sec, found.response_time_nsec)
    sent = next(each for each in collector.messages if each.type == 7 and question in each.query_message.lower())
    assert sent.socket_protocol == 1
    assert sent.response_address == LOOPBACK
    assert sent.query_port != found.query_port  # the query was sent from a socket of pydns, not from the client's


def ask_until_collected(server: Any, collector: Collector, *, tcp: bool = False) -> None:
    """Send queries until the stream to the collector is open."""

    def is_collected() -> bool:
        ask(server, query(OURS), tcp=tcp)
        return bool(collector.messages)

    until(is_collected)


def test_a_query_and_its_reply_are_both_sent_or_both_left_out(collect: Collect, fake: Fake, start: Start) -> None:
    collector = collect()
    server = start(config(fake, collector, share=0.25, messages=["client"]))
    ids = [number << 8 for number in range(256)]

    def is_collected() -> bool:
        for each in ids:
            ask(server, query(OURS, message_id=each), tcp=False)
        return bool(collector.messages)

    until(is_collected)
    collector.messages.clear()
    is_collected()
    until(lambda: len(collector.messages) >= 128)
    queried = {each.query_message[:2] for each in collector.messages if each.query_message}
    replied = {each.response_message[:2] for each in collector.messages if each.response_message}
    assert queried == replied == {struct.pack(">H", each) for each in ids if each < 1 << 14}


def test_messages_can_be_left_out(collect: Collect, fake: Fake, start: Start) -> None:
    collector = collect()
    server = start(config(fake, collector, full=False, messages=["forwarder"]))

    def is_collected() -> bool:
        ask(server, query(f"n{len(collector.messages)}-{next(numbers)}.example.com."), tcp=False)
        return bool(collector.messages)

    numbers = iter(range(100_000))
    until(is_collected)
    assert {each.type for each in collector.messages} <= {7, 8}
    assert not any(each.query_message or each.response_message for each in collector.messages)


def test_a_collector_may_start_late_and_restart(collect: Collect, fake: Fake, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "tap"
    first = collect(path)
    chosen = config(fake, first)
    first.close()
    path.unlink()
    server = start(chosen)
    assert ask(server, query(OURS), tcp=False)
    second = collect(path)
    ask_until_collected(server, second)
    second.close()
    path.unlink()
    assert ask(server, query(OURS), tcp=False)
    third = collect(path)
    ask_until_collected(server, third)
    log = server.stop()
    assert f'event="collector lost" to=unix://{path}' in log
    assert f'event="collector connected" to=unix://{path}' in log
    assert first.controls == []
    until(lambda: third.controls[-1] == 3)  # the frame STOP shows that the last messages are complete


def test_no_client_waits_for_a_collector_that_stops_reading(collect: Collect, fake: Fake, start: Start) -> None:
    collector = collect(reads=False)
    server = start(config(fake, collector))
    until(lambda: 2 in collector.controls)  # START
    for _ in range(5000):  # more octets than the socket and the buffer can hold
        assert ask(server, query(OURS), tcp=False)


def test_a_collector_for_another_content_gets_nothing(collect: Collect, fake: Fake, start: Start) -> None:
    collector = collect(accepts=b"protobuf:other")
    server = start(config(fake, collector))
    until(lambda: 4 in collector.controls)  # READY
    assert ask(server, query(OURS), tcp=False)
    log = server.stop()
    assert f"it doesn't accept {CONTENT_TYPE.decode()}" in log
    assert 2 not in collector.controls  # START


ACCEPT = b"\0\0\0\0" + (34).to_bytes(4) + b"\0\0\0\1" + b"\0\0\0\1" + (22).to_bytes(4) + CONTENT_TYPE


def test_control_frames_come_in_pieces() -> None:
    received = bytearray()
    found: list[Control] = []
    for octet in ACCEPT + b"\0\0\0\0\0\0\0\4\0\0\0\5":
        received.append(octet)
        found += controls(received)
    assert found == [Control.ACCEPT, Control.FINISH]


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\1x\0\0\0\0",
        b"\0\0\0\0\xff\xff\xff\xff",
        b"\0\0\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\0\4\0\0\0\2",
        ACCEPT.replace(b"dnstap", b"dnstup"),
        ACCEPT.replace((22).to_bytes(4), (9).to_bytes(4)),
    ],
)
def test_other_octets_of_a_collector_are_refused(sent: bytes) -> None:
    with pytest.raises(BadFrame):
        list(controls(bytearray(sent)))


def test_configurations_with_a_collector_are_equal_if_nothing_differs() -> None:
    to = Target("tcp://10.0.0.1:6000", ip="10.0.0.1", port=6000)
    assert Config(dnstap=DnstapOptions(to)) == Config(dnstap=DnstapOptions(to, share=1.0))
