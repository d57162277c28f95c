"""Kinds that aren't in every real cluster: CRDs are added while pydns runs, objects get a status, and CRDs are removed.

Run the tests like tests/control/test_cluster.py, with PYDNS_TEST_KUBECONFIG=FILE. The user may also create and delete
CRDs. The schemas are minimal ones. The tests use existing CRDs of the cluster unchanged, and don't remove them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.test_cluster import KUBECONFIG, Cluster, ask, becomes, cluster, pytestmark
from tests.subject import Server
from tests.waiting import until

__all__ = ["cluster", "pytestmark"]

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_GATEWAY_API, _MULTICLUSTER = "gateway.networking.k8s.io", "multicluster.x-k8s.io"
# Plural -> kind, group, and the versions that are served. The last one is stored.
_KINDS = {
    "gateways": ("Gateway", _GATEWAY_API, ("v1beta1", "v1")),
    "listenersets": ("ListenerSet", _GATEWAY_API, ("v1",)),
    "httproutes": ("HTTPRoute", _GATEWAY_API, ("v1",)),
    "tlsroutes": ("TLSRoute", _GATEWAY_API, ("v1alpha2",)),
    "udproutes": ("UDPRoute", _GATEWAY_API, ("v1alpha2",)),
    "serviceimports": ("ServiceImport", _MULTICLUSTER, ("v1alpha1", "v1beta1")),
}
_ACCEPTED = [{"type": "Accepted", "status": "True"}]
_IMPORT_SPEC = {"type": "ClusterSetIP", "ips": ["10.42.0.1"], "ports": [{"name": "http", "port": 80}]}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that was started before the CRDs were there."""
    started = Server.watching(Path(KUBECONFIG), config={"external": {"x.example": {"sources": ["routes"]}}})
    yield started
    started.close()


@pytest.fixture(scope="module")
def crds(cluster: Cluster, server: Server) -> Iterator[set[str]]:
    """Create the CRDs that the cluster lacks, and return their plurals."""
    becomes(server, f"{cluster.namespace}.svc.cluster.local.", "A", "NOERROR")
    found = {each["metadata"]["name"] for each in cluster.call("GET", _CRDS)["items"]}
    created = {plural for plural, (_, group, _) in _KINDS.items() if f"{plural}.{group}" not in found}
    for plural in created:
        create(cluster, plural)
    yield created
    for plural in created:
        delete(cluster, plural)


def create(cluster: Cluster, plural: str) -> None:
    kind, group, versions = _KINDS[plural]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    body = {
        "metadata": {
            "name": f"{plural}.{group}",
            # The API server requires this annotation for groups that end with k8s.io.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [
                {
                    "name": each,
                    "served": True,
                    "storage": each == versions[-1],
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
                for each in versions
            ],
        },
    }
    cluster.call("POST", _CRDS, body)
    # A new kind is answered with 404 at first, and then with 429.
    until(lambda: cluster.connection.request(_path(cluster, plural), [], 60).status == 200)


def _path(cluster: Cluster, plural: str) -> str:
    _, group, versions = _KINDS[plural]
    return f"/apis/{group}/{versions[-1]}/namespaces/{cluster.namespace}/{plural}"


def delete(cluster: Cluster, plural: str) -> None:
    path = f"{_CRDS}/{plural}.{_KINDS[plural][1]}"
    cluster.call("DELETE", path)
    until(lambda: cluster.connection.request(path, [], 60).status == 404)


def put(cluster: Cluster, plural: str, name: str, spec: dict[str, Any], status: dict[str, Any] | None = None) -> None:
    """Create an object, or change its spec. Then patch its status, as its controller does."""
    kind, group, versions = _KINDS[plural]
    path = _path(cluster, plural)
    body = {"apiVersion": f"{group}/{versions[-1]}", "kind": kind, "metadata": {"name": name}, "spec": spec}
    names = {each["metadata"]["name"] for each in cluster.call("GET", path)["items"]}
    if name in names:
        cluster.call("PATCH", f"{path}/{name}", {"spec": spec}, "merge-patch+json")
    else:
        cluster.call("POST", path, body)
    if status is not None:
        cluster.call("PATCH", f"{path}/{name}/status", {"status": status}, "merge-patch+json")


def test_names_of_routes_have_the_addresses_of_their_gateway(cluster: Cluster, server: Server, crds: set[str]) -> None:
    listeners = [
        {"name": "http", "port": 80, "protocol": "HTTP"},
        {"name": "tls", "port": 443, "protocol": "TLS", "hostname": "*.x.example"},
    ]
    gateway = {"gatewayClassName": "a", "listeners": listeners, "allowedListeners": {"namespaces": {"from": "Same"}}}
    put(cluster, "gateways", "gw", gateway, {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}]})
    entry = {"name": "http", "port": 8080, "protocol": "HTTP", "hostname": f"*.set.{cluster.namespace}.x.example"}
    put(cluster, "listenersets", "set", {"parentRef": {"name": "gw"}, "listeners": [entry]})
    hosts = {
        "httproutes": f"www.{cluster.namespace}.x.example",
        "tlsroutes": f"tls.{cluster.namespace}.x.example",
    }
    for plural, host in hosts.items():
        put(cluster, plural, "r", {"hostnames": [host], "parentRefs": [{"name": "gw"}]})
    in_set = f"in.set.{cluster.namespace}.x.example"
    parent = {"kind": "ListenerSet", "name": "set"}
    put(cluster, "httproutes", "in-set", {"hostnames": [in_set], "parentRefs": [parent]})
    becomes(server, f"{hosts['httproutes']}.", "A", "NXDOMAIN")  # no Gateway accepts it yet

    accepted = {"parents": [{"controllerName": "a.example/b", "parentRef": {"name": "gw"}, "conditions": _ACCEPTED}]}
    for plural, host in hosts.items():
        put(cluster, plural, "r", {"hostnames": [host]}, accepted)
        becomes(server, f"{host}.", "A", "NOERROR", "192.0.2.1")
    by_set = {"parents": [{"controllerName": "a.example/b", "parentRef": parent, "conditions": _ACCEPTED}]}
    put(cluster, "httproutes", "in-set", {"hostnames": [in_set]}, by_set)
    status = {"conditions": _ACCEPTED, "listeners": [{"name": "http", "conditions": _ACCEPTED}]}
    assert ask(server, f"{in_set}.", "A") == ("NXDOMAIN", set())
    put(cluster, "listenersets", "set", {"parentRef": {"name": "gw"}}, status)
    becomes(server, f"{in_set}.", "A", "NOERROR", "192.0.2.1")

    put(cluster, "gateways", "gw", gateway, {"addresses": [{"type": "Hostname", "value": "lb.example"}]})
    for host in (*hosts.values(), in_set):
        becomes(server, f"{host}.", "CNAME", "NOERROR", "lb.example.")


def test_names_of_imports_follow_their_objects_and_the_crd(cluster: Cluster, server: Server, crds: set[str]) -> None:
    name = f"web.{cluster.namespace}.svc.clusterset.local."
    put(cluster, "serviceimports", "web", _IMPORT_SPEC)
    becomes(server, name, "A", "NOERROR", "10.42.0.1")
    assert ask(server, f"_http._tcp.{name}", "SRV") == ("NOERROR", {f"0 100 80 {name}"})
    labels = {
        f"multicluster.kubernetes.io/{key}": value
        for key, value in (("service-name", "web"), ("source-cluster", "east"))
    }
    body = {
        "metadata": {"name": "web-east", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.8.0.1"], "hostname": "h"}],
    }
    cluster.call("POST", cluster._path("endpointslices"), body)
    put(cluster, "serviceimports", "web", {"type": "Headless", "ips": None})
    becomes(server, name, "A", "NOERROR", "10.8.0.1")
    assert ask(server, f"h.east.{name}", "A") == ("NOERROR", {"10.8.0.1"})
    if "serviceimports" in crds:
        delete(cluster, "serviceimports")
        crds.discard("serviceimports")
        create(cluster, "serviceimports")
        crds.add("serviceimports")
        becomes(server, name, "A", "NXDOMAIN")  # the objects were deleted with the CRD
