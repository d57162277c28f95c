"""A whole server on a full disk: it answers as before, logs the problem once, and later catches up."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.running import COMMAND, PROBED, WEB, Server, is_running, query
from tests.small_disk import DISK, fill, on_a_small_disk
from tests.waiting import PATIENCE_S, until

_MANY = 10_000  # number of Services; the small disk is too small for a table with all of them
_LAST = f"s{_MANY - 1}.shop.svc.cluster.local"


def _many_services() -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": {"name": f"s{number}", "namespace": "shop"},
                    "spec": {"clusterIP": f"10.97.{number >> 8}.{number & 255}", "ports": [{"name": "a", "port": 80}]},
                }
                for number in range(_MANY)
            ],
        }
    )


def _ttl_s(server: Server) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", server.port))
        sock.send(query(WEB))
        return int.from_bytes(sock.recv(512)[-10:-6])


def fill_and_empty_the_disk(manifests: Path, config: Path) -> None:
    """Run the body of the test below on a small disk."""
    source = ["--manifests", str(manifests), "--config", str(config)]
    server = Server(source, DISK / "state", workers=2, flags=PROBED)
    try:
        until(lambda: server.get("/ready") == (200, "OK\n"))
        controller, worker, _ = server.children()
        filling = fill()
        config.write_text("ttl: 77")
        (manifests / "many.json").write_text(_many_services())
        until(lambda: server.logged("disk full"))
        os.kill(worker, signal.SIGKILL)
        until(lambda: len(server.children()) == 3 and not is_running(worker))
        until(lambda: server.get("/ready") == (200, "OK\n") and server.get("/health") == (200, "OK\n"))
        for _ in range(100):
            assert server.ask(WEB) == "10.96.1.1"
        assert "synced    yes" in server.status()

        assert server.children()[0] == controller
        os.kill(controller, signal.SIGKILL)
        until(lambda: len(server.children()) == 3 and not is_running(controller))
        until(lambda: len(server.logged("disk full")) == 2)  # each of the two controllers logged one line
        assert server.get("/ready") == (200, "OK\n")
        for _ in range(100):
            assert server.ask(WEB) == "10.96.1.1"
        assert server.ask(_LAST) != "10.97.39.15"

        filling.unlink()
        until(lambda: server.ask(_LAST) == "10.97.39.15")
        until(lambda: _ttl_s(server) == 77)
        until(lambda: server.logged("disk no longer full"))
        assert len(server.logged("disk full")) == 2
        assert len(server.logged("process died")) == 2  # the test killed these two processes
        assert server.stop() == 0
    finally:
        server.end()
        print("".join(server.lines), file=sys.stderr)


def test_a_server_on_a_full_disk_answers_and_later_catches_up(manifests: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("ttl: 33")
    code = """
import sys
from pathlib import Path
from tests.process.test_full_disk import fill_and_empty_the_disk
fill_and_empty_the_disk(*map(Path, sys.argv[1:]))
"""
    on_a_small_disk(40, code, str(manifests), str(config))


def start_without_room(manifests: Path) -> None:
    """Run the body of the test below on a small disk."""
    fill()
    arguments = ["--listen", "127.0.0.1:0", "--manifests", str(manifests), "--state-dir", str(DISK / "state")]
    ended = subprocess.run(
        [*COMMAND, "serve", *arguments, "--log-level", "error"], capture_output=True, text=True, timeout=PATIENCE_S
    )
    print(ended.returncode, ended.stderr)


def test_without_space_for_a_table_the_start_fails_with_one_line(manifests: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.process.test_full_disk import start_without_room
start_without_room(Path(sys.argv[1]))
"""
    said = on_a_small_disk(2, code, str(manifests))
    reason = "--state-dir /mnt/state: can't be written: [Errno 28] No space left on device"
    assert said == f"1 pydns serve: {reason}\n\n"
