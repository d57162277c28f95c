"""`make demo`: the server itself, with the small cluster in manifests/demo, until Ctrl-C.

This module knows how to start `pydns serve`, and which commands are worth trying. It imports only modules that serving
needs.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

HOST, PORT = "127.0.0.1", 1053
MANIFESTS = Path(__file__).parents[1] / "manifests" / "demo"
CONFIG = MANIFESTS / "config.yaml"

QUESTIONS = (
    "kubernetes.default.svc.cluster.local",
    "db.data.svc.cluster.local",
    "_postgres._tcp.db.data.svc.cluster.local SRV",
    "chat.social.svc.cluster.local AAAA",
    "-x 10.96.0.10",
    "tomcat-service.study.svc.cluster.local",
)
QUESTIONS_FROM_OUTSIDE = (
    "tomcat-service.study.k8s.example.com",
    "_tomcat-service-8080._tcp.tomcat-service.study.k8s.example.com SRV",
    "www.k8s.example.com",
    "api.k8s.example.com",
)
LOOKS = ("explain chat.social", "explain 10.96.0.10", "explain k8s.example.com. NS", "status", "dump")


def main(arguments: list[str]) -> int:
    """Serve until Ctrl-C, on the port in `arguments` if there is one. Return the exit status."""
    port_text = arguments[0] if arguments else str(PORT)
    if not port_text.isdecimal() or not 1 <= int(port_text) <= 65535:
        sys.stderr.write(f"make demo: PORT={port_text} is not a port from 1 to 65535\n")
        return 2
    port = int(port_text)
    if _port_is_taken(port):
        sys.stderr.write(f"make demo: {HOST}:{port} is taken by another program; try make demo PORT={port + 1000}\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="pydns-demo-") as state_dir:
        sys.stdout.write("Ask from another terminal, as a pod does (Ctrl-C ends the demo):\n\n")
        for question in QUESTIONS:
            sys.stdout.write(f"  dig @{HOST} -p {port} +short {question}\n")
        sys.stdout.write("\nAsk as a client outside of the cluster does:\n\n")
        for question in QUESTIONS_FROM_OUTSIDE:
            sys.stdout.write(f"  dig @{HOST} -p {port} +short {question}\n")
        sys.stdout.write(f"\nLook inside. The state directory is {state_dir}:\n\n")
        for look in LOOKS:
            sys.stdout.write(f"  {_command()} {look} --state-dir {state_dir}\n")
        sys.stdout.write(f"\nEdit a file in {MANIFESTS} and ask again.\n\n")
        sys.stdout.flush()
        flags = ["--listen", f"{HOST}:{port}", "--manifests", str(MANIFESTS), "--config", str(CONFIG)]
        flags += ["--state-dir", state_dir]
        # A demo needs no probes and no load balancer. --ready is used because it also serves /status.
        flags += ["--health", "off", "--metrics", "off", "--ready", f"{HOST}:0", "--drain-quiet", "0"]
        server = subprocess.Popen([sys.executable, "-m", "pydns", "serve", "--workers", "1", *flags])
        # On Ctrl-C, the terminal sends SIGINT to the server too. SIGTERM must be passed on to the server.
        signal.signal(signal.SIGTERM, lambda *_: os.kill(server.pid, signal.SIGTERM))
        while True:
            with suppress(KeyboardInterrupt):
                return server.wait()


def _command() -> str:
    """Return the pydns command as the user types it in this environment."""
    command = Path(sys.executable).with_name("pydns")
    return os.path.relpath(command) if command.is_relative_to(Path.cwd()) else str(command)


def _port_is_taken(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return True
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
