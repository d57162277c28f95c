"""Measure how many queries ordinary clients lose, and how long they wait, next to one client that sends too much.

The worker gets a twentieth of a core, as in `overload`. No generator can send ten times as many queries as a whole core
answers. Each ordinary client has its own address. The client sends queries over UDP and over a TCP
connection that it keeps open.
"""

import asyncio
import json
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

import dns.message

from pydns.serve.datagrams import BATCH, Inbox, Outbox
from tests.bench import cluster, dnsperf, overload, queries, servers
from tests.bench.report import Table

ORDINARY = 20
_PATIENT_S = 2.0
_SERVICES = 1000
_BIG = "big.tenant.svc.cluster.local."  # a name with a long answer
_OUTSTANDING = 1000
_GREEDY = "127.0.2.1"
# A query that is later than this is dropped, because sending all late queries at once would be a flood, too.
_LATEST_S = 0.05
_GREEDY_NICE = (
    10  # the client that sends too much shares a core with the ordinary clients, and must not take their CPU time
)


class Asked(NamedTuple):
    """What ordinary clients saw over one protocol."""

    asked: int
    answered: int
    p99_s: float

    @property
    def lost(self) -> float:
        """The share of the clients' queries that got no reply in time."""
        return 1 - self.answered / self.asked


class Beside(NamedTuple):
    """The results of ordinary clients next to one client that sends too much."""

    greedy: str
    greedy_per_s: float  # how many queries, connections or octets the client that sends too much sent per second
    udp: Asked
    tcp: Asked


def run(command: str, seconds: float, cores: tuple[int, int]) -> tuple[float, list[Beside]]:
    """Return the highest rate of UDP replies, and the ordinary clients' results next to each client that floods."""
    server_core, client_core = cores
    services = cluster.services(_SERVICES)
    with tempfile.TemporaryDirectory(prefix="clients-bench-") as made:
        manifests, data = Path(made) / "manifests", Path(made) / "queries"
        manifests.mkdir()
        cluster.write_manifests(manifests, services)
        (manifests / "tenant.json").write_text(json.dumps(_big()))
        data.write_text(queries.workloads(services)[0].text())
        with servers.pydns(command, ["--manifests", str(manifests)], 1, server_core) as server:
            servers.wait_until(server, [(services[-1].dns_name, "A"), (_BIG[:-1], "A")])
            with overload.a_twentieth_of(server_core, server.pid):
                dnsperf.flood(server.port, data, 1, client_core)
                peak_qps = dnsperf.flood(server.port, data, seconds, client_core, _OUTSTANDING).qps
                query = dns.message.make_query(services[0].dns_name + ".", "A").to_wire()
                found = [
                    _beside(what, greedy, server.port, query, seconds, client_core)
                    for what, greedy in _greedy(server.port, query, peak_qps).items()
                ]
    return peak_qps, found


def _big() -> dict[str, object]:
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}]
    addresses = [str(IPv4Address("10.1.0.0") + number) for number in range(1000)]
    service = {"metadata": {"name": "big", "namespace": "tenant"}, "spec": {"clusterIP": "None", "ports": ports}}
    piece = {
        "metadata": {"name": "big-1", "namespace": "tenant", "labels": {"kubernetes.io/service-name": "big"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        "ports": ports,
    }
    items = [
        {"apiVersion": "v1", "kind": "Service"} | service,
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"} | piece,
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


# Clients that send too much. Each is a generator. After each step, the generator yields how many queries, connections
# or octets it sent.


def _greedy(port: int, query: bytes, peak_qps: float) -> dict[str, Callable[[], Iterator[int]]]:
    long_query = dns.message.make_query(_BIG, "SRV").to_wire()
    frame, long_frame = (len(each).to_bytes(2) + each for each in (query, long_query))

    def nobody() -> Iterator[int]:
        while True:
            time.sleep(0.01)
            yield 0

    def flood() -> Iterator[int]:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind((_GREEDY, 0))
            sock.connect(("127.0.0.1", port))
            inbox, outbox = Inbox(), Outbox()
            outbox.aim(sock.fileno(), lambda _: False)
            due = time.monotonic()
            while True:
                now = time.monotonic()
                due = max(due, now - _LATEST_S)
                while due < now:
                    for _ in range(BATCH):
                        outbox.put(query)
                    due += BATCH / (peak_qps * overload.FACTOR)
                    yield BATCH
                inbox.receive(sock.fileno())
                time.sleep(0.0005)

    def hoard() -> Iterator[int]:
        held: list[socket.socket] = []
        while True:
            with suppress(OSError):
                held.append(_connect(port, _GREEDY))
            if len(held) > 2000:
                held.pop(0).close()
            time.sleep(0.002)
            yield 1

    def read_nothing() -> Iterator[int]:
        held: list[socket.socket] = []
        while True:
            with suppress(OSError):
                held.append(_connect(port, _GREEDY))
                held[-1].send(long_frame * 16)
                yield 16
            if len(held) > 300:
                held.pop(0).close()
            time.sleep(0.01)

    def trickle() -> Iterator[int]:
        held: list[socket.socket] = []
        while True:
            if len(held) < 300:
                held.append(_connect(port, _GREEDY))
            for number, each in enumerate(held):
                try:
                    each.send(frame[:1])
                except OSError:
                    held[number] = _connect(port, _GREEDY)
                yield 1
            time.sleep(0.05)

    return {
        "nobody": nobody,
        "one that floods over UDP (queries/s)": flood,
        "one that opens TCP connections and asks nothing (connections/s)": hoard,
        "one that asks for long answers over TCP and reads nothing (queries/s)": read_nothing,
        "one that sends an octet at a time over 300 connections (octets/s)": trickle,
    }


def _connect(port: int, ip: str) -> socket.socket:
    """Return a non-blocking connection that is still being established."""
    sock = socket.socket()
    sock.bind((ip, 0))
    sock.setblocking(False)
    with suppress(BlockingIOError):
        sock.connect(("127.0.0.1", port))
    return sock


@contextmanager
def _running(greedy: Callable[[], Iterator[int]], core: int) -> Iterator["Synchronized[int]"]:
    """In a separate process, run a client that sends too much.

    Yield the count of its queries, connections or octets.
    """
    done: Synchronized[int] = multiprocessing.Value("q", 0)

    def work() -> None:
        os.sched_setaffinity(0, {core})
        os.nice(_GREEDY_NICE)
        for count in greedy():
            done.value += count

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    try:
        yield done
    finally:
        process.kill()
        process.join()


# Ordinary clients


def _beside(
    what: str, greedy: Callable[[], Iterator[int]], port: int, query: bytes, seconds: float, core: int
) -> Beside:
    with _running(greedy, core) as done:
        began = time.monotonic()
        udp, tcp = _ask(port, query, seconds)
        greedy_per_s = done.value / (time.monotonic() - began)
    return Beside(what, greedy_per_s, udp, tcp)


def _ask(port: int, query: bytes, seconds: float) -> tuple[Asked, Asked]:
    """Let the ordinary clients send queries over UDP and over TCP for `seconds`."""

    async def all_clients() -> tuple[Asked, Asked]:
        ips = [f"127.0.1.{number + 1}" for number in range(ORDINARY)]
        waits = [
            asyncio.gather(*[_client(protocol(port, ip), query, seconds) for ip in ips]) for protocol in (_Udp, _Tcp)
        ]
        udp, tcp = [_asked([wait for each in await kind for wait in each]) for kind in waits]
        return udp, tcp

    return asyncio.run(all_clients())


def _asked(waits_s: list[float]) -> Asked:
    answered = sorted(each for each in waits_s if each < _PATIENT_S)
    return Asked(len(waits_s), len(answered), answered[len(answered) * 99 // 100] if answered else _PATIENT_S)


async def _client(asker: "_Udp | _Tcp", query: bytes, seconds: float) -> list[float]:
    """Return how long each query waited for its reply. For a query without a reply, return `_PATIENT_S`."""

    async def ask() -> float:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENT_S):
                await asker.ask(query)
        except (OSError, TimeoutError, EOFError):
            return _PATIENT_S
        return time.monotonic() - began

    count = int(seconds / asker.INTERVAL_S)
    asking = []
    for _ in range(count):
        asking.append(asyncio.create_task(ask()))
        await asyncio.sleep(asker.INTERVAL_S)
    return list(await asyncio.gather(*asking))


class _Udp:
    """Sends each query from a new port, as a stub resolver does."""

    INTERVAL_S = 0.05

    def __init__(self, port: int, ip: str) -> None:
        self._port, self._ip = port, ip

    async def ask(self, query: bytes) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.bind((self._ip, 0))
            sock.connect(("127.0.0.1", self._port))
            sock.send(query)
            await asyncio.get_running_loop().sock_recv(sock, 4096)


class _Tcp:
    """Sends one query after another over a connection that it keeps open."""

    INTERVAL_S = 0.2

    def __init__(self, port: int, ip: str) -> None:
        self._port, self._ip = port, ip
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, query: bytes) -> None:
        async with self._lock:
            try:
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._ip, 0))
                reader, writer = self._streams
                writer.write(len(query).to_bytes(2) + query)
                await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            except BaseException:
                self._streams = None  # a late reply must not be taken for the reply to the next query
                raise


def table(peak_qps: float, found: list[Beside]) -> Table:
    """Return the figures to show."""
    rows = [
        [
            each.greedy,
            f"{each.greedy_per_s:,.0f}",
            f"{each.udp.lost:.2%}",
            f"{each.udp.p99_s * 1000:.0f}",
            f"{each.tcp.lost:.2%}",
            f"{each.tcp.p99_s * 1000:.0f}",
        ]
        for each in found
    ]
    columns = ["next to", "of it", "UDP lost", "p99, ms", "TCP lost", "p99, ms"]
    title = (
        f"{ORDINARY} ordinary clients of a worker that has a twentieth of a core and answers {peak_qps:,.0f}/s; "
        "wanted: 1 % lost or less"
    )
    return Table(title, columns, rows)
