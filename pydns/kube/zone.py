"""Turns events of clusters into changes of the answer table.

Producers turn objects into records. The table in `pydns.kube.kinds` lists the producers of each kind. The zone compiles
the records, and merges the reverse names that several keys give to one address. Then it compares the result with the
published records. The zone keeps no copy of the published records, but only the states from which they were made. For a
comparison, it compiles the published states again.

The work of a flush can be divided. The zone compares small states first, and a large state piece by piece, in several
flushes. So a small change doesn't wait for the large Service of another tenant. But the records of a large Service
don't all change in the same commit.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from pydns.config.model import ExternalZone, HairpinMode
from pydns.dns import name
from pydns.dns.compiled import compile_answer, compile_hosts, compile_pointers, question, with_ttl
from pydns.dns.rrset import CNAME, PTR, Hosts
from pydns.kube import schema
from pydns.kube.client_entries import ClientEntries, NodePods
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import NAMING_KINDS, OPTIONAL_KINDS, RECORD_KINDS, Kind, optional_kinds
from pydns.kube.objects import Object, Ref, Service
from pydns.kube.producer import FIRST, Change, Key, MakeProducer, Producer, State, ZoneOptions
from pydns.kube.producers.cluster_clients import ClusterClients
from pydns.kube.producers.external import External
from pydns.kube.producers.service_imports import VERSION, ImportState, ServiceImports
from pydns.kube.producers.services import Services, ServiceState, Unready
from pydns.kube.store import Store
from pydns.table.client_classes import answer_key, with_levels
from pydns.table.layout import FORMAT, MAX_DENIAL_S, Changes, Contents, Facts, NodeKind, ZoneFacts

_KINDS = RECORD_KINDS + OPTIONAL_KINDS
# Copies of members, because a look-up in the enum takes as long as all other work for a name.
_PLAIN, _ALIAS = NodeKind.PLAIN, NodeKind.ALIAS
_ANSWERS, _NAMES = 0, 1  # indexes of `answers` and `names` in Contents and Changes
_Names = dict[bytes, tuple[bytes, ...]]  # address -> the names that the state of a key gives to the address
_Comparison = Generator["_Piece", None, None]  # a comparison of two states of a key, in pieces

# A key is large if its old and its new state together have at least this size. Only the comparison of a large key is
# divided.
_LARGE = 200
# How much of a large state is one piece: at most this many records, names or addresses, and this many octets of
# answers.
_PIECE, _PIECE_OCTETS = 200, 1 << 17
_LOOK = 40  # making the state of this many records takes as long as comparing one record
# The comparison of a large key is due after size / _DEADLINE seconds. The comparison that is due first comes first.
_DEADLINE = 1000
_FIRST = 200_000  # maximum total size of the large states that `contents` yields, which takes a few seconds
# After its comparison, a large key pauses for `_PAUSE` times as long as the comparison took, but at most for
# `_MAX_PAUSE_S` seconds. Then it may be compared again.
_PAUSE, _MAX_PAUSE_S = 9, 5.0


class Cut(NamedTuple):
    """How much of a Service the answer table lacks."""

    answers: int  # how many answers lack some of their records
    left_out: int  # how many endpoints and ports have no records

    def __str__(self) -> str:
        found = [f"{self.answers} answers are cut"] if self.answers else []
        return ", ".join([*found, f"{self.left_out} endpoints or ports have no records"] if self.left_out else found)


class ForeignRef(NamedTuple):
    """A reference to an object of a cluster other than the first."""

    ref: Ref
    cluster: str

    def __str__(self) -> str:
        return f"{self.ref} of cluster {self.cluster}"


def in_cluster(ref: Ref, cluster: str) -> Ref | ForeignRef:
    """Return a reference that also contains the cluster, unless it is the first cluster."""
    return ForeignRef(ref, cluster) if cluster else ref


class Zone:
    """All records of domains and external zones.

    The zone gets events from the controller, and returns changes of the table. Each domain has producers of its own.
    Domains with the same source share its objects. Only the thread that passes events may call the zone.
    """

    def __init__(
        self,
        options: ZoneOptions,
        stores: Mapping[str, Store] | None = None,
        near_store: Store | None = None,
        pods: NodePods | None = None,
    ) -> None:
        self._stores = {source: Store() for source in options.sources} | {
            source: store for source, store in (stores or {}).items() if source in options.sources
        }
        self._near_store = Store() if near_store is None else near_store
        # The Services in this DNS server's own namespace, whether it is served or not.
        self._near = Services(options)
        self._options = options
        self._set_schemas()
        reverse_zones = () if options.external_alone else options.reverse_apexes
        self._reverse_trees = tuple([name.tree_key(zone) for zone in reverse_zones])
        self.external = External(options)
        self._notes: dict[str, dict[Kind, list[_Note]]] = {
            source: {kind: [] for kind in _KINDS} for source in self._stores
        }
        self._all_parts: list[_Part] = []
        if options.external:  # without external zones, this producer would only make each change take 1 µs more
            self._add_external(_Part(self.external, options))
        for each in options.served:
            self._add_domain(each, is_filtered=set(options.reverse_apexes) != set(each.reverse_zones))
        self._parts = self._all_parts  # the parts whose sources `contents` hasn't left out
        for part in self._parts:  # some producers have keys even without objects
            part.dirty.update(dict.fromkeys(part.producer.current_keys()))
        self._turn = 0  # how many turns the parts have had (`_next_comparison`)
        self._large: dict[_Pointing, float] = {}  # changed large key -> when its comparison is due
        self._paused: dict[_Pointing, float] = {}  # large key -> when it may be compared again
        self._awaited: dict[_Pointing, None] = {}  # the large keys that `contents` has left to later flushes
        # The unfinished comparison of a large key, or None. Some of its changes may already be published.
        self._comparing: _Comparison | None = None
        self._compared: _Pointing | None = None  # the key that `_comparing` compares
        self._began = 0.0  # when `_comparing` began
        self._rest = Changes({}, {})  # the changes of `_finish_comparison`, which the next flush returns
        self._cut: dict[_Pointing, Cut] = {}  # key of a Service or ServiceImport -> what the table lacks of it
        self._cut_pointers: dict[bytes, None] = {}  # the addresses that have more names than a PTR answer can contain
        self._all_cut: dict[Ref | ForeignRef, Cut] | None = None  # the last result of `cut`, or None after a change
        # The entries of client names; None if only external zones are served.
        self._clients: ClientEntries | None = None
        if not options.external_alone:
            self._clients = ClientEntries((pods or NodePods()) if options.client_pods else None)
        # address -> the keys whose published states give it a name.
        self._pointing: dict[bytes, tuple[_Pointing, ...]] = {}
        self._service_addresses: tuple[bytes, ...] = ()
        # The Services, and the zones of ServiceImports, from which `_infrastructure` was made.
        self._named_by: tuple[list[Service], tuple[bytes, ...]] | None = None
        self._infrastructure = Contents({}, {})  # the records and names of this DNS server itself
        # changed key of `_infrastructure` -> its value at the last flush
        self._before: tuple[dict[bytes, bytes | None], ...] = ({}, {})
        for source, store in self._stores.items():
            for kind in _KINDS:
                for value in store.objects(kind):
                    self._note(source, kind, Change(None, value))
        for kind in NAMING_KINDS:
            for value in self._near_store.objects(kind):
                self._near.note(Change(None, value))

    def _add_external(self, part: "_Part") -> None:
        self._all_parts.append(part)
        for cluster in self._options.exposed:
            note = partial(self.external.note, cluster=cluster) if cluster else self.external.note
            for kind, notes in self._notes[cluster].items():
                if External in kind.row.producers:
                    notes.append(_Note(note, part))

    def _add_domain(self, options: ZoneOptions, *, is_filtered: bool) -> None:
        """Make the producers of a domain. `is_filtered` means that other domains have other reverse zones."""
        parts: dict[MakeProducer, _Part] = {}
        needs: dict[MakeProducer, object] = {
            ServiceImports: options.multicluster,
            # Only one domain may have this producer, because two of them would write the classes of a range to the same
            # key.
            ClusterClients: options is self._options and options.has_client_classes,
        }
        for kind, notes in self._notes[options.source].items():
            for make in kind.row.producers:
                if make is External or not needs.get(make, True):
                    continue
                if make not in parts:
                    parts[make] = _Part(make(options), options, is_filtered=is_filtered)
                notes.append(_Note(parts[make].producer.note, parts[make]))
        self._all_parts += parts.values()

    def _set_schemas(self) -> None:
        self._schemas = [each.schema for each in self._options.domains]

    # Input: events and options

    def apply(self, event: Event, source: str = FIRST) -> bool:
        """Process an event of a source. Return whether an object changed."""
        is_changed = False
        if self._clients is not None and self._clients.pods is not None and source == FIRST and _is_of_pods(event):
            is_changed = self._clients.pods.apply(event)
            # Pods aren't kept in the store, because objects would take seven times the memory
            if not self._options.has_pod_names:
                self._stores[source].note(event)
                return is_changed
        changes = self._stores[source].apply(event)
        for ref, change in changes:
            self._note(source, ref.kind, change)
        return is_changed or bool(changes)

    def apply_near(self, event: Event) -> None:
        """Process an event of the namespace in which this DNS server runs.

        A Service in this namespace can give this DNS server a name. No records are made for the Service.
        """
        for _, change in self._near_store.apply(event):
            self._near.note(change)

    def with_options(self, options: ZoneOptions) -> "Zone":
        """Return a new zone with the same objects and the options `options`. The new zone has published nothing.

        The new zone takes over the objects, so the old zone must not be used any more.
        """
        pods = None if self._clients is None else self._clients.pods
        return Zone(options, self._stores, self._near_store, pods)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Change the TTL of all records, if there is only one domain.

        Return a function that sets the new TTL in a published answer. The result is the same answer that `contents`
        would yield, in less time.
        """
        revise = partial(with_ttl, before_s=self._options.ttl_s, ttl_s=ttl_s)
        self._finish_comparison()
        self._options = self._options._replace(ttl_s=ttl_s)
        self._set_schemas()
        for part in self._parts:
            part.producer.change_ttl(ttl_s)
        rest = self._rest.answers
        rest.update({key: revise(value) for key, value in rest.items() if value is not None})
        answers, before = self._infrastructure.answers, self._before[_ANSWERS]
        answers.update({key: revise(value) for key, value in answers.items()})
        before.update({key: revise(value) for key, value in before.items() if value is not None})
        return revise

    # Output: contents and changes of the table

    def flush(self, most: int | None = None, now: float = 0.0) -> Changes:
        """Return the changes of the table since the last `flush` or `contents`.

        With `most`, the flush stops after about `most` records, names and addresses, and `is_behind` is true if it has
        stopped early. Large states are compared last. Several flushes may return the changes of one large state: first
        the new records, then the deletions. A large state that changes all the time is compared only now and then, so
        that its comparisons take at most a tenth of the time. Only the state at the time of the call counts, so changes
        that cancel each other out are not returned.
        """
        changes, self._rest = self._rest, Changes({}, {})
        addresses: dict[bytes, None] = {}
        done = 0
        # The entries of client names aren't compiled, so an entry takes a tenth of the time of a record.
        if self._clients is not None:
            self._clients.flush(changes, most)
        while (most is None or done < most) and (comparison := self._next_comparison(now)) is not None:
            for piece in comparison:
                done += _merge(piece, changes, addresses)
        while (most is None or done < most) and (part_of_large := self._next_piece(now)) is not None:
            done += _merge(part_of_large, changes, addresses)
        known: dict[_Pointing, _Names] = {}
        for address in addresses:
            self._change_pointer(address, known, changes)
        self._add_infrastructure()
        for before, entries, found in zip(self._before, self._infrastructure, changes, strict=True):
            found.update({key: entries.get(key) for key, old in before.items() if entries.get(key) != old})
            before.clear()
        if self._awaited and (arrived := [each for each in self._awaited if each not in self._large]):
            for each in arrived:
                if each != self._compared:
                    del self._awaited[each]
                    # The result of `facts` has changed, so a commit is necessary, even if it changes no entry.
                    changes.names.update(self._infrastructure.names)
        return changes

    @property
    def is_behind(self) -> bool:
        """Return whether a call of `flush` has something to do, now or after a pause."""
        return bool(self._large) or self.is_due(0.0)

    def is_due(self, now: float) -> bool:
        """Return whether a call of `flush` has something to do now."""
        # `any` is necessary, because code that mypyc 2.4 has compiled ignores the `__bool__` of a NamedTuple.
        if self._comparing is not None or any(self._rest) or self._clients or any(part.dirty for part in self._parts):
            return True
        return any(self._paused.get(each, now) <= now for each in self._large)

    def contents(self, left_out: Collection[str] = ()) -> Iterator[Contents]:
        """Yield everything that the table should contain, in pieces. Afterwards, all of this counts as published.

        The caller must iterate to the end. If the large states are too large together, the largest ones are left to
        later flushes, so that the start isn't delayed. Until then, `facts` contains the names of these states, so that
        workers don't deny the names. A second call yields the same pieces, so a writer that ran out of room can repeat
        its commit. Objects of the sources `left_out` have no records until the next call.
        """
        self._comparing = self._compared = None
        self._rest = Changes({}, {})
        self._large.clear()
        self._paused.clear()
        self._cut.clear()
        self._cut_pointers.clear()
        self._all_cut = None
        self._parts = [part for part in self._all_parts if part.is_external or part.options.source not in left_out]
        for part in self._parts:
            part.publish_all()
        self._postpone()
        pointing = self._pointing = {}
        shared: dict[bytes, None] = {}  # the addresses with several names; the last piece contains their records
        for part in self._parts:
            part.pointed.clear()
        # These tuples stay in memory, so they are made before all pieces. If such tuples were made between the pieces,
        # 15 MB of freed memory couldn't be returned to the system.
        published = [((_Pointing(part, key),), state) for part in self._parts for key, state in part.published.items()]
        for only, state in published:
            (each,) = only
            cut: list[int] = []
            *pieces, piece = each.part.compile(state, cut)
            yield from pieces
            self._note_cut(each, state, cut)
            alone: list[tuple[bytes, bytes]] = []
            for address, target in each.part.pointer_pairs(state):
                others = pointing.get(address)
                if others is None:
                    pointing[address] = only
                    alone.append((address, target))
                    continue
                shared[address] = None
                if others[-1] is not each:  # each key is added once, even if its state gives the address several names
                    pointing[address] = others + only
            self._put_pointers(alone, piece)
            yield piece
        if self._clients is not None:
            slices = () if FIRST in left_out else self._stores[FIRST].objects(Kind.ENDPOINT_SLICE)
            yield from self._clients.contents(slices)
        self._add_infrastructure()
        for before in self._before:
            before.clear()
        last = Contents(dict(self._infrastructure.answers), dict(self._infrastructure.names))
        known: dict[_Pointing, _Names] = {}
        for address in shared:
            self._put_pointer(address, self._targets(address, known), last)
        yield last

    def facts(self, *, serial: int, synced: bool, unlisted: Collection[Kind] = (), away: Collection[str] = ()) -> Facts:
        """Return the facts that belong to the published records. The caller calls `facts` after `contents` or `flush`.

        `unlisted` contains the kinds that couldn't be listed, and `away` the sources that haven't been listed
        completely. If a zone needs such a kind or source, names may be missing from the zone, so `is_listed` is false
        in its facts.
        """
        further = [self._external_facts(zone, unlisted, away) for zone in self._options.external if zone.is_served]
        further += self._multicluster_facts(unlisted, away)
        nameservers = {each.domain: self._nameservers(each)[0] for each in self._options.domains}
        found = facts(self._options, further, serial=serial, synced=synced, nameservers=nameservers, away=away)
        if not self._awaited:
            return found
        by_apex = {zone.apex: zone for zone in found.zones}
        awaited = [
            msgspec.structs.replace(
                by_apex.get(each.part.options.domain, found.zones[0]), apex=_owner(each), is_known=False
            )
            for each in self._awaited
        ]
        return msgspec.structs.replace(found, zones=[*awaited, *found.zones])

    def _external_facts(self, zone: ExternalZone, unlisted: Collection[Kind], away: Collection[str]) -> ZoneFacts:
        # Hairpin needs Nodes, but needn't wait for them. If they can't be listed, no name is missing, and clients in
        # the cluster get the plain answers.
        plain = ZoneOptions(external=(msgspec.structs.replace(zone, hairpin=HairpinMode.OFF),))
        needed = optional_kinds(plain) if unlisted else ()
        first = zone.nameservers[0].owner(zone.apex) if zone.nameservers else _below(b"ns1", zone.apex)
        return ZoneFacts(
            zone.apex,
            first,
            _below(b"hostmaster", zone.apex),
            zone.ttl_s,
            zone.ttl_s,
            is_plain=self.external.is_plain(zone.apex),
            is_listed=set(needed).isdisjoint(unlisted) and set(self._options.exposed).isdisjoint(away),
        )

    def _multicluster_facts(self, unlisted: Collection[Kind], away: Collection[str]) -> list[ZoneFacts]:
        """Return the facts of the zones of ServiceImports.

        If the API server doesn't have ServiceImports, the result is empty.
        """
        apexes = self._options.multicluster if Kind.SERVICE_IMPORT in unlisted else self._zones_of_imports()
        # Headless imports need the EndpointSlices of the first source.
        is_listed = Kind.SERVICE_IMPORT not in unlisted and FIRST not in away
        server, ttl_s = self._nameservers(self._options)[0], self._options.ttl_s
        return [
            ZoneFacts(apex, server, _below(b"hostmaster", apex), min(ttl_s, MAX_DENIAL_S), ttl_s, is_listed=is_listed)
            for apex in apexes
        ]

    def _zones_of_imports(self) -> tuple[bytes, ...]:
        """Return the apexes of the zones of ServiceImports.

        The result is empty if ServiceImports haven't been listed.
        """
        return self._options.multicluster if Kind.SERVICE_IMPORT in self._stores[FIRST].synced else ()

    # Information about the objects

    def synced(self, source: str = FIRST) -> frozenset[Kind]:
        """Return the kinds that a source has listed completely at least once."""
        return frozenset(self._stores[source].synced)

    @property
    def near_synced(self) -> bool:
        """Return whether this DNS server's own namespace has been listed completely (`apply_near`)."""
        return self._near_store.synced.issuperset(NAMING_KINDS)

    def skipped(self, source: str = FIRST) -> dict[Ref, str]:
        """Return the objects of a source that DNS can't use, each with the reason."""
        return self._stores[source].skipped

    @property
    def resource_version(self) -> int:
        """Return the highest resource version of all events, or 0 if the source has no resource versions.

        Each API server has numbers of its own, so with several sources, the result is the sum of the highest versions.
        """
        return sum([store.resource_version for store in self._stores.values()])

    def count(self, kind: Kind, source: str = FIRST) -> int:
        """Return how many objects of a kind a source has."""
        if kind is Kind.POD and source == FIRST and self._clients is not None and self._clients.pods is not None:
            return self._clients.pods.count
        return self._stores[source].count(kind)

    def object(self, ref: Ref, source: str = FIRST) -> Object | None:
        """Return the object to which a reference leads, or None if it doesn't exist."""
        return self._stores[source].get(ref)

    @property
    def cut(self) -> Mapping[Ref | ForeignRef, Cut]:
        """Return the published Services that the table contains only in part.

        Until something changes, each call returns the same mapping.
        """
        if self._all_cut is None:
            found = dict(self._cut)
            for address in self._cut_pointers:
                for each in self._pointing[address]:
                    if _ref(each) is not None:
                        answers, left_out = found.get(each, (0, 0))
                        found[each] = Cut(answers + 1, left_out)
            self._all_cut = {ref: cut for each, cut in found.items() if (ref := _ref(each)) is not None}
        return self._all_cut

    def without_endpoints(self) -> Iterator[tuple[Ref | ForeignRef, Unready]]:
        """Yield the headless Services and ServiceImports without a ready endpoint, and how many endpoints each has."""
        for part in self._parts:
            if isinstance(part.producer, Services | ServiceImports):
                for key, unready in part.producer.without_endpoints():
                    if (ref := _ref(_Pointing(part, key))) is not None:
                        yield ref, unready

    def service_addresses(self) -> tuple[bytes, ...]:
        """Return the published ClusterIPs of the Services that have this DNS server as an endpoint."""
        return self._service_addresses

    def _serving(self) -> list[Service]:
        producers = [self._near, *(part.producer for part in self._parts if part.options.source == FIRST)]
        found = {each.key: each for known in producers if isinstance(known, Services) for each in known.serving()}
        return [found[key] for key in sorted(found)]

    def _nameservers(self, options: ZoneOptions) -> list[bytes]:
        """Return the names that this DNS server has in a domain, sorted.

        A Service of another cluster never gives this DNS server a name.
        """
        serving = self._serving() if options.cluster == FIRST else ()
        names = [schema.service_name(options.schema, *service.key) for service in serving]
        return sorted(names) or [schema.nameserver_name(options.schema)]

    def _note(self, source: str, kind: Kind, change: Change) -> None:
        for note, part in self._notes[source].get(kind, ()):
            for key in note(change):
                part.dirty[key] = None
        if self._clients is not None and kind is Kind.ENDPOINT_SLICE and source == FIRST:
            self._clients.note(change)

    def _postpone(self) -> None:
        """If the large states are too large together for one commit, leave the largest ones to later flushes."""
        self._awaited.clear()
        sizes: dict[_Pointing, int] = {}
        for part in self._parts:
            for key, state in part.published.items():
                if (size := part.size(state)) >= _LARGE:
                    sizes[_Pointing(part, key)] = size
        room = _FIRST
        for each in sorted(sizes, key=sizes.__getitem__):
            room -= sizes[each]
            if room < 0:
                del each.part.published[each.key]
                self._awaited[each] = None
                self._large[each] = sizes[each] / _DEADLINE

    # Comparing states

    def _next_comparison(self, now: float) -> _Comparison | None:
        """Return the comparison of the next changed key, or None if there is no such key.

        A large key is only added to `_large`, and compared later. Producers take turns, so that many changes of one
        producer don't delay the names of the others.
        """
        for _ in self._parts:
            self._turn += 1
            part = self._parts[self._turn % len(self._parts)]
            if part.dirty:
                key = next(iter(part.dirty))
                del part.dirty[key]
                before, after = part.published.get(key), part.producer.state(key)
                each = _Pointing(part, key)
                size = part.size(before) + part.size(after)
                # While a key is being compared, it isn't known which of its records are published. So a new change of
                # the key waits until the comparison ends.
                if each != self._compared and size < _LARGE:
                    return self._compare(each, before, after)
                self._large.setdefault(each, now + size / _DEADLINE)
                return _looked_at(size)
        return None

    def _next_piece(self, now: float) -> "_Piece | None":
        """Return the next piece of the comparison of a large key.

        Return None if no large key may be compared now. A comparison is finished before the next one begins.
        """
        while self._comparing is not None or self._begin_large(now):
            assert self._comparing is not None
            if (piece := next(self._comparing, None)) is not None:
                return piece
            assert self._compared is not None
            pause_s = min((now - self._began) * _PAUSE, _MAX_PAUSE_S)
            self._paused = {each: until for each, until in self._paused.items() if until > now}
            self._paused[self._compared] = now + pause_s
            self._comparing = self._compared = None
        return None

    def _begin_large(self, now: float) -> bool:
        """Begin the comparison of the large key that is due first. Keys whose pause hasn't ended (`_paused`) must wait.

        Return whether a comparison has begun.
        """
        due = [each for each in self._large if self._paused.get(each, now) <= now]
        if not due:
            return False
        each = self._compared = min(due, key=self._large.__getitem__)
        del self._large[each]
        self._began = now
        self._comparing = self._compare(each, each.part.published.get(each.key), each.part.producer.state(each.key))
        return True

    def _finish_comparison(self) -> None:
        """Finish the comparison that has begun, so that no state is published in part.

        The next flush returns the changes of this comparison.
        """
        addresses: dict[bytes, None] = {}
        for piece in self._comparing or ():
            _merge(piece, self._rest, addresses)
        self._comparing = self._compared = None
        for address in addresses:
            self._change_pointer(address, {}, self._rest)

    def _compare(self, each: "_Pointing", before: State | None, after: State | None) -> _Comparison:
        """Yield the differences between two states of a key, in pieces.

        At the end, `after` becomes the published state. Deletions come last, so that a record of both states never
        disappears in between.
        """
        part, key = each
        # Question -> hash of its answer in `before`. The answers themselves would take too much memory.
        answers: dict[bytes, int] = {}
        names: dict[bytes, bytes] = {}
        for piece in part.compile(before, []):
            answers.update(zip(piece.answers, map(hash, piece.answers.values()), strict=True))
            names.update(piece.names)
            yield _Piece(_size(piece))
        cut: list[int] = []
        for piece in part.compile(after, cut):
            found = _Piece(_size(piece))
            for question_, value in piece.answers.items():
                if answers.pop(question_, None) != hash(value):
                    found.changes.answers[question_] = value
            for tree, kind in piece.names.items():
                if names.pop(tree, None) != kind:
                    found.changes.names[tree] = kind
            yield found
        for database, gone in (_ANSWERS, answers), (_NAMES, names):
            for chunk in _chunks(gone):
                found = _Piece(len(chunk))
                found.changes[database].update(dict.fromkeys(chunk))
                yield found
        yield from self._point_again(each, before, after)
        if after is None:
            part.published.pop(key, None)
        else:
            part.published[key] = after
        self._note_cut(each, after, cut)

    def _note_cut(self, each: "_Pointing", state: State | None, cut: list[int]) -> None:
        """Remember what the table lacks of a state. Only Services and ServiceImports can exceed the limits."""
        left_out = state.left_out if isinstance(state, ServiceState | ImportState) else 0
        if not (self._cut or cut or left_out) or _ref(each) is None:
            return
        if cut or left_out:
            self._cut[each] = Cut(len(cut), left_out)
            self._all_cut = None
        elif self._cut.pop(each, None) is not None:
            self._all_cut = None

    # Reverse names

    def _point_again(self, each: "_Pointing", before: State | None, after: State | None) -> _Comparison:
        """Replace the names that `before` gives to addresses by the names that `after` gives.

        Yield the changed addresses in pieces.
        """
        part, key = each
        names = part.pointed.pop(key, None)
        if names is None:
            names = yield from _gather(part, before)
        new = yield from _gather(part, after)
        part.pointed[key] = names  # the names that count now; they change address by address until `after` is published
        changed = [address for address in names | new if names.get(address) != new.get(address)]
        for chunk in _chunks(changed):
            for address in chunk:
                if address not in names:
                    self._pointing[address] = (*self._pointing.get(address, ()), each)
                if address in new:
                    names[address] = new[address]
                else:
                    del names[address]
                    left = tuple([other for other in self._pointing[address] if other != each])
                    if left:
                        self._pointing[address] = left
                    else:
                        del self._pointing[address]
            found = _Piece(len(chunk))
            found.addresses.update(dict.fromkeys(chunk))
            yield found
        if part.size(after) < _LARGE:
            del part.pointed[key]

    def _targets(self, address: bytes, known: dict["_Pointing", _Names]) -> list[bytes]:
        """Return all names that published states give to an address.

        `known` is a cache that several calls share.
        """
        targets: list[bytes] = []
        for each in self._pointing.get(address, ()):
            names = each.part.pointed.get(each.key) or known.get(each)
            if names is None:
                state = each.part.published[each.key]
                names = known[each] = each.part.pointers(state)
                # The names are kept, because other states with this address change more often than this large state.
                if each.part.size(state) >= _LARGE:
                    each.part.pointed[each.key] = names
            targets += names[address]
        return targets

    def _change_pointer(self, address: bytes, known: dict["_Pointing", _Names], changes: Changes) -> None:
        targets = self._targets(address, known)
        if self._cut_pointers and address in self._cut_pointers:
            del self._cut_pointers[address]
            self._all_cut = None
        piece = Contents({}, {})
        if targets:
            self._put_pointer(address, targets, piece)
            changes.answers.update(piece.answers)
            changes.names.update(piece.names)
        else:
            owner = name.reverse_name(address)
            changes.answers[question(owner, PTR)] = None
            changes.names[name.reverse_tree_key(address)] = None

    def _put_pointers(self, named: list[tuple[bytes, bytes]], contents: Contents) -> None:
        """Add the PTR records of addresses that have only one name. `_put_pointer` would take twice the time."""
        if len(self._schemas) > 1:
            for address, target in named:
                self._put_pointer(address, (target,), contents)
            return
        within: list[tuple[bytes, bytes]] = []
        for each in named:
            tree = name.reverse_tree_key(each[0])
            if tree.startswith(self._reverse_trees):
                contents.names[tree] = _PLAIN
                within.append(each)
        contents.answers.update(compile_pointers(within, self._schemas[0].ttl_s))

    def _put_pointer(self, address: bytes, targets: Iterable[bytes], contents: Contents) -> None:
        tree = name.reverse_tree_key(address)
        if tree.startswith(self._reverse_trees):
            rrset = schema.pointer_rrset(self._schemas, address, targets)
            if rrset.is_cut:
                self._cut_pointers[address] = None
                self._all_cut = None
            contents.answers[question(rrset.owner, PTR)] = compile_answer(rrset)
            contents.names[tree] = _PLAIN

    # The records of this DNS server itself

    def _add_infrastructure(self) -> None:
        """Update the records of this DNS server itself, such as NS records.

        These records change when a Service gets or loses this DNS server as an endpoint, and when ServiceImports have
        been listed.
        """
        serving, of_imports = self._serving(), self._zones_of_imports()
        if (serving, of_imports) == self._named_by or self._options.external_alone:
            return
        self._named_by = serving, of_imports
        found = [ip for service in serving for ip in service.cluster_ips]
        self._service_addresses = tuple(dict.fromkeys(found))
        addresses = self._service_addresses or self._options.own_addresses
        wanted = Contents({}, {})
        rrsets = [schema.version_rrset(apex, VERSION) for apex in of_imports]
        # The first domain comes last, so that its records are used if domains share a reverse zone.
        for each in reversed(self._options.domains):
            zones = (each.domain, *each.reverse_zones, *(of_imports if each is self._options else ()))
            rrsets += schema.infrastructure_rrsets(each.schema, zones, self._nameservers(each), addresses)
        for rrset in rrsets:
            wanted.answers[question(rrset.owner, rrset.rtype)] = compile_answer(rrset)
            wanted.names[name.tree_key(rrset.owner)] = NodeKind.PLAIN
        for each in self._options.domains:
            for owner in schema.infrastructure_names(each.schema):
                wanted.names[name.tree_key(owner)] = NodeKind.PLAIN
        for database in (_ANSWERS, _NAMES):
            for key in self._infrastructure[database].keys() - wanted[database].keys():
                self._set(database, key, None)
            for key, value in wanted[database].items():
                self._set(database, key, value)

    def _set(self, database: int, key: bytes, value: bytes | None) -> None:
        """Set a value of `_infrastructure`. The old value is remembered for the next flush."""
        now = self._infrastructure[database]
        self._before[database].setdefault(key, now.get(key))
        if value is None:
            now.pop(key, None)
        else:
            now[key] = value


class _Piece:
    """A piece of a comparison, whose size is limited."""

    __slots__ = "addresses", "changes", "size"

    def __init__(self, size: int) -> None:
        self.size = size  # how many records, names and addresses were compared
        self.changes = Changes({}, {})
        self.addresses: dict[bytes, None] = {}  # the addresses whose names have changed


class _Part:
    """A part of the zone: a producer, its published states, and the keys that have changed since."""

    def __init__(self, producer: Producer, options: ZoneOptions, *, is_filtered: bool = False) -> None:
        """With `is_filtered`, only addresses in the reverse zones of `options` get reverse names."""
        self.producer = producer
        self.options = options  # the options of the producer's domain
        self.is_external = isinstance(producer, External)
        self._within = tuple([name.tree_key(zone) for zone in options.reverse_zones]) if is_filtered else None
        self.dirty: dict[Key, None] = {}
        self.published: dict[Key, State] = {}
        self.pointed: dict[Key, _Names] = {}  # key -> the result of `pointers`, kept for some large published states

    def publish_all(self) -> None:
        """Treat the current state of every key as published."""
        self.dirty.clear()
        states = ((key, self.producer.state(key)) for key in self.producer.current_keys())
        self.published = {key: state for key, state in states if state is not None}

    def size(self, state: State | None) -> int:
        """Return about how many records, names and addresses a state has."""
        return 0 if state is None else self.producer.size(state)

    def compile(self, state: State | None, cut: list[int]) -> Iterator[Contents]:
        """Yield the answers and names of a state in pieces, without reverse names.

        For each RRset that is cut, append its type to `cut`.
        """
        if state is None:
            return
        answers: dict[bytes, bytes] = {}
        names = {**self.producer.names(state)}
        octets = 0
        levels: dict[bytes, int] = {}  # question -> the levels of the classes that have another answer
        for client_class, rrset in self.producer.class_rrsets(state):
            key = question(rrset.owner, rrset.rtype)
            levels[key] = levels.get(key, 0) | client_class.level
            answer = compile_answer(rrset) if rrset.rdatas else b""
            names[answer_key(client_class, key)] = answer
            octets += len(answer)
            if len(names) >= _PIECE or octets >= _PIECE_OCTETS:
                yield Contents(answers, names)
                answers, names, octets = {}, {}, 0
        before = b""
        above, tree_above = b"", b""  # the parent of the last owner, as a name and as a tree key
        for found in self.producer.rrsets(state):
            if isinstance(found, Hosts):
                compiled = compile_hosts(found)
                answers |= compiled
                # This is an estimate. The sum of the octets would take ten times as long.
                octets += len(compiled) * max(map(len, compiled.values()))
                above = found.parent
                tree_above = name.tree_key(above)
                names.update([(tree_above + label, _PLAIN) for label, _ in found.addresses])
            else:
                owner, rtype, _, _, _, is_cut = found
                answer = compile_answer(found)
                key = question(owner, rtype)
                if levels and key in levels:
                    answer = with_levels(answer, levels.pop(key))
                answers[key] = answer
                octets += len(answer)
                if is_cut:
                    cut.append(rtype)
                if owner is before:  # all RRsets of one owner come one after the other
                    continue
                before = owner
                at = 1 + owner[0]
                if owner[at:] != above:
                    above = owner[at:]
                    tree_above = name.tree_key(above)
                names.setdefault(tree_above + owner[:at].lower(), _ALIAS if rtype == CNAME else _PLAIN)
            if len(names) >= _PIECE or octets >= _PIECE_OCTETS:
                yield Contents(answers, names)
                answers, names, octets = {}, {}, 0
        answers.update({key: with_levels(b"", each) for key, each in levels.items()})
        yield Contents(answers, names)

    def pointers(self, state: State) -> _Names:
        """Return the names that a state gives to each address."""
        several: dict[bytes, dict[bytes, None]] = {}
        names = _named(self.pointer_pairs(state), {}, several)
        return _with_several(names, several) if several else names

    def pointer_pairs(self, state: State) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs: an address, and a name that a state gives to the address. A pair may occur more than once."""
        found = self.producer.pointers(state)
        return found if self._within is None else (pair for pair in found if self._is_within(pair[0]))

    def _is_within(self, address: bytes) -> bool:
        return self._within is None or name.reverse_tree_key(address).startswith(self._within)


class _Pointing(NamedTuple):
    """A part of the zone, and a key of its producer."""

    part: _Part
    key: Key


class _Note(NamedTuple):
    """The method `note` of a producer, and the part to which the keys in its result belong."""

    note: Callable[[Change], Iterable[Key]]
    part: _Part


_KIND_OF: dict[type[Producer], Kind] = {Services: Kind.SERVICE, ServiceImports: Kind.SERVICE_IMPORT}


def _is_of_pods(event: Event) -> bool:
    match event:
        case Init(kind) | InitDone(kind):
            return kind is Kind.POD
        case InitApply(observed) | Apply(observed):
            return observed.ref.kind is Kind.POD
        case Delete(ref):
            return ref.kind is Kind.POD


def _ref(each: _Pointing) -> Ref | ForeignRef | None:
    """Return the Service or ServiceImport for which a key stands, or None if it stands for something else."""
    kind = _KIND_OF.get(type(each.part.producer))
    return None if kind is None else in_cluster(Ref(kind, *each.key[-2:]), each.part.options.cluster)


def _owner(each: _Pointing) -> bytes:
    """Return the name at and below which a large key has records. In an external zone, the key itself is the name."""
    producer = each.part.producer
    owner: bytes = producer.owner(each.key) if isinstance(producer, Services | ServiceImports) else each.key
    return owner


def facts(
    options: ZoneOptions,
    further: Iterable[ZoneFacts] = (),
    *,
    serial: int,
    synced: bool,
    nameservers: Mapping[bytes, bytes] = MappingProxyType({}),
    away: Collection[str] = (),
) -> Facts:
    """Return the facts of the zones in `options` and of `further` zones.

    `nameservers` contains the name of this DNS server in each domain. In a domain that isn't in `nameservers`, no
    Service gives this DNS server a name. The sources `away` haven't been listed yet.
    """
    found: dict[bytes, ZoneFacts] = {}
    for each in options.served:
        mname = nameservers.get(each.domain) or schema.nameserver_name(each.schema)
        rname = schema.hostmaster_name(each.schema)
        for apex in (each.domain, *each.reverse_zones):
            if apex in found:  # if several domains have the same reverse zone, the facts are those of the first domain
                continue
            is_listed = each.source not in away
            # The TTL of a negative answer is the smaller of two values: the TTL of the SOA record, and the record's
            # field MINIMUM (RFC 2308 section 5).
            ttl_s, falls_through = min(each.ttl_s, MAX_DENIAL_S), each.falls_through(apex)
            found[apex] = ZoneFacts(apex, mname, rname, ttl_s, each.ttl_s, falls_through, is_listed=is_listed)
    zones = [*sorted(found.values(), key=lambda zone: len(zone.apex), reverse=True), *further]
    domains = [(each.domain, each.ttl_s) for each in options.served[1:]]
    return Facts(FORMAT, options.domain, zones, serial & 0xFFFFFFFF, synced, options.ttl_s, further=domains)


def _below(label: bytes, apex: bytes) -> bytes:
    return name.from_labels(label)[:-1] + apex


def _named(pairs: Iterable[tuple[bytes, bytes]], names: _Names, several: dict[bytes, dict[bytes, None]]) -> _Names:
    """Add pairs of an address and a name to `names`. Return `names`.

    An address with more than one name is added to `several`, too, with all its names.
    """
    for address, target in pairs:
        known = names.get(address)
        if known is None:
            names[address] = (target,)
        elif known[0] != target:
            several.setdefault(address, {known[0]: None})[target] = None
    return names


def _with_several(names: _Names, several: dict[bytes, dict[bytes, None]]) -> _Names:
    return names | {address: tuple(targets) for address, targets in several.items()}


def _gather(part: _Part, state: State | None) -> Generator[_Piece, None, _Names]:
    """Return the names that a state gives to each address. For a large state, pieces are yielded in between."""
    if state is None:
        return {}
    if part.size(state) < _LARGE:
        return part.pointers(state)
    names: _Names = {}
    several: dict[bytes, dict[bytes, None]] = {}
    pairs = part.pointer_pairs(state)
    while chunk := list(islice(pairs, _PIECE)):
        _named(chunk, names, several)
        yield _Piece(len(chunk))
    return _with_several(names, several)


def _looked_at(size: int) -> _Comparison:
    """Yield one piece without changes. Its size stands for the time that it took to make the state of a large key.

    The state itself is compared later.
    """
    yield _Piece(1 + size // _LOOK)


def _merge(piece: _Piece, changes: Changes, addresses: dict[bytes, None]) -> int:
    """Add a piece to the changes and to the addresses of a flush. Return the size of the piece."""
    changes.answers.update(piece.changes.answers)
    changes.names.update(piece.changes.names)
    addresses |= piece.addresses
    return piece.size


def _size(piece: Contents) -> int:
    """Return the size of a piece: how many names it has, plus a share for the octets of its answers and names."""
    octets = sum([len(value) for entries in piece for value in entries.values()])
    return len(piece.names) + octets * _PIECE // _PIECE_OCTETS


def _chunks(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while chunk := list(islice(rest, _PIECE)):
        yield chunk
