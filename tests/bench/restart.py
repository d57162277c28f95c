"""Measure a rolling restart under load: the queries lost while two instances are replaced one after the other.

A Deployment replaces its pods in the same way. The benchmark acts as the load balancer. It sends queries alternately to
both instances, and never repeats a query. An instance leaves the rotation some time after its /ready has failed, as
when the endpoints of a Service change. Until then the instance still gets queries while it drains, and must answer.
"""

import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import dns.message

from tests.bench import cluster, servers
from tests.bench.report import Table

RESTARTS = 20
RATE = 2000  # queries per second, in total for both instances
WORKERS = 2
_SERVICES = 100
_SOCKETS = 8  # sockets for each instance, so that each of its workers gets some
_POLL_S = 0.1  # the interval between requests to /ready
_PROBE_S = 1.0  # the longest wait for an answer of /ready
_NOTICE_S = 0.7  # the time from the first failure of /ready until the last client stops using the instance
_QUIET_S = 1.0  # the value of --drain-quiet
_PATIENCE_S = 30.0
_STRAGGLERS_S = 0.5  # the time for late replies after an instance has exited


class Life(NamedTuple):
    """The queries to one instance from its start to its exit."""

    sent: int
    lost: int
    sent_draining: int  # how many of the queries were sent after SIGTERM
    unready_s: float  # the time from SIGTERM until /ready failed
    ended_s: float  # the time from SIGTERM until the process had exited
    status: int  # the exit status


class _Client:
    """One instance as its clients see it. Only the balancer's thread sends; other threads read the counts."""

    def __init__(self, port: int) -> None:
        self.sent = self.answered = 0
        self._sockets = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(_SOCKETS)]
        for each in self._sockets:
            each.setblocking(False)
            each.connect(("127.0.0.1", port))

    def ask(self, query: bytes) -> None:
        sock = self._sockets[self.sent % _SOCKETS]
        self.sent += 1
        with suppress(OSError):  # the query is refused, and stays unanswered
            sock.send(self.sent.to_bytes(4)[2:] + query)

    def receive(self) -> None:
        for sock in self._sockets:
            while True:
                try:
                    sock.recv(4096)
                except BlockingIOError:
                    break
                except OSError:  # the error belongs to an earlier query that was refused
                    continue
                self.answered += 1

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class _Balancer:
    """Sends queries alternately to the instances in `rotation`, `RATE` per second in total, and counts all replies."""

    def __init__(self, query: bytes) -> None:
        self.rotation: list[_Client] = []
        self.clients: list[_Client] = []
        self._query = query
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Balancer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()
        for client in self.clients:
            client.close()

    def _run(self) -> None:
        turn = 0
        due = time.monotonic()
        while not self._stopping:
            rotation = self.rotation
            while rotation and due <= time.monotonic():
                rotation[turn % len(rotation)].ask(self._query)
                turn += 1
                due += 1 / RATE
            for client in self.clients:
                client.receive()
            time.sleep(0.0005)


class _Instance(NamedTuple):
    process: "subprocess.Popen[bytes]"
    client: _Client


class _Place(NamedTuple):
    """A place where instances run one after the other, like the place of a pod behind a Service."""

    command: str
    manifests: Path
    state_dir: Path
    port: int
    probe_port: int

    def start(self) -> _Instance:
        """Start an instance and wait until it is ready."""
        source = ["--manifests", str(self.manifests), "--ready", f"127.0.0.1:{self.probe_port}"]
        source += ["--health", "off", "--metrics", "off", "--drain-quiet", str(_QUIET_S)]
        process = servers.begin(self.command, source, WORKERS, self.port, self.state_dir)
        _wait_until(self, ready=True)
        return _Instance(process, _Client(self.port))


def run(command: str, restarts: int = RESTARTS) -> list[Life]:
    """Replace two instances alternately, `restarts` times in total.

    Raises `servers.Failed` if an instance doesn't become ready.
    """
    services = cluster.services(_SERVICES)
    question = dns.message.make_query(services[0].dns_name + ".", "A").to_wire()[2:]
    with ExitStack() as ending:
        made = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="restart-bench-")))
        (made / "manifests").mkdir()
        cluster.write_manifests(made / "manifests", services)
        places = [
            _Place(command, made / "manifests", made / f"state-{i}", servers.free_port(), servers.free_port())
            for i in range(2)
        ]
        instances = [ending.enter_context(_running(place)) for place in places]
        balancer = ending.enter_context(_Balancer(question))
        balancer.clients = [each[0].client for each in instances]
        balancer.rotation = list(balancer.clients)
        lives = []
        for restart in range(restarts):
            index = restart % 2
            lives.append(_replace(balancer, places[index], instances[index]))
        return lives


def _replace(balancer: _Balancer, place: _Place, held: list[_Instance]) -> Life:
    process, client = held[0]
    began = time.monotonic()
    sent_before = client.sent
    process.terminate()
    _wait_until(place, ready=False)
    unready_s = time.monotonic() - began
    time.sleep(_NOTICE_S)
    balancer.rotation = [each for each in balancer.rotation if each is not client]
    status = process.wait(_PATIENCE_S)
    ended_s = time.monotonic() - began
    time.sleep(_STRAGGLERS_S)
    sent = client.sent
    life = Life(sent, sent - client.answered, sent - sent_before, unready_s, ended_s, status)
    held[0] = place.start()
    balancer.clients = [each for each in balancer.clients if each is not client] + [held[0].client]
    client.close()
    balancer.rotation = [*balancer.rotation, held[0].client]
    return life


@contextmanager
def _running(place: _Place) -> Iterator[list[_Instance]]:
    """Run an instance at a place; yield a list whose only item is the current instance.

    The caller may replace the instance.
    """
    held = [place.start()]
    try:
        yield held
    finally:
        servers.end(held[0].process)


def _wait_until(place: _Place, *, ready: bool) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while servers.is_ready(place.probe_port, _PROBE_S) is not ready:
        if time.monotonic() > deadline:
            raise servers.Failed(f"/ready was not {200 if ready else 503} within {_PATIENCE_S:g} s")
        time.sleep(_POLL_S)


def table(lives: list[Life]) -> Table:
    """Return the figures to show."""
    row = [
        str(len(lives)),
        f"{sum(life.sent for life in lives):,}",
        f"{sum(life.sent_draining for life in lives):,}",
        str(sum(life.lost for life in lives)),
        f"{max(life.unready_s for life in lives) * 1000:.0f}",
        f"{max(life.ended_s for life in lives):.1f}",
        ",".join(sorted({str(life.status) for life in lives})),
        "none lost",
    ]
    header = ["restarts", "sent", "of them draining", "lost", "unready ms", "ended s", "status", "wanted"]
    return Table(f"Rolling restart of two instances at {RATE:,} queries/s, nothing sent twice", header, [row])
