"""Two namespaces of a real cluster, served as two clusters and as two domains.

Run the tests like tests/control/test_cluster.py, with PYDNS_TEST_KUBECONFIG=FILE.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.test_cluster import KUBECONFIG, Cluster, ask, becomes, cluster, pytestmark
from tests.subject import Server
from tests.waiting import until

__all__ = ["cluster", "pytestmark"]


@pytest.fixture(scope="module")
def other(cluster: Cluster) -> Iterator[Cluster]:
    """A second namespace."""
    found = cluster._replace(namespace=f"{cluster.namespace}-east")
    found.call("POST", "/api/v1/namespaces", {"metadata": {"name": found.namespace}})
    yield found
    for each in found.call("GET", found._path("services"))["items"]:
        found.delete("services", each["metadata"]["name"])
    found.call("DELETE", f"/api/v1/namespaces/{found.namespace}")


@pytest.fixture(scope="module")
def server(cluster: Cluster, other: Cluster) -> Iterator[Server]:
    config: dict[str, Any] = {
        "namespaces": [cluster.namespace],
        "clusters": {
            "east": {"kubeconfig": KUBECONFIG, "domains": {"east.example": {"namespaces": [other.namespace]}}},
        },
        "domains": {
            "k8s.example": {"namespaces": [cluster.namespace, other.namespace]},
            "team.example": {"namespace_labels": "pydns-test=shop"},
        },
    }
    started = Server.watching(Path(KUBECONFIG), config=config)
    yield started
    started.close()


def test_the_names_of_each_cluster_are_in_its_domain(cluster: Cluster, other: Cluster, server: Server) -> None:
    here = cluster.service("web", ports=[{"port": 80}])["spec"]["clusterIP"]
    there = other.service("web", ports=[{"port": 80}])["spec"]["clusterIP"]
    qtype = "A" if "." in here else "AAAA"
    becomes(server, f"web.{cluster.namespace}.svc.cluster.local.", qtype, "NOERROR", here)
    becomes(server, f"web.{other.namespace}.svc.east.example.", qtype, "NOERROR", there)
    becomes(server, f"web.{cluster.namespace}.svc.east.example.", qtype, "NXDOMAIN")
    assert ask(server, f"web.{other.namespace}.svc.cluster.local.", qtype) == ("NXDOMAIN", set())
    for namespace, address in (cluster.namespace, here), (other.namespace, there):
        becomes(server, f"web.{namespace}.svc.k8s.example.", qtype, "NOERROR", address)


def test_labels_of_a_namespace_select_its_names(cluster: Cluster, other: Cluster, server: Server) -> None:
    address = other.service("labelled", ports=[{"port": 80}])["spec"]["clusterIP"]
    qtype, name = "A" if "." in address else "AAAA", f"labelled.{other.namespace}.svc.team.example."
    until(lambda: ask(server, name, qtype)[0] == "NXDOMAIN")
    namespace = f"/api/v1/namespaces/{other.namespace}"
    cluster.call("PATCH", namespace, {"metadata": {"labels": {"pydns-test": "shop"}}}, "merge-patch+json")
    becomes(server, name, qtype, "NOERROR", address)
    cluster.call("PATCH", namespace, {"metadata": {"labels": {"pydns-test": None}}}, "merge-patch+json")
    becomes(server, name, qtype, "NXDOMAIN")
