"""Finds the addresses of clients in the cluster, and the classes of these clients (`pydns.table.client_classes`).

1. A client is in the cluster if its address is in the podCIDR of a Node or in a range of the configuration. The address
   may also be that of a Node, or of an endpoint that is a Pod. All clients in the cluster have the class of the
   cluster.
2. If objects show where a client runs, it also has the classes of its node and of the zone of this node. If several
   ranges contain the client's address, the range with the longest prefix applies. So the address of an endpoint takes
   precedence over a podCIDR that contains it. This is necessary because not all networks use podCIDRs.
3. If objects disagree about an address, its client has neither the class of a node nor that of a zone. The client then
   gets plain answers, which are right for all clients.
4. A user who can write EndpointSlices can write any address into them. So only the addresses of endpoints in
   `ptr_ranges` are used, as for reverse names. By default, these are private addresses, which no resolver outside of
   the cluster should have.
5. Only objects of the first cluster are used. Pods of another cluster may have the same addresses, and an address
   doesn't show the cluster of its client. Such a Pod is treated as a client in the first cluster.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from pydns.dns.rrset import RRset
from pydns.kube.objects import EndpointSlice, place_name
from pydns.kube.producer import Change, Plain, ZoneOptions
from pydns.kube.producers.nodes import Node
from pydns.table.client_classes import (
    Assigner,
    ClientClass,
    ClientRange,
    Level,
    compose_classes,
    range_key,
)
from pydns.table.client_names import parse_slice


class Place(NamedTuple):
    """Where a client runs: its node, and the zone of this node. An unknown node or zone is an empty text."""

    node: str
    zone: str


_NOWHERE = Place("", "")


class ClientsState(NamedTuple):
    """A range of clients, and the different places that objects show for the clients in it."""

    clients: ClientRange
    places: frozenset[Place]


class ClusterClients(Plain):
    """The producer of the ranges of clients and their classes. A key is a range."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        # Range -> the places of its clients, one from each object that shows a place. Most ranges have one place.
        self._places: dict[ClientRange, tuple[Place, ...]] = dict.fromkeys(options.cluster_ranges, (_NOWHERE,))

    def note(self, change: Change) -> Iterable[ClientRange]:
        """Process a changed slice or Node. Return the ranges whose classes may have changed."""
        before, after = map(self._told, change)
        changed = before ^ after
        for clients, place in changed & before:
            left = list(self._places[clients])
            left.remove(place)
            if left:
                self._places[clients] = tuple(left)
            else:
                del self._places[clients]
        for clients, place in changed & after:
            self._places[clients] = (*self._places.get(clients, ()), place)
        return [clients for clients, _ in changed]

    def _told(self, value: object) -> frozenset[tuple[ClientRange, Place]]:
        """Return the ranges of clients that an object shows, each with the place of these clients."""
        if isinstance(value, Node):
            place = Place(place_name(value.name), value.zone)
            return frozenset([(each, place) for each in value.clients])
        # An imported slice contains Pods of another cluster, so it isn't used.
        if isinstance(value, EndpointSlice) and value.imported is None:
            may_point = self._options.may_point
            pods = [each for each in parse_slice(value.clients) if may_point(each.address)]
            return frozenset(
                [(ClientRange(each.address, 8 * len(each.address)), Place(each.node, each.zone)) for each in pods]
            )
        return frozenset()

    def current_keys(self) -> Collection[ClientRange]:
        """Return all ranges of clients."""
        return self._places.keys()

    def state(self, key: ClientRange) -> ClientsState | None:
        """Return a range with the places of its clients, or None if no object shows the range any more."""
        places = self._places.get(key)
        return None if places is None else ClientsState(key, frozenset(places))

    def rrsets(self, state: ClientsState) -> Iterator[RRset]:
        """Yield nothing, because the ranges of clients have no records."""
        yield from ()

    def names(self, state: ClientsState) -> Mapping[bytes, bytes]:
        """Return the table's entry for a range: the classes of its clients."""
        classes = [ClientClass(Level.CLUSTER, self._options.domain)]
        nodes, zones = {each.node for each in state.places}, {each.zone for each in state.places}
        for level, found in (Level.NODE, nodes - {""}), (Level.ZONE, zones - {""}):
            if len(found) == 1:
                classes.append(ClientClass(level, found.pop().encode()))
        return {range_key(Assigner.CLUSTER, state.clients): compose_classes(classes)}

    def change_ttl(self, ttl_s: int) -> None:
        """Do nothing, because classes have no TTL."""
