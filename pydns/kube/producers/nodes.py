"""Nodes: their addresses are used for Services of type NodePort. Nodes have no DNS names."""

from typing import NamedTuple

import msgspec

from pydns.kube.external.exposure import read_addresses
from pydns.kube.objects import Options, RawMeta


class Node(NamedTuple):
    """A Node. A Node that isn't ready or isn't schedulable has no addresses here."""

    name: str
    external: tuple[bytes, ...]
    internal: tuple[bytes, ...]


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


class RawNode(msgspec.Struct, gc=False):
    """The fields of a Node that pydns reads."""

    metadata: RawMeta
    spec: _Spec | None = None
    status: _Status | None = None


def read_node(raw: RawNode, options: Options) -> Node:
    """Return a Node."""
    status = raw.status or _Status()
    # A Node without conditions counts as ready, because a manifest of a Node has no conditions.
    is_ready = all(each.status == "True" for each in status.conditions or () if each.type == "Ready")
    if not is_ready or (raw.spec is not None and raw.spec.unschedulable):
        return Node(raw.metadata.name, (), ())
    by_type: dict[str, list[str]] = {}
    for each in status.addresses or ():
        by_type.setdefault(each.type, []).append(each.address)
    external, internal = (tuple(read_addresses(by_type.get(f"{each}IP", ()), [])) for each in ("External", "Internal"))
    return Node(raw.metadata.name, external, internal)
