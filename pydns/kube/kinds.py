"""The table of kinds: which kinds of objects pydns reads from a cluster, and what pydns needs each kind for.

To add a kind, write a file in `pydns.kube.producers` with its value, its decoder and its producer. Then add a row to
this table, and test cases.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from pydns.config.model import ExternalSource, ExternalZone
from pydns.kube import objects
from pydns.kube.objects import Object, Options
from pydns.kube.producer import MakeProducer
from pydns.kube.producers import routes
from pydns.kube.producers.dns_endpoints import RawDNSEndpoint, read_dns_endpoint
from pydns.kube.producers.exposed_services import RawExposedService, read_exposed_service
from pydns.kube.producers.external import External
from pydns.kube.producers.ingresses import RawIngress, RawIngressClass, read_ingress, read_ingress_class
from pydns.kube.producers.namespaces import Namespaces
from pydns.kube.producers.nodes import RawNode, read_node
from pydns.kube.producers.pods import Pods
from pydns.kube.producers.services import Services


class Decoder(NamedTuple):
    """A struct for the JSON of an object, and a function that turns the struct into an `Object`.

    `pydns.kube.objects` contains examples.
    """

    raw: type[msgspec.Struct]
    read: Callable[[Any, Options], Object]  # raises ValueError with a reason if DNS can't use the object


@dataclass(frozen=True, slots=True)
class Row:
    """The facts about a kind."""

    name: str  # the name of the kind in the Kubernetes API
    path: str  # URL path that lists all objects of the kind; it contains the API version that pydns reads
    decoder: Decoder
    producers: tuple[MakeProducer, ...] = ()  # empty: the kind has no records
    is_namespaced: bool = True
    is_selected: bool = True  # True: the flag `--labels` selects objects of this kind
    field_selector: str = ""
    exposing: Decoder | None = None  # replaces `decoder` if the configuration has external zones
    # Returns whether an external zone needs objects of the kind. None: pydns always reads the kind. A kind that only
    # external zones need is optional: the API server may not have the kind. pydns doesn't wait for an optional kind
    # that can't be listed.
    wanted_by: Callable[[ExternalZone], bool] | None = None


def _by_source(source: ExternalSource) -> Callable[[ExternalZone], bool]:
    return lambda zone: source in zone.sources


def _route(name: str, plural: str) -> Row:
    return Row(
        name,
        f"/apis/gateway.networking.k8s.io/v1/{plural}",
        Decoder(routes.RawRoute, routes.READERS[name]),
        (External,),
        wanted_by=_by_source(ExternalSource.ROUTES),
    )


class Kind(Enum):
    """The kinds of objects that pydns reads. The value of a member is the name of the kind in the Kubernetes API."""

    row: Row
    json: msgspec.json.Decoder[Any]  # decodes to `row.decoder.raw`
    # Decodes to the struct of `row.exposing`; without `row.exposing`, of `row.decoder`.
    exposing_json: msgspec.json.Decoder[Any]

    NAMESPACE = Row(
        "Namespace",
        "/api/v1/namespaces",
        Decoder(objects.RawNamespace, objects.read_namespace),
        (Namespaces,),
        is_namespaced=False,
        is_selected=False,  # the DNS name of a namespace exists, whatever labels the namespace has
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
        (Services, External),
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
        wanted_by=lambda zone: ExternalSource.INGRESSES in zone.sources and bool(zone.ingress_classes),
    )
    GATEWAY = Row(
        "Gateway",
        "/apis/gateway.networking.k8s.io/v1/gateways",
        Decoder(routes.RawGateway, routes.read_gateway),
        (External,),
        wanted_by=_by_source(ExternalSource.ROUTES),
    )
    HTTP_ROUTE = _route("HTTPRoute", "httproutes")
    GRPC_ROUTE = _route("GRPCRoute", "grpcroutes")
    TLS_ROUTE = _route("TLSRoute", "tlsroutes")
    NODE = Row(
        "Node",
        "/api/v1/nodes",
        Decoder(RawNode, read_node),
        (External,),
        is_namespaced=False,
        is_selected=False,
        wanted_by=_by_source(ExternalSource.NODES),
    )
    DNS_ENDPOINT = Row(
        "DNSEndpoint",
        "/apis/externaldns.k8s.io/v1alpha1/dnsendpoints",
        Decoder(RawDNSEndpoint, read_dns_endpoint),
        (External,),
        wanted_by=_by_source(ExternalSource.DNSENDPOINTS),
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
    def api_version(self) -> str:
        """Return the API version as manifests write it in `apiVersion`, for example `discovery.k8s.io/v1`."""
        return self.row.path.removeprefix("/apis/").removeprefix("/api/").rpartition("/")[0]


BY_NAME = {kind.value: kind for kind in Kind}
NAMING_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE)  # the kinds that give this DNS server its own name
_WITH_RECORDS = [kind for kind in Kind if kind.row.producers]
RECORD_KINDS = tuple([kind for kind in _WITH_RECORDS if kind.row.wanted_by is None])  # the kinds that every cluster has
EXTERNAL_KINDS = tuple([kind for kind in _WITH_RECORDS if kind.row.wanted_by is not None])


def external_kinds(zones: Iterable[ExternalZone]) -> tuple[Kind, ...]:
    """Return the kinds that only external zones need, if one of `zones` needs them."""
    zones = tuple(zones)
    return tuple([kind for kind in EXTERNAL_KINDS if any(_is_wanted(kind, zone) for zone in zones)])


def _is_wanted(kind: Kind, zone: ExternalZone) -> bool:
    return kind.row.wanted_by is not None and kind.row.wanted_by(zone)
