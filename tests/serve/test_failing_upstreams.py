"""Clients of a running pydns get answers while upstreams fail, don't answer, recover, or are overloaded."""

import time
from collections import Counter
from collections.abc import Sequence
from itertools import count

import dns.rcode
import pytest

from tests.fakes.upstream import Script
from tests.forwarding import Fake, Start, Told, config, errors, flood, lines, told
from tests.upstream import world
from tests.waiting import until


def silent(_: bytes, __: str) -> list[bytes]:
    return []


class Moody:
    """Answers with a TTL until the test makes it silent."""

    def __init__(self, ttl_s: int = 300) -> None:
        self.is_silent = False
        self._server = world.Server(ttl_s=ttl_s)

    def __call__(self, packet: bytes, how: str) -> Sequence[bytes]:
        return [] if self.is_silent else [world.reply_to(packet, self._server)]


def names(first: str, count: int) -> list[str]:
    return [f"{first}{number}.example.com" for number in range(count)]


def percentile(told: dict[str, Told], percent: int) -> float:
    return sorted(each.after_s for each in told.values())[(len(told) - 1) * percent // 100]


def outcomes(told: dict[str, Told]) -> Counter[str]:
    return Counter(f"{dns.rcode.to_text(each.message.rcode())} {errors(each.message)}" for each in told.values())


@pytest.mark.parametrize(("bad", "choice"), [("dead", "fastest"), ("silent", "fastest"), ("SERVFAIL", "fastest")])
def test_if_one_of_two_upstreams_fails_every_client_gets_its_answer_soon(
    start: Start, fake: Fake, bad: str, choice: str
) -> None:
    script: dict[str, Script] = {"silent": silent, "SERVFAIL": lambda p, _: [world.reply_to(p, world.Server(rcode=2))]}
    first = fake(script.get(bad, silent))
    if bad == "dead":
        first.close()
    server = start(config(first, fake(Moody())) | {"choice": choice})
    found = flood(server, names("n", 400), over_s=0.8)
    assert outcomes(found) == {"NOERROR []": 400}
    print(f"{bad}, {choice}: p90 {percentile(found, 90):.4f} s, p99 {percentile(found, 99):.4f} s")
    later = flood(server, names("later", 300), over_s=0.4)  # by now pydns knows that the upstream is bad
    assert outcomes(later) == {"NOERROR []": 300}
    print(f"later: p99 {percentile(later, 99):.4f} s, longest {percentile(later, 100):.4f} s")


@pytest.mark.parametrize("bad", ["dead", "silent"])
def test_without_upstreams_known_names_are_answered_and_others_fail_in_time(start: Start, fake: Fake, bad: str) -> None:
    scripts = Moody(ttl_s=1), Moody(ttl_s=1)
    upstreams = [fake(script) for script in scripts]
    server = start(config(*upstreams))
    seen = names("seen", 100)
    assert outcomes(flood(server, seen, over_s=0.2)) == {"NOERROR []": 100}
    for script, upstream in zip(scripts, upstreams, strict=True):
        script.is_silent = True
        if bad == "dead":
            upstream.close()
    # This name was the last to be cached.
    until(lambda: lines(told(server, seen[-1])) == [f"{seen[-1]}. 30 IN A 1.2.3.4"])
    found = flood(server, seen, over_s=0.2)
    assert outcomes(found) == {"NOERROR [3]": 100}
    assert {line for each in found.values() for line in lines(each.message)} == {
        f"{qname}. 30 IN A 1.2.3.4" for qname in seen
    }
    unseen = flood(server, names("unseen", 20), over_s=0.1)
    print(f"{bad}: stale p99 {percentile(found, 99):.4f} s, longest failure {percentile(unseen, 100):.4f} s")
    # On a busy machine, the refusals of a dead upstream (23) may arrive after the deadline (22).
    assert outcomes(unseen).keys() <= {"SERVFAIL [22]", *(["SERVFAIL [23]"] if bad == "dead" else [])}
    assert len(unseen) == 20
    again = flood(server, names("unseen", 20), over_s=0.1)
    print(f"a failure that is remembered: p99 {percentile(again, 99):.4f} s")


def test_a_silent_upstream_is_avoided_and_probed_until_it_answers(start: Start, fake: Fake) -> None:
    moody = Moody()
    first = fake(moody)
    server = start(config(first, fake()))
    assert outcomes(flood(server, names("before", 20), over_s=0.1)) == {"NOERROR []": 20}
    assert len(first.asked) >= 20
    moody.is_silent = True
    flood(server, names("opens", 100), over_s=0.5)
    before = len(first.asked)
    while_open = flood(server, names("open", 300), over_s=1.5)
    assert outcomes(while_open) == {"NOERROR []": 300}
    print(f"while it is avoided: p99 {percentile(while_open, 99):.4f} s")
    # pydns sends about five probes, and more on a busy machine
    assert 1 <= len(first.asked) - before <= 10, "probes alone"
    moody.is_silent = False
    numbers = count()

    def is_closed() -> bool:  # the pause before the next probe has been doubled once or twice
        before = len(first.asked)
        flood(server, names(f"closes{next(numbers)}-", 20), over_s=0.1)
        return len(first.asked) - before == 20

    until(is_closed)
    log = server.stop()
    of_first = [line for line in log.splitlines() if f"upstream=127.0.0.1:{first.port}" in line]
    events = [line.partition(' event="')[2].partition('"')[0] for line in of_first]
    assert events == ["upstream does not answer", "upstream answers again"]


def test_too_many_waiting_questions_fail_at_once_and_our_names_are_answered(start: Start, fake: Fake) -> None:
    server = start(config(fake(silent)) | {"max_in_flight": 10})
    ours = "web.shop.svc.cluster.local"
    found = flood(server, [*names("n", 50), ours], over_s=0.01)
    assert lines(found.pop(ours).message) == [f"{ours}. 5 IN A 10.96.0.10"]
    refused, waited = outcomes(found)["SERVFAIL [0]"], outcomes(found)["SERVFAIL [22]"]
    assert (refused, waited) in ((40, 10), (41, 9))  # the probe for loops may have taken one place


def test_packets_beyond_an_upstreams_budget_go_to_another(start: Start, fake: Fake) -> None:
    bounded, other = fake(Moody()), fake(Moody())
    settings = config(bounded, other)
    settings["upstreams"][0]["packets_per_second"] = 50
    server = start(settings)
    began = time.monotonic()
    found = flood(server, names("n", 400), over_s=1.0)
    assert outcomes(found) == {"NOERROR []": 400}
    # A second's worth of queries at once, then a fixed number per second, plus the probe for loops.
    assert 75 <= len(bounded.asked) <= 51 + 50 * (time.monotonic() - began)
    assert len(other.asked) >= 400 - len(bounded.asked)
    alone = fake(Moody())
    server = start(config(alone, packets_per_second=50))
    began = time.monotonic()
    found = flood(server, names("n", 400), over_s=1.0)
    assert 75 <= len(alone.asked) <= 51 + 50 * (time.monotonic() - began)
    assert outcomes(found)["NOERROR []"] + outcomes(found)["SERVFAIL [0]"] == 400
