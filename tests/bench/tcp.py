"""CPU time per query over TCP connections that stay open. pydns, Knot and, if its path is given, CoreDNS take turns.

dnsperf distributes the queries evenly over its connections. So with as many queries outstanding as connections, each
connection has about one query at a time.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.bench import compared, dnsperf, procfs, servers
from tests.bench.compared import Comparison, Sample
from tests.bench.report import Table

_CONNECTIONS = 20
_WARM_UP_S = 1.0
_ATTEMPTS = 10
_STUCK_QPS = 1000.0
_RCODE_TOLERANCE = 0.05  # a short run sends only a part of the queries, which come in groups


class Workload(NamedTuple):
    """How the queries are sent. `limit` is the target for CPU time per query, relative to CoreDNS's."""

    name: str
    outstanding: int  # queries, on all connections together
    limit: float


WORKLOADS = (
    Workload("one at a time", _CONNECTIONS, 0.4),
    Workload("pipelined", 20 * _CONNECTIONS, 0.4),
)


def run(command: str, coredns: Path | None, seconds: float, rounds: int, cores: tuple[int, int]) -> list[Comparison]:
    """Compare the servers, pinned to the first of `cores`. dnsperf runs on the second.

    Raises `servers.Failed` for unexpected rcodes, or if a server closes a connection.
    """
    server_core, client_core = cores
    with compared.serving(command, coredns, server_core) as found, tempfile.NamedTemporaryFile("w") as data:
        data.write(found.mix.text())
        data.flush()
        flood = _Flood(Path(data.name), found.mix.shares(), client_core)
        comparisons = []
        for workload in WORKLOADS:
            samples: dict[str, list[Sample]] = {server.name: [] for server in found.servers}
            for _ in range(rounds):
                for server in found.servers:
                    flood.measure(server, workload, _WARM_UP_S)
                    samples[server.name].append(flood.measure(server, workload, seconds))
            comparisons.append(Comparison(workload.name, samples))
        return comparisons


class _Flood(NamedTuple):
    data: Path
    shares: dict[str, float]  # rcode -> share of the answers
    core: int

    def measure(self, server: servers.Server, workload: Workload, seconds: float) -> Sample:
        """Measure one run of one server. If dnsperf gets stuck, try again."""
        for _ in range(_ATTEMPTS):
            before = procfs.cpu_s(server.pid)
            found = dnsperf.flood_tcp(server.port, self.data, seconds, self.core, _CONNECTIONS, workload.outstanding)
            used_s = procfs.used_s(before, procfs.cpu_s(server.pid))
            if is_stuck(found):
                continue
            if wrong := found.wrong_rcodes(self.shares, _RCODE_TOLERANCE):
                raise servers.Failed(f"{server.name}, {workload.name}: {wrong}")
            if found.reconnections:
                raise servers.Failed(f"{server.name}, {workload.name}: {found.reconnections} connections were closed")
            return Sample(used_s / found.completed * 1e6, found.qps, found.lost, found.response_octets)
        raise servers.Failed(f"{server.name}, {workload.name}: dnsperf got stuck {_ATTEMPTS} times")


def is_stuck(found: dnsperf.Run) -> bool:
    """Return whether dnsperf stopped sending after its first queries.

    dnsperf 2.10 does so now and then on a busy machine. It was seen with Knot: dnsperf sent 23 to 200 queries in a
    second, and all of them were answered at once.
    """
    return found.qps < _STUCK_QPS


def table(comparisons: list[Comparison]) -> Table:
    """Return the figures to show: medians over the rounds, and the range of the ratios."""
    limits = {workload.name: workload.limit for workload in WORKLOADS}
    title = f"CPU per query over {_CONNECTIONS} TCP connections, {compared.SERVICES:,} Services, one worker"
    return compared.table(title, comparisons, "CoreDNS", limits)
