"""Defines keys for the names of clusters' objects: cluster options, further domains and further clusters."""

from collections.abc import Iterator
from typing import Any

from pydns.config import flags, texts
from pydns.config.keys.values import DOMAIN, PATH
from pydns.config.model import (
    Cluster,
    Domain,
)
from pydns.config.shapes import Conflict, Key, ListOf, MapOf, Record, Switch, Text
from pydns.dns import name


def _cluster_key(flag: flags.Flag) -> Key:
    """Return the key of a cluster option, made from the row of the flag."""
    example, wrong = flag.example, flag.wrong
    if isinstance(flag.shape, ListOf):
        example, wrong = f"[{example}]", f"[{wrong}]"
    default = f"the value of `{flag.option}`"
    return Key(flag.attribute, flag.shape, flag.purpose, example, wrong, default, field=flag.in_settings)


_CLUSTER_KEYS = {flag.attribute: flag for flag in flags.CLUSTER}
_SELECTING = (
    Key(
        "namespace_labels",
        Text(texts.SELECTOR, texts.parse_selector),
        "Serve only namespaces that this label selector selects (as `kubectl get ns -l`).",
        "team=shop",
        "team is shop",
        default="all",
    ),
    Key(
        "endpoints",
        Switch(),
        "Whether endpoints have names. If endpoints have no names, headless Services have no names either.",
        "false",
        "'no'",
    ),
    Key(
        "hide_empty_services",
        Switch(),
        "Whether a Service with a ClusterIP has a name only while an endpoint is ready.",
        "true",
        "'yes'",
    ),
    Key(
        "fallthrough",
        ListOf(DOMAIN, "zones", may_be_empty=True),
        "Zones that fall through: if the cluster lacks a name in such a zone, zone files and upstreams are asked for "
        "the name. A domain in this list stands for all zones at or below it. Read docs/clusters.md before you add the "
        "cluster domain.",
        "[in-addr.arpa, ip6.arpa]",
        "['']",
        default="the reverse zones",
    ),
)


def _of_domain(attribute: str, default: str) -> Key:
    """Return the key that sets a cluster option for a further domain."""
    return _cluster_key(_CLUSTER_KEYS[attribute])._replace(default=default)


_FURTHER_DOMAIN = Record(
    Domain,
    (
        *(_of_domain(each, "the value of the first domain") for each in ("ttl", "pods", "endpoint_pod_names")),
        *(_of_domain(each, "all") for each in ("namespaces", "labels")),
        _of_domain(
            "reverse_zones",
            "the first domain of a further cluster has the reverse zones of the first cluster; other domains have no "
            "reverse zones",
        ),
        *_SELECTING,
    ),
    "a domain: a mapping of keys",
    identity="domain",
)
_FURTHER_DOMAINS = MapOf(flags.DOMAIN_SHAPE, _FURTHER_DOMAIN, "a mapping of domains")
_CLUSTER = Record(
    Cluster,
    (
        Key(
            "kubeconfig",
            PATH,
            "Kubeconfig file of the cluster.",
            "/etc/pydns/clusters/east.yaml",
            "east.yaml",
            required=True,
        ),
        Key(
            "context",
            Text("the name of a context", flags.parse_text),
            "Context in the kubeconfig.",
            "east",
            "7",
            default="its current context",
        ),
        Key(
            "domains",
            _FURTHER_DOMAINS,
            "Domains for the names of the cluster's objects.",
            "{east.example: {}}",
            "[east.example]",
            default="none: the cluster's objects have names in external zones only",
        ),
    ),
    'a cluster: a mapping with "kubeconfig"',
    identity="name",
)


def check(
    domains: tuple[Domain, ...] | None = (), clusters: tuple[Cluster, ...] | None = (), **_: Any
) -> Iterator[Conflict]:
    """Yield a mistake for each domain that belongs to two clusters."""
    seen = {each.domain for each in domains or ()}
    for cluster in clusters or ():
        for each in cluster.domains:
            if each.domain in seen:
                yield Conflict("clusters", f'"{name.to_text(each.domain)}"', "a domain that no other cluster has")
            seen.add(each.domain)


KEYS = (
    *map(_cluster_key, flags.CLUSTER),
    *_SELECTING,
    Key(
        "domains",
        _FURTHER_DOMAINS,
        "Further domains for the names of the cluster's objects (docs/clusters.md).",
        "{k8s.example: {namespaces: [shop]}}",
        "[k8s.example]",
        default="none",
    ),
    Key(
        "clusters",
        MapOf(Text("a name of letters, digits and hyphens", texts.parse_label), _CLUSTER, "a mapping of clusters"),
        "Further clusters, each with domains of its own (docs/clusters.md).",
        "{east: {kubeconfig: /etc/pydns/clusters/east.yaml, domains: {east.example: {}}}}",
        "{east: /etc/pydns/clusters/east.yaml}",
        default="those of `--kubeconfig`",
    ),
)
