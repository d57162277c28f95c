"""`make demo`: the server itself, over the small cluster in manifests/demo, until Ctrl-C.

Knows how to start `pydns serve` and which questions are worth asking.
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

QUESTIONS = (
    "kubernetes.default.svc.cluster.local",
    "db.data.svc.cluster.local",
    "_postgres._tcp.db.data.svc.cluster.local SRV",
    "chat.social.svc.cluster.local AAAA",
    "-x 10.96.0.10",
)


def main() -> int:
    """Serve until Ctrl-C. Returns the exit status."""
    if _port_is_taken():
        sys.stderr.write(f"make demo: {HOST}:{PORT} is taken by another program; stop it and try again\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="pydns-demo-") as state_dir:
        sys.stdout.write("Ask from another terminal (Ctrl-C ends the demo):\n\n")
        for question in QUESTIONS:
            sys.stdout.write(f"  dig @{HOST} -p {PORT} +short {question}\n")
        sys.stdout.write(f"\nEdit a file in {MANIFESTS} and ask again.\n\n")
        sys.stdout.flush()
        arguments = ["--listen", f"{HOST}:{PORT}", "--manifests", str(MANIFESTS), "--state-dir", state_dir]
        # A demo has no probes and no balancer; --ready serves /status.
        arguments += ["--health", "off", "--metrics", "off", "--ready", f"{HOST}:0", "--drain-quiet", "0"]
        server = subprocess.Popen([sys.executable, "-m", "pydns", "serve", "--workers", "1", *arguments])
        # The terminal sends Ctrl-C to the server too; SIGTERM has to be passed on.
        signal.signal(signal.SIGTERM, lambda *_: os.kill(server.pid, signal.SIGTERM))
        while True:
            with suppress(KeyboardInterrupt):
                return server.wait()


def _port_is_taken() -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, PORT))
            except OSError:
                return True
    return False


if __name__ == "__main__":
    sys.exit(main())
