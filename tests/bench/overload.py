"""What is left of a server that is asked for ten times what it can answer.

The generator can't send ten times what a core answers, so the server gets a twentieth of a core: a process that spins
shares it, with a weight that the scheduler is told (nice). Then as many queries come in as dnsperf can be made to
send; the rest is what an operator would look at: replies per second next to the most that the server reaches unhurried,
how long they take, TCP meanwhile, memory, and when it is itself again.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import dns.message
import dns.query

from tests.bench import cluster, dnsperf, procfs, queries, servers, tools
from tests.bench.report import Table

FACTOR = 10
_SERVICES = 1000
_SERVER_NICE, _SPINNER_NICE = 19, 5  # weights 15 and 335 (sched(7)): a twentieth
_SLOW_S = 0.1  # a reply that took longer is none, after an overload
_AFTER_S = 2.0  # for which recovery is watched


class Overload(NamedTuple):
    """One server, before, during and after."""

    peak_qps: float  # replies when asked as fast as it answers
    offered_qps: float  # queries sent in the overload
    goodput_qps: float  # replies in it, each within the client's patience
    latency_s: float  # of those, average
    tcp_asked: int  # over one TCP connection after the other, meanwhile
    tcp_answered: int
    memory_kib: tuple[int, int]  # PSS of all processes, before and after
    recovered_s: float  # from the end of the overload to the last query that was not answered at once


def run(command: str, seconds: float, cores: tuple[int, int]) -> Overload:
    """Overload pydns with one worker for `seconds`. Raises `servers.Failed` if it ends."""
    server_core, client_core = cores
    services = cluster.services(_SERVICES)
    asked = queries.workloads(services)[0]
    with tempfile.TemporaryDirectory(prefix="overload-bench-") as made:
        manifests, data = Path(made) / "manifests", Path(made) / "queries"
        manifests.mkdir()
        cluster.write_manifests(manifests, services)
        data.write_text(asked.text())
        with servers.pydns(command, ["--manifests", str(manifests)], 1, server_core) as server:
            servers.wait_until(server, [(services[-1].dns_name, "A")])
            with _a_twentieth_of(server_core, server.pid):
                peak = dnsperf.flood(server.port, data, seconds, client_core)
                before = sum(procfs.pss_kib(server.pid).values())
                tcp = _TcpClient(server.port, services[0].dns_name)
                with tcp:
                    over = dnsperf.overload(server.port, data, seconds, client_core, int(peak.qps * FACTOR))
                recovered_s = _recovery_s(server.port, services[0].dns_name)
                after = sum(procfs.pss_kib(server.pid).values())
            return Overload(
                peak.qps,
                over.sent / over.run_time_s,
                over.qps,
                over.latency_s,
                tcp.asked,
                tcp.answered,
                (before, after),
                recovered_s,
            )


@contextmanager
def _a_twentieth_of(core: int, pid: int) -> Iterator[None]:
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
    """Asks over TCP, one connection after the other, as long as the context is entered."""

    def __init__(self, port: int, qname: str) -> None:
        self.asked = self.answered = 0
        self._port = port
        self._query = dns.message.make_query(qname + ".", "A")
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
            with suppress(OSError, EOFError, dns.exception.DNSException):
                dns.query.tcp(self._query, "127.0.0.1", timeout=2, port=self._port)
                self.answered += 1


def _recovery_s(port: int, qname: str) -> float:
    """Return for how long queries went unanswered after the overload; those left in the receive buffer come first."""
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
                while client.recv(4096)[:2] != query_id:  # an earlier one's, late
                    pass
            except TimeoutError:
                last_bad = time.monotonic() - began
            time.sleep(max(0.0, 0.01 - (time.monotonic() - began - at)))
    return last_bad


def table(found: Overload) -> Table:
    """Return the figures to show."""
    before, after = found.memory_kib
    rows = [
        ["queries sent, × the peak of replies", f"{found.offered_qps / found.peak_qps:.1f}", f"{FACTOR}"],
        ["replies/s, % of the peak", f"{found.goodput_qps / found.peak_qps:.0%}", "≥ 90 %"],
        ["average latency of replies, ms", f"{found.latency_s * 1000:.1f}", "bounded"],
        ["TCP queries answered meanwhile", f"{found.tcp_answered} of {found.tcp_asked}", "all"],
        ["memory, % more", f"{after / before - 1:.1%}", "< 10 %"],
        ["itself again after, s", f"{found.recovered_s:.2f}", "< 1"],
    ]
    title = f"Overload of one worker that has a twentieth of a core ({found.peak_qps:,.0f} replies/s at most)"
    return Table(title, ["what", "found", "wanted"], rows)
