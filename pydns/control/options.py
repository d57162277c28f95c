"""Makes the options for serving a cluster.

An option that the live configuration doesn't set has the value of its flag.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from pydns.config.flags import with_options_of
from pydns.config.model import ClientSource, Cluster, Config, Domain
from pydns.config.settings import Answered, PodsMode, Settings
from pydns.config.summary import external_problem, multicluster_problem
from pydns.control.source import Access, SourceOptions
from pydns.dns import name
from pydns.dns.address import parse_range
from pydns.kube.kinds import optional_kinds
from pydns.kube.producer import FIRST, ZoneOptions
from pydns.table.client_classes import client_range


class ClusterOptions(NamedTuple):
    """The options for serving clusters: options of the zone, and options of the sources of objects."""

    zone: ZoneOptions
    sources: tuple[SourceOptions, ...]  # the source of the first cluster comes first
    doubled: tuple[bytes, ...] = ()  # domains that are configured more than once

    @property
    def source(self) -> SourceOptions:
        """The source of the first cluster."""
        return self.sources[0]


class _Domain(NamedTuple):
    """A domain as it is configured, and the cluster whose objects have names in the domain."""

    options: Domain
    cluster: str
    access: Access | None
    is_first: bool = True  # whether this is the first domain of its cluster


def cluster_options(
    settings: Settings, config: Config, own_addresses: tuple[bytes, ...], server_namespace: str = "kube-system"
) -> ClusterOptions:
    """Return the cluster options. Options that the configuration doesn't set come from the flags."""
    chosen = with_options_of(settings, config)
    clusters = _clusters(settings, config)
    found = _domains(chosen, config, clusters)
    domains = list({each.options.domain: each for each in reversed(found)}.values())[::-1]
    doubled = [domain for domain, number in Counter(each.options.domain for each in found).items() if number > 1]
    apexes = [each.options.domain for each in domains]
    external = tuple([zone for zone in config.external if external_problem(zone, apexes) is None])
    first, *further = [
        ZoneOptions(
            domain=each.domain,
            reverse_zones=_reverse_zones(domain, chosen),
            ptr_ranges=tuple(map(parse_range, chosen.ptr_ranges)),
            ttl_s=chosen.ttl_s if each.ttl_s is None else each.ttl_s,
            pods=each.pods or chosen.pods,
            namespaces=None if each.namespaces is None else frozenset(each.namespaces),
            own_addresses=own_addresses,
            server_namespace=server_namespace,
            cluster=domain.cluster,
            source=_source_name(domain, domains),
            has_endpoints=each.endpoints,
            hides_empty_services=each.hide_empty_services,
            only_listed_namespaces=each.namespace_labels is not None,
            fallthrough=each.fallthrough,
        )
        for domain in domains
        for each in (domain.options,)
    ]
    exposed = (FIRST, *(each.name for each in clusters)) if external else (FIRST,)
    zone = first._replace(
        external=external,
        multicluster=tuple(
            [apex for apex in config.multicluster.zones if multicluster_problem(apex, config, apexes) is None]
        ),
        external_alone=settings.answer is Answered.EXTERNAL,
        zonal=config.zonal,
        cluster_ranges=tuple([client_range(parse_range(each)) for each in config.cluster_ranges]),
        further=tuple(further),
        client_pods=config.clients is ClientSource.PODS and settings.answer is not Answered.EXTERNAL,
        exposed=exposed,
    )
    annotations = tuple(sorted({prefix for each in external for prefix in each.annotations}))
    optional = {FIRST: optional_kinds(zone)}
    if external:
        optional |= {each.name: optional_kinds(zone._replace(multicluster=())) for each in clusters}
    sources: dict[str, SourceOptions] = {}
    for domain, options in zip(domains, zone.domains, strict=True):
        each, known = domain.options, sources.get(options.source)
        sources[options.source] = SourceOptions(
            each.labels,
            bool(each.endpoint_pod_names),
            pods=options.pods is PodsMode.VERIFIED or (known is not None and known.pods),
            near=server_namespace if each.labels and options.source == FIRST else None,
            optional=optional.get(options.source, ()),
            client_pods=options.source == FIRST and zone.client_pods,
            client_labels=tuple(dict.fromkeys(config.client_labels))
            if options.source == FIRST and zone.client_pods
            else (),
            topology=options.source == FIRST and (zone.has_client_classes or zone.zonal.names),
            annotations=annotations if options.source in exposed else (),
            namespace_labels=each.namespace_labels,
            endpoints=each.endpoints or bool(external) or (known is not None and known.endpoints),
            name=options.source,
            cluster=domain.cluster,
            access=domain.access,
        )
    for cluster in clusters:
        if external and cluster.name not in sources:  # a cluster without a domain gives names to external zones
            sources[cluster.name] = SourceOptions(
                None,
                endpoint_pod_names=False,
                pods=False,
                optional=optional[cluster.name],
                annotations=annotations,
                name=cluster.name,
                cluster=cluster.name,
                access=_access(cluster),
            )
    return ClusterOptions(zone, tuple(sources.values()), tuple(doubled))


def _clusters(settings: Settings, config: Config) -> list[Cluster]:
    """Return the further clusters.

    A cluster of the configuration replaces a cluster of the flags with the same name.
    """
    by_flags = [
        Cluster(each.name, str(each.kubeconfig), each.context, (Domain(each.domain),)) for each in settings.clusters
    ]
    return list({each.name: each for each in (*by_flags, *config.clusters)}.values())


def _access(cluster: Cluster) -> Access:
    return Access(Path(cluster.kubeconfig), cluster.context)


def _domains(chosen: Settings, config: Config, clusters: Iterable[Cluster]) -> list[_Domain]:
    """Return all domains. The list begins with the first domain (`--domain`).

    If several clusters have the same domain, the result contains this domain several times.
    """
    first = Domain(
        chosen.domain,
        chosen.ttl_s,
        chosen.pods,
        chosen.endpoint_pod_names,
        chosen.namespaces,
        config.namespace_labels,
        chosen.labels,
        config.endpoints,
        config.hide_empty_services,
        chosen.reverse_zones,
        config.fallthrough,
    )
    found = [_Domain(first, FIRST, None)]
    found += [_Domain(_with_defaults(each, first), FIRST, None, is_first=False) for each in config.domains]
    for cluster in clusters:
        found += [
            _Domain(_with_defaults(each, first), cluster.name, _access(cluster), is_first=number == 0)
            for number, each in enumerate(cluster.domains)
        ]
    return found


def _with_defaults(domain: Domain, first: Domain) -> Domain:
    named = domain.endpoint_pod_names
    return msgspec.structs.replace(domain, endpoint_pod_names=first.endpoint_pod_names if named is None else named)


def _reverse_zones(domain: _Domain, chosen: Settings) -> tuple[bytes, ...]:
    if domain.options.reverse_zones is not None:
        return domain.options.reverse_zones
    return chosen.reverse_zones if domain.is_first else ()


def _source_name(domain: _Domain, domains: Iterable[_Domain]) -> str:
    """Return the name of the source of a domain's objects.

    If the first domain of the cluster selects the same objects, this is the name of the cluster. Otherwise it is the
    name of the first domain that selects the same objects.
    """
    first, *others = [each for each in domains if each.cluster == domain.cluster]
    if _selection(domain) == _selection(first):
        return domain.cluster
    return next(name.to_text(each.options.domain) for each in others if _selection(each) == _selection(domain))


def _selection(domain: _Domain) -> tuple[object, ...]:
    options = domain.options
    return options.labels, options.namespace_labels, bool(options.endpoint_pod_names)
