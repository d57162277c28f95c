"""Measure how long probes wait while one client floods the metrics port or the probes' port with connections."""

import multiprocessing
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

from tests.bench import cluster, servers
from tests.bench.report import Table

LIMIT_S = 0.1  # the wanted limit of the time for each probe
_FLOOD_PER_S = 5_000
_FLOODER = "127.0.0.2"
_PROBES, _PAUSE_S = 60, 0.05
_HELD = 500  # connections that the flooder holds before it sends requests and closes the oldest connection
_SERVICES = 1_000
_SLOWEST_S = 10.0


class Beside(NamedTuple):
    """The results of probes next to a flood."""

    flood: str
    per_s: float  # connections per second
    waits_s: list[float]  # the times that probes with status 200 waited
    failed: int


def run(command: str) -> list[Beside]:
    """Return the results of probes without a flood, and next to floods of `/metrics` and of the probes' port."""
    services = cluster.services(_SERVICES)
    with tempfile.TemporaryDirectory(prefix="probes-bench-") as made:
        manifests = Path(made)
        cluster.write_manifests(manifests, services)
        ready, metrics = servers.free_port(), servers.free_port()
        source = ["--manifests", made, "--ready", f"127.0.0.1:{ready}", "--metrics", f"127.0.0.1:{metrics}"]
        with servers.pydns(command, source, 1, None) as server:
            servers.wait_until(server, [(services[-1].dns_name, "A")])
            floods = {
                "no flood": (0, ""),
                "flood of /metrics": (metrics, "/metrics"),
                "flood of /ready": (ready, "/ready"),
            }
            return [_beside(what, *target, ready) for what, target in floods.items()]


def _beside(what: str, port: int, path: str, ready: int) -> Beside:
    with _flooding(port, path) as opened:
        began = time.monotonic()
        waits_s, failed = [], 0
        for _ in range(_PROBES):
            asked = time.monotonic()
            if servers.is_ready(ready, _SLOWEST_S):
                waits_s.append(time.monotonic() - asked)
            else:
                failed += 1
            time.sleep(_PAUSE_S)
        per_s = opened.value / (time.monotonic() - began)
    return Beside(what, per_s, waits_s, failed)


@contextmanager
def _flooding(port: int, path: str) -> Iterator["Synchronized[int]"]:
    """Flood a port from a separate process, and yield the count of its connections. With port 0, send nothing."""
    opened: Synchronized[int] = multiprocessing.Value("q", 0)
    process = multiprocessing.get_context("fork").Process(target=_flood, args=(port, path, opened), daemon=True)
    if port:
        process.start()
    try:
        yield opened
    finally:
        if port:
            process.kill()
            process.join()


def _flood(port: int, path: str, opened: "Synchronized[int]") -> None:
    held: list[socket.socket] = []
    began = time.monotonic()
    while True:
        for _ in range(min(200, int((time.monotonic() - began) * _FLOOD_PER_S) - opened.value)):
            opened.value += 1
            held.append(socket.socket())
            held[-1].setblocking(False)
            with suppress(OSError):  # there is no free port
                held[-1].bind((_FLOODER, 0))
                held[-1].connect_ex(("127.0.0.1", port))
            if len(held) > _HELD:
                with suppress(OSError):
                    held[0].send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                held.pop(0).close()
        time.sleep(0.001)


def table(found: list[Beside]) -> Table:
    """Return the figures to show."""
    rows = [
        [
            each.flood,
            f"{each.per_s:,.0f}",
            f"{sorted(each.waits_s)[len(each.waits_s) // 2] * 1000:.1f}" if each.waits_s else "-",
            f"{max(each.waits_s, default=_SLOWEST_S) * 1000:.1f}",
            str(each.failed),
        ]
        for each in found
    ]
    header = ["next to", "connections/s", "probe, median, ms", "probe, max, ms", "failed"]
    return Table(f"{_PROBES} probes of /ready; wanted: each within {LIMIT_S * 1000:.0f} ms", header, rows)
