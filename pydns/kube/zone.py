"""From events to changes of the answer table.

Producers make the records of objects; `pydns.kube.kinds` says which. The zone compiles them, merges the reverse names
that several keys give to one address, and compares with what was published. What was published is not kept a second
time: it is what the states of that moment compile to, and those are kept anyway.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.compiled import compile_answer, question, with_ttl
from pydns.dns.rrset import AAAA, CNAME, PTR, A, RRset
from pydns.kube import schema
from pydns.kube.events import Event
from pydns.kube.kinds import RECORD_KINDS, Kind
from pydns.kube.objects import Object, Ref, Service, ServiceKey
from pydns.kube.producer import Change, Key, MakeProducer, Producer, State, ZoneOptions
from pydns.kube.producers.services import ServiceState
from pydns.kube.store import Store
from pydns.table.layout import FORMAT, Changes, Contents, Facts, NodeKind, ZoneFacts

_ANSWERS, _NAMES = 0, 1  # places in Contents and Changes
_Names = dict[bytes, tuple[bytes, ...]]  # address → the names that a key gives it


class Zone:
    """The records of a cluster: feed it events, and take out what to do to the table.

    Only the thread that feeds it may use it.
    """

    def __init__(self, options: ZoneOptions, store: Store | None = None) -> None:
        self._store = Store() if store is None else store
        self._options = options
        self._reverse_trees = tuple([name.tree_key(zone) for zone in options.reverse_zones])
        parts: dict[MakeProducer, _Part] = {}
        self._parts_of_kind = {
            kind: [parts.setdefault(make, _Part(make(options))) for make in kind.row.producers] for kind in RECORD_KINDS
        }
        self._parts = list(parts.values())
        self._pointing: dict[bytes, tuple[_Pointing, ...]] = {}  # which published states name an address
        self._infrastructure = Contents({}, {})  # as it is to be
        self._before: tuple[dict[bytes, bytes | None], ...] = ({}, {})  # its values at the last flush, if they differed
        for kind in RECORD_KINDS:
            for value in self._store.objects(kind):
                self._note(kind, Change(None, value))

    # What is fed

    def apply(self, event: Event) -> bool:
        """Take in an event of a source. Return whether an object differs now."""
        changes = self._store.apply(event)
        for ref, change in changes:
            self._note(ref.kind, change)
        return bool(changes)

    def with_options(self, options: ZoneOptions) -> "Zone":
        """Return a zone of the same objects with other options, of which nothing is published yet.

        It takes the objects over: this zone must not be fed any more.
        """
        return Zone(options, self._store)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Give all records another TTL from now on.

        Return a function that revises a published answer: the result is what `contents` would yield, in less time.
        """
        revise = partial(with_ttl, before_s=self._options.ttl_s, ttl_s=ttl_s)
        self._options = self._options._replace(ttl_s=ttl_s)
        for part in self._parts:
            part.producer.change_ttl(ttl_s)
        answers, before = self._infrastructure.answers, self._before[_ANSWERS]
        answers.update({key: revise(value) for key, value in answers.items()})
        before.update({key: revise(value) for key, value in before.items() if value is not None})
        return revise

    # What is taken out

    def flush(self) -> Changes:
        """Return what has changed in the table since the last `flush` or `contents`.

        Not promised: the intermediate states between two calls. Changes that cancel out are no changes.
        """
        changes = Changes({}, {})
        addresses: dict[bytes, None] = {}
        for part in self._parts:
            for key in part.dirty:
                before, after = part.published.get(key), part.producer.state(key)
                _compare(part.compile(before), part.compile(after), changes)
                addresses |= self._republish(part, key, before, after)
            part.dirty.clear()
        known: dict[_Pointing, _Names] = {}
        for address in addresses:
            self._change_pointer(address, known, changes)
        self._add_infrastructure()
        for before_now, now, found in zip(self._before, self._infrastructure, changes, strict=True):
            found.update({key: now.get(key) for key, old in before_now.items() if now.get(key) != old})
            before_now.clear()
        return changes

    def contents(self) -> Iterator[Contents]:
        """Yield everything that the table should hold, in pieces, and count it as published. Iterate to the end.

        Each iteration yields the same, so a writer that ran out of room can begin again.
        """
        for part in self._parts:
            part.publish_all()
        self._point()
        shared: dict[bytes, tuple[bytes, ...]] = {}
        for part in self._parts:
            for state in part.published.values():
                piece = part.compile(state)
                for address, targets in part.producer.pointers(state).items():
                    if len(self._pointing[address]) > 1:
                        shared[address] = (*shared.get(address, ()), *targets)
                    else:
                        self._put_pointer(address, targets, piece)
                yield piece
        self._add_infrastructure()
        for before in self._before:
            before.clear()
        last = Contents(dict(self._infrastructure.answers), dict(self._infrastructure.names))
        for address, targets in shared.items():
            self._put_pointer(address, targets, last)
        yield last

    def facts(self, *, serial: int, synced: bool) -> Facts:
        """Return the facts that go with the records."""
        return facts(self._options, serial=serial, synced=synced)

    # What is known of the objects

    @property
    def synced(self) -> frozenset[Kind]:
        """Return the kinds that have been listed to the end once."""
        return frozenset(self._store.synced)

    @property
    def skipped(self) -> dict[Ref, str]:
        """Return the objects that can't be used, and why."""
        return self._store.skipped

    @property
    def resource_version(self) -> int:
        """Return the highest resourceVersion seen; 0 if the source has none."""
        return self._store.resource_version

    def count(self, kind: Kind) -> int:
        """Return how many objects there are of a kind."""
        return self._store.count(kind)

    def object(self, ref: Ref) -> Object | None:
        """Return an object."""
        return self._store.get(ref)

    def service_addresses(self) -> tuple[bytes, ...]:
        """Return the ClusterIPs of the published Services that have this server as an endpoint."""
        return tuple(dict.fromkeys([ip for service in self._serving() for ip in service.cluster_ips]))

    def _serving(self) -> list[Service]:
        """Return the published Services that have this server as an endpoint, in the order of their keys."""
        found: dict[ServiceKey, Service] = {}
        for own in self._options.own_addresses:
            for part, key in self._pointing.get(own, ()):
                state = part.published[key]
                if isinstance(state, ServiceState) and own not in state.service.cluster_ips:
                    found[state.service.key] = state.service
        return [found[key] for key in sorted(found)]

    def _note(self, kind: Kind, change: Change) -> None:
        for part in self._parts_of_kind.get(kind, ()):
            part.dirty.update(dict.fromkeys(part.producer.note(change)))

    # Reverse names

    def _point(self) -> None:
        """Find which published states name which address."""
        self._pointing = {}
        for part in self._parts:
            for key, state in part.published.items():
                only = (_Pointing(part, key),)
                for address in part.producer.addresses(state):
                    others = self._pointing.get(address)
                    if others is None:
                        self._pointing[address] = only
                    elif only[0] not in others:
                        self._pointing[address] = others + only

    def _republish(self, part: "_Part", key: Key, before: State | None, after: State | None) -> dict[bytes, None]:
        """Count `after` as published, and return the addresses whose names differ now."""
        if after is None:
            part.published.pop(key, None)
        else:
            part.published[key] = after
        old, new = part.pointers(before), part.pointers(after)
        only = (_Pointing(part, key),)
        for address in old.keys() - new.keys():
            left = tuple([each for each in self._pointing[address] if each != only[0]])
            if left:
                self._pointing[address] = left
            else:
                del self._pointing[address]
        for address in new.keys() - old.keys():
            self._pointing[address] = self._pointing.get(address, ()) + only
        return dict.fromkeys(address for address in old | new if old.get(address) != new.get(address))

    def _change_pointer(self, address: bytes, known: dict["_Pointing", _Names], changes: Changes) -> None:
        targets: list[bytes] = []
        for each in self._pointing.get(address, ()):
            if each not in known:
                known[each] = each.part.pointers(each.part.published[each.key])
            targets += known[each][address]
        piece = Contents({}, {})
        if targets:
            self._put_pointer(address, targets, piece)
            changes.answers.update(piece.answers)
            changes.names.update(piece.names)
        else:
            owner = name.reverse_name(address)
            changes.answers[question(owner, PTR)] = None
            changes.names[name.reverse_tree_key(address)] = None

    def _put_pointer(self, address: bytes, targets: Iterable[bytes], contents: Contents) -> None:
        tree = name.reverse_tree_key(address)
        if tree.startswith(self._reverse_trees):
            rrset = schema.pointer_rrset(self._options.schema, address, targets)
            contents.answers[question(rrset.owner, PTR)] = compile_answer(rrset)
            contents.names[tree] = NodeKind.PLAIN

    # The records of the server itself

    def _add_infrastructure(self) -> None:
        """Bring the name servers up to date. They change when a Service gets this server as an endpoint."""
        the_schema = self._options.schema
        names = [schema.service_name(the_schema, *service.key) for service in self._serving()]
        addresses = self.service_addresses()
        zones = (self._options.domain, *self._options.reverse_zones)
        wanted = list(
            schema.infrastructure_rrsets(
                the_schema, zones, names if addresses else (), addresses or self._options.own_addresses
            )
        )
        for rtype in {A, AAAA} - {rrset.rtype for rrset in wanted}:  # families of an earlier set of addresses
            self._set(_ANSWERS, question(schema.nameserver_name(the_schema), rtype), None)
        for rrset in wanted:
            self._set(_ANSWERS, question(rrset.owner, rrset.rtype), compile_answer(rrset))
            self._set(_NAMES, name.tree_key(rrset.owner), NodeKind.PLAIN)
        for owner in schema.infrastructure_names(the_schema):
            self._set(_NAMES, name.tree_key(owner), NodeKind.PLAIN)

    def _set(self, database: int, key: bytes, value: bytes | None) -> None:
        """Set a value of the infrastructure, and remember the value before."""
        now = self._infrastructure[database]
        self._before[database].setdefault(key, now.get(key))
        if value is None:
            now.pop(key, None)
        else:
            now[key] = value


class _Part:
    """A producer, the states that are published, and the keys that have changed since."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.dirty: dict[Key, None] = {}
        self.published: dict[Key, State] = {}

    def publish_all(self) -> None:
        """Count the state of every key as published."""
        self.dirty.clear()
        states = ((key, self.producer.state(key)) for key in self.producer.current_keys())
        self.published = {key: state for key, state in states if state is not None}

    def compile(self, state: State | None) -> Contents:
        """Return what the table holds of a state, reverse names apart."""
        contents = Contents({}, {})
        if state is not None:
            contents.names.update(self.producer.names(state))
            owner = b""
            for rrset in self.producer.rrsets(state):
                contents.answers[question(rrset.owner, rrset.rtype)] = compile_answer(rrset)
                if rrset.owner is not owner:  # the types of a name follow one another
                    owner = rrset.owner
                    contents.names[name.tree_key(owner)] = _node_kind(rrset)
        return contents

    def pointers(self, state: State | None) -> _Names:
        """Return the names that a state gives to addresses."""
        return {} if state is None else dict(self.producer.pointers(state))


class _Pointing(NamedTuple):
    """A published state that names an address."""

    part: _Part
    key: Key


def facts(options: ZoneOptions, *, serial: int, synced: bool) -> Facts:
    """Return the facts of the zones that `options` describe."""
    the_schema = options.schema
    mname, rname = schema.nameserver_name(the_schema), schema.hostmaster_name(the_schema)
    apexes = sorted({options.domain, *options.reverse_zones}, key=len, reverse=True)
    # The TTL of a negative answer is the smaller of the SOA's own and its minimum (RFC 2308 section 5).
    zones = [
        # Reverse zones fall through, as in kubeadm's Corefile: most of their names are not the cluster's.
        ZoneFacts(apex, mname, rname, min(options.ttl_s, 300), options.ttl_s, apex != options.domain)
        for apex in apexes
    ]
    return Facts(FORMAT, options.domain, zones, serial & 0xFFFFFFFF, synced, options.ttl_s)


def _node_kind(rrset: RRset) -> NodeKind:
    return NodeKind.ALIAS if rrset.rtype == CNAME else NodeKind.PLAIN


def _compare(before: Contents, after: Contents, changes: Changes) -> None:
    for old, new, found in zip(before, after, changes, strict=True):
        for key in old.keys() - new.keys():
            found[key] = None
        for key, value in new.items():
            if old.get(key) != value:
                found[key] = value
