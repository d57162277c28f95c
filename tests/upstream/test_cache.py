"""The cache limits how long answers are kept and how much memory they take. Clients get the right TTLs."""

import struct
from typing import NamedTuple

import pytest

from pydns.config.model import CacheOptions, CacheZone, StaleMode
from pydns.dns import name
from pydns.dns.reason import Reason
from pydns.dns.response import Response, UpstreamAnswer
from pydns.upstream.cache import Cache

KEY = b"\3www\7example\0\0\1\0\1\0"
WWW, EXAMPLE, OTHER = (name.from_text(each) for each in ("www.example", "example", "w.example"))
FAILURE = UpstreamAnswer(2, bytes(4), b"")


def response(*ttls_s: int, negative_ttl_s: int | None = None, rcode: int = 0, size: int = 4) -> Response:
    """Return a response with one record for each TTL."""
    records = b"".join(b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", ttl_s, size) + bytes(size) for ttl_s in ttls_s)
    answer = UpstreamAnswer(rcode, len(ttls_s).to_bytes(2) + b"\0\0", records)
    offsets = tuple(range(6, len(records), 12 + size))
    if negative_ttl_s is not None:
        return Response(answer, offsets, negative_ttl_s, True, False)
    return Response(
        answer, offsets, min([ttl_s if ttl_s < 1 << 31 else 0 for ttl_s in ttls_s], default=0), False, False
    )


def ttls(answer: UpstreamAnswer | None) -> list[int]:
    assert answer is not None
    return [int.from_bytes(answer.records[at + 6 : at + 10]) for at in range(0, len(answer.records), 16)]


class Case(NamedTuple):
    """A case: a response, the limits, the TTLs that a client gets at once, and how long the entry is fresh."""

    about: str
    reply: Response
    limits: CacheOptions
    ttls_s: list[int]
    fresh_s: int


CASES = [
    Case("the lowest TTL decides", response(60, 20), CacheOptions(), [60, 20], 20),
    Case("a cap lowers TTLs", response(7200, 20), CacheOptions(max_ttl_s=30), [30, 20], 20),
    Case("a floor raises TTLs", response(60, 1), CacheOptions(min_ttl_s=5), [60, 5], 5),
    Case("a floor above the cap wins", response(60), CacheOptions(min_ttl_s=9, max_ttl_s=5), [9], 9),
    Case("a TTL of 0 isn't kept", response(60, 0), CacheOptions(), [60, 0], 0),
    Case("a TTL with the highest bit is 0", response(1 << 31), CacheOptions(), [0], 0),
    Case("a cap of 0 keeps nothing", response(60), CacheOptions(max_ttl_s=0), [0], 0),
    Case("a negative answer's TTL is its SOA's minimum", response(300, negative_ttl_s=60), CacheOptions(), [60], 60),
    Case("a negative cap", response(300, negative_ttl_s=60), CacheOptions(max_negative_ttl_s=10), [10], 10),
    Case("a negative floor", response(300, negative_ttl_s=1), CacheOptions(min_negative_ttl_s=4), [4], 4),
    Case("the caps don't mix", response(300, negative_ttl_s=60), CacheOptions(max_ttl_s=5), [60], 60),
    Case("answers aren't kept", response(60), CacheOptions(success=False, max_ttl_s=30), [30], 0),
    Case("answers aren't kept, but denials are", response(negative_ttl_s=60), CacheOptions(success=False), [], 60),
    Case("denials aren't kept", response(300, negative_ttl_s=60), CacheOptions(denial=False), [60], 0),
    Case("denials aren't kept, but answers are", response(60), CacheOptions(denial=False), [60], 60),
    Case("a cap of the domain", response(60), CacheOptions(zones=(CacheZone(EXAMPLE, max_ttl_s=9),)), [9], 9),
    Case("a cap of another domain", response(60), CacheOptions(zones=(CacheZone(OTHER, max_ttl_s=9),)), [60], 60),
    Case(
        "the longest domain counts, and its other values are those of the whole cache",
        response(60, 1),
        CacheOptions(min_ttl_s=5, zones=(CacheZone(EXAMPLE, min_ttl_s=7, max_ttl_s=9), CacheZone(WWW, max_ttl_s=30))),
        [30, 5],
        5,
    ),
    Case(
        "answers of a domain aren't kept", response(60), CacheOptions(zones=(CacheZone(WWW, success=False),)), [60], 0
    ),
    Case(
        "only answers of a domain are kept",
        response(60),
        CacheOptions(success=False, zones=(CacheZone(EXAMPLE, success=True),)),
        [60],
        60,
    ),
    Case("no entries", response(60), CacheOptions(entries=0), [60], 0),
    Case("too large", response(60, size=4), CacheOptions(bytes=200), [60], 0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_the_ttls_of_an_answer_decide_how_long_it_is_fresh(case: Case) -> None:
    cache = Cache(case.limits)
    assert ttls(cache.store(KEY, case.reply, 100.0)) == case.ttls_s
    for age in (0.0, 0.999, 1.0, max(case.fresh_s - 0.001, 0.0), case.fresh_s, case.fresh_s + 1):
        entry = cache.fresh(KEY, 100 + age)
        assert (entry is not None) == (age < case.fresh_s)
        if entry is not None:
            assert ttls(entry.answer_at(100 + age)) == [ttl_s - int(age) for ttl_s in case.ttls_s]


def test_a_stale_answer_has_ttl_30_until_it_is_dropped() -> None:
    cache = Cache(CacheOptions(serve_stale_s=100))
    cache.store(KEY, response(9000, 20), 0.0)
    assert ttls(cache.stale(KEY, 119.9)) == [30, 30]
    stale = cache.stale(KEY, 119.9)
    assert stale is not None and stale.extended_error == Reason.STALE
    assert cache.stale(KEY, 120.0) is None
    off = Cache(CacheOptions(serve_stale_s=0))
    off.store(KEY, response(20), 0.0)
    assert off.stale(KEY, 20.0) is None


def test_a_failure_is_kept_for_five_seconds_and_does_not_replace_the_good_answer() -> None:
    cache = Cache(CacheOptions())
    cache.store(KEY, response(10), 0.0)
    cache.store_failure(KEY, FAILURE, 20.0)
    assert cache.failure(KEY, 24.9) == FAILURE and cache.failure(KEY, 25.0) is None
    assert ttls(cache.stale(KEY, 24.9)) == [30]


def test_a_domain_can_have_different_times_for_failures_and_stale_answers() -> None:
    other = b"\1a\5other\0\0\1\0\1\0"
    cache = Cache(CacheOptions(zones=(CacheZone(EXAMPLE, servfail_s=30, serve_stale_s=10, prefetch=False),)))
    for key in (KEY, other):
        cache.store(key, response(60), 100.0)
        cache.store_failure(key, FAILURE, 100.0)
    assert [cache.failure(key, 129.9) for key in (KEY, other)] == [FAILURE, None]
    assert cache.failure(KEY, 130.0) is None
    assert [cache.stale(key, 170.0) is None for key in (KEY, other)] == [True, False]
    for key, refreshes in ((KEY, False), (other, True)):
        cache.store(key, response(60), 200.0)
        for _ in range(3):
            entry = cache.fresh(key, 201.0)
        assert entry is not None and entry.wants_refresh(255.0) is refreshes


def test_stale_answers_are_sent_at_once_only_in_zones_with_mode_immediate() -> None:
    other = b"\1a\5other\0\0\1\0\1\0"
    cache = Cache(CacheOptions(zones=(CacheZone(EXAMPLE, stale_mode=StaleMode.IMMEDIATE),)))
    for key in (KEY, other):
        cache.store(key, response(60), 100.0)
    assert ttls(cache.stale_at_once(KEY, 161.0)) == [30]
    assert cache.stale_at_once(other, 161.0) is None
    assert cache.stale_at_once(KEY, 160.0 + 3600) is None


@pytest.mark.parametrize("limits", [CacheOptions(keep_ttl=True), CacheOptions(zones=(CacheZone(WWW, keep_ttl=True),))])
def test_a_kept_ttl_is_not_counted_down_but_the_answer_expires_as_usual(limits: CacheOptions) -> None:
    cache = Cache(limits)
    cache.store(KEY, response(60), 100.0)
    for now in (130.0, 159.5):
        entry = cache.fresh(KEY, now)
        assert entry is not None and ttls(entry.answer_at(now)) == [60]
        cache.make_ready(KEY, entry, now)
        [ready] = cache.ready.answers.values()
        assert ttls(UpstreamAnswer(0, bytes(4), ready.records)) == [60] and ready.until <= 160.0
    assert cache.fresh(KEY, 160.0) is None


def test_a_derived_answer_with_an_alias_is_never_ready() -> None:
    cache = Cache(CacheOptions())
    cache.store(KEY, response(60), 100.0)
    entry = cache.fresh(KEY, 100.0)
    assert entry is not None
    cache.make_ready(KEY, entry, 100.0)
    derived = UpstreamAnswer(0, bytes(4), b"")
    for onward in (OTHER, b""):
        cache.make_derived_ready(b"derived", KEY[:-1], derived._replace(onward=onward), 100.0, shows_error=True)
        assert (b"derived" in cache.ready.answers) is (not onward)


def test_a_good_answer_replaces_a_failure() -> None:
    cache = Cache(CacheOptions())
    cache.store_failure(KEY, FAILURE, 0.0)
    cache.store(KEY, response(1), 1.0)
    assert cache.failure(KEY, 3.0) is None


def test_nxdomain_replaces_a_good_answer() -> None:
    cache = Cache(CacheOptions())
    cache.store(KEY, response(10), 0.0)
    cache.store(KEY, response(10, negative_ttl_s=10, rcode=3), 5.0)
    stale = cache.stale(KEY, 20.0)
    assert stale is not None and stale.rcode == 3


@pytest.mark.parametrize("reply", [response(0), response(60, negative_ttl_s=60, rcode=3)])
def test_an_answer_that_is_not_stored_removes_the_previous_one(reply: Response) -> None:
    cache = Cache(CacheOptions(stale_mode=StaleMode.IMMEDIATE, denial=False))
    cache.store(KEY, response(30), 0.0)
    cache.store(KEY, reply, 40.0)
    assert cache.stale_at_once(KEY, 41.0) is None


def test_the_cache_first_evicts_the_oldest_answer_that_was_requested_only_once() -> None:
    for limits, size in (
        (CacheOptions(entries=3), 4),
        (CacheOptions(bytes=1200), 60),
        (CacheOptions(bytes=5000), 1200),
    ):
        cache = Cache(limits)
        for i in range(4):
            cache.store(b"%d" % i, response(60, size=size), i)
        assert cache.questions() == [b"1", b"2", b"3"]
        assert cache.evictions == 1
        assert cache.size_bytes <= limits.bytes


def test_among_answers_requested_twice_the_least_recently_used_is_evicted_first() -> None:
    for limits, size in (
        (CacheOptions(entries=4), 4),
        (CacheOptions(bytes=4500), 60),
        (CacheOptions(bytes=9500), 1200),
    ):
        cache = Cache(limits)
        for key in b"a", b"b", b"c":
            cache.store(key, response(60, size=size), 0.0)
            assert cache.fresh(key, 1.0)
        assert cache.fresh(b"a", 1.0)
        cache.store(b"d", response(60, size=size), 1.0)
        assert cache.fresh(b"d", 1.0)
        assert sorted(cache.questions()) == [b"a", b"c", b"d"]
        assert cache.size_bytes <= limits.bytes


def test_a_flood_of_names_does_not_evict_answers_requested_twice() -> None:
    for limits in CacheOptions(entries=100), CacheOptions(bytes=60_000):
        cache = Cache(limits)
        for i in range(30):
            cache.store(b"again%d" % i, response(60), 0.0)
            assert cache.fresh(b"again%d" % i, 1.0)
        for i in range(10_000):
            cache.store(b"flood%d" % i, response(60), 2.0)
            assert len(cache) <= limits.entries and cache.size_bytes <= limits.bytes
        assert all(cache.fresh(b"again%d" % i, 3.0) for i in range(30))
        assert cache.fresh(b"flood9999", 3.0)
        assert not cache.fresh(b"flood0", 3.0)


def test_a_cache_for_one_answer_keeps_the_last_one() -> None:
    cache = Cache(CacheOptions(entries=1))
    for key in b"a", b"b":
        cache.store(key, response(60), 0.0)
        assert cache.fresh(key, 1.0)
        assert cache.fresh(key, 1.0)
    assert cache.questions() == [b"b"]


def test_the_cache_returns_the_same_answer_twice() -> None:
    answer = UpstreamAnswer(0, b"\0\3\0\0", bytes(range(256)), None, b"\3www\7example\0")
    cache = Cache(CacheOptions())
    cache.store(KEY, Response(answer, (6, 30), 60, False, False), 0.0)
    for _ in range(3):
        entry = cache.fresh(KEY, 0.5)
        assert entry is not None
        assert (entry.ttl_offsets, entry.expires) == ((6, 30), 3600.0)
        assert entry.answer == cache.store(b"other", Response(answer, (6, 30), 60, False, False), 0.0)


def test_sending_a_stale_answer_makes_it_recently_used() -> None:
    cache = Cache(CacheOptions(entries=2))
    for key in b"a", b"b":
        cache.store(key, response(1), 100.0)
    assert cache.stale(b"a", 102.0) is not None
    cache.store(b"c", response(1), 102.0)
    assert set(cache.questions()) == {b"a", b"c"}


def test_the_cache_also_limits_the_number_of_failures() -> None:
    cache = Cache(CacheOptions(entries=100))
    for i in range(1000):
        cache.store_failure(b"%d" % i, FAILURE, 0.0)
    assert len([i for i in range(1000) if cache.failure(b"%d" % i, 0.0)]) == 10


def test_the_cache_does_not_return_a_forgotten_answer() -> None:
    cache = Cache(CacheOptions())
    cache.store(KEY, response(60), 0.0)
    cache.store_failure(KEY, FAILURE, 0.0)
    cache.forget(KEY)
    assert cache.fresh(KEY, 0.0) is None and cache.stale(KEY, 0.0) is None and cache.failure(KEY, 0.0) is None


def test_questions_with_an_answer_or_a_failure_are_listed_once() -> None:
    cache = Cache(CacheOptions())
    cache.store(KEY, response(60), 0.0)
    cache.store_failure(KEY, FAILURE, 0.0)
    cache.store_failure(b"failed", FAILURE, 0.0)
    assert sorted(cache.questions()) == sorted([KEY, b"failed"])


def test_a_popular_answer_near_expiry_is_refreshed_once() -> None:
    cache = Cache(CacheOptions())
    cache.store(KEY, response(100), 0.0)
    wanted = []
    for at in (50.0, 60.0, 89.0, 90.5, 91.0, 95.0):
        entry = cache.fresh(KEY, at)
        assert entry is not None
        wanted.append(entry.wants_refresh(at))
    assert wanted == [False, False, False, True, False, False]
    cache.store(KEY, response(100), 200.0)
    entry = cache.fresh(KEY, 299.0)
    assert entry is not None and not entry.wants_refresh(299.0)
