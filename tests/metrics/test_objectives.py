"""Service level indicators: which events are in a window, which are good, and how quantiles are estimated."""

import pytest

from pydns.metrics.objectives import SAMPLE_S, WINDOWS_S, Windows, quantile
from pydns.metrics.totals import DURATIONS_S, PROGRAMMING_S, Totals
from pydns.table.status import IndicatorStatus

PROGRAMMED = "kubernetes_dns_programming_duration_seconds"
Figures = dict[tuple[str, str, str], IndicatorStatus]


def figures(windows: Windows, counted: Totals, now: float) -> Figures:
    return {(row.indicator, row.group, row.window): row for row in windows.measure([counted], now)}


def lookups(totals: Totals, zone: str, seconds: float, times: int = 1) -> None:
    totals.observe(("dns_request_duration_seconds", zone), DURATIONS_S, seconds, times)


def test_nothing_is_reported_before_the_first_event() -> None:
    assert Windows().measure([Totals()], 0.0) == ()


def test_events_from_before_the_start_do_not_count() -> None:
    totals = Totals()
    lookups(totals, "cluster.local.", 1.0, 50)
    windows = Windows()
    assert figures(windows, totals, 0.0)["lookups", "own", "5m"].events == 0
    lookups(totals, "cluster.local.", 0.001)
    found = figures(windows, totals, 1.0)["lookups", "own", "5m"]
    assert (found.events, found.good, found.covered_s) == (1, 1.0, 1.0)


def test_events_leave_each_window_when_it_has_passed() -> None:
    totals, windows = Totals(), Windows()
    events: dict[str, list[int]] = {window: [] for window in WINDOWS_S}
    windows.measure([totals], 0.0)
    lookups(totals, "cluster.local.", 0.001, 7)
    seconds = range(1, 3700)
    for second in seconds:
        found = figures(windows, totals, float(second))
        for window in WINDOWS_S:
            row = found["lookups", "own", window]
            events[window].append(row.events)
            assert row.covered_s <= WINDOWS_S[window] + SAMPLE_S
    for window, length_s in WINDOWS_S.items():
        last = max(second for second, number in zip(seconds, events[window], strict=True) if number)
        assert length_s <= last <= length_s + SAMPLE_S


def test_the_counts_that_are_kept_are_bounded() -> None:
    totals, windows = Totals(), Windows()
    for second in range(0, 20_000, 5):
        lookups(totals, "cluster.local.", 0.001)
        windows.measure([totals], float(second))
    assert len(windows._kept) <= 3600 / SAMPLE_S + 2


def test_only_names_that_pydns_itself_answers_have_an_objective() -> None:
    totals, windows = Totals(), Windows()
    windows.measure([totals], 0.0)
    lookups(totals, "cluster.local.", 0.001, 90)
    lookups(totals, "corp.example.", 0.5, 10)
    lookups(totals, ".", 2.0)
    for rcode, zone, plugin, number in (
        ("NOERROR", "cluster.local.", "kubernetes", 999),
        ("SERVFAIL", "cluster.local.", "kubernetes", 1),
        ("NXDOMAIN", ".", "forward", 3),
        ("SERVFAIL", ".", "forward", 1),
        ("REFUSED", ".", "", 1000),
        ("SERVFAIL", ".", "", 1000),
    ):
        totals.add(("dns_responses_total", zone, rcode, plugin), number)
    found = figures(windows, totals, 1.0)
    shown = {key[:2]: (row.events, row.good, row.objective) for key, row in found.items() if key[2] == "1h"}
    assert shown == {
        ("lookups", "own"): (100, 0.9, 0.99),
        ("lookups", "forwarded"): (1, None, None),
        ("errors", "own"): (1000, 0.999, 0.999),
        ("errors", "forwarded"): (4, 0.75, None),
    }


def test_each_kind_of_service_has_its_own_latency() -> None:
    totals, windows = Totals(), Windows()
    windows.measure([totals], 0.0)
    totals.observe((PROGRAMMED, "cluster_ip"), PROGRAMMING_S, 1.024, 3)
    totals.observe((PROGRAMMED, "cluster_ip"), PROGRAMMING_S, 1.025)
    totals.observe((PROGRAMMED, "headless_with_selector"), PROGRAMMING_S, 0.004)
    found = figures(windows, totals, 1.0)
    row = found["programming", "cluster_ip", "5m"]
    assert (row.events, row.good, row.objective, row.within_s) == (4, 0.75, 0.99, 1.024)
    assert found["programming", "headless_with_selector", "5m"].p99_s == pytest.approx(0.00398)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([0.5], 0.5, 0.5),  # half of the first bucket, which ends at 1
        ([0.5, 3.0], 0.5, 1.0),
        ([1.5] * 10, 0.5, 1.5),
        ([1.5] * 98 + [3.5] * 2, 0.99, 3.0),
        ([100.0], 0.99, 4.0),  # above the last bound
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(values: list[float], share: float, expected: float) -> None:
    totals = Totals()
    for each in values:
        totals.observe(("x",), (1.0, 2.0, 4.0), each)
    assert quantile(share, (1.0, 2.0, 4.0), totals.histogram(("x",), (1.0, 2.0, 4.0))) == expected
