"""The answers that clients get while upstreams work, fail, and are attacked."""

import gc
import struct
from typing import NamedTuple

import pytest

from pydns.config.model import CacheOptions, Choice, Edns, Outcome, StaleMode, Transport
from pydns.config.model import Case as Case_
from pydns.dns import name
from pydns.dns.message import Rcode
from pydns.dns.reason import Reason
from pydns.dns.response import Unusable
from pydns.upstream.forwarder import (
    Event,
    ForwarderLimits,
)
from pydns.upstream.key import ASK_CD, ASK_DO
from pydns.upstream.packet import STREAM
from pydns.upstream.pool import CASE_DENIALS, Pool, UpstreamSpec
from pydns.upstream.routes import Routes, RouteSpec
from tests.upstream.world import START, Server, World, question, reply_to, ttls


class Case(NamedTuple):
    """One question to scripted servers, asked in order: the client's answer, its delay, and the packets sent."""

    about: str
    servers: list[Server]
    rcode: int
    within_s: float
    packets: list[int]  # how many packets each server gets
    extended_error: Reason | int | None = None


def long_chain(reply: bytes) -> bytes:
    """Return a reply with a chain of CNAMEs that is longer than pydns follows."""
    names = [name.from_text(f"c{number}.example") for number in range(18)]
    start = reply.index(b"\0", 12) + 5
    chain = zip([reply[12 : start - 4], *names], names, strict=False)
    records = b"".join([a + struct.pack("!HHIH", 5, 1, 300, len(b)) + b for a, b in chain])
    return reply[:6] + struct.pack("!3H", len(names), 0, 0) + reply[12:start] + records


GOOD, SILENT = Server(), Server(silent=True)
FAILS, REFUSES = Server(rcode=Rcode.SERVFAIL), Server(rcode=Rcode.REFUSED)
CASES = [
    Case("a good server answers", [GOOD, GOOD], Rcode.NOERROR, 0.01, [1, 0]),
    Case("NXDOMAIN is an answer", [Server(rcode=Rcode.NXDOMAIN), GOOD], Rcode.NXDOMAIN, 0.01, [1, 0]),
    Case("SERVFAIL goes to the next at once", [FAILS, GOOD], Rcode.NOERROR, 0.01, [1, 1]),
    Case("REFUSED goes to the next at once", [REFUSES, GOOD], Rcode.NOERROR, 0.01, [1, 1]),
    Case("FORMERR goes to the next after a try without EDNS", [Server(rcode=1), GOOD], Rcode.NOERROR, 0.01, [2, 1]),
    Case("a server without EDNS is asked without", [Server(knows_edns=False)], Rcode.NOERROR, 0.01, [2]),
    Case(
        "what can't be sent goes to the next at once", [Server(refuses_packets=True), GOOD], Rcode.NOERROR, 0.01, [1, 1]
    ),
    Case("silence goes to the next after its timeout", [SILENT, GOOD], Rcode.NOERROR, 0.95, [1, 1]),
    Case("a lost packet is repeated", [Server(lost=1)], Rcode.NOERROR, 0.95, [2]),
    Case("two lost packets are repeated", [Server(lost=2)], Rcode.NOERROR, 1.9, [3]),
    Case("a slow reply counts after its timeout", [Server(delay_s=2.5)], Rcode.NOERROR, 2.51, [3]),
    Case("a slow reply counts while another is asked", [Server(delay_s=1.5), SILENT], Rcode.NOERROR, 1.51, [1, 1]),
    Case("too slow is too late", [Server(delay_s=4.5)], Rcode.SERVFAIL, 4.02, [5], Reason.UPSTREAM_TIMEOUT),
    Case("all silent", [SILENT, SILENT], Rcode.SERVFAIL, 4.02, [3, 2], Reason.UPSTREAM_TIMEOUT),
    Case("all fail", [FAILS, FAILS], Rcode.SERVFAIL, 0.01, [1, 1], Reason.UPSTREAM_ERROR),
    Case("all refuse", [REFUSES, REFUSES], Rcode.REFUSED, 0.01, [1, 1], Reason.UPSTREAM_ERROR),
    Case("other errors become SERVFAIL", [Server(rcode=9)], Rcode.SERVFAIL, 0.01, [1], Reason.UPSTREAM_ERROR),
    Case("no network", [Server(refuses_packets=True)] * 2, Rcode.SERVFAIL, 0.01, [1, 1], Reason.UPSTREAM_UNREACHABLE),
    Case(
        "the silent one gets another chance when the other fails", [Server(lost=1), FAILS], Rcode.NOERROR, 0.95, [2, 1]
    ),
    Case("who has failed is not asked again", [FAILS, Server(lost=1)], Rcode.NOERROR, 0.95, [1, 2]),
    Case("truncated answers are fetched over TCP", [Server(truncates=True)], Rcode.NOERROR, 0.01, [2]),
    Case("a server without case is asked without random case", [Server(keeps_case=False)], Rcode.NOERROR, 0.01, [2]),
    Case(
        "a reply that can't be used is an answer: another server is asked at once",
        [Server(forges=lambda p: p[:-1]), GOOD],
        Rcode.NOERROR,
        0.02,
        [1, 1],
    ),
    Case(
        "another server is asked once",
        [Server(forges=lambda p: p[:-1])] * 3,
        Rcode.SERVFAIL,
        0.02,
        [1, 1, 0],
        Reason.UPSTREAM_REPLY,
    ),
    Case(
        "without another the client has its answer at once",
        [Server(forges=long_chain)],
        Rcode.SERVFAIL,
        0.02,
        [1],
        Reason.UPSTREAM_REPLY,
    ),
    Case(
        "another id is ignored", [Server(forges=lambda p: bytes([p[0] ^ 1]) + p[1:]), GOOD], Rcode.NOERROR, 0.95, [1, 1]
    ),
    Case(
        "another question is ignored",
        [Server(forges=lambda p: p[:13] + b"x" + p[14:]), GOOD],
        Rcode.NOERROR,
        0.95,
        [1, 1],
    ),
    Case("a query is no reply", [Server(forges=lambda p: p[:2] + b"\1\0" + p[4:]), GOOD], Rcode.NOERROR, 0.95, [1, 1]),
    Case("a few octets are no reply", [Server(forges=lambda p: p[:11]), GOOD], Rcode.NOERROR, 0.95, [1, 1]),
    Case("octets after the end are ignored", [Server(forges=lambda p: p + b"!!")], Rcode.NOERROR, 0.01, [1]),
    Case(
        "a datagram beyond what was offered is fetched over TCP",
        [Server(forges=lambda p: (p + bytes(2048))[:2048].replace(p[6:8], b"\0\xff", 1))],
        Rcode.NOERROR,
        0.01,
        [2],
    ),
    Case(
        "a bare SERVFAIL goes to the next at once",
        [Server(forges=lambda p: p[:2] + b"\x81\x82" + bytes(8)), GOOD],
        Rcode.NOERROR,
        0.01,
        [1, 1],
    ),
    Case(
        "a truncated answer is better than none where TCP is dead",
        [Server(forges=lambda p: p[:2] + bytes([p[2] | 2]) + p[3:], has_tcp=False)],
        Rcode.NOERROR,
        0.01,
        [2],
    ),
    Case("a server that drops EDNS is asked without", [Server(drops_edns=True)], Rcode.NOERROR, 3.9, [5]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_a_client_gets_the_answer_of_its_case(case: Case) -> None:
    # Hedging is off in this test, because other tests cover it.
    world = World(case.servers, limits=ForwarderLimits(hedge_share=0))
    client = world.ask("Www.Example")
    world.run(6)
    at, answer = world.replies[client]
    assert (answer.rcode, answer.extended_error) == (case.rcode, case.extended_error)
    assert at - START <= case.within_s
    assert [world.asked(server) for server in range(len(case.servers))] == case.packets
    assert not world.forwarder.busy and world.forwarder.waiting == 0


def test_the_upstream_gets_a_plain_query_with_the_clients_flags() -> None:
    for flags, header, opt in ((0, b"\1\0", b"\0\0"), (ASK_DO, b"\1\0", b"\x80\0"), (ASK_CD, b"\1\x10", b"\0\0")):
        world = World([GOOD])
        world.ask("www.example", flags=flags)
        packet = world.packets[0][3]
        assert packet[2:12] == header + b"\0\1\0\0\0\0\0\1"
        assert packet[12:29].lower() == question("www.example")
        assert packet[29:] == b"\0\0\x29\4\xd0\0\0" + opt + b"\0\0"


def test_queries_with_different_flags_have_separate_cached_answers() -> None:
    world = World([GOOD])
    for flags in range(4):
        world.ask("www.example", flags, flags=flags)
    world.run(1)
    assert len(world.packets) == 4 and len(world.replies) == 4


def test_queries_use_many_ids_sockets_and_spellings() -> None:
    world = World([GOOD])
    for i in range(300):
        world.ask(f"abcdefghijkl{i}.example")
        world.run(0.0015)
    assert len({packet[:2] for _, _, _, packet in world.packets}) > 280
    assert len({socket for _, _, socket, _ in world.packets}) == 32
    assert len({packet[13:25] for _, _, _, packet in world.packets}) > 280


def test_packets_of_one_millisecond_share_a_socket_but_differ_in_id_and_case() -> None:
    world = World([GOOD])
    for i in range(300):
        world.ask(f"abcdefghijkl{i}.example")
    assert len({packet[:2] for _, _, _, packet in world.packets}) == 300
    assert len({socket for _, _, socket, _ in world.packets}) == 1
    assert len({packet[13:25] for _, _, _, packet in world.packets}) > 280


def test_equal_questions_are_sent_to_the_upstream_once() -> None:
    world = World([GOOD])
    for client in range(50):
        world.ask("www.example" if client % 2 else "WWW.example", client)
    world.run(1)
    assert world.asked(0) == 1 and len(world.replies) == 50


def test_answers_come_from_the_cache_with_their_ttl_counted_down() -> None:
    world = World([Server(ttl_s=30)])
    assert ttls(world.told("www.example")) == [30]
    world.run(5.5)
    assert ttls(world.told("wWw.eXample")) == [20]
    assert world.asked(0) == 1
    world.run(15)
    assert ttls(world.told("www.example")) == [30]
    assert world.asked(0) == 2


def test_a_popular_name_is_fetched_again_before_it_expires() -> None:
    world = World([Server(ttl_s=100)])
    world.ask("often.example")
    world.ask("seldom.example")
    world.run(1)
    for _ in range(3):
        world.ask("often.example", object())
    world.run(92)
    for _ in range(5):
        world.ask("often.example", object())
    world.ask("seldom.example", object())
    world.run(1)
    assert world.asked(0) == 3 and world.forwarder.counters.refreshes == 1
    world.run(50)
    assert ttls(world.told("often.example")) == [50]


def test_known_names_are_answered_while_all_servers_are_down() -> None:
    world = World([Server(ttl_s=5), Server(ttl_s=5)])
    for i in range(20):
        world.told(f"n{i}.example")
    world.servers = [SILENT, SILENT]
    world.run(60)
    for i in range(20):
        answer = world.told(f"n{i}.example")
        assert (answer.rcode, answer.extended_error, ttls(answer)) == (Rcode.NOERROR, Reason.STALE, [30])
    # Clients no longer wait for the servers after all servers are known to be silent.
    client = world.ask("n0.example", object())
    assert world.replies[client][0] == world.now


def test_a_stale_answer_replaces_servfail_but_not_nxdomain() -> None:
    world = World([Server(ttl_s=5)])
    world.told("www.example")
    world.run(1)
    world.servers = [FAILS]
    assert world.told("www.example").extended_error == Reason.STALE
    world.run(6)
    world.servers = [Server(rcode=Rcode.NXDOMAIN)]
    assert world.told("www.example").rcode == Rcode.NXDOMAIN
    world.servers = [SILENT]
    world.run(120)
    assert world.told("www.example").rcode == Rcode.NXDOMAIN


def test_stale_answers_end_after_an_hour() -> None:
    world = World([Server(ttl_s=5)])
    world.told("www.example")
    world.servers = [SILENT]
    world.run(3590)
    assert world.told("www.example").extended_error == Reason.STALE
    world.run(20)
    assert world.told("www.example").extended_error == Reason.UPSTREAM_TIMEOUT


def test_a_client_waits_for_one_round_of_timeouts_before_it_gets_a_stale_answer() -> None:
    world = World([Server(ttl_s=5), Server(ttl_s=5)])
    world.told("www.example")
    world.run(1)
    world.servers = [SILENT, SILENT]
    client = world.ask("www.example", object())
    world.run(0.3)
    assert client not in world.replies
    world.run(1.5)
    assert world.replies[client][1].extended_error == Reason.STALE
    late = world.ask("www.example", object())
    assert world.replies[late][1].extended_error == Reason.STALE


def test_pydns_remembers_a_failure_for_five_seconds() -> None:
    world = World([FAILS])
    world.ask("www.example", 1)
    world.run(4)
    world.ask("www.example", 2)
    world.run(0.5)
    assert world.asked(0) == 1 and world.replies[2][1].rcode == Rcode.SERVFAIL
    world.servers = [GOOD]
    world.run(1)
    assert world.told("www.example").rcode == Rcode.NOERROR


def test_a_second_server_is_asked_when_the_first_is_slower_than_usual() -> None:
    world = World([GOOD, Server(delay_s=0.005)])
    world.learn()
    world.servers[0] = SILENT
    client = world.ask("www.example")
    world.run(1)
    assert world.replies[client][0] - START - 500 < 0.03
    assert world.forwarder.counters.hedges == 1


@pytest.mark.parametrize("choice", list(Choice))
def test_questions_fail_at_once_until_the_servers_of_their_route_are_resolved(choice: Choice) -> None:
    world = World([GOOD], pools=[[]], choice=choice)
    for i in range(100):
        client = world.ask("www.example", i)
        assert world.replies[client][1].rcode == Rcode.SERVFAIL
    assert world.forwarder.waiting == 0
    pools = [Pool(world.upstreams, choice)]
    world.forwarder.configure(Routes([RouteSpec(b"\0", 0)]), pools, ForwarderLimits(), CacheOptions(), world.now)
    assert world.told("www.example").rcode == Rcode.NOERROR


def test_even_the_first_question_does_not_wait_for_a_dead_server() -> None:
    world = World([SILENT, GOOD])
    client = world.ask("www.example")
    world.run(1)
    assert world.replies[client][0] - START < 0.32


def test_a_bug_loses_one_question_but_not_later_ones_for_its_name() -> None:
    world = World([Server(forges=lambda reply: reply[: 1 // 0])])
    with pytest.raises(ZeroDivisionError):
        world.ask("www.example")
    joined = world.ask("www.example", "joined")
    world.servers[0] = GOOD
    world.run(6)
    assert world.told("www.example").rcode == Rcode.NOERROR
    assert world.replies[joined][1].rcode == Rcode.SERVFAIL
    assert world.forwarder.waiting == 0


def test_a_burst_gets_only_as_many_hedges_as_its_credit_allows() -> None:
    world = World([GOOD, GOOD])
    world.learn()
    world.servers[0] = Server(delay_s=0.2)
    for i in range(300):
        world.ask(f"m{i}.example")
    world.servers[0] = GOOD  # later queries are answered soon, so the server is slow and not dead
    for i in range(30):
        world.ask(f"o{i}.example")
        world.run(0.003)
    assert 10 <= world.forwarder.counters.hedges <= 13
    assert world.forwarder.counters.avoided == 0


@pytest.mark.parametrize("choice", [Choice.IN_ORDER, Choice.FASTEST, Choice.ROUND_ROBIN])
def test_no_client_waits_for_a_server_that_has_gone_silent(choice: Choice) -> None:
    world = World([GOOD, GOOD], choice=choice)
    world.learn()
    world.servers[0] = SILENT
    before, began = world.asked(0), {}
    for i in range(1000):
        began[world.ask(f"m{i}.example")] = world.now
        world.run(0.001)
    world.run(0.1)
    assert max(world.replies[client][0] - at for client, at in began.items()) < 0.03
    assert world.asked(0) - before < 20


def test_any_reply_ends_the_silence_of_a_server() -> None:
    world = World([GOOD, GOOD])
    world.learn()
    world.servers[0] = Server(delay_s=0.1)
    for i in range(50):
        world.ask(f"m{i}.example")
        world.run(0.001)
    world.run(0.1)
    world.servers[0] = GOOD
    before = world.asked(0)
    world.ask("www.example")
    assert world.asked(0) == before + 1


def test_no_hedge_is_sent_to_a_silent_server() -> None:
    world = World([GOOD, SILENT])
    world.upstreams[1].open(START, 30.0)
    for i in range(30):
        world.ask(f"n{i}.example")
        world.run(0.1)
    world.servers[0] = Server(delay_s=0.2)
    world.told("www.example")
    assert world.asked(1) == world.forwarder.counters.hedges == 0


def test_hedges_are_a_tenth_of_the_questions_at_most() -> None:
    world = World([GOOD, GOOD])
    world.learn()
    world.servers[0] = Server(delay_s=0.2)  # the server is slower than usual, but doesn't fail
    for i in range(300):
        world.ask(f"m{i}.example")
        world.run(0.05)
    assert 10 <= world.forwarder.counters.hedges <= 40


def test_a_dead_server_is_avoided_probed_and_used_again() -> None:
    world = World([SILENT, GOOD])
    world.told("first.example")
    assert (Event.OPENED, "server0") in world.notices
    before, probes_before = world.asked(0), world.probes(0)
    for i in range(100):
        client = world.ask(f"m{i}.example")
        world.run(0.1)
        assert world.replies[client][0] - world.now < 0.01, "nobody waits for a dead server"
    assert 2 <= world.probes(0) - probes_before <= 5  # pydns sends the probes 1, 2 and 4 s apart
    world.servers[0] = GOOD
    for i in range(100):
        world.ask(f"o{i}.example")
        world.run(0.5)
    assert world.notices[-1] == (Event.CLOSED, "server0")
    assert world.asked(0) - before > 50


def test_a_silent_probe_does_not_cause_a_third_packet() -> None:
    world = World([GOOD, Server(delay_s=0.1), GOOD])
    world.learn()
    world.servers[0] = SILENT
    for i in range(50):
        world.told(f"m{i}.example")
    probes, thirds = world.probes(0), world.asked(2)
    for i in range(50):
        world.told(f"o{i}.example")
    assert world.probes(0) > probes
    assert world.asked(2) == thirds


def test_pydns_avoids_a_server_that_fails_for_names_that_another_answers() -> None:
    world = World([FAILS, GOOD])
    for i in range(8):
        assert world.told(f"n{i}.example").rcode == Rcode.NOERROR
    assert world.notices == [(Event.OPENED, "server0")]


@pytest.mark.parametrize(
    "about",
    [
        Server(silent_about=b"evil"),
        Server(delay_about=(b"evil", 3.5)),
        Server(delay_about=(b"evil0", 0.3)),
        Server(fails_about=b"evil"),
    ],
    ids=["silence", "late", "slow", "errors"],
)
def test_the_owner_of_domains_cannot_make_pydns_avoid_an_upstream(about: Server) -> None:
    # The second server answers the names in the domains of this owner.
    world = World([about, Server(delay_s=0.02)], choice=Choice.FASTEST)
    world.learn()
    for i in range(600):
        world.ask(f"n{i}.evil{i % 40}.example")
        if i % 4 == 0:
            world.ask(f"n{i}.good{i}.example")
        world.run(0.02)
    world.run(5)
    assert world.notices == []
    assert world.upstreams[0].srtt_s < 0.02 and world.upstreams[0].timeout_s < 0.5
    before = world.asked(0)
    for i in range(50):
        client = world.ask(f"m{i}.good.example")
        world.run(0.02)
        assert world.replies[client][1].rcode == Rcode.NOERROR
    assert world.asked(0) - before > 40, "it is still the fastest"


def test_one_lost_probe_does_not_open_a_breaker() -> None:
    world = World([Server(silent_about=b"evil")])
    world.ask("www.evil.example")
    world.run(0.95)
    assert world.probes(0) == 1
    world.servers[0] = SILENT
    world.ask("more.evil.example")
    world.run(1.1)
    world.servers[0] = Server(silent_about=b"evil")
    world.run(5)
    assert world.notices == [] and world.probes(0) > 2


def test_new_names_fail_within_a_second_once_all_servers_are_known_to_be_silent() -> None:
    world = World([SILENT, SILENT])
    world.told("first.example")
    world.told("second.example")
    assert {name for event, name in world.notices if event is Event.OPENED} == {"server0", "server1"}
    for i in range(10):
        client = world.ask(f"n{i}.example")
        began = world.now
        world.run(1)
        at, answer = world.replies[client]
        assert at - began < 0.9
        assert (answer.rcode, answer.extended_error) == (Rcode.SERVFAIL, Reason.UPSTREAM_TIMEOUT)
    world.servers[1] = GOOD
    for i in range(3):
        assert world.told(f"m{i}.example").rcode == Rcode.NOERROR
    assert world.notices[-1] == (Event.CLOSED, "server1")


def test_probes_continue_after_an_error() -> None:
    world = World([SILENT, GOOD])
    world.upstreams[0].open(START, 1.0)
    world.servers[0] = Server(rcode=Rcode.SERVFAIL, delay_s=0.1)
    for i in range(20):
        world.ask(f"n{i}.example")
        world.run(0.5)
    assert 2 <= world.probes(0) <= 4
    world.servers[0] = GOOD
    for i in range(20):
        world.ask(f"m{i}.example")
        world.run(0.5)
    assert world.notices == [(Event.CLOSED, "server0")]


def test_a_name_that_no_server_answers_does_not_open_a_breaker() -> None:
    world = World([FAILS, FAILS])
    for i in range(50):
        assert world.told(f"n{i}.example").rcode == Rcode.SERVFAIL
    assert world.notices == []


def test_questions_of_an_unreachable_upstream_go_to_the_next_one() -> None:
    world = World([SILENT, GOOD])
    client = world.ask("www.example")
    _, server, socket, _ = world.packets[0]
    world.forwarder.unreachable(server, socket + 1, world.now)
    world.run(0.01)
    assert client not in world.replies
    world.forwarder.unreachable(server, socket, world.now)
    world.run(0.01)
    assert world.replies[client][1].rcode == Rcode.NOERROR


def test_too_many_waiting_clients_are_refused_at_once() -> None:
    world = World([SILENT], limits=ForwarderLimits(max_in_flight=10))
    for i in range(10):
        world.ask(f"n{i // 2}.example", i)
    for i in range(5):
        world.ask(f"m{i}.example", f"new{i}")
        world.ask("n0.example", f"joining{i}")
    assert {answer.rcode for _, answer in world.replies.values()} == {Rcode.SERVFAIL}
    assert len(world.replies) == world.forwarder.counters.overflows == 10
    world.run(5)
    assert len(world.replies) == 20
    world.servers = [GOOD]
    assert world.told("www.example").rcode == Rcode.NOERROR


def test_questions_above_the_budgets_of_all_servers_fail_at_once() -> None:
    world = World([GOOD, GOOD], packets_per_second=10)
    for i in range(30):
        world.ask(f"n{i}.example")
    assert (world.asked(0), world.asked(1), world.forwarder.counters.overflows) == (10, 10, 10)
    world.run(1)
    assert world.told("n29.example").rcode == Rcode.NOERROR


def test_pydns_suspects_a_loop_when_its_own_query_comes_back() -> None:
    world = World([SILENT, GOOD])
    client = world.ask("www.example")
    packet = world.packets[0][3]
    came_back = packet[12:-11]
    # The same question from another client isn't taken for a query of pydns itself.
    world.forwarder.ask(came_back, bytes([packet[0] ^ 1, packet[1]]), 0, "other id", world.now)
    world.forwarder.ask(question("www.example"), packet[:2], 0, "other case", world.now)
    assert world.notices == []
    world.forwarder.ask(came_back, packet[:2], 0, "match", world.now)
    assert world.notices == [(Event.LOOP_SUSPECTED, "server0")]
    world.run(2)
    assert world.replies[client][1].rcode == world.replies["match"][1].rcode == Rcode.NOERROR


def test_forged_loops_do_not_disable_an_upstream() -> None:
    world = World([Server(delay_s=0.1)])
    world.ask("835123", "first")
    packet = world.packets[0][3]
    for guess in range(65536):
        world.forwarder.ask(question("835123"), guess.to_bytes(2), 0, ("forger", guess), world.now)
    assert world.notices == [(Event.LOOP_SUSPECTED, "server0")]
    assert packet[12:-11] == question("835123")
    assert world.told("victim.example").rcode == Rcode.NOERROR


def test_without_random_case_an_equal_id_alone_is_not_taken_for_a_loop() -> None:
    world = World([SILENT], transport=Transport.TCP)
    world.ask("www.example")
    packet = world.packets[0][3]
    world.forwarder.ask(question("www.example"), packet[:2], 0, "same id", world.now)
    assert world.forwarder.waiting == 2 and world.notices == []


def test_an_id_in_use_is_not_used_again() -> None:
    world = World([GOOD], first_bits=[5, 0, 0])
    world.ask("a.example")
    world.ask("b.example")
    assert [packet[:2] for _, _, _, packet in world.packets] == [b"\0\0", b"\0\5"]
    world.run(1)
    assert len(world.replies) == 2


def test_questions_beyond_the_ids_of_a_socket_fail_at_once() -> None:
    world = World([SILENT], limits=ForwarderLimits(max_in_flight=70_000, sockets=1, hedge_share=0))
    clients = [world.ask(f"n{number}.example") for number in range(66_000)]
    refused = [world.replies[client][1] for client in clients if client in world.replies]
    assert len(world.packets) <= 65_536
    assert len(refused) == len(clients) - len(world.packets)
    assert {answer.rcode for answer in refused} == {Rcode.SERVFAIL}


def test_a_reply_in_another_case_turns_off_random_case_for_its_question_only() -> None:
    world = World([Server(delay_s=0.1)])
    world.ask("www.somebank.example")
    _, server, socket, packet = world.packets[0]
    evil = Server(address=b"\6\6\6\6", keeps_case=False)
    world.deliver(server, socket, reply_to(packet, evil))
    assert world.packets[-1][3][12:-11] == question("www.somebank.example")
    world.run(1)
    world.ask("login.somebank.example", "later")
    _, server, socket, packet = world.packets[-1]
    assert packet[12:-11] != question("login.somebank.example")
    world.deliver(server, socket, reply_to(packet, evil))
    world.run(1)
    assert world.replies["later"][1].records[-4:] == b"\1\2\3\4"
    assert world.notices == []


def test_forged_replies_in_another_case_are_ignored_if_the_server_keeps_the_case() -> None:
    world = World([Server(delay_s=0.01)])
    for i in range(20):
        world.ask(f"n{i}.somebank.example")
        _, server, socket, packet = world.packets[-1]
        world.deliver(server, socket, reply_to(packet, Server(keeps_case=False)))
        world.told(f"other{i}.example")
    assert world.notices == []


def test_a_few_replies_show_that_a_server_changes_the_case_and_pydns_tries_again_after_an_hour() -> None:
    world = World([Server(keeps_case=False, ttl_s=1)])
    for i in range(50):
        assert world.told(f"n{i}.example").rcode == Rcode.NOERROR
    assert world.notices == [(Event.CASE_LOST, "server0")]
    assert 54 <= world.asked(0) <= 58
    world.servers = [Server(ttl_s=1)]
    world.run(3600)
    world.told("www.example")
    assert world.packets[-1][3][12:25] != b"\3www\7example\0"


DENIES = Server(denies_case=b"", ttl_s=1)


@pytest.mark.parametrize("rcode", [Rcode.NXDOMAIN, Rcode.REFUSED, Rcode.SERVFAIL, Rcode.FORMERR])
def test_a_few_names_show_that_a_server_denies_mixed_case_and_pydns_tries_again_after_an_hour(rcode: Rcode) -> None:
    world = World([DENIES._replace(denial=rcode)])
    rcodes = [world.told(f"www.n{i}.example.com" if i % 2 else f"www.n{i}example.org").rcode for i in range(30)]
    assert rcodes[CASE_DENIALS:] == [Rcode.NOERROR] * (30 - CASE_DENIALS)
    assert world.notices == [(Event.CASE_DENIED, "server0")]
    [(what, seconds)] = world.upstreams[0].learned(world.now).items()
    assert what == "denies names in mixed case" and 0 < seconds <= 3600
    world.packets.clear()
    assert world.told("www.later.example").rcode == Rcode.NOERROR
    assert world.asked(0) == 1
    world.servers = [Server(ttl_s=1)]
    world.run(3600)
    world.told("www.example")
    assert world.packets[-1][3][12:25] != b"\3www\7example\0"
    assert world.upstreams[0].learned(world.now) == {}


def test_names_of_a_route_show_that_its_server_denies_mixed_case() -> None:
    world = World([DENIES], routes=[RouteSpec(name.from_text("corp.example"), 0)])
    rcodes = [world.told(f"host{i}.corp.example").rcode for i in range(10)]
    assert rcodes[CASE_DENIALS:] == [Rcode.NOERROR] * 7
    assert world.notices == [(Event.CASE_DENIED, "server0")]


def test_the_owner_of_a_domain_does_not_turn_off_random_case() -> None:
    world = World([Server(denies_case=b"\4evil\7example\0", ttl_s=1)])
    for i in range(100):
        world.told(f"n{i}.evil.example")
    assert world.notices == []
    assert world.told("www.bank.example").rcode == Rcode.NOERROR
    assert world.packets[-1][3][12:-11] != question("www.bank.example")
    world.packets.clear()
    for i in range(10):
        world.told(f"m{i}.evil.example")
    assert world.asked(0) == 10, "names in mixed case are known, so denials aren't checked"


def test_true_denials_are_seldom_checked() -> None:
    world = World([Server(rcode=Rcode.NXDOMAIN, ttl_s=1)])
    for i in range(720):  # 720 steps of 5 s are one hour
        assert world.told(f"n{i}.example").rcode == Rcode.NXDOMAIN
    assert 720 < world.asked(0) < 740
    assert world.notices == [] and world.upstreams[0].learned(world.now) == {}


def test_a_client_gets_the_denial_if_its_check_in_lower_case_gets_no_answer() -> None:
    world = World([Server(rcode=Rcode.NXDOMAIN, ttl_s=1)])
    for i in range(CASE_DENIALS):
        world.told(f"n{i}.example")
    client = world.ask("last.example")
    world.run(0.001)
    world.servers = [SILENT]
    asked_at = world.now
    world.run(3)
    assert world.asked(0) == CASE_DENIALS + 2
    answered_at, answer = world.replies[client]
    assert answer.rcode == Rcode.NXDOMAIN and answered_at - asked_at < 1.3


def test_denials_are_not_checked_if_the_configuration_sets_random_case() -> None:
    world = World([DENIES], specs=[UpstreamSpec("fixed", case=Case_.RANDOM)])
    assert {world.told(f"n{i}.example").rcode for i in range(10)} == {Rcode.NXDOMAIN}
    assert world.asked(0) == 10


def test_a_client_holds_at_most_a_quarter_of_the_places() -> None:
    world = World([SILENT], limits=ForwarderLimits(max_in_flight=100))
    for i in range(50):
        world.ask(f"n{i}.example", ("greedy", i))
    for i in range(50):
        world.ask("n0.example", ("greedy", 50 + i))
    assert len(world.replies) == world.forwarder.counters.unfair == 75
    world.servers = [GOOD]
    for i in range(20):
        world.ask(f"m{i}.example", ("modest", i))
    world.run(0.1)
    assert [world.replies["modest", i][1].rcode for i in range(20)] == [Rcode.NOERROR] * 20
    world.run(5)
    world.ask("last.example", ("greedy", "last"))
    world.run(1)
    assert world.replies["greedy", "last"][1].rcode == Rcode.NOERROR


def test_a_slow_zone_holds_at_most_a_quarter_of_the_places() -> None:
    world = World([SILENT], limits=ForwarderLimits(max_in_flight=100))
    for i in range(20):
        world.ask(f"first{i}.slow.example")
    world.run(3.9)
    for i in range(80):
        world.ask(f"second{i}.slow.example")
    assert world.forwarder.counters.unfair == 55
    world.servers = [GOOD]
    assert world.told("www.quick.example").rcode == Rcode.NOERROR
    world.run(60)
    for i in range(80):
        world.ask(f"third{i}.slow.example")
    world.run(1)
    assert all(world.replies[f"third{i}.slow.example"][1].rcode == Rcode.NOERROR for i in range(80))


@pytest.mark.parametrize("seed", range(20))
def test_clients_that_go_away_do_not_affect_other_clients(seed: int) -> None:
    """Answers to clients fail at random. Servers are silent, fail and recover, and sockets break."""
    world = World([GOOD, GOOD], seed=seed, limits=ForwarderLimits(max_in_flight=100))
    draw, asked = world.random, 0
    for i in range(600):
        if i % 30 == 0:
            behaviours = [GOOD, SILENT, FAILS, Server(ttl_s=1), Server(delay_s=draw.random() * 5)]
            world.servers = [draw.choice(behaviours) for _ in range(2)]
        if draw.random() < 0.05:
            world.forwarder.unreachable(draw.randrange(2), draw.randrange(32), world.now)
        who = "gone" if draw.random() < 0.3 else "alive"
        world.ask(f"n{draw.randrange(60)}.example", (f"{who}{draw.randrange(9)}", i))
        asked += 1
        world.run(draw.random() * 0.1)
    world.run(6)
    assert len(world.replies) + len(world.gone) == asked
    assert not world.gone & world.replies.keys() and world.gone
    assert world.forwarder.counters.gone == len(world.gone)
    assert world.forwarder.waiting == 0 and not world.forwarder.busy
    world.servers = [GOOD, GOOD]
    for i in range(100):
        world.ask(f"later{i}.example", (f"alive{i % 9}", i + 600))
    world.run(5)
    assert all((f"alive{i % 9}", i + 600) in world.replies for i in range(100)), "no place has leaked"


def test_pydns_remembers_a_server_without_edns_and_reports_it_once() -> None:
    world = World([Server(knows_edns=False)])
    for i in range(3):
        world.told(f"n{i}.example")
    assert world.asked(0) == 4
    assert world.notices == [(Event.EDNS_LOST, "server0")]
    world.run(1000)
    world.told("later.example")
    assert world.asked(0) == 6


def test_one_name_shows_that_a_server_answers_edns_with_servfail() -> None:
    world = World([Server(fails_edns=True)])
    assert world.told("first.example").rcode == Rcode.SERVFAIL
    assert world.told("second.example").rcode == Rcode.NOERROR
    assert world.notices == [(Event.EDNS_LOST, "server0")]
    assert list(world.upstreams[0].learned(world.now)) == ["does not speak EDNS"]


def test_one_lost_probe_does_not_turn_off_edns() -> None:
    world = World([Server(silent_about=b"evil")])
    world.ask("www.evil.example")
    world.run(0.8)
    world.servers[0] = SILENT
    world.run(0.9)
    world.servers[0] = Server(silent_about=b"evil")
    world.run(5)
    assert world.notices == [] and world.probes(0) > 1


def test_dead_tcp_does_not_open_the_breaker_of_a_server() -> None:
    dead = Server(forges=lambda p: p[:2] + bytes([p[2] | 2]) + p[3:], has_tcp=False)
    world = World([dead])
    for i in range(20):
        assert world.told(f"n{i}.example").rcode == Rcode.NOERROR
    assert Event.OPENED not in [event for event, _ in world.notices]
    assert world.asked(0) < 30


@pytest.mark.parametrize(
    ("spec", "server"),
    [
        (UpstreamSpec("fixed", case=Case_.LOWER), Server(keeps_case=False)),
        (UpstreamSpec("fixed", edns=Edns.NEVER), Server(drops_edns=True)),
    ],
)
def test_the_configuration_can_set_random_case_and_edns(spec: UpstreamSpec, server: Server) -> None:
    world = World([server], specs=[spec])
    for i in range(5):
        assert world.told(f"n{i}.example").rcode == Rcode.NOERROR
    assert world.asked(0) == 5 and world.notices == []
    assert world.upstreams[0].learned(world.now) == {}


def test_a_bad_question_does_not_turn_off_edns() -> None:
    world = World([Server(rcode=Rcode.FORMERR)])
    world.told("odd.example")
    world.servers[0] = GOOD
    world.told("www.example")
    assert world.notices == []
    assert world.packets[-1][3][11] == 1


def test_pydns_does_not_ask_an_upstream_that_forwards_to_it() -> None:
    world = World([GOOD])
    upstream = world.upstreams[0]
    world.forwarder.looped(upstream, world.now)
    answer = world.told("www.example")
    assert (answer.rcode, answer.extended_error, world.asked(0)) == (Rcode.SERVFAIL, Reason.UPSTREAM_LOOP, 0)
    world.forwarder.probe(upstream, question("probe"), "probe", world.now)
    world.run(1)
    assert world.replies["probe"][1].rcode == Rcode.NOERROR
    world.forwarder.cleared(upstream)
    assert world.told("www.example").rcode == Rcode.NOERROR
    assert world.notices == [(Event.LOOP, "server0"), (Event.CLOSED, "server0")]


def test_thousands_of_forged_replies_have_no_effect() -> None:
    world = World([Server(delay_s=0.1)])
    client = world.ask("www.example")
    _, server, socket, packet = world.packets[0]
    evil = Server(address=b"\6\6\6\6")
    asked = packet[12:-11]
    for guess in range(65536):
        other_case = packet[:12] + asked.swapcase()[:13] + packet[25:]
        if guess != int.from_bytes(packet[:2]):
            world.deliver(server, socket, guess.to_bytes(2) + reply_to(packet, evil)[2:])
        if guess % 32 != socket:
            world.deliver(server, guess % 32, reply_to(packet, evil))
    world.deliver(server, socket, reply_to(packet[:13] + b"vvv" + packet[16:], evil))
    assert client not in world.replies
    world.deliver(server, socket, reply_to(other_case, evil))
    world.run(1)
    assert world.replies[client][1].records[-4:] == b"\1\2\3\4"


def test_a_stream_upstream_is_asked_only_over_its_stream() -> None:
    world = World([GOOD, GOOD], transport=Transport.TCP)
    assert world.told("www.example").rcode == Rcode.NOERROR
    assert {socket for _, _, socket, _ in world.packets} == {STREAM}


def test_after_a_wrong_message_over_a_stream_the_next_server_is_asked_at_once() -> None:
    for reply in (reply_to(bytes(12) + question("www.example"), server) for server in (GOOD, Server(truncates=True))):
        world = World([SILENT, GOOD], transport=Transport.TCP)
        client = world.ask("www.example")
        world.deliver(0, STREAM, world.packets[0][3][:2] + (reply[2:] if reply[2] & 2 else reply[2:-1]))
        world.run(0.01)
        assert world.replies[client][1].rcode == Rcode.NOERROR
        assert [world.asked(0), world.asked(1)] == [1, 1]


def test_nothing_is_left_for_the_garbage_collector() -> None:
    world = World([FAILS, GOOD])
    gc.collect()
    gc.disable()
    try:
        for i in range(20):
            world.told(f"n{i}.example")
        assert gc.collect() == 0
    finally:
        gc.enable()


ACME, CORP = name.from_text("acme.local"), name.from_text("corp.acme.local")


def test_stub_domains_use_their_own_servers_and_the_next_route_after_nxdomain() -> None:
    routes = [
        RouteSpec(name.ROOT, 0),
        RouteSpec(ACME, 1, except_domains=[name.from_text("www.acme.local")]),
        RouteSpec(CORP, 2, next=frozenset([Outcome.NXDOMAIN])),
    ]
    world = World([GOOD, GOOD, Server(rcode=Rcode.NXDOMAIN)], routes=routes, pools=[[0], [1], [2]])
    for qname_text, asked in (
        ("acme.local", [0, 1, 0]),
        ("www.acme.local", [1, 0, 0]),
        ("a.corp.acme.local", [0, 1, 1]),
        ("example.com", [1, 0, 0]),
    ):
        before = [world.asked(i) for i in range(3)]
        assert world.told(qname_text).rcode == Rcode.NOERROR
        assert [world.asked(i) - before[i] for i in range(3)] == asked, qname_text


def test_after_nxdomain_the_route_of_each_shorter_suffix_is_asked_once() -> None:
    further = frozenset([Outcome.NXDOMAIN])
    routes = [RouteSpec(name.ROOT, 0, (), further), RouteSpec(ACME, 1, (), further), RouteSpec(CORP, 2, (), further)]
    world = World([Server(rcode=Rcode.NXDOMAIN)] * 3, routes=routes, pools=[[0], [1], [2]])
    assert world.told("www.corp.acme.local").rcode == Rcode.NXDOMAIN
    assert [packet[1] for packet in world.packets] == [2, 1, 0]


def test_a_stale_answer_is_sent_at_once_and_replaced() -> None:
    immediate = CacheOptions(stale_mode=StaleMode.IMMEDIATE)
    world = World([Server(ttl_s=10)], cache_limits=immediate)
    world.told("www.example")
    world.run(20)
    world.servers[0] = Server(ttl_s=10, address=b"\5\6\7\10")
    first = world.ask("www.example", "first")
    assert (world.replies[first][0], ttls(world.replies[first][1])) == (world.now, [30])
    world.run(1)
    assert world.told("www.example").records[-4:] == b"\5\6\7\10"
    assert world.asked(0) == 2


def test_clients_get_stale_answers_at_once_while_upstreams_fail() -> None:
    world = World([Server(ttl_s=10)], cache_limits=CacheOptions(stale_mode=StaleMode.IMMEDIATE, servfail_s=30))
    world.told("www.example")
    world.servers[0] = Server(rcode=Rcode.SERVFAIL)
    world.run(20)
    for i in range(20):
        client = world.ask("www.example", i)
        assert ttls(world.replies[client][1]) == [30]
        world.run(1)
    assert world.asked(0) == 2


def without_records(rcode: int = Rcode.NOERROR) -> Server:
    return Server(forges=lambda reply: reply[:3] + bytes([0x80 | rcode]) + b"\0\1\0\0\0\0\0\0" + reply[12:-16])


@pytest.mark.parametrize(
    ("outcome", "server"),
    [
        (Outcome.NXDOMAIN, Server(rcode=Rcode.NXDOMAIN)),
        (Outcome.NODATA, without_records()),
        (Outcome.SERVFAIL, Server(rcode=Rcode.SERVFAIL)),
        (Outcome.REFUSED, Server(rcode=Rcode.REFUSED)),
    ],
)
def test_the_next_route_is_asked_only_after_an_outcome_listed_in_next(outcome: Outcome, server: Server) -> None:
    for each in Outcome:
        routes = [RouteSpec(name.ROOT, 0), RouteSpec(CORP, 1, next=frozenset([each]))]
        world = World([GOOD, server], routes=routes, pools=[[0], [1]])
        answer = world.told("a.corp.acme.local")
        assert (answer.rcode, ttls(answer)) == (Rcode.NOERROR, [300]) or each is not outcome
        assert world.asked(0) == (each is outcome)


def test_the_next_route_is_not_asked_if_servers_are_silent() -> None:
    routes = [RouteSpec(name.ROOT, 0), RouteSpec(CORP, 1, next=frozenset(Outcome))]
    world = World([GOOD, Server(silent=True)], routes=routes, pools=[[0], [1]])
    assert world.told("a.corp.acme.local").rcode == Rcode.SERVFAIL
    assert world.asked(0) == 0


@pytest.mark.parametrize("denial", [Server(rcode=Rcode.NXDOMAIN), without_records()])
def test_after_a_denial_each_other_server_of_the_route_is_asked_once(denial: Server) -> None:
    routes = [RouteSpec(name.ROOT, 0, failover=frozenset([Outcome.NXDOMAIN, Outcome.NODATA]))]
    world = World([denial, denial, GOOD], routes=routes)
    assert ttls(world.told("a.example")) == [300]
    assert [world.asked(i) for i in range(3)] == [1, 1, 1]
    world = World([denial, denial], routes=routes)
    assert world.told("a.example").counts[:2] == b"\0\0"
    assert [world.asked(i) for i in range(2)] == [1, 1]
    world = World([denial, GOOD], routes=[RouteSpec(name.ROOT, 0)])
    assert world.told("a.example").counts[:2] == b"\0\0"
    assert world.asked(1) == 0


def test_after_a_denial_a_silent_server_delays_the_answer_only_for_its_timeout() -> None:
    routes = [RouteSpec(name.ROOT, 0, failover=frozenset([Outcome.NXDOMAIN]))]
    world = World([Server(rcode=Rcode.NXDOMAIN), Server(silent=True)], routes=routes)
    client = world.ask("a.example")
    world.run(5)
    at, answer = world.replies[client]
    assert answer.rcode == Rcode.NXDOMAIN and at - START < 2


def test_a_silent_server_does_not_end_the_search_after_a_denial() -> None:
    routes = [RouteSpec(name.ROOT, 0, failover=frozenset([Outcome.NXDOMAIN]))]
    world = World([Server(rcode=Rcode.NXDOMAIN), Server(silent=True), GOOD], routes=routes)
    client = world.ask("a.example")
    world.run(5)
    at, answer = world.replies[client]
    assert ttls(answer) == [300] and at - START < 2


def test_the_next_route_can_be_asked_after_the_last_denial() -> None:
    nxdomain = frozenset([Outcome.NXDOMAIN])
    routes = [RouteSpec(name.ROOT, 0), RouteSpec(CORP, 1, next=nxdomain, failover=nxdomain)]
    world = World(
        [GOOD, Server(rcode=Rcode.NXDOMAIN), Server(rcode=Rcode.NXDOMAIN)], routes=routes, pools=[[0], [1, 2]]
    )
    assert ttls(world.told("a.corp.acme.local")) == [300]
    assert [packet[1] for packet in world.packets] == [1, 2, 0]


def test_names_that_are_excepted_from_forwarding_are_refused() -> None:
    world = World([GOOD], routes=[RouteSpec(name.ROOT, 0, except_domains=[ACME])])
    assert world.told("www.acme.local").rcode == Rcode.REFUSED
    assert ttls(world.told("www.example")) == [300]
    assert world.asked(0) == 1


def test_a_name_without_a_route_is_refused() -> None:
    world = World([GOOD], routes=[RouteSpec(ACME, 0)])
    assert world.told("example.com").rcode == Rcode.REFUSED


def test_a_new_configuration_keeps_the_answers_of_routes_that_did_not_change() -> None:
    world = World([GOOD, GOOD], pools=[[0], [1]])
    world.told("a.acme.local")
    world.told("www.example")
    open_one = world.ask("slow.acme.local")
    routes = Routes([RouteSpec(name.ROOT, 0), RouteSpec(ACME, 1)])
    world.forwarder.configure(routes, world.pools, ForwarderLimits(), CacheOptions(), world.now)
    world.told("www.example")
    assert world.asked(0) == 3
    world.told("a.acme.local")
    assert world.asked(1) == 1
    assert world.replies[open_one][1].rcode == Rcode.NOERROR


def test_the_fastest_server_gets_most_questions_and_a_change_is_noticed() -> None:
    world = World([Server(delay_s=0.02), Server(delay_s=0.004)], choice=Choice.FASTEST)
    for i in range(200):
        world.ask(f"n{i}.example")
        world.run(0.05)
    assert world.asked(1) > 180
    world.servers = [Server(delay_s=0.001), Server(delay_s=0.03)]
    for i in range(400):
        world.ask(f"m{i}.example")
        world.run(0.05)
    before = world.asked(0)
    for i in range(100):
        world.ask(f"o{i}.example")
        world.run(0.05)
    assert world.asked(0) - before > 90


def test_the_cache_stays_within_its_limit_with_a_million_names() -> None:
    # Both limits are a thousandth of the usual limits.
    world = World([GOOD], cache_limits=CacheOptions(entries=100, bytes=20_000))
    for i in range(1000):
        world.ask(f"n{i}.example")
        world.run(0.005)
    assert 60 < len(world.cache) < 80 and world.cache.size_bytes <= 20_000


@pytest.mark.parametrize("seed", range(20))
def test_every_client_gets_one_answer_in_time_whatever_the_servers_do(seed: int) -> None:
    world = World([GOOD, GOOD, GOOD], choice=Choice.FASTEST, seed=seed, limits=ForwarderLimits(max_in_flight=200))
    asked_at = {}
    draw = world.random
    for i in range(400):
        if i % 20 == 0:
            world.servers = [
                draw.choice(
                    [
                        GOOD,
                        SILENT,
                        FAILS,
                        Server(delay_s=draw.random() * 5),
                        Server(truncates=True),
                        Server(keeps_case=False),
                    ]
                )
                for _ in range(3)
            ]
        if draw.random() < 0.02:
            world.forwarder.unreachable(draw.randrange(3), draw.randrange(32), world.now)
        asked_at[world.ask(f"n{draw.randrange(150)}.example", i)] = world.now
        world.run(draw.random() * 0.1)
    world.run(5)
    assert world.replies.keys() == asked_at.keys()
    assert max(at - asked_at[client] for client, (at, _) in world.replies.items()) < 4.05
    assert not world.forwarder.busy and world.forwarder.waiting == 0


OF_ONE_DOMAIN = {
    "unusable replies": Server(delay_s=0.3, forges=long_chain),
    "damaged replies": Server(delay_s=0.3, forges=lambda reply: reply[:-3]),
}


@pytest.mark.parametrize("said", OF_ONE_DOMAIN.values(), ids=OF_ONE_DOMAIN.keys())
def test_the_owner_of_one_domain_cannot_make_pydns_avoid_a_server(said: Server) -> None:
    """The first server fails for names of this domain, and the second answers. The domain's owner can cause this."""
    world = World([GOOD, GOOD])
    world.learn()
    srtt_s = world.upstreams[0].srtt_s
    world.servers[0] = said
    for number in range(1000):
        assert world.told(f"n{number}.evil.example").rcode == Rcode.NOERROR
    assert not world.upstreams[0].is_open and not world.upstreams[0].is_silent
    assert world.upstreams[0].srtt_s == srtt_s
    assert not world.notices


def test_pydns_reports_why_it_cannot_use_a_reply() -> None:
    world = World([Server(forges=long_chain)])
    world.told("www.example")
    assert world.refused == [("server0", Unusable.LONG_CHAIN, name.from_text("www.example"))]
    assert world.forwarder.counters.malformed == 1


def test_the_reason_of_an_upstream_is_passed_on_and_kept() -> None:
    blocked = 15
    option = struct.pack("!3H", 15, 2, blocked)
    opt = b"\0" + struct.pack("!HHIH", 41, 1232, 0, len(option)) + option
    for server in (FAILS, Server(rcode=Rcode.NXDOMAIN), GOOD):
        world = World([server._replace(forges=lambda reply: reply[:10] + b"\0\1" + reply[12:] + opt)])
        for _ in ("from the upstream", "from the cache", "from the cache, asked for often"):
            assert world.told("www.example").extended_error == blocked
