"""Composes totals as text for Prometheus (format 0.0.4).

This module doesn't use prometheus-client. A custom collector of prometheus-client would replace only the last 20 lines
of this module. The library would also create an object for each sample of each histogram.
"""

from itertools import accumulate

from pydns.config.model import MetricNames
from pydns.metrics.catalog import HISTOGRAM, METRICS, Metric
from pydns.metrics.totals import DURATIONS_S, PROGRAMMING_S, SIZES, Key, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = {
    "dns_request_duration_seconds": DURATIONS_S,
    "proxy_request_duration_seconds": DURATIONS_S,
    "kubernetes_dns_programming_duration_seconds": PROGRAMMING_S,
    "dns_request_size_bytes": SIZES,
    "dns_response_size_bytes": SIZES,
}


def compose(totals: Totals, names: MetricNames, server: str) -> bytes:
    """Return the metrics page. `server` is the value of CoreDNS's label `server`, such as `dns://:53`."""
    values = totals.counts | totals.gauges
    keys: dict[str, list[Key]] = {}
    for key in sorted([*values, *totals.histograms]):
        keys.setdefault(key[0], []).append(key)
    lines: list[str] = []
    for metric in METRICS:
        name = metric.full_name(names)
        found = keys.get(metric.key, [] if metric.labels else [(metric.key,)])
        if not found:
            continue
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        for key in found:
            labels = _labels(metric, key[1:], server)
            if metric.kind == HISTOGRAM:
                lines += _histogram(name, labels, _BOUNDS[metric.key], totals.histograms[key])
            else:
                lines.append(f"{name}{_braces(labels)} {_number(values.get(key, 0))}")
    return "".join([line + "\n" for line in lines]).encode()


def _labels(metric: Metric, values: Key, server: str) -> list[str]:
    labels = [f'{label}="{_escape(value)}"' for label, value in zip(metric.labels, values, strict=True)]
    return [f'server="{_escape(server)}"', *labels, 'view=""'] if metric.served else labels


def _histogram(name: str, labels: list[str], bounds: tuple[float, ...], histogram: list[float]) -> list[str]:
    *counts, total = histogram
    up_to = list(accumulate(counts))
    lines = []
    for edge, number in zip([*map(_number, bounds), "+Inf"], up_to, strict=True):
        edged = _braces([*labels, f'le="{edge}"'])
        lines.append(f"{name}_bucket{edged} {_number(number)}")
    braces = _braces(labels)
    return [*lines, f"{name}_sum{braces} {_number(total)}", f"{name}_count{braces} {_number(up_to[-1])}"]


def _braces(labels: list[str]) -> str:
    return "{" + ",".join(labels) + "}" if labels else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
