"""Gateways and ListenerSets of the Gateway API: the listeners to which routes may be attached, and their addresses.

A ListenerSet adds listeners to a Gateway. For this, the status of the ListenerSet must show that it is accepted, and
the Gateway must allow ListenerSets from the namespace of this ListenerSet. By default, a Gateway allows no
ListenerSets.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pydns.dns import name
from pydns.kube.external import hostnames
from pydns.kube.external.exposure import MOST, ExposedMeta, Exposure, quote, read_addresses, read_exposure
from pydns.kube.objects import Options, as_label

GROUP = "gateway.networking.k8s.io"
GATEWAY, LISTENER_SET = "Gateway", "ListenerSet"

Key = tuple[str, str, str]  # the kind, the namespace and the name of an object


class Listener(NamedTuple):
    """A listener of a Gateway or a ListenerSet."""

    name: str
    hostname: bytes  # the hostname in wire form and lower case; empty if the listener accepts any hostname
    port: int
    protocol: str
    kinds: frozenset[str]  # the kinds of routes that may be attached; empty if only the protocol decides
    same_namespace: bool  # whether only routes in the listener's own namespace may be attached


class Gateway(NamedTuple):
    """A Gateway, with its listeners and addresses."""

    namespace: str
    name: str
    class_name: str
    is_programmed: bool
    listeners: tuple[Listener, ...]
    exposure: Exposure | None  # None if a label of the Gateway asks pydns to ignore it
    # From which namespaces the Gateway allows ListenerSets: "None", "Same" (its own namespace), "Selector" or "All".
    sets_from: str

    @property
    def key(self) -> Key:
        """Return the kind, the namespace and the name of the Gateway."""
        return GATEWAY, self.namespace, self.name

    @property
    def parents(self) -> tuple[Key, ...]:
        """Return no keys, because the listeners of a Gateway depend on no other object."""
        return ()

    def allows(self, namespace: str) -> bool:
        """Return whether the Gateway allows ListenerSets of a namespace.

        With "Selector", the result is True, because the status of a ListenerSet shows whether the selector matches its
        namespace.
        """
        return self.sets_from in ("All", "Selector") or (self.sets_from == "Same" and namespace == self.namespace)


class ListenerSet(NamedTuple):
    """A ListenerSet, with its listeners."""

    namespace: str
    name: str
    gateway: Key
    is_accepted: bool
    listeners: tuple[Listener, ...]  # only the accepted listeners
    exposure: Exposure | None  # it contains no addresses, because a ListenerSet has those of its Gateway

    @property
    def key(self) -> Key:
        """Return the kind, the namespace and the name of the ListenerSet."""
        return LISTENER_SET, self.namespace, self.name

    @property
    def parents(self) -> tuple[Key, ...]:
        """Return the key of the Gateway, on which the listeners of the ListenerSet depend."""
        return (self.gateway,)


class Condition(msgspec.Struct, gc=False):
    """The fields of a status condition that pydns reads."""

    type: str
    status: str


class _Namespaces(msgspec.Struct, rename={"from_": "from"}, gc=False):
    from_: str | None = None


class _RouteKind(msgspec.Struct, gc=False):
    kind: str
    group: str | None = None


class _AllowedRoutes(msgspec.Struct, gc=False):
    namespaces: _Namespaces | None = None
    kinds: list[_RouteKind] | None = None


class _Listener(msgspec.Struct, rename="camel", gc=False):
    name: str
    port: int
    protocol: str
    hostname: str | None = None
    allowed_routes: _AllowedRoutes | None = None


class _AllowedListeners(msgspec.Struct, gc=False):
    namespaces: _Namespaces | None = None


class _GatewaySpec(msgspec.Struct, rename="camel", gc=False):
    gateway_class_name: str = ""
    listeners: list[_Listener] | None = None
    allowed_listeners: _AllowedListeners | None = None


class _Address(msgspec.Struct, gc=False):
    value: str
    type: str | None = None


class _GatewayStatus(msgspec.Struct, gc=False):
    addresses: list[_Address] | None = None
    conditions: list[Condition] | None = None


class RawGateway(msgspec.Struct, gc=False):
    """The fields of a Gateway that pydns reads."""

    metadata: ExposedMeta
    spec: _GatewaySpec | None = None
    status: _GatewayStatus | None = None


class _ParentRef(msgspec.Struct, gc=False):
    name: str
    namespace: str | None = None
    group: str | None = None
    kind: str | None = None


class _ListenerSetSpec(msgspec.Struct, rename="camel", gc=False):
    parent_ref: _ParentRef
    listeners: list[_Listener] | None = None


class _ListenerStatus(msgspec.Struct, gc=False):
    name: str
    conditions: list[Condition] | None = None


class _ListenerSetStatus(msgspec.Struct, gc=False):
    conditions: list[Condition] | None = None
    listeners: list[_ListenerStatus] | None = None


class RawListenerSet(msgspec.Struct, gc=False):
    """The fields of a ListenerSet that pydns reads."""

    metadata: ExposedMeta
    spec: _ListenerSetSpec
    status: _ListenerSetStatus | None = None


def is_accepted(conditions: Iterable[Condition] | None) -> bool:
    """Return whether `conditions` contains the condition `Accepted`, and this condition is true."""
    return any(each.type == "Accepted" and each.status == "True" for each in conditions or ())


def read_gateway(raw: RawGateway, options: Options) -> Gateway:
    """Return a Gateway. Raises ValueError."""
    meta, spec, status = raw.metadata, raw.spec or _GatewaySpec(), raw.status or _GatewayStatus()
    problems: list[str] = []
    listeners = [_listener(each, problems) for each in spec.listeners or ()]
    exposure = read_exposure(meta, None, options.annotations)
    if exposure is not None:
        addresses, names = _addresses((status.addresses or ())[:MOST], problems)
        exposure = exposure._replace(addresses=addresses, hostnames=names).with_problems(problems)
    is_programmed = all(each.status != "False" for each in status.conditions or () if each.type == "Programmed")
    namespace = as_label(meta.namespace, "namespace")
    allowed = spec.allowed_listeners and spec.allowed_listeners.namespaces and spec.allowed_listeners.namespaces.from_
    return Gateway(
        namespace, meta.name, spec.gateway_class_name, is_programmed, tuple(listeners), exposure, allowed or "None"
    )


def read_listener_set(raw: RawListenerSet, options: Options) -> ListenerSet:
    """Return a ListenerSet. Raises ValueError."""
    meta, parent, status = raw.metadata, raw.spec.parent_ref, raw.status or _ListenerSetStatus()
    if (parent.group or GROUP) != GROUP or (parent.kind or GATEWAY) != GATEWAY:
        raise ValueError(f"parentRef is a {quote(parent.kind or '')}; wanted a Gateway")
    problems: list[str] = []
    accepted = {each.name for each in status.listeners or () if is_accepted(each.conditions)}
    listeners = [_listener(each, problems) for each in raw.spec.listeners or () if each.name in accepted]
    exposure = read_exposure(meta, None, options.annotations)
    if exposure is not None:
        exposure = exposure.with_problems(problems)
    namespace = as_label(meta.namespace, "namespace")
    gateway = (GATEWAY, parent.namespace or namespace, parent.name)
    return ListenerSet(namespace, meta.name, gateway, is_accepted(status.conditions), tuple(listeners), exposure)


def _listener(raw: _Listener, problems: list[str]) -> Listener:
    host = hostnames.hostname(raw.hostname) if raw.hostname else b""
    if host is None:
        problems.append(f"hostname {quote(raw.hostname or '')} of listener {quote(raw.name)} is not a hostname")
        host = name.ROOT  # the root is no hostname of a route, so no route matches this listener
    allowed = raw.allowed_routes or _AllowedRoutes()
    kinds = frozenset([each.kind for each in allowed.kinds or () if (each.group or GROUP) == GROUP])
    where = (allowed.namespaces and allowed.namespaces.from_) or "Same"
    # A selector may decide from which namespaces routes may come. The Gateway's controller compares it with the labels
    # of namespaces, and writes the result to the status of each route. So pydns ignores the selector.
    return Listener(raw.name, host, raw.port, raw.protocol, kinds, where == "Same")


def _addresses(found: Iterable[_Address], problems: list[str]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    addresses: dict[bytes, None] = {}
    names: dict[bytes, None] = {}
    for each in found:
        if each.type in (None, "IPAddress"):
            addresses.update(dict.fromkeys(read_addresses([each.value], problems)))
        elif each.type == "Hostname" and (host := hostnames.hostname(each.value)) is not None:
            names[host] = None
        else:
            problems.append(f"address {quote(each.value)} of type {quote(each.type or '')} has no records")
    return tuple(addresses), tuple(sorted(names))
