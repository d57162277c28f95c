"""Measure memory for several sizes of the cluster. The requests and limits of a pod are derived from these figures.

PSS alone is too small. PSS counts only those pages of the table that processes have mapped. A container is charged for
all pages of the file in memory, and after loading, the whole file is in memory.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.bench import cluster, dnsperf, load, procfs, servers
from tests.bench.kubeapi import Api
from tests.bench.report import Table

# Each row has the number of Services, the endpoints per Service, and the number of workers.
_SIZES = [
    (100, 3, 2),
    (1_000, 10, 2),
    (10_000, 10, 1),
    (10_000, 10, 2),
    (10_000, 10, 4),
    (30_000, 10, 2),
    (10_000, 50, 2),
]
_CLIENTS = 16


class Memory(NamedTuple):
    """A size of the cluster, and the memory in octets after queries for names of every type."""

    services: int
    endpoints: int
    workers: int
    processes: int  # PSS of all processes
    table: int  # size of the table's file on the disk
    together: int  # processes and table; pages of the table aren't counted twice


def run(command: str) -> list[Memory]:
    """Load each size once, with an empty state directory."""
    return [_measure(command, *size) for size in _SIZES]


def _measure(command: str, services: int, endpoints: int, workers: int) -> Memory:
    names = cluster.services(services)
    with (
        servers.api_server(services, endpoints) as kubeconfig,
        tempfile.TemporaryDirectory(prefix="memory-bench-") as state_dir,
    ):
        endpoint = Api(kubeconfig).endpoint(names[-1].name, names[-1].namespace)
        source = ["--kubeconfig", str(kubeconfig), "--state-dir", state_dir]
        with servers.pydns(command, source, workers, None) as server:
            servers.wait_until(server, [(names[-1].dns_name, "A"), (endpoint.dns_name, "A")])
            data = Path(state_dir) / "questions"
            data.write_text(load.every_name_type(names, endpoint.dns_name, endpoint.address).text())
            dnsperf.ask_once(server.port, data, _CLIENTS)
            data.unlink()
            processes = sum(procfs.pss_kib(server.pid).values()) * 1024
            table = sum(file.stat().st_blocks * 512 for file in Path(state_dir).iterdir())
            mapped = sum(procfs.pss_below_kib(pid, state_dir) for pid in procfs.tree(server.pid)) * 1024
            return Memory(services, endpoints, workers, processes, table, processes - mapped + table)


def table(memories: list[Memory]) -> Table:
    """Return the figures to show."""
    rows = [
        [f"{each.services:,} × {each.endpoints}", str(each.workers), *(f"{octets / 1e6:.0f}" for octets in each[3:])]
        for each in memories
    ]
    header = ["Services × endpoints", "workers", "processes (PSS), MB", "table, MB", "together, MB"]
    return Table("Memory by the size of the cluster", header, rows)
