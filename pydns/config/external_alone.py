"""The part of a configuration that is in force with `--answer external`: external zones, and how they are served."""

from pydns.config.keys import ROOT
from pydns.config.model import Config, MulticlusterOptions, SpecialName
from pydns.config.shapes import field_of

_RESPONSES_PER_SECOND = 20  # of equal replies to a network: many times what a resolver asks, as it caches answers
# These keys have their effect. All others add names, or ask upstreams. They get values without effect: a new key whose
# default adds names needs one below.
_KEPT = (
    "external",
    "acl",
    "namespaces",
    "labels",
    "endpoint_pod_names",
    "edns",
    "metrics",
    "log",
    "responses_per_second",
)


def external_alone(config: Config) -> Config:
    """Return the configuration without everything that isn't about external zones. It has no upstreams."""
    kept = {key: getattr(config, key) for key in _KEPT}
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
    """Return the keys of a configuration that the operator has set, and that have no effect on external zones."""
    unused = {key.name: field_of(key) for key in ROOT.keys if field_of(key) not in _KEPT}
    return [key for key, field in unused.items() if getattr(config, field) != getattr(Config(), field)]
