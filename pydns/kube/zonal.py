"""Makes answers that contain only the endpoints for one node or one zone of nodes, for headless Services. Pure.

For the names of Services and of their ports, the rules of kube-proxy apply to each address family separately
(pkg/proxy/topology.go). In this module, a zone is a zone of nodes. With the option `prefer: zone`, the zone of an
endpoint counts as its hint for zones.

1. If every ready endpoint has hints for nodes, clients on such a node get the endpoints with hints for this node.
2. If every ready endpoint has hints for zones, clients in such a zone get the endpoints with hints for this zone.
3. All other clients get all endpoints. So no client gets NODATA because of these rules. A rule doesn't apply if one
   endpoint has no such hints.

The SRV records of a name lead to endpoints of all families. So a class has SRV records of its own only if the rules
apply to all families of the Service for this class. The names of endpoints are the same for all clients, and so are
reverse names.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from pydns.config.model import Nearness
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.rrset import AAAA, SRV, A, RRset
from pydns.kube import schema
from pydns.kube.objects import EndpointSlice, Hints
from pydns.kube.schema import Schema
from pydns.table.client_classes import ClientClass, Level

# The maximum TTL of answers with only some endpoints. If these endpoints disappear, clients should soon get others.
MAX_TTL_S = 5
DIRECTIVES = ("pin", "prefer")
ZONE_LABEL = "_zone"
_WHERE = {Level.NODE: "on node", Level.ZONE: "in zone"}
_MOST_TOLD = 5  # maximum number of nodes, or of zones, that an explanation lists
# All answers that a Service has for client classes may have this many octets together, including their keys. All
# answers to its names for single zones may also have this many octets together.
_BUDGET = 4 << 20
# A Service has separate answers for at most this many nodes, and for at most this many zones. A cluster has at most
# 5,000 nodes. Without this limit, a Service with 40,000 hints would delay other Services by 0.7 s.
_MOST_CLASSES = 5000

_Endpoints = dict[int, list[int]]  # index of a slice -> indexes of some endpoints in the slice


class _Filter(NamedTuple):
    """The endpoints that a class gets, in the address families to which the rules apply."""

    families: set[int]  # the families, as the number of octets in their addresses: 4 or 16
    endpoints: _Endpoints


def class_rrsets(
    the_schema: Schema, owner: bytes, slices: tuple[EndpointSlice, ...], prefer: Nearness
) -> Iterator[tuple[ClientClass, RRset]]:
    """Yield the RRsets that clients in a zone or on a node get for the names of a headless Service and of its ports.

    If `_BUDGET` or `_MOST_CLASSES` is reached, clients of the remaining classes get the plain answers.
    """
    families = {len(endpoint.address) for each in slices for endpoint in each.endpoints[:1]}
    short = the_schema._replace(ttl_s=min(the_schema.ttl_s, MAX_TTL_S))
    octets = 0
    for client_class, found in sorted(_filters(slices, families, prefer).items()):
        types = {A if family == 4 else AAAA for family in found.families}
        if found.families == families:
            types.add(SRV)
        for rrset in schema.headless_name_rrsets(short, owner, _only(slices, found.endpoints)):
            if rrset.rtype in types:
                octets += len(client_class.name) + _octets(rrset)
                yield client_class, rrset
        if octets > _BUDGET:
            return


def _filters(
    slices: tuple[EndpointSlice, ...], families: Iterable[int], prefer: Nearness
) -> dict[ClientClass, _Filter]:
    filters: dict[ClientClass, _Filter] = {}
    for family in families:
        numbers = [at for at, each in enumerate(slices) if each.endpoints and len(each.endpoints[0].address) == family]
        for level, wanted in _LEVELS[prefer]:
            found: dict[str, _Endpoints] = {}
            if not all(_has_hints(slices[number], wanted) for number in numbers):
                continue
            for number in numbers:
                for at, hints in enumerate(slices[number].hints):
                    for each in dict.fromkeys(wanted(hints)):
                        if each in found or len(found) < _MOST_CLASSES:
                            found.setdefault(each, {}).setdefault(number, []).append(at)
            for text, endpoints in found.items():
                if text:
                    known = filters.setdefault(ClientClass(level, text.encode()), _Filter(set(), {}))
                    known.families.add(family)
                    known.endpoints.update(endpoints)
    return filters


def _has_hints(each: EndpointSlice, wanted: Callable[[Hints], Collection[str]]) -> bool:
    return len(each.hints) == len(each.endpoints) and all(map(wanted, each.hints))


def _nodes(hints: Hints) -> tuple[str, ...]:
    return hints.for_nodes


def _zones(hints: Hints) -> tuple[str, ...]:
    return hints.for_zones


def _own_zone(hints: Hints) -> tuple[str, ...]:
    return (hints.zone,) if hints.zone else ()


_LEVELS: dict[Nearness, tuple[tuple[Level, Callable[[Hints], Collection[str]]], ...]] = {
    Nearness.HINTS: ((Level.NODE, _nodes), (Level.ZONE, _zones)),
    Nearness.ZONE: ((Level.ZONE, _own_zone),),
}


def explanation(slices: tuple[EndpointSlice, ...], prefer: Nearness) -> str:
    """Return a text for `explain`: which clients of a Service get only the endpoints for their zone or node."""
    what = "hints" if prefer is Nearness.HINTS else "zone"
    for each in slices:
        for endpoint, hints in zip_longest(each.endpoints, each.hints[: len(each.endpoints)]):
            if hints is None or not any(wanted(hints) for _, wanted in _LEVELS[prefer]):
                return f"all clients get all endpoints: {address_text(endpoint.address)} has no {what}"
    filters = _filters(slices, {len(endpoint.address) for each in slices for endpoint in each.endpoints[:1]}, prefer)
    lists = []
    for level, where in _WHERE.items():
        names = sorted([each.name.decode() for each in filters if each.level is level])
        if names:
            lists.append(f"{where} {', '.join(names[:_MOST_TOLD])}{' and others' if len(names) > _MOST_TOLD else ''}")
    return f"clients {' and '.join(lists)} get the endpoints that are meant for them" if lists else ""


def zone_rrsets(the_schema: Schema, owner: bytes, slices: tuple[EndpointSlice, ...]) -> Iterator[RRset]:
    """Yield the RRsets of `ZONE.pin._zone.SERVICE…` and `ZONE.prefer._zone.SERVICE…`.

    CoreDNS has these names with its option `zonal`. The names depend on the zones in which endpoints are, and not on
    hints. When the records take `_BUDGET` octets, the names for the remaining zones are answered as if no endpoint were
    in these zones.
    """
    octets = 0
    by_zone: dict[bytes, _Endpoints] = {}
    for number, each in enumerate(slices):
        for at, hints in enumerate(each.hints[: len(each.endpoints)]):
            if (labels := _zone_labels(hints.zone)) is not None:
                by_zone.setdefault(labels, {}).setdefault(number, []).append(at)
    for labels, endpoints in by_zone.items():
        in_zone = _only(slices, endpoints)
        for directive in DIRECTIVES:
            zone_owner = labels + directive_name(directive, owner)
            if len(zone_owner) <= name.MAX_NAME and octets <= _BUDGET:
                for rrset in schema.narrowed_rrsets(the_schema, zone_owner, owner, in_zone):
                    octets += _octets(rrset)
                    yield rrset


def directive_name(directive: str, owner: bytes) -> bytes:
    """Return `pin._zone.SERVICE…` or `prefer._zone.SERVICE…`. If `directive` is empty, return `_zone.SERVICE…`."""
    labels = [each.encode() for each in (directive, ZONE_LABEL) if each]
    return name.from_labels(*labels)[:-1] + owner


def _zone_labels(zone: str) -> bytes | None:
    """Return the labels of a zone's name in lower case, without the root.

    Return None if a DNS name can't contain them.
    """
    parts = zone.lower().split(".")
    if not all(0 < len(part) <= name.MAX_LABEL for part in parts):
        return None
    return name.from_labels(*[part.encode() for part in parts])[:-1] if len(zone) <= name.MAX_NAME // 2 else None


def _octets(rrset: RRset) -> int:
    """Return about how many octets an RRset takes in the table."""
    return len(rrset.owner) + sum([len(rdata) for each in (rrset, *rrset.additional) for rdata in each.rdatas])


def _only(slices: tuple[EndpointSlice, ...], endpoints: _Endpoints) -> list[EndpointSlice]:
    return [
        slices[number]._replace(endpoints=tuple([slices[number].endpoints[at] for at in places]), hints=())
        for number, places in sorted(endpoints.items())
    ]
