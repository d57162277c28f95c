"""Equal replies to one network are limited, so that forged addresses gain nothing. Clients of TCP aren't limited."""

import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
import yaml

from pydns.serve.response_rate import ResponseRate
from tests import running
from tests.waiting import PATIENCE_S, until

A_REPLY = dns.message.from_text(
    "id 7\nopcode QUERY\nflags QR AA\n;QUESTION\na.example. IN A\n;ANSWER\na.example. 5 IN A 192.0.2.1"
)
OTHER = dns.message.from_text(
    "id 7\nopcode QUERY\nflags QR AA\n;QUESTION\nb.example. IN A\n;ANSWER\nb.example. 5 IN A 192.0.2.1"
)
CLIENT, NEIGHBOUR, STRANGER = (socket.inet_aton(each) for each in ("198.51.100.1", "198.51.100.99", "198.51.101.1"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rate(clock: Clock) -> ResponseRate:
    return ResponseRate(10, clock)


def denial(qname: str) -> bytes:
    header = f"id 7\nopcode QUERY\nrcode NXDOMAIN\nflags QR AA\n;QUESTION\n{qname} IN A\n"
    return dns.message.from_text(header + ";AUTHORITY\nexample. 5 IN SOA a. b. 1 2 3 4 5").to_wire()


def sent(rate: ResponseRate, replies: list[bytes], address: bytes = CLIENT) -> Counter[str]:
    """Return how many of the replies are sent whole, truncated, and not at all."""
    found: Counter[str] = Counter()
    for reply in replies:
        limited = rate.limit(reply, address)
        found["dropped" if limited is None else "whole" if limited == reply else "truncated"] += 1
    return found


def test_replies_of_a_second_are_sent_at_once_and_half_of_the_rest_is_truncated(rate: ResponseRate) -> None:
    assert sent(rate, [A_REPLY.to_wire()] * 30) == {"whole": 10, "truncated": 10, "dropped": 10}


def test_after_a_pause_a_network_gets_as_many_replies_as_the_rate_allows(rate: ResponseRate, clock: Clock) -> None:
    sent(rate, [A_REPLY.to_wire()] * 30)
    clock.now += 0.55
    assert sent(rate, [A_REPLY.to_wire()] * 30)["whole"] == 5
    clock.now += 100
    assert sent(rate, [A_REPLY.to_wire()] * 30)["whole"] == 10


def test_each_question_and_each_network_has_a_separate_limit(rate: ResponseRate) -> None:
    sent(rate, [A_REPLY.to_wire()] * 30)
    assert sent(rate, [OTHER.to_wire()])["whole"] == 1
    assert sent(rate, [A_REPLY.to_wire()], STRANGER)["whole"] == 1
    assert sent(rate, [A_REPLY.to_wire()], NEIGHBOUR)["whole"] == 0, "the same /24"


def test_ipv6_networks_are_56_bits_long(rate: ResponseRate) -> None:
    of = [
        socket.inet_pton(socket.AF_INET6, each)
        for each in ("2001:db8:0:100::1", "2001:db8:0:1ff::2", "2001:db8:0:200::1")
    ]
    sent(rate, [A_REPLY.to_wire()] * 30, of[0])
    assert [sent(rate, [A_REPLY.to_wire()], each)["whole"] for each in of] == [0, 0, 1]


def test_changing_the_case_of_the_question_does_not_avoid_the_limit(rate: ResponseRate) -> None:
    wire = A_REPLY.to_wire()
    replies = [wire.replace(b"\1a", b"\1A"), wire] * 15
    assert sent(rate, replies)["whole"] == 10


def test_denials_of_random_names_share_one_limit(rate: ResponseRate) -> None:
    assert sent(rate, [denial(f"{number}.example.") for number in range(30)])["whole"] == 10


@pytest.mark.parametrize("errors", [None, [], [dns.edns.EDEOption(dns.edns.EDECode.NOT_READY)]])
def test_a_truncated_reply_has_the_question_and_no_records(
    rate: ResponseRate, errors: list[dns.edns.Option] | None
) -> None:
    reply = dns.message.from_text(A_REPLY.to_text())
    if errors is not None:
        reply.use_edns(0, 0, 1232, options=errors)
    wire = reply.to_wire()
    replies = [rate.limit(wire, CLIENT) for _ in range(12)]
    (truncated,) = [dns.message.from_wire(each) for each in replies if each is not None and each != wire]
    assert truncated.flags & dns.flags.TC
    assert truncated.id == reply.id
    assert truncated.question == reply.question
    assert truncated.edns == (-1 if errors is None else 0)
    assert list(truncated.options) == (errors or [])
    assert not (truncated.answer or truncated.authority or truncated.additional)


def test_a_refusal_with_an_extended_error_can_be_truncated(rate: ResponseRate) -> None:
    refused = dns.message.make_response(dns.message.make_query("a.example", "A", use_edns=0))
    refused.set_rcode(dns.rcode.REFUSED)
    refused.use_edns(0, 0, 1232, options=[dns.edns.EDEOption(dns.edns.EDECode.NOT_AUTHORITATIVE)])
    replies = [rate.limit(refused.to_wire(), CLIENT) for _ in range(12)]
    (truncated,) = [each for each in replies if each is not None and each != refused.to_wire()]
    assert dns.message.from_wire(truncated).flags & dns.flags.TC


def test_any_number_of_networks_takes_the_same_memory(rate: ResponseRate) -> None:
    before = len(rate._paid_until)
    for number in range(20_000):
        rate.limit(A_REPLY.to_wire(), number.to_bytes(3) + b"\1")
    assert len(rate._paid_until) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "web.yaml").write_text(running.SERVICE.format(name="web", address="10.96.0.7"))
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[running.Server]:
    configure(folder, {"responses_per_second": 5})
    source = ["--manifests", str(folder / "manifests"), "--config", str(folder / "config.yaml")]
    flags = [*running.PROBED, "--metrics", "127.0.0.1:0"]
    server = running.Server(source, folder / "state", flags=flags)
    yield server
    server.end()


def configure(folder: Path, config: dict[str, object]) -> None:
    (folder / "new.yaml").write_text(yaml.safe_dump(config))
    (folder / "new.yaml").rename(folder / "config.yaml")


def burst(server: running.Server, queries: int) -> list[bytes]:
    """Return the replies to equal queries that are sent at once."""
    replies: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", server.port))
        sock.settimeout(1)
        for number in range(queries):
            sock.send(running.query(running.WEB, message_id=number))
        try:
            while len(replies) < queries:
                replies.append(sock.recv(4096))
        except TimeoutError:
            return replies
    return replies


@pytest.mark.processes
def test_a_server_limits_only_udp_and_the_limit_can_be_removed_at_run_time(
    server: running.Server, folder: Path
) -> None:
    began = time.monotonic()
    replies = burst(server, 60)
    whole = [each for each in replies if each[6:8] == b"\0\1"]
    assert 1 <= len(whole) <= 5 + 5 * (time.monotonic() - began)
    assert len(replies) < 60
    assert {each[2] & 2 for each in replies} == {0, 2}, "some replies are truncated"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
            query = running.query(running.WEB)
            connection.sendall(len(query).to_bytes(2) + query)
            stream = connection.makefile("rb")
            reply = stream.read(int.from_bytes(stream.read(2)))
            assert running.answer(reply) == "10.96.0.7"
    configure(folder, {"responses_per_second": 0})
    until(lambda: len(burst(server, 30)) == 30, PATIENCE_S)
