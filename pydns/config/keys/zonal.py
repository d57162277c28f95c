"""Defines keys about where clients are, and how clients are named."""

from collections.abc import Iterator
from typing import Any

from pydns.config import texts
from pydns.config.model import ClientSource, Nearness, PlainZonal, ZonalOptions
from pydns.config.shapes import Conflict, Key, ListOf, OneOf, Record, Switch, Text

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
            "answer has the endpoints for the client's zone or node. off: no name.",
            "headless",
            "all",
        ),
        Key(
            "prefer",
            OneOf(Nearness),
            "What decides which clients get an endpoint, if `plain` is on. hints: the endpoint's hints in the "
            "EndpointSlice. zone: the endpoint's zone.",
            "zone",
            "node",
        ),
    ),
    "a mapping of options",
)


_MOST_LABELS = 8


def check(
    clients: ClientSource = ClientSource.ENDPOINTS, client_labels: tuple[str, ...] = (), **_: Any
) -> Iterator[Conflict]:
    """Yield a mistake if `client_labels` is used without `clients: pods`, or has too many labels."""
    if client_labels and clients is not ClientSource.PODS:
        yield Conflict("client_labels", '"clients: endpoints"', '"clients: pods", which labels of Pods need')
    if len(client_labels) > _MOST_LABELS:
        yield Conflict("client_labels", f"{len(client_labels)} labels", f"a list of at most {_MOST_LABELS} labels")


KEYS = (
    Key("zonal", _ZONAL, "Answers with the endpoints of one zone (docs/zonal.md)."),
    Key(
        "clients",
        OneOf(ClientSource),
        "Which objects name clients for tools and the query log (docs/client-names.md). endpoints: EndpointSlices, "
        "which have the Pods behind Services. pods: all Pods, too; pydns needs the right to list and watch Pods.",
        "pods",
        "nodes",
    ),
    Key(
        "client_labels",
        ListOf(Text("the key of a label", texts.parse_label_key), "keys of labels"),
        "Labels of Pods that are shown with the names of clients, with `clients: pods`. At most 8.",
        "[app, app.kubernetes.io/part-of]",
        "[app=web]",
        default="none",
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
