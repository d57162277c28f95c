"""Measure the start: time and CPU until the last name is answered, a restart with a table, and memory.

`PYDNS_TEST_KUBECONFIG` names the kubeconfig of a real API server, which is filled first. Without it, the fake API
server is used. If the path of CoreDNS is given, CoreDNS and pydns are measured in turn.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import dnsperf, filled, load, procfs, servers
from tests.bench.filled import Filled
from tests.bench.report import Table

_SIZES = [(100, 3), (10_000, 10)]  # the number of Services, and of endpoints of each
_WORKERS = (1, 2)
_CLIENTS = 16


class Start(NamedTuple):
    """One start with an empty state directory. Memory is measured after queries for names of every type."""

    server: str
    workers: int  # 0 for CoreDNS
    services: int
    endpoints: int
    wall_s: float  # the time from the start until the names of the last Service and its endpoint were answered
    cpu_s: float  # the CPU time of all processes until then
    again_s: float  # the time from a start with the last table until the first answer. 0 for CoreDNS
    pss_mb: float


def run(command: str, rounds: int, coredns: Path | None) -> list[Start]:
    """Start pydns with one worker and with two, and CoreDNS, `rounds` times for each size of the cluster."""
    found: list[Start] = []
    for services, endpoints in _SIZES:
        with _cluster(services, endpoints) as cluster:
            for _ in range(rounds):
                found += [_pydns(command, cluster, workers, endpoints) for workers in _WORKERS]
                if coredns is not None:
                    found.append(_coredns(coredns, cluster, endpoints))
    return found


def _cluster(services: int, endpoints: int) -> AbstractContextManager[Filled]:
    kubeconfig = os.environ.get("PYDNS_TEST_KUBECONFIG")
    return filled.real(Path(kubeconfig), services, endpoints) if kubeconfig else filled.fake(services, endpoints)


def _pydns(command: str, cluster: Filled, workers: int, endpoints: int) -> Start:
    with tempfile.TemporaryDirectory(prefix="start-bench-") as state_dir:
        source = ["--kubeconfig", str(cluster.kubeconfig), "--state-dir", state_dir]
        with servers.pydns(command, source, workers, None) as server:
            start = _measure(server, cluster, endpoints)
        with servers.pydns(command, source, workers, None) as server:
            (again_s,) = servers.wait_until(server, [(cluster.services[-1].dns_name, "A")])
        return start._replace(workers=workers, again_s=again_s)


def _coredns(program: Path, cluster: Filled, endpoints: int) -> Start:
    with servers.coredns(program, cluster.kubeconfig, None) as server:
        return _measure(server, cluster, endpoints)


def _measure(server: servers.Server, cluster: Filled, endpoints: int) -> Start:
    last = cluster.services[-1].dns_name
    wall_s = max(servers.wait_until(server, [(last, "A"), (cluster.endpoint.dns_name, "A")]))
    cpu_s = sum(procfs.cpu_s(server.pid).values())
    with _questions(cluster) as questions:
        dnsperf.ask_once(server.port, questions, _CLIENTS)
    pss_mb = sum(procfs.pss_kib(server.pid).values()) * 1024 / 1e6
    return Start(server.name, 0, len(cluster.services), endpoints, wall_s, cpu_s, 0, pss_mb)


@contextmanager
def _questions(cluster: Filled) -> Iterator[Path]:
    asked = load.every_name_type(cluster.services, cluster.endpoint.dns_name, cluster.endpoint.address)
    with tempfile.NamedTemporaryFile("w", prefix="start-bench-") as data:
        data.write(asked.text())
        data.flush()
        yield Path(data.name)


def table(starts: list[Start]) -> Table:
    """Return the medians of all rounds. Times and memory of CoreDNS are in the last row of each size."""
    rows = []
    for each in dict.fromkeys((start.services, start.endpoints, start.server, start.workers) for start in starts):
        services, endpoints, server, workers = each
        same = [start for start in starts if (start.services, start.endpoints, start.server, start.workers) == each]
        rows.append(
            [
                f"{services:,} × {endpoints}",
                f"{server}, {workers} worker{'s' * (workers > 1)}" if workers else server,
                f"{median(start.wall_s for start in same):.2f}",
                f"{median(start.cpu_s for start in same):.2f}",
                f"{median(start.again_s for start in same):.2f}" if workers else "",
                f"{median(start.pss_mb for start in same):.0f}",
            ]
        )
    header = ["Services × endpoints", "server", "last name, s", "CPU, s", "first answer with a table, s", "PSS, MB"]
    return Table("Start", header, rows)
