"""From events to what changes in the answer table.

`schema` says what records objects have; this compiles them, merges what several objects say of one name (reverse
names can have several Services), and compares with what was published. What was published is not kept a second time:
it is what the objects of that moment compile to, and those are kept anyway.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.compiled import compile_answer, question, with_ttl
from pydns.dns.dashed import pod_rrsets
from pydns.dns.rrset import AAAA, CNAME, PTR, A, RRset
from pydns.kube import schema
from pydns.kube.events import Event
from pydns.kube.objects import EndpointSlice, Kind, Namespace, Pod, Service
from pydns.kube.schema import Schema
from pydns.kube.store import Change, ServiceKey, Store
from pydns.table.layout import FORMAT, Changes, Contents, Facts, NodeKind, ZoneFacts

_IN_ADDR_ARPA = name.from_text("in-addr.arpa")
_IP6_ARPA = name.from_text("ip6.arpa")


_ANSWERS, _NAMES = 0, 1  # places in Contents and Changes


class ZoneOptions(NamedTuple):
    """What is served, and how."""

    domain: bytes = name.from_text("cluster.local")  # lower case
    reverse_zones: tuple[bytes, ...] = (_IN_ADDR_ARPA, _IP6_ARPA)  # lower case
    ttl_s: int = 5
    pods: PodsMode = PodsMode.INSECURE
    namespaces: frozenset[str] | None = None  # None: all
    own_addresses: tuple[bytes, ...] = ()  # what this server is reached at


class Zone:
    """The records of a cluster. Feed it events, and take out what to do to the table."""

    def __init__(self, options: ZoneOptions, store: Store | None = None) -> None:
        self.store = Store() if store is None else store
        self._options = options
        self._schema = Schema(options.domain, options.ttl_s)
        self._reverse_trees = tuple([name.tree_key(zone) for zone in options.reverse_zones])
        self._dirty: dict[ServiceKey, None] = {}
        self._published: dict[ServiceKey, _State] = {}
        self._pointing: dict[bytes, tuple[ServiceKey, ...]] = {}  # which published Services name an address
        self._pods: dict[tuple[str, bytes], int] = {}  # how many pods of a namespace have an address
        self._small = Contents({}, {})  # what doesn't come from Services, as it is to be
        self._before: tuple[dict[bytes, bytes | None], ...] = ({}, {})  # what of it was otherwise at the last flush
        for value in (*self.store.objects(Kind.NAMESPACE), *self.store.objects(Kind.POD)):
            self._note(Change(None, value))

    def with_options(self, options: ZoneOptions) -> "Zone":
        """Return a zone of the same objects by other options, of which nothing is published yet.

        It takes the store over: this one is not to be fed any more.
        """
        return Zone(options, self.store)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Have all records have another TTL from now on.

        Returns what makes a published answer one with that TTL: what `contents` would yield, sooner.
        """
        revise = partial(with_ttl, before_s=self._options.ttl_s, ttl_s=ttl_s)
        self._options = self._options._replace(ttl_s=ttl_s)
        self._schema = self._schema._replace(ttl_s=ttl_s)
        small, before = self._small.answers, self._before[_ANSWERS]
        small.update({key: revise(value) for key, value in small.items()})
        before.update({key: revise(value) for key, value in before.items() if value is not None})
        return revise

    def apply(self, event: Event) -> bool:
        """Take an event of a source. Returns whether an object is another now."""
        changes = self.store.apply(event)
        for change in changes:
            self._note(change)
        return bool(changes)

    def flush(self) -> Changes:
        """Return what has changed in the table since the last `flush` or `contents`.

        Not promised: the intermediate states between two calls. Changes that come to nothing are no changes.
        """
        changes = Changes({}, {})
        addresses: dict[bytes, None] = {}
        for key in self._dirty:
            before, after = self._published.get(key, _NOTHING), self._state(key)
            _compare(self._compile(before), self._compile(after), changes)
            addresses |= self._republish(key, before, after)
        self._dirty.clear()
        cache: dict[ServiceKey, dict[bytes, tuple[bytes, ...]]] = {}
        for address in addresses:
            self._change_pointer(address, cache, changes)
        self._add_infrastructure()
        for before_now, now, found in zip(self._before, self._small, changes, strict=True):
            found.update({key: now.get(key) for key, old in before_now.items() if now.get(key) != old})
            before_now.clear()
        return changes

    def contents(self) -> Iterator[Contents]:
        """Yield all that the table is to hold, in pieces, and count it as published. To be iterated over to the end.

        Every time it is iterated over it yields the same, so that a writer that ran out of room can begin again.
        """
        self._dirty.clear()
        states = {key: self._state(key) for key in self.store.services()}
        self._published = {key: state for key, state in states.items() if state.service is not None}
        self._pointing = {}
        for key, state in self._published.items():
            only = (key,)
            for address in _addresses(state):
                others = self._pointing.get(address)
                if others is None:
                    self._pointing[address] = only
                elif key not in others:
                    self._pointing[address] = (*others, key)
        shared: dict[bytes, tuple[bytes, ...]] = {}
        for state in self._published.values():
            piece = self._compile(state)
            for address, targets in self._pointers(state).items():
                if len(self._pointing[address]) > 1:
                    shared[address] = (*shared.get(address, ()), *targets)
                else:
                    self._put_pointer(address, targets, piece)
            yield piece
        self._add_infrastructure()
        for before in self._before:
            before.clear()
        last = Contents(dict(self._small.answers), dict(self._small.names))
        for address, targets in shared.items():
            self._put_pointer(address, targets, last)
        yield last

    def facts(self, *, serial: int, synced: bool) -> Facts:
        """Return the facts that go with the records."""
        return facts(self._options, serial=serial, synced=synced)

    def service_addresses(self) -> tuple[bytes, ...]:
        """Return the ClusterIPs of the published Services that have this server as an endpoint."""
        serving = sorted(self._serving())
        return tuple(dict.fromkeys([ip for key in serving for ip in _service_of(self._published[key]).cluster_ips]))

    def _serving(self) -> set[ServiceKey]:
        return {
            key
            for own in self._options.own_addresses
            for key in self._pointing.get(own, ())
            if own not in _service_of(self._published[key]).cluster_ips
        }

    def _note(self, change: Change) -> None:
        for each in (change.before, change.after):
            match each:
                case Service():
                    self._dirty[each.namespace, each.name] = None
                case EndpointSlice():
                    self._dirty[each.namespace, each.service] = None
                case Namespace():
                    self._note_namespace(each, exists=each is change.after)
                case Pod():
                    for address in each.addresses:
                        self._note_pod(each.namespace, address, 1 if each is change.after else -1)

    def _note_namespace(self, namespace: Namespace, *, exists: bool) -> None:
        if not self._is_exposed(namespace.name):
            return
        nodes = {schema.namespace_name(self._schema, namespace.name): NodeKind.PLAIN}
        if self._options.pods is not PodsMode.DISABLED:
            insecure = self._options.pods is PodsMode.INSECURE
            node = NodeKind.POD_NAMESPACE if insecure else NodeKind.PLAIN
            nodes[schema.pod_namespace_name(self._schema, namespace.name)] = node
        for owner, kind in nodes.items():
            self._set(_NAMES, name.tree_key(owner), kind if exists else None)

    def _note_pod(self, namespace: str, address: bytes, difference: int) -> None:
        if self._options.pods is not PodsMode.VERIFIED or not self._is_exposed(namespace):
            return
        count = self._pods.pop((namespace, address), 0) + difference
        if count:
            self._pods[namespace, address] = count
        owner = schema.pod_name(self._schema, namespace, address)
        for rrset in pod_rrsets(owner, address, self._schema.ttl_s):
            self._set(_ANSWERS, question(rrset.owner, rrset.rtype), compile_answer(rrset) if count else None)
            self._set(_NAMES, name.tree_key(rrset.owner), NodeKind.PLAIN if count else None)

    def _is_exposed(self, namespace: str) -> bool:
        return self._options.namespaces is None or namespace in self._options.namespaces

    def _state(self, key: ServiceKey) -> "_State":
        service = self.store.service(key) if self._is_exposed(key[0]) else None
        return _NOTHING if service is None else _State(service, self.store.slices(key))

    def _compile(self, state: "_State") -> Contents:
        contents = Contents({}, {})
        if state.service is not None:
            owner = b""
            for rrset in schema.service_rrsets(self._schema, state.service, state.slices):
                contents.answers[question(rrset.owner, rrset.rtype)] = compile_answer(rrset)
                if rrset.owner is not owner:  # a name's types come one after another
                    owner = rrset.owner
                    contents.names[name.tree_key(owner)] = _node_kind(rrset)
        return contents

    def _pointers(self, state: "_State") -> dict[bytes, tuple[bytes, ...]]:
        return {} if state.service is None else schema.pointers(self._schema, state.service, state.slices)

    def _republish(self, key: ServiceKey, before: "_State", after: "_State") -> dict[bytes, None]:
        """Count `after` as published and return the addresses that are called differently now."""
        if after.service is None:
            self._published.pop(key, None)
        else:
            self._published[key] = after
        old, new = self._pointers(before), self._pointers(after)
        for address in old.keys() - new.keys():
            left = tuple([each for each in self._pointing[address] if each != key])
            if left:
                self._pointing[address] = left
            else:
                del self._pointing[address]
        only = (key,)
        for address in new.keys() - old.keys():
            others = self._pointing.get(address)
            self._pointing[address] = only if others is None else (*others, key)
        return dict.fromkeys(address for address in old | new if old.get(address) != new.get(address))

    def _change_pointer(
        self, address: bytes, cache: dict[ServiceKey, dict[bytes, tuple[bytes, ...]]], changes: Changes
    ) -> None:
        targets: list[bytes] = []
        for key in self._pointing.get(address, ()):
            if key not in cache:
                cache[key] = self._pointers(self._published[key])
            targets += cache[key][address]
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
            rrset = schema.pointer_rrset(self._schema, address, targets)
            contents.answers[question(rrset.owner, PTR)] = compile_answer(rrset)
            contents.names[tree] = NodeKind.PLAIN

    def _add_infrastructure(self) -> None:
        """Say who the name servers are. That changes when a Service gets this server as its endpoint."""
        serving = self._serving()
        names = [schema.service_name(self._schema, *key) for key in serving]
        addresses = self.service_addresses()
        zones = (self._options.domain, *self._options.reverse_zones)
        wanted = list(
            schema.infrastructure_rrsets(
                self._schema, zones, names if addresses else (), addresses or self._options.own_addresses
            )
        )
        for rtype in {A, AAAA} - {rrset.rtype for rrset in wanted}:  # families of an earlier set of addresses
            self._set(_ANSWERS, question(schema.nameserver_name(self._schema), rtype), None)
        for rrset in wanted:
            self._set(_ANSWERS, question(rrset.owner, rrset.rtype), compile_answer(rrset))
            self._set(_NAMES, name.tree_key(rrset.owner), NodeKind.PLAIN)
        for owner in schema.infrastructure_names(self._schema):
            self._set(_NAMES, name.tree_key(owner), NodeKind.PLAIN)

    def _set(self, database: int, key: bytes, value: bytes | None) -> None:
        """Note what is to be in the table besides what comes from Services, and what was there before."""
        now = self._small[database]
        self._before[database].setdefault(key, now.get(key))
        if value is None:
            now.pop(key, None)
        else:
            now[key] = value


def facts(options: ZoneOptions, *, serial: int, synced: bool) -> Facts:
    """Return the facts of the zones that `options` describe."""
    the_schema = Schema(options.domain, options.ttl_s)
    mname, rname = schema.nameserver_name(the_schema), schema.hostmaster_name(the_schema)
    apexes = sorted({options.domain, *options.reverse_zones}, key=len, reverse=True)
    # The TTL of a negative answer is the smaller of the SOA's own and its minimum (RFC 2308 section 5).
    zones = [
        # Reverse zones fall through, as in kubeadm's Corefile: most of their names are not the cluster's.
        ZoneFacts(apex, mname, rname, min(options.ttl_s, 300), options.ttl_s, apex != options.domain)
        for apex in apexes
    ]
    return Facts(FORMAT, options.domain, zones, serial & 0xFFFFFFFF, synced, options.ttl_s)


class _State(NamedTuple):
    service: Service | None
    slices: tuple[EndpointSlice, ...]


_NOTHING = _State(None, ())


def _service_of(state: _State) -> Service:
    assert state.service is not None  # what is published has one
    return state.service


def _addresses(state: _State) -> Iterator[bytes]:
    service = _service_of(state)
    if service.external_name is None:
        yield from service.cluster_ips
        for each in state.slices:
            for endpoint in each.endpoints:
                yield endpoint.address


def _node_kind(rrset: RRset) -> NodeKind:
    return NodeKind.ALIAS if rrset.rtype == CNAME else NodeKind.PLAIN


def _compare(before: Contents, after: Contents, changes: Changes) -> None:
    for old, new, found in zip(before, after, changes, strict=True):
        for key in old.keys() - new.keys():
            found[key] = None
        for key, value in new.items():
            if old.get(key) != value:
                found[key] = value
