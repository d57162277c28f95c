"""How soon another tenant's change is visible while one tenant's largest object flaps, and what that takes of memory.

Each object is as large as the API allows in some way. It changes twice a second by one endpoint. Meanwhile small
Services of the cluster change, one after the other. The API server is a thread of the benchmark: its work counts too.
"""

import json
import random
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pydns.table.reader import Reader
from pydns.table.status import decode
from tests.bench import change, cluster, servers
from tests.bench.kubeapi import Touched
from tests.bench.report import Table
from tests.fakes.apiserver import FakeApiServer, generate, touch

SERVICES, ENDPOINTS = 10_000, 10
CHANGES = 100
_LIMIT_MS, _LIMIT_MEMORY = 50, 1.5
_FLAP_S = 0.5
_NAMESPACE = "tenant"


class Worst(NamedTuple):
    """A headless Service with one slice for each of its kinds of size."""

    title: str
    endpoints: int  # of a slice
    ports: int
    addresses: int = 1  # of an endpoint
    slices: int = 1
    has_hostnames: bool = False  # all at one address


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
    """What an object did to others: their changes in milliseconds, and the controller's peak memory in octets."""

    title: str
    delays_ms: list[float]
    peak: int


def run(command: str) -> list[Tenant]:
    """Measure without a worst object, then next to each."""
    return [_measure(command, each) for each in (None, *_WORST)]


def _measure(command: str, worst: Worst | None) -> Tenant:
    rng = random.Random("tenants")
    services = cluster.services(SERVICES)
    with tempfile.TemporaryDirectory(prefix="tenants-bench-") as name, FakeApiServer() as api:
        directory = Path(name)
        generate(api, SERVICES, ENDPOINTS)
        if worst is not None:
            _begin(api, worst)
        port, started = servers.free_port(), time.monotonic_ns()
        source = [
            "--kubeconfig",
            str(api.kubeconfig(directory)),
            "--health",
            "off",
            "--ready",
            "off",
            "--metrics",
            "off",
        ]
        process = servers.begin(command, [*source, "--drain-quiet", "0"], 1, port, directory)
        stop = threading.Event()
        try:
            server = servers.Server("pydns", process.pid, port, started)
            servers.wait_until(server, [(services[-1].dns_name, "A")])
            if worst is not None:
                threading.Thread(target=_flap, args=(api, worst, stop), daemon=True).start()
            delays_ms = []
            with ThreadPoolExecutor(1) as thread:
                for service in rng.sample(services, CHANGES):
                    time.sleep(rng.uniform(0, 0.2))
                    touched = thread.submit(_touch, api, service)
                    delays_ms.append(change.delay_ms(port, service, touched))
            return Tenant("none" if worst is None else worst.title, delays_ms, _peak(directory))
        finally:
            stop.set()
            servers.end(process)


def _touch(api: FakeApiServer, service: cluster.Service) -> Touched:
    address, at_ns = touch(api, service.namespace, service.name)
    return Touched(at_ns, address)


def _begin(api: FakeApiServer, worst: Worst) -> None:
    ports = [{"name": f"p{number}", "port": number + 1} for number in range(worst.ports)]
    metadata = {"name": "worst", "namespace": _NAMESPACE}
    api.apply("Service", {"metadata": metadata, "spec": {"clusterIP": "None", "ports": ports}})
    for number in range(worst.slices):
        api.apply("EndpointSlice", _slice(worst, number, worst.endpoints))


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


def _peak(state_dir: Path) -> int:
    """Return the most memory that the controller has had, pages of the table in it."""
    reader = Reader(state_dir)
    with reader.transaction() as transaction:
        status = decode(reader.status(transaction))
    pid = next(each.pid for each in status.processes if each.process == "controller")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) * 1024


def table(tenants: list[Tenant]) -> Table:
    """Return the figures to show."""
    rows = []
    for each in tenants:
        ordered = sorted(each.delays_ms)
        figures = [change.percentile(ordered, 50), change.percentile(ordered, 99), ordered[-1]]
        ratio = each.peak / tenants[0].peak
        rows.append([each.title, *(f"{value:.1f}" for value in figures), f"{each.peak / 1e6:.0f}", f"{ratio:.2f}"])
    rows.append(["wanted", "", f"≤ {_LIMIT_MS}", "", "", f"≤ {_LIMIT_MEMORY}"])
    header = ["object that flaps", "p50, ms", "p99, ms", "max, ms", "peak, MB", "× none"]
    return Table(f"Another tenant's change, {SERVICES:,} Services × {ENDPOINTS} endpoints", header, rows)
