"""Latency of cluster names at a steady rate. If the path of CoreDNS is given, the rate is half of CoreDNS's maximum.

pydns, Knot and CoreDNS take turns. The client `paced` sends the queries evenly, and measures the time of each reply.
dnsperf would print only averages.
"""

import tempfile
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import compared, dnsperf, paced, servers
from tests.bench.change import percentile
from tests.bench.report import Table

LIMIT = 0.5  # the target for the p99, relative to CoreDNS's
RATE = 10_000  # queries per second, if there is no CoreDNS
_PERCENTS = (50, 99, 99.9)
_WARM_UP_S = 1.0


class Latency(NamedTuple):
    """One run of one server. Times are in µs."""

    p50: float
    p99: float
    p999: float
    rate: float  # queries sent per second
    lost: int


def run(
    command: str, coredns: Path | None, seconds: float, rounds: int, cores: tuple[int, int]
) -> dict[str, list[Latency]]:
    """Return the rounds of each server. The servers are pinned to the first of `cores`, the client to the second."""
    server_core, client_core = cores
    with compared.serving(command, coredns, server_core) as found:
        rate = RATE if coredns is None else _peak(found.servers[-1], found.mix.text(), client_core) / 2
        asked = iter(cycle(paced.compose(found.mix.queries)))
        rounds_of: dict[str, list[Latency]] = {server.name: [] for server in found.servers}
        for number in range(rounds):
            warm_up, batch = list(islice(asked, int(rate * _WARM_UP_S))), list(islice(asked, int(rate * seconds)))
            for server in found.servers:
                paced.ask(server.port, warm_up, rate, client_core, number)
                sent = paced.ask(server.port, batch, rate, client_core, number)
                if not sent.latencies_us:
                    raise servers.Failed(f"{server.name} answered nothing")
                ordered = sorted(sent.latencies_us)
                p50, p99, p999 = (percentile(ordered, each) for each in _PERCENTS)
                rounds_of[server.name].append(Latency(p50, p99, p999, sent.rate, sent.lost))
        return rounds_of


def _peak(server: servers.Server, queries: str, core: int) -> float:
    """Return how many queries per second a server answers at most."""
    with tempfile.NamedTemporaryFile("w", prefix="latency-bench-") as data:
        data.write(queries)
        data.flush()
        return max(dnsperf.flood(server.port, Path(data.name), 2, core).qps for _ in range(2))


def table(rounds_of: dict[str, list[Latency]]) -> Table:
    """Return the figures to show: medians over the rounds, and the range of the ratio of the p99."""
    peer = list(rounds_of)[-1]
    rows = []
    for name, found in rounds_of.items():
        ratio = ""
        if name == "pydns":
            ratios = [ours.p99 / theirs.p99 for ours, theirs in zip(found, rounds_of[peer], strict=True)]
            ratio = f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})"
        times = (median(column) for column in list(zip(*found, strict=True))[:3])
        rows.append([name, *(f"{each:,.0f}" for each in times), ratio, f"{sum(each.lost for each in found)}"])
    rate = median(each.rate for found in rounds_of.values() for each in found)
    title = f"Latency in µs at {rate:,.0f} queries/s, one worker; wanted: a p99 ≤ {LIMIT:g} × CoreDNS's"
    return Table(title, ["server", "p50", "p99", "p99.9", f"p99 × {peer} (range)", "lost"], rows)
