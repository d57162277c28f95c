"""A headless Service without a ready endpoint has no records. The zone knows such Services and their endpoints."""

from typing import Any

import yaml

from pydns.kube.events import Apply, Delete
from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref
from pydns.kube.workloads import Manifest, build, read
from pydns.kube.zone import Zone
from tests.subject import load

CLUSTER = """
- {apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None}}
- {apiVersion: v1, kind: Service, metadata: {name: alone, namespace: shop}, spec: {clusterIP: None}}
- {apiVersion: v1, kind: Service, metadata: {name: up, namespace: shop}, spec: {clusterIP: None}}
- {apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1}}
- {apiVersion: v1, kind: Service, metadata: {name: far, namespace: shop}, spec: {type: ExternalName, externalName: a.b}}
- {apiVersion: v1, kind: Service, metadata: {name: db, namespace: hidden}, spec: {clusterIP: None}}
- &slice
  apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
  addressType: IPv4
  endpoints:
    - {addresses: [10.1.0.1], conditions: {ready: false, terminating: true}}
    - {addresses: [10.1.0.2], conditions: {ready: false, terminating: false}}
- <<: *slice
  metadata: {name: db-2, namespace: shop, labels: {kubernetes.io/service-name: db}}
  endpoints: [{addresses: [10.1.0.3], conditions: {ready: false}}]
- <<: *slice
  metadata: {name: up-1, namespace: shop, labels: {kubernetes.io/service-name: up}}
  endpoints: [{addresses: [10.1.0.4], conditions: {ready: false}}, {addresses: [10.1.0.5], conditions: {ready: true}}]
"""


def observed(document: dict[str, Any]) -> Observed:
    built = build([each for each in read(document) if isinstance(each, Manifest)])  # the result includes the namespace
    return next(each for each in built.values() if each.ref.kind is Kind.ENDPOINT_SLICE)


def texts(zone: Zone) -> dict[str, str]:
    return {str(ref): str(unready) for ref, unready in zone.without_endpoints()}


def test_headless_services_without_a_ready_endpoint_are_known_with_their_endpoints() -> None:
    documents = yaml.safe_load(CLUSTER)
    zone = load(documents, ["--namespaces", "shop"])
    assert texts(zone) == {
        "Service shop/db": "3 endpoints (2 not ready, 1 terminating)",
        "Service shop/alone": "no endpoints",
    }

    zone.flush()
    first, second = documents[6:8]
    first["endpoints"].pop()
    zone.apply(Apply(observed(first)))
    assert texts(zone)["Service shop/db"] == "2 endpoints (1 not ready, 1 terminating)"
    assert not zone.is_behind
    assert not zone.flush()
    second["endpoints"][0]["conditions"]["ready"] = True
    zone.apply(Apply(observed(second)))
    assert list(texts(zone)) == ["Service shop/alone"]
    zone.apply(Delete(Ref(Kind.ENDPOINT_SLICE, "shop", "db-2")))
    assert texts(zone)["Service shop/db"] == "1 endpoint (1 terminating)"
    zone.apply(Delete(Ref(Kind.SERVICE, "shop", "db")))
    assert list(texts(zone)) == ["Service shop/alone"]
