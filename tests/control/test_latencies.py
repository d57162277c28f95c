"""The latency of an upstream is computed from the measurements of the last minute."""

from pydns.control.latencies import Latencies
from pydns.metrics.totals import DURATIONS_S, Totals


def worker(**seconds: list[float]) -> Totals:
    """Return the counts of a worker. `seconds` has the delays of its replies, by upstream. The rcodes alternate."""
    totals = Totals()
    for upstream, times in seconds.items():
        for number, each in enumerate(times):
            rcode = ("NOERROR", "NXDOMAIN")[number % 2]
            totals.observe(("proxy_request_duration_seconds", "forward", upstream, rcode), DURATIONS_S, each)
    return totals


def test_an_upstream_without_a_reply_has_no_latency() -> None:
    assert Latencies().measure([worker()], 0.0) == {}


def test_the_latency_is_the_mean_over_all_workers() -> None:
    latencies = Latencies()
    latencies.measure([worker(), worker()], 0.0)
    assert latencies.measure([worker(a=[0.1, 0.3], b=[5.0]), worker(a=[0.5])], 1.0) == {"a": 0.3, "b": 5.0}


def test_the_latency_ignores_measurements_older_than_a_minute() -> None:
    latencies = Latencies()
    slow, later = [worker(a=[2.0])], [worker(a=[2.0, 0.5])]
    latencies.measure([worker()], 0.0)
    assert latencies.measure(slow, 1.0) == {"a": 2.0}
    for second in range(2, 61):
        assert latencies.measure(slow, second) == {"a": 2.0}
    assert latencies.measure(slow, 61) == {}
    assert latencies.measure(later, 62) == {"a": 0.5}
    assert latencies.measure(later, 500) == {}


def test_the_latency_ignores_counts_from_before_the_first_look() -> None:
    latencies = Latencies()
    assert latencies.measure([worker(a=[2.0])], 0.0) == {}
