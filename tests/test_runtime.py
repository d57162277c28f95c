"""Real processes on loopback: what probes and clients see while processes exit, hang, drain and restart."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.apiserver import FakeApiServer
from tests.running import PROBED, WEB, Server, answer, is_running, query
from tests.waiting import PATIENCE_S, until


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.apply("Service", {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": "10.96.1.1"}})
        yield server


@pytest.fixture
def start_on_api(api: FakeApiServer, start: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    source = ["--kubeconfig", str(api.kubeconfig(tmp_path))]
    return lambda **options: start(source=source, flags=PROBED, **options)


CLIENTS = 4


class Load:
    """Clients that send queries without pause: each sends its next query after a reply. Lost queries stay lost."""

    def __init__(self, port: int, clients: int, patience_s: float = 10.0) -> None:
        self.answered = self.lost = 0
        self._port = port
        self._patience_s = patience_s
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stopping.is_set():
            # Each socket has a new port, so another worker may get the query.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(self._patience_s)
                sock.connect(("127.0.0.1", self._port))
                sock.send(query(WEB))
                try:
                    assert answer(sock.recv(4096)) == "10.96.1.1"
                    self.answered += 1
                except OSError:
                    self.lost += 1

    def end(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)


# One batch may contain the queries of all clients.
@pytest.mark.parametrize(("victim", "may_lose"), [("controller", 0), ("worker", CLIENTS)])
def test_a_process_killed_under_load_loses_only_its_current_queries(
    start: Callable[..., Server], victim: str, may_lose: int
) -> None:
    server = start(workers=1)
    load = Load(server.port, CLIENTS)
    try:
        until(lambda: load.answered > 500)
        killed = server.children()[("controller", "worker").index(victim)]
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(server.children()) == 2 and killed not in server.children())
        before = load.answered
        until(lambda: load.answered > before + 500)
    finally:
        load.end()
    assert load.lost <= may_lose


def test_a_stuck_worker_fails_the_health_probe_and_is_replaced(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(workers=2, flags=PROBED)

    def reported() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(server.get("/status")[1])["processes"][3]
        return found

    # The first self-check has passed: before this check, a worker is allowed more time.
    until(lambda: server.get("/ready")[0] == 200)
    assert server.get("/health") == (200, "OK\n")
    stuck = server.children()[2]
    os.kill(stuck, signal.SIGSTOP)

    until(lambda: server.get("/health")[0] == 503 and server.get("/health")[1].startswith("worker 1: no answer for "))
    until(lambda: not is_running(stuck))
    until(lambda: server.get("/health") == (200, "OK\n"))

    assert len(server.logged("worker stuck")) == 1  # worker 0 was not stuck
    until(lambda: reported()["restarts"] == 1)  # the metrics page is updated once a second
    worker = reported()
    assert (worker["process"], worker["restarts"], worker["stuck"]) == ("worker 1", 1, 1)
    assert is_running(worker["pid"])
    until(
        lambda: (
            "worker 1: pid " in server.status()
            and "1 restarts, 1 of them because the process was stuck" in server.status()
        )
    )


def test_probes_are_answered_by_the_next_controller(start: Callable[..., Server]) -> None:
    server = start(flags=PROBED)
    killed = server.children()[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: not is_running(killed))
    # The request waits in the socket until the next controller accepts it.
    assert server.get("/health") == (200, "OK\n")
    until(lambda: server.get("/ready") == (200, "OK\n"))


def test_during_a_drain_readiness_fails_and_queries_are_answered_until_clients_stop(
    start: Callable[..., Server],
) -> None:
    # The worker must not treat a client as quiet if the busy machine delays it.
    server = start(workers=2, flags=(*PROBED, "--drain-quiet", "4"))
    assert server.ask(WEB) == "10.96.1.1"  # the answer isn't late
    server.process.send_signal(signal.SIGTERM)
    until(lambda: bool(server.logged("stopping")))
    assert server.get("/ready") == (503, "draining\n")
    # On a busy machine a worker may get no CPU for 5 s, and is then treated as silent.
    until(lambda: server.get("/health")[0] == 200)
    began = time.monotonic()
    asked = in_doubt = 0
    all_count = False  # whether every worker has begun to count; the signal to begin may arrive after some queries
    while time.monotonic() - began < 4.5 or not all_count:  # this is longer than the quiet time for which a drain waits
        assert server.ask(WEB) == "10.96.1.1"
        asked += 1
        if not all_count:
            in_doubt = asked
            all_count = all(server.late_queries())
        time.sleep(0.05)  # the clients send one query in this time
    assert server.wait() == 0
    late = int(server.logged("stopped")[0].rpartition("late_queries=")[2])
    assert asked - in_doubt < late <= asked


def test_a_drain_ends_even_if_clients_still_send_queries(start: Callable[..., Server]) -> None:
    server = start(flags=("--drain-quiet", "60", "--drain-max", "8"))
    load = Load(server.port, clients=1, patience_s=0.2)
    try:
        assert server.stop() == 0
    finally:
        load.end()
    assert "late_queries=0\n" not in server.logged("stopped")[0]


def test_a_second_signal_ends_a_drain(start: Callable[..., Server]) -> None:
    server = start(flags=("--drain-quiet", "60"))
    server.process.send_signal(signal.SIGTERM)
    until(lambda: bool(server.logged("stopping")))
    assert server.stop(signal.SIGINT) == 0


def test_a_drain_also_waits_for_a_worker_that_starts_during_it(start: Callable[..., Server]) -> None:
    server = start(flags=("--drain-quiet", "60"))
    server.process.send_signal(signal.SIGTERM)
    until(lambda: bool(server.logged("stopping")))
    killed = server.children()[1]
    os.kill(killed, signal.SIGKILL)
    until(lambda: not is_running(killed))
    assert server.ask(WEB) == "10.96.1.1"
    assert server.stop() == 0
    assert "late_queries=1\n" in server.logged("stopped")[0]


def test_readiness_names_missing_kinds_and_survives_a_failure_of_the_api_server(
    start_on_api: Callable[..., Server], api: FakeApiServer
) -> None:
    api.fail("Service", "list", 403, reason="Forbidden", message="no")
    api.fail("Service", "watch", 403, reason="Forbidden", message="no")
    server = start_on_api(event="serving in part")
    code, missing = server.get("/ready")
    assert (code, missing.splitlines()[0].partition(":")[0], len(missing.splitlines())) == (503, "Service", 1)
    assert "403" in missing

    api.heal()
    until(lambda: server.get("/ready") == (200, "OK\n"))
    api.fail("Service", "watch", 500)
    api.close_watches()
    until(lambda: "500" in server.get("/status")[1])
    assert server.get("/ready") == (200, "OK\n")


def test_a_restart_without_the_api_server_is_ready_at_once_with_the_restored_table(
    start_on_api: Callable[..., Server], api: FakeApiServer
) -> None:
    assert start_on_api().stop() == 0
    for kind in ("Namespace", "Service", "EndpointSlice"):
        for verb in ("list", "watch"):
            api.fail(kind, verb, 500)
    began = time.monotonic()
    server = start_on_api(event="listening")
    assert server.ask(WEB) == "10.96.1.1"
    print(f"answered after {time.monotonic() - began:.3f} s")
    assert server.get("/ready") == (200, "OK\n")
    assert server.ask("new.shop.svc.cluster.local") == "rcode 2"
    assert json.loads(server.get("/status")[1])["restored"] is True
    assert "serving   a table from before the restart" in server.status()
    api.heal()
    # The controller asks the API server again within 30 s.
    until(lambda: json.loads(server.get("/status")[1])["restored"] is False, 60)
    until(lambda: "from before" not in server.status())


def test_an_incomplete_table_is_not_ready_after_a_restart(
    start_on_api: Callable[..., Server], api: FakeApiServer
) -> None:
    api.fail("EndpointSlice", "list", 403)
    api.fail("EndpointSlice", "watch", 403)
    assert start_on_api(event="serving in part").stop() == 0
    server = start_on_api(event="serving in part")
    assert server.get("/ready")[0] == 503


def test_the_status_has_the_processes_and_their_memory(start: Callable[..., Server]) -> None:
    server = start(flags=PROBED, workers=2)
    until(lambda: "worker 1: pid" in server.status())
    said = server.status()
    for title, pid in zip(("controller", "worker 0", "worker 1"), server.children(), strict=True):
        assert f"  {title}: pid {pid}, 0 restarts, 0 of them because the process was stuck" in said
    whole = json.loads(server.get("/status")[1])
    assert (whole["synced"], whole["draining"], len(whole["processes"])) == (True, False, 4)
    assert 20e6 < whole["memory"] < 300e6
    server.stop()
    assert "worker 1: pid" in server.status()  # the table still has the last status of the server
    assert "memory" not in server.status()


@pytest.mark.parametrize("flag", ["--health", "--ready", "--metrics"])
def test_a_taken_http_port_is_refused_with_one_line(manifests: Path, tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        at = f"127.0.0.1:{other.getsockname()[1]}"
        arguments = ["--listen", "127.0.0.1:0", "--manifests", str(manifests), "--state-dir", str(tmp_path / "state")]
        ended = subprocess.run(
            [sys.executable, "-m", "pydns", "serve", *arguments, flag, at], capture_output=True, text=True, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, f"pydns serve: {flag} {at}: Address already in use\n")
