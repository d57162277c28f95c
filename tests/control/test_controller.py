"""Controller, table and responder together: from an API server that fails on demand to the answers for clients."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from pydns.cli import explain, explanation_text
from pydns.cli.status import status
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import endpoint_slice, service
from tests.waiting import PATIENCE_S, until

KINDS = ("Namespace", "Service", "EndpointSlice")


class Running:
    """A running pydns, its answers and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, state_dir: Path) -> None:
        self._process = process
        self._log = log
        self.state_dir = state_dir
        (listening,) = self.wait_for("listening")
        self.port = int(listening["address"].rpartition(":")[2])
        self.wait_until(lambda: self._answers() is not None)

    def logged(self, event: str) -> list[dict[str, str]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def wait_for(self, event: str) -> list[dict[str, str]]:
        self.wait_until(lambda: bool(self.logged(event)))
        return self.logged(event)

    def wait_until(self, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        def holds_or_ended() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            return holds()

        until(holds_or_ended, timeout_s, self._log.read_text)

    def ask(self, name: str, rtype: str = "A") -> dns.message.Message:
        query = dns.message.make_query(f"{name}.svc.cluster.local.", rtype, use_edns=0)
        return dns.query.udp(query, "127.0.0.1", port=self.port, timeout=PATIENCE_S)

    def until(self, name: str, wanted: str) -> dns.message.Message:
        """Ask until the answer is the wanted address or rcode."""
        self.wait_until(lambda: _short(self.ask(name)) == wanted)
        return self.ask(name)

    def status(self) -> str:
        return "\n".join(status(self.state_dir))

    def explain(self, name: str) -> str:
        wish = explain.parse(f"{name}.svc.cluster.local.", "A", "default")
        return "\n".join(explanation_text.lines(explain.explain(self.state_dir, wish)))

    def _answers(self) -> dns.message.Message | None:
        try:
            return self.ask("anything")
        except (dns.exception.Timeout, OSError):
            return None


def _short(reply: dns.message.Message) -> str:
    return str(reply.answer[0][0]) if reply.answer else dns.rcode.to_text(reply.rcode())


@contextmanager
def running(directory: Path, source: Path, *flags: str) -> Iterator[Running]:
    """Run pydns as a separate process, because one process can open a table only once."""
    state_dir = directory / "state"
    state_dir.mkdir(exist_ok=True)
    log = directory / "log"
    command = [sys.executable, "-m", "tests.offline", "serve", "--listen", "127.0.0.1:0", "--workers", "1"]
    command += ["--state-dir", str(state_dir), "--log-format", "json", *flags]
    command += ["--manifests" if source.is_dir() else "--kubeconfig", str(source)]
    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            yield Running(process, log, state_dir)
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.apply("Service", service("web", "10.96.0.1"))
        server.apply("Service", service("db", "None"))
        server.apply("EndpointSlice", endpoint_slice("db", "10.244.0.7"))
        yield server


def test_changes_become_answers_and_the_serial_is_their_resource_version(api: FakeApiServer, tmp_path: Path) -> None:
    with running(tmp_path, api.kubeconfig(tmp_path)) as seen:
        seen.until("web.shop", "10.96.0.1")
        seen.until("db.shop", "10.244.0.7")
        api.apply("Service", service("web", "10.96.0.2"))
        seen.until("web.shop", "10.96.0.2")
        api.delete("Service", "shop", "web")
        reply = seen.until("web.shop", "NXDOMAIN")
        last = api.apply("Service", service("new", "10.96.0.3"))
        seen.until("new.shop", "10.96.0.3")

        assert reply.authority[0][0].serial == last - 1
        assert seen.ask("gone.shop").authority[0][0].serial == last


def test_a_forbidden_kind_delays_only_the_names_made_from_it(api: FakeApiServer, tmp_path: Path) -> None:
    api.fail("EndpointSlice", "list", 403, reason="Forbidden", message="no")
    api.fail("EndpointSlice", "watch", 403, reason="Forbidden", message="no")
    with running(tmp_path, api.kubeconfig(tmp_path)) as seen:
        seen.until("web.shop", "10.96.0.1")

        # the reply isn't NXDOMAIN, because clients would cache that
        assert seen.ask("db.shop").rcode() == dns.rcode.SERVFAIL
        seen.wait_until(lambda: "403" in seen.status())
        assert "EndpointSlice is not listed: " in seen.explain("db.shop")
        assert [each["missing"] for each in seen.wait_for("serving in part")] == ["EndpointSlice"]

        api.apply("Service", service("later", "10.96.0.9"))
        seen.until("later.shop", "10.96.0.9")
        api.heal()
        seen.until("db.shop", "10.244.0.7")
        seen.until("gone.shop", "NXDOMAIN")


def test_an_object_that_becomes_invalid_keeps_its_records_and_is_logged_once(
    api: FakeApiServer, tmp_path: Path
) -> None:
    with running(tmp_path, api.kubeconfig(tmp_path)) as seen:
        seen.until("web.shop", "10.96.0.1")
        broken = (
            b'{"metadata":{"namespace":"shop","name":"web","resourceVersion":"77"},"spec":{"clusterIP":"10.0.0.300"}}'
        )
        api.apply_raw("Service", "shop", "web", broken)
        api.apply_raw("Service", "shop", "web", broken)
        api.apply("Service", service("after", "10.96.0.4"))
        seen.until("after.shop", "10.96.0.4")

        seen.until("web.shop", "10.96.0.1")
        assert [(each["object"], each["reason"]) for each in seen.logged("object skipped")] == [
            ("Service shop/web", "'10.0.0.300' is not an IP address")
        ]
        assert "web is a Service" in seen.explain("web.shop")


def test_an_object_that_was_never_valid_is_explained(api: FakeApiServer, tmp_path: Path) -> None:
    with running(tmp_path, api.kubeconfig(tmp_path)) as seen:
        seen.until("web.shop", "10.96.0.1")
        api.apply("Service", service("bad", "10.0.0.300"))
        why = "Service bad in namespace shop is skipped: '10.0.0.300' is not an IP address"
        seen.wait_until(lambda: why in seen.explain("bad.shop"))


def test_a_service_that_is_too_large_is_logged_once_and_shown(api: FakeApiServer, tmp_path: Path) -> None:
    ports = [{"name": f"p{number}", "port": number + 1} for number in range(1000)]
    metadata = {"name": "wide", "namespace": "shop"}
    found = {"name": "wide-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "wide"}}

    def wide(endpoints: int) -> dict[str, Any]:
        each = [{"addresses": [f"10.7.{number >> 8}.{number & 255}"]} for number in range(endpoints)]
        return {"metadata": found, "addressType": "IPv4", "endpoints": each, "ports": ports}

    with running(tmp_path, api.kubeconfig(tmp_path)) as seen:
        seen.until("web.shop", "10.96.0.1")
        api.apply("Service", {"metadata": metadata, "spec": {"clusterIP": "None", "ports": ports}})
        for endpoints in (300, 299, 300):
            api.apply("EndpointSlice", wide(endpoints))
            api.apply("Service", service("after", f"10.96.1.{endpoints - 250}"))
            seen.until("after.shop", f"10.96.1.{endpoints - 250}")
        why = "the Service is too large to be served as a whole"
        seen.wait_until(lambda: why in seen.explain("wide.shop"))
        assert [each["object"] for each in seen.logged("answers cut")] == ["Service shop/wide"]


def test_pydns_answers_known_names_while_the_api_server_is_down(api: FakeApiServer, tmp_path: Path) -> None:
    kubeconfig = api.kubeconfig(tmp_path)
    with running(tmp_path, kubeconfig) as seen:
        seen.until("web.shop", "10.96.0.1")
    for kind in KINDS:
        api.fail(kind, "list", 503)
        api.fail(kind, "watch", 503)
    with running(tmp_path, kubeconfig) as seen:
        assert str(seen.ask("web.shop").answer[0][0]) == "10.96.0.1"
        unknown = seen.ask("new.shop")
        assert unknown.rcode() == dns.rcode.SERVFAIL
        assert not unknown.flags & dns.flags.AA
        assert [option.code for option in unknown.options if isinstance(option, dns.edns.EDEOption)] == [14]

        api.apply("Service", service("new", "10.96.0.5"))
        api.heal()
        seen.until("new.shop", "10.96.0.5")
        assert str(seen.ask("web.shop").answer[0][0]) == "10.96.0.1"


def test_a_restart_drops_objects_that_were_deleted_meanwhile(api: FakeApiServer, tmp_path: Path) -> None:
    kubeconfig = api.kubeconfig(tmp_path)
    with running(tmp_path, kubeconfig) as seen:
        seen.until("web.shop", "10.96.0.1")
    api.delete("Service", "shop", "web")
    with running(tmp_path, kubeconfig) as seen:
        seen.until("web.shop", "NXDOMAIN")
        seen.until("db.shop", "10.244.0.7")
