"""Measure how soon a client sees that a Service changed, in a big cluster.

The API server returns the time at which it had written the event to its watchers. The benchmark asks for the name in a
tight loop and records when each address first arrived. The API server and the benchmark read the same clock,
CLOCK_MONOTONIC.
"""

import random
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor

import dns.message

from tests.bench import cluster, servers
from tests.bench.kubeapi import Api, Touched
from tests.bench.report import Table

SERVICES = 10_000
ENDPOINTS = 10
CHANGES = 200
WORKERS = 2
_LIMIT_MS = 10
_PATIENCE_S = 10
_PAUSE_S = 0.05  # the longest pause between changes; a random pause keeps the changes out of step with periodic work


def run(command: str) -> list[float]:
    """Return the delay of each of `CHANGES` changes, in milliseconds.

    Raises `servers.Failed` if a change never becomes visible.
    """
    rng = random.Random("change")
    services = cluster.services(SERVICES)
    with (
        servers.api_server(SERVICES, ENDPOINTS) as kubeconfig,
        servers.pydns(command, ["--kubeconfig", str(kubeconfig)], WORKERS, None) as server,
        ThreadPoolExecutor(1) as thread,
    ):
        servers.wait_until(server, [(services[-1].dns_name, "A")])
        api = Api(kubeconfig)
        delays_ms = []
        for service in rng.sample(services, CHANGES):
            time.sleep(rng.uniform(0, _PAUSE_S))
            # This runs in a thread, because the change may be visible before the API server's response arrives.
            touched = thread.submit(api.touch, service.name, service.namespace)
            delays_ms.append(delay_ms(server.port, service.dns_name, touched))
        return delays_ms


def delay_ms(port: int, dns_name: str, touched: Future[Touched], pause_s: float = 0.0) -> float:
    """Return how long after an event the new address was answered. Raises `servers.Failed` if no answer had it in time.

    If there is a pause between queries, the client leaves the CPU to other processes.
    """
    first_seen_ns: dict[str, int] = {}
    question = dns.message.make_query(dns_name + ".", "A", id=0).to_wire()
    give_up_ns = time.monotonic_ns() + int(_PATIENCE_S * 1e9)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(_PATIENCE_S)
        client.connect(("127.0.0.1", port))
        while True:
            if pause_s:
                time.sleep(pause_s)
            client.send(question)
            reply = client.recv(4096)
            now_ns = time.monotonic_ns()
            # A reply to A without EDNS ends with its only record, so the address is the last four octets.
            first_seen_ns.setdefault(socket.inet_ntoa(reply[-4:]), now_ns)
            if touched.done() and (seen_ns := first_seen_ns.get(touched.result().address)) is not None:
                return (seen_ns - touched.result().monotonic_ns) / 1e6
            if now_ns > give_up_ns:
                raise servers.Failed(
                    f"{dns_name}: change to {touched.result()} not visible after {_PATIENCE_S} s; "
                    f"answers were {list(first_seen_ns)}"
                )


def table(delays_ms: list[float]) -> Table:
    """Return the figures to show."""
    ordered = sorted(delays_ms)
    row = [
        str(len(ordered)),
        f"{percentile(ordered, 50):.2f}",
        f"{percentile(ordered, 99):.2f}",
        f"{ordered[-1]:.2f}",
        f"p99 ≤ {_LIMIT_MS}",
    ]
    title = f"A changed Service visible to a client, {SERVICES:,} Services, {WORKERS} workers, ms"
    return Table(title, ["changes", "p50", "p99", "max", "wanted"], [row])


def percentile(ordered: list[float], percent: float) -> float:
    """Return the percentile by the nearest-rank method: at least `percent` of a hundred values don't exceed it."""
    return ordered[max(0, int(-(-len(ordered) * percent // 100)) - 1)]
