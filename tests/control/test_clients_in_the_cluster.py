"""Answers of a running server depend on where the client runs.

The server learns this from objects, and follows their changes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import pytest
import yaml

from tests.fakes.manifests import service
from tests.running import Server as Process
from tests.running import query
from tests.subject import Address
from tests.waiting import until

pytestmark = pytest.mark.processes

_NAME = "public.ingress.k8s.example.com"
_BALANCER = {
    **service("public", "10.96.0.80", ports=[{"port": 443}]),
    "metadata": {"name": "public", "namespace": "ingress"},
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.80"}]}},
}
_BALANCER["spec"]["type"] = "LoadBalancer"
_CONFIG = {"external": {"k8s.example.com": {"hairpin": "service"}}}


def _node(cidr: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDRs": [cidr]}}


class Cluster:
    """A server, and the folder of its manifests."""

    def __init__(self, folder: Path) -> None:
        self._manifests = folder / "manifests"
        self._config = folder / "config.yaml"
        for each in (self._manifests, folder / "state"):
            each.mkdir()
        self.write(_node("127.1.0.0/16"))
        self.configure(_CONFIG)
        flags = ["--manifests", str(self._manifests), "--config", str(self._config)]
        self.process = Process(flags, folder / "state", listen="127.0.0.1:0")
        self._address = Address("127.0.0.1", self.process.port)

    def write(self, node: dict[str, Any]) -> None:
        _replace(self._manifests / "cluster.yaml", yaml.safe_dump_all([_BALANCER, node]))

    def configure(self, config: dict[str, Any]) -> None:
        _replace(self._config, yaml.safe_dump(config))

    def ask(self, client: str, *, tcp: bool = False) -> str:
        reply = self._address.ask(query(_NAME, dns.rdatatype.A), tcp=tcp, client=client)
        assert reply is not None
        return " ".join(rdata.to_text() for rrset in dns.message.from_wire(reply).answer for rdata in rrset)

    def becomes(self, client: str, answer: str) -> None:
        until(lambda: self.ask(client) == answer)


def _replace(path: Path, text: str) -> None:
    """Write a file at once, so that the server never reads a part of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.process.end()


def test_client_is_in_the_cluster_while_a_node_has_its_address(cluster: Cluster) -> None:
    cluster.becomes("127.1.0.5", "10.96.0.80")
    assert cluster.ask("127.1.0.5", tcp=True) == "10.96.0.80"
    assert cluster.ask("127.2.0.5") == cluster.ask("127.2.0.5", tcp=True) == "192.0.2.80"
    cluster.write(_node("127.2.0.0/16"))
    cluster.becomes("127.2.0.5", "10.96.0.80")
    assert cluster.ask("127.1.0.5") == "192.0.2.80"


def test_hairpin_and_ranges_change_while_the_server_runs(cluster: Cluster) -> None:
    cluster.becomes("127.1.0.5", "10.96.0.80")
    cluster.configure({**_CONFIG, "cluster_ranges": ["127.3.0.0/16"]})
    cluster.becomes("127.3.0.5", "10.96.0.80")
    assert cluster.ask("127.1.0.5") == "10.96.0.80"
    cluster.configure({"external": {"k8s.example.com": {}}})
    cluster.becomes("127.3.0.5", "192.0.2.80")
    assert cluster.ask("127.1.0.5") == "192.0.2.80"
