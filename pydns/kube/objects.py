"""Kubernetes API objects, reduced to the fields that DNS needs (API versions v1 and discovery.k8s.io/v1).

`pydns.kube.kinds` has the table of kinds. The decoder of a kind consists of a struct and a function. This module
contains the decoders of several kinds.

`parse` checks every object from an API server or a manifest. Other modules trust the objects that `parse` returns:
names fit into DNS labels, addresses have 4 or 16 octets, and optional lists exist. An object that DNS can't use becomes
a `Skipped` with a reason, and doesn't stop the stream of events.

msgspec decodes JSON directly to typed structs, which takes 11 µs per object. With the models of the Kubernetes client
for Python, an object would take 365 µs and 30 KB.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from sys import intern
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pydns.config.selector import is_label_value
from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.table.client_classes import MAX_NAME
from pydns.table.client_names import RunningPod, compose_slice

if TYPE_CHECKING:
    from pydns.kube.kinds import Kind
    from pydns.kube.producers.exposed_services import ServiceExposure


class Ref(NamedTuple):
    """A reference to an object. Log lines contain references, and stores use them as keys.

    `namespace` is empty for an object without a namespace, such as a Namespace.
    """

    kind: "Kind"
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.value} {self.name}"


# How many endpoints and how many ports a Service or an EndpointSlice may have. Further endpoints and ports get no
# records.
MAX_ENDPOINTS = 10_000  # maximum number of addresses; enough to fill two DNS messages
MAX_PORTS = 10_000
MAX_OBJECT_NAME = 253  # maximum characters in the name of a Pod
_MAX_POD_ADDRESSES = 8  # maximum number of addresses of a Pod; the API allows only one of each family
_MAX_HINTS = 8  # maximum number of zones, and of nodes, in the hints of an endpoint, as in the API


class Port(NamedTuple):
    """A port of a Service, or of the endpoints of an EndpointSlice. `name` is empty if the port has no name."""

    name: str
    protocol: str  # "tcp", "udp" or "sctp"
    number: int


ServiceKey = tuple[str, str]  # namespace and name


class Service(NamedTuple):
    """A Service. Only a Service of type ExternalName has an `external_name`.

    Services of the types ClusterIP, NodePort and LoadBalancer have the same fields.
    """

    namespace: str
    name: str
    cluster_ips: tuple[bytes, ...]  # 4 or 16 octets each; empty if the Service is headless or of type ExternalName
    headless: bool
    external_name: bytes | None  # a name in wire form; its letters have the same case as in the Service
    ports: tuple[Port, ...]  # only the first `MAX_PORTS`
    left_out: int = 0  # how many ports are not in `ports`
    # None if there are no external zones, or if a label of the Service asks pydns to ignore it.
    exposure: "ServiceExposure | None" = None
    # True: the hints of endpoints decide which clients get which endpoints. Read only with `Options.topology`.
    follows_hints: bool = False

    @property
    def key(self) -> ServiceKey:
        """Return the namespace and the name of the Service."""
        return self.namespace, self.name


class Endpoint(NamedTuple):
    """A ready endpoint with one address. `label` is the endpoint's label below the name of its Service.

    If `label` is empty, the endpoint's label is its dashed IP address.
    """

    address: bytes
    label: str


class Imported(NamedTuple):
    """The ServiceImport to which a slice belongs, and the cluster that exports the endpoints of the slice."""

    service: str
    cluster: str  # one DNS label, or two with a dot between them; in lower case


class Hints(NamedTuple):
    """Where an endpoint is, and which clients should use it.

    The endpoint is in `zone`, a zone of nodes. Clients in `for_zones` and clients on `for_nodes` should use it.
    """

    zone: str
    for_zones: tuple[str, ...]
    for_nodes: tuple[str, ...]


class EndpointSlice(NamedTuple):
    """The ready endpoints of an EndpointSlice. `service` is empty if the slice belongs to no Service."""

    namespace: str
    name: str
    service: str
    ports: tuple[Port, ...]  # only the first `MAX_PORTS`
    endpoints: tuple[Endpoint, ...]  # only the first `MAX_ENDPOINTS` endpoints
    left_out: int = 0  # how many ports and addresses are not in `ports` and `endpoints`
    unready: int = 0  # how many endpoints aren't ready, for `explain`
    terminating: int = 0  # how many of the endpoints that aren't ready are terminating
    imported: Imported | None = None
    hints: tuple[Hints, ...] = ()  # the hints of each endpoint; empty unless `Options.topology` is set
    # The slice's entry of client names: the Pods among its endpoints (`pydns.table.client_names`). Pods that aren't
    # ready are included, because a Pod may send queries before it is ready. In this form, 10 Pods take 250 octets. As
    # objects, they would take 3 KB. Empty for a slice with Pods of another cluster.
    clients: bytes = b""

    @property
    def key(self) -> ServiceKey:
        """Return the namespace and the name of the Service to which this slice belongs."""
        return self.namespace, self.service


class Namespace(NamedTuple):
    """A Namespace."""

    name: str


class Pod(NamedTuple):
    """A Pod with its IPv4 and IPv6 addresses. A Pod that has ended has no addresses."""

    namespace: str
    name: str
    addresses: tuple[bytes, ...]
    # The next two fields show which client has an address. They are read only with `Options.clients`.
    node: str = ""  # empty if the Pod has no node yet
    running: RunningPod | None = None  # None if the Pod has ended, or has no node or no address yet


class ConfigMap(NamedTuple):
    """A ConfigMap: its texts (`data`), and the keys of its binary values (`binary`)."""

    namespace: str
    name: str
    data: dict[str, str]
    binary: frozenset[str]
    uid: str


class Skipped(NamedTuple):
    """The reason why DNS can't use an object.

    If pydns could use the object before, its last usable version stays in force.
    """

    reason: str


Object = tuple[Any, ...]  # each kind has its own NamedTuple, such as `Service`


class Observed(NamedTuple):
    """The observed state of one object.

    `value` contains the parts of the object that DNS needs. Equal values lead to equal records.
    """

    ref: Ref
    resource_version: str  # empty if the source has no resource versions
    value: Object | Skipped


class Options(NamedTuple):
    """The options that change how objects are read."""

    # True: an endpoint without a hostname gets the name of its pod, as with the CoreDNS option `endpoint_pod_names`.
    endpoint_pod_names: bool = False
    clients: bool = False  # True: the fields that show which Pod has an address are read
    client_labels: tuple[str, ...] = ()  # the keys of the Pod labels that are read; used only with `clients`
    topology: bool = False  # True: the zones, nodes and hints of endpoints are read, and `Service.follows_hints`
    # The prefixes of the annotations that external zones need. Empty if the configuration has no external zones.
    annotations: tuple[str, ...] = ()


DEFAULTS = Options()


def parse(kind: "Kind", source: bytes | msgspec.Raw | Mapping[str, Any], options: Options = DEFAULTS) -> Observed:
    """Return the parts of an object that DNS needs.

    `source` is the object as JSON, or as a mapping that was decoded from JSON. Invalid input never raises an exception.
    Instead, the result contains a `Skipped` and those parts of the reference that can be read. Fields that DNS doesn't
    need are neither read nor checked.
    """
    decoder, json = kind.row.decoder, kind.json
    if options.annotations or options.topology:
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


# The structs contain the JSON fields that pydns reads. A field is optional in a struct if the API may omit it, or may
# send null instead of an empty value.


class RawMeta(msgspec.Struct, rename="camel", gc=False):
    """The fields of `metadata` that pydns reads."""

    name: str
    namespace: str | None = None
    resource_version: str | None = None
    uid: str | None = None
    labels: dict[str, str] | None = None


class ServicePort(msgspec.Struct, gc=False):
    """The fields of a Service port that pydns reads."""

    port: int
    name: str | None = None
    protocol: str | None = None


class ServiceSpec(msgspec.Struct, gc=False):
    """The fields in the `spec` of a Service that pydns reads."""

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
    namespace: str | None = None


class _Conditions(msgspec.Struct, gc=False):
    ready: bool | None = None
    terminating: bool | None = None


class _Endpoint(msgspec.Struct, rename="camel", gc=False):
    addresses: list[str]
    conditions: _Conditions | None = None
    hostname: str | None = None
    target_ref: _TargetRef | None = None
    node_name: str | None = None
    zone: str | None = None


class _ForZone(msgspec.Struct, gc=False):
    name: str = ""


class _Hints(msgspec.Struct, rename="camel", gc=False):
    for_zones: list[_ForZone] | None = None
    for_nodes: list[_ForZone] | None = None


class _PlacedEndpoint(_Endpoint, rename="camel", gc=False):
    hints: _Hints | None = None


class _EndpointPort(msgspec.Struct, gc=False):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class RawEndpointSlice(msgspec.Struct, rename="camel", gc=False):
    """The fields of an EndpointSlice that are read."""

    metadata: RawMeta
    address_type: str
    endpoints: list[_Endpoint] | None = None  # an API server sends null for a slice without endpoints
    ports: list[_EndpointPort] | None = None  # an API server sends null for a slice without ports


class RawPlacedSlice(RawEndpointSlice, gc=False):
    """The fields of an EndpointSlice that pydns reads if answers depend on the client."""

    endpoints: list[_PlacedEndpoint] | None = None  # type: ignore[assignment]  # a narrower type than in the base class


class RawNamespace(msgspec.Struct, gc=False):
    """The fields of a Namespace that are read."""

    metadata: RawMeta


class RawConfigMap(msgspec.Struct, rename="camel", gc=False):
    """The fields of a ConfigMap that are read."""

    metadata: RawMeta
    data: dict[str, str] | None = None
    binary_data: dict[str, msgspec.Raw] | None = None


class _PodMeta(RawMeta, rename="camel", gc=False):
    creation_timestamp: str | None = None


class _PodIP(msgspec.Struct, gc=False):
    ip: str


class _HostIP(msgspec.Struct, gc=False):
    ip: str


class _PodSpec(msgspec.Struct, rename="camel", gc=False):
    node_name: str | None = None
    host_network: bool | None = None


class _PodStatus(msgspec.Struct, rename="camel", gc=False):
    phase: str | None = None
    host_ip: str | None = msgspec.field(name="hostIP", default=None)
    host_ips: list[_HostIP] | None = msgspec.field(name="hostIPs", default=None)
    start_time: str | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[_PodIP] | None = msgspec.field(name="podIPs", default=None)


class RawPod(msgspec.Struct, gc=False):
    """The fields of a Pod that are read."""

    metadata: _PodMeta
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


def read_service(raw: RawService, options: Options) -> Service:
    """Return a Service. Raises ValueError."""
    namespace, service = as_label(raw.metadata.namespace, "namespace"), as_label(raw.metadata.name, "name")
    spec = raw.spec
    numbered = spec.ports or ()
    ports = tuple([read_port(port.name, port.protocol, port.port) for port in numbered[:MAX_PORTS]])
    if spec.type == "ExternalName":
        try:
            external_name = name.from_text(spec.external_name or "")
        except name.BadName as error:
            raise ValueError(f"externalName {_quote(spec.external_name or '')} {error}") from None
        return Service(namespace, service, (), False, external_name, ports)
    ips = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    headless = ips[:1] == ["None"]
    addresses = () if headless else tuple(map(parse_address, ips))
    # No port of a headless Service is left out, because its records use the ports of its slices.
    left_out = 0 if headless else len(numbered) - len(ports)
    return Service(namespace, service, addresses, headless, None, ports, left_out)


def read_endpoint_slice(raw: RawEndpointSlice, options: Options) -> EndpointSlice:
    """Return an EndpointSlice with its ready endpoints.

    Raises ValueError with the reason if DNS can't use the slice.
    """
    # The third address type, FQDN, is deprecated in the API, and the DNS specification defines no records for it.
    if raw.address_type not in ("IPv4", "IPv6"):
        raise ValueError(f"addressType {_quote(raw.address_type)} has no records; wanted IPv4 or IPv6")
    labels = raw.metadata.labels or {}
    service = labels.get("kubernetes.io/service-name", "")
    family = AF_INET if raw.address_type == "IPv4" else AF_INET6
    endpoints: list[Endpoint] = []
    left_out = 0
    unready = terminating = 0
    for endpoint in raw.endpoints or ():
        # If `ready` is missing, the endpoint is treated as ready (EndpointConditions in the API reference).
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
    # A port without a number stands for all ports. Such a port is left out, because an SRV record needs a number.
    numbered = [port for port in raw.ports or () if port.port is not None]
    ports = tuple([read_port(port.name, port.protocol, port.port or 0) for port in numbered[:MAX_PORTS]])
    imported = _imported(labels) if _IMPORT_LABEL in labels else None
    return EndpointSlice(
        as_label(raw.metadata.namespace, "namespace"),
        raw.metadata.name,
        as_label(service, "service label") if service else "",
        ports,
        tuple(endpoints),
        left_out + len(numbered) - len(ports),
        unready,
        terminating,
        imported,
        clients=b"" if imported else _clients(raw, family),
    )


_IMPORT_LABEL = "multicluster.kubernetes.io/service-name"
_CLUSTER_LABEL = "multicluster.kubernetes.io/source-cluster"


def _imported(labels: Mapping[str, str]) -> Imported | None:
    """Return the ServiceImport and the cluster whose names are in the labels of a slice.

    Return None if the names aren't DNS labels. Then the slice is still valid, because it may belong to a Service of
    this cluster.
    """
    service, cluster = labels[_IMPORT_LABEL], labels.get(_CLUSTER_LABEL, "").lower()
    parts = cluster.split(".")
    if len(parts) > 2 or not all(map(name.is_kubernetes_label, (service, *parts))):
        return None
    return Imported(intern(service), intern(cluster))


def _clients(raw: RawEndpointSlice, family: int) -> bytes:
    """Return `EndpointSlice.clients` of a slice. A Pod whose name or address is invalid is left out."""
    # A slice may refer only to Pods of its own namespace. Other Pods are ignored.
    namespaces = (None, raw.metadata.namespace)
    pods: list[tuple[bytes, str, str, str]] = []
    for endpoint in raw.endpoints or ():
        pod = endpoint.target_ref
        if pod is not None and pod.kind == "Pod" and pod.name and pod.namespace in namespaces:
            node, zone = place_name(endpoint.node_name), place_name(endpoint.zone)
            for text in endpoint.addresses:
                try:
                    pods.append((inet_pton(family, text), pod.name, node, zone))
                except (OSError, ValueError):  # the address of an endpoint that isn't ready may be invalid
                    continue
    names = [each[1] for each in pods]
    # All names are checked as one text, which takes a fifth of the time.
    if max(map(len, names), default=0) > MAX_OBJECT_NAME or not _is_harmless("".join(names)):
        pods = [each for each in pods if len(each[1]) <= MAX_OBJECT_NAME and _is_harmless(each[1])]
    return compose_slice(pods[:MAX_ENDPOINTS])


def _is_harmless(text: str) -> bool:
    """Return whether a text can be printed on a terminal without harm. All valid names of objects are harmless."""
    return text.isascii() and text.isprintable()


def read_placed_slice(raw: RawPlacedSlice, options: Options) -> EndpointSlice:
    """Return an EndpointSlice with its ready endpoints, and with hints if the options want them. Raises ValueError."""
    found = read_endpoint_slice(raw, options)
    if not options.topology:
        return found
    hints: list[Hints] = []
    for endpoint in raw.endpoints or ():
        if endpoint.conditions is None or endpoint.conditions.ready is not False:
            wanted = endpoint.hints or _Hints()
            of_endpoint = _hints(place_name(endpoint.zone), _names(wanted.for_zones), _names(wanted.for_nodes))
            hints += [of_endpoint] * len(endpoint.addresses)
    return found._replace(hints=tuple(hints[: len(found.endpoints)]))


def _names(items: list[_ForZone] | None) -> tuple[str, ...]:
    return tuple([place_name(each.name) for each in (items or [])[:_MAX_HINTS]])


# Many endpoints have equal hints, so they share one value.
_hints = lru_cache(maxsize=4096)(Hints)


@lru_cache(maxsize=16_384)  # a cluster has few nodes and zones of nodes, and many endpoints are in the same ones
def place_name(text: str | None) -> str:
    """Return `text`, the name of a node or of a zone of nodes.

    Return an empty text if no client class can have this name.
    """
    return intern(text) if text and len(text) <= MAX_NAME and _is_harmless(text) else ""


def read_namespace(raw: RawNamespace, options: Options) -> Namespace:
    """Return a Namespace. Raises ValueError."""
    return Namespace(as_label(raw.metadata.name, "name"))


def read_pod(raw: RawPod, options: Options) -> Pod:
    """Return a Pod. A Pod that has ended has no addresses. Raises ValueError."""
    status = raw.status or _PodStatus()
    ips = [ip.ip for ip in status.pod_ips or ()] or ([status.pod_ip] if status.pod_ip else [])
    has_ended = status.phase in ("Succeeded", "Failed")
    if has_ended:
        ips = []  # when a Pod has ended, another Pod may already have its address
    pod = Pod(as_label(raw.metadata.namespace, "namespace"), raw.metadata.name, tuple(map(parse_address, ips)))
    if not options.clients:
        return pod
    spec = raw.spec or _PodSpec()
    node = place_name(spec.node_name)
    if not node or not pod.addresses or len(pod.name) > MAX_OBJECT_NAME or not _is_harmless(pod.name):
        return pod._replace(node=node)
    host_ips = [each.ip for each in status.host_ips or ()] or ([status.host_ip] if status.host_ip else [])
    hosts = tuple(map(parse_address, host_ips[:_MAX_POD_ADDRESSES]))
    own = pod.addresses[:_MAX_POD_ADDRESSES]
    if spec.host_network or not set(own).isdisjoint(hosts):
        own, hosts = (), hosts or own
    started = _unix_time(status.start_time) or _unix_time(raw.metadata.creation_timestamp)
    given = raw.metadata.labels or {}
    labels = tuple([(key, given[key]) for key in options.client_labels if is_label_value(given.get(key, ""))])
    return pod._replace(node=node, running=RunningPod(pod.namespace, pod.name, own, hosts, started, labels))


def _unix_time(text: str | None) -> int:
    """Return a time in seconds since 1970, or 0 if the text isn't a time."""
    try:
        return max(0, int(datetime.fromisoformat(text or "").timestamp()))
    except (ValueError, OverflowError, OSError):
        return 0


def read_config_map(raw: RawConfigMap, options: Options) -> ConfigMap:
    """Return a ConfigMap."""
    meta = raw.metadata
    return ConfigMap(meta.namespace or "", meta.name, raw.data or {}, frozenset(raw.binary_data or ()), meta.uid or "")


_PROTOCOLS = {None: "tcp", "TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}


def as_label(text: str | None, what: str) -> str:
    """Return `text` if it is a valid DNS label. Otherwise raise ValueError with a message that begins with `what`."""
    if text is None or not name.is_kubernetes_label(text):
        raise ValueError(f"{what} {_quote(text or '')} is not a DNS label")
    return intern(text)


# Cached, because a changed slice usually has the same ports as before. Reading 10,000 ports takes 2 ms if they are
# cached, and 14 ms otherwise.
@lru_cache(maxsize=16_384)
def read_port(port_name: str | None, protocol: str | None, number: int) -> Port:
    """Return a port. Raises ValueError."""
    if protocol not in _PROTOCOLS:
        raise ValueError(f"protocol {_quote(str(protocol))} is not TCP, UDP or SCTP")
    if not 0 <= number <= 65535:
        raise ValueError(f"port {number} is not in 0–65535")
    label = as_label(port_name, "port name") if port_name else ""
    # In the name of an SRV record, an underscore comes before the name of the port. If this label would be too long,
    # the port is treated as a port without a name.
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
