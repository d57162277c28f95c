"""The table of kinds: which objects are read from a cluster, and what each is for.

A new kind of object is a file in `pydns.kube.producers` with its value, its decoder and its producer, a row here, and
its cases.
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
    """How an object is read: the struct of its JSON, and the function that reads that. See `pydns.kube.objects`."""

    raw: type[msgspec.Struct]
    read: Callable[[Any, Options], Object]  # raises ValueError with the reason for an object that DNS can't use


@dataclass(frozen=True, slots=True)
class Row:
    """The facts about a kind."""

    name: str  # the API's
    path: str  # of the list of all objects, in the API version that is read
    decoder: Decoder
    producers: tuple[MakeProducer, ...] = ()  # none: no records are made of it
    is_namespaced: bool = True
    is_selected: bool = True  # `--labels` applies to it
    field_selector: str = ""
    exposing: Decoder | None = None  # in place of `decoder` if there are external zones
    # Whether an external zone needs objects of the kind. None: they are always read. Kinds that only external zones
    # need are optional: a server may not serve them, and nobody waits for one that can't be listed.
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
    """The kinds of objects that are read. The value of a member is the API's name for the kind."""

    row: Row
    json: msgspec.json.Decoder[Any]  # decodes to `row.decoder.raw`
    exposing_json: msgspec.json.Decoder[Any]  # the same for `row.exposing`, else for `row.decoder`

    NAMESPACE = Row(
        "Namespace",
        "/api/v1/namespaces",
        Decoder(objects.RawNamespace, objects.read_namespace),
        (Namespaces,),
        is_namespaced=False,
        is_selected=False,  # a namespace's name exists whatever its labels
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
        """Make a row a member."""
        kind = object.__new__(cls)
        kind._value_ = row.name
        kind.row = row
        kind.json = msgspec.json.Decoder(row.decoder.raw)
        kind.exposing_json = msgspec.json.Decoder((row.exposing or row.decoder).raw)
        return kind

    @property
    def api_version(self) -> str:
        """Return the version as in `apiVersion`: `v1`, `discovery.k8s.io/v1`."""
        return self.row.path.removeprefix("/apis/").removeprefix("/api/").rpartition("/")[0]


BY_NAME = {kind.value: kind for kind in Kind}
NAMING_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE)  # those that tell how the server itself is called
_WITH_RECORDS = [kind for kind in Kind if kind.row.producers]
RECORD_KINDS = tuple([kind for kind in _WITH_RECORDS if kind.row.wanted_by is None])  # those of every cluster
EXTERNAL_KINDS = tuple([kind for kind in _WITH_RECORDS if kind.row.wanted_by is not None])


def external_kinds(zones: Iterable[ExternalZone]) -> tuple[Kind, ...]:
    """Return the kinds that are read for external zones alone."""
    zones = tuple(zones)
    return tuple([kind for kind in EXTERNAL_KINDS if any(_is_wanted(kind, zone) for zone in zones)])


def _is_wanted(kind: Kind, zone: ExternalZone) -> bool:
    return kind.row.wanted_by is not None and kind.row.wanted_by(zone)
