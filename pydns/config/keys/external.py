"""Keys of zones with names for other clusters and for clients outside."""

from pydns.config import texts
from pydns.config.keys.values import MAX_TTL_S
from pydns.config.model import (
    ExternalSource,
    ExternalZone,
    HairpinMode,
    ListenerHostnames,
    MulticlusterOptions,
    Nameserver,
)
from pydns.config.shapes import Key, ListOf, MapOf, OneOf, Record, Switch, Text, Whole


def _nameserver(label: str | None, service: tuple[str, str] | None) -> Nameserver | None:
    return None if label is None or service is None else Nameserver(label, *service)


_EXTERNAL = Record(
    ExternalZone,
    (
        Key(
            "sources",
            ListOf(OneOf(ExternalSource), "sources"),
            "Objects that give names to the zone. routes are those of the Gateway API. nodes are the addresses of "
            "Services of type NodePort.",
            "[services, routes]",
            "[pods]",
        ),
        Key(
            "service_names",
            Switch(),
            "Whether each Service with external addresses is called SERVICE.NAMESPACE in the zone.",
            "false",
            "'no'",
        ),
        Key(
            "annotations",
            ListOf(Text(texts.ANNOTATION_PREFIX, texts.parse_annotation_prefix), "prefixes"),
            "Prefixes of the annotations hostname, target, ttl and the like. The first one that an object has counts.",
            "[external-dns.kubernetes.io/]",
            "[external-dns]",
        ),
        Key(
            "ingress_classes",
            ListOf(Text(texts.CLASS_NAME, texts.parse_class_name), "names of classes"),
            "Only Ingresses of these classes have names. One that names no class has the default class.",
            "[public]",
            "[Public]",
            default="all",
        ),
        Key(
            "gateway_classes",
            ListOf(Text(texts.CLASS_NAME, texts.parse_class_name), "names of classes"),
            "Only routes of Gateways of these classes have names.",
            "[public]",
            "[Public]",
            default="all",
        ),
        Key(
            "listener_hostnames",
            OneOf(ListenerHostnames),
            "routes: a route without hostnames has that of its listener, unless that is a wildcard. always: all "
            "hostnames of listeners are names, also wildcards, and without a route. never: they are no names.",
            "never",
            "attached",
        ),
        Key(
            "headless",
            Switch(),
            "Whether headless Services and their endpoints have names, as in the cluster domain.",
            "true",
            "all",
        ),
        Key("ttl", Whole(1, MAX_TTL_S), "TTL of the records in seconds.", "300", "0", field="ttl_s"),
        Key(
            "nameservers",
            MapOf(
                Text(texts.LABEL, texts.parse_label),
                Text(texts.SERVICE_REFERENCE, texts.parse_service_reference),
                "a mapping of labels to Services",
                _nameserver,
            ),
            "NS records: names below the zone, each with the Service that has its external addresses.",
            "{ns1: kube-system/pydns-external}",
            "{ns1: pydns}",
            default="none",
        ),
        Key(
            "hairpin",
            OneOf(HairpinMode),
            "service: clients in the cluster get the ClusterIPs of the Service that has a name's public addresses. "
            "only: the same, and upstreams answer all other names and types of the zone, and all other clients.",
            "service",
            "'on'",
        ),
    ),
    "an external zone: a mapping of keys",
    identity="apex",
)

_MULTICLUSTER = Record(
    MulticlusterOptions,
    (
        Key(
            "zones",
            ListOf(Text(texts.DOMAIN, texts.parse_external_zone), "domain names", may_be_empty=True),
            "Zones in which ServiceImports have names, if the API server has ServiceImports. None: they have no names.",
            "[]",
            "[10.in-addr.arpa]",
            default="[clusterset.local]",
        ),
    ),
    "a mapping of options",
)


KEYS = (
    Key(
        "external",
        MapOf(Text(texts.DOMAIN, texts.parse_external_zone), _EXTERNAL, "a mapping of zones"),
        "Zones with names for what leads into the cluster: docs/external.md explains them. For a name, the longest "
        "zone counts.",
        "{k8s.example.com: {sources: [services, ingresses]}}",
        "{k8s.example.com: [services]}",
        default="none",
    ),
    Key(
        "multicluster",
        _MULTICLUSTER,
        "Names of Services that other clusters export: docs/multicluster.md explains them.",
    ),
)
