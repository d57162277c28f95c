"""The table of kinds: which objects are read from a cluster, and what each is for.

A row has the kind's name, the path of its API version, how its JSON is decoded, and the producers that make records of
it. A new kind of object is a file with those (its value, its decoder, its producer), a row here, and its cases.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import msgspec

from pydns.kube import objects
from pydns.kube.objects import Object, Options
from pydns.kube.producer import MakeProducer
from pydns.kube.producers.namespaces import Namespaces
from pydns.kube.producers.pods import Pods
from pydns.kube.producers.services import Services


class Decoder(NamedTuple):
    """How an object is read: the struct of its JSON, and what makes a value of that. See `pydns.kube.objects`."""

    raw: type[msgspec.Struct]
    read: Callable[[Any, Options], Object]  # raises ValueError with the reason for an object that DNS can't use


class Kind(Enum):
    """The kinds of objects that we read. The value is the name that the API has for a kind."""

    path: str  # of the list of all objects
    decoder: Decoder
    json: msgspec.json.Decoder[Any]  # decodes to `decoder.raw`
    producers: tuple[MakeProducer, ...]  # none: no records are made of it
    is_selected: bool  # a label selector applies to it
    fields: str  # its field selector; empty for none

    NAMESPACE = (
        "Namespace",
        "/api/v1/namespaces",
        Decoder(objects.RawNamespace, objects.read_namespace),
        (Namespaces,),
        False,  # namespaces are wanted whatever their labels
    )
    SERVICE = "Service", "/api/v1/services", Decoder(objects.RawService, objects.read_service), (Services,)
    ENDPOINT_SLICE = (
        "EndpointSlice",
        "/apis/discovery.k8s.io/v1/endpointslices",
        Decoder(objects.RawEndpointSlice, objects.read_endpoint_slice),
        (Services,),
    )
    POD = (
        "Pod",
        "/api/v1/pods",
        Decoder(objects.RawPod, objects.read_pod),
        (Pods,),
        True,
        "status.phase!=Succeeded,status.phase!=Failed",
    )
    CONFIG_MAP = "ConfigMap", "/api/v1/configmaps", Decoder(objects.RawConfigMap, objects.read_config_map), ()

    def __new__(
        cls,
        name: str,
        path: str,
        decoder: Decoder,
        producers: tuple[MakeProducer, ...],
        is_selected: bool = True,
        fields: str = "",
    ) -> "Kind":
        """Make a row a member."""
        kind = object.__new__(cls)
        kind._value_ = name
        kind.path = path
        kind.decoder = decoder
        kind.json = msgspec.json.Decoder(decoder.raw)
        kind.producers = producers
        kind.is_selected = is_selected
        kind.fields = fields
        return kind


BY_NAME = {kind.value: kind for kind in Kind}
RECORD_KINDS = tuple([kind for kind in Kind if kind.producers])  # those that records are made of
