"""The server finds and follows its own Service whatever `--labels` selects, with an API server and with a folder."""

from pathlib import Path
from typing import Any

import dns.message
import pytest
import yaml

from tests.fakes.apiserver import FakeApiServer
from tests.running import Server
from tests.subject import Address
from tests.waiting import until

NS_DNS, KUBE_DNS = "ns.dns.cluster.local.", "kube-dns.kube-system.svc.cluster.local."
FLAGS = ["--labels", "tier=front"]
SERVICE = {"metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": {"clusterIP": "10.96.0.10"}}
SLICE = {
    "metadata": {
        "name": "kube-dns-1",
        "namespace": "kube-system",
        "labels": {"kubernetes.io/service-name": "kube-dns"},
    },
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["127.0.0.1"]}],
}
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Service", **SERVICE},
    {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **SLICE},
]


def nameserver(server: Server) -> str:
    """Return the target of the cluster domain's NS record."""
    reply = Address("127.0.0.1", server.port).ask(dns.message.make_query("cluster.local", "NS").to_wire(), tcp=True)
    assert reply is not None
    return str(dns.message.from_wire(reply).answer[0][0])


@pytest.mark.parametrize("is_there_first", [True, False])
def test_the_server_finds_its_own_service_with_an_api_server(tmp_path: Path, is_there_first: bool) -> None:
    with FakeApiServer() as api:
        api.apply("Namespace", {"metadata": {"name": "kube-system"}})
        if is_there_first:
            api.apply("Service", SERVICE)
            api.apply("EndpointSlice", SLICE)
        server = Server(["--kubeconfig", str(api.kubeconfig(tmp_path))], tmp_path / "state", flags=FLAGS)
        try:
            if is_there_first:
                assert nameserver(server) == KUBE_DNS
            else:
                api.apply("Service", SERVICE)
                api.apply("EndpointSlice", SLICE)
                until(lambda: nameserver(server) == KUBE_DNS, 60)
            assert server.ask("kube-dns.kube-system.svc.cluster.local", timeout_s=30) == "rcode 3"
            api.delete("Service", "kube-system", "kube-dns")
            until(lambda: nameserver(server) == NS_DNS, 60)
        finally:
            server.end()


def test_the_server_finds_its_own_service_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "dns.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    server = Server(["--manifests", str(folder)], tmp_path / "state", flags=FLAGS)
    try:
        assert nameserver(server) == KUBE_DNS
        (folder / "dns.yaml").unlink()
        until(lambda: nameserver(server) == NS_DNS, 60)
        (folder / "again.yaml").write_text(yaml.safe_dump_all(OBJECTS))
        until(lambda: nameserver(server) == KUBE_DNS, 60)
    finally:
        server.end()
