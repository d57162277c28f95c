"""ServiceImports: the names of Services that other clusters export (Multi-Cluster Services API, its DNS schema 1.0.0).

An import of type ClusterSetIP has addresses of its own. A headless import has the addresses of the ready endpoints in
its EndpointSlices. Each of these slices comes from one cluster, and the name of an endpoint contains the name of its
cluster. The names are:

    SVC.NS.svc                     an import
    _PORT._PROTOCOL.SVC.NS.svc     a named port of the import
    ENDPOINT.CLUSTER.SVC.NS.svc    a ready endpoint of a headless import; ENDPOINT is its hostname or its dashed IP

The names are relative to a zone such as clusterset.local. The addresses of imports have no reverse names.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.dns.dashed import dashed
from pydns.dns.rrset import Hosts, RRset
from pydns.kube import schema
from pydns.kube.objects import (
    MAX_PORTS,
    EndpointSlice,
    Options,
    RawMeta,
    Service,
    ServiceKey,
    ServicePort,
    as_label,
    read_port,
)
from pydns.kube.producer import Change, Plain, ServedNamespaces, ZoneOptions
from pydns.kube.producers.services import Unready, bounded, has_same_records, size_of
from pydns.kube.schema import Schema
from pydns.table.layout import NodeKind

VERSION = b"1.0.0"

Key = tuple[bytes, str, str]  # the apex of a zone, and the namespace and the name of an import


class ServiceImport(NamedTuple):
    """A ServiceImport.

    `service` has the fields of the import in the form of a Service: the ClusterIPs are the addresses of the import.
    """

    service: Service
    has_slices: bool  # whether the status of the import shows that its EndpointSlices exist

    @property
    def key(self) -> ServiceKey:
        """Return the namespace and the name of the import."""
        return self.service.key


class ImportState(NamedTuple):
    """A ServiceImport in one zone, with its slices sorted by name."""

    apex: bytes
    service: Service
    slices: tuple[EndpointSlice, ...]
    is_pending: bool  # whether the import has no address yet
    left_out: int = 0  # how many endpoints and ports have no records


class _Spec(msgspec.Struct, gc=False):
    type: str
    ips: list[str] | None = None
    ports: list[ServicePort] | None = None


class _Status(msgspec.Struct, rename="camel", gc=False):
    endpoint_slice_objects: str | None = None


class RawServiceImport(msgspec.Struct, gc=False):
    """The fields of a ServiceImport that pydns reads, which are the same in v1alpha1 and v1beta1."""

    metadata: RawMeta
    spec: _Spec
    status: _Status | None = None


def read_service_import(raw: RawServiceImport, options: Options) -> ServiceImport:
    """Return a ServiceImport. Raises ValueError."""
    namespace, called = as_label(raw.metadata.namespace, "namespace"), as_label(raw.metadata.name, "name")
    spec = raw.spec
    if spec.type not in ("ClusterSetIP", "Headless"):
        raise ValueError(f"type {spec.type[:80]!r} is not ClusterSetIP or Headless")
    is_headless = spec.type == "Headless"
    addresses = () if is_headless else tuple(map(parse_address, spec.ips or ()))
    numbered = spec.ports or ()
    ports = tuple([read_port(port.name, port.protocol, port.port) for port in numbered[:MAX_PORTS]])
    # No port of a headless import is left out, because its records use the ports of its slices.
    left_out = 0 if is_headless else len(numbered) - len(ports)
    service = Service(namespace, called, addresses, is_headless, None, ports, left_out)
    return ServiceImport(service, raw.status is not None and raw.status.endpoint_slice_objects == "Present")


class ServiceImports(Plain):
    """The producer for ServiceImports."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._ttl_s = options.ttl_s
        self._apexes = options.multicluster
        self._served = ServedNamespaces(options)
        self._imports: dict[ServiceKey, ServiceImport] = {}
        # Import -> its slices by name. In these slices, the labels of endpoints are ENDPOINT.CLUSTER.
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}

    def note(self, change: Change) -> Iterable[Key]:
        """Process a changed ServiceImport or EndpointSlice.

        Return the keys of the imports whose state may have changed. If labels select the served namespaces, also
        process a changed Namespace, and return the keys of its imports.
        """
        before, after = change
        if (namespace := self._served.note(change)) is not None:
            return [key for key in self.current_keys() if key[1] == namespace]
        found: list[ServiceKey] = []
        if isinstance(before, ServiceImport):
            found.append(before.key)
            del self._imports[before.key]
        elif isinstance(before, EndpointSlice) and before.imported is not None:
            key = before.namespace, before.imported.service
            found.append(key)
            del self._slices[key][before.name]
            if not self._slices[key]:
                del self._slices[key]
        if isinstance(after, ServiceImport):
            found.append(after.key)
            self._imports[after.key] = after
        elif isinstance(after, EndpointSlice) and after.imported is not None:
            key = after.namespace, after.imported.service
            found.append(key)
            self._slices.setdefault(key, {})[after.name] = self._with_labels(after)
        if not found or has_same_records(change):
            return ()
        return [(apex, *key) for key in found for apex in self._apexes]

    def _with_labels(self, found: EndpointSlice) -> EndpointSlice:
        """Return a slice whose endpoints have the labels ENDPOINT.CLUSTER.

        An endpoint whose name would be too long is left out.
        """
        assert found.imported is not None
        service, cluster = found.imported
        longest = max(len(self._owner(apex, found.namespace, service)) for apex in self._apexes)
        room = name.MAX_NAME - longest - 1
        named = [each._replace(label=f"{each.label or dashed(each.address)}.{cluster}") for each in found.endpoints]
        kept = tuple([each for each in named if len(each.label) <= room])
        return found._replace(endpoints=kept, left_out=found.left_out + len(named) - len(kept))

    def _owner(self, apex: bytes, namespace: str, service: str) -> bytes:
        return schema.service_name(Schema(apex), namespace, service)

    def owner(self, key: Key) -> bytes:
        """Return the name of an import."""
        return self._owner(*key)

    def without_endpoints(self) -> Iterator[tuple[ServiceKey, Unready]]:
        """Yield each served headless import that has no ready endpoint, with the numbers of its other endpoints."""
        for key, found in self._imports.items():
            if found.service.headless and self._is_served(found.service):
                slices = self._slices.get(key, {}).values()
                if not any(each.endpoints for each in slices):
                    yield key, Unready(sum(each.unready for each in slices), sum(each.terminating for each in slices))

    def current_keys(self) -> Collection[Key]:
        """Return the keys of all imports, in all zones."""
        return [(apex, *key) for key in self._imports for apex in self._apexes]

    def state(self, key: Key) -> ImportState | None:
        """Return an import with its slices, or None if it doesn't exist or isn't served."""
        apex, namespace, called = key
        found = self._imports.get((namespace, called))
        if found is None or not self._is_served(found.service):
            return None
        service = found.service
        if not service.headless:
            return ImportState(apex, service, (), not service.cluster_ips, service.left_out)
        slices = self._slices.get(service.key, {})
        kept = bounded(service, tuple([slices[each] for each in sorted(slices)]))
        return ImportState(apex, service, kept.slices, not slices and not found.has_slices, kept.left_out)

    def _is_served(self, service: Service) -> bool:
        return service.namespace in self._served and (self._options.has_endpoints or not service.headless)

    def rrsets(self, state: ImportState) -> Iterator[RRset | Hosts]:
        """Yield the records of an import and its endpoints."""
        the_schema = Schema(state.apex, self._ttl_s)
        if state.service.headless:
            owner = schema.service_name(the_schema, *state.service.key)
            return schema.headless_rrsets(the_schema, owner, state.slices)
        return schema.service_rrsets(the_schema, state.service, ())

    def names(self, state: ImportState) -> Mapping[bytes, bytes]:
        """Return the name of an import that has no address yet. Other imports have records, so they need no entry."""
        if not state.is_pending:
            return {}
        return {name.tree_key(self._owner(state.apex, *state.service.key)): NodeKind.PENDING}

    def size(self, state: ImportState) -> int:
        """Return how many ports and endpoints an import has."""
        return size_of(state.service, state.slices)

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for all records that are made after this call."""
        self._ttl_s = ttl_s
