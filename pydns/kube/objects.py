"""Kubernetes API objects, reduced to what DNS needs of them (API versions v1 and discovery.k8s.io/v1).

`pydns.kube.kinds` has the table of kinds; a kind's decoder is a struct and a function as those at the end of this file.

This is the door: what comes from an API server or a manifest is hostile until it has passed `parse`. Whatever has,
is trusted inside: names fit into labels, addresses are 4 or 16 octets, optional lists are there. An object that DNS
can't use becomes a `Skipped` with a reason; it never stops a stream.

Decoding goes straight from JSON to typed structs, 11 µs an object; the client's models take 365 µs and 30 KB.
"""

from collections.abc import Mapping
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.address import parse_address

if TYPE_CHECKING:
    from pydns.kube.kinds import Kind
    from pydns.kube.producers.exposed_services import ServiceExposure


class Ref(NamedTuple):
    """Which object: what a log line names and a store is keyed by. A Namespace's `namespace` is empty."""

    kind: "Kind"
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.value} {self.name}"


# What is kept of a Service or a slice. No Service has records for more.
MAX_ENDPOINTS = 10_000  # addresses: two messages full of them
MAX_PORTS = 10_000


class Port(NamedTuple):
    """A port of a Service or of the endpoints of a slice. `name` is empty for an unnamed one."""

    name: str
    protocol: str  # tcp, udp or sctp
    number: int


ServiceKey = tuple[str, str]  # namespace and name


class Service(NamedTuple):
    """A Service. `external_name` is set for type ExternalName alone; ClusterIP, NodePort and LoadBalancer are alike."""

    namespace: str
    name: str
    cluster_ips: tuple[bytes, ...]  # 4 or 16 octets each; empty if headless or ExternalName
    headless: bool
    external_name: bytes | None  # wire form, case kept
    ports: tuple[Port, ...]  # the first `MAX_PORTS`
    left_out: int = 0  # other ports
    exposure: "ServiceExposure | None" = None  # read only for external zones

    @property
    def key(self) -> ServiceKey:
        """Return namespace and name."""
        return self.namespace, self.name


class Endpoint(NamedTuple):
    """One address of a ready endpoint. `label` is what it is called below its Service, empty for its dashed IP."""

    address: bytes
    label: str


class EndpointSlice(NamedTuple):
    """The ready endpoints of an EndpointSlice. `service` is empty if no Service owns it."""

    namespace: str
    name: str
    service: str
    ports: tuple[Port, ...]  # the first `MAX_PORTS`
    endpoints: tuple[Endpoint, ...]  # the first `MAX_ENDPOINTS`
    left_out: int = 0  # other ports and addresses
    unready: int = 0  # endpoints that aren't ready, for `explain`
    terminating: int = 0  # of these

    @property
    def key(self) -> ServiceKey:
        """Return namespace and name of its Service."""
        return self.namespace, self.service


class Namespace(NamedTuple):
    """A Namespace."""

    name: str


class Pod(NamedTuple):
    """A Pod's addresses, all families."""

    namespace: str
    name: str
    addresses: tuple[bytes, ...]


class ConfigMap(NamedTuple):
    """A ConfigMap's texts, and the keys of what it has that is no text."""

    namespace: str
    name: str
    data: dict[str, str]
    binary: frozenset[str]


class Skipped(NamedTuple):
    """An object that DNS can't use, and why. Its last good version, if there was one, stays in force."""

    reason: str


Object = tuple[Any, ...]  # a NamedTuple of the kind's own, as those above


class Observed(NamedTuple):
    """The observed state of one object. `value` holds what DNS needs; equal values mean equal records."""

    ref: Ref
    resource_version: str  # empty where the source has none
    value: Object | Skipped


class Options(NamedTuple):
    """What changes how objects are read."""

    endpoint_pod_names: bool = False  # name endpoints without a hostname by their pod, as CoreDNS's option
    annotations: tuple[str, ...] = ()  # prefixes of those that external zones read; none: there are no such zones


DEFAULTS = Options()


def parse(kind: "Kind", source: bytes | msgspec.Raw | Mapping[str, Any], options: Options = DEFAULTS) -> Observed:
    """Return what DNS needs of an object given as JSON or as a decoded mapping.

    Never raises for bad input: `value` is `Skipped` then, and `ref` says as much as could be read. Fields that DNS
    doesn't need are neither read nor checked.
    """
    decoder, json = kind.row.decoder, kind.json
    if options.annotations:
        decoder, json = kind.row.exposing or decoder, kind.exposing_json
    try:
        if isinstance(source, Mapping):
            raw: Any = msgspec.convert(source, decoder.raw)
        else:
            raw = json.decode(source)
        ref = Ref(kind, intern(raw.metadata.namespace or ""), intern(raw.metadata.name))
        return Observed(ref, raw.metadata.resource_version or "", decoder.read(raw, options))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return _observe_broken(kind, source, str(error))


# What is read of the API's JSON. Everything that the API leaves out or sets to null where it is empty is optional.


class RawMeta(msgspec.Struct, rename="camel", gc=False):
    """The fields of `metadata` that are read."""

    name: str
    namespace: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None


class ServicePort(msgspec.Struct, gc=False):
    """What is read of a port of a Service."""

    port: int
    name: str | None = None
    protocol: str | None = None


class ServiceSpec(msgspec.Struct, gc=False):
    """What is read of the `spec` of a Service."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    external_name: str | None = msgspec.field(name="externalName", default=None)
    ports: list[ServicePort] | None = None


class RawService(msgspec.Struct, gc=False):
    """The fields of a Service that are read."""

    metadata: RawMeta
    spec: ServiceSpec


class _TargetRef(msgspec.Struct, gc=False):
    kind: str | None = None
    name: str | None = None


class _Conditions(msgspec.Struct, gc=False):
    ready: bool | None = None
    terminating: bool | None = None


class _Endpoint(msgspec.Struct, rename="camel", gc=False):
    addresses: list[str]
    conditions: _Conditions | None = None
    hostname: str | None = None
    target_ref: _TargetRef | None = None


class _EndpointPort(msgspec.Struct, gc=False):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class RawEndpointSlice(msgspec.Struct, rename="camel", gc=False):
    """The fields of an EndpointSlice that are read."""

    metadata: RawMeta
    address_type: str
    endpoints: list[_Endpoint] | None = None  # null in a slice without endpoints, from a real API server
    ports: list[_EndpointPort] | None = None  # likewise


class RawNamespace(msgspec.Struct, gc=False):
    """The fields of a Namespace that are read."""

    metadata: RawMeta


class RawConfigMap(msgspec.Struct, rename="camel", gc=False):
    """The fields of a ConfigMap that are read."""

    metadata: RawMeta
    data: dict[str, str] | None = None
    binary_data: dict[str, msgspec.Raw] | None = None


class _PodIP(msgspec.Struct, gc=False):
    ip: str


class _PodStatus(msgspec.Struct, gc=False):
    phase: str | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[_PodIP] | None = msgspec.field(name="podIPs", default=None)


class RawPod(msgspec.Struct, gc=False):
    """The fields of a Pod that are read."""

    metadata: RawMeta
    status: _PodStatus | None = None


def read_service(raw: RawService, options: Options) -> Service:
    """Return a Service. Raises ValueError."""
    namespace, service = as_label(raw.metadata.namespace, "namespace"), as_label(raw.metadata.name, "name")
    spec = raw.spec
    numbered = spec.ports or ()
    ports = tuple([_port(port.name, port.protocol, port.port) for port in numbered[:MAX_PORTS]])
    if spec.type == "ExternalName":
        try:
            external_name = name.from_text(spec.external_name or "")
        except name.BadName as error:
            raise ValueError(f"externalName {_quote(spec.external_name or '')} {error}") from None
        return Service(namespace, service, (), False, external_name, ports)
    ips = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    headless = ips[:1] == ["None"]
    addresses = () if headless else tuple(map(parse_address, ips))
    left_out = 0 if headless else len(numbered) - len(ports)  # a headless Service has the ports of its slices
    return Service(namespace, service, addresses, headless, None, ports, left_out)


def read_endpoint_slice(raw: RawEndpointSlice, options: Options) -> EndpointSlice:
    """Return a slice with its ready endpoints. Raises ValueError."""
    # FQDN is deprecated in the API, and the DNS specification gives such endpoints no records.
    if raw.address_type not in ("IPv4", "IPv6"):
        raise ValueError(f"addressType {_quote(raw.address_type)} has no records; wanted IPv4 or IPv6")
    service = (raw.metadata.labels or {}).get("kubernetes.io/service-name", "")
    family = AF_INET if raw.address_type == "IPv4" else AF_INET6
    endpoints: list[Endpoint] = []
    left_out = 0
    unready = terminating = 0
    for endpoint in raw.endpoints or ():
        # Unknown counts as ready (EndpointConditions in the API reference).
        if endpoint.conditions is not None and endpoint.conditions.ready is False:
            unready += 1
            terminating += endpoint.conditions.terminating is True
            continue
        texts = endpoint.addresses
        if len(endpoints) + len(texts) > MAX_ENDPOINTS:
            left_out += len(texts)
            texts = texts[: MAX_ENDPOINTS - len(endpoints)]
            left_out -= len(texts)
        label = ""
        if endpoint.hostname:
            label = as_label(endpoint.hostname, "hostname")
        elif options.endpoint_pod_names and endpoint.target_ref is not None and endpoint.target_ref.kind == "Pod":
            pod = endpoint.target_ref.name or ""
            label = intern(pod) if name.is_kubernetes_label(pod) else ""
        for text in texts:
            try:
                endpoints.append(Endpoint(inet_pton(family, text), label))
            except (OSError, ValueError):
                raise ValueError(f"{_quote(text)} is not an {raw.address_type} address") from None
    # A port without a number stands for all ports: nothing that an SRV record could name.
    numbered = [port for port in raw.ports or () if port.port is not None]
    ports = tuple([_port(port.name, port.protocol, port.port or 0) for port in numbered[:MAX_PORTS]])
    return EndpointSlice(
        as_label(raw.metadata.namespace, "namespace"),
        raw.metadata.name,
        as_label(service, "service label") if service else "",
        ports,
        tuple(endpoints),
        left_out + len(numbered) - len(ports),
        unready,
        terminating,
    )


def read_namespace(raw: RawNamespace, options: Options) -> Namespace:
    """Return a Namespace. Raises ValueError."""
    return Namespace(as_label(raw.metadata.name, "name"))


def read_pod(raw: RawPod, options: Options) -> Pod:
    """Return a Pod, without addresses once it has ended. Raises ValueError."""
    status = raw.status or _PodStatus()
    ips = [ip.ip for ip in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    if status.phase in ("Succeeded", "Failed"):
        ips = []  # its address may be another pod's by now
    return Pod(as_label(raw.metadata.namespace, "namespace"), raw.metadata.name, tuple(map(parse_address, ips)))


def read_config_map(raw: RawConfigMap, options: Options) -> ConfigMap:
    """Return a ConfigMap."""
    meta = raw.metadata
    return ConfigMap(meta.namespace or "", meta.name, raw.data or {}, frozenset(raw.binary_data or ()))


_PROTOCOLS = {None: "tcp", "TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


def as_label(text: str | None, what: str) -> str:
    """Return a text that fits into a DNS label. Raises ValueError."""
    if text is None or not name.is_kubernetes_label(text):
        raise ValueError(f"{what} {_quote(text or '')} is not a DNS label")
    return intern(text)


# Cached, because a slice of 10,000 ports that changes has the same ports again: 2 instead of 14 ms.
@lru_cache(maxsize=16_384)
def _port(port_name: str | None, protocol: str | None, number: int) -> Port:
    if protocol not in _PROTOCOLS:
        raise ValueError(f"protocol {_quote(str(protocol))} is not TCP, UDP or SCTP")
    if not 0 <= number <= 65535:
        raise ValueError(f"port {number} is not in 0–65535")
    label = as_label(port_name, "port name") if port_name else ""
    # With its underscore it would not fit into a label, so there is no name to ask for.
    return Port(label if len(label) < name.MAX_LABEL else "", _PROTOCOLS[protocol], number)


def _quote(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")


def _observe_broken(kind: "Kind", source: bytes | msgspec.Raw | Mapping[str, Any], reason: str) -> Observed:
    try:
        decoded = source if isinstance(source, Mapping) else msgspec.json.decode(source)
        meta = decoded["metadata"]
        named = [meta.get(key) for key in ("namespace", "name", "resourceVersion")]
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        named = [None, None, None]
    namespace, object_name, version = (text if isinstance(text, str) else "" for text in named)
    return Observed(Ref(kind, namespace, object_name or "?"), version, Skipped(reason))
