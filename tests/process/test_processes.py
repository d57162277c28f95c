"""Real processes on loopback: how they start, stop, exit unexpectedly and change, and when they refuse to start."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest
from dns.edns import EDECode, EDEOption

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.process import sources
from pydns.process.pulse import STOP
from tests.running import COMMAND, PROBED, SERVICE, WEB, Server, answer, is_running, query
from tests.waiting import PATIENCE_S, until


def test_after_sigterm_arrived_queries_are_answered_and_the_exit_status_is_0(start: Callable[..., Server]) -> None:
    server = start()
    worker = server.children()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", server.port))
        until(lambda: server.ask(WEB) == "10.96.1.1")
        os.kill(worker, signal.SIGSTOP)  # all queries must arrive before the worker reads
        # Otherwise the worker might handle SIGTERM first.
        until(lambda: ") T " in Path(f"/proc/{worker}/stat").read_text())
        for _ in range(200):  # more queries than a worker reads at a time
            sock.send(query(WEB))
        server.process.send_signal(signal.SIGTERM)
        until(lambda: _awaits(worker, STOP))
        os.kill(worker, signal.SIGCONT)
        assert server.wait() == 0
        for _ in range(200):
            assert answer(sock.recv(4096)) == "10.96.1.1"


def _awaits(pid: int, sent: signal.Signals) -> bool:
    """Return whether a signal is pending for a process."""
    pending = re.findall(r"^ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(pending[0], 16) >> (sent - 1) & 1)


def test_a_killed_worker_is_replaced_at_once(start: Callable[..., Server]) -> None:
    server = start()
    worker = server.children()[1]
    os.kill(worker, signal.SIGKILL)
    until(lambda: not is_running(worker))
    began = time.monotonic()
    assert server.ask(WEB) == "10.96.1.1"  # the query waits in the socket for the next worker
    print(f"answered after {time.monotonic() - began:.3f} s")
    assert worker not in server.children()
    assert re.search(r" again_in_s=0\.[12]\n", server.logged("process died")[0])


def test_children_exit_if_the_supervisor_is_killed(start: Callable[..., Server]) -> None:
    server = start()
    until(lambda: len(server.children()) == 2)
    children = server.children()
    server.stop(signal.SIGKILL)
    until(lambda: not any(is_running(pid) for pid in children))


@pytest.fixture
def start_on_a_large_zone(start: Callable[..., Server], tmp_path: Path) -> Callable[..., Server]:
    """Start a server that has just begun to read a zone file. Reading takes several seconds."""
    zones = tmp_path / "zones"
    zones.mkdir()
    records = "".join(f"h{index} A 10.{index >> 16}.{index >> 8 & 255}.{index & 255}\n" for index in range(150_000))
    (zones / "big.example.zone").write_text(f"$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{records}")

    def begin(**options: Any) -> Server:
        server = start(flags=(*PROBED, "--zones", str(zones)), event="manifests read", **options)
        until(lambda: server.ask(WEB) == "10.96.1.1")
        return server

    return begin


def test_while_a_folder_is_first_read_unknown_names_get_servfail_with_a_reason(
    start_on_a_large_zone: Callable[..., Server],
) -> None:
    server = start_on_a_large_zone()
    asked = dns.message.make_query("h5.big.example", "A", use_edns=0)
    reply = dns.query.udp(asked, "127.0.0.1", port=server.port, timeout=PATIENCE_S)
    assert reply.rcode() == dns.rcode.SERVFAIL  # the server neither refuses the query nor forwards it
    assert [option.code for option in reply.options if isinstance(option, EDEOption)] == [EDECode.NOT_READY]
    assert server.get("/ready")[0] == 503
    assert server.get("/health")[0] == 200
    until(lambda: server.ask("h5.big.example") == "10.0.0.5", 3 * PATIENCE_S)
    until(lambda: server.get("/ready")[0] == 200)
    assert server.ask("h5.other.example") == "rcode 5"


def test_sigterm_ends_the_server_while_a_folder_is_first_read(start_on_a_large_zone: Callable[..., Server]) -> None:
    server = start_on_a_large_zone()
    assert server.stop() == 0
    assert server.logged("zone files read") == []


def test_children_exit_if_the_supervisor_is_killed_during_the_first_read(
    start_on_a_large_zone: Callable[..., Server],
) -> None:
    server = start_on_a_large_zone()
    children = server.children()
    server.stop(signal.SIGKILL)
    until(lambda: not any(is_running(pid) for pid in children))
    assert server.logged("zone files read") == []


def test_sigterm_to_the_whole_process_group_also_begins_a_drain(start: Callable[..., Server]) -> None:
    server = start(flags=(*PROBED, "--drain-quiet", "60"), command=("setsid", *COMMAND))
    os.killpg(os.getpgid(server.children()[0]), signal.SIGTERM)
    until(lambda: bool(server.logged("stopping")))
    until(lambda: server.ask(WEB) == "10.96.1.1" and sum(server.late_queries()) > 0)
    os.killpg(os.getpgid(server.children()[0]), signal.SIGTERM)
    assert server.wait() == 0


def test_new_edited_renamed_and_deleted_files_take_effect(start: Callable[..., Server], manifests: Path) -> None:
    server = start()
    new = "new.shop.svc.cluster.local"
    assert server.ask(new) == "rcode 3"
    (manifests / "new.yaml").write_text(SERVICE.format(name="new", address="10.96.1.8"))
    until(lambda: server.ask(new) == "10.96.1.8")
    (manifests / "new.yaml").write_text(SERVICE.format(name="new", address="10.96.1.9"))
    until(lambda: server.ask(new) == "10.96.1.9")
    (manifests / "new.yaml").rename(manifests / "new.off")
    until(lambda: server.ask(new) == "rcode 3")
    (manifests / "web.yaml").unlink()
    until(lambda: server.ask(WEB) == "rcode 3")


def test_a_restart_serves_the_old_table(start: Callable[..., Server]) -> None:
    assert start().stop() == 0
    assert start().ask(WEB) == "10.96.1.1"


@pytest.mark.parametrize(("listen", "asked"), [("[::]:0", "::1"), ("0.0.0.0:0", "127.0.0.2")])
def test_replies_come_from_the_address_that_was_asked(start: Callable[..., Server], listen: str, asked: str) -> None:
    assert start(listen=listen).ask(WEB, host=asked, timeout_s=10) == "10.96.1.1"


def test_dump_and_status_read_the_table_that_is_served(start: Callable[..., Server], tmp_path: Path) -> None:
    start()
    said = {
        verb: subprocess.run(
            [sys.executable, "-m", "pydns", verb, "--state-dir", str(tmp_path / "state")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for verb in ("dump", "status")
    }
    assert re.search(r"^web\.shop\.svc\.cluster\.local\.\s+5\s+IN\s+A\s+10\.96\.1\.1$", said["dump"], re.MULTILINE)
    assert re.search(r"^synced +yes$", said["status"], re.MULTILINE)


def test_queries_share_a_connection_and_a_slow_client_delays_no_other(start: Callable[..., Server]) -> None:
    server = start()
    message = len(query(WEB)).to_bytes(2) + query(WEB)
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, PATIENCE_S) as slow, socket.create_connection(address, PATIENCE_S) as quick:
        for octet in message[:-1]:
            slow.send(bytes([octet]))
        quick.sendall(message * 3)
        with quick.makefile("rb") as replies:
            for _ in range(3):
                assert answer(replies.read(int.from_bytes(replies.read(2)))) == "10.96.1.1"
        slow.send(message[-1:])
        with slow.makefile("rb") as replies:
            assert answer(replies.read(int.from_bytes(replies.read(2)))) == "10.96.1.1"


@pytest.mark.parametrize("taken", ["port", "state dir"])
def test_a_second_server_cannot_use_the_port_or_state_of_the_first(
    start: Callable[..., Server], manifests: Path, tmp_path: Path, taken: str
) -> None:
    first = start()
    port, state = (first.port, "other") if taken == "port" else (0, "state")
    arguments = ["--listen", f"127.0.0.1:{port}", "--manifests", str(manifests), "--state-dir", str(tmp_path / state)]
    done = subprocess.run(
        [sys.executable, "-m", "pydns", "serve", *arguments], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "event=listening" not in line]
    assert (done.returncode, len(complaints)) == (1, 1), done.stderr
    assert complaints[0].startswith("pydns serve: ")
    assert first.ask(WEB) == "10.96.1.1"


def test_a_killed_controller_is_replaced_and_follows_edits_again(start: Callable[..., Server], manifests: Path) -> None:
    server = start()
    controller = server.children()[0]
    os.kill(controller, signal.SIGKILL)
    assert server.ask(WEB) == "10.96.1.1"
    until(lambda: len(server.children()) == 2 and controller not in server.children())

    (manifests / "web.yaml").write_text(SERVICE.format(name="web", address="10.96.1.7"))

    until(lambda: server.ask(WEB) == "10.96.1.7")


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--workers", "0"], 2, "--workers: 0 is not a whole number from 1 to 256"),
        (["--ttl", "9999", "--pods", "maybe"], 2, "--ttl: 9999 is not a whole number from 0 to 3600"),
        (["--bogus"], 2, "pydns serve: --bogus is not a flag"),
        (["--manifests", "/nonexistent"], 1, "/nonexistent"),
        (
            ["--manifests", "manifests/demo", "--state-dir", "/proc/pydns"],
            1,
            "--state-dir /proc/pydns: can't be written",
        ),
        (["--kubeconfig", "/nonexistent"], 1, "kubeconfig /nonexistent: No such file or directory"),
        ([], 1, "not in a cluster"),
    ],
)
def test_a_failed_start_is_explained_in_one_line(flags: list[str], status: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pydns", "serve", "--listen", "127.0.0.1:0", "--log-level", "error"]
    command += [] if "--state-dir" in flags else ["--state-dir", str(tmp_path)]
    ended = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == status
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_missing_sources_are_all_reported_before_a_port_is_opened(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        command = [*COMMAND, "serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--state-dir", str(tmp_path)]
        sources = ["--manifests", f"{tmp_path}/none", "--zones", f"{tmp_path}/none"]
        ended = subprocess.run([*command, *sources], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr.splitlines()) == (
        1,
        [
            f"pydns serve: --manifests {tmp_path}/none: No such file or directory; "
            "wanted a folder with *.yaml, *.yml or *.json files",
            f"pydns serve: --zones {tmp_path}/none: No such file or directory; wanted a folder with *.zone files",
        ],
    )


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "KUBERNETES_SERVICE_HOST"),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "KUBERNETES_SERVICE_PORT"),
        (
            {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"},
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
        ),
    ],
)
def test_without_a_source_pydns_reports_what_the_pod_lacks(environment: dict[str, str], missing: str) -> None:
    (problem,) = sources.problems(settings_of(parser({}).parse_args(["serve"])), environment)
    assert problem.startswith(f"not in a cluster: {missing} is missing (looked for ")


def test_an_unknown_variable_is_logged_with_the_most_similar_one(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYDNS_LISTE", "127.0.0.1:53")
    server = start()
    assert [line.partition("event=")[2] for line in server.logged("unknown variable")] == [
        '"unknown variable" variable=PYDNS_LISTE did_you_mean=PYDNS_LISTEN\n'
    ]
