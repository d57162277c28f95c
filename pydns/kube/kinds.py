"""The table of kinds: which kinds of objects pydns reads from a cluster, and how it uses the objects of each kind.

To add a kind, write a file in `pydns.kube.producers` with a type for its objects, a decoder and a producer. Then add a
row to the table `Kind`, and test cases.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from pydns.config.model import ExternalSource
from pydns.kube import objects
from pydns.kube.objects import Object, Options
from pydns.kube.producer import MakeProducer, ZoneOptions
from pydns.kube.producers import gateways, routes
from pydns.kube.producers.cluster_clients import ClusterClients
from pydns.kube.producers.dns_endpoints import RawDNSEndpoint, read_dns_endpoint
from pydns.kube.producers.exposed_services import RawExposedService, read_exposed_service
from pydns.kube.producers.external import External
from pydns.kube.producers.ingresses import RawIngress, RawIngressClass, read_ingress, read_ingress_class
from pydns.kube.producers.namespaces import Namespaces
from pydns.kube.producers.nodes import RawNode, read_node
from pydns.kube.producers.pods import Pods
from pydns.kube.producers.service_imports import RawServiceImport, ServiceImports, read_service_import
from pydns.kube.producers.services import Services


class Decoder(NamedTuple):
    """How the objects of a kind are read: a struct for their JSON, and a function that turns it into an `Object`.

    `pydns.kube.objects` has examples.
    """

    raw: type[msgspec.Struct]
    read: Callable[[Any, Options], Object]  # this raises ValueError with the reason if DNS can't use the object


@dataclass(frozen=True, slots=True)
class Row:
    """The properties of a kind."""

    name: str  # the name of the kind in the Kubernetes API
    path: str  # the URL path that lists all objects of the kind, in the newest API version that pydns reads
    decoder: Decoder
    producers: tuple[MakeProducer, ...] = ()  # functions that make producers; empty if the objects have no records
    is_namespaced: bool = True
    is_selected: bool = True  # whether the flag `--labels` selects objects of this kind
    field_selector: str = ""
    # Used instead of `decoder` if external zones or answers for a zone of nodes need more fields.
    exposing: Decoder | None = None
    # If `wanted_by` is None, pydns always reads the kind. Otherwise, `wanted_by` returns whether zones with the given
    # options need the kind. Then the kind is optional: the API server may not have it, and pydns doesn't wait for it if
    # it can't be listed.
    wanted_by: Callable[[ZoneOptions], bool] | None = None
    older: tuple[str, ...] = ()  # the older API versions that have the same fields, the newest first

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the URL path that lists the objects in each API version, the newest version first."""
        group, _, plural = self.path.rsplit("/", 2)
        return (self.path, *(f"{group}/{version}/{plural}" for version in self.older))


def _by_source(source: ExternalSource) -> Callable[[ZoneOptions], bool]:
    return lambda options: any(source in zone.sources for zone in options.external)


_has_nodes = _by_source(ExternalSource.NODES)


def _by_class(options: ZoneOptions) -> bool:
    return any(ExternalSource.INGRESSES in zone.sources and zone.ingress_classes for zone in options.external)


def _route(name: str, plural: str, *older: str) -> Row:
    return Row(
        name,
        f"/apis/gateway.networking.k8s.io/v1/{plural}",
        Decoder(routes.RawRoute, routes.READERS[name]),
        (External,),
        wanted_by=_by_source(ExternalSource.ROUTES),
        older=older,
    )


class Kind(Enum):
    """The kinds of objects that pydns reads. The value of a member is the name of the kind in the Kubernetes API."""

    row: Row
    json: msgspec.json.Decoder[Any]  # decodes JSON to the struct of `row.decoder`
    # Decodes JSON to the struct of `row.exposing`, or to that of `row.decoder` if `row.exposing` is None.
    exposing_json: msgspec.json.Decoder[Any]

    NAMESPACE = Row(
        "Namespace",
        "/api/v1/namespaces",
        Decoder(objects.RawNamespace, objects.read_namespace),
        (Namespaces, Services, Pods, ServiceImports),
        is_namespaced=False,
        is_selected=False,  # a namespace has its DNS name whatever its labels are
    )
    SERVICE = Row(
        "Service",
        "/api/v1/services",
        Decoder(objects.RawService, objects.read_service),
        (Services, External),
        exposing=Decoder(RawExposedService, read_exposed_service),
    )
    ENDPOINT_SLICE = Row(
        "EndpointSlice",
        "/apis/discovery.k8s.io/v1/endpointslices",
        Decoder(objects.RawEndpointSlice, objects.read_endpoint_slice),
        (Services, External, ServiceImports, ClusterClients),
        exposing=Decoder(objects.RawPlacedSlice, objects.read_placed_slice),
    )
    POD = Row(
        "Pod",
        "/api/v1/pods",
        Decoder(objects.RawPod, objects.read_pod),
        (Pods,),
        field_selector="status.phase!=Succeeded,status.phase!=Failed",
    )
    INGRESS = Row(
        "Ingress",
        "/apis/networking.k8s.io/v1/ingresses",
        Decoder(RawIngress, read_ingress),
        (External,),
        wanted_by=_by_source(ExternalSource.INGRESSES),
    )
    INGRESS_CLASS = Row(
        "IngressClass",
        "/apis/networking.k8s.io/v1/ingressclasses",
        Decoder(RawIngressClass, read_ingress_class),
        (External,),
        is_namespaced=False,
        is_selected=False,
        wanted_by=_by_class,
    )
    GATEWAY = Row(
        "Gateway",
        "/apis/gateway.networking.k8s.io/v1/gateways",
        Decoder(gateways.RawGateway, gateways.read_gateway),
        (External,),
        wanted_by=_by_source(ExternalSource.ROUTES),
        older=("v1beta1",),
    )
    LISTENER_SET = Row(
        "ListenerSet",
        "/apis/gateway.networking.k8s.io/v1/listenersets",
        Decoder(gateways.RawListenerSet, gateways.read_listener_set),
        (External,),
        wanted_by=_by_source(ExternalSource.ROUTES),
    )
    HTTP_ROUTE = _route("HTTPRoute", "httproutes", "v1beta1")
    GRPC_ROUTE = _route("GRPCRoute", "grpcroutes", "v1alpha2")
    TLS_ROUTE = _route("TLSRoute", "tlsroutes", "v1alpha3", "v1alpha2")
    TCP_ROUTE = _route("TCPRoute", "tcproutes", "v1alpha2")
    UDP_ROUTE = _route("UDPRoute", "udproutes", "v1alpha2")
    NODE = Row(
        "Node",
        "/api/v1/nodes",
        Decoder(RawNode, read_node),
        (External, ClusterClients),
        is_namespaced=False,
        is_selected=False,
        wanted_by=lambda options: _has_nodes(options) or options.has_client_classes,
    )
    DNS_ENDPOINT = Row(
        "DNSEndpoint",
        "/apis/externaldns.k8s.io/v1alpha1/dnsendpoints",
        Decoder(RawDNSEndpoint, read_dns_endpoint),
        (External,),
        wanted_by=_by_source(ExternalSource.DNSENDPOINTS),
    )
    SERVICE_IMPORT = Row(
        "ServiceImport",
        "/apis/multicluster.x-k8s.io/v1beta1/serviceimports",
        Decoder(RawServiceImport, read_service_import),
        (ServiceImports,),
        wanted_by=lambda options: bool(options.multicluster),
        older=("v1alpha1",),
    )
    CONFIG_MAP = Row("ConfigMap", "/api/v1/configmaps", Decoder(objects.RawConfigMap, objects.read_config_map))

    def __new__(cls, row: Row) -> "Kind":
        """Return the member for a row, with its JSON decoders."""
        kind = object.__new__(cls)
        kind._value_ = row.name
        kind.row = row
        kind.json = msgspec.json.Decoder(row.decoder.raw)
        kind.exposing_json = msgspec.json.Decoder((row.exposing or row.decoder).raw)
        return kind

    @property
    def api_versions(self) -> tuple[str, ...]:
        """Return the API versions as texts for `apiVersion`, such as `discovery.k8s.io/v1`.

        The newest version comes first.
        """
        found = [path.removeprefix("/apis/").removeprefix("/api/") for path in self.row.paths]
        return tuple([each.rpartition("/")[0] for each in found])


BY_NAME = {kind.value: kind for kind in Kind}
NAMING_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE)  # the kinds that show which Services give this DNS server a name
_WITH_RECORDS = [kind for kind in Kind if kind.row.producers]
# All kinds with records, except optional kinds.
RECORD_KINDS = tuple([kind for kind in _WITH_RECORDS if kind.row.wanted_by is None])
OPTIONAL_KINDS = tuple([kind for kind in _WITH_RECORDS if kind.row.wanted_by is not None])


def optional_kinds(options: ZoneOptions) -> tuple[Kind, ...]:
    """Return the optional kinds that zones with these options need."""
    return tuple([kind for kind in OPTIONAL_KINDS if kind.row.wanted_by is not None and kind.row.wanted_by(options)])
