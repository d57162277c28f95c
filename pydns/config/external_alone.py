"""Selects the keys of a configuration that apply with `--answer external`: keys about external zones and replies."""

import msgspec

from pydns.config.keys import ROOT
from pydns.config.model import Config, HairpinMode, MulticlusterOptions, SpecialName
from pydns.config.shapes import field_of

# The default for `responses_per_second`. A low limit is enough, because resolvers cache answers.
_RESPONSES_PER_SECOND = 20
# The keys that keep their values from the configuration. All other keys add names or are about upstreams, so they get
# their defaults. If the default of a new key adds names, `external_alone` must set another value.
_KEPT = (
    "external",
    "zone_files",  # this key stays, but only zone files of external zones are served
    "acl",
    "clusters",
    "namespaces",
    "labels",
    "endpoint_pod_names",
    "any",
    "nsid",
    "edns",
    "metrics",
    "log",
    "dnstap",
    "recent_queries_mib",
    "responses_per_second",
)


def external_alone(config: Config) -> Config:
    """Return a configuration with only the keys that are about external zones and replies. The result has no upstreams.

    The key `hairpin` of each zone is off. A node may replace the address of a client outside by its own address. Then
    the client seems to be in the cluster, but it must not get ClusterIPs.
    """
    kept = {key: getattr(config, key) for key in _KEPT}
    served = [zone for zone in config.external if zone.is_served]
    kept["external"] = tuple([msgspec.structs.replace(zone, hairpin=HairpinMode.OFF) for zone in served])
    if config.responses_per_second is None:
        kept["responses_per_second"] = _RESPONSES_PER_SECOND
    without_zones = MulticlusterOptions(zones=())
    return Config(
        upstreams=(),
        reverse_zones=(),
        multicluster=without_zones,
        forwarded_special_names=tuple(SpecialName),
        **kept,
    )


def without_effect(config: Config) -> list[str]:
    """Return the keys that the operator has set and that have no effect on external zones."""
    unused = {key.name: field_of(key) for key in ROOT.keys if field_of(key) not in _KEPT}
    found = [key for key, field in unused.items() if getattr(config, field) != getattr(Config(), field)]
    return found + ["hairpin"] * any(zone.hairpin is not HairpinMode.OFF for zone in config.external)
