"""Routes of the Gateway API: the hostnames of a route get the addresses of the Gateways that accept the route.

A Gateway gives names to a route under two conditions. First, the status of the route shows that the Gateway or one of
its ListenerSets accepts the route. Second, a listener fits the route in name, port, protocol, kinds and namespace. The
names are the intersection of the route's hostnames and the listener's hostname. A wildcard covers any number of labels,
as in the Gateway API. A TCPRoute or UDPRoute has no hostnames. The names of such a route are in the annotation
`hostname`.

With `listener_hostnames: always`, Gateways and ListenerSets also claim the hostnames of their listeners.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from pydns.config.model import ExternalSource, ExternalZone, ListenerHostnames
from pydns.dns import name
from pydns.kube.external import hostnames
from pydns.kube.external.claims import Claim, Claimant, Rank, Record, Way
from pydns.kube.external.exposure import ExposedMeta, Exposure, quote, read_exposure
from pydns.kube.external.source import Claimed, Zones, target_records
from pydns.kube.objects import Options, as_label
from pydns.kube.producer import Change, ZoneOptions
from pydns.kube.producers.gateways import (
    GATEWAY,
    GROUP,
    LISTENER_SET,
    Condition,
    Gateway,
    Key,
    Listener,
    ListenerSet,
    is_accepted,
)

# Kind of a route -> the protocols of listeners to which a route of this kind may be attached.
_PROTOCOLS = {
    "HTTPRoute": frozenset({"HTTP", "HTTPS"}),
    "GRPCRoute": frozenset({"HTTP", "HTTPS"}),
    "TLSRoute": frozenset({"TLS"}),
    "TCPRoute": frozenset({"TCP", "TLS"}),
    "UDPRoute": frozenset({"UDP"}),
}
_WITHOUT_HOSTNAMES = frozenset({"TCPRoute", "UDPRoute"})


class Parent(NamedTuple):
    """A reference of a route to a Gateway or a ListenerSet, which may also choose a listener by name and port.

    If `section` is None, the listener may have any name. If `port` is None, it may have any port.
    """

    key: Key  # the key of a Gateway or a ListenerSet
    section: str | None
    port: int | None


class Route(NamedTuple):
    """A route of any kind."""

    kind: str
    namespace: str
    name: str
    hosts: tuple[bytes, ...]  # the hostnames of the route, in wire form and lower case
    accepted_by: tuple[Parent, ...]
    exposure: Exposure | None  # None if a label of the route asks pydns to ignore it

    @property
    def key(self) -> Key:
        """Return the kind, the namespace and the name of the route."""
        return self.kind, self.namespace, self.name

    @property
    def parents(self) -> tuple[Key, ...]:
        """Return the keys of the objects on which the names of this route depend."""
        return tuple([each.key for each in self.accepted_by])


class Place(NamedTuple):
    """The listeners of a Gateway or a ListenerSet, and the Gateway."""

    gateway: Gateway
    # The exposure of the Gateway. If the listeners belong to a ListenerSet, its exposure comes first.
    exposures: tuple[Exposure, ...]
    namespace: str  # the namespace of the listeners
    listeners: tuple[Listener, ...]


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
    conditions: list[Condition] | None = None


class _RouteStatus(msgspec.Struct, gc=False):
    parents: list[_ParentStatus] | None = None


class RawRoute(msgspec.Struct, gc=False):
    """The fields of a route that pydns reads."""

    metadata: ExposedMeta
    spec: _RouteSpec | None = None
    status: _RouteStatus | None = None


def read_route(kind: str, raw: RawRoute, options: Options) -> Route:
    """Return a route. Raises ValueError."""
    meta, spec = raw.metadata, raw.spec or _RouteSpec()
    namespace = as_label(meta.namespace, "namespace")
    exposure = read_exposure(meta, None, options.annotations)
    problems: list[str] = []
    written = () if kind in _WITHOUT_HOSTNAMES else spec.hostnames or ()
    hosts = hostnames.each_hostname(written, problems)
    if exposure is not None:
        exposure = exposure.with_problems(problems)
    wanted = dict.fromkeys(filter(None, [_parent(each, namespace) for each in spec.parent_refs or ()]))
    reported = (raw.status.parents if raw.status is not None else None) or ()
    accepted = {_parent(each.parent_ref, namespace) for each in reported if is_accepted(each.conditions)}
    parents = tuple([each for each in wanted if each in accepted])
    return Route(kind, namespace, meta.name, tuple(hosts), parents, exposure)


def _parent(ref: _ParentRef, namespace: str) -> Parent | None:
    """Return the parent to which a reference leads, or None if it is neither a Gateway nor a ListenerSet.

    A missing field of the reference gets the API's default.
    """
    kind = ref.kind or GATEWAY
    if (ref.group or GROUP) != GROUP or kind not in (GATEWAY, LISTENER_SET):
        return None
    return Parent((kind, ref.namespace or namespace, ref.name), ref.section_name, ref.port)


READERS = {kind: partial(read_route, kind) for kind in _PROTOCOLS}

_Object = Gateway | ListenerSet | Route


class Routes:
    """The source for routes. A key is the kind, namespace and name of a route, a Gateway or a ListenerSet."""

    def __init__(self, options: ZoneOptions, zones: Zones) -> None:
        self._options = options
        self._all_zones = zones
        self._zones = [zone for zone in zones.all if ExternalSource.ROUTES in zone.sources]
        self._objects: dict[Key, _Object] = {}
        # key of a Gateway or ListenerSet -> the keys of the objects that refer to it.
        self._children: dict[Key, dict[Key, None]] = {}

    def note(self, change: Change) -> Iterable[Key]:
        """Process a changed route, Gateway or ListenerSet.

        Return the keys of all objects whose claims may have changed. If a Gateway changes, every route that refers to
        it may get other addresses.
        """
        before, after = change
        if isinstance(before, _Object):
            del self._objects[before.key]
            for parent in before.parents:
                children = self._children.get(parent, {})
                children.pop(before.key, None)
                if not children:
                    self._children.pop(parent, None)
        if isinstance(after, _Object):
            self._objects[after.key] = after
            for parent in after.parents:
                self._children.setdefault(parent, {})[after.key] = None
        return dict.fromkeys(
            [key for each in change if isinstance(each, _Object) for key in (each.key, *self._below(each.key))]
        )

    def _below(self, key: Key) -> Iterator[Key]:
        for each in self._children.get(key, ()):
            yield each
            if each[0] == LISTENER_SET:
                yield from self._children.get(each, ())

    def claimed(self, key: Key) -> Claimed | None:
        """Return the names and records that an object claims."""
        found = self._objects.get(key)
        if found is None or found.exposure is None or not self._options.serves(found.namespace):
            return None
        exposure = found.exposure
        rank = Rank.ORDINARY if isinstance(found, Route) else Rank.LISTENER
        claimed = Claimed(Claimant(rank, exposure.created, found.namespace, found.name, key[0]), self._all_zones)
        claimed.notice(*exposure.problems)
        for zone in self._zones:
            if not hostnames.is_ours(exposure.annotations, zone.annotations):
                continue
            if isinstance(found, Route):
                self._claim(found, exposure, zone, claimed)
            elif zone.listener_hostnames is ListenerHostnames.ALWAYS:
                self._claim_listeners(found, exposure, zone, claimed)
        return claimed if isinstance(found, Route) or claimed.claims else None

    def _claim(self, route: Route, exposure: Exposure, zone: ExternalZone, claimed: Claimed) -> None:
        problems: list[str] = []
        which = hostnames.annotation(exposure.annotations, zone.annotations, "gateway-hostname-source")
        ttl_s = _ttl_s(exposure, zone, problems)
        for parent in route.accepted_by:
            place = self._place(parent.key, zone)
            listeners = [] if place is None else list(_matching(route, parent, place))
            if place is None or not listeners:
                continue
            claim = Claim(_records(place, zone, problems), ttl_s, way=_way(place, listeners))
            if which != "defined-hosts-only":
                for host in _named(route, exposure, place, zone, problems):
                    claimed.add(zone, host, claim)
            if which != "annotation-only" and route.kind not in _WITHOUT_HOSTNAMES:
                for host in _hosts(route, listeners, zone.listener_hostnames, problems):
                    claimed.add(zone, host, claim)
        for host in route.hosts:
            if not route.accepted_by:
                why = "no Gateway has accepted it (its status has no Accepted=True)"
            else:
                why = "no listener of a Gateway that has accepted it takes this name"
            claimed.refuse(zone, host, why)
        claimed.notice(*problems)

    def _claim_listeners(
        self, found: Gateway | ListenerSet, exposure: Exposure, zone: ExternalZone, claimed: Claimed
    ) -> None:
        """Claim the hostnames of the listeners of a Gateway or a ListenerSet, even if no route is attached to them."""
        place = self._place(found.key, zone)
        if place is None:
            return
        problems: list[str] = []
        claim = Claim(_records(place, zone, problems), _ttl_s(exposure, zone, problems))
        for each in place.listeners:
            if each.hostname not in (b"", name.ROOT):
                claimed.add(zone, each.hostname, claim._replace(way=_way(place, [each])))
        claimed.notice(*problems)

    def _place(self, key: Key, zone: ExternalZone) -> Place | None:
        """Return the listeners of a Gateway or a ListenerSet, or None if they give no names in the zone."""
        found = self._objects.get(key)
        gateway = self._objects.get(found.gateway) if isinstance(found, ListenerSet) else found
        if not isinstance(gateway, Gateway) or gateway.exposure is None or not gateway.is_programmed:
            return None
        if zone.gateway_classes and gateway.class_name not in zone.gateway_classes:
            return None
        if not isinstance(found, ListenerSet):
            return Place(gateway, (gateway.exposure,), gateway.namespace, gateway.listeners)
        if found.exposure is None or not found.is_accepted or not gateway.allows(found.namespace):
            return None
        return Place(gateway, (found.exposure, gateway.exposure), found.namespace, found.listeners)


def _ttl_s(exposure: Exposure, zone: ExternalZone, problems: list[str]) -> int:
    return hostnames.ttl_s(hostnames.annotation(exposure.annotations, zone.annotations, "ttl"), zone.ttl_s, problems)


def _matching(route: Route, parent: Parent, place: Place) -> Iterator[Listener]:
    """Yield those listeners of `place` to which a route may be attached."""
    for each in place.listeners:
        if (
            parent.section in (None, each.name)
            and parent.port in (None, each.port)
            and each.protocol in _PROTOCOLS[route.kind]
            and (not each.kinds or route.kind in each.kinds)
            and (not each.same_namespace or route.namespace == place.namespace)
        ):
            yield each


def _way(place: Place, listeners: Iterable[Listener]) -> Way:
    return Way(frozenset([each.port for each in listeners]), (place.gateway.namespace, place.gateway.name))


def _records(place: Place, zone: ExternalZone, problems: list[str]) -> tuple[Record, ...]:
    """Return the records for the annotation `target` of the ListenerSet, or else for that of the Gateway.

    If neither has this annotation, return records with the Gateway's addresses.
    """
    exposure = place.exposures[-1]
    problems += exposure.problems
    return target_records(exposure, _first("target", place.exposures, zone), problems)


def _named(route: Route, exposure: Exposure, place: Place, zone: ExternalZone, problems: list[str]) -> Iterable[bytes]:
    """Return the names in the annotation `hostname`.

    If a TCPRoute or UDPRoute has no such annotation, the annotation of its ListenerSet or Gateway is used.
    """
    exposures = (exposure, *place.exposures) if route.kind in _WITHOUT_HOSTNAMES else (exposure,)
    return hostnames.hostnames(_first("hostname", exposures, zone), problems)


def _first(key: str, exposures: Iterable[Exposure], zone: ExternalZone) -> str | None:
    """Return the value of an annotation, from the first exposure that has it."""
    found = [hostnames.annotation(each.annotations, zone.annotations, key) for each in exposures]
    return next((each for each in found if each is not None), None)


def _hosts(
    route: Route, listeners: Iterable[Listener], mode: ListenerHostnames, problems: list[str]
) -> Iterator[bytes]:
    """Yield the names on which a route's hostnames and the hostnames of listeners agree."""
    for each in listeners:
        for host in route.hosts:
            if (common := _common(host, each.hostname)) is not None:
                yield common
        if route.hosts or each.hostname in (b"", name.ROOT):
            continue
        if mode is ListenerHostnames.ROUTES and name.is_wildcard(each.hostname):
            # A listener's wildcard only limits the hostnames of routes. If it had records, names that no route serves
            # would have answers, too.
            problems.append(f"it has no hostname, and that of listener {quote(each.name)} is a wildcard")
        elif mode is not ListenerHostnames.NEVER:
            yield each.hostname


def _common(host: bytes, limit: bytes) -> bytes | None:
    """Return a hostname or wildcard for exactly those names that both `host` and `limit` cover, or None.

    Both the hostname and the limit may be wildcards. A wildcard covers any number of labels.
    """
    if not limit or host == limit:
        return host
    if name.is_wildcard(limit) and _is_below(host, limit):
        return host
    if name.is_wildcard(host) and _is_below(limit, host):
        return limit
    return None


def _is_below(host: bytes, wildcard: bytes) -> bool:
    """Return whether `wildcard` covers `host`, which may be a wildcard with more labels."""
    parent = wildcard.removeprefix(name.WILDCARD)
    host = host.removeprefix(name.WILDCARD)
    return host != parent and name.is_at_or_below(host, parent)
