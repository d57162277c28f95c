"""Measure the replies of a server that gets ten times as many queries as it can answer.

The generator can't send ten times the rate of a whole core, so the server gets only a twentieth of a core. If possible,
a CPU cgroup limits the server, as a container's limit does. Without the right to create a cgroup, a process beside the
server spins and uses up the CPU. dnsperf then sends as fast as it can.

An operator would look at the same figures. Replies per second and latency are compared with those of the server without
overload. The other figures are TCP and forwarding during the overload, memory, and the time to recovery. Rounds with
overload and rounds without overload take turns, because the load of the machine changes with time.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import dns.message
import dns.query
import dns.rrset

from tests.bench import cluster, dnsperf, procfs, queries, servers, tools
from tests.bench.report import Table
from tests.fakes.upstream import FakeUpstream

FACTOR = 10
_SERVICES = 1000
# nice values with the weights 335 and 15 (sched(7)), so the server gets about a twentieth of the core
_SERVER_NICE, _SPINNER_NICE = 19, 5
# Queries in flight without overload. With fewer, the server would be idle whenever the generator doesn't run.
_OUTSTANDING = 1000
_SLOW_S = 0.1  # after an overload, slower replies are treated as lost
_AFTER_S = 2.0  # how long the recovery is observed


class Overload(NamedTuple):
    """The figures of one round: before, during and after the overload."""

    peak_qps: float  # replies per second without overload, when queries come as fast as the server answers
    offered_qps: float  # queries per second sent during the overload
    goodput_qps: float  # replies per second during the overload; only replies within the client's patience count
    latency_s: float  # average latency of the replies counted in `goodput_qps`
    tcp: tuple[int, int]  # queries and replies during the overload; each query has its own TCP connection
    forwarded: tuple[int, int]  # queries and replies during the overload for names that are forwarded
    memory_kib: tuple[int, int]  # PSS of all processes, before and after the overload
    recovered_s: float  # the time from the end of the overload until the last query that wasn't answered at once


def run(command: str, seconds: float, rounds: int, cores: tuple[int, int]) -> tuple[str, list[Overload]]:
    """Overload pydns with one worker for `seconds` in each round. Return how its CPU was limited, and the rounds.

    Raises `servers.Failed` if pydns exits.
    """
    server_core, client_core = cores
    services = cluster.services(_SERVICES)
    asked = queries.workloads(services)[0]
    upstream = FakeUpstream(lambda packet, _: [_address_for(packet)])
    with tempfile.TemporaryDirectory(prefix="overload-bench-") as made:
        manifests, data, config = (Path(made) / each for each in ("manifests", "queries", "config.json"))
        manifests.mkdir()
        cluster.write_manifests(manifests, services)
        data.write_text(asked.text())
        config.write_text(json.dumps({"upstreams": [{"address": f"127.0.0.1:{upstream.port}"}]}))
        source = ["--manifests", str(manifests), "--config", str(config)]
        with servers.pydns(command, source, 1, server_core) as server:
            servers.wait_until(server, [(services[-1].dns_name, "A")])
            with a_twentieth_of(server_core, server.pid) as means:
                dnsperf.flood(server.port, data, 1, client_core)  # pydns is slower in the first second
                found = [_round(server, data, services[0].dns_name, seconds, client_core) for _ in range(rounds)]
    upstream.close()
    return means, found


def _round(server: servers.Server, data: Path, qname: str, seconds: float, core: int) -> Overload:
    def others() -> tuple[_TcpClient, _TcpClient]:
        unknown = time.monotonic_ns()
        return (
            _TcpClient(server.port, lambda _: qname),
            _TcpClient(server.port, lambda count: f"{count}-{unknown}.example.net"),
        )

    tcp, forwarded = others()
    with tcp, forwarded:
        peak = dnsperf.flood(server.port, data, seconds, core, _OUTSTANDING)
    before = sum(procfs.pss_kib(server.pid).values())
    tcp, forwarded = others()
    with tcp, forwarded, ThreadPoolExecutor(1) as pool:
        running = pool.submit(dnsperf.overload, server.port, data, seconds, core, int(peak.qps * FACTOR))
        time.sleep(seconds)  # after `seconds`, dnsperf sends no more queries and only waits for replies
        recovered_s = _recovery_s(server.port, qname)
        over = running.result()
    after = sum(procfs.pss_kib(server.pid).values())
    return Overload(
        peak.qps,
        over.sent / over.run_time_s,
        over.qps,
        over.latency_s,
        (tcp.asked, tcp.answered),
        (forwarded.asked, forwarded.answered),
        (before, after),
        recovered_s,
    )


def _address_for(packet: bytes) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(packet), recursion_available=True)
    reply.answer.append(dns.rrset.from_text(reply.question[0].name, 60, "IN", "A", "192.0.2.1"))
    return reply.to_wire()


@contextmanager
def a_twentieth_of(core: int, pid: int) -> Iterator[str]:
    """Limit a server to a twentieth of a core; yield the method used."""
    try:
        group = _quota(pid)
    except OSError:
        with _spinner(core, pid):
            yield "a process that spins"
        return
    try:
        yield "a quota"
    finally:
        parent = group.parent / "cgroup.procs"
        for each in procfs.tree(pid):
            with suppress(OSError):
                parent.write_text(str(each))
        with suppress(OSError):
            group.rmdir()


def _quota(pid: int) -> Path:
    """Put a server into a CPU cgroup (version 1 or 2) that allows 1 ms of every 20 ms. Return the cgroup's folder."""
    first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (first if first.exists() else second) / f"pydns-bench-{os.getpid()}"
    group.mkdir()
    try:
        if first.exists():
            (group / "cpu.cfs_period_us").write_text("20000")
            (group / "cpu.cfs_quota_us").write_text("1000")
        else:
            (group / "cpu.max").write_text("1000 20000")
        for each in procfs.tree(pid):
            (group / "cgroup.procs").write_text(str(each))
    except OSError:
        group.rmdir()
        raise
    return group


@contextmanager
def _spinner(core: int, pid: int) -> Iterator[None]:
    for each in procfs.tree(pid):
        os.setpriority(os.PRIO_PROCESS, each, _SERVER_NICE)
    spin = [sys.executable, "-c", f"import os\nos.nice({_SPINNER_NICE})\nwhile True: pass"]
    spinner = subprocess.Popen(tools.pinned(spin, core), stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


class _TcpClient:
    """Sends queries over TCP until the context ends. Each query has its own connection."""

    def __init__(self, port: int, qname: Callable[[int], str]) -> None:
        self.asked = self.answered = 0
        self._port = port
        self._qname = qname
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            self.asked += 1
            query = dns.message.make_query(self._qname(self.asked) + ".", "A")
            with suppress(OSError, EOFError, dns.exception.DNSException):
                self.answered += bool(dns.query.tcp(query, "127.0.0.1", timeout=2, port=self._port).answer)


def _recovery_s(port: int, qname: str) -> float:
    """Return how long queries were still not answered after the overload.

    The server first works through the queries that are left in its receive buffer.
    """
    query = dns.message.make_query(qname + ".", "A").to_wire()[2:]
    began = time.monotonic()
    last_bad = 0.0
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(_SLOW_S)
        client.connect(("127.0.0.1", port))
        count = 0
        while (at := time.monotonic() - began) < _AFTER_S:
            count += 1
            query_id = count.to_bytes(2)
            client.send(query_id + query)
            try:
                while client.recv(4096)[:2] != query_id:  # a late reply to an earlier query
                    pass
            except TimeoutError:
                last_bad = time.monotonic() - began
            time.sleep(max(0.0, 0.01 - (time.monotonic() - began - at)))
    return last_bad


def table(means: str, rounds: list[Overload]) -> Table:
    """Return the figures to show: medians, and sums of the counts."""

    def median(figure: Callable[[Overload], float]) -> float:
        return statistics.median(map(figure, rounds))

    tcp, forwarded = (
        f"{sum(pair[1] for pair in pairs)} of {sum(pair[0] for pair in pairs)}"
        for pairs in ([each.tcp for each in rounds], [each.forwarded for each in rounds])
    )
    rows = [
        ["queries sent, × the peak of replies", f"{median(lambda e: e.offered_qps / e.peak_qps):.1f}", f"{FACTOR}"],
        ["replies/s, % of the peak", f"{median(lambda e: e.goodput_qps / e.peak_qps):.0%}", "≥ 90 %"],
        ["average latency of replies, ms", f"{median(lambda e: e.latency_s) * 1000:.0f}", "bounded"],
        ["TCP queries answered meanwhile", tcp, "all"],
        ["forwarded queries answered meanwhile", forwarded, "all"],
        ["memory, % more", f"{rounds[-1].memory_kib[1] / rounds[0].memory_kib[0] - 1:.1%}", "< 10 %"],
        ["itself again after, s, worst", f"{max(each.recovered_s for each in rounds):.2f}", "< 1"],
    ]
    peak = median(lambda each: each.peak_qps)
    title = f"Overload of one worker that has a twentieth of a core, by {means} ({peak:,.0f} replies/s at most)"
    return Table(title, ["what", "found", "wanted"], rows)
