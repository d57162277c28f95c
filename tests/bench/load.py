"""Measure how long pydns takes to load a big cluster from an API server, and how much memory it uses after that."""

import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import cluster, dnsperf, procfs, queries, servers
from tests.bench.kubeapi import Api
from tests.bench.report import Table

SERVICES = 10_000
ENDPOINTS = 10
WORKERS = 2
_CLIENTS = 16  # many sockets, so that the kernel gives each worker some of them
_LIMIT_S = 3.0
_LIMIT_MB = 170


class Load(NamedTuple):
    """One start. All times count from just before the process was started."""

    service_s: float  # the time until the name of the last Service was answered
    endpoint_s: float  # the time until the name of one of its endpoints was answered
    pss_kib: list[int]  # PSS of each process after queries for every type of name; the supervisor is first


def run(command: str, rounds: int) -> list[Load]:
    """Start pydns `rounds` times against one API server, with an empty state directory, and on any core."""
    with servers.api_server(SERVICES, ENDPOINTS) as kubeconfig:
        return [_load(command, kubeconfig) for _ in range(rounds)]


def _load(command: str, kubeconfig: Path) -> Load:
    services = cluster.services(SERVICES)
    last = services[-1]
    endpoint = Api(kubeconfig).endpoint(last.name, last.namespace)
    with servers.pydns(command, ["--kubeconfig", str(kubeconfig)], WORKERS, None) as server:
        service_s, endpoint_s = servers.wait_until(server, [(last.dns_name, "A"), (endpoint.dns_name, "A")])
        with tempfile.NamedTemporaryFile("w", prefix="load-bench-") as data:
            asked = every_name_type(services, endpoint.dns_name, endpoint.address)
            data.write(asked.text())
            data.flush()
            answers = dnsperf.ask_once(server.port, Path(data.name), _CLIENTS)
        if wrong := answers.wrong_rcodes(asked.shares(), tolerance=0.0):
            raise servers.Failed(f"after loading: {wrong}")
        return Load(service_s, endpoint_s, list(procfs.pss_kib(server.pid).values()))


def every_name_type(services: list[cluster.Service], endpoint: str, endpoint_address: str) -> queries.Workload:
    """Return queries for every Service's names, and one query for each other type of name.

    After these queries, the pages of all answers for Services are in memory.
    """
    asked = [
        queries.Query(cluster.DOMAIN, "SOA", queries.NOERROR),
        queries.Query(cluster.DOMAIN, "NS", queries.NOERROR),
        queries.Query(f"dns-version.{cluster.DOMAIN}", "TXT", queries.NOERROR),
        queries.Query(f"10-1-2-3.{services[0].namespace}.pod.{cluster.DOMAIN}", "A", queries.NOERROR),
        queries.Query(endpoint, "A", queries.NOERROR),
        queries.Query(IPv4Address(endpoint_address).reverse_pointer, "PTR", queries.NOERROR),
    ]
    for service in services:
        name = service.dns_name
        for owner, qtype in (name, "A"), (name, "AAAA"), (name, "SRV"), (f"_{cluster.PORT_NAME}._tcp.{name}", "SRV"):
            asked.append(queries.Query(owner, qtype, queries.NOERROR))
        asked.append(queries.Query(f"{name}.svc.{cluster.DOMAIN}", "A", queries.NXDOMAIN))
    return queries.Workload("every name type", asked, 0)


def table(loads: list[Load]) -> Table:
    """Return the figures to show."""
    service_s, endpoint_s = [load.service_s for load in loads], [load.endpoint_s for load in loads]
    memory_mb = [sum(load.pss_kib) * 1024 / 1e6 for load in loads]
    parts = " + ".join(f"{kib * 1024 / 1e6:.0f}" for kib in loads[-1].pss_kib)
    rows = [
        ["last Service's name answered, s", *_spread(service_s), f"≤ {_LIMIT_S:g}"],
        ["an endpoint's name answered, s", *_spread(endpoint_s), f"≤ {_LIMIT_S:g}"],
        [f"PSS of all processes, MB ({parts})", *_spread(memory_mb), f"≤ {_LIMIT_MB}"],
    ]
    title = f"Start with {SERVICES:,} Services and slices of {ENDPOINTS} endpoints, {WORKERS} workers"
    return Table(title, ["what", "median", "min", "max", "wanted"], rows)


def _spread(values: list[float]) -> list[str]:
    return [f"{value:.2f}" for value in (median(values), min(values), max(values))]
