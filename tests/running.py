"""Run `pydns serve` as a process, with a client for it. This module doesn't know which answers are right."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import dns.name

from tests.waiting import PATIENCE_S, until

COMMAND = (sys.executable, "-m", "pydns")
START_S = 60.0  # a server may take this long to start, because it shares the cores with other tests
PROBED = ("--health", "127.0.0.1:0", "--ready", "127.0.0.1:0")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: {address}, ports: [{{name: http, port: 80}}]}}
"""
WEB = "web.shop.svc.cluster.local"


class Server:
    """A `pydns serve` with its log."""

    def __init__(
        self,
        source: Sequence[str],
        state_dir: Path,
        *,
        listen: str = "127.0.0.1:0",
        workers: int = 1,
        flags: Sequence[str] = (),
        event: str = "synced",
        command: Sequence[str] = COMMAND,
    ) -> None:
        """Start the server, and wait until its log has `event`."""
        arguments = ["--workers", str(workers), "--state-dir", str(state_dir), "--listen", listen]
        self.process = subprocess.Popen(
            [*command, "serve", *arguments, *source, *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},  # after SIGABRT, a process prints its stacks
        )
        self._state_dir = state_dir
        self._left: list[int] = []  # the children that existed when SIGTERM was sent
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        try:
            # wait for the event about all kinds together, which has no field `kind`
            until(lambda: any(" kind=" not in line for line in self.logged(event)), START_S)
            if "--zones" in (*source, *flags) and event == "synced":
                until(lambda: bool(self.logged("zones in force")), START_S)
            # A small cluster may be synced before the workers have started.
            children = 1 + workers + ("--console" in flags)
            until(lambda: len(self.children()) == children, START_S)
        except AssertionError:
            for pid in self.children()[:1]:  # this writes the stacks of the controller to the log
                os.kill(pid, signal.SIGABRT)
            self.end()
            raise AssertionError("".join(self.lines)) from None
        self.port = int(re.findall(r"event=listening address=\S+:(\d+)", "".join(self.lines))[0])

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def logged(self, event: str) -> list[str]:
        """Return the lines of the log about an event."""
        said = f" event={event} " if " " not in event else f' event="{event}" '
        return [line for line in self.lines if said in line]

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the body of a page."""
        flag = {"/health": "--health"}.get(path, "--ready")
        at = next(line for line in self.logged("listening for HTTP") if f" flag={flag} " in line)
        connection = HTTPConnection("127.0.0.1", int(at.rpartition(":")[2]), timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def late_queries(self) -> list[int]:
        """Return how many queries each worker has counted as late."""
        processes = json.loads(self.get("/status")[1])["processes"]
        return [each["late_queries"] for each in processes if each["process"].startswith("worker ")]

    def status(self) -> str:
        """Return the output of `pydns status`."""
        command = [*COMMAND, "status", "--state-dir", str(self._state_dir)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def children(self) -> list[int]:
        """Return the process ids of the children: first the controller, then the workers."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def ask(self, qname: str, host: str = "127.0.0.1", timeout_s: float = 10.0) -> str | None:
        """Return the IPv4 address, or the rcode if there is no address, or None if `host` sends no reply."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout_s)
            with suppress(OSError):
                sock.connect((host, self.port))  # a connected socket receives only from this address
                sock.send(query(qname))
                return answer(sock.recv(4096))
        return None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the server, and return its exit status."""
        self._left = self.children()
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Wait until the server exits, and return its exit status."""
        status = self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)  # a child that still runs keeps the log open
        return status

    def end(self) -> None:
        """Stop the server and its children. Kill them if they ignore SIGTERM."""
        with suppress(subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.stop()
        self.process.kill()
        for pid in self._left:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()


def query(qname_text: str, qtype: int = 1, message_id: int = 1) -> bytes:
    """Return a plain query with RD set."""
    qname = dns.name.from_text(qname_text).to_wire()
    assert qname is not None
    return message_id.to_bytes(2) + b"\1\0\0\1" + bytes(6) + qname + qtype.to_bytes(2) + b"\0\1"


def answer(reply: bytes) -> str:
    return socket.inet_ntoa(reply[-4:]) if reply[7] else f"rcode {reply[3] & 15}"


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False
