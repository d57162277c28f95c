"""pydns derives answers from other answers. The tests check the number of upstream queries, and the cache."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pydns.config import model
from pydns.config.model import Config, Dns64Options, Families, FamilyOptions
from pydns.dns.reason import Ede
from tests.forwarding import errors, lines
from tests.serve.simulated import Worker

SOA = "example.com. 300 SOA ns.example.com. hostmaster.example.com. 7 7200 1800 86400 60"
ENTRIES: list[dict[str, Any]] = [
    {"ask": "www.example.com. A", "rcode": "NOERROR", "answer": ["www.example.com. 300 A 198.41.0.4"]},
    {"ask": "www.example.com. AAAA", "rcode": "NODATA"},
    {
        "ask": "alias.example.com. A",
        "rcode": "NOERROR",
        "answer": ["alias.example.com. 100 CNAME www.example.com.", "www.example.com. 300 A 198.41.0.4"],
    },
    {"ask": "nx.example.com. A", "rcode": "NXDOMAIN"},
    {"ask": "nx.example.com. AAAA", "rcode": "NXDOMAIN"},
    {
        "ask": "www.example.com. SVCB",
        "rcode": "NOERROR",
        "answer": ['www.example.com. 300 SVCB 1 . alpn="h2" ipv6hint="2001:db8::1"'],
    },
]
Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Worker] = []

    def begin(client: str = "192.0.2.53", **options: Any) -> Worker:
        config = Config(upstreams=(model.ServerSpec("192.0.2.1"),), **options)
        started.append(Worker(tmp_path, config, ENTRIES, SOA, client))
        return started[-1]

    yield begin
    for each in started:
        each.close()


@pytest.mark.parametrize("first", ["A", "AAAA"])
def test_questions_for_both_families_need_only_one_query(start: Start, first: str) -> None:
    worker = start(families=FamilyOptions(Families.IPV4))
    waiting = [worker.tell("www.example.com", rtype) for rtype in (first, "AAAA", "A")]
    assert not any(waiting)
    worker.deliver()
    assert worker.asked == ["www.example.com. a"]
    assert all(waiting)
    for _ in range(4):  # the answers come from the cache
        assert lines(worker.ask("www.example.com")) == ["www.example.com. 300 IN A 198.41.0.4"]
        reply = worker.ask("www.example.com", "AAAA", edns=0)
        assert (reply.rcode(), lines(reply), errors(reply)) == (0, [], [Ede.FILTERED])
        assert worker.ask("nx.example.com", "AAAA").rcode() == 3
    assert worker.asked == ["www.example.com. a", "nx.example.com. a"]


def test_a_derived_answer_expires_with_the_answer_that_it_comes_from(start: Start) -> None:
    worker = start(families=FamilyOptions(Families.IPV4), cache=model.CacheOptions(prefetch=False))
    for second in range(130):
        for qname in ("www.example.com", "WWW.Example.com"):
            reply = worker.ask(qname, "AAAA", edns=0)
            assert [(each.name.to_text(), each.ttl) for each in reply.authority] == [(f"{qname}.", 30)]
            assert errors(reply) == [Ede.FILTERED]
            assert not worker.ask(qname, "AAAA").options
            reply = worker.ask("alias.example.com", "AAAA", edns=0)
            assert lines(reply) == [f"alias.example.com. {100 - second % 100} IN CNAME www.example.com."]
            assert errors(reply) == [Ede.FILTERED]
            reply = worker.ask("nx.example.com", "AAAA", edns=0)
            assert (reply.rcode(), errors(reply), reply.authority[0].ttl) == (3, [], 60 - second % 60)
        worker.pass_time(1)
    # names that the upstream was asked for: at the start, after 60 s, after 100 s and after 120 s
    asked = ["www", "alias", "nx", "nx", "alias", "nx"]
    assert worker.asked == [f"{each}.example.com. a" for each in asked]


def test_no_answer_has_an_extended_error_if_they_are_off(start: Start) -> None:
    worker = start(families=FamilyOptions(Families.IPV4), edns=model.EdnsOptions(ede=False))
    for _ in range(4):  # from the second time on, the answer comes from the cache
        reply = worker.ask("www.example.com", "AAAA", edns=0)
        assert (reply.edns, lines(reply), errors(reply)) == (0, [], [])


def test_a_cached_answer_never_gets_address_hints(start: Start) -> None:
    worker = start(families=FamilyOptions(Families.IPV4))
    for _ in range(5):
        assert lines(worker.ask("www.example.com", "SVCB")) == ['www.example.com. 300 IN SVCB 1 . alpn="h2"']
    assert len(worker.asked) == 1


def test_mapped_addresses_are_derived_from_cached_answers(start: Start) -> None:
    worker = start("2001:db8::53", dns64=Dns64Options())
    for age in range(50):
        reply = worker.ask("www.example.com", "AAAA")
        assert lines(reply) == [f"www.example.com. {60 - age} IN AAAA 64:ff9b::c629:4"]
        worker.pass_time(1)
    assert worker.asked == ["www.example.com. aaaa", "www.example.com. a"]


@pytest.mark.parametrize(
    ("client", "ranges", "is_mapped"),
    [
        ("2001:db8::53", Dns64Options().clients, True),
        ("192.0.2.53", Dns64Options().clients, False),
        ("192.0.2.53", ("::/0", "0.0.0.0/0"), True),
        ("192.0.2.53", ("192.0.2.0/24",), True),
        ("2001:db8::53", ("192.0.2.0/24",), False),
    ],
)
def test_only_some_clients_get_mapped_addresses(
    start: Start, client: str, ranges: tuple[str, ...], is_mapped: bool
) -> None:
    worker = start(client, dns64=Dns64Options(clients=ranges))
    for _ in range(3):
        assert bool(worker.ask("www.example.com", "AAAA").answer) is is_mapped
        assert not worker.ask("nx.example.com", "AAAA").answer
