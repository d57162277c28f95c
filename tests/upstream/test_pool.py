"""The pool chooses a server for each question, and avoids servers that fail."""

import pytest

from pydns.config.model import Choice
from pydns.upstream.pool import (
    FAILURES_TO_OPEN,
    LONGEST_PAUSE_S,
    Change,
    Pool,
    Upstream,
    UpstreamSpec,
)

NO_EXPLORING = 1


def make(count: int, choice: Choice = Choice.IN_ORDER, packets_per_second: int | None = None) -> Pool:
    upstreams = [Upstream(i, UpstreamSpec(f"server{i}", packets_per_second=packets_per_second)) for i in range(count)]
    return Pool(upstreams, choice)


def chosen(pool: Pool, tried: int = 0, now: float = 1.0, bits: int = NO_EXPLORING) -> int | None:
    upstream = pool.choose(tried, now, bits)
    return None if upstream is None else upstream.index


def open_breaker(upstream: Upstream, now: float = 1.0) -> None:
    for _ in range(FAILURES_TO_OPEN):
        upstream.failed(now)
    assert upstream.is_open


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice.IN_ORDER, [0, 0, 0, 0, 0, 0]),
        (Choice.ROUND_ROBIN, [1, 2, 0, 1, 2, 0]),
        (Choice.RANDOM, [1, 2, 0, 1, 2, 0]),  # the given random bits decide
        (Choice.FASTEST, [2, 2, 2, 2, 2, 2]),
    ],
)
def test_each_choice_picks_servers_in_its_order(choice: Choice, wanted: list[int]) -> None:
    pool = make(3, choice)
    for upstream, rtt_s in zip(pool.upstreams, (0.02, 0.03, 0.01), strict=True):
        upstream.replied(rtt_s)
    assert [chosen(pool, bits=bits) for bits in (1, 2, 3, 4, 5, 6)] == wanted


def test_choice_fastest_tries_unknown_servers_first_and_explores() -> None:
    pool = make(3, Choice.FASTEST)
    order = []
    for rtt_s in (0.01, 0.02, 0.03, 0.04):
        index = chosen(pool)
        assert index is not None
        order.append(index)
        pool.upstreams[index].replied(rtt_s)
    assert order == [0, 1, 2, 0]
    explored = [chosen(pool, bits=bits) for bits in range(32 * 30)]
    assert explored.count(1) == explored.count(2) == 10


def test_a_server_that_was_tried_is_not_chosen() -> None:
    pool = make(3)
    assert [chosen(pool, tried) for tried in (0b001, 0b011, 0b101, 0b111)] == [1, 2, 1, None]


def test_the_smoothed_time_changes_slowly_and_the_95th_percentile_has_64_samples() -> None:
    upstream = make(1).upstreams[0]
    for i in range(100):
        upstream.replied(0.1 if i % 10 == 0 else 0.01)
    assert 0.01 < upstream.srtt_s < 0.03 and upstream.p95_s == 0.1
    for _ in range(80):
        upstream.replied(0.001)
    assert upstream.p95_s == 0.001


def test_a_breaker_opens_only_after_failures_in_a_row() -> None:
    upstream = make(1).upstreams[0]
    changes = [upstream.failed(1.0) for _ in range(FAILURES_TO_OPEN - 1)]
    changes += [upstream.replied(0.1)]
    changes += [upstream.failed(1.0) for _ in range(FAILURES_TO_OPEN)]
    assert changes == [None] * (2 * FAILURES_TO_OPEN - 1) + [Change.OPENED]
    assert upstream.failed(1.0) is None
    assert [upstream.replied(0.1), upstream.replied(0.1)] == [Change.CLOSED, None]


def test_an_open_server_is_chosen_only_if_there_is_no_other() -> None:
    pool = make(2)
    open_breaker(pool.upstreams[0])
    assert [chosen(pool), chosen(pool, 0b10)] == [1, 0]
    assert pool.has_another(0) and not pool.has_another(0b10)


def test_one_probe_is_sent_at_a_time_and_pauses_double_up_to_half_a_minute() -> None:
    pool = make(2)
    upstream = pool.upstreams[0]
    now = 1.0
    open_breaker(upstream, now)
    pauses = []
    for _ in range(8):
        start = now
        while pool.probe(now) is None:
            now += 0.25
        assert pool.probe(now + LONGEST_PAUSE_S) is None, "one at a time"
        pauses.append(now - start)
        upstream.failed(now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    upstream.replied(0.1)
    open_breaker(upstream, now)
    assert pool.probe(now + 0.9) is None and pool.probe(now + 1.0) is upstream


def test_a_failing_server_is_no_longer_the_fastest() -> None:
    pool = make(2, Choice.FASTEST)
    pool.upstreams[0].replied(0.001)
    pool.upstreams[1].replied(0.02)
    assert chosen(pool) == 0
    pool.upstreams[0].failed(1.0)
    assert chosen(pool) == 1


def test_a_budget_lets_one_second_of_packets_through_and_fills_with_time() -> None:
    upstream = make(1, packets_per_second=10).upstreams[0]
    assert [upstream.take(5.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [upstream.take(5.25) for _ in range(4)] == [True] * 2 + [False] * 2
    assert [upstream.take(60.0) for _ in range(12)] == [True] * 10 + [False] * 2


def test_the_next_server_is_asked_when_a_budget_is_spent() -> None:
    pool = make(2, packets_per_second=1)
    assert [chosen(pool), chosen(pool), chosen(pool)] == [0, 1, None]


def test_a_silent_server_is_asked_if_the_others_have_spent_their_budgets() -> None:
    specs = UpstreamSpec("bounded", packets_per_second=1), UpstreamSpec("silent")
    pool = Pool([Upstream(index, spec) for index, spec in enumerate(specs)], Choice.IN_ORDER)
    silent = pool.upstreams[1]
    while not silent.is_silent:
        silent.waited(1.0)
    assert [chosen(pool), chosen(pool)] == [0, 1]
