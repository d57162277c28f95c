"""The options for serving a cluster. The flags set the options that the live configuration doesn't set."""

from typing import NamedTuple

from pydns.config.flags import with_options_of
from pydns.config.model import Config
from pydns.config.settings import Answered, PodsMode, Settings
from pydns.config.summary import external_problem, multicluster_problem
from pydns.control.source import SourceOptions
from pydns.dns.address import parse_range
from pydns.kube.kinds import optional_kinds
from pydns.kube.producer import ZoneOptions
from pydns.table.client_classes import client_range


class ClusterOptions(NamedTuple):
    """The options for serving a cluster: those of its zone, and those of the source of its objects."""

    zone: ZoneOptions
    source: SourceOptions


def cluster_options(
    settings: Settings, config: Config, own_addresses: tuple[bytes, ...], server_namespace: str = "kube-system"
) -> ClusterOptions:
    """Return the cluster options. Options that the configuration doesn't set come from the flags."""
    chosen = with_options_of(settings, config)
    external = tuple([zone for zone in config.external if external_problem(zone, chosen.domain) is None])
    zone = ZoneOptions(
        domain=chosen.domain,
        reverse_zones=chosen.reverse_zones,
        ptr_ranges=tuple(map(parse_range, chosen.ptr_ranges)),
        ttl_s=chosen.ttl_s,
        pods=chosen.pods,
        namespaces=None if chosen.namespaces is None else frozenset(chosen.namespaces),
        own_addresses=own_addresses,
        server_namespace=server_namespace,
        external=external,
        multicluster=tuple(
            [apex for apex in config.multicluster.zones if multicluster_problem(apex, config, chosen.domain) is None]
        ),
        external_alone=settings.answer is Answered.EXTERNAL,
        zonal=config.zonal,
        cluster_ranges=tuple([client_range(parse_range(each)) for each in config.cluster_ranges]),
    )
    return ClusterOptions(
        zone,
        SourceOptions(
            chosen.labels,
            chosen.endpoint_pod_names,
            pods=chosen.pods is PodsMode.VERIFIED,
            optional=optional_kinds(zone),
            topology=zone.has_client_classes or zone.zonal.names,
            annotations=tuple(sorted({prefix for zone in external for prefix in zone.annotations})),
            near=server_namespace if chosen.labels else None,
        ),
    )
