"""Routes of the Gateway API: the hostnames of a route get the addresses of the Gateways that accept the route.

A route gets names from a Gateway under two conditions. First, the status of the route shows that the Gateway accepts
the route. Second, a listener of the Gateway matches the route: by name, port, protocol, kinds and namespaces. The names
are the intersection of the route's hostnames and the listener's hostname. A wildcard covers any number of labels, as
in the Gateway API.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from pydns.config.model import ExternalSource, ExternalZone
from pydns.dns import name
from pydns.kube.external import hostnames
from pydns.kube.external.claims import Claim, Claimant, Rank, Record
from pydns.kube.external.exposure import ExposedMeta, Exposure, quote, read_addresses, read_exposure
from pydns.kube.external.source import Claimed, Zones, target_records
from pydns.kube.objects import Options, as_label
from pydns.kube.producer import Change, ZoneOptions

_GROUP = "gateway.networking.k8s.io"
# Kind of a route -> protocols of the listeners to which a route of this kind may be attached.
_PROTOCOLS = {
    "HTTPRoute": frozenset({"HTTP", "HTTPS"}),
    "GRPCRoute": frozenset({"HTTP", "HTTPS"}),
    "TLSRoute": frozenset({"TLS"}),
}

_GatewayKey = tuple[str, str]  # namespace and name
_RouteKey = tuple[str, str, str]  # kind, namespace and name


class Parent(NamedTuple):
    """The Gateway to which a route refers, and the listener's name and port. None: any name or any port."""

    gateway: _GatewayKey
    section: str | None
    port: int | None


class Listener(NamedTuple):
    """A listener of a Gateway."""

    name: str
    hostname: bytes  # wire form, lower case; empty: the listener accepts any hostname
    port: int
    protocol: str
    kinds: frozenset[str]  # kinds of routes that may be attached; empty: all kinds for the protocol
    same_namespace: bool  # only routes of the Gateway's own namespace may be attached


class Gateway(NamedTuple):
    """A Gateway."""

    namespace: str
    name: str
    class_name: str
    is_programmed: bool
    listeners: tuple[Listener, ...]
    exposure: Exposure | None  # None: a label of the Gateway asks pydns to ignore it

    @property
    def key(self) -> _GatewayKey:
        """Return the namespace and the name of the Gateway."""
        return self.namespace, self.name


class Route(NamedTuple):
    """A route of any kind."""

    kind: str
    namespace: str
    name: str
    hosts: tuple[bytes, ...]  # wire form, lower case
    parents: tuple[Parent, ...]  # the parents that accept the route
    exposure: Exposure | None

    @property
    def key(self) -> _RouteKey:
        """Return the kind, the namespace and the name of the route."""
        return self.kind, self.namespace, self.name


class _Condition(msgspec.Struct, gc=False):
    type: str
    status: str


class _RouteNamespaces(msgspec.Struct, rename={"from_": "from"}, gc=False):
    from_: str | None = None


class _RouteKind(msgspec.Struct, gc=False):
    kind: str
    group: str | None = None


class _AllowedRoutes(msgspec.Struct, gc=False):
    namespaces: _RouteNamespaces | None = None
    kinds: list[_RouteKind] | None = None


class _Listener(msgspec.Struct, rename="camel", gc=False):
    name: str
    port: int
    protocol: str
    hostname: str | None = None
    allowed_routes: _AllowedRoutes | None = None


class _GatewaySpec(msgspec.Struct, rename="camel", gc=False):
    gateway_class_name: str = ""
    listeners: list[_Listener] | None = None


class _Address(msgspec.Struct, gc=False):
    value: str
    type: str | None = None


class _GatewayStatus(msgspec.Struct, gc=False):
    addresses: list[_Address] | None = None
    conditions: list[_Condition] | None = None


class RawGateway(msgspec.Struct, gc=False):
    """The fields of a Gateway that pydns reads."""

    metadata: ExposedMeta
    spec: _GatewaySpec | None = None
    status: _GatewayStatus | None = None


class _ParentRef(msgspec.Struct, rename="camel", gc=False):
    name: str
    namespace: str | None = None
    group: str | None = None
    kind: str | None = None
    section_name: str | None = None
    port: int | None = None


class _RouteSpec(msgspec.Struct, rename="camel", gc=False):
    hostnames: list[str] | None = None
    parent_refs: list[_ParentRef] | None = None


class _ParentStatus(msgspec.Struct, rename="camel", gc=False):
    parent_ref: _ParentRef
    conditions: list[_Condition] | None = None


class _RouteStatus(msgspec.Struct, gc=False):
    parents: list[_ParentStatus] | None = None


class RawRoute(msgspec.Struct, gc=False):
    """The fields of a route that pydns reads."""

    metadata: ExposedMeta
    spec: _RouteSpec | None = None
    status: _RouteStatus | None = None


def read_gateway(raw: RawGateway, options: Options) -> Gateway:
    """Return a Gateway. Raises ValueError."""
    meta, spec, status = raw.metadata, raw.spec or _GatewaySpec(), raw.status or _GatewayStatus()
    problems: list[str] = []
    listeners = [_listener(each, problems) for each in spec.listeners or ()]
    exposure = read_exposure(meta, None, options.annotations)
    if exposure is not None:
        addresses, names = _addresses(status.addresses or (), problems)
        exposure = exposure._replace(addresses=addresses, hostnames=names).with_problems(problems)
    is_programmed = all(each.status != "False" for each in status.conditions or () if each.type == "Programmed")
    namespace = as_label(meta.namespace, "namespace")
    return Gateway(namespace, meta.name, spec.gateway_class_name, is_programmed, tuple(listeners), exposure)


def _listener(raw: _Listener, problems: list[str]) -> Listener:
    host = hostnames.hostname(raw.hostname) if raw.hostname else b""
    if host is None:
        problems.append(f"hostname {quote(raw.hostname or '')} of listener {quote(raw.name)} is not a hostname")
        host = name.ROOT  # the root name is the hostname of no route, so no route matches this listener
    allowed = raw.allowed_routes or _AllowedRoutes()
    kinds = frozenset([each.kind for each in allowed.kinds or () if (each.group or _GROUP) == _GROUP])
    where = (allowed.namespaces and allowed.namespaces.from_) or "Same"
    # pydns doesn't compare a namespace selector with the labels of namespaces. The Gateway's controller does that, and
    # writes the result to the status of the route.
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


def read_route(kind: str, raw: RawRoute, options: Options) -> Route:
    """Return a route. Raises ValueError."""
    meta, spec = raw.metadata, raw.spec or _RouteSpec()
    namespace = as_label(meta.namespace, "namespace")
    exposure = read_exposure(meta, None, options.annotations)
    problems: list[str] = []
    hosts = hostnames.each_hostname(spec.hostnames or (), problems)
    if exposure is not None:
        exposure = exposure.with_problems(problems)
    wanted = dict.fromkeys(filter(None, [_parent(each, namespace) for each in spec.parent_refs or ()]))
    reported = (raw.status.parents if raw.status is not None else None) or ()
    accepted = {_parent(each.parent_ref, namespace) for each in reported if _is_accepted(each)}
    parents = tuple([each for each in wanted if each in accepted])
    return Route(kind, namespace, meta.name, tuple(hosts), parents, exposure)


def _is_accepted(parent: _ParentStatus) -> bool:
    return any(each.type == "Accepted" and each.status == "True" for each in parent.conditions or ())


def _parent(ref: _ParentRef, namespace: str) -> Parent | None:
    """Return the parent in a reference, or None if the parent is not a Gateway.

    Missing fields get the defaults of the API.
    """
    if (ref.group or _GROUP) != _GROUP or (ref.kind or "Gateway") != "Gateway":
        return None
    return Parent((ref.namespace or namespace, ref.name), ref.section_name, ref.port)


READERS = {kind: partial(read_route, kind) for kind in _PROTOCOLS}


class Routes:
    """The source for routes. A key is the kind, namespace and name of a route."""

    def __init__(self, options: ZoneOptions, zones: Zones) -> None:
        self._options = options
        self._all_zones = zones
        self._zones = [zone for zone in zones.all if ExternalSource.ROUTES in zone.sources]
        self._routes: dict[_RouteKey, Route] = {}
        self._gateways: dict[_GatewayKey, Gateway] = {}
        self._attached: dict[_GatewayKey, dict[_RouteKey, None]] = {}  # Gateway -> routes that the Gateway accepts

    def note(self, change: Change) -> Iterable[_RouteKey]:
        """Process a changed route or Gateway. Return the keys of the routes whose claims may have changed.

        A changed Gateway may change the addresses of every route that the Gateway accepts.
        """
        before, after = change
        if isinstance(before, Gateway) or isinstance(after, Gateway):
            keys = {each.key for each in (before, after) if isinstance(each, Gateway)}
            for key in keys:
                self._gateways.pop(key, None)
            if isinstance(after, Gateway):
                self._gateways[after.key] = after
            return [route for key in keys for route in self._attached.get(key, ())]
        if isinstance(before, Route):
            del self._routes[before.key]
            for parent in before.parents:
                routes = self._attached.get(parent.gateway, {})
                routes.pop(before.key, None)
                if not routes:
                    self._attached.pop(parent.gateway, None)
        if isinstance(after, Route):
            self._routes[after.key] = after
            for parent in after.parents:
                self._attached.setdefault(parent.gateway, {})[after.key] = None
        return [each.key for each in (before, after) if isinstance(each, Route)]

    def claimed(self, key: _RouteKey) -> Claimed | None:
        """Return the names and records that a route claims."""
        route = self._routes.get(key)
        if route is None or route.exposure is None or not self._options.serves(route.namespace):
            return None
        exposure = route.exposure
        claimant = Claimant(Rank.ORDINARY, exposure.created, route.namespace, route.name, route.kind)
        claimed = Claimed(claimant, self._all_zones)
        claimed.notice(*exposure.problems)
        for zone in self._zones:
            if hostnames.is_ours(exposure.annotations, zone.annotations):
                self._claim(route, exposure, zone, claimed)
        return claimed

    def _claim(self, route: Route, exposure: Exposure, zone: ExternalZone, claimed: Claimed) -> None:
        problems: list[str] = []
        which = hostnames.annotation(exposure.annotations, zone.annotations, "gateway-hostname-source")
        written = hostnames.annotation(exposure.annotations, zone.annotations, "hostname")
        named = () if which == "defined-hosts-only" else hostnames.hostnames(written, problems)
        ttl = hostnames.annotation(exposure.annotations, zone.annotations, "ttl")
        ttl_s = hostnames.ttl_s(ttl, zone.ttl_s, problems)
        for parent in route.parents:
            gateway = self._gateways.get(parent.gateway)
            listeners = [] if gateway is None else list(_fitting(route, parent, gateway))
            if gateway is None or not listeners or not _is_served(gateway, zone):
                continue
            claim = Claim(_records(gateway, zone, problems), ttl_s)
            for host in named:
                claimed.add(zone, host, claim)
            if which != "annotation-only":
                for host in _hosts(route, listeners, problems):
                    claimed.add(zone, host, claim)
        claimed.notice(*problems)


def _is_served(gateway: Gateway, zone: ExternalZone) -> bool:
    return (
        gateway.exposure is not None
        and gateway.is_programmed
        and (not zone.gateway_classes or gateway.class_name in zone.gateway_classes)
    )


def _fitting(route: Route, parent: Parent, gateway: Gateway) -> Iterator[Listener]:
    """Yield the listeners to which a route may be attached."""
    for each in gateway.listeners:
        if (
            parent.section in (None, each.name)
            and parent.port in (None, each.port)
            and each.protocol in _PROTOCOLS[route.kind]
            and (not each.kinds or route.kind in each.kinds)
            and (not each.same_namespace or route.namespace == gateway.namespace)
        ):
            yield each


def _records(gateway: Gateway, zone: ExternalZone, problems: list[str]) -> tuple[Record, ...]:
    """Return the records in the annotation `target` of a Gateway, or else the records of the Gateway's addresses."""
    exposure = gateway.exposure
    assert exposure is not None  # `_is_served` has checked this
    problems += exposure.problems
    return target_records(exposure, hostnames.annotation(exposure.annotations, zone.annotations, "target"), problems)


def _hosts(route: Route, listeners: Iterable[Listener], problems: list[str]) -> Iterator[bytes]:
    """Yield the intersection of a route's hostnames and the hostnames of the listeners."""
    for each in listeners:
        if not route.hosts and name.is_wildcard(each.hostname):
            # The wildcard of a listener only limits the hostnames of routes. A published wildcard would also answer
            # for names that no route serves.
            problems.append(f"it has no hostname, and that of listener {quote(each.name)} is a wildcard")
        elif not route.hosts and each.hostname not in (b"", name.ROOT):
            yield each.hostname
        for host in route.hosts:
            if (common := _common(host, each.hostname)) is not None:
                yield common


def _common(host: bytes, limit: bytes) -> bytes | None:
    """Return the intersection of a hostname and a limit, or None if it is empty.

    Both may be wildcards. A wildcard covers any number of labels.
    """
    if not limit or host == limit:
        return host
    if name.is_wildcard(limit) and _is_below(host, limit):
        return host
    if name.is_wildcard(host) and _is_below(limit, host):
        return limit
    return None


def _is_below(host: bytes, wildcard: bytes) -> bool:
    """Return whether `host`, which may be a wildcard, is below the parent of `wildcard`."""
    parent = wildcard.removeprefix(name.WILDCARD)
    host = host.removeprefix(name.WILDCARD)
    return host != parent and name.is_at_or_below(host, parent)
