"""Services and their ready endpoints: the records of the DNS specification, sections 2.3 to 2.5."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from pydns.dns.rrset import RRset
from pydns.kube import schema
from pydns.kube.objects import EndpointSlice, Service, ServiceKey
from pydns.kube.producer import Change, Plain, ZoneOptions


class ServiceState(NamedTuple):
    """A Service with its slices, in the order of their names: equal clusters give equal answers."""

    service: Service
    slices: tuple[EndpointSlice, ...]


class Services(Plain):
    """The producer of Services. A key is a namespace and the name of a Service."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._schema = options.schema
        self._services: dict[ServiceKey, Service] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}

    def note(self, change: Change) -> Iterable[ServiceKey]:
        """Take in a Service or a slice, and return the Services that have it. A slice may move to another one."""
        found: dict[ServiceKey, None] = {}
        before, after = change
        if isinstance(before, Service):
            del self._services[before.key]
            found[before.key] = None
        elif isinstance(before, EndpointSlice):
            slices = self._slices[before.key]
            del slices[before.name]
            if not slices:
                del self._slices[before.key]
            found[before.key] = None
        if isinstance(after, Service):
            self._services[after.key] = after
            found[after.key] = None
        elif isinstance(after, EndpointSlice):
            self._slices.setdefault(after.key, {})[after.name] = after
            found[after.key] = None
        return found

    def current_keys(self) -> Collection[ServiceKey]:
        """Return the keys of all Services."""
        return self._services.keys()

    def state(self, key: ServiceKey) -> ServiceState | None:
        """Return a Service of a served namespace, with its slices."""
        service = self._services.get(key) if self._options.serves(key[0]) else None
        if service is None:
            return None
        slices = self._slices.get(key, {})
        return ServiceState(service, tuple([slices[each] for each in sorted(slices)]))

    def rrsets(self, state: ServiceState) -> Iterator[RRset]:
        """Yield the records of a Service and its endpoints."""
        return schema.service_rrsets(self._schema, state.service, state.slices)

    def pointers(self, state: ServiceState) -> Mapping[bytes, tuple[bytes, ...]]:
        """Return the Service's name for its ClusterIPs, and the endpoints' names for their addresses."""
        return schema.pointers(self._schema, state.service, state.slices)

    def addresses(self, state: ServiceState) -> Iterable[bytes]:
        """Yield the ClusterIPs and the endpoints' addresses."""
        service, slices = state
        if service.external_name is None:
            yield from service.cluster_ips
            for each in slices:
                for endpoint in each.endpoints:
                    yield endpoint.address

    def change_ttl(self, ttl_s: int) -> None:
        """Make records with another TTL from now on."""
        self._schema = self._schema._replace(ttl_s=ttl_s)
