"""Real processes count the queries that a client sends. The counts remain when a process exits."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.running import query
from tests.upstream import world
from tests.waiting import PATIENCE_S, until

MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.1.1, ports: [{name: http, port: 80}]}
"""
WEB = "web.shop.svc.cluster.local."
A, SRV, PTR, TXT, AAAA, HTTPS = 1, 33, 12, 16, 28, 65
# Each row has the message, the number of queries over UDP and TCP, and the labels of their count: zone, type, rcode,
# DO.
NO_RECORDS = bytes(4) + b"\0\1" + bytes(4)
DO = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0"


def with_do(message: bytes) -> bytes:
    return message[:11] + b"\1" + message[12:] + DO


SENT = [
    (query(WEB, A), 5, 2, ("cluster.local.", "A", "NOERROR", False)),
    (with_do(query(WEB, A)), 3, 1, ("cluster.local.", "A", "NOERROR", True)),
    (query(WEB, SRV), 1, 0, ("cluster.local.", "SRV", "NOERROR", False)),
    (query(WEB, AAAA), 2, 2, ("cluster.local.", "AAAA", "NOERROR", False)),
    (query(WEB, HTTPS), 2, 0, ("cluster.local.", "HTTPS", "NOERROR", False)),
    (query("no.shop.svc.cluster.local.", A), 4, 1, ("cluster.local.", "A", "NXDOMAIN", False)),
    (with_do(query("no.shop.svc.cluster.local.", A)), 2, 0, ("cluster.local.", "A", "NXDOMAIN", True)),
    (query("1.1.96.10.in-addr.arpa.", PTR), 3, 1, ("in-addr.arpa.", "PTR", "NOERROR", False)),
    (query("example.com.", A), 2, 1, (".", "A", "REFUSED", False)),
    (query(WEB, 251), 1, 1, ("cluster.local.", "IXFR", "REFUSED", False)),
    (query(WEB, A)[:-1], 2, 1, (".", "other", "FORMERR", False)),
    (b"\0\1\x28" + query(WEB, A)[3:], 1, 1, (".", "other", "NOTIMP", False)),
]


class Running:
    """A `pydns serve` whose metrics the test can read."""

    def __init__(self, folder: Path, state_dir: Path, flags: Sequence[str] = ()) -> None:
        self._state_dir = state_dir
        arguments = ["--manifests", str(folder), "--state-dir", str(state_dir), "--listen", "127.0.0.1:0"]
        arguments += ["--health", "off", "--ready", "off", "--metrics", "127.0.0.1:0", "--drain-quiet", "0"]
        command = [sys.executable, "-m", "pydns", "serve", "--workers", "1", *arguments, *flags]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            said += line
            if " event=synced" in line:
                break
        self.port = int(re.findall(r"event=listening address=\S+:(\d+)", said)[0])
        self.metrics_port = int(re.findall(r"flag=--metrics address=\S+:(\d+)", said)[0])
        self._drainer = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._drainer.start()

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=PATIENCE_S) as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            lines = response.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    def status(self) -> str:
        command = [sys.executable, "-m", "pydns", "status", "--state-dir", str(self._state_dir)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def ask(self, message: bytes) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(("127.0.0.1", self.port))
            sock.send(message)
            return sock.recv(4096)

    def ask_tcp(self, message: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as sock, sock.makefile("rb") as replies:
            sock.sendall(len(message).to_bytes(2) + message)
            return replies.read(int.from_bytes(replies.read(2)))

    def worker(self) -> int:
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[1])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self._drainer.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "shop.yaml").write_text(MANIFEST)
    (tmp_path / "state").mkdir()
    server = Running(folder, tmp_path / "state")
    yield server
    server.close()


def settled(server: Running, name: str, wanted: float) -> dict[str, float]:
    """Wait until the metrics that begin with `name` add up to `wanted`, and return all. This takes half a second."""
    until(lambda: added_up(server.metrics(), name) == wanted, found=server.metrics)
    return server.metrics()


def added_up(metrics: dict[str, float], name: str, *labels: str) -> float:
    return sum(value for key, value in metrics.items() if key.startswith(name) and all(each in key for each in labels))


def test_counts_equal_the_queries_that_were_sent(running: Running) -> None:
    octets = {"udp": 0, "tcp": 0}
    for message, over_udp, over_tcp, _ in SENT:
        octets["udp"] += over_udp * len(message)
        octets["tcp"] += over_tcp * len(message)
        for _ in range(over_udp):
            running.ask(message)
        for _ in range(over_tcp):
            running.ask_tcp(message)
    every = sum(over_udp + over_tcp for _, over_udp, over_tcp, _ in SENT)
    found = settled(running, "coredns_dns_responses_total", every)

    requests: dict[tuple[str, str, str], int] = {}
    responses: dict[tuple[str, str], int] = {}
    do: dict[str, int] = {}
    for _, over_udp, over_tcp, (zone, type_text, rcode, dnssec_ok) in SENT:
        for proto, times in (("udp", over_udp), ("tcp", over_tcp)):
            requests[zone, proto, type_text] = requests.get((zone, proto, type_text), 0) + times
        responses[zone, rcode] = responses.get((zone, rcode), 0) + over_udp + over_tcp
        do[zone] = do.get(zone, 0) + (over_udp + over_tcp) * dnssec_ok
    for (zone, proto, type_text), times in requests.items():
        labels = f'zone="{zone}"', f'proto="{proto}"', 'family="1"', f'type="{type_text}"'
        assert added_up(found, "coredns_dns_requests_total", *labels) == times, labels
    for (zone, rcode), times in responses.items():
        labels = f'zone="{zone}"', f'rcode="{rcode}"'  # type: ignore[assignment]
        assert added_up(found, "coredns_dns_responses_total", *labels) == times, labels
    for zone, times in do.items():
        assert added_up(found, "coredns_dns_do_requests_total", f'zone="{zone}"') == times, zone
    for proto, total in octets.items():
        assert added_up(found, "coredns_dns_request_size_bytes_sum", f'proto="{proto}"') == total
    assert added_up(found, "coredns_dns_requests_total") == every
    assert added_up(found, "coredns_dns_request_duration_seconds_count") == every
    assert added_up(found, "coredns_dns_request_duration_seconds_bucket", 'le="+Inf"') == every
    assert 0 < added_up(found, "coredns_dns_request_duration_seconds_sum") < 5
    assert added_up(found, "coredns_dns_response_size_bytes_count") == every
    assert added_up(found, "pydns_worker_queries_total") == every


def test_counts_continue_after_a_worker_was_killed(running: Running) -> None:
    for _ in range(3):
        running.ask(query(WEB, A))
    settled(running, "coredns_dns_requests_total", 3)
    before = running.worker()
    os.kill(before, signal.SIGKILL)
    running.ask(query(WEB, A))  # the query waits for the next worker
    found = settled(running, "coredns_dns_requests_total", 4)
    assert running.worker() != before
    assert added_up(found, "pydns_restarts_total", 'process="worker 0"') == 1


def test_the_state_of_the_data_is_exposed(running: Running) -> None:
    found = running.metrics()
    assert added_up(found, "coredns_dns_requests_total") == 0
    running.ask(query(WEB, A))
    found = settled(running, "coredns_dns_requests_total", 1)
    assert any(f'server="dns://:{running.port}"' in each for each in found)
    assert found['pydns_synced{resource="Service"}'] == 1
    assert found['pydns_objects{resource="Service"}'] == 1
    assert 0 <= found['pydns_data_age_seconds{resource="Service"}'] < 10
    assert found["pydns_ready"] == 1
    assert found["pydns_table_answers"] > 0
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_cpu_seconds_total"] > 0
    assert abs(found["process_start_time_seconds"] - time.time()) < 30


ADDRESS, NO_NAME, FAILS, IS_SILENT = "www", "nx", "fails", "silent"


def say(packet: bytes, _: str) -> list[bytes]:
    first = packet[13 : 13 + packet[12]].lower().rstrip(b"0123456789")
    if first == IS_SILENT.encode() or packet[12] == 0:  # the probes of pydns ask for the root, and get no reply either
        return []
    return [world.reply_to(packet, world.Server(rcode={b"nx": 3, b"fails": 2}.get(first, 0)))]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    server = FakeUpstream(say)
    yield server
    server.close()


@pytest.fixture
def forwarding(tmp_path: Path, upstream: FakeUpstream) -> Iterator[Running]:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "shop.yaml").write_text(MANIFEST)
    (tmp_path / "state").mkdir()
    config = tmp_path / "config.yaml"
    config.write_text(f"upstreams: ['127.0.0.1:{upstream.port}']\ncache: {{entries: 4, prefetch: false}}")
    server = Running(folder, tmp_path / "state", ["--config", str(config)])
    # pydns refuses this query until it has the configuration.
    until(lambda: not server.ask(query("ready.example.", A))[3] & 15)
    yield server
    server.close()


def test_forwarded_queries_are_counted_by_their_outcome(forwarding: Running, upstream: FakeUpstream) -> None:
    before = settled(forwarding, "coredns_cache_misses_total{", 1)
    octets = 0
    # Each row has the first label, the type, and whether TCP is used.
    for first, rtype, tcp in (
        (ADDRESS, A, False),
        (ADDRESS, A, False),  # the cache answers this query
        (ADDRESS, A, False),  # the cache answers this query
        (ADDRESS, A, True),  # the cache answers this query
        (ADDRESS, TXT, True),
        (NO_NAME, A, False),
        (NO_NAME, A, False),  # the cache answers this query
        (FAILS, A, False),
    ):
        reply = (forwarding.ask_tcp if tcp else forwarding.ask)(query(f"{first}.example.", rtype))
        octets += len(reply)
    # With the queries above, there are 6 answers for 4 places; with `ready` and a probe for loops, there are 8.
    for number in range(3):
        octets += len(forwarding.ask(query(f"{ADDRESS}{number}.example.", A)))
    wanted = {
        'coredns_dns_requests_total{family="1" proto="udp" type="A" zone="."': 9,
        'coredns_dns_requests_total{family="1" proto="tcp" type="A" zone="."': 1,
        'coredns_dns_requests_total{family="1" proto="tcp" type="TXT" zone="."': 1,
        'coredns_dns_responses_total{plugin="forward" rcode="NOERROR" zone="."': 8,
        'coredns_dns_responses_total{plugin="forward" rcode="NXDOMAIN" zone="."': 2,
        'coredns_dns_responses_total{plugin="forward" rcode="SERVFAIL" zone="."': 1,
        "coredns_dns_request_duration_seconds_count{": 11,
        "coredns_dns_response_size_bytes_sum{": octets,
        "coredns_cache_requests_total{": 11,
        'coredns_cache_hits_total{type="success"': 3,
        'coredns_cache_hits_total{type="denial"': 1,
        "coredns_cache_misses_total{": 7,
        "coredns_cache_evictions_total{": 4,
        'coredns_proxy_request_duration_seconds_count{rcode="NXDOMAIN"': 1,
        "coredns_forward_healthcheck_broken_total": 0,
    }
    settled(forwarding, "coredns_dns_responses_total", added_up(before, "coredns_dns_responses_total") + 11)
    after = forwarding.metrics()
    changes = {}
    for series in wanted:
        name, _, labels = series.partition("{")
        changes[series] = added_up(after, name, *labels.split()) - added_up(before, name, *labels.split())
    assert changes == wanted
    assert added_up(after, "coredns_cache_entries") == 4
    sent = added_up(after, 'pydns_forward_events_total{event="sent"}')
    assert sent == len(upstream.asked)
    assert added_up(after, "coredns_proxy_request_duration_seconds_count", f'to="127.0.0.1:{upstream.port}"') == sent
    assert after["pydns_accepted_configurations_total"] == 1


def test_a_breaker_is_open_while_an_upstream_is_silent(forwarding: Running, upstream: FakeUpstream) -> None:
    gauge = f'pydns_upstream_open_breakers{{to="127.0.0.1:{upstream.port}"}}'
    assert settled(forwarding, "coredns_cache_misses_total{", 1)[gauge] == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", forwarding.port))
        for number in range(8):
            sock.send(query(f"{IS_SILENT}{number}.example.", A))
        until(lambda: forwarding.metrics()[gauge] == 1)
        until(lambda: "regarded as dead by 1 of 1 workers" in forwarding.status())
        assert added_up(forwarding.metrics(), "coredns_forward_healthcheck_broken_total") == 0
        sock.send(query(f"{IS_SILENT}8.example.", A))
        until(lambda: added_up(forwarding.metrics(), "coredns_forward_healthcheck_broken_total") == 1)
    numbers = count()

    # the check sends a query each time, because the breaker of a failing upstream may open again
    def is_closed() -> bool:
        forwarding.ask(query(f"{ADDRESS}{next(numbers)}.example.", A))
        return forwarding.metrics()[gauge] == 0

    until(is_closed)
    assert added_up(forwarding.metrics(), "coredns_forward_healthcheck_broken_total") >= 2
