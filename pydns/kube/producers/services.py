"""Services and their ready endpoints: the records in sections 2.3 to 2.5 of the Kubernetes DNS specification."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from pydns.config.model import PlainZonal
from pydns.dns import name
from pydns.dns.rrset import Hosts, RRset
from pydns.kube import schema, zonal
from pydns.kube.objects import MAX_ENDPOINTS, MAX_PORTS, EndpointSlice, Port, Service, ServiceKey
from pydns.kube.producer import Change, Plain, ServedNamespaces, ZoneOptions
from pydns.table.client_classes import ClientClass
from pydns.table.layout import NodeKind, origin_key, unready_key


class ServiceState(NamedTuple):
    """A Service with its EndpointSlices.

    The slices are sorted by name, so that the answers don't depend on the order of events.
    """

    service: Service
    slices: tuple[EndpointSlice, ...]
    left_out: int = 0  # how many endpoints and ports have no records


class Unready(NamedTuple):
    """For a Service without a ready endpoint: how many endpoints it has, and how many of them are terminating."""

    endpoints: int
    terminating: int

    def __str__(self) -> str:
        if not self.endpoints:
            return "no endpoints"
        counts = {"not ready": self.endpoints - self.terminating, "terminating": self.terminating}
        states = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        return f"{self.endpoints} endpoint{'s' if self.endpoints > 1 else ''} ({states})"


class Services(Plain):
    """The producer for Services. A key is the namespace and name of a Service."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._schema = options.schema
        self._served = ServedNamespaces(options)
        self._services: dict[ServiceKey, Service] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._without_endpoints: dict[ServiceKey, None] = {}  # the headless Services that have no ready endpoint
        self._near: set[ServiceKey] = set()  # the Services in this DNS server's own namespace
        self._serving: list[Service] | None = None

    def note(self, change: Change) -> Iterable[ServiceKey]:
        """Process a changed Service or EndpointSlice. Return the keys of the Services whose state may have changed.

        If a slice moves from one Service to another, the keys of both Services are returned. If labels select the
        served namespaces, also process a changed Namespace, and return the keys of its Services.
        """
        keys = []
        before, after = change
        if (namespace := self._served.note(change)) is not None:
            return [key for key in self._services if key[0] == namespace]
        if isinstance(before, Service):
            keys.append(before.key)
            del self._services[keys[-1]]
        elif isinstance(before, EndpointSlice):
            keys.append(before.key)
            slices = self._slices[keys[-1]]
            del slices[before.name]
            if not slices:
                del self._slices[keys[-1]]
        if isinstance(after, Service):
            keys.append(after.key)
            self._services[keys[-1]] = after
        elif isinstance(after, EndpointSlice):
            keys.append(after.key)
            self._slices.setdefault(keys[-1], {})[after.name] = after
        for key in keys:
            if self._lacks_endpoints(key):
                self._without_endpoints[key] = None
            else:
                self._without_endpoints.pop(key, None)
            if key[0] == self._options.server_namespace:
                self._near.add(key)
                self._serving = None
        # During a rollout, each old endpoint first becomes unready, and disappears later. Only the first of these two
        # events changes records.
        return () if has_same_records(change) else keys

    def serving(self) -> list[Service]:
        """Return the Services with a ClusterIP that have this DNS server as an endpoint.

        Only Services in this DNS server's own namespace are returned, whether it is served or not. So only users who
        can write to this namespace can give the DNS server a name.
        """
        if self._serving is None:
            services = [self._services[key] for key in sorted(self._near) if key in self._services]
            self._serving = [each for each in services if each.external_name is None and self._leads_here(each)]
        return self._serving

    def _lacks_endpoints(self, key: ServiceKey) -> bool:
        service = self._services.get(key)
        if service is None or not service.headless:
            return False
        return not any(each.endpoints for each in self._slices.get(key, {}).values())

    def without_endpoints(self) -> Iterator[tuple[ServiceKey, Unready]]:
        """Yield the served headless Services without a ready endpoint, each with the number of its endpoints.

        Such a Service has no DNS name.
        """
        for key in self._without_endpoints:
            if key[0] in self._served:
                slices = self._slices.get(key, {}).values()
                yield key, Unready(sum(each.unready for each in slices), sum(each.terminating for each in slices))

    def owner(self, key: ServiceKey) -> bytes:
        """Return the name of a Service."""
        return schema.service_name(self._schema, *key)

    def _leads_here(self, service: Service) -> bool:
        if not service.cluster_ips:
            return False
        own = frozenset(self._options.own_addresses) - frozenset(service.cluster_ips)
        slices = self._slices.get(service.key, {}).values()
        return any(endpoint.address in own for each in slices for endpoint in each.endpoints)

    def current_keys(self) -> Collection[ServiceKey]:
        """Return the keys of all Services."""
        return self._services.keys()

    def state(self, key: ServiceKey) -> ServiceState | None:
        """Return a Service with its slices, or None if it doesn't exist or its namespace isn't served."""
        service = self._services.get(key) if key[0] in self._served else None
        if service is None:
            return None
        slices = self._slices.get(key, {}) if self._options.has_endpoints else {}
        return bounded(service, tuple([slices[each] for each in sorted(slices)]))

    def rrsets(self, state: ServiceState) -> Iterator[RRset | Hosts]:
        """Yield the records of a Service and its endpoints."""
        if self._options.hides_empty_services and _is_empty(state):
            return
        yield from schema.service_rrsets(self._schema, state.service, state.slices)
        if self._has_zones(state):
            yield from zonal.zone_rrsets(self._schema, self._owner(state), state.slices)

    def class_rrsets(self, state: ServiceState) -> Iterator[tuple[ClientClass, RRset]]:
        """Yield the records that clients on some nodes or in some zones of nodes get for a headless Service.

        Most Services have no such records.
        """
        if self._is_filtered(state):
            yield from zonal.class_rrsets(self._schema, self._owner(state), state.slices, self._options.zonal.prefer)

    def names(self, state: ServiceState) -> Mapping[bytes, bytes]:
        """Return entries for the parents of the names that `zonal.zone_rrsets` makes.

        Other entries explain which clients get which endpoints, or mark a Service without a name.
        """
        found: dict[bytes, bytes] = {}
        if self._has_zones(state):
            owner = self._owner(state)
            found[name.tree_key(zonal.directive_name("", owner))] = NodeKind.ZONES
            for each in zonal.DIRECTIVES:
                found[name.tree_key(zonal.directive_name(each, owner))] = NodeKind.PLAIN
        if self._is_filtered(state):
            origin = origin_key(name.tree_key(self._owner(state)))
            found[origin] = zonal.explanation(state.slices, self._options.zonal.prefer).encode()
        if self._has_no_name(state):
            found[unready_key(name.tree_key(self._owner(state)))] = b""
        return found

    def _has_no_name(self, state: ServiceState) -> bool:
        """Return whether a Service has no name because none of its endpoints is ready."""
        if state.service.headless:
            return self._options.has_endpoints and not any(each.endpoints for each in state.slices)
        return self._options.hides_empty_services and _is_empty(state)

    def _is_filtered(self, state: ServiceState) -> bool:
        service = state.service
        return service.headless and service.follows_hints and self._options.zonal.plain is PlainZonal.HEADLESS

    def _has_zones(self, state: ServiceState) -> bool:
        if not (self._options.zonal.names and state.service.headless):
            return False
        return any(each.endpoints for each in state.slices)

    def _owner(self, state: ServiceState) -> bytes:
        return schema.service_name(self._schema, *state.service.key)

    def pointers(self, state: ServiceState) -> Iterator[tuple[bytes, bytes]]:
        """Yield each ClusterIP with the name of the Service, and each endpoint address with the endpoint's name."""
        return schema.pointers(self._schema, state.service, state.slices, self._options.may_point)

    def size(self, state: ServiceState) -> int:
        """Return the number of ports, endpoints and hints of a Service."""
        size = size_of(state.service, state.slices)
        if self._is_filtered(state):
            size += sum([len(each.for_zones) + len(each.for_nodes) for found in state.slices for each in found.hints])
        return size

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for all records that are made after this call."""
        self._schema = self._schema._replace(ttl_s=ttl_s)


def size_of(service: Service, slices: Iterable[EndpointSlice]) -> int:
    """Return how many ports and endpoints a Service with these slices has."""
    return len(service.ports) + sum([len(each.ports) + len(each.endpoints) for each in slices])


def _is_empty(state: ServiceState) -> bool:
    """Return whether a Service has a ClusterIP, but no ready endpoint."""
    service, slices, _ = state
    return not (service.headless or service.external_name) and not any(each.endpoints for each in slices)


def has_same_records(change: Change) -> bool:
    """Return whether a change affects no records.

    Such a change affects only unready endpoints, or the names and places of Pods.
    """
    before, after = change
    if not (isinstance(before, EndpointSlice) and isinstance(after, EndpointSlice)):
        return False
    return before == after._replace(unready=before.unready, terminating=before.terminating, clients=before.clients)


def bounded(service: Service, slices: tuple[EndpointSlice, ...]) -> ServiceState:
    """Return the state of a Service with at most `MAX_ENDPOINTS` endpoints and `MAX_PORTS` ports.

    The endpoints and ports of the first slices are kept. If several slices have the same list of ports, this list
    counts once.
    """
    size = left_out = 0
    for each in slices:
        size += len(each.endpoints) + len(each.ports)
        left_out += each.left_out
    left_out += service.left_out
    if size <= min(MAX_ENDPOINTS, MAX_PORTS):
        return ServiceState(service, slices, left_out)
    bounded: list[EndpointSlice] = []
    endpoints, ports = MAX_ENDPOINTS, MAX_PORTS
    lists: dict[tuple[Port, ...], tuple[Port, ...]] = {}
    for each in slices:
        if each.ports not in lists:
            lists[each.ports] = each.ports[:ports]
            ports -= len(lists[each.ports])
            left_out += len(each.ports) - len(lists[each.ports])
        left_out += max(0, len(each.endpoints) - endpoints)
        kept = each.endpoints[:endpoints]
        bounded.append(each._replace(ports=lists[each.ports], endpoints=kept, hints=each.hints[:endpoints]))
        endpoints -= len(bounded[-1].endpoints)
    return ServiceState(service, tuple(bounded), left_out)
