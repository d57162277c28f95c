"""The text for Prometheus: names, labels, buckets, and the result of promtool."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pydns.config.model import MetricNames
from pydns.metrics.catalog import COUNTER, GAUGE, HISTOGRAM, METRICS
from pydns.metrics.exposition import compose
from pydns.metrics.totals import DURATIONS_S, PROGRAMMING_S, SIZES, Follower, Totals, decode, total

BOUNDS = {"duration": DURATIONS_S, "size": SIZES, "programming": PROGRAMMING_S}
# This was copied by hand from the sources of CoreDNS 1.14. It isn't derived from the table under test.
OF_COREDNS = {
    "coredns_dns_requests_total": ["server", "zone", "proto", "family", "type", "view"],
    "coredns_dns_responses_total": ["server", "zone", "rcode", "plugin", "view"],
    "coredns_dns_request_duration_seconds": ["server", "zone", "view"],
    "coredns_dns_request_size_bytes": ["server", "zone", "proto", "view"],
    "coredns_dns_response_size_bytes": ["server", "zone", "proto", "view"],
    "coredns_dns_do_requests_total": ["server", "zone", "view"],
    "coredns_panics_total": [],
    "coredns_build_info": ["version", "revision", "goversion"],
    "coredns_cache_entries": ["server", "zones", "type", "view"],
    "coredns_cache_requests_total": ["server", "zones", "view"],
    "coredns_cache_hits_total": ["server", "zones", "type", "view"],
    "coredns_cache_misses_total": ["server", "zones", "view"],
    "coredns_cache_prefetch_total": ["server", "zones", "view"],
    "coredns_cache_served_stale_total": ["server", "zones", "view"],
    "coredns_forward_max_concurrent_rejects_total": [],
    "coredns_proxy_request_duration_seconds": ["proxy_name", "to", "rcode"],
    "coredns_kubernetes_dns_programming_duration_seconds": ["service_kind"],
}


def everything() -> Totals:
    """Return totals with a sample of every metric. The label values are unusual."""
    totals = Totals()
    for metric in METRICS:
        key = (metric.key, *(f'{label} "\\\n' for label in metric.labels))
        if metric.kind == HISTOGRAM:
            word = "programming" if "programming" in metric.key else "size" if "size" in metric.key else "duration"
            totals.observe(key, BOUNDS[word], 0.3)
        else:
            (totals.counts if metric.kind == COUNTER else totals.gauges)[key] = 7
    return totals


@pytest.mark.parametrize("names", MetricNames)
def test_promtool_finds_nothing_wrong(names: MetricNames) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: Debian package prometheus")
    text = compose(everything(), names, "dns://:53")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_names_and_labels_are_those_of_coredns() -> None:
    text = compose(everything(), MetricNames.COREDNS, "dns://:53").decode()
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = re.match(r"(coredns_\w+?)(?:_bucket|_sum|_count)?(\{.*\})? \S+$", line)
        if match:
            found.setdefault(match[1], [label for label in re.findall(r'(\w+)="', match[2] or "") if label != "le"])
    assert {name: found.get(name) for name in OF_COREDNS} == OF_COREDNS


def test_metrics_that_coredns_lacks_begin_with_pydns() -> None:
    text = compose(everything(), MetricNames.PYDNS, "dns://:53").decode()
    assert set(re.findall(r"^([a-z]+)_", text, re.MULTILINE)) == {"pydns", "process"}
    assert "\npydns_dns_requests_total{" in text


def test_buckets_add_up_and_include_their_bound() -> None:
    totals = Totals()
    for value in (0.00025, 0.0003, 100.0):
        totals.observe(("dns_request_duration_seconds", "."), DURATIONS_S, value)
    text = compose(totals, MetricNames.COREDNS, "dns://:53").decode()
    counts = re.findall(r'duration_seconds_bucket\{.*le="([^"]+)"\} (\d+)', text)
    assert [counts[0], counts[1], counts[-2], counts[-1]] == [
        ("0.00025", "1"),
        ("0.0005", "2"),
        ("8.192", "2"),
        ("+Inf", "3"),
    ]
    assert 'duration_seconds_count{server="dns://:53",zone=".",view=""} 3' in text


def test_the_pages_for_operators_name_only_existing_metrics() -> None:
    text = "".join(page.read_text() for page in (Path(__file__).parents[2] / "docs").glob("*.md"))
    named = set(re.findall(r"`((?:coredns|pydns)_[a-z_]+[a-z])`", text))
    assert len(named) > 10
    assert named - {metric.full_name(MetricNames.COREDNS) for metric in METRICS} == set()


def test_every_metric_has_a_known_kind_and_a_unique_name() -> None:
    assert {metric.kind for metric in METRICS} == {COUNTER, GAUGE, HISTOGRAM}
    for names in MetricNames:
        full = [metric.full_name(names) for metric in METRICS]
        assert len(set(full)) == len(full)


def test_totals_of_processes_add_up_through_their_blocks() -> None:
    one, other = Totals(), Totals()
    one.add(("a", "x"), 2)
    other.add(("a", "x"), 3)
    one.observe(("h",), SIZES, 150)
    other.observe(("h",), SIZES, 70_000)
    added = total(map(decode, (one.encode(), other.encode(), b"")))
    assert added.counts == {("a", "x"): 5}
    assert added.histograms[("h",)] == [0, 0, 1, *[0] * 11, 1, 70_150]


def test_totals_keep_growing_when_their_sources_restart_at_zero() -> None:
    totals = Totals()
    follower = Follower(totals)
    for number in (2, 5, 1, 1, 4):
        follower.follow({("relists",): number})
    assert totals.counts == {("relists",): 9}
