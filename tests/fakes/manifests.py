"""Manifests of the namespace `shop`. They contain only the fields that DNS needs."""

from collections.abc import Sequence
from typing import Any

Manifest = dict[str, Any]


def service(name: str, cluster_ip: str | None = None, **spec: Any) -> Manifest:
    """Return a Service. `spec` contains further fields of its spec."""
    if cluster_ip is not None:
        spec["clusterIP"] = cluster_ip
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name}, "spec": spec}


def external_name(name: str, target: str) -> Manifest:
    """Return a Service whose name is an alias of `target`."""
    return service(name, type="ExternalName", externalName=target)


def endpoint_slice(service_name: str, *addresses: str, number: int = 1, ports: Sequence[Manifest] = ()) -> Manifest:
    """Return an EndpointSlice of a Service. All its endpoints are ready."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "shop",
            "name": f"{service_name}-{number}",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each]} for each in addresses],
        "ports": [*ports] or None,
    }
