"""Measure how soon a tenant's change is visible while another tenant's largest object flaps. Also measure memory.

Each object is as large as the API allows in some way. One of its endpoints changes twice a second. During this time,
small Services of the cluster change, one after the other. The API server is a thread of the benchmark, so the time for
its work is included.
"""

import json
import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pydns.table.reader import Reader
from pydns.table.status import decode
from tests.bench import change, cluster, procfs, servers
from tests.bench.kubeapi import Touched
from tests.bench.report import Table
from tests.fakes.apiserver import FakeApiServer, generate, touch

SERVICES, ENDPOINTS = 10_000, 10
CHANGES = 100  # changes per round
_ROUND_S = 20  # the longest time of a round; if changes take long, fewer changes are measured
_LIMIT_MS, _LIMIT_MEMORY = 50, 1.5
_FLAP_S = 0.5
_PAUSE_S = 0.001  # the pause between queries: on two cores, a busy client and a busy worker would delay the controller
_NAMESPACE = "tenant"


class Worst(NamedTuple):
    """A headless Service that is very large in some way."""

    title: str
    endpoints: int  # endpoints per slice
    ports: int
    addresses: int = 1  # addresses per endpoint
    slices: int = 1
    has_hostnames: bool = False  # True: all endpoints have a hostname and the same address


_WORST = (
    Worst("1,000 endpoints × 100 ports", 1000, 100),
    Worst("1,000 endpoints × 1,000 ports", 1000, 1000),
    Worst("1,000 endpoints × 20,000 ports", 1000, 20_000),
    Worst("10 endpoints × 10,000 ports", 10, 10_000),
    Worst("1,000 endpoints × 100 addresses", 1000, 1, addresses=100),
    Worst("10 slices × 1,000 endpoints × 100 ports", 1000, 100, slices=10),
    Worst("10 slices × 1,000 hostnames at an address", 1000, 1, slices=10, has_hostnames=True),
)


class Tenant(NamedTuple):
    """One round: the effect of an object on other tenants.

    It contains the delays of their changes in milliseconds, and the controller's memory and CPU time.
    """

    title: str
    delays_ms: list[float]
    peak: int  # the peak memory in octets
    cpu: float  # the used share of a core while the object changed


def run(command: str, rounds: int) -> list[Tenant]:
    """Measure without a large object and then next to each large object. Repeat all this `rounds` times."""
    services = cluster.services(SERVICES)
    with FakeApiServer() as api:
        generate(api, SERVICES, ENDPOINTS)
        return [_measure(command, api, services, each) for _ in range(rounds) for each in (None, *_WORST)]


def _measure(command: str, api: FakeApiServer, services: list[cluster.Service], worst: Worst | None) -> Tenant:
    api.compact()  # removes the history of the previous object
    if worst is not None:
        _begin(api, worst)
    off = [word for flag in ("--health", "--ready", "--metrics") for word in (flag, "off")]
    stop = threading.Event()
    flapping = threading.Thread(target=_flap, args=(api, worst, stop), daemon=True)
    with tempfile.TemporaryDirectory(prefix="tenants-bench-") as name:
        directory, port, started = Path(name), servers.free_port(), time.monotonic_ns()
        arguments = ["--kubeconfig", str(api.kubeconfig(directory)), *off, "--drain-quiet", "0"]
        process = servers.begin(command, arguments, 1, port, directory)
        try:
            server = servers.Server("pydns", process.pid, port, started)
            servers.wait_until(server, [(services[-1].dns_name, "A")])
            controller = _controller(directory)
            if worst is not None:
                flapping.start()
            before, began = _cpu_s(controller), time.monotonic()
            delays_ms = _change(api, random.Random("tenants").sample(services, CHANGES), port)
            cpu = (_cpu_s(controller) - before) / (time.monotonic() - began)
            return Tenant("none" if worst is None else worst.title, delays_ms, _peak(controller), cpu)
        finally:
            stop.set()
            servers.end(process)
            if worst is not None:
                flapping.join()
                _end(api, worst)


def _change(api: FakeApiServer, services: list[cluster.Service], port: int) -> list[float]:
    rng = random.Random("pauses")
    delays_ms: list[float] = []
    give_up = time.monotonic() + _ROUND_S
    with ThreadPoolExecutor(1) as thread:
        for service in services:
            if time.monotonic() > give_up:
                break
            time.sleep(rng.uniform(0, 0.2))
            delays_ms.append(change.delay_ms(port, service.dns_name, thread.submit(_touch, api, service), _PAUSE_S))
    return delays_ms


def _touch(api: FakeApiServer, service: cluster.Service) -> Touched:
    address, at_ns = touch(api, service.namespace, service.name)
    return Touched(at_ns, address)


def _begin(api: FakeApiServer, worst: Worst) -> None:
    ports = [{"name": f"p{number}", "port": number + 1} for number in range(worst.ports)]
    metadata = {"name": "worst", "namespace": _NAMESPACE}
    api.apply("Service", {"metadata": metadata, "spec": {"clusterIP": "None", "ports": ports}})
    for number in range(worst.slices):
        api.apply("EndpointSlice", _slice(worst, number, worst.endpoints))


def _end(api: FakeApiServer, worst: Worst) -> None:
    for number in range(worst.slices):
        api.delete("EndpointSlice", _NAMESPACE, f"worst-{number}")
    api.delete("Service", _NAMESPACE, "worst")


def _flap(api: FakeApiServer, worst: Worst, stop: threading.Event) -> None:
    metadata = '"resourceVersion":"$VERSION",'
    versions = [
        json.dumps(_slice(worst, 0, worst.endpoints - less), separators=(",", ":"))
        .replace('"metadata":{', '"metadata":{' + metadata, 1)
        .encode()
        for less in (1, 0)
    ]
    while True:
        for raw in versions:
            if stop.wait(_FLAP_S):
                return
            api.apply_raw("EndpointSlice", _NAMESPACE, "worst-0", raw)


def _slice(worst: Worst, number: int, endpoints: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for each in range(endpoints):
        if worst.has_hostnames:
            found.append({"addresses": ["10.200.0.1"], "hostname": f"h{number}-{each}"})
            continue
        first = (number * worst.endpoints + each) * worst.addresses
        addresses = [
            f"10.{200 + at // 65536}.{at // 256 % 256}.{at % 256}" for at in range(first, first + worst.addresses)
        ]
        found.append({"addresses": addresses})
    return {
        "metadata": {
            "name": f"worst-{number}",
            "namespace": _NAMESPACE,
            "labels": {"kubernetes.io/service-name": "worst"},
        },
        "addressType": "IPv4",
        "endpoints": found,
        "ports": [{"name": f"p{port}", "port": port + 1} for port in range(worst.ports)],
    }


def _controller(state_dir: Path) -> int:
    """Return the process id of the controller."""
    give_up = time.monotonic() + 10
    while True:
        reader = Reader(state_dir)
        with reader.transaction() as transaction:
            status = decode(reader.status(transaction))
        reader.close()
        for each in status.processes:
            if each.process == "controller" and each.pid:
                return each.pid
        if time.monotonic() > give_up:
            raise servers.Failed("the status doesn't have the controller's process id")
        time.sleep(0.1)


def _peak(pid: int) -> int:
    """Return the peak memory of a process, including pages of the table."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024


def _cpu_s(pid: int) -> float:
    return procfs.cpu_s(pid)[pid]


def table(tenants: list[Tenant]) -> Table:
    """Return the figures to show: medians of the rounds."""
    rounds: dict[str, list[Tenant]] = {}
    for each in tenants:
        rounds.setdefault(each.title, []).append(each)
    quiet = median([each.peak for each in rounds["none"]])
    rows = []
    for title, found in rounds.items():
        ordered = [sorted(each.delays_ms) for each in found]
        delays_ms = [median([change.percentile(each, percent) for each in ordered]) for percent in (50, 99, 100)]
        peak, cpu = median([each.peak for each in found]), median([each.cpu for each in found])
        rows.append(
            [
                title,
                str(sum(map(len, ordered))),
                *(f"{value:.1f}" for value in delays_ms),
                f"{cpu:.0%}",
                f"{peak / 1e6:.0f}",
                f"{peak / quiet:.2f}",
            ]
        )
    rows.append(["wanted", "", "", f"≤ {_LIMIT_MS}", "", "", "", f"≤ {_LIMIT_MEMORY}"])
    header = ["object that flaps", "changes", "p50, ms", "p99, ms", "max, ms", "controller CPU", "peak, MB", "× none"]
    return Table(f"Another tenant's change, {SERVICES:,} Services × {ENDPOINTS} endpoints", header, rows)
