"""The protocol of producers. A producer turns objects into the records of a zone.

`pydns.kube.zone.Zone` does the common work for all producers. It compiles records, and compares them with the published
records. If several keys give reverse names to one address, it merges these names.
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

Key = Any  # a hashable value that identifies a group of records; for a Service: its namespace and name
State = Any  # the objects from which the records of a key are made, as an immutable value. States are compared with ==

FIRST = ""  # the name of the first cluster, and of its source
ALL_ADDRESSES = (AddressRange(bytes(4), b"\xff" * 4), AddressRange(bytes(16), b"\xff" * 16))
_IN_ADDR_ARPA = name.from_text("in-addr.arpa")
_IP6_ARPA = name.from_text("ip6.arpa")


class ZoneOptions(NamedTuple):
    """The options that decide which records a domain of a cluster has.

    The options of the first domain contain the options of all other domains.
    """

    domain: bytes = name.from_text("cluster.local")  # lower case
    reverse_zones: tuple[bytes, ...] = (_IN_ADDR_ARPA, _IP6_ARPA)  # lower case
    # Of all endpoints, only those in these ranges have PTR records.
    ptr_ranges: tuple[AddressRange, ...] = ALL_ADDRESSES
    ttl_s: int = 5
    pods: PodsMode = PodsMode.INSECURE
    namespaces: frozenset[str] | None = None  # None: all namespaces are served
    own_addresses: tuple[bytes, ...] = ()  # the addresses at which clients reach this DNS server
    # This DNS server's own namespace. A Service there can give the server its name.
    server_namespace: str = "kube-system"
    # The options from here to `exposed` are used only in the first domain.
    external: tuple[ExternalZone, ...] = ()
    multicluster: tuple[bytes, ...] = ()  # zones with the names of ServiceImports, lower case
    external_alone: bool = False  # True: only external zones are served
    zonal: ZonalOptions = ZonalOptions()
    # Ranges of clients in the cluster, in addition to those that objects show.
    cluster_ranges: tuple[ClientRange, ...] = ()
    further: tuple["ZoneOptions", ...] = ()  # the options of the other domains
    client_pods: bool = False  # True: Pods are watched, so that clients get the names of Pods
    exposed: tuple[str, ...] = (FIRST,)  # clusters whose objects have names in external zones

    cluster: str = FIRST
    source: str = FIRST  # the source of the domain's objects. Domains with different selectors have different sources
    has_endpoints: bool = True  # False: endpoints and headless Services have no names
    hides_empty_services: bool = False  # True: a Service with a ClusterIP but no ready endpoint has no name
    only_listed_namespaces: bool = False  # True: only the namespaces that the source selects by labels are served
    # Zones at or below these names fall through. None: only reverse zones do.
    fallthrough: tuple[bytes, ...] | None = None

    @property
    def domains(self) -> tuple["ZoneOptions", ...]:
        """Return the options of each domain."""
        return (self, *self.further)

    @property
    def served(self) -> tuple["ZoneOptions", ...]:
        """Return the options of each domain that is served."""
        return () if self.external_alone else self.domains

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the sources of all domains and of external zones. The first domain's source comes first."""
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
        """Return the zones to which a zone file may add records: external zones, and domains that fall through.

        A reverse zone is shared only if the options name it.
        """
        named = [
            apex
            for each in self.domains
            for apex in (each.domain, *each.reverse_zones)
            if each.fallthrough is not None and each.falls_through(apex)
        ]
        return (*(zone.apex for zone in self.external if zone.is_served), *named)

    def falls_through(self, apex: bytes) -> bool:
        """Return whether names that are missing from the zone `apex` of this domain are forwarded to upstreams."""
        if self.fallthrough is None:
            return apex != self.domain
        return any(name.is_at_or_below(apex, each) for each in self.fallthrough)

    @property
    def has_pod_names(self) -> bool:
        """Return whether the Pods of the first source have names."""
        return any(each.pods is PodsMode.VERIFIED and each.source == FIRST for each in self.domains)

    @property
    def has_hairpin(self) -> bool:
        """Return whether external zones may give special answers to clients in the cluster."""
        return any(zone.hairpin is not HairpinMode.OFF for zone in self.external)

    @property
    def has_client_classes(self) -> bool:
        """Return whether some answers depend on the client.

        They may depend on its node, on its zone, or on whether it is in the cluster.
        """
        return self.has_hairpin or self.zonal.plain is not PlainZonal.OFF

    @property
    def schema(self) -> Schema:
        """Return the domain and the TTL for the records of the DNS specification."""
        return Schema(self.domain, self.ttl_s)

    def may_point(self, address: bytes) -> bool:
        """Return whether the address of an endpoint may have a PTR record."""
        # A loop, because any() takes 0.6 µs and the loop 0.15 µs. This method is called for each endpoint.
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
    """The namespaces of a domain that are served."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        # The namespaces that the source has listed; used only if the source selects namespaces.
        self._listed: set[str] = set()

    def __contains__(self, namespace: str) -> bool:
        """Return whether objects of a namespace have records."""
        listed = not self._options.only_listed_namespaces or namespace in self._listed
        return listed and self._options.serves(namespace)

    def note(self, change: Change) -> str | None:
        """Process a change. Return the namespace if the change adds or removes a served one, else None."""
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

    The records of a key depend on the state of the key alone. So the zone can make the published records again from the
    published state, and needs no copy of the records. Two keys must not have records of the same owner and type. Only
    reverse names may have several keys, because the zone merges them.
    """

    def note(self, change: Change) -> Iterable[Key]:
        """Process a changed object. Return the keys whose state may have changed."""

    def current_keys(self) -> Collection[Key]:
        """Return all keys that have a state. The result may also contain keys without a state."""

    def state(self, key: Key) -> State | None:
        """Return the current state of a key, or None if the key has no records."""

    def rrsets(self, state: State) -> Iterator[RRset | Hosts]:
        """Yield the RRsets of a state. The RRsets of an owner come one after another, at most one for each type."""

    def class_rrsets(self, state: State) -> Iterator[tuple[ClientClass, RRset]]:
        """Yield the RRsets that client classes get instead of the plain RRsets.

        An RRset without RDATA means NODATA. There is at most one RRset for each class, owner and type. The owner also
        exists for other clients.
        """

    def names(self, state: State) -> Mapping[bytes, bytes]:
        """Return entries for the database `names`: the node kinds of names without records, and other entries."""

    def pointers(self, state: State) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs of an address and its name, for the reverse zones. A pair may occur more than once."""

    def size(self, state: State) -> int:
        """Return the approximate number of records of a state, without making the records."""

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for all records that are made after this call."""


MakeProducer = Callable[[ZoneOptions], Producer]


class Plain:
    """Defaults for simple producers.

    They have no reverse names and no large states, and all their names have records.
    """

    def class_rrsets(self, state: State) -> Iterator[tuple[ClientClass, RRset]]:
        """Yield nothing: all clients get the same records."""
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
