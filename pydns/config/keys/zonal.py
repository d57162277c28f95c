"""Defines keys for the names and the places of clients."""

from pydns.config import texts
from pydns.config.model import ClientSource, Nearness, PlainZonal, ZonalOptions
from pydns.config.shapes import Key, ListOf, OneOf, Record, Switch, Text

_ZONAL = Record(
    ZonalOptions,
    (
        Key(
            "names",
            Switch(),
            "Whether headless Services have the names ZONE.pin._zone.SERVICE.NAMESPACE.svc and "
            "ZONE.prefer._zone.SERVICE.NAMESPACE.svc, with their endpoints in a zone (CoreDNS's option zonal).",
            "true",
            "'no'",
        ),
        Key(
            "plain",
            OneOf(PlainZonal),
            "Which plain names depend on the client. headless: for headless Services with trafficDistribution, the "
            "answer has the endpoints for the client's zone or node. off: none.",
            "headless",
            "all",
        ),
        Key(
            "prefer",
            OneOf(Nearness),
            "What decides which clients get an endpoint, if `plain` is on. hints: its hints in the EndpointSlice. "
            "zone: its zone.",
            "zone",
            "node",
        ),
    ),
    "a mapping of options",
)


KEYS = (
    Key("zonal", _ZONAL, "Answers with the endpoints of one zone (docs/zonal.md)."),
    Key(
        "clients",
        OneOf(ClientSource),
        "Which objects name clients for tools and the query log (docs/client-names.md). endpoints: EndpointSlices, "
        "which have the Pods behind Services. pods: all Pods, too. This needs the right to list and watch Pods.",
        "pods",
        "nodes",
    ),
    Key(
        "cluster_ranges",
        ListOf(Text("a range of addresses", texts.parse_ptr_range), "ranges of addresses"),
        "Further addresses that count as clients in the cluster, for hairpin. Addresses of Nodes, of their podCIDRs "
        "and of endpoints count without this key.",
        "[10.128.0.0/14]",
        "[10.128.0.1/14]",
        default="none",
    ),
)
