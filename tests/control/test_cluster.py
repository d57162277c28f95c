"""Tests in a real cluster, in a new namespace. Run them with PYDNS_TEST_KUBECONFIG=FILE. Otherwise they are skipped.

The kubeconfig's user may create and delete namespaces, Services and EndpointSlices, and list and watch them. The tests
delete everything that they create. They write endpoints by hand, so they need only the namespace controller, which
removes the remaining objects of a deleted namespace.
"""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.message
import dns.rcode
import pytest

from pydns.control.api_client import ApiClient, connect
from tests.running import query
from tests.subject import Server
from tests.waiting import until

KUBECONFIG = os.environ.get("PYDNS_TEST_KUBECONFIG", "")
pytestmark = [
    pytest.mark.skipif(not KUBECONFIG, reason="PYDNS_TEST_KUBECONFIG names no kubeconfig of a cluster"),
    # The certificate check isn't the subject of these tests.
    pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning"),
]
# Only clusters with external-dns serve the kind DNSEndpoint.
EXTERNAL = {"external": {"x.example": {"sources": ["services", "ingresses", "dnsendpoints", "nodes"]}}}
_TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "AAAA": 28, "SRV": 33}


class Cluster(NamedTuple):
    """A namespace of a cluster, with methods that change its objects."""

    connection: ApiClient
    namespace: str

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = "json") -> dict[str, Any]:
        content = json.dumps(body).encode() if body is not None else None
        response = self.connection.request(
            path, [], 60, method=method, body=content, content_type=f"application/{kind}"
        )
        assert 200 <= response.status < 300, response.data
        value: dict[str, Any] = response.json()
        return value

    def service(self, name: str, **spec: Any) -> dict[str, Any]:
        """Create a Service, and return the object from the server's response."""
        metadata = {"name": name}
        return self.call("POST", self._path("services"), {"metadata": metadata, "spec": spec})

    def slice(self, name: str, service: str, endpoints: list[dict[str, Any]]) -> None:
        """Create an EndpointSlice."""
        body = {
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "pg", "port": 5432}],
            "endpoints": endpoints,
        }
        self.call("POST", self._path("endpointslices"), body)

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.call("PATCH", self._path(kind, name), body, "merge-patch+json")

    def delete(self, kind: str, name: str) -> None:
        self.call("DELETE", self._path(kind, name))

    def _path(self, kind: str, name: str = "") -> str:
        groups = {"endpointslices": "/apis/discovery.k8s.io/v1", "ingresses": "/apis/networking.k8s.io/v1"}
        group = groups.get(kind, "/api/v1")
        return f"{group}/namespaces/{self.namespace}/{kind}/{name}".rstrip("/")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster(connect(Path(KUBECONFIG)), f"pydns-test-{uuid.uuid4().hex[:8]}")
    found.call("POST", "/api/v1/namespaces", {"metadata": {"name": found.namespace}})
    yield found
    # The objects are deleted one by one. In a cluster without the namespace controller, they would otherwise stay
    # forever.
    for kind in ("services", "endpointslices", "ingresses"):
        for each in found.call("GET", found._path(kind))["items"]:
            found.delete(kind, each["metadata"]["name"])
    found.call("DELETE", f"/api/v1/namespaces/{found.namespace}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server.watching(Path(KUBECONFIG), config=EXTERNAL)
    yield started
    started.close()


def ask(server: Server, qname: str, qtype: str) -> tuple[str, set[str]]:
    """Return the rcode and the data of the records."""
    reply = server.ask(query(qname, _TYPES[qtype]), tcp=False)
    assert reply is not None
    message = dns.message.from_wire(reply)
    return dns.rcode.to_text(message.rcode()), {str(rdata) for rrset in message.answer for rdata in rrset}


def becomes(server: Server, qname: str, qtype: str, rcode: str, *rdatas: str) -> None:
    """Wait until a question gets this answer."""
    until(lambda: ask(server, qname, qtype) == (rcode, set(rdatas)), found=lambda: ask(server, qname, qtype))


def test_a_service_has_the_address_that_the_cluster_gave_it(cluster: Cluster, server: Server) -> None:
    made = cluster.service("web", ports=[{"name": "http", "port": 80}])
    address = made["spec"]["clusterIP"]
    name = f"web.{cluster.namespace}.svc.cluster.local."
    becomes(server, name, "A" if "." in address else "AAAA", "NOERROR", address)
    assert ask(server, f"_http._tcp.{name}", "SRV") == ("NOERROR", {f"0 100 80 {name}"})
    if "." in address:
        backwards = ".".join(reversed(address.split("."))) + ".in-addr.arpa."
        assert ask(server, backwards, "PTR") == ("NOERROR", {name})


def test_a_changed_port_changes_its_records(cluster: Cluster, server: Server) -> None:
    cluster.service("port", ports=[{"name": "http", "port": 80}])
    name = f"port.{cluster.namespace}.svc.cluster.local."
    becomes(server, f"_http._tcp.{name}", "SRV", "NOERROR", f"0 100 80 {name}")
    cluster.patch("services", "port", {"spec": {"ports": [{"name": "other", "port": 81}]}})
    becomes(server, f"_other._tcp.{name}", "SRV", "NOERROR", f"0 100 81 {name}")
    assert ask(server, f"_http._tcp.{name}", "SRV") == ("NXDOMAIN", set())


def test_the_name_of_a_deleted_service_does_not_exist(cluster: Cluster, server: Server) -> None:
    address = cluster.service("gone", ports=[{"port": 80}])["spec"]["clusterIP"]
    name = f"gone.{cluster.namespace}.svc.cluster.local."
    becomes(server, name, "A" if "." in address else "AAAA", "NOERROR", address)
    cluster.delete("services", "gone")
    becomes(server, name, "A", "NXDOMAIN")


def test_a_headless_service_follows_its_endpoints(cluster: Cluster, server: Server) -> None:
    cluster.service("db", clusterIP="None", ports=[{"name": "pg", "port": 5432}])
    name = f"db.{cluster.namespace}.svc.cluster.local."
    first = {"addresses": ["10.2.0.1"], "hostname": "db-0"}
    cluster.slice("db-1", "db", [first, {"addresses": ["10.2.0.2"], "conditions": {"ready": False}}])
    becomes(server, name, "A", "NOERROR", "10.2.0.1")
    assert ask(server, f"db-0.{name}", "A") == ("NOERROR", {"10.2.0.1"})
    assert ask(server, f"_pg._tcp.{name}", "SRV") == ("NOERROR", {f"0 100 5432 db-0.{name}"})
    cluster.patch("endpointslices", "db-1", {"endpoints": [first, {"addresses": ["10.2.0.2"]}]})
    becomes(server, name, "A", "NOERROR", "10.2.0.1", "10.2.0.2")
    cluster.delete("endpointslices", "db-1")
    becomes(server, name, "A", "NXDOMAIN")


def test_a_slice_created_before_its_service_is_not_lost(cluster: Cluster, server: Server) -> None:
    cluster.slice("early-1", "early", [{"addresses": ["10.2.0.3"]}])
    name = f"early.{cluster.namespace}.svc.cluster.local."
    cluster.service("early", clusterIP="None", ports=[{"name": "pg", "port": 5432}])
    becomes(server, name, "A", "NOERROR", "10.2.0.3")


def test_the_name_of_an_external_name_service_is_an_alias(cluster: Cluster, server: Server) -> None:
    cluster.service("out", type="ExternalName", externalName="www.example.com")
    name = f"out.{cluster.namespace}.svc.cluster.local."
    becomes(server, name, "CNAME", "NOERROR", "www.example.com.")
    cluster.patch("services", "out", {"spec": {"externalName": "other.example.com"}})
    becomes(server, name, "CNAME", "NOERROR", "other.example.com.")


def test_an_emptied_slice_is_a_valid_object(cluster: Cluster, server: Server) -> None:
    """The API server writes `endpoints: null` and `ports: null` into an emptied slice."""
    cluster.service("empty", clusterIP="None", ports=[{"name": "pg", "port": 5432}])
    cluster.slice("empty-1", "empty", [{"addresses": ["10.2.0.4"]}])
    name = f"empty.{cluster.namespace}.svc.cluster.local."
    becomes(server, name, "A", "NOERROR", "10.2.0.4")
    cluster.patch("endpointslices", "empty-1", {"endpoints": None, "ports": None})
    becomes(server, name, "A", "NXDOMAIN")


def test_a_new_namespace_has_a_name(cluster: Cluster, server: Server) -> None:
    becomes(server, f"{cluster.namespace}.svc.cluster.local.", "A", "NOERROR")
    assert ask(server, f"{cluster.namespace}-x.svc.cluster.local.", "A") == ("NXDOMAIN", set())


def test_a_load_balancer_has_an_external_name_when_its_status_has_an_address(cluster: Cluster, server: Server) -> None:
    cluster.service("lb", type="LoadBalancer", ports=[{"name": "http", "port": 80}])
    name = f"lb.{cluster.namespace}.x.example."
    becomes(server, name, "A", "NOERROR")  # the load balancer's address is pending
    cluster.patch("services", "lb/status", {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}})
    becomes(server, name, "A", "NOERROR", "192.0.2.10")
    assert ask(server, f"_http._tcp.{name}", "SRV") == ("NOERROR", {f"0 100 80 {name}"})
    cluster.delete("services", "lb")
    becomes(server, name, "A", "NXDOMAIN")


def test_the_hosts_of_an_ingress_have_names(cluster: Cluster, server: Server) -> None:
    host = f"www.{cluster.namespace}.x.example"
    name = f"{host}."
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    rules = [{"host": each, "http": {"paths": [path]}} for each in (host, f"*.{host}")]
    cluster.call("POST", cluster._path("ingresses"), {"metadata": {"name": "www"}, "spec": {"rules": rules}})
    becomes(server, name, "A", "NOERROR")
    status = {"loadBalancer": {"ingress": [{"hostname": "x.elb.example"}]}}
    cluster.patch("ingresses", "www/status", {"status": status})
    becomes(server, name, "CNAME", "NOERROR", "x.elb.example.")
    becomes(server, f"any.{name}", "CNAME", "NOERROR", "x.elb.example.")
    assert ask(server, f"too.many.{name}", "CNAME") == ("NXDOMAIN", set())
    cluster.patch(
        "ingresses", "www", {"metadata": {"annotations": {"external-dns.kubernetes.io/target": "192.0.2.80"}}}
    )
    becomes(server, name, "A", "NOERROR", "192.0.2.80")
    cluster.delete("ingresses", "www")
    becomes(server, name, "A", "NXDOMAIN")
