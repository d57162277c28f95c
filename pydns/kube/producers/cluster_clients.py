"""Clients in the cluster: the classes of their addresses (`pydns.table.client_classes`).

1. Clients in the cluster are those in the podCIDRs of Nodes, those with an address of a Node or of a Pod that is an
   endpoint, and those in the ranges of the configuration. All of them have the class of the cluster.
2. A client also has the classes of its node and of the node's zone, if objects tell of them. The longest range counts:
   an endpoint's address comes before the podCIDR that it is in, because not all networks use podCIDRs.
3. If objects disagree about an address, it has neither of these two classes: the plain answer is right for everybody.
4. Whoever may write EndpointSlices chooses the addresses there. So only those in `ptr_ranges` count, as for reverse
   names: by default private addresses. No other resolver outside of the cluster should have one of these.
5. Only objects of the first cluster count. The Pods of another cluster may have the same addresses. An address can't
   show in which cluster its client runs. So a client with such an address counts as a client in the first cluster.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from pydns.dns.rrset import RRset
from pydns.kube.objects import EndpointSlice, Place, place_name
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

_NOWHERE = Place("", "")


class ClientsState(NamedTuple):
    """A range of clients, and the different places that objects give for them."""

    clients: ClientRange
    places: frozenset[Place]


class ClusterClients(Plain):
    """The producer of the ranges of clients. A key is a range."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        # Range -> the places that objects tell, one for each object. Most ranges have one.
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
        """Return what an object tells of clients."""
        if isinstance(value, Node):
            place = Place(place_name(value.name), value.zone)
            return frozenset([(each, place) for each in value.clients])
        if isinstance(value, EndpointSlice) and value.imported is None:  # others have Pods of another cluster
            may_point = self._options.may_point
            pods = [each for each in value.pods if may_point(each[0])]
            return frozenset([(ClientRange(address, 8 * len(address)), place) for address, place in pods])
        return frozenset()

    def current_keys(self) -> Collection[ClientRange]:
        """Return all ranges."""
        return self._places.keys()

    def state(self, key: ClientRange) -> ClientsState | None:
        """Return what is known of the clients in a range."""
        places = self._places.get(key)
        return None if places is None else ClientsState(key, frozenset(places))

    def rrsets(self, state: ClientsState) -> Iterator[RRset]:
        """Yield nothing: clients have no records by this."""
        yield from ()

    def names(self, state: ClientsState) -> Mapping[bytes, bytes]:
        """Return the classes of the clients."""
        classes = [ClientClass(Level.CLUSTER, self._options.domain)]
        nodes, zones = {each.node for each in state.places}, {each.zone for each in state.places}
        for level, found in (Level.NODE, nodes - {""}), (Level.ZONE, zones - {""}):
            if len(found) == 1:
                classes.append(ClientClass(level, found.pop().encode()))
        return {range_key(Assigner.CLUSTER, state.clients): compose_classes(classes)}

    def change_ttl(self, ttl_s: int) -> None:
        """Do nothing: classes have no TTL."""
