"""Measure what names of clients cost with many Pods: memory, and the time until a new Pod has its name.

Both servers of a pair watch the same API server. One has `clients: endpoints`, the other one `clients: pods`.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

from pydns.table import status as controller_status
from pydns.table.client_names import node_key, parse_pod, read_client_names, records
from pydns.table.reader import Reader, TableError
from tests.bench import procfs, servers
from tests.bench.report import Table
from tests.fakes.apiserver import FakeApiServer

PODS = 150_000
PODS_ON_NODE = 30
WORKERS = 2
_STARTS = 300  # how many Pods start one after another
_PAUSE_S = 0.02
_PATIENCE_S = 600
_LIMIT_MB, _LIMIT_MS = 20, 50


class Pods(NamedTuple):
    """The figures of one pair of servers."""

    without_kib: int  # PSS of all processes without Pods
    with_kib: int  # PSS of all processes with Pods
    table_octets: int  # how much the table has grown
    listed_s: float  # the time from the start of the server until the names of all Pods are in the table
    cpu_s: float  # CPU time of all processes until all names are in the table
    read_s: float  # time to read all names from the table
    starts_ms: list[float]  # time from the event until the name of a new Pod is in the table


def run(command: str) -> Pods:
    """Run both servers one after the other."""
    with FakeApiServer() as api, tempfile.TemporaryDirectory(prefix="pods-bench-") as directory:
        for number in range(PODS):
            api.apply("Pod", pod(number))
        kubeconfig = api.kubeconfig(Path(directory))
        with _running(command, kubeconfig, Path(directory), "endpoints") as (server, reader):
            time.sleep(5)
            without_kib, table = _pss_kib(server), _table_octets(reader)
        started = time.monotonic()
        with _running(command, kubeconfig, Path(directory), "pods") as (server, reader):
            _wait_for(reader, PODS)
            listed_s, cpu_s = time.monotonic() - started, sum(procfs.cpu_s(server.pid).values())
            time.sleep(5)
            with_kib = _pss_kib(server)
            table = _table_octets(reader) - table
            starts_ms = [_start_ms(api, reader, PODS + number) for number in range(_STARTS)]
            before = time.thread_time()
            read_client_names(reader)
            read_s = time.thread_time() - before
        return Pods(without_kib, with_kib, table, listed_s, cpu_s, read_s, starts_ms)


def pod(number: int) -> dict[str, Any]:
    """Return a Pod as its node reports it, without the fields that pydns doesn't read."""
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    node = number % (PODS // PODS_ON_NODE)
    return {
        "metadata": {
            "name": f"app-{number % 5000}-7d9c5b8f6d-{number:06d}",
            "namespace": f"team-{number % 200}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"nodeName": f"ip-10-0-{node >> 8}-{node & 255}.eu-central-1.compute.internal"},
        "status": {
            "phase": "Running",
            "hostIP": f"172.16.{node >> 8}.{node & 255}",
            "hostIPs": [{"ip": f"172.16.{node >> 8}.{node & 255}"}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": "2026-01-01T00:00:01Z",
        },
    }


@contextmanager
def _running(command: str, kubeconfig: Path, directory: Path, clients: str) -> Iterator[tuple[servers.Server, Reader]]:
    state_dir = directory / clients
    state_dir.mkdir()
    config = directory / f"{clients}.yaml"
    config.write_text(f"clients: {clients}\n")
    source = ["--kubeconfig", str(kubeconfig), "--config", str(config), "--state-dir", str(state_dir)]
    with servers.pydns(command, source, WORKERS, None) as server:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                reader = Reader(state_dir)
                break
            except TableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        while not controller_status.decode(_status(reader)).synced:
            time.sleep(0.2)
        yield server, reader
        reader.close()


def _status(reader: Reader) -> bytes:
    with reader.transaction() as transaction:
        return reader.status(transaction)


def _wait_for(reader: Reader, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        known = controller_status.decode(_status(reader)).kinds.get("Pod")
        if known is not None and known.objects >= count and _has_name(reader, PODS - 1):
            return
        time.sleep(0.2)
    raise servers.Failed(f"the names of {count} Pods were not in the table after {_PATIENCE_S} s")


def _has_name(reader: Reader, number: int) -> bool:
    wanted = pod(number)
    with reader.transaction() as transaction:
        entry = transaction.get(node_key(wanted["spec"]["nodeName"]), b"", db=reader.names)
    return any(parse_pod(each).name == wanted["metadata"]["name"] for each in records(entry))


def _start_ms(api: FakeApiServer, reader: Reader, number: int) -> float:
    began = time.monotonic()
    api.apply("Pod", pod(number))
    while not _has_name(reader, number):
        time.sleep(0.001)
        if time.monotonic() - began > _PATIENCE_S:
            raise servers.Failed(f"Pod {number} has no name after {_PATIENCE_S} s")
    took_ms = (time.monotonic() - began) * 1000
    time.sleep(_PAUSE_S)
    return took_ms


def _pss_kib(server: servers.Server) -> int:
    return sum(procfs.pss_kib(server.pid).values())


def _table_octets(reader: Reader) -> int:
    found = controller_status.decode(_status(reader)).table
    return 0 if found is None else found.bytes


def table(found: Pods) -> Table:
    """Return the figures to show."""
    cuts = quantiles(found.starts_ms, n=100)
    rows = [
        ["PSS of all processes, MB more", f"{(found.with_kib - found.without_kib) * 1024 / 1e6:.1f}", f"≤ {_LIMIT_MB}"],
        ["table, MB more", f"{found.table_octets / 1e6:.1f}", ""],
        ["all names in the table after, s", f"{found.listed_s:.1f}", ""],
        ["CPU time until then, s", f"{found.cpu_s:.1f}", ""],
        ["reading all names, s of CPU", f"{found.read_s:.2f}", ""],
        ["a new Pod has its name after, ms: p50", f"{cuts[49]:.1f}", ""],
        ["a new Pod has its name after, ms: p99", f"{cuts[98]:.1f}", f"≤ {_LIMIT_MS}"],
    ]
    return Table(f"Names of clients with {PODS:,} Pods", ["what", "measured", "wanted"], rows)
