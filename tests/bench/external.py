"""Measure how soon changed addresses of Ingresses and Gateways are visible, in a big cluster with an external zone.

An Ingress changes one name. A Gateway changes 2,000 names: those of all its routes. The API server is a thread of the
benchmark, so the time for its work is included.
"""

import json
import random
import socket
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import dns.message

from tests.bench import change, cluster, procfs, servers
from tests.bench.kubeapi import Touched
from tests.bench.report import Table
from tests.fakes.apiserver import FakeApiServer, generate

SERVICES, ENDPOINTS = 10_000, 10
INGRESSES, ROUTES, GATEWAYS = 2_000, 2_000, 20
CHANGES = 200  # the number of changed Ingresses
GATEWAY_CHANGES = 10
# The routes of the first Gateway have as many hostnames as the Gateway API allows.
_HOSTNAMES, _FIRST_ROUTES = 16, 125
NAMES = _HOSTNAMES * _FIRST_ROUTES
_WORKERS = 1
_LIMIT_MS, _LIMIT_ALL_MS = 20, 300
_PAUSE_S = 0.001  # the pause between queries: on two cores, a busy client and a busy worker would delay the controller
_BATCH = 50  # how many queries are sent before the replies are read
_PATIENCE_S = 10
_ZONE = "k8s.example"


class Delays(NamedTuple):
    """Milliseconds from an event until its records are answered, and milliseconds of CPU time for a change."""

    ingresses: list[float]
    gateways: list[float]  # the time until all names of the Gateway are answered with the new address
    ingress_cpu_ms: float
    gateway_cpu_ms: float


def run(command: str) -> Delays:
    """Measure all changes. Raises `servers.Failed` if a change never becomes visible."""
    rng = random.Random("external")
    with FakeApiServer() as api, tempfile.TemporaryDirectory(prefix="external-bench-") as name:
        generate(api, SERVICES, ENDPOINTS)
        _generate(api)
        directory, port, started = Path(name), servers.free_port(), time.monotonic_ns()
        config = directory / "config.yaml"
        config.write_text(json.dumps({"external": {_ZONE: {"sources": ["ingresses", "routes", "services"]}}}))
        arguments = ["--kubeconfig", str(api.kubeconfig(directory)), "--config", str(config), "--drain-quiet", "0"]
        off = [word for flag in ("--health", "--ready", "--metrics") for word in (flag, "off")]
        process = servers.begin(command, [*arguments, *off], _WORKERS, port, directory)
        try:
            server = servers.Server("pydns", process.pid, port, started)
            servers.wait_until(server, [(f"ing-{INGRESSES - 1}.{_ZONE}", "A"), (f"gw-{NAMES - 1}.{_ZONE}", "A")])
            addresses = iter(f"203.0.{number >> 8}.{number & 255}" for number in range(1 << 16))
            spent: list[dict[int, float]] = [procfs.cpu_s(process.pid)]
            with ThreadPoolExecutor(1) as thread:
                ingresses = [
                    _after(thread, partial(_ingress, api, number, next(addresses)), port, [f"ing-{number}"], rng)
                    for number in rng.sample(range(INGRESSES), CHANGES)
                ]
                spent.append(procfs.cpu_s(process.pid))
                gateways = [
                    _after(thread, partial(_gateway, api, 0, next(addresses)), port, _names(), rng)
                    for _ in range(GATEWAY_CHANGES)
                ]
                spent.append(procfs.cpu_s(process.pid))
            each_ms = [procfs.used_s(*pair) * 1000 for pair in pairwise(spent)]
            return Delays(ingresses, gateways, each_ms[0] / CHANGES, each_ms[1] / GATEWAY_CHANGES)
        finally:
            servers.end(process)


def _names() -> list[str]:
    return [f"gw-{number}" for number in range(NAMES)]


def _after(
    thread: ThreadPoolExecutor, touch: Callable[[], Touched], port: int, labels: list[str], rng: random.Random
) -> float:
    time.sleep(rng.uniform(0, 0.05))  # a random pause keeps the changes out of step with periodic work
    names = [f"{label}.{_ZONE}" for label in labels]
    if len(names) == 1:
        return change.delay_ms(port, names[0], thread.submit(touch), _PAUSE_S)
    # Compose the queries before the event: for 2,000 names this takes 0.2 s.
    queries = {
        number: dns.message.make_query(name + ".", "A", id=number).to_wire() for number, name in enumerate(names)
    }
    return _all_ms(port, queries, thread.submit(touch))


def _all_ms(port: int, missing: dict[int, bytes], touched: Future[Touched]) -> float:
    """Return how long after an event all queries were answered with the new address."""
    event = touched.result()
    address = socket.inet_aton(event.address)
    names = len(missing)
    give_up_ns = event.monotonic_ns + int(_PATIENCE_S * 1e9)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(_PATIENCE_S)
        client.connect(("127.0.0.1", port))
        while missing:
            batch = list(missing)[:_BATCH]
            for number in batch:
                client.send(missing[number])
            is_old = False
            for _ in batch:
                reply = client.recv(4096)
                if reply[-4:] == address:
                    del missing[int.from_bytes(reply[:2])]
                else:
                    is_old = True
            if is_old:
                time.sleep(_PAUSE_S)
            if time.monotonic_ns() > give_up_ns:
                raise servers.Failed(f"{len(missing)} of {names} names have no new address after {_PATIENCE_S} s")
        return (time.monotonic_ns() - event.monotonic_ns) / 1e6


def _generate(api: FakeApiServer) -> None:
    for number in range(INGRESSES):
        _ingress(api, number, f"198.18.{number >> 8}.{number & 255}")
    for number in range(GATEWAYS):
        _gateway(api, number, f"198.19.0.{number}")
    for number in range(ROUTES):
        is_first = number < _FIRST_ROUTES
        hosts = (
            range(number * _HOSTNAMES, (number + 1) * _HOSTNAMES)
            if is_first
            else range(number + NAMES, number + NAMES + 1)
        )
        gateway = 0 if is_first else 1 + number % (GATEWAYS - 1)
        api.apply("HTTPRoute", _route(number, [f"gw-{host}.{_ZONE}" for host in hosts], gateway))


def _ingress(api: FakeApiServer, number: int, address: str) -> Touched:
    manifest = {
        "metadata": _metadata(f"ing-{number}", number),
        "spec": {"ingressClassName": "public", "rules": [{"host": f"ing-{number}.{_ZONE}"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
    }
    return _applied(api, "Ingress", manifest, address)


def _gateway(api: FakeApiServer, number: int, address: str) -> Touched:
    listener = {"name": "https", "port": 443, "protocol": "HTTPS", "allowedRoutes": {"namespaces": {"from": "All"}}}
    manifest = {
        "metadata": {**_metadata(f"gateway-{number}", number), "namespace": "infra"},
        "spec": {"gatewayClassName": "public", "listeners": [listener]},
        "status": {"addresses": [{"type": "IPAddress", "value": address}]},
    }
    return _applied(api, "Gateway", manifest, address)


def _applied(api: FakeApiServer, kind: str, manifest: dict[str, Any], address: str) -> Touched:
    api.apply(kind, manifest)
    return Touched(time.monotonic_ns(), address)


def _route(number: int, hosts: list[str], gateway: int) -> dict[str, Any]:
    parent = {"name": f"gateway-{gateway}", "namespace": "infra"}
    accepted = {"parentRef": parent, "conditions": [{"type": "Accepted", "status": "True"}]}
    return {
        "metadata": _metadata(f"route-{number}", number),
        "spec": {"hostnames": hosts, "parentRefs": [parent]},
        "status": {"parents": [accepted]},
    }


def _metadata(name: str, number: int) -> dict[str, Any]:
    namespace = f"ns-{number % cluster.NAMESPACES}"
    return {"name": name, "namespace": namespace, "creationTimestamp": "2026-01-01T00:00:00Z"}


def table(delays: Delays) -> Table:
    """Return the figures to show."""
    rows = []
    for title, found, cpu_ms, wanted in (
        ("an Ingress: its name", delays.ingresses, delays.ingress_cpu_ms, f"p99 ≤ {_LIMIT_MS}"),
        (f"a Gateway: all of its {NAMES:,} names", delays.gateways, delays.gateway_cpu_ms, f"max ≤ {_LIMIT_ALL_MS}"),
    ):
        ordered = sorted(found)
        figures = [change.percentile(ordered, 50), change.percentile(ordered, 99), ordered[-1]]
        rows.append([title, str(len(ordered)), *(f"{each:.1f}" for each in (*figures, cpu_ms)), wanted])
    title = (
        f"A changed address visible to a client, {SERVICES:,} Services, {INGRESSES:,} Ingresses, {ROUTES:,} routes, ms"
    )
    return Table(title, ["what changed", "changes", "p50", "p99", "max", "CPU", "wanted"], rows)
