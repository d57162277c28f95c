"""Defines keys for zones with names for other clusters and for clients outside of the cluster."""

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


def _nameserver(label: str, service: tuple[str, str]) -> Nameserver:
    return Nameserver(label, *service)


_EXTERNAL = Record(
    ExternalZone,
    (
        Key(
            "sources",
            ListOf(OneOf(ExternalSource), "sources"),
            "Objects that give names to the zone. routes: routes of the Gateway API. nodes: the nodes, as addresses "
            "of Services of type NodePort.",
            "[services, routes]",
            "[pods]",
        ),
        Key(
            "service_names",
            Switch(),
            "Whether each Service with external addresses has the name SERVICE.NAMESPACE in the zone.",
            "false",
            "'no'",
        ),
        Key(
            "annotations",
            ListOf(Text(texts.ANNOTATION_PREFIX, texts.parse_annotation_prefix), "prefixes"),
            "Prefixes of annotations such as hostname, target and ttl. If an object has annotations with several of "
            "these prefixes, the first prefix in this list counts.",
            "[external-dns.kubernetes.io/]",
            "[external-dns]",
        ),
        Key(
            "ingress_classes",
            ListOf(Text(texts.CLASS_NAME, texts.parse_class_name), "names of classes"),
            "Only Ingresses of these classes have names. An Ingress that names no class has the default class.",
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
            "Which hostnames of listeners are names of the zone. routes: a route without hostnames has the hostname of "
            "its listener, unless the hostname is a wildcard. always: all hostnames are names, with or without a "
            "route. never: no hostname is a name.",
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
            "Nameservers of the zone: the first label of each name, and the Service with the external addresses of "
            "the server.",
            "{ns1: kube-system/pydns-external}",
            "{ns1: pydns}",
            default="none",
        ),
        Key(
            "hairpin",
            OneOf(HairpinMode),
            "What clients in the cluster get for a name of the zone. off: the public addresses. service: the "
            "ClusterIPs of the Service that has the name's public addresses. only: the ClusterIPs, too, but all other "
            "questions for the zone go to upstreams.",
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
            "Zones in which ServiceImports have names, if the API server has ServiceImports. With an empty list, "
            "ServiceImports have no names.",
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
        "Zones with names for Services, Ingresses and routes that clients outside of the cluster can reach "
        "(docs/external.md). The longest zone that contains a name counts.",
        "{k8s.example.com: {sources: [services, ingresses]}}",
        "{k8s.example.com: [services]}",
        default="none",
    ),
    Key(
        "multicluster",
        _MULTICLUSTER,
        "Names of Services that other clusters export (docs/multicluster.md).",
    ),
)
