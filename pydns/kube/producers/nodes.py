"""Nodes.

The addresses of Nodes are used for Services of type NodePort, and to find out where clients run. Nodes have no DNS
names.
"""

from contextlib import suppress
from typing import NamedTuple

import msgspec

from pydns.dns.address import BadAddress, parse_range
from pydns.kube.external.exposure import read_addresses
from pydns.kube.objects import Options, RawMeta, place_name
from pydns.table.client_classes import ClientRange, client_range

_ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")


class Node(NamedTuple):
    """A Node. If the Node isn't ready or isn't schedulable, it has no addresses for Services."""

    name: str
    external: tuple[bytes, ...]  # external addresses, for Services
    internal: tuple[bytes, ...]
    # The addresses that clients on the Node may have: the Node's own addresses, and its podCIDRs. Read only with
    # `Options.topology`.
    clients: tuple[ClientRange, ...] = ()
    zone: str = ""


class _Address(msgspec.Struct, gc=False):
    type: str
    address: str


class _Condition(msgspec.Struct, gc=False):
    type: str
    status: str


class _Status(msgspec.Struct, gc=False):
    addresses: list[_Address] | None = None
    conditions: list[_Condition] | None = None


class _Spec(msgspec.Struct, gc=False):
    unschedulable: bool | None = None
    pod_cidr: str | None = msgspec.field(name="podCIDR", default=None)
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)


class RawNode(msgspec.Struct, gc=False):
    """The fields of a Node that pydns reads."""

    metadata: RawMeta
    spec: _Spec | None = None
    status: _Status | None = None


def read_node(raw: RawNode, options: Options) -> Node:
    """Return a Node."""
    status, spec = raw.status or _Status(), raw.spec or _Spec()
    by_type: dict[str, list[str]] = {}
    for each in status.addresses or ():
        by_type.setdefault(each.type, []).append(each.address)
    external, internal = (tuple(read_addresses(by_type.get(f"{each}IP", ()), [])) for each in ("External", "Internal"))
    node = Node(raw.metadata.name, external, internal)
    if options.topology:
        node = node._replace(clients=_clients(node, spec), zone=_zone(raw.metadata))
    # A Node without conditions counts as ready, because a Node in a manifest has no conditions.
    is_ready = all(each.status == "True" for each in status.conditions or () if each.type == "Ready")
    return node if is_ready and not spec.unschedulable else node._replace(external=(), internal=())


def _clients(node: Node, spec: _Spec) -> tuple[ClientRange, ...]:
    found = [ClientRange(address, 8 * len(address)) for address in (*node.external, *node.internal)]
    for text in spec.pod_cidrs or filter(None, [spec.pod_cidr]):
        with suppress(BadAddress):
            found.append(client_range(parse_range(text)))
    return tuple(dict.fromkeys(found))


def _zone(meta: RawMeta) -> str:
    labels = meta.labels or {}
    return next((place_name(labels[each]) for each in _ZONE_LABELS if each in labels), "")
