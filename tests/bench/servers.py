"""Start and stop servers for a benchmark: pydns, Knot, Unbound, dnsmasq, CoreDNS and the fake API server.

pydns is started by its command line. Each server is a context manager that stops the server at its end, also after an
error. Servers use free ports on 127.0.0.1. This module knows how to start and query servers. It measures nothing.
"""

import http.client
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from typing import NamedTuple

import dns.message
import dns.query
import dns.rcode

from tests.bench import procfs, tools

# Run pydns from the checkout that contains the benchmark, even if pydns isn't installed.
THIS_CHECKOUT = shlex.join([sys.executable, "-c", "import sys; from pydns.cli.main import main; sys.exit(main())"])
_START_S = 60
_STOP_S = 10


class Failed(Exception):
    """A server didn't start, or gave a wrong answer. The message quotes the server's output."""


class Server(NamedTuple):
    """A running server. `started_ns` is the monotonic time just before it was started."""

    name: str
    pid: int
    port: int
    started_ns: int


@contextmanager
def pydns(command: str, source: list[str], workers: int, core: int | None) -> Iterator[Server]:
    """Run `command` as pydns's command line. `source` has the flags for the source; other flags have their defaults."""
    with tempfile.TemporaryDirectory(prefix="pydns-bench-") as state_dir:
        port = free_port()
        listen = f"0.0.0.0:{port},[::]:{port}"
        arguments = ["serve", "--listen", listen, "--workers", str(workers), "--state-dir", state_dir]
        # These variables set free ports and an exit without a drain. They aren't flags, because an old version ignores
        # unknown variables but refuses unknown flags.
        os.environ |= {f"PYDNS_{each}": "127.0.0.1:0" for each in ("HEALTH", "READY", "METRICS")}
        os.environ["PYDNS_DRAIN_QUIET"] = "0"
        with _running("pydns", [*shlex.split(command), *arguments, *source], port, core) as server:
            yield server


def is_ready(port: int, timeout_s: float) -> bool:
    """Return whether /ready at this port of 127.0.0.1 returns 200.

    Return False if no answer comes within `timeout_s`.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def begin(command: str, source: list[str], workers: int, port: int, state_dir: Path) -> "subprocess.Popen[bytes]":
    """Start pydns for a caller who stops it by SIGTERM or with `end`. The log is discarded."""
    arguments = ["serve", "--listen", f"127.0.0.1:{port}", "--workers", str(workers), "--state-dir", str(state_dir)]
    full = [*shlex.split(command), *arguments, *source]
    return subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def knot(zones: Path, core: int | None) -> Iterator[Server]:
    """Run Knot with the zone files in `zones`. Each group of threads has one thread, because pydns has one worker."""
    with tempfile.TemporaryDirectory(prefix="knot-bench-") as directory:
        port = free_port()
        configuration = Path(directory) / "knot.conf"
        files = {path.stem: path for path in sorted(zones.glob("*.zone"))}
        configuration.write_text(knot_configuration(Path(directory), port, files))
        with _running("knot", [tools.find("knotd"), "--config", str(configuration)], port, core) as server:
            yield server


def knot_configuration(directory: Path, port: int, zones: Mapping[str, Path]) -> str:
    """Return a Knot configuration that serves `zones`, a dict: origin -> zone file.

    Each group of Knot's threads has one thread.
    """
    served = "".join([f'  - domain: {origin}\n    file: "{file}"\n' for origin, file in zones.items()])
    return _KNOT.format(directory=directory, port=port) + served


_KNOT = """\
server:
    rundir: "{directory}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: error
database:
    storage: "{directory}"
template:
  - id: default
    semantic-checks: off
    zonefile-sync: -1
    journal-content: none
zone:
"""


class Authority(NamedTuple):
    """What a client of a TLS server verifies."""

    certificate: Path  # of the authority
    server_name: str


@contextmanager
def unbound(upstream_port: int, core: int | None, authority: Authority | None = None) -> Iterator[Server]:
    """Run Unbound with one thread. It forwards everything and doesn't validate, like pydns.

    With `authority`, it forwards over TLS. All other options have their defaults.
    """
    bundle, upstream = "", f"forward-addr: 127.0.0.1@{upstream_port}"
    if authority is not None:
        bundle = f'tls-cert-bundle: "{authority.certificate}"'
        upstream = f'forward-tls-upstream: yes\n    forward-addr: "127.0.0.1@{upstream_port}#{authority.server_name}"'
    options = f'module-config: "iterator"\n    do-not-query-localhost: no\n    {bundle}'
    with _unbound(options, f'forward-zone:\n    name: "."\n    {upstream}\n', free_port(), core) as server:
        yield server


@contextmanager
def unbound_over_tls(origin: str, address: str, certificate: Path, core: int | None) -> Iterator[Server]:
    """Run an Unbound that answers A of all names below `origin`, over UDP and TLS. `certificate` also has the key."""
    port = free_port()
    options = f'''tls-port: {port}
    tls-service-key: "{certificate}"
    tls-service-pem: "{certificate}"
    incoming-num-tcp: 100
    local-zone: "{origin}." redirect
    local-data: "{origin}. 3600 IN A {address}"'''
    with _unbound(options, "", port, core) as server:
        yield server


@contextmanager
def _unbound(options: str, clauses: str, port: int, core: int | None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="unbound-bench-") as directory:
        configuration = Path(directory) / "unbound.conf"
        configuration.write_text(_UNBOUND.format(directory=directory, port=port, options=options, clauses=clauses))
        with _running("unbound", [tools.find("unbound"), "-d", "-p", "-c", str(configuration)], port, core) as server:
            yield server


_UNBOUND = """\
server:
    directory: "{directory}"
    chroot: ""
    username: ""
    use-syslog: no
    interface: 127.0.0.1@{port}
    num-threads: 1
    {options}
remote-control:
    control-enable: no
{clauses}"""


@contextmanager
def dnsmasq(upstream_port: int, core: int | None) -> Iterator[Server]:
    """Run dnsmasq, which has one thread. It forwards everything. Other options have their defaults."""
    port = free_port()
    arguments = ["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts"]
    arguments += ["--listen-address=127.0.0.1", "--bind-interfaces", f"--port={port}", "--log-facility=-"]
    arguments += [f"--server=127.0.0.1#{upstream_port}"]
    with _running("dnsmasq", [tools.find("dnsmasq"), *arguments], port, core) as server:
        yield server


@contextmanager
def coredns(program: Path, kubeconfig: Path, core: int | None) -> Iterator[Server]:
    """Run CoreDNS with the plugins of kubeadm's Corefile that answer names of the cluster."""
    with tempfile.TemporaryDirectory(prefix="coredns-bench-") as directory:
        port = free_port()
        corefile = Path(directory) / "Corefile"
        corefile.write_text(_COREFILE.format(port=port, kubeconfig=kubeconfig))
        with _running("CoreDNS", [str(program), "-conf", str(corefile)], port, core) as server:
            yield server


_COREFILE = """\
.:{port} {{
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    cache 30
}}
"""


@contextmanager
def api_server(services: int, endpoints: int) -> Iterator[Path]:
    """Run the fake API server with `services` Services and `endpoints` endpoints in each; yield its kubeconfig."""
    with tempfile.TemporaryDirectory(prefix="apiserver-bench-") as directory:
        kubeconfig = Path(directory) / "kubeconfig"
        command = [sys.executable, "-m", "tests.fakes.apiserver", "--services", str(services)]
        command += ["--endpoints", str(endpoints), "--port", "0", "--kubeconfig", str(kubeconfig)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            if not process.stdout.readline():  # the API server prints one line when it listens
                raise Failed(f"{shlex.join(command)} ended with {process.wait()} before it listened")
            yield kubeconfig
        finally:
            end(process)
            process.stdout.close()


@contextmanager
def _running(name: str, command: list[str], port: int, core: int | None) -> Iterator[Server]:
    with tempfile.TemporaryFile() as output:
        started_ns = time.monotonic_ns()
        process = subprocess.Popen(
            tools.pinned(command, core), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield Server(name, process.pid, port, started_ns)
            if process.poll() is not None:
                raise Failed(f"{name} ended with {process.returncode} during the benchmark")
        except Failed as failed:
            output.seek(0)
            raise Failed(f"{failed}\n{output.read().decode(errors='replace')[-4000:]}".rstrip()) from None
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process. Kill it if it takes too long. Kill its children if they are still running."""
    family = procfs.tree(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    for pid in family:
        if procfs.is_alive(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)
    process.wait()


def wait_until(server: Server, names: list[tuple[str, str]]) -> list[float]:
    """Wait until each (name, type) is answered with NOERROR and records. Return the seconds from the start.

    This sends a query every 10 ms, so that the starting server gets enough CPU time. Raises `Failed` after a minute.
    """
    seen: dict[tuple[str, str], float] = {}
    while len(seen) < len(names):
        for question in names:
            if question not in seen and is_answered(server.port, *question):
                seen[question] = (time.monotonic_ns() - server.started_ns) / 1e9
        if time.monotonic_ns() - server.started_ns > _START_S * 1e9 or not procfs.is_alive(server.pid):
            missing = ", ".join(f"{name} {qtype}" for name, qtype in names if (name, qtype) not in seen)
            raise Failed(f"{server.name} has ended, or didn't answer within {_START_S} s: {missing}")
        time.sleep(0.01)
    return [seen[question] for question in names]


def is_answered(port: int, name: str, qtype: str) -> bool:
    """Return whether the server answers now, with records."""
    question = dns.message.make_query(name + ".", qtype)
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(0.05)
        client.connect(("127.0.0.1", port))  # on a connected socket, a closed port is reported at once
        try:
            client.send(question.to_wire())
            reply = dns.message.from_wire(client.recv(4096))
        except OSError:  # the query was refused, or no answer came in time
            return False
    return reply.rcode() == dns.rcode.NOERROR and bool(reply.answer)


def ask(port: int, name: str, qtype: str, timeout_s: float) -> dns.message.Message:
    """Send one query over UDP from a new socket. Raises `dns.exception.Timeout`."""
    return dns.query.udp(dns.message.make_query(name + ".", qtype), "127.0.0.1", timeout=timeout_s, port=port)


def free_port() -> int:
    """Return a port that is free for UDP and TCP. Another process may take it before the caller does."""
    while True:
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            with suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port
