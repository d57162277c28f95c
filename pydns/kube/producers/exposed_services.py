"""External names of Services, for clients outside of the cluster.

A Service of type LoadBalancer, or a Service with external addresses, has the name `SERVICE.NAMESPACE` below the apex of
a zone. The annotations of the Service can add hostnames. Its status contains the addresses of its load balancer. pydns
doesn't read annotations with which a Service asks a load balancer for an address (MetalLB, Cilium, kube-vip). Rules:

1. If a Service has the annotation `target`, its names get the addresses in `target`. Otherwise, they get the addresses
   in `externalIPs` and the addresses of the load balancer. But if the annotation `resolve-endpoints` is `true`, they
   get only the addresses of the ready endpoints.
2. The names of a Service of type NodePort get the addresses of nodes, if the annotation `access` is `public` or
   `private`.
3. If the zone allows it, the endpoints of a headless Service have names below the name of the Service. But the
   endpoints of a headless Service with external addresses have no such names.
4. A Service of type ExternalName has only the hostnames in its annotations as names, and these names are aliases of the
   Service's target.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pydns.config.model import ExternalSource, ExternalZone
from pydns.dns import name
from pydns.dns.rrset import CNAME, SRV, each_rrset, srv
from pydns.kube import schema
from pydns.kube.external import hostnames
from pydns.kube.external.claims import Claim, Claimant, Rank, Record, Way
from pydns.kube.external.exposure import (
    MOST_PROBLEMS,
    RESOLVE_ENDPOINTS,
    ExposedMeta,
    Exposure,
    LoadBalancerStatus,
    read_addresses,
    read_exposure,
)
from pydns.kube.external.source import Claimed, Zones, address_records, target_records
from pydns.kube.objects import (
    EndpointSlice,
    Options,
    RawService,
    Service,
    ServiceKey,
    ServicePort,
    ServiceSpec,
    read_service,
)
from pydns.kube.producer import FIRST, Change, ZoneOptions
from pydns.kube.producers.nodes import Node
from pydns.kube.schema import Schema

_GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"
_TOPOLOGY_ANNOTATIONS = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_AWS_ATTRIBUTES = "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes"
# The minimum TTL of a zone's NS records, and of the address records of its nameservers. The NS records in the parent
# zone have a similar TTL.
LEAST_NAMESERVER_TTL_S = 300
_WEIGHT = 100  # the weight of an SRV record whose name has no other SRV record


class ServiceExposure(NamedTuple):
    """The fields of a Service that only external zones need. `Service` contains all other fields."""

    service_type: str
    external_ips: tuple[bytes, ...]
    node_ports: tuple[int, ...]  # the node port of each port of the Service; 0 if a port has none
    common: Exposure
    # True: the load balancer sends the PROXY protocol to the Service. Pods don't send it.
    wants_proxy_protocol: bool = False
    # The name of the Gateway to which the Service belongs, in the same namespace; empty if it belongs to none.
    gateway: str = ""


class _ExposedPort(ServicePort, rename="camel", gc=False):
    node_port: int | None = None
    app_protocol: str | None = None


class _ExposedSpec(ServiceSpec, gc=False):
    ports: list[_ExposedPort] | None = None  # type: ignore[assignment]  # a narrower type than in the base class
    external_ips: list[str] | None = msgspec.field(name="externalIPs", default=None)
    traffic_distribution: str | None = msgspec.field(name="trafficDistribution", default=None)


class RawExposedService(RawService, gc=False):
    """The fields of a Service that pydns reads if external zones or answers for a zone of nodes need them."""

    metadata: ExposedMeta
    spec: _ExposedSpec
    status: LoadBalancerStatus | None = None


def read_exposed_service(raw: RawExposedService, options: Options) -> Service:
    """Return a Service with its exposure. Raises ValueError."""
    service = read_service(raw, options)
    if options.topology:
        service = service._replace(follows_hints=_follows_hints(raw))
    if not options.annotations:
        return service
    common = read_exposure(raw.metadata, raw.status, options.annotations)
    if common is None:
        return service
    problems: list[str] = []
    external_ips = tuple(dict.fromkeys(read_addresses(raw.spec.external_ips or (), problems)))
    if problems:
        common = common._replace(problems=(*common.problems, *problems)[:MOST_PROBLEMS])
    node_ports = tuple([port.node_port or 0 for port in (raw.spec.ports or ())[: len(service.ports)]])
    gateway = (raw.metadata.labels or {}).get(_GATEWAY_LABEL, "")
    exposure = ServiceExposure(raw.spec.type or "", external_ips, node_ports, common, _wants_proxy(raw), gateway)
    return service._replace(exposure=exposure)


def _follows_hints(raw: RawExposedService) -> bool:
    """Return whether a Service asks for hints, with `trafficDistribution` or with one of the older annotations."""
    annotations = raw.metadata.annotations or {}
    modes = [annotations.get(each, "") for each in _TOPOLOGY_ANNOTATIONS]
    return raw.spec.traffic_distribution in _DISTRIBUTIONS or any(each.lower() == "auto" for each in modes)


def _wants_proxy(raw: RawExposedService) -> bool:
    """Return whether a port or a cloud provider's annotation shows that the load balancer sends the PROXY protocol."""
    ports = [port.app_protocol or "" for port in raw.spec.ports or ()]
    settings = [
        value
        for key, value in (raw.metadata.annotations or {}).items()
        if "proxy-protocol" in key or "proxyprotocol" in key
    ]
    attributes = (raw.metadata.annotations or {}).get(_AWS_ATTRIBUTES, "")
    return (
        any(each.startswith("kubernetes.io/proxy") for each in ports)
        or any(each.lower() not in ("", "false", "0", "off") for each in settings)
        or "proxy_protocol_v2.enabled=true" in attributes
    )


class ExposedServices:
    """The source for Services. A key is the namespace and name of a Service."""

    def __init__(self, options: ZoneOptions, zones: Zones) -> None:
        self._options = options
        self._all_zones = zones
        self._zones = [zone for zone in zones.all if ExternalSource.SERVICES in zone.sources]
        self._nameservers: dict[ServiceKey, list[tuple[ExternalZone, bytes]]] = {}
        for zone in zones.all if options.source == FIRST else ():
            for each in zone.nameservers:
                self._nameservers.setdefault((each.namespace, each.service), []).append((zone, each.owner(zone.apex)))
        self._services: dict[ServiceKey, Service] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._nodes: dict[str, Node] = {}
        self._by_endpoints: set[ServiceKey] = set()  # the Services whose claims depend on their endpoints
        self._by_nodes: dict[ServiceKey, None] = {}  # the Services whose claims depend on Nodes

    def note(self, change: Change) -> Iterable[ServiceKey]:
        """Process a changed Service, EndpointSlice or Node. Return the Services whose claims may have changed."""
        before, after = change
        if isinstance(before, Node) or isinstance(after, Node):
            if isinstance(before, Node):
                del self._nodes[before.name]
            if isinstance(after, Node):
                self._nodes[after.name] = after
            return tuple(self._by_nodes)
        if isinstance(before, EndpointSlice) or isinstance(after, EndpointSlice):
            keys: dict[ServiceKey, None] = {}
            if isinstance(before, EndpointSlice):
                slices = self._slices[before.key]
                del slices[before.name]
                if not slices:
                    del self._slices[before.key]
                keys[before.key] = None
            if isinstance(after, EndpointSlice):
                self._slices.setdefault(after.key, {})[after.name] = after
                keys[after.key] = None
            return [key for key in keys if key in self._by_endpoints]
        key: ServiceKey
        for each in (before, after):
            if isinstance(each, Service):
                key = each.key
                break
        else:
            return ()
        self._services.pop(key, None)
        self._by_endpoints.discard(key)
        self._by_nodes.pop(key, None)
        if isinstance(after, Service):
            self._services[key] = after
            if after.headless or _resolves_endpoints(after):
                self._by_endpoints.add(key)
            if after.exposure is not None and after.exposure.service_type == "NodePort":
                self._by_nodes[key] = None
        return (key,)

    def claimed(self, key: ServiceKey) -> Claimed | None:
        """Return the names and records that a Service claims.

        A Service that the configuration chooses for a nameserver claims the nameserver's name, even if the namespace of
        the Service isn't served.
        """
        service = self._services.get(key)
        if service is None or service.exposure is None:
            return None
        exposure = service.exposure
        claimed = Claimed(Claimant(Rank.ORDINARY, exposure.common.created, *key, "Service"), self._all_zones)
        for zone, owner in self._nameservers.get(key, ()):
            claim = Claim(self._records(service, exposure, zone, []) or (), max(zone.ttl_s, LEAST_NAMESERVER_TTL_S))
            claimed.add(zone, owner, claim, is_nameserver=True)
        if not self._options.serves(key[0]):
            return claimed
        claimed.notice(*exposure.common.problems)
        for zone in self._zones:
            if hostnames.is_ours(exposure.common.annotations, zone.annotations):
                self._claim(service, exposure, zone, claimed)
        self._report_foreign(exposure, claimed)
        return claimed

    def _claim(self, service: Service, exposure: ServiceExposure, zone: ExternalZone, claimed: Claimed) -> None:
        problems: list[str] = []
        common = exposure.common

        def value(key: str) -> str | None:
            return hostnames.annotation(common.annotations, zone.annotations, key)

        ttl_s = hostnames.ttl_s(value("ttl"), zone.ttl_s, problems)
        wanted = hostnames.hostnames(value("hostname"), problems)
        records = self._records(service, exposure, zone, problems)
        # Only addresses of a load balancer get reverse names, because the owner of a Service can write any address into
        # `externalIPs`.
        hosts = [owner for owner in wanted if self._all_zones.of(owner) is zone and not name.is_wildcard(owner)]
        way = Way(frozenset([port.number for port in service.ports]))
        if records is not None:
            for owner in wanted:
                pointers = common.addresses if owner in hosts else ()
                claimed.add(zone, owner, Claim(records, ttl_s, pointers=pointers, way=way))
        if service.external_name is None and zone.service_names:
            owner = service_owner(service, zone)
            if records is not None:
                claimed.add(zone, owner, Claim(records, ttl_s, pointers=() if hosts else common.addresses, way=way))
                _claim_ports(service, exposure, zone, owner, Claim(records, ttl_s, way=way), claimed)
            elif service.headless and zone.headless:
                self._claim_endpoints(service, zone, owner, ttl_s, claimed)
        if service.cluster_ips:
            for internal in hostnames.hostnames(value("internal-hostname"), problems):
                claimed.add(zone, internal, Claim(address_records(service.cluster_ips), ttl_s))
        claimed.notice(*problems)

    def _records(
        self, service: Service, exposure: ServiceExposure, zone: ExternalZone, problems: list[str]
    ) -> tuple[Record, ...] | None:
        """Return the records that a Service has at each of its names.

        The result is empty if the Service has no address yet, or None if the Service can't be reached from outside of
        the cluster.
        """
        if service.external_name is not None:
            return ((CNAME, service.external_name.lower()),)
        if _resolves_endpoints(service):
            slices = self._slices.get(service.key, {})
            found = [endpoint.address for each in sorted(slices) for endpoint in slices[each].endpoints]
            return address_records(dict.fromkeys(found))
        target = hostnames.annotation(exposure.common.annotations, zone.annotations, "target")
        records = target_records(exposure.common, target, problems)
        if not target:
            records = tuple(dict.fromkeys((*address_records(exposure.external_ips), *records)))
        if exposure.service_type == "NodePort" and not records:
            return self._node_records(exposure, zone)
        return records if records or exposure.service_type == "LoadBalancer" else None

    def _node_records(self, exposure: ServiceExposure, zone: ExternalZone) -> tuple[Record, ...] | None:
        """Return records with the addresses of the nodes. Return None if the annotation `access` doesn't ask for them.

        As in external-dns, `access: public` includes the internal IPv6 addresses of nodes.
        """
        access = hostnames.annotation(exposure.common.annotations, zone.annotations, "access")
        if ExternalSource.NODES not in zone.sources or access not in ("public", "private"):
            return None
        found: dict[bytes, None] = {}
        for each in (self._nodes[key] for key in sorted(self._nodes)):
            if access == "public":
                found.update(dict.fromkeys((*each.external, *(ip for ip in each.internal if len(ip) == 16))))
            else:
                found.update(dict.fromkeys(each.internal))
        return address_records(found)

    def _claim_endpoints(
        self, service: Service, zone: ExternalZone, owner: bytes, ttl_s: int, claimed: Claimed
    ) -> None:
        slices = self._slices.get(service.key, {})
        found = schema.headless_rrsets(Schema(zone.apex, ttl_s), owner, [slices[each] for each in sorted(slices)])
        for rrset in each_rrset(found):
            claimed.add(zone, rrset.owner, Claim(tuple([(rrset.rtype, rdata) for rdata in rrset.rdatas]), ttl_s))

    def _report_foreign(self, exposure: ServiceExposure, claimed: Claimed) -> None:
        """Add a notice for each hostname that is in no external zone.

        A hostname in an external zone without names of Services gets no notice.
        """
        annotations = exposure.common.annotations
        prefixes = dict.fromkeys([prefix for zone in self._zones for prefix in zone.annotations])
        for prefix in prefixes:
            for wanted in hostnames.hostnames(annotations.get(prefix + "hostname"), []):
                if self._all_zones.of(wanted) is None:
                    claimed.notice(f"{name.to_text(wanted)} is in no external zone")


def service_owner(service: Service, zone: ExternalZone) -> bytes:
    """Return the name of a Service in a zone."""
    return name.from_labels(service.name.encode(), service.namespace.encode())[:-1] + zone.apex


def _resolves_endpoints(service: Service) -> bool:
    exposure = service.exposure
    return exposure is not None and exposure.common.annotations.get(RESOLVE_ENDPOINTS) == "true"


def _claim_ports(
    service: Service, exposure: ServiceExposure, zone: ExternalZone, owner: bytes, claim: Claim, claimed: Claimed
) -> None:
    """Claim SRV records for the ports of a Service.

    Each port with a name has an SRV record below the name of the Service. The name of the Service has an SRV record for
    every port. The target of all these records is the name of the Service, but a target must not be an alias (RFC
    2782). The name of the Service is an alias if the load balancer has only a hostname. Then the hostname is the
    target, and the name of the Service has no SRV records.
    """
    alias = next((rdata for rtype, rdata in claim.records if rtype == CNAME), None)
    has_alias = alias is not None and all(rtype == CNAME for rtype, _ in claim.records)
    target = min(rdata for _, rdata in claim.records) if has_alias else owner
    by_node = exposure.service_type == "NodePort" and not exposure.external_ips
    numbers: dict[int, None] = {}
    for port, node_port in zip(service.ports, exposure.node_ports, strict=True):
        number = node_port if by_node else port.number
        if not 0 < number <= 0xFFFF:
            continue
        numbers[number] = None
        if port.name:
            records = ((SRV, srv(0, _WEIGHT, number, target)),) if claim.records else ()
            port_owner = name.from_labels(b"_" + port.name.encode(), b"_" + port.protocol.encode())[:-1] + owner
            claimed.add(zone, port_owner, claim._replace(records=records))
    if numbers and claim.records and not has_alias:
        weight = max(_WEIGHT // len(numbers), 1)
        all_ports = tuple([(SRV, srv(0, weight, number, owner)) for number in numbers])
        claimed.add(zone, owner, claim._replace(records=all_ports))
