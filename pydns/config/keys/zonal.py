"""Keys for answers that depend on the place of a client."""

from pydns.config import texts
from pydns.config.model import Nearness, PlainZonal, ZonalOptions
from pydns.config.shapes import Key, ListOf, OneOf, Record, Switch, Text

_ZONAL = Record(
    ZonalOptions,
    (
        Key(
            "names",
            Switch(),
            "Whether ZONE.pin._zone.SERVICE.NAMESPACE.svc and ZONE.prefer._zone.SERVICE.NAMESPACE.svc exist for "
            "headless Services: their endpoints in a zone, as CoreDNS's option zonal.",
            "true",
            "'no'",
        ),
        Key(
            "plain",
            OneOf(PlainZonal),
            "headless: headless Services with trafficDistribution have the endpoints that are meant for the client's "
            "zone or node.",
            "headless",
            "all",
        ),
        Key(
            "prefer",
            OneOf(Nearness),
            "What tells for which clients an endpoint is meant, for plain: its hints in EndpointSlices, or its zone.",
            "zone",
            "node",
        ),
    ),
    "a mapping of options",
)


KEYS = (
    Key("zonal", _ZONAL, "Answers with endpoints of one zone: docs/zonal.md explains them."),
    Key(
        "cluster_ranges",
        ListOf(Text("a range of addresses", texts.parse_ptr_range), "ranges of addresses"),
        "Ranges of clients in the cluster, for hairpin, besides the addresses of Nodes, of their podCIDRs and of "
        "endpoints.",
        "[10.128.0.0/14]",
        "[10.128.0.1/14]",
        default="none",
    ),
)
