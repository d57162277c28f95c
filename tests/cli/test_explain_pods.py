"""With `clients: pods`, `pydns explain` knows every running pod: its namespace, its address and what it may ask."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.edns
import dns.message
import pytest

from pydns.cli.main import main
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import service
from tests.running import Server
from tests.subject import Address
from tests.waiting import until

pytestmark = pytest.mark.processes

NODE, POD, OTHER = "192.168.0.1", "127.0.0.5", "127.0.0.6"
CONFIG = """
upstreams: ['127.0.0.1:9']
clients: pods
acl:
- {action: block, clients: [127.0.0.5], within: [secret.shop.svc.cluster.local]}
views:
- when: client_ip() == '127.0.0.6'
  templates: [{zones: [web.shop.svc.cluster.local], types: [A], answer: ['{{ .Name }} 60 IN A 10.9.9.9']}]
"""


def pod(name: str, address: str, namespace: str = "shop", **status: object) -> dict[str, Any]:
    """Return a Pod that runs on the node `n1`."""
    return {
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n1", "hostNetwork": address == NODE},
        "status": {"phase": "Running", "podIP": address, "hostIP": NODE, **status},
    }


class Running:
    """A server that watches the Pods of an API server."""

    def __init__(self, folder: Path) -> None:
        self.state_dir = folder / "state"
        self.api = FakeApiServer()
        self.api.__enter__()
        for namespace in ("shop", "batch"):
            self.api.apply("Namespace", {"metadata": {"name": namespace}})
        self.api.apply("Service", service("web", "10.96.1.1"))
        self.api.apply("Service", service("secret", "10.96.1.2"))
        for each in (pod("web-0", POD), pod("job-0", OTHER, "batch"), pod("agent-0", NODE)):
            self.api.apply("Pod", each)
        self.api.apply("Pod", pod("done-0", "127.0.0.7", phase="Succeeded"))
        (folder / "config.yaml").write_text(CONFIG)
        source = ["--kubeconfig", str(self.api.kubeconfig(folder)), "--config", str(folder / "config.yaml")]
        self.server = Server(source, self.state_dir, flags=["--drain-quiet", "0"])

    def ask(self, qname: str, client: str) -> tuple[int, list[str], list[str]]:
        """Send a query as a client. Return the rcode, the addresses and the reasons."""
        message = dns.message.make_query(qname, "A", use_edns=0).to_wire()
        reply = Address("127.0.0.1", self.server.port, silent=False).ask(message, tcp=False, client=client)
        assert reply is not None
        found = dns.message.from_wire(reply)
        reasons = [each.text or "" for each in found.options if isinstance(each, dns.edns.EDEOption)]
        return found.rcode(), [str(rdata) for rrset in found.answer for rdata in rrset], reasons

    def close(self) -> None:
        self.server.end()
        self.api.__exit__(None, None, None)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("pods"))
    yield found
    found.close()


def explain(running: Running, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main(["explain", "--state-dir", str(running.state_dir), "-o", "json", *arguments])
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (("--pod", "shop/web-0", "web"), "shop/web-0 on node n1"),
        (("--client", POD, "web"), f"shop/web-0 at {POD} on node n1"),
        (("--pod", "batch/job-0", "web.shop"), "batch/job-0 on node n1"),
        (("--client", OTHER, "web.shop"), f"batch/job-0 at {OTHER} on node n1"),
    ],
)
def test_a_pod_and_its_address_lead_to_the_same_lookup_as_on_the_wire(
    running: Running, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], title: str
) -> None:
    found = explain(running, capsys, *arguments)
    address, namespace = (POD, "shop") if "shop" in title else (OTHER, "batch")
    assert (found["pod"], found["domains"][0]) == (title, f"{namespace}.svc.cluster.local")
    asked = [each for each in found["tried"] if each["type"] == "A"]
    rcodes = {"NOERROR": 0, "NXDOMAIN": 3}
    for each in asked:
        reasons = [] if each["reason"] is None else [each["reason"]]
        addresses = [record.split()[-1] for record in each["records"]]
        assert running.ask(each["name"], address) == (rcodes[each["reply"]], addresses, reasons)
    assert asked[-1]["records"][0].split()[-1] == {"shop": "10.96.1.1", "batch": "10.9.9.9"}[namespace]


@pytest.mark.parametrize(
    ("name", "client", "reply"), [("shop/web-0", POD, "REFUSED"), ("batch/job-0", OTHER, "NOERROR")]
)
def test_rules_about_clients_apply_to_the_address_of_the_pod(
    running: Running, capsys: pytest.CaptureFixture[str], name: str, client: str, reply: str
) -> None:
    secret = "secret.shop.svc.cluster.local."
    found = explain(running, capsys, "--pod", name, secret, "A")
    (step,) = found["tried"]
    rcode, addresses, reasons = running.ask(secret, client)
    assert (step["reply"], rcode == 5, [step["reason"]] * (rcode == 5)) == (reply, reply == "REFUSED", reasons)
    assert [record.split()[-1] for record in step["records"]] == addresses


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("shop/agent-0", "the pod is on the network of node n1: it uses the node's resolv.conf, and asks the node's "),
        ("shop/done-0", "no pod with this name is running, so its address, node and zone are unknown"),
        ("shop/web-1", "no pod with this name is running, so its address, node and zone are unknown"),
    ],
)
def test_a_pod_without_an_address_of_its_own_is_never_guessed(
    running: Running, capsys: pytest.CaptureFixture[str], name: str, note: str
) -> None:
    until(lambda: "Pod" in json.loads(_status(running, capsys))["kinds"])  # the first status may be older than the list
    found = explain(running, capsys, "--pod", name, "web")
    assert any(each.startswith(note) for each in found["notes"]), found["notes"]
    assert found["tried"][0]["name"] == "web.shop.svc.cluster.local."


def _status(running: Running, capsys: pytest.CaptureFixture[str]) -> str:
    main(["status", "--state-dir", str(running.state_dir), "-o", "json"])
    return capsys.readouterr().out


def test_the_node_of_pods_is_no_pod(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    found = explain(running, capsys, "--client", NODE, "web.shop.svc.cluster.local.")
    assert found["pod"] is None


def test_a_pod_that_has_ended_leaves_its_address(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.api.apply("Pod", pod("late-0", "127.0.0.8"))
    until(lambda: explain(running, capsys, "--client", "127.0.0.8", "web")["pod"] is not None)
    running.api.delete("Pod", "shop", "late-0")
    until(lambda: explain(running, capsys, "--client", "127.0.0.8", "web")["pod"] is None)


def test_pods_that_may_not_be_listed_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeApiServer() as api:
        for verb in ("list", "watch"):
            api.fail("Pod", verb, 403, reason="Forbidden", message="no pods")
        (tmp_path / "config.yaml").write_text("upstreams: ['127.0.0.1:9']\nclients: pods\n")
        source = ["--kubeconfig", str(api.kubeconfig(tmp_path)), "--config", str(tmp_path / "config.yaml")]
        server = Server(source, tmp_path / "state", flags=["--drain-quiet", "0"])
        try:
            flags = ["--state-dir", str(tmp_path / "state"), "-o", "json", "--pod", "shop/web-0"]

            def notes() -> list[str]:
                main(["explain", *flags, "web"])
                found: list[str] = json.loads(capsys.readouterr().out)["notes"]
                return found

            until(lambda: any("no pods" in each for each in notes()))
            assert any(each.startswith("pods aren't listed (") for each in notes())
        finally:
            server.end()
