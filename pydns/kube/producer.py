"""What a producer is: it turns objects into the records of a zone.

`pydns.kube.zone.Zone` does the rest for all producers: it compiles records, compares them with what is published, and
merges the reverse names that several keys give to one address.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from pydns.config.model import ExternalZone
from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.address import AddressRange
from pydns.dns.rrset import RRset
from pydns.kube.objects import Object
from pydns.kube.schema import Schema

Key = Any  # what a producer keeps records by, hashable; for Services it is namespace and name
State = Any  # the objects that a key's records are made of: a value that compares with == and doesn't change

ALL_ADDRESSES = (AddressRange(bytes(4), b"\xff" * 4), AddressRange(bytes(16), b"\xff" * 16))
_IN_ADDR_ARPA = name.from_text("in-addr.arpa")
_IP6_ARPA = name.from_text("ip6.arpa")


class ZoneOptions(NamedTuple):
    """Which records a cluster has."""

    domain: bytes = name.from_text("cluster.local")  # lower case
    reverse_zones: tuple[bytes, ...] = (_IN_ADDR_ARPA, _IP6_ARPA)  # lower case
    ptr_ranges: tuple[AddressRange, ...] = ALL_ADDRESSES  # those that endpoints may name
    ttl_s: int = 5
    pods: PodsMode = PodsMode.INSECURE
    namespaces: frozenset[str] | None = None  # None: all
    own_addresses: tuple[bytes, ...] = ()  # where clients reach this server
    server_namespace: str = "kube-system"  # the server's own; Services there can name it
    external: tuple[ExternalZone, ...] = ()

    @property
    def schema(self) -> Schema:
        """Return what the records of the DNS specification depend on."""
        return Schema(self.domain, self.ttl_s)

    def may_point(self, address: bytes) -> bool:
        """Return whether an endpoint's address may have a PTR record."""
        # Not any(): 0.15 instead of 0.6 µs, and that twice for each endpoint.
        for first, last in self.ptr_ranges:  # noqa: SIM110
            if first <= address <= last and len(address) == len(first):
                return True
        return False

    def serves(self, namespace: str) -> bool:
        """Return whether objects of a namespace have records."""
        return self.namespaces is None or namespace in self.namespaces


class Change(NamedTuple):
    """An object that differs now. None: it didn't exist before, or doesn't any more."""

    before: Object | None
    after: Object | None


class Producer(Protocol):
    """Makes records of the objects of one or more kinds.

    The records of a key are made of its state alone. So the records that are published can be made again from the
    state of that time, and nobody keeps them a second time. Two keys must not make the same owner and type; reverse
    names are the exception, they are merged.
    """

    def note(self, change: Change) -> Iterable[Key]:
        """Take in a changed object, and return the keys whose state may differ now."""

    def current_keys(self) -> Collection[Key]:
        """Return all keys that may have a state. Some may have none."""

    def state(self, key: Key) -> State | None:
        """Return the state of a key now. None: it has no records."""

    def rrsets(self, state: State) -> Iterator[RRset]:
        """Yield the records of a state, the types of an owner one after another. Owners don't repeat a type."""

    def names(self, state: State) -> Mapping[bytes, bytes]:
        """Return the names that exist without records: tree key → `NodeKind`."""

    def pointers(self, state: State) -> Iterator[tuple[bytes, bytes]]:
        """Yield addresses with the names that a state gives them, for the reverse zones. Pairs may repeat."""

    def addresses(self, state: State) -> Iterable[bytes]:
        """Return the addresses of `pointers`, in less time. They may repeat."""

    def size(self, state: State) -> int:
        """Return about how many records a state has, at once: what it costs to make them."""

    def change_ttl(self, ttl_s: int) -> None:
        """Make records with another TTL from now on."""


MakeProducer = Callable[[ZoneOptions], Producer]


class Plain:
    """The defaults of most producers: no names without records, no reverse names, and no large states."""

    def names(self, state: State) -> Mapping[bytes, bytes]:
        """Return nothing: all names have records."""
        return {}

    def pointers(self, state: State) -> Iterator[tuple[bytes, bytes]]:
        """Yield nothing."""
        yield from ()

    def addresses(self, state: State) -> Iterable[bytes]:
        """Return nothing."""
        return ()

    def size(self, state: State) -> int:
        """Return 1."""
        return 1
