"""The cluster that every benchmark serves, as manifests for pydns and as zone files for Knot.

The manifests and the zone files are made from `services`, so the same names have the same records.
`test_bench_parts.py` reads both back and compares them. Service I is `svc-I` in namespace `ns-(I % 100)` with ClusterIP
10.96.0.0 + I and one named port. This module knows nothing about processes or sockets.
"""

import json
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

DOMAIN = "cluster.local"
REVERSE = "10.in-addr.arpa"
NAMESPACES = 100
TTL_S = 5
PORT = 80
PORT_NAME = "http"
_FIRST_ADDRESS = IPv4Address("10.96.0.0")


class Service(NamedTuple):
    """One Service of the cluster."""

    name: str
    namespace: str
    address: str

    @property
    def dns_name(self) -> str:
        """The Service's name without a final dot, which is the form that dnsperf needs."""
        return f"{self.name}.{self.namespace}.svc.{DOMAIN}"


def services(count: int) -> list[Service]:
    """Return the cluster's Services. A longer list begins with all Services of a shorter list."""
    return [Service(f"svc-{i}", f"ns-{i % NAMESPACES}", str(_FIRST_ADDRESS + i)) for i in range(count)]


def write_manifests(directory: Path, cluster: list[Service]) -> None:
    """Write one file per namespace for pydns's `--manifests`. Each file is a List of the Namespace and its Services.

    The files are JSON, which is also valid YAML. PyYAML would take seconds to write 10,000 Services, and this benchmark
    doesn't measure PyYAML.
    """
    by_namespace: dict[str, list[Service]] = {}
    for service in cluster:
        by_namespace.setdefault(service.namespace, []).append(service)
    for namespace, members in by_namespace.items():
        items = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, *map(_manifest, members)]
        manifest = {"apiVersion": "v1", "kind": "List", "items": items}
        (directory / f"{namespace}.json").write_text(json.dumps(manifest, indent=1))


def _manifest(service: Service) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "namespace": service.namespace},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service.address,
            "clusterIPs": [service.address],
            "ports": [{"name": PORT_NAME, "protocol": "TCP", "port": PORT, "targetPort": 8080}],
        },
    }


def write_zones(directory: Path, cluster: list[Service]) -> None:
    """Write `DOMAIN` and `REVERSE` as zone files. Each file is named after its origin."""
    (directory / f"{DOMAIN}.zone").write_text("\n".join([*_head(DOMAIN), *_forward_records(cluster), ""]))
    (directory / f"{REVERSE}.zone").write_text("\n".join([*_head(REVERSE), *_reverse_records(cluster), ""]))


def _head(origin: str) -> list[str]:
    return [
        f"$ORIGIN {origin}.",
        f"$TTL {TTL_S}",
        f"@ SOA ns.dns.{DOMAIN}. hostmaster.{DOMAIN}. 1 7200 1800 86400 {TTL_S}",
        f"@ NS ns.dns.{DOMAIN}.",
    ]


def _forward_records(cluster: list[Service]) -> Iterator[str]:
    yield "ns.dns A 127.0.0.1"
    for service in cluster:
        owner = f"{service.dns_name}."
        # The Service has one port and one address. So the weight is 100 at the port's name and at the bare name.
        for name in owner, f"_{PORT_NAME}._tcp.{owner}":
            yield f"{name} A {service.address}"
            yield f"{name} SRV 0 100 {PORT} {owner}"


def _reverse_records(cluster: list[Service]) -> Iterator[str]:
    for service in cluster:
        yield f"{IPv4Address(service.address).reverse_pointer}. PTR {service.dns_name}."
