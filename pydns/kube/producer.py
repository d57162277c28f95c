"""The protocol of producers. A producer is code that turns objects of some kinds into records.

`pydns.kube.zone.Zone` does the common work for all producers: it compiles the records, and compares them with the
published records. If several keys give reverse names to one address, it merges the names.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from pydns.config.model import ExternalZone, HairpinMode, PlainZonal, ZonalOptions
from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.address import AddressRange
from pydns.dns.rrset import Hosts, RRset
from pydns.kube.objects import Namespace, Object
from pydns.kube.schema import Schema
from pydns.table.client_classes import ClientClass, ClientRange

Key = Any  # a hashable value that stands for a group of records; for a Service, its namespace and name
State = Any  # everything from which the records of a key are made, as an immutable value; states are compared with ==

FIRST = ""  # the text that stands for the first cluster, and for its source
ALL_ADDRESSES = (AddressRange(bytes(4), b"\xff" * 4), AddressRange(bytes(16), b"\xff" * 16))
_IN_ADDR_ARPA = name.from_text("in-addr.arpa")
_IP6_ARPA = name.from_text("ip6.arpa")


class ZoneOptions(NamedTuple):
    """The options that decide which records a domain of a cluster has.

    Each domain has its own options. The options of the first domain contain those of all other domains (`further`).
    """

    domain: bytes = name.from_text("cluster.local")  # in lower case
    reverse_zones: tuple[bytes, ...] = (_IN_ADDR_ARPA, _IP6_ARPA)  # in lower case
    # Endpoints have PTR records only for addresses in these ranges.
    ptr_ranges: tuple[AddressRange, ...] = ALL_ADDRESSES
    ttl_s: int = 5
    pods: PodsMode = PodsMode.INSECURE
    namespaces: frozenset[str] | None = None  # the namespaces that are served; None if all are
    own_addresses: tuple[bytes, ...] = ()  # the addresses at which clients reach this DNS server
    # This DNS server's own namespace. A Service in it can give the server a name.
    server_namespace: str = "kube-system"
    # The fields from `external` to `exposed` are used only in the options of the first domain.
    external: tuple[ExternalZone, ...] = ()
    multicluster: tuple[bytes, ...] = ()  # the zones with the names of ServiceImports, in lower case
    external_alone: bool = False  # whether only external zones are served
    zonal: ZonalOptions = ZonalOptions()
    # Clients with addresses in these ranges are in the cluster, in addition to the clients that objects show.
    cluster_ranges: tuple[ClientRange, ...] = ()
    further: tuple["ZoneOptions", ...] = ()  # the options of the further domains
    client_pods: bool = False  # whether Pods are watched, so that clients have the names of Pods
    exposed: tuple[str, ...] = (FIRST,)  # the clusters whose objects have names in external zones

    cluster: str = FIRST
    source: str = FIRST  # the source of the domain's objects; domains with different selectors have different sources
    has_endpoints: bool = True  # whether headless Services and the endpoints of Services have names
    hides_empty_services: bool = False  # True: a Service with a ClusterIP has a name only while it has a ready endpoint
    only_listed_namespaces: bool = False  # True: a namespace is served only if the source selects it by its labels
    # Zones at or below these names fall through. If `fallthrough` is None, only reverse zones fall through.
    fallthrough: tuple[bytes, ...] | None = None

    @property
    def domains(self) -> tuple["ZoneOptions", ...]:
        """Return the options of each domain."""
        return (self, *self.further)

    @property
    def served(self) -> tuple["ZoneOptions", ...]:
        """Return the options of each domain that has a zone."""
        return () if self.external_alone else self.domains

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the sources of all domains and of external zones. The source of the first domain comes first."""
        return tuple(dict.fromkeys([*(each.source for each in self.domains), *self.exposed]))

    @property
    def reverse_apexes(self) -> tuple[bytes, ...]:
        """Return the reverse zones of all domains."""
        return tuple(dict.fromkeys([apex for each in self.domains for apex in each.reverse_zones]))

    @property
    def apexes(self) -> tuple[bytes, ...]:
        """Return the apexes of all domains and of their reverse zones."""
        return (*(each.domain for each in self.domains), *self.reverse_apexes)

    @property
    def shared_apexes(self) -> tuple[bytes, ...]:
        """Return the apexes of zones to which a zone file may add records: external zones, and zones that fall through.

        Reverse zones that fall through only by default are left out.
        """
        named = [
            apex
            for each in self.domains
            for apex in (each.domain, *each.reverse_zones)
            if each.fallthrough is not None and each.falls_through(apex)
        ]
        return (*(zone.apex for zone in self.external if zone.is_served), *named)

    def falls_through(self, apex: bytes) -> bool:
        """Return whether missing names of a zone of this domain are forwarded to upstreams."""
        if self.fallthrough is None:
            return apex != self.domain
        return any(name.is_at_or_below(apex, each) for each in self.fallthrough)

    @property
    def has_pod_names(self) -> bool:
        """Return whether Pods of the first source have DNS names."""
        return any(each.pods is PodsMode.VERIFIED and each.source == FIRST for each in self.domains)

    @property
    def has_hairpin(self) -> bool:
        """Return whether an external zone may have other answers for clients in the cluster (hairpin)."""
        return any(zone.hairpin is not HairpinMode.OFF for zone in self.external)

    @property
    def has_client_classes(self) -> bool:
        """Return whether some answers depend on the client.

        The answers may depend on the client's node, on the zone of this node, or on whether the client is in the
        cluster.
        """
        return self.has_hairpin or self.zonal.plain is not PlainZonal.OFF

    @property
    def schema(self) -> Schema:
        """Return the domain and the TTL, in the form that `pydns.kube.schema` needs."""
        return Schema(self.domain, self.ttl_s)

    def may_point(self, address: bytes) -> bool:
        """Return whether the address of an endpoint may have a PTR record."""
        # This method is called for each endpoint. The loop takes 0.15 µs, and `any()` would take 0.6 µs.
        for first, last in self.ptr_ranges:  # noqa: SIM110
            if first <= address <= last and len(address) == len(first):
                return True
        return False

    def serves(self, namespace: str) -> bool:
        """Return whether the objects of a namespace have records."""
        return self.namespaces is None or namespace in self.namespaces


class Change(NamedTuple):
    """An object before and after a change. `before` is None for a new object. `after` is None for a deleted object."""

    before: Object | None
    after: Object | None


class ServedNamespaces:
    """Those namespaces of a domain that are served."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        # The namespaces that the source has listed. Only needed if the source selects namespaces by labels.
        self._listed: set[str] = set()

    def __contains__(self, namespace: str) -> bool:
        """Return whether objects of a namespace have records."""
        listed = not self._options.only_listed_namespaces or namespace in self._listed
        return listed and self._options.serves(namespace)

    def note(self, change: Change) -> str | None:
        """Process a change.

        Return the namespace that is served from now on, or that is no longer served. Return None for any other change.
        """
        if not self._options.only_listed_namespaces:
            return None
        before, after = change
        if isinstance(after, Namespace) and after.name not in self._listed:
            self._listed.add(after.name)
            return after.name
        if isinstance(before, Namespace) and after is None:
            self._listed.discard(before.name)
            return before.name
        return None


class Producer(Protocol):
    """Turns objects of one or more kinds into records.

    The records of a key depend on the state of the key alone. So the zone needs no copy of the published records,
    because it can make them again from the published state. Two keys must not have records of the same owner and type.
    But several keys may give reverse names to one address, because the zone merges these names.
    """

    def note(self, change: Change) -> Iterable[Key]:
        """Process a changed object. Return the keys whose state may have changed."""

    def current_keys(self) -> Collection[Key]:
        """Return all keys that have a state. The result may contain other keys, too."""

    def state(self, key: Key) -> State | None:
        """Return the current state of a key, or None if the key has no records."""

    def rrsets(self, state: State) -> Iterator[RRset | Hosts]:
        """Yield the RRsets of a state. The RRsets of one owner come one after the other, at most one for each type."""

    def class_rrsets(self, state: State) -> Iterator[tuple[ClientClass, RRset]]:
        """Yield the RRsets that client classes get instead of the plain RRsets.

        An RRset without RDATA means NODATA. There is at most one RRset for each class, owner and type. The owner exists
        for all other clients, too.
        """

    def names(self, state: State) -> Mapping[bytes, bytes]:
        """Return entries for the database `names`, such as the node kinds of names without records."""

    def pointers(self, state: State) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs of an address and a name, for PTR records. A pair may occur more than once."""

    def size(self, state: State) -> int:
        """Return about how many records a state has, without making the records."""

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for all records that are made after this call."""


MakeProducer = Callable[[ZoneOptions], Producer]


class Plain:
    """Default methods of producers.

    They are right for a simple producer: it has no reverse names and no large states, and all its names have records.
    """

    def class_rrsets(self, state: State) -> Iterator[tuple[ClientClass, RRset]]:
        """Yield nothing, because all clients get the same records."""
        yield from ()

    def names(self, state: State) -> Mapping[bytes, bytes]:
        """Return nothing, because all names have records."""
        return {}

    def pointers(self, state: State) -> Iterator[tuple[bytes, bytes]]:
        """Yield nothing, because there are no reverse names."""
        yield from ()

    def size(self, state: State) -> int:
        """Return 1, the size of a small state."""
        return 1
