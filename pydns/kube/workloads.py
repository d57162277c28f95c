"""Turns manifests into the objects of a cluster, and completes them as the API server and the controllers would.

This module does what the control plane does with Services, Pods, EndpointSlices, legacy Endpoints and Namespaces. The
module reads no files. `read` checks one document. `build` makes the objects of the cluster from all valid manifests,
and never fails. Rules:

1. A Service without a ClusterIP gets a ClusterIP for each of its IP families (`cluster_ips`), unless it is headless or
   of type ExternalName.
2. A Service with a selector gets the EndpointSlices that the EndpointSlice controller would make from the Pods.
3. A Service without a selector gets the slices that the EndpointSliceMirroring controller would make from the Endpoints
   with the same name. Endpoints without such a Service have no effect. A slice may have any size, because splitting it
   at 100 endpoints would change no record.
4. EndpointSlices in manifests are used unchanged, with one exception. A dump of a cluster contains slices that the
   controllers of rules 2 and 3 have written. If these rules make slices for the same Service, the slices in the dump
   are left out.
5. The namespace of every object exists, even if it has no manifest. An object without a namespace is in `default`.
6. If an object has several manifests, the last one is used, as with `kubectl apply -f DIR`.
7. A Pod without conditions is ready if its phase is Running or missing. A Pod written by hand has no conditions and no
   phase.
8. A field on which records depend gets the API server's default if it is null, empty or missing.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import msgspec

from pydns.config import selector
from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.kube import cluster_ips, objects
from pydns.kube.documents import Path
from pydns.kube.kinds import BY_NAME, OPTIONAL_KINDS, RECORD_KINDS, Kind
from pydns.kube.objects import Observed, Ref


class Manifest(NamedTuple):
    """The manifest of an object that has passed all checks."""

    kind: str
    namespace: str  # the namespace of the object; empty for a Namespace
    name: str
    labels: Mapping[str, str]
    source: dict[str, Any]  # the object as in the manifest, with its namespace and without its resourceVersion
    read: Any  # the fields that the rules need, as a _Service, _Pod, _Endpoints or _Object


class Fault(NamedTuple):
    """A mistake in an object, and the path in the document that leads to it."""

    path: Path
    reason: str


class Ignored(NamedTuple):
    """An object that doesn't affect DNS, for example a Deployment."""

    kind: str


def read(document: Any, kinds: Collection[Kind] = RECORD_KINDS) -> Iterator[Manifest | Fault | Ignored]:
    """Yield the objects of one document. The objects of a List are its items. An empty document has no objects.

    Optional kinds are read only if they are in `kinds`. Only the fields that rules or records need are checked, and
    objects of kinds that don't affect DNS aren't checked. For an object with mistakes, one `Fault` is yielded.
    """
    if document is not None:
        unread = frozenset(kind.value for kind in OPTIONAL_KINDS if kind not in kinds)
        yield from _read(document, (), {}, unread)


_T = TypeVar("_T")


class Memory:
    """Results of the last call of `build`, which the next call reuses for manifests that haven't changed.

    A manifest hasn't changed if it is the same Python object. The key of a result contains the ids of the Python
    objects from which the result was made. These objects are stored with the result, so that their ids stay valid.
    """

    def __init__(self) -> None:
        self._before: dict[tuple[object, ...], tuple[object, Any]] = {}
        self._now: dict[tuple[object, ...], tuple[object, Any]] = {}

    def begin(self) -> None:
        """Forget the results that the last call of `build` didn't use."""
        self._before, self._now = self._now, {}

    def recall(self, key: tuple[object, ...], parts: object, make: Callable[[], _T]) -> _T:
        """Return the stored result for `key`. If no result is stored, call `make`, and store its result.

        `parts` contains the objects whose ids are in `key`.
        """
        found = self._now[key] = self._before.get(key) or (parts, make())
        made: _T = found[1]
        return made


def build(
    manifests: Iterable[Manifest],
    options: objects.Options = objects.DEFAULTS,
    labels: selector.Selector | None = None,
    memory: Memory | None = None,
    namespace_labels: selector.Selector | None = None,
) -> dict[Ref, Observed]:
    """Return every object of the cluster that `manifests` describe.

    `labels` selects Services, EndpointSlices and Pods, as an API server does. For this, slices made from Pods have the
    labels of their Service, and slices made from Endpoints have the labels of the Endpoints. But Pods that aren't
    selected are still endpoints of their Services. Calls with the same `memory` must have the same `options`.
    """
    memory = memory or Memory()
    memory.begin()
    known = {(manifest.kind, manifest.namespace, manifest.name): manifest for manifest in manifests}
    of_kind: dict[str, list[Manifest]] = {kind: [] for kind in _READ}
    for key in sorted(known):
        of_kind[key[0]].append(known[key])

    derived = list(_derived_slices(of_kind, known, memory))
    replaced = {(each["metadata"]["namespace"], each["metadata"]["labels"][_SERVICE_NAME]) for each in derived}
    slices = [
        each.source
        for each in of_kind["EndpointSlice"]
        if each.labels.get(_MANAGED_BY) not in (_SLICE_CONTROLLER, _MIRRORING_CONTROLLER)
        or (each.namespace, each.labels.get(_SERVICE_NAME)) not in replaced
    ]
    namespaces = sorted({namespace or name for kind, namespace, name in known if namespace or kind == "Namespace"})
    if namespace_labels is not None:
        namespaces = [name for name in namespaces if namespace_labels.matches(_labels_of_namespace(name, known))]

    chosen = [
        *((Kind.SERVICE, each) for each in _with_cluster_ips(of_kind["Service"], memory)),
        *((Kind.ENDPOINT_SLICE, each) for each in (*derived, *slices)),
        *((kind, each.source) for kind in _AS_WRITTEN for each in of_kind[kind.value]),
    ]
    if labels is not None:
        chosen = [
            (kind, each)
            for kind, each in chosen
            if not kind.row.is_selected or labels.matches(each["metadata"].get("labels") or {})
        ]
    found = [
        memory.recall(("object", id(each)), each, partial(objects.parse, kind, each, options)) for kind, each in chosen
    ]
    found += [objects.parse(Kind.NAMESPACE, {"metadata": {"name": name}}) for name in namespaces]
    return {observed.ref: observed for observed in found}


def _labels_of_namespace(name: str, known: Mapping[tuple[str, str, str], Manifest]) -> dict[str, str]:
    """Return the labels of a Namespace, with the label that the API server adds to every Namespace."""
    written = known.get(("Namespace", "", name))
    return {**(written.labels if written is not None else {}), "kubernetes.io/metadata.name": name}


# Rule 1: ClusterIPs.


def _with_cluster_ips(services: list[Manifest], memory: Memory) -> Iterator[dict[str, Any]]:
    taken = {parse_address(ip) for each in services for ip in each.read.spec.addresses}
    for each in services:
        spec = each.read.spec
        if spec.type == "ExternalName" or spec.headless:
            yield each.source
            continue
        given = spec.addresses
        missing = [family for family in spec.families if family not in map(_family, given)]
        ips = given + [cluster_ips.allocate(each.namespace, each.name, family, taken) for family in missing]
        yield memory.recall(("ips", id(each), *ips), each, partial(_with_ips, each.source, ips))


def _with_ips(service: dict[str, Any], ips: list[str]) -> dict[str, Any]:
    return {**service, "spec": {**service["spec"], "clusterIPs": ips}}


# Rules 2 and 3: EndpointSlices.


def _derived_slices(
    of_kind: dict[str, list[Manifest]], known: dict[tuple[str, str, str], Manifest], memory: Memory
) -> Iterator[dict[str, Any]]:
    # (namespace, key and value of a label) -> the Pods with this label. So a Service needn't be compared with every
    # Pod.
    labelled: dict[tuple[str, str, str], list[Manifest]] = {}
    for pod in of_kind["Pod"]:
        for key, value in pod.labels.items():
            labelled.setdefault((pod.namespace, key, value), []).append(pod)
    for service in of_kind["Service"]:
        spec = service.read.spec
        if not spec.selector:
            endpoints = known.get(("Endpoints", service.namespace, service.name))
            if endpoints is not None and _is_mirrored(endpoints):
                yield from memory.recall(("mirrored", id(endpoints)), endpoints, partial(_mirror, endpoints))
        elif spec.type != "ExternalName":
            candidates = labelled.get((service.namespace, *next(iter(spec.selector.items()))), [])
            pods = [pod for pod in candidates if selector.selects(spec.selector, pod.labels) and not _has_ended(pod)]
            parts = (service, *pods)
            yield from memory.recall(("slices", *map(id, parts)), parts, partial(_slices_of_pods, service, pods))


def _slices_of_pods(service: Manifest, pods: list[Manifest]) -> list[dict[str, Any]]:
    spec = service.read.spec
    slices = []
    for family in spec.families:
        by_ports: dict[tuple[_Port, ...], list[dict[str, Any]]] = {}
        for pod in pods:
            addresses = [ip for ip in pod.read.status.addresses if _family(ip) == family]
            if addresses:
                endpoint: dict[str, Any] = {
                    "addresses": addresses,
                    "conditions": {"ready": bool(spec.publish_not_ready_addresses) or _is_ready(pod.read)},
                    "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name},
                }
                if pod.read.spec.hostname and pod.read.spec.subdomain == service.name:
                    endpoint["hostname"] = pod.read.spec.hostname
                by_ports.setdefault(_ports(spec, pod.read.spec), []).append(endpoint)
        for ports, endpoints in by_ports.items():
            slices.append(_slice(service, _SLICE_CONTROLLER, family, ports, endpoints))
    return slices


def _has_ended(pod: Manifest) -> bool:
    return pod.read.status.phase in ("Succeeded", "Failed")


def _is_ready(pod: "_Pod") -> bool:
    if pod.metadata.deletion_timestamp:
        return False
    if pod.status.conditions:
        return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions)
    return pod.status.phase in (None, "Running")


def _ports(spec: "_ServiceSpec", pod: "_PodSpec") -> "tuple[_Port, ...]":
    found = []
    for port in spec.ports or ():
        protocol = port.protocol or "TCP"
        number = port.target_port or port.port  # 0 and "" are treated like a missing field
        if isinstance(number, str):
            named = pod.named_ports.get((number, protocol))
            if named is None:
                continue
            number = named
        found.append(_Port(port.name or "", protocol, number))
    return tuple(found)


def _is_mirrored(endpoints: Manifest) -> bool:
    metadata = endpoints.read.metadata
    return endpoints.labels.get(_SKIP_MIRROR) != "true" and _LEADER not in (metadata.annotations or {})


def _mirror(endpoints: Manifest) -> list[dict[str, Any]]:
    by_ports: dict[tuple[str, tuple[_Port, ...]], list[dict[str, Any]]] = {}
    for subset in endpoints.read.subsets or ():
        ports = tuple([_Port(port.name or "", port.protocol or "TCP", port.port) for port in subset.ports or ()])
        for addresses, ready in ((subset.addresses, True), (subset.not_ready_addresses, False)):
            for address in addresses or ():
                endpoint = {"addresses": [address.ip], "conditions": {"ready": ready}, "hostname": address.hostname}
                if address.target_ref:
                    endpoint["targetRef"] = {"kind": address.target_ref.kind, "name": address.target_ref.name}
                by_ports.setdefault((_family(address.ip), ports), []).append(endpoint)
    return [_slice(endpoints, _MIRRORING_CONTROLLER, family, ports, made) for (family, ports), made in by_ports.items()]


class _Port(NamedTuple):
    name: str
    protocol: str
    number: int


def _slice(
    owner: Manifest, controller: str, family: str, ports: tuple[_Port, ...], endpoints: list[dict[str, Any]]
) -> dict[str, Any]:
    # The name depends on the ports, but not on the Pods. So if a Pod starts or ends, the slice keeps its name.
    suffix = blake2b(repr(ports).encode(), digest_size=3).hexdigest()
    return {
        "metadata": {
            "namespace": owner.namespace,
            "name": f"{owner.name}-{family.lower()}-{suffix}",
            "labels": {**owner.labels, _SERVICE_NAME: owner.name, _MANAGED_BY: controller},
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": port.name, "protocol": port.protocol, "port": port.number} for port in ports],
    }


_SERVICE_NAME = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_SLICE_CONTROLLER = "endpointslice-controller.k8s.io"
_MIRRORING_CONTROLLER = "endpointslicemirroring-controller.k8s.io"
_SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"  # the annotation of Endpoints that are a lock for leader election


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


# The next structs contain the fields that the rules need. The structs in `pydns.kube.objects` contain the fields that
# records need.


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class _Object(msgspec.Struct):
    metadata: _Meta


class _ServicePort(msgspec.Struct, rename="camel"):
    port: int
    name: str | None = None
    protocol: str | None = None
    target_port: int | str | None = None


class _ServiceSpec(msgspec.Struct, rename="camel"):
    type: str | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    selector: dict[str, str] | None = None
    ports: list[_ServicePort] | None = None
    publish_not_ready_addresses: bool | None = None

    @property
    def headless(self) -> bool:
        return "None" in (self.cluster_ip, *(self.cluster_ips or ()))

    @property
    def addresses(self) -> list[str]:
        if self.type == "ExternalName" or self.headless:
            return []
        return self.cluster_ips or ([self.cluster_ip] if self.cluster_ip else [])

    @property
    def families(self) -> list[str]:
        """Return the IP families of a Service: those in `ipFamilies` and those of its addresses. The default is IPv4.

        If the Service has a dual-stack policy, the missing family is added.
        """
        asked = list(dict.fromkeys([*(self.ip_families or ()), *map(_family, self.addresses)])) or ["IPv4"]
        if self.ip_family_policy in ("PreferDualStack", "RequireDualStack"):
            asked += [family for family in _FAMILIES if family not in asked]
        return asked


class _Service(msgspec.Struct):
    metadata: _Meta
    spec: _ServiceSpec


class _ContainerPort(msgspec.Struct, rename="camel"):
    container_port: int
    name: str | None = None
    protocol: str | None = None


class _Container(msgspec.Struct, rename="camel"):
    ports: list[_ContainerPort] | None = None
    restart_policy: str | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    hostname: str | None = None
    subdomain: str | None = None

    @property
    def named_ports(self) -> dict[tuple[str, str], int]:
        """Return a dict: name and protocol of a port -> its number.

        If several ports have the same name, the first one is used. Ports of an init container are left out, unless the
        container is a sidecar.
        """
        sidecars = [each for each in self.init_containers or () if each.restart_policy == "Always"]
        ports = [port for each in [*(self.containers or ()), *sidecars] for port in each.ports or ()]
        return {(port.name, port.protocol or "TCP"): port.container_port for port in reversed(ports) if port.name}


class _Condition(msgspec.Struct):
    type: str
    status: str


class _PodIP(msgspec.Struct):
    ip: str


class _PodStatus(msgspec.Struct, rename="camel"):
    phase: str | None = None
    conditions: list[_Condition] | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[_PodIP] | None = msgspec.field(name="podIPs", default=None)

    @property
    def addresses(self) -> list[str]:
        return [each.ip for each in self.pod_ips or ()] or ([self.pod_ip] if self.pod_ip else [])


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    given_status: _PodStatus | None = msgspec.field(name="status", default=None)

    @property
    def status(self) -> _PodStatus:
        return self.given_status or _PodStatus()


class _TargetRef(msgspec.Struct):
    kind: str | None = None
    name: str | None = None


class _EndpointAddress(msgspec.Struct, rename="camel"):
    ip: str
    hostname: str | None = None
    target_ref: _TargetRef | None = None


class _EndpointPort(msgspec.Struct):
    port: int
    name: str | None = None
    protocol: str | None = None


class _Subset(msgspec.Struct, rename="camel"):
    addresses: list[_EndpointAddress] | None = None
    not_ready_addresses: list[_EndpointAddress] | None = None
    ports: list[_EndpointPort] | None = None


class _Endpoints(msgspec.Struct):
    metadata: _Meta
    subsets: list[_Subset] | None = None


# Checking.

_KINDS = RECORD_KINDS + OPTIONAL_KINDS
_READ: dict[str, tuple[tuple[str, ...], type[Any]]] = {
    **{kind.value: (kind.api_versions, _Object) for kind in _KINDS},
    # The kinds whose fields the rules read.
    "Endpoints": (("v1",), _Endpoints),
    "Pod": (("v1",), _Pod),
    "Service": (("v1",), _Service),
}
_CLUSTER_WIDE = frozenset(kind.value for kind in _KINDS if not kind.row.is_namespaced)
# The kinds whose objects are used as they are in the manifest.
_AS_WRITTEN = [kind for kind in _KINDS if kind not in (Kind.NAMESPACE, Kind.SERVICE, Kind.ENDPOINT_SLICE)]
_FAMILIES = ("IPv4", "IPv6")
_POLICIES = (None, "SingleStack", "PreferDualStack", "RequireDualStack")


def _read(
    document: Any, path: Path, defaults: Mapping[str, str], unread: frozenset[str]
) -> Iterator[Manifest | Fault | Ignored]:
    if not isinstance(document, dict):
        yield Fault(path, f"is {_describe(document)}, wanted a Kubernetes object (a mapping with apiVersion and kind)")
        return
    document = {**defaults, **document}
    kind, api_version = document.get("kind"), document.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(api_version, str):
        missing = "kind" if not isinstance(kind, str) else "apiVersion"
        yield Fault((*path, missing), f"{missing} is {_describe(document.get(missing))}, wanted a string")
    elif kind.endswith("List") and kind.removesuffix("List") in ("", *_READ):
        items = [] if "items" in document and document["items"] is None else document.get("items")
        if not isinstance(items, list):
            yield Fault((*path, "items"), f"{kind}: items is {_describe(items)}, wanted a list")
            return
        # In a list from the API, such as a ServiceList, the items have no kind and no apiVersion. kubectl adds both.
        inherited = {} if kind == "List" else {"kind": kind.removesuffix("List"), "apiVersion": api_version}
        for index, item in enumerate(items):
            yield from _read(item, (*path, "items", index), inherited, unread)
    elif kind not in _READ or kind in unread or _group(api_version) not in ("", _group(_READ[kind][0][0])):
        # Pydns doesn't read this kind, or another API group has a kind with this name, such as Knative's Service.
        yield Ignored(kind)
    else:
        yield _check(document, kind, path)


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _check(document: dict[str, Any], kind: str, path: Path) -> Manifest | Fault | Ignored:
    document = _with_defaults(document, kind)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    namespace = "" if kind in _CLUSTER_WIDE else metadata.get("namespace", "default")
    called = f"{kind} {namespace}{'/' if namespace else ''}{metadata.get('name') or '?'}"
    versions, wanted = _READ[kind]
    if (found := document["apiVersion"]) not in versions:
        reason = f"apiVersion is {found!r}, wanted {' or '.join(map(repr, versions))}"
        return Fault((*path, "apiVersion"), f"{called}: {reason}")
    try:
        made = msgspec.convert(document, wanted)
    except msgspec.ValidationError as error:
        where, reason = _explain(document, str(error))
        return Fault((*path, *where), f"{called}: {reason}")
    labels = made.metadata.labels or {}
    manifest = Manifest(kind, namespace, made.metadata.name, labels, document, made)
    if kind == "EndpointSlice" and document.get("addressType") == "FQDN":
        return Ignored(kind)  # a slice with this address type is valid, but has no records
    if kind == "Endpoints" and not name.is_kubernetes_label(manifest.name):
        # These Endpoints are a lock, such as k8s.io-minikube-hostpath: no Service can have such a name.
        return Ignored(kind)
    for where, reason in _faults(manifest):
        return Fault((*path, *where), f"{called}: {reason}")
    return manifest


def _with_defaults(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return an object with the name, the namespace and the defaults that the API server would add.

    Defaults replace fields that are null or empty. A value of a wrong type is kept, and `_check` reports it.
    """
    metadata = document.get("metadata")
    if isinstance(metadata, dict):
        kept = {key: value for key, value in metadata.items() if key != "resourceVersion"}
        if kind not in _CLUSTER_WIDE:
            kept["namespace"] = kept.get("namespace") or "default"
        prefix = kept.get("generateName")
        if not kept.get("name") and isinstance(prefix, str) and prefix:
            # The API server adds a random suffix to `generateName`. Here, the suffix is a hash, so that the name is the
            # same after a restart.
            kept["name"] = prefix[: _LONGEST_NAME - _SUFFIX] + _digest(document)
        document = {**document, "metadata": kept}
    for path in _TEXTS_BY_KEY:
        document = _replaced(document, path, _without_nulls)
    completed: dict[str, Any] = _replaced(document, _PORTS.get(kind, ()), _without_empty_protocols)
    return completed


def _digest(document: dict[str, Any]) -> str:
    try:
        text = repr(document)
    except RecursionError:  # repr() fails for some deeply nested values that the reader of documents accepts
        text = ""
    return blake2b(text.encode("utf-8", "replace"), digest_size=3).hexdigest()[:_SUFFIX]


_LONGEST_NAME, _SUFFIX = 63, 5  # maximum length of a name from `generateName`, and length of its suffix
_TEXTS_BY_KEY = (("metadata", "labels"), ("metadata", "annotations"), ("spec", "selector"))
_PORTS = {"Service": ("spec", "ports"), "EndpointSlice": ("ports",)}


def _replaced(value: Any, path: tuple[str, ...], make: Callable[[Any], Any]) -> Any:
    """Return a copy of `value` in which the result of `make` replaces the value at `path`.

    If nothing is at `path`, return `value` itself.
    """
    if not path or not isinstance(value, dict) or not value.get(path[0]):
        return value
    found = value[path[0]]
    return {**value, path[0]: _replaced(found, path[1:], make) if len(path) > 1 else make(found)}


def _without_nulls(texts: Any) -> Any:
    if not isinstance(texts, dict) or None not in texts.values():
        return texts
    return {key: "" if value is None else value for key, value in texts.items()}


def _without_empty_protocols(ports: Any) -> Any:
    if not isinstance(ports, list):
        return ports
    return [
        {**each, "protocol": "TCP"} if isinstance(each, dict) and each.get("protocol") == "" else each for each in ports
    ]


def _faults(manifest: Manifest) -> Iterator[tuple[Path, str]]:
    """Yield the mistakes that keep `build` from using an object. The API server would reject the object, too."""
    made = manifest.read
    if isinstance(made, _Service):
        for index, family in enumerate(made.spec.ip_families or ()):
            if family not in _FAMILIES:
                yield ("spec", "ipFamilies", index), f"ipFamilies has {family!r}, wanted IPv4 or IPv6"
        if made.spec.ip_family_policy not in _POLICIES:
            found = made.spec.ip_family_policy
            yield (
                ("spec", "ipFamilyPolicy"),
                f"ipFamilyPolicy is {found!r}, wanted SingleStack, PreferDualStack or RequireDualStack",
            )
        for index, service_port in enumerate(made.spec.ports or ()):
            number = service_port.target_port
            if isinstance(number, int) and not 0 <= number < 65536:
                yield ("spec", "ports", index, "targetPort"), f"targetPort {number} is not in 1–65535"
    elif isinstance(made, _Pod):
        for field, containers in (("containers", made.spec.containers), ("initContainers", made.spec.init_containers)):
            for index, container in enumerate(containers or ()):
                for port_index, port in enumerate(container.ports or ()):
                    if not 0 < port.container_port < 65536:
                        where = ("spec", field, index, "ports", port_index, "containerPort")
                        yield where, f"containerPort {port.container_port} is not in 1–65535"
        if made.spec.hostname and not name.is_kubernetes_label(made.spec.hostname):
            yield ("spec", "hostname"), f"hostname {made.spec.hostname!r} is not a DNS label"
    if isinstance(made, _Endpoints):
        if not name.is_kubernetes_label(manifest.namespace):
            yield ("metadata", "namespace"), f"namespace {manifest.namespace!r} is not a DNS label"
        seen = [objects.parse(Kind.ENDPOINT_SLICE, each) for each in _mirror(manifest)]
    else:
        seen = [objects.parse(BY_NAME[manifest.kind], manifest.source)]
    for observed in seen:
        if isinstance(observed.value, objects.Skipped):
            yield _explain(manifest.source, observed.value.reason)


_AT = re.compile(r"(?P<problem>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISMATCH = re.compile(r"Expected `(?P<wanted>.*)`, got `.*`")
_TYPES = {"int": "a number", "str": "a string", "bool": "true or false", "array": "a list", "object": "a mapping"}


def _explain(document: Any, reason: str) -> tuple[Path, str]:
    """Return the path in an error message of msgspec, and a reason with the found value and the wanted type."""
    at = _AT.fullmatch(reason)
    if at is None:
        return (), reason
    path: Path = tuple([int(index) if index else key for key, index in _STEP.findall(at["path"])])
    mismatch = _MISMATCH.fullmatch(at["problem"])
    where = at["path"].removeprefix(".")
    if mismatch is None:
        return path, f"{where}: {at['problem'].replace('`', '')}"
    found = document
    for step in path:
        found = found[step]
    # In a mapping, the message of msgspec doesn't contain the key. All mappings in the structs have texts as values. So
    # the wrong value is one that isn't a text.
    if where.endswith("[...]"):
        key, found = next((key, value) for key, value in found.items() if not isinstance(value, str))
        path, where = (*path, key), where.replace("[...]", f"[{key!r}]")
    wanted = [_TYPES.get(each, each) for each in mismatch["wanted"].split(" | ") if each != "null"]
    return path, f"{where} is {_describe(found)}, wanted {' or '.join(wanted)}"


def _describe(value: Any) -> str:
    match value:
        case None:
            return "missing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the string {value[:80]!r}"
        case bool():
            return f"the boolean {str(value).lower()}"
        case _:
            return f"the number {value}"
