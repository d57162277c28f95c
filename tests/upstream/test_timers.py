"""When items are due."""

from hypothesis import given
from hypothesis import strategies as st

from pydns.upstream.timers import GRANULARITY_S, Timers


@given(st.lists(st.integers(0, 5000)), st.lists(st.integers(0, 6000)))
def test_items_come_once_never_early_and_at_most_a_bucket_late(set_at_ms: list[int], polled_at_ms: list[int]) -> None:
    timers: Timers[int] = Timers()
    for at_ms in set_at_ms:
        timers.set(at_ms / 1000, at_ms)
    got: list[int] = []
    for now_ms in sorted(polled_at_ms):
        due = timers.due(now_ms / 1000)
        assert all(at_ms <= now_ms for at_ms in due)
        got += due
        waiting = [at_ms for at_ms in set_at_ms if at_ms + GRANULARITY_S * 1000 < now_ms]
        assert set(waiting) <= set(got)
    assert sorted(got + timers.due(100)) == sorted(set_at_ms)


def test_earlier_buckets_come_first_and_within_one_the_order_of_setting() -> None:
    timers: Timers[str] = Timers()
    for at, item in ((3.0, "c"), (1.004, "a"), (1.002, "b")):
        timers.set(at, item)
    assert timers.due(0.5) == []
    assert timers.due(9.0) == ["a", "b", "c"]
    assert timers.due(9.0) == []
