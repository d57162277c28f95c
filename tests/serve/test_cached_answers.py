"""Cached answers of upstreams as time passes: TTLs, refreshing, denials, flags. The test sets the clock."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import pytest

from pydns.config import model
from pydns.config.model import Config
from tests.forwarding import lines
from tests.serve.simulated import Worker

SOA = "example.com. 300 SOA ns.example.com. hostmaster.example.com. 7 7200 1800 86400 60"
ENTRIES: list[dict[str, Any]] = [
    {"ask": "www.example.com. A", "rcode": "NOERROR", "answer": ["www.example.com. 10 A 192.0.2.1"]},
    {
        "ask": "mixed.example.com. A",
        "rcode": "NOERROR",
        "answer": ["mixed.example.com. 100 CNAME www.example.com.", "www.example.com. 10 A 192.0.2.1"],
    },
    {
        "ask": "few.example.com. A",
        "rcode": "NOERROR",
        "answer": [f"few.example.com. 100 A 192.0.2.{number}" for number in (1, 2, 3)],
    },
    {
        "ask": "alias.example.com. A",
        "rcode": "NOERROR",
        "answer": ["alias.example.com. 100 CNAME few.example.com."]
        + [f"few.example.com. 100 A 192.0.2.{number}" for number in (1, 2, 3)],
    },
    {
        "ask": "_a.example.com. SRV",
        "rcode": "NOERROR",
        "answer": [f"_a.example.com. 100 SRV 0 0 80 {host}.example.com." for host in ("a", "bb", "ccc")],
    },
    {"ask": "once.example.com. A", "rcode": "NOERROR", "answer": ["once.example.com. 0 A 192.0.2.1"]},
    {"ask": "nx.example.com. A", "rcode": "NXDOMAIN"},
    {"ask": "www.example.com. AAAA", "rcode": "NODATA"},
    {"ask": "bare.example.com. A", "rcode": "NXDOMAIN", "authority": []},
    {"ask": "fails.example.com. A", "rcode": "SERVFAIL"},
    {"ask": "bits.example.com. A", "rcode": "NOERROR", "answer": ["bits.example.com. 60 A 192.0.2.1"]},
    {"ask": "bits.example.com. A", "do": True, "rcode": "NOERROR", "answer": ["bits.example.com. 60 A 192.0.2.2"]},
    {"ask": "bits.example.com. A", "cd": True, "rcode": "NOERROR", "answer": ["bits.example.com. 60 A 192.0.2.3"]},
    {
        "ask": "bits.example.com. A",
        "do": True,
        "cd": True,
        "rcode": "NOERROR",
        "answer": ["bits.example.com. 60 A 192.0.2.4"],
    },
]


Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Worker] = []

    def begin(**cache: Any) -> Worker:
        config = Config(upstreams=(model.ServerSpec("192.0.2.53"),), cache=model.CacheOptions(**cache))
        started.append(Worker(tmp_path, config, ENTRIES, SOA))
        return started[-1]

    yield begin
    for each in started:
        each.close()


def test_ttls_count_down_by_the_second_until_the_answer_expires(start: Start) -> None:
    worker = start(prefetch=False)
    began = worker.now
    for _ in range(60):
        age = int(worker.now - began) % 10
        assert lines(worker.ask("www.example.com")) == [f"www.example.com. {10 - age} IN A 192.0.2.1"]
        assert lines(worker.ask("mixed.example.com")) == [
            f"mixed.example.com. {100 - age} IN CNAME www.example.com.",
            f"www.example.com. {10 - age} IN A 192.0.2.1",
        ]
        worker.pass_time(0.5)
    assert worker.asked.count("www.example.com. a") == worker.asked.count("mixed.example.com. a") == 3


def test_only_a_popular_name_is_fetched_before_it_expires(start: Start) -> None:
    worker = start()
    worker.ask("www.example.com")
    worker.ask("mixed.example.com")
    for half_second in range(100):
        worker.pass_time(0.5)
        if half_second == 18:  # a single query, half a second before the answer expires
            worker.ask("mixed.example.com")
        (reply,) = worker.tell("www.example.com")
        assert 1 <= dns.message.from_wire(reply).answer[0].ttl <= 10
        worker.deliver()
    assert worker.asked == ["www.example.com. a", "mixed.example.com. a", *["www.example.com. a"] * 5]


@pytest.mark.parametrize(
    ("qname", "rtype", "kept_s"),
    [
        ("nx.example.com", "A", 60),  # the minimum field of the SOA, which is below the TTL of the SOA
        ("www.example.com", "AAAA", 60),
        ("bare.example.com", "A", 0),  # a denial without an SOA record isn't cached: RFC 2308 section 5
        ("once.example.com", "A", 0),
        ("fails.example.com", "A", 5),
    ],
)
def test_the_cache_answers_until_a_denial_or_failure_expires(start: Start, qname: str, rtype: str, kept_s: int) -> None:
    worker = start(prefetch=False)
    replies = []
    for second in range(2 * kept_s + 2):
        reply = worker.ask(qname, rtype)
        replies.append((reply.rcode(), len(reply.answer)))
        assert len(worker.asked) == 1 + (second // kept_s if kept_s else second)
        assert [rrset.ttl for rrset in reply.authority] in ([], [60 - second % 60])
        worker.pass_time(1)
    assert len(set(replies)) == 1


def test_queries_with_do_or_cd_have_separate_cache_entries(start: Start) -> None:
    worker = start()
    flags = [(False, False), (True, False), (False, True), (True, True)]
    for _ in range(3):
        said = [lines(worker.ask("bits.example.com", do=do, cd=cd))[0].split()[-1] for do, cd in flags]
        assert said == ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    assert len(worker.asked) == 4


@pytest.mark.parametrize(
    ("qname", "rtype"), [("few.example.com", "A"), ("alias.example.com", "A"), ("_a.example.com", "SRV")]
)
def test_successive_replies_from_the_cache_begin_with_different_addresses(start: Start, qname: str, rtype: str) -> None:
    worker = start()
    worker.tell(qname, rtype)
    worker.deliver()
    for _ in range(4):  # the first answers come from the cache, and the later ones are precompiled
        worker.pass_time(1.1)
        firsts = []
        for _ in range(6):
            found = lines(worker.ask(qname, rtype))
            firsts.append(next(line for line in found if f" {rtype} " in line))
            assert len(found) == len(set(found)) == (4 if "alias" in qname else 3)
        assert all(len(set(firsts[at : at + 3])) == 3 for at in range(4))
    assert len(worker.asked) == 1


def test_a_cached_answer_repeats_the_spelling_of_each_client(start: Start) -> None:
    worker = start()
    worker.tell("few.example.com")
    worker.deliver()
    for qname in ("FEW.example.com", "few.EXAMPLE.com", "few.example.COM"):
        assert str(worker.ask(qname).answer[0].name) == f"{qname}."
