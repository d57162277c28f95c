"""The verbs with `--all` ask every replica of pydns. A replica that doesn't answer is named, and stops no other."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pydns.cli import replicas
from pydns.cli.main import main
from pydns.cli.replicas import Replica, ReplicasError
from pydns.control import api_client
from pydns.control.api_client import ApiClient, connect
from pydns.control.peer_pages import AUDIENCE
from pydns.process.ring_files import RingError, Rings
from pydns.table.status import Status, encode
from tests.bench.servers import free_port
from tests.fakes.apiserver import FakeApiServer
from tests.running import Server, query
from tests.subject import Address
from tests.waiting import PATIENCE_S, until

TOKEN = "aa.bb.cc"
USER = "system:serviceaccount:kube-system:pydns"


def endpoint_slice(name: str, service: str, port: int, pods: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    """Return a slice of a Service whose endpoints are pods, with a port for metrics."""
    endpoints = [
        {"addresses": [address], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": pod}}
        for pod, address in pods.items()
    ]
    metadata = {"namespace": "kube-system", "name": name, "labels": {"kubernetes.io/service-name": service}}
    ports = [{"name": "dns", "port": 53}, {"name": "metrics", "port": port}]
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports} | changes


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as fake:
        fake.tokens[TOKEN] = (USER, [AUDIENCE])
        yield fake


DNS = endpoint_slice("a", "kube-dns", 9153, {"pydns-b": "10.0.0.2", "pydns-a": "10.0.0.1"})
FOUND = {
    "the pods of the own Service": ([DNS], ["pydns-a (10.0.0.1)", "pydns-b (10.0.0.2)"]),
    "another Service": (
        [DNS, endpoint_slice("o", "other", 9153, {"x": "10.0.0.9"})],
        ["pydns-a (10.0.0.1)", "pydns-b (10.0.0.2)"],
    ),
    "two families": (
        [DNS, endpoint_slice("six", "kube-dns", 9153, {"pydns-a": "2001:db8::1"})],
        ["pydns-a (10.0.0.1)", "pydns-b (10.0.0.2)"],
    ),
    "a second Service": (
        [DNS, endpoint_slice("m", "metrics", 9153, {"pydns-a": "10.0.0.1", "pydns-c": "10.0.0.3"})],
        ["pydns-a (10.0.0.1)", "pydns-b (10.0.0.2)", "pydns-c (10.0.0.3)"],
    ),
    "endpoints that aren't pods": (
        [{**DNS, "endpoints": [*DNS["endpoints"], {"addresses": ["10.0.0.8"]}, {"addresses": []}]}],
        ["pydns-a (10.0.0.1)", "pydns-b (10.0.0.2)"],
    ),
    "an endpoint without an address": (
        [{**DNS, "endpoints": [*DNS["endpoints"], {"addresses": ["x"], "targetRef": {"kind": "Pod", "name": "y"}}]}],
        ["pydns-a (10.0.0.1)", "pydns-b (10.0.0.2)"],
    ),
}


@pytest.mark.parametrize(("slices", "wanted"), [pytest.param(*each, id=case) for case, each in FOUND.items()])
def test_the_replicas_are_the_pods_of_the_own_services(
    slices: list[dict[str, Any]], wanted: list[str], api: FakeApiServer, tmp_path: Path
) -> None:
    for each in slices:
        api.apply("EndpointSlice", each)
    found = replicas.find(connect(api.kubeconfig(tmp_path)), "kube-system", "pydns-a")
    assert list(map(str, found)) == wanted
    assert {each.port for each in found} == {9153}


PROBLEMS = {
    "no slice": ([], "the pod kube-system/pydns-a is behind no Service"),
    "no port of the name": (
        [{**DNS, "ports": [{"name": "dns", "port": 53}]}],
        "the Services kube-dns have no port of the name metrics",
    ),
    "an impossible port": (
        [{**DNS, "ports": [{"name": "metrics", "port": 65536}]}],
        "the Services kube-dns have no port of the name metrics",
    ),
}


@pytest.mark.parametrize(("slices", "problem"), [pytest.param(*each, id=case) for case, each in PROBLEMS.items()])
def test_the_reason_is_shown_if_there_are_no_replicas(
    slices: list[dict[str, Any]], problem: str, api: FakeApiServer, tmp_path: Path
) -> None:
    for each in slices:
        api.apply("EndpointSlice", each)
    with pytest.raises(ReplicasError, match=re.escape(problem)):
        replicas.find(connect(api.kubeconfig(tmp_path)), "kube-system", "pydns-a")


class Peer:
    """Something that listens at an address, and does with a connection what the test wants."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        self._listening = socket.create_server((host, 0))
        self._serve = serve
        self._connected: list[socket.socket] = []
        self.replica = Replica("pydns-x", host, self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                self._connected.append(connected)
                threading.Thread(target=self._begin, args=[connected], daemon=True).start()

    def _begin(self, connected: socket.socket) -> None:
        with suppress(OSError):
            connected.recv(8192)
            self._serve(connected)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._connected):
            each.close()
        self._thread.join(PATIENCE_S)


def sends(*parts: bytes) -> Callable[[socket.socket], None]:
    """Return a server that sends parts and closes."""

    def serve(connected: socket.socket) -> None:
        for part in parts:
            connected.sendall(part)
        connected.shutdown(socket.SHUT_RDWR)

    return serve


def silent(connected: socket.socket) -> None:
    """Send nothing, until the client closes."""
    connected.recv(1)


def slow(connected: socket.socket) -> None:
    """Send a header without end, slowly."""
    connected.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connected.sendall(b"x")
        time.sleep(0.02)


def endless(connected: socket.socket) -> None:
    """Send a body without end."""
    connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connected.sendall(bytes(1 << 16))


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
HOSTILE = {
    "silent": (silent, "no answer within 0.5 s"),
    "a slow header": (slow, "no answer within 0.5 s"),
    "an endless body": (endless, "it sent more than 1000 octets"),
    "a long header": (sends(b"HTTP/1.1 200 OK\r\nX: " + bytes(b"x" * 100_000)), "Receive buffer too long"),
    "no HTTP": (sends(b"SSH-2.0-OpenSSH\r\n\r\n"), "illegal status line"),
    "nothing": (sends(), "its answer isn't HTTP: "),
    "half a body": (sends(OK, b"ab"), "peer closed connection"),
    "another status": (
        sends(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n\x1b[2Jx"),
        "status 404: \\x1b[2Jx",
    ),
}


@pytest.mark.parametrize(("serve", "problem"), [pytest.param(*each, id=case) for case, each in HOSTILE.items()])
def test_a_hostile_replica_is_named_and_the_others_answer(serve: Callable[[socket.socket], None], problem: str) -> None:
    good, bad = Peer(sends(OK, b"good"), "127.0.0.2"), Peer(serve)
    try:
        found = replicas.ask([bad.replica, good.replica], "/status", TOKEN, 1000, 0.5)
    finally:
        good.close()
        bad.close()
    assert found[1] == (good.replica, b"good", "")
    assert (found[0].replica, found[0].value) == (bad.replica, None)
    assert problem in found[0].problem
    assert found[0].problem.isprintable()


def test_a_closed_port_is_a_problem() -> None:
    (found,) = replicas.ask([Replica("pydns-x", "127.0.0.1", free_port())], "/status", TOKEN, 1000)
    assert found.problem == "Connection refused"


class Cluster:
    """Two servers of pydns on loopback, behind one Service, and the verbs of the first one."""

    def __init__(self, api: FakeApiServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api, self._folder = api, folder
        kubeconfig = api.kubeconfig(folder)
        (folder / "token").write_text(f"{TOKEN}\n")
        monkeypatch.setattr(replicas, "PEER_TOKEN", folder / "token")
        monkeypatch.setattr(api_client, "connect", lambda _: _client(kubeconfig))
        monkeypatch.setenv("POD_NAME", "pydns-1")
        self.servers: list[Server] = []
        for host in ("127.0.0.1", "127.0.0.2"):
            flags = ["--peers", "kube-system/pydns", "--metrics", f"{host}:0"]
            self.servers.append(
                Server(["--kubeconfig", str(kubeconfig)], folder / host, listen=f"{host}:0", flags=flags)
            )
            place = next(line for line in self.servers[-1].logged("listening for HTTP") if "--metrics" in line)
            until(partial(_has_ring, folder / host))
            self.add(f"pydns-{len(self.servers)}", host, int(place.rpartition(":")[2]))

    def add(self, pod: str, host: str, port: int) -> None:
        self.api.apply("EndpointSlice", endpoint_slice(pod, "kube-dns", port, {pod: host}))

    def run(self, verb: str, *flags: str) -> int:
        return main([verb, "--all", "--state-dir", str(self._folder / "127.0.0.1"), *flags])

    def close(self) -> None:
        for each in self.servers:
            each.end()


def _has_ring(state_dir: Path) -> bool:
    """Return whether the worker has started to keep its queries."""
    try:
        Rings(state_dir).new()
    except RingError:
        return False
    return True


def _client(kubeconfig: Path) -> ApiClient:
    return connect(kubeconfig)


@pytest.fixture
def cluster(api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    running = Cluster(api, tmp_path, monkeypatch)
    yield running
    running.close()


@pytest.mark.processes
def test_the_verbs_ask_all_replicas(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    for number, server in enumerate(cluster.servers, 1):
        address = Address(f"127.0.0.{number}", server.port, silent=False)
        assert address.ask(query(f"name-{number}.svc.cluster.local."), tcp=False)
        # A worker writes its ring soon after, and reports its counts twice a second.
    names = {f"name-{number}.svc.cluster.local.": f"pydns-{number}" for number in (1, 2)}

    def lines() -> dict[str, str]:
        assert cluster.run("tail", "-o", "json") == 0
        found = map(json.loads, capsys.readouterr().out.splitlines())
        return {each["name"]: each["replica"] for each in found}

    until(lambda: lines() == names)
    assert cluster.run("top", "-o", "json") == 0
    top = json.loads(capsys.readouterr().out)
    assert (top["queries"], {each["key"] for each in top["rows"]}) == (2, set(names))

    assert cluster.run("status") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["replica", "address", "state", "synced"]
    assert [row.split()[:4] for row in rows] == [
        ["pydns-1", "127.0.0.1", "running", "yes"],
        ["pydns-2", "127.0.0.2", "running", "yes"],
    ]
    assert cluster.run("status", "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)["replicas"]
    assert [(each["name"], each["problem"], each["status"]["synced"]) for each in found] == [
        ("pydns-1", None, True),
        ("pydns-2", None, True),
    ]
    assert cluster.run("slo") == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("replica")] == [
        "replica pydns-1 (127.0.0.1)",
        "replica pydns-2 (127.0.0.2)",
    ]


@pytest.mark.processes
@pytest.mark.parametrize("verb", ["status", "slo", "tail", "top"])
def test_a_silent_replica_is_named_and_shows_in_the_exit_status(
    verb: str, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add("pydns-3", "127.0.0.3", free_port())
    assert cluster.run(verb) == 3
    shown = capsys.readouterr()
    assert shown.err == f"pydns {verb}: replica pydns-3 (127.0.0.3): Connection refused\n"
    assert verb in ("tail", "top") or "pydns-2" in shown.out


@pytest.mark.processes
def test_a_wrong_token_gets_no_page(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.api.tokens[TOKEN] = ("system:serviceaccount:shop:default", [AUDIENCE])
    assert cluster.run("tail") == 3
    refused = f"status 403: only {USER} may read this page"
    assert capsys.readouterr().err.splitlines() == [
        f"pydns tail: replica pydns-1 (127.0.0.1): {refused}",
        f"pydns tail: replica pydns-2 (127.0.0.2): {refused}",
    ]


def test_texts_of_a_replica_cannot_control_the_terminal() -> None:
    hostile = encode(Status(source="\x1b[2J", domain="a\nb", time=1.0))
    known = replicas._status(hostile)
    assert (known.source, known.domain) == (r"\x1b[2J", r"a\nb")


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"version": 2}', b"[" * 100_000, b'{"time": "x"}'])
def test_a_status_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        replicas._status(body)


@pytest.mark.parametrize("verb", ["status", "slo", "tail", "top"])
def test_without_a_token_the_reason_is_printed(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replicas, "PEER_TOKEN", tmp_path / "none")
    assert main([verb, "--all", "--state-dir", str(tmp_path)]) == 1
    problem = f"{tmp_path / 'none'}: No such file or directory; see docs/observe.md"
    assert capsys.readouterr().err == f"pydns {verb}: {problem}\n"


def test_new_queries_of_all_replicas_cannot_be_followed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "--all", "--follow"]) == 2
    assert "--all: can't be given together with --follow" in capsys.readouterr().err
