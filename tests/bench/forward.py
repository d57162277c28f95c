"""Measure CPU time per query for names outside the cluster. pydns, Unbound and dnsmasq forward to the same Knot.

The servers take turns on one core. The other core runs dnsperf and Knot, which has an answer for any name.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import dns.rcode

from tests.bench import cluster, dnsperf, procfs, servers, tools
from tests.bench.compared import Comparison, Sample
from tests.bench.report import Table

ORIGIN = "bench.example"
LIMITS = {"miss": 0.8, "hit": 1.6}  # the target for CPU time per query, relative to Unbound's CPU time
ADDRESS = "192.0.2.1"
_ZONE = f"""\
$ORIGIN {ORIGIN}.
$TTL 3600
@ SOA ns hostmaster 1 7200 1800 86400 3600
@ NS ns
ns A 127.0.0.1
* A {ADDRESS}
"""
READY = (f"ready.{ORIGIN}", "A")
_HITS = 100  # names that are asked for again and again
_MISSES_PER_S = 150_000  # more than any of the servers can answer
_WARM_UP_S = 1.0
_CHECKED = 50  # answers of each server that are checked before the measurement


def run(command: str, seconds: float, rounds: int, cores: tuple[int, int]) -> list[Comparison]:
    """Compare the servers, pinned to the first of `cores`. Raises `servers.Failed` if an answer is wrong."""
    server_core, client_core = cores
    with tempfile.TemporaryDirectory(prefix="forward-bench-") as made:
        zones, manifests, config, data = (Path(made) / each for each in ("zones", "manifests", "config.yaml", "data"))
        for directory in zones, manifests:
            directory.mkdir()
        (zones / f"{ORIGIN}.zone").write_text(_ZONE)
        cluster.write_manifests(manifests, cluster.services(1000))
        with servers.knot(zones, client_core) as upstream:
            servers.wait_until(upstream, [READY])
            tools.pin(upstream.pid, client_core)  # Knot has pinned its UDP threads to the first core
            config.write_text(f'upstreams: ["127.0.0.1:{upstream.port}"]\n')
            source = ["--manifests", str(manifests), "--config", str(config)]
            with (
                servers.pydns(command, source, 1, server_core) as subject,
                servers.unbound(upstream.port, server_core) as unbound,
                servers.dnsmasq(upstream.port, server_core) as dnsmasq,
            ):
                compared = subject, unbound, dnsmasq
                for server in compared:
                    servers.wait_until(server, [READY])
                    check(server)
                comparisons = []
                for workload in LIMITS:
                    samples: dict[str, list[Sample]] = {server.name: [] for server in compared}
                    for number in range(rounds):
                        for server in compared:
                            samples[server.name].append(measure(server, workload, number, seconds, data, client_core))
                    comparisons.append(Comparison(workload, samples))
                return comparisons


def names(workload: str, label: str, seconds: float) -> Iterator[str]:
    """Yield the names to ask for in a run. Names for misses begin with `label`, so no other run has asked for them."""
    count, label = (_HITS, "again") if workload == "hit" else (int(_MISSES_PER_S * seconds), label)
    return (f"{label}-{index}.{ORIGIN}" for index in range(count))


def measure(server: servers.Server, workload: str, number: int, seconds: float, data: Path, core: int) -> Sample:
    """Measure one run of one server. `number` is different in each round, and `data` is a file for the queries."""
    _flood(server, workload, f"warm-up-{number}", _WARM_UP_S, data, core)
    before = procfs.cpu_s(server.pid)
    flood = _flood(server, workload, f"miss-{number}", seconds, data, core)
    used_s = procfs.used_s(before, procfs.cpu_s(server.pid))
    return Sample(used_s / flood.completed * 1e6, flood.qps, flood.lost, flood.response_octets)


def _flood(server: servers.Server, workload: str, label: str, seconds: float, data: Path, core: int) -> dnsperf.Run:
    data.write_text("".join([f"{name} A\n" for name in names(workload, label, seconds)]))
    flood = dnsperf.flood(server.port, data, seconds, core, repeat=workload == "hit")
    if wrong := flood.wrong_rcodes({"NOERROR": 1.0}, 0):
        raise servers.Failed(f"{server.name}, workload {workload}: {wrong}")
    return flood


def check(server: servers.Server) -> None:
    """Check answers that come from the upstream and from the cache. Raises `servers.Failed`."""
    for number in range(_CHECKED):
        name = f"check-{number}.{ORIGIN}"
        for state in "missed", "cached":
            reply = servers.ask(server.port, name, "A", timeout_s=2)
            found = [str(rdata) for rrset in reply.answer for rdata in rrset if str(rrset.name) == f"{name}."]
            if reply.rcode() != dns.rcode.NOERROR or found != [ADDRESS]:
                raise servers.Failed(f"{server.name}, {name}, {state}: wanted {ADDRESS}, found\n{reply}")


def table(comparisons: list[Comparison]) -> Table:
    """Return the figures to show: medians over the rounds, and the range of the ratio."""
    rows = []
    for workload, samples in comparisons:
        ratios = Comparison(workload, samples).ratios("unbound")
        rows.append(
            [
                workload,
                *(f"{median(sample.cpu_us for sample in runs):.1f}" for runs in samples.values()),
                f"{median(ratios):.2f} ({min(ratios):.2f} – {max(ratios):.2f})",
                f"≤ {LIMITS[workload]:g}",
                " / ".join(f"{median(sample.qps for sample in runs):,.0f}" for runs in samples.values()),
                f"{sum(sample.lost for runs in samples.values() for sample in runs)}",
            ]
        )
    header = ["names", "pydns µs", "Unbound µs", "dnsmasq µs", "pydns × Unbound (range)", "wanted", "q/s", "lost"]
    return Table("CPU per query that is forwarded or cached, one worker or thread", header, rows)
