"""Each query is in one period, with the source of its answer."""

from pydns.console.history import KEPT, MOST_UPSTREAMS, History
from pydns.metrics.totals import Totals
from pydns.table.status import UpstreamStatus


def worker(**counts: int) -> Totals:
    """Return the counts of a worker. Each name is RCODE_PLUGIN, or the name of a count of the cache."""
    totals = Totals()
    for name, number in counts.items():
        rcode, _, plugin = name.partition("_")
        if rcode.isupper():
            zone = "cluster.local." if plugin == "kubernetes" else "."
            totals.add(("dns_responses_total", zone, rcode, plugin), number)
        else:
            totals.add((f"cache_{name}_total", "."), number)
    return totals


def test_queries_from_before_the_start_are_in_no_period() -> None:
    history = History()
    history.add([worker(NOERROR_kubernetes=1000)], [], 0.0, 0.0)
    assert history.after(0) == []
    history.add([worker(NOERROR_kubernetes=1003)], [], 2.0, 102.0)
    (period,) = history.after(0)
    assert (period.time, period.seconds, period.by_source) == (102.0, 2.0, {"table": 3})


def test_answers_are_counted_once_by_source_and_once_by_rcode() -> None:
    history = History()
    history.add([worker(), worker()], [], 0.0, 0.0)
    one = worker(NOERROR_kubernetes=5, NXDOMAIN_kubernetes=2, NOERROR_forward=10, hits=6, served_stale=1)
    other = worker(SERVFAIL_forward=1, REFUSED_=4)
    history.add([one, other], [], 2.0, 2.0)
    (period,) = history.after(0)
    assert period.by_source == {"table": 7, "cache": 6, "stale": 1, "upstream": 4, "none": 4}
    assert period.by_rcode == {"NOERROR": 15, "NXDOMAIN": 2, "SERVFAIL": 1, "REFUSED": 4}
    assert sum(period.by_source.values()) == sum(period.by_rcode.values())


def test_a_browser_gets_only_the_periods_that_it_does_not_have() -> None:
    history = History()
    for second in range(6):
        history.add([worker(NOERROR_kubernetes=second)], [], float(second), float(second))
    assert [period.number for period in history.after(0)] == [1, 2, 3, 4, 5]
    assert [period.number for period in history.after(3)] == [4, 5]
    assert history.after(5) == []
    assert len(history.after(900)) == 5  # the browser has seen an earlier console


def test_the_history_and_its_periods_are_bounded() -> None:
    history = History()
    upstreams = [UpstreamStatus(upstream=f"10.0.0.{number}:53", latency_s=0.1) for number in range(50)]
    for second in range(2 * KEPT):
        history.add([worker(NOERROR_kubernetes=second)], upstreams, float(second), float(second))
    assert len(history.after(0)) == KEPT
    assert len(history.after(0)[-1].latencies_s) == MOST_UPSTREAMS
