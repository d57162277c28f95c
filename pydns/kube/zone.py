"""From events to changes of the answer table.

Producers make the records of objects; `pydns.kube.kinds` says which. The zone compiles them, merges the reverse names
that several keys give to one address, and compares with what was published. What was published is not kept a second
time: it is what the states of that moment compile to, and those are kept anyway.

A flush can be divided. Small states come first; a large one is compared piece by piece, over several flushes. Nobody
waits for another tenant's large Service then, but its records don't change all at once.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from pydns.config.model import ExternalZone
from pydns.dns import name
from pydns.dns.compiled import compile_answer, question, with_ttl
from pydns.dns.rrset import CNAME, PTR
from pydns.kube import schema
from pydns.kube.events import Event
from pydns.kube.kinds import EXTERNAL_KINDS, NAMING_KINDS, RECORD_KINDS, Kind, external_kinds
from pydns.kube.objects import Object, Ref, Service, ServiceKey
from pydns.kube.producer import Change, Key, MakeProducer, Producer, State, ZoneOptions
from pydns.kube.producers.external import External
from pydns.kube.producers.services import Services, ServiceState, Unready
from pydns.kube.store import Store
from pydns.table.layout import FORMAT, Changes, Contents, Facts, NodeKind, ZoneFacts

_KINDS = RECORD_KINDS + EXTERNAL_KINDS
_ANSWERS, _NAMES = 0, 1  # places in Contents and Changes
_Names = dict[bytes, tuple[bytes, ...]]  # address → the names that a key gives it
_Comparison = Generator["_Piece", None, None]  # of two states of a key

_LARGE = 200  # the size of both states of a key, from which on it may be divided
_PIECE, _PIECE_OCTETS = 200, 1 << 17  # of a large state: records, names or addresses, and octets of answers
_DEADLINE = 1000  # of a large state's size, per second: the comparison that is due first comes first
_FIRST = 200_000  # the sizes of all large states in `contents`, together: a few seconds
_PAUSE, _MAX_PAUSE_S = 9, 5.0  # between two comparisons of a large state: so many times what the first one took


class Cut(NamedTuple):
    """What is missing of a Service."""

    answers: int  # that have not all of their records
    left_out: int  # endpoints and ports without records

    def __str__(self) -> str:
        found = [f"{self.answers} answers are cut"] if self.answers else []
        return ", ".join([*found, f"{self.left_out} endpoints or ports have no records"] if self.left_out else found)


class Zone:
    """The records of a cluster: feed it events, and take out what to do to the table.

    Only the thread that feeds it may use it.
    """

    def __init__(self, options: ZoneOptions, store: Store | None = None, near_store: Store | None = None) -> None:
        self._store = Store() if store is None else store
        self._near_store = Store() if near_store is None else near_store
        self._near = Services(options)  # in the server's own namespace, also those that aren't served
        self._options = options
        self._schema = options.schema
        self._reverse_trees = tuple([name.tree_key(zone) for zone in options.reverse_zones])
        self.external = External(options)
        parts: dict[MakeProducer, _Part] = {}
        if options.external:  # else it takes in no change: 1 µs each
            parts[External] = _Part(self.external)
        self._parts_of_kind = {
            kind: [
                parts.setdefault(make, _Part(make(options)))
                for make in kind.row.producers
                if make is not External or options.external
            ]
            for kind in _KINDS
        }
        self._parts = list(parts.values())
        self._large: dict[_Pointing, float] = {}  # large keys that have changed, and when their comparison is due
        self._paused: dict[_Pointing, float] = {}  # large keys that may be compared again from some time on
        self._awaited: dict[_Pointing, None] = {}  # large keys that `contents` has left to later flushes
        self._comparing: _Comparison | None = None  # of a large key; part of it has been published
        self._compared: _Pointing | None = None  # that key
        self._began = 0.0  # when its comparison began
        self._rest = Changes({}, {})  # of a comparison that had to end early
        self._cut: dict[ServiceKey, Cut] = {}  # what is missing of Services, but for reverse names
        self._cut_pointers: dict[bytes, None] = {}  # addresses with more names than are answered
        self._all_cut: dict[Ref, Cut] | None = None  # both, once it has been asked for
        self._pointing: dict[bytes, tuple[_Pointing, ...]] = {}  # which published states name an address
        self._service_addresses: tuple[bytes, ...] = ()
        self._named_by: list[Service] | None = None  # the Services that `_infrastructure` is of
        self._infrastructure = Contents({}, {})  # as it is to be
        self._before: tuple[dict[bytes, bytes | None], ...] = ({}, {})  # its values at the last flush, if they differed
        for kind in _KINDS:
            for value in self._store.objects(kind):
                self._note(kind, Change(None, value))
        for kind in NAMING_KINDS:
            for value in self._near_store.objects(kind):
                self._near.note(Change(None, value))

    # What is fed

    def apply(self, event: Event) -> bool:
        """Take in an event of a source. Return whether an object differs now."""
        changes = self._store.apply(event)
        for ref, change in changes:
            self._note(ref.kind, change)
        return bool(changes)

    def apply_near(self, event: Event) -> None:
        """Take in an event of the server's own namespace. Its Services name the server, and have no records by this."""
        for _, change in self._near_store.apply(event):
            self._near.note(change)

    def with_options(self, options: ZoneOptions) -> "Zone":
        """Return a zone of the same objects with other options, of which nothing is published yet.

        It takes the objects over: this zone must not be fed any more.
        """
        return Zone(options, self._store, self._near_store)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Give all records another TTL from now on.

        Return a function that revises a published answer: the result is what `contents` would yield, in less time.
        """
        revise = partial(with_ttl, before_s=self._options.ttl_s, ttl_s=ttl_s)
        self._finish_comparison()
        self._options = self._options._replace(ttl_s=ttl_s)
        self._schema = self._options.schema
        for part in self._parts:
            part.producer.change_ttl(ttl_s)
        rest = self._rest.answers
        rest.update({key: revise(value) for key, value in rest.items() if value is not None})
        answers, before = self._infrastructure.answers, self._before[_ANSWERS]
        answers.update({key: revise(value) for key, value in answers.items()})
        before.update({key: revise(value) for key, value in before.items() if value is not None})
        return revise

    # What is taken out

    def flush(self, most: int | None = None, now: float = 0.0) -> Changes:
        """Return what has changed in the table since the last `flush` or `contents`.

        With `most`, stop when about so many records, names and addresses have been looked at, the large states last;
        `is_behind` then. Changes of a large state may come in several parts: what is new, then what is gone.
        A large state that changes again and again is compared now and then: it takes a tenth of the time at most.
        Not promised: the intermediate states between two calls. Changes that cancel out are no changes.
        """
        changes, self._rest = self._rest, Changes({}, {})
        addresses: dict[bytes, None] = {}
        done = 0
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
                    changes.names.update(self._infrastructure.names)  # `facts` differ, so there must be a commit
        return changes

    @property
    def is_behind(self) -> bool:
        """Return whether a `flush` has something to look at, now or later."""
        return bool(self._large) or self.is_due(0.0)

    def is_due(self, now: float) -> bool:
        """Return whether a `flush` has something to look at now."""
        if self._comparing is not None or self._rest or any(part.dirty for part in self._parts):
            return True
        return any(self._paused.get(each, now) <= now for each in self._large)

    def contents(self) -> Iterator[Contents]:
        """Yield what the table should hold, in pieces, and count it as published. Iterate to the end.

        Too many large states are left to later flushes, the largest of them: nobody waits for them. Their names are in
        `facts` then, so that readers don't deny them. Each iteration yields the same, so a writer that ran out of room
        can begin again.
        """
        self._comparing = self._compared = None
        self._rest = Changes({}, {})
        self._large.clear()
        self._paused.clear()
        self._cut.clear()
        self._cut_pointers.clear()
        self._all_cut = None
        for part in self._parts:
            part.publish_all()
        self._postpone()
        self._point()
        shared: dict[bytes, list[bytes]] = {}
        for part in self._parts:
            for state in part.published.values():
                cut: list[int] = []
                *pieces, piece = part.compile(state, cut)
                yield from pieces
                self._note_cut(state, cut)
                for address, targets in part.pointers(state).items():
                    if len(self._pointing[address]) > 1:
                        shared.setdefault(address, []).extend(targets)
                    else:
                        self._put_pointer(address, targets, piece)
                yield piece
        self._add_infrastructure()
        for before in self._before:
            before.clear()
        last = Contents(dict(self._infrastructure.answers), dict(self._infrastructure.names))
        for address, all_targets in shared.items():
            self._put_pointer(address, all_targets, last)
        yield last

    def facts(self, *, serial: int, synced: bool, unlisted: Collection[Kind] = ()) -> Facts:
        """Return the facts that go with the records: to be asked for after `contents` or `flush`.

        External zones whose kinds are `unlisted` lack names.
        """
        external = [self._external_facts(zone, unlisted) for zone in self._options.external]
        found = facts(self._options, external, serial=serial, synced=synced, nameserver=self._nameservers()[0])
        if not self._awaited:
            return found
        (domain,) = [zone for zone in found.zones if zone.apex == self._options.domain]
        # The keys of other large states, those of external zones, are names.
        names = [
            schema.service_name(self._schema, *each.key) if each.part.has_services else each.key
            for each in self._awaited
        ]
        awaited = [msgspec.structs.replace(domain, apex=each, is_known=False) for each in names]
        return msgspec.structs.replace(found, zones=[*awaited, *found.zones])

    def _external_facts(self, zone: ExternalZone, unlisted: Collection[Kind]) -> ZoneFacts:
        is_listed = unlisted == () or set(external_kinds([zone])).isdisjoint(unlisted)
        first = zone.nameservers[0].owner(zone.apex) if zone.nameservers else _below(b"ns1", zone.apex)
        return ZoneFacts(
            zone.apex,
            first,
            _below(b"hostmaster", zone.apex),
            zone.ttl_s,
            zone.ttl_s,
            is_plain=self.external.is_plain(zone.apex),
            is_listed=is_listed,
        )

    # What is known of the objects

    @property
    def synced(self) -> frozenset[Kind]:
        """Return the kinds that have been listed to the end once."""
        return frozenset(self._store.synced)

    @property
    def near_synced(self) -> bool:
        """Return whether the server's own namespace has been listed for `apply_near`."""
        return self._near_store.synced.issuperset(NAMING_KINDS)

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

    @property
    def cut(self) -> Mapping[Ref, Cut]:
        """Return the published Services that are not in the table as a whole: the same mapping if nothing changed."""
        if self._all_cut is None:
            found = dict(self._cut)
            for address in self._cut_pointers:
                for part, key in self._pointing[address]:
                    if part.has_services:
                        answers, left_out = found.get(key, (0, 0))
                        found[key] = Cut(answers + 1, left_out)
            self._all_cut = {Ref(Kind.SERVICE, *key): cut for key, cut in found.items()}
        return self._all_cut

    def without_endpoints(self) -> Iterator[tuple[Ref, Unready]]:
        """Yield the headless Services without a ready endpoint."""
        for part in self._parts:
            if isinstance(part.producer, Services):
                for key, unready in part.producer.without_endpoints():
                    yield Ref(Kind.SERVICE, *key), unready

    def service_addresses(self) -> tuple[bytes, ...]:
        """Return the ClusterIPs of the Services that have this server as an endpoint, as they were published."""
        return self._service_addresses

    def _serving(self) -> list[Service]:
        producers = [self._near, *(part.producer for part in self._parts)]
        found = {each.key: each for known in producers if isinstance(known, Services) for each in known.serving()}
        return [found[key] for key in sorted(found)]

    def _nameservers(self) -> list[bytes]:
        """Return the names of this server, sorted."""
        the_schema = self._schema
        names = [schema.service_name(the_schema, *service.key) for service in self._serving()]
        return sorted(names) or [schema.nameserver_name(the_schema)]

    def _note(self, kind: Kind, change: Change) -> None:
        for part in self._parts_of_kind.get(kind, ()):
            for key in part.producer.note(change):
                part.dirty[key] = None

    def _postpone(self) -> None:
        """Leave large states to later flushes, if there are too many for one commit."""
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
        """Return the comparison of the next small key that has changed. Large ones are put aside."""
        for part in self._parts:
            while part.dirty:
                key = next(iter(part.dirty))
                del part.dirty[key]
                before, after = part.published.get(key), part.producer.state(key)
                each = _Pointing(part, key)
                size = part.size(before) + part.size(after)
                # A key that is being compared waits until what is published of it is known again.
                if each != self._compared and size < _LARGE:
                    return self._compare(each, before, after)
                self._large.setdefault(each, now + size / _DEADLINE)
        return None

    def _next_piece(self, now: float) -> "_Piece | None":
        """Return the next piece of the large keys that have changed. One key is finished before the next begins."""
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
        """Begin the comparison of the large key that is due first and not paused. Return whether there is one."""
        due = [each for each in self._large if self._paused.get(each, now) <= now]
        if not due:
            return False
        each = self._compared = min(due, key=self._large.__getitem__)
        del self._large[each]
        self._began = now
        self._comparing = self._compare(each, each.part.published.get(each.key), each.part.producer.state(each.key))
        return True

    def _finish_comparison(self) -> None:
        """Leave no state that is published in part. The changes come with the next flush."""
        addresses: dict[bytes, None] = {}
        for piece in self._comparing or ():
            _merge(piece, self._rest, addresses)
        self._comparing = self._compared = None
        for address in addresses:
            self._change_pointer(address, {}, self._rest)

    def _compare(self, each: "_Pointing", before: State | None, after: State | None) -> _Comparison:
        """Yield what differs between two states, in pieces, and count `after` as published in the end.

        What is there in both is never deleted in between: deletions come last.
        """
        part, key = each
        answers: dict[bytes, int] = {}  # by hash: a large state would take too much memory twice
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
            if isinstance(before, ServiceState) and self._cut.pop(before.service.key, None) is not None:
                self._all_cut = None
        else:
            part.published[key] = after
            self._note_cut(after, cut)

    def _note_cut(self, state: State | None, cut: list[int]) -> None:
        """Remember what is missing of a state. Only Services are large enough to lack something."""
        if isinstance(state, ServiceState):
            if cut or state.left_out:
                self._cut[state.service.key] = Cut(len(cut), state.left_out)
                self._all_cut = None
            elif self._cut and self._cut.pop(state.service.key, None) is not None:
                self._all_cut = None

    # Reverse names

    def _point(self) -> None:
        """Find which published states name which address."""
        self._pointing = {}
        for part in self._parts:
            part.pointed.clear()
            for key, state in part.published.items():
                only = (_Pointing(part, key),)
                for address in part.producer.addresses(state):
                    others = self._pointing.get(address)
                    if others is None:
                        self._pointing[address] = only
                    elif others[-1] != only[0]:  # those of a key come one after another
                        self._pointing[address] = others + only

    def _point_again(self, each: "_Pointing", before: State | None, after: State | None) -> _Comparison:
        """Give addresses the names of another state, and yield the addresses whose names differ now."""
        part, key = each
        names = part.pointed.pop(key, None)
        if names is None:
            names = yield from _gather(part, before)
        new = yield from _gather(part, after)
        part.pointed[key] = names  # what is in force, address by address, until `after` is published
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

    def _change_pointer(self, address: bytes, known: dict["_Pointing", _Names], changes: Changes) -> None:
        targets: list[bytes] = []
        for each in self._pointing.get(address, ()):
            names = each.part.pointed.get(each.key) or known.get(each)
            if names is None:
                state = each.part.published[each.key]
                names = known[each] = each.part.pointers(state)
                if each.part.size(state) >= _LARGE:  # others change more often than it does
                    each.part.pointed[each.key] = names
            targets += names[address]
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

    def _put_pointer(self, address: bytes, targets: Iterable[bytes], contents: Contents) -> None:
        tree = name.reverse_tree_key(address)
        if tree.startswith(self._reverse_trees):
            rrset = schema.pointer_rrset(self._schema, address, targets)
            if rrset.is_cut:
                self._cut_pointers[address] = None
                self._all_cut = None
            contents.answers[question(rrset.owner, PTR)] = compile_answer(rrset)
            contents.names[tree] = NodeKind.PLAIN

    # The records of the server itself

    def _add_infrastructure(self) -> None:
        """Bring the name servers up to date. They change when a Service gets this server as an endpoint."""
        serving = self._serving()
        if serving == self._named_by:
            return
        self._named_by = serving
        the_schema = self._schema
        found = [ip for service in serving for ip in service.cluster_ips]
        self._service_addresses = tuple(dict.fromkeys(found))
        addresses = self._service_addresses or self._options.own_addresses
        zones = (self._options.domain, *self._options.reverse_zones)
        wanted = Contents({}, {})
        for rrset in schema.infrastructure_rrsets(the_schema, zones, self._nameservers(), addresses):
            wanted.answers[question(rrset.owner, rrset.rtype)] = compile_answer(rrset)
            wanted.names[name.tree_key(rrset.owner)] = NodeKind.PLAIN
        for owner in schema.infrastructure_names(the_schema):
            wanted.names[name.tree_key(owner)] = NodeKind.PLAIN
        for database in (_ANSWERS, _NAMES):
            for key in self._infrastructure[database].keys() - wanted[database].keys():
                self._set(database, key, None)
            for key, value in wanted[database].items():
                self._set(database, key, value)

    def _set(self, database: int, key: bytes, value: bytes | None) -> None:
        """Set a value of the infrastructure, and remember the value before."""
        now = self._infrastructure[database]
        self._before[database].setdefault(key, now.get(key))
        if value is None:
            now.pop(key, None)
        else:
            now[key] = value


class _Piece:
    """A bounded part of a comparison."""

    __slots__ = "addresses", "changes", "size"

    def __init__(self, size: int) -> None:
        self.size = size  # records, names and addresses that were looked at
        self.changes = Changes({}, {})
        self.addresses: dict[bytes, None] = {}  # whose names differ


class _Part:
    """A producer, the states that are published, and the keys that have changed since."""

    def __init__(self, producer: Producer) -> None:
        self.producer = producer
        self.has_services = isinstance(producer, Services)
        self.dirty: dict[Key, None] = {}
        self.published: dict[Key, State] = {}
        self.pointed: dict[Key, _Names] = {}  # `pointers` of some large states that are published

    def publish_all(self) -> None:
        """Count the state of every key as published."""
        self.dirty.clear()
        states = ((key, self.producer.state(key)) for key in self.producer.current_keys())
        self.published = {key: state for key, state in states if state is not None}

    def size(self, state: State | None) -> int:
        """Return about how many records, names and addresses a state has."""
        return 0 if state is None else self.producer.size(state)

    def compile(self, state: State | None, cut: list[int]) -> Iterator[Contents]:
        """Yield what the table holds of a state, reverse names apart, in pieces.

        Add the types of RRsets that are cut to `cut`.
        """
        if state is None:
            return
        answers: dict[bytes, bytes] = {}
        names = {**self.producer.names(state)}
        before, octets = b"", 0
        above, tree_above = b"", b""  # the name that the last one is below
        for rrset in self.producer.rrsets(state):
            owner, rtype, _, _, _, is_cut = rrset
            answer = compile_answer(rrset)
            answers[question(owner, rtype)] = answer
            octets += len(answer)
            if is_cut:
                cut.append(rtype)
            if owner is not before:  # the types of a name follow one another
                before = owner
                at = 1 + owner[0]
                if owner[at:] != above:
                    above = owner[at:]
                    tree_above = name.tree_key(above)
                names.setdefault(tree_above + owner[:at].lower(), NodeKind.ALIAS if rtype == CNAME else NodeKind.PLAIN)
                if len(names) >= _PIECE or octets >= _PIECE_OCTETS:
                    yield Contents(answers, names)
                    answers, names, octets = {}, {}, 0
        yield Contents(answers, names)

    def pointers(self, state: State) -> _Names:
        """Return the names that a state gives to addresses."""
        several: dict[bytes, dict[bytes, None]] = {}
        names = _named(self.producer.pointers(state), {}, several)
        return _with_several(names, several) if several else names


class _Pointing(NamedTuple):
    """A published state that names an address."""

    part: _Part
    key: Key


def facts(
    options: ZoneOptions,
    external: Iterable[ZoneFacts] = (),
    *,
    serial: int,
    synced: bool,
    nameserver: bytes = b"",
) -> Facts:
    """Return the facts of the zones that `options` describe, and those of external zones.

    Without a `nameserver` no Service names the server.
    """
    the_schema = options.schema
    mname, rname = nameserver or schema.nameserver_name(the_schema), schema.hostmaster_name(the_schema)
    apexes = sorted({options.domain, *options.reverse_zones}, key=len, reverse=True)
    # The TTL of a negative answer is the smaller of the SOA's own and its minimum (RFC 2308 section 5).
    zones = [
        # Reverse zones fall through, as in kubeadm's Corefile: most of their names are not the cluster's.
        ZoneFacts(apex, mname, rname, min(options.ttl_s, 300), options.ttl_s, apex != options.domain)
        for apex in apexes
    ]
    zones += external
    return Facts(FORMAT, options.domain, zones, serial & 0xFFFFFFFF, synced, options.ttl_s)


def _below(label: bytes, apex: bytes) -> bytes:
    return name.from_labels(label)[:-1] + apex


def _named(pairs: Iterable[tuple[bytes, bytes]], names: _Names, several: dict[bytes, dict[bytes, None]]) -> _Names:
    """Return `names`, to which pairs of address and name are added. `several` has the addresses with more than one."""
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
    """Return the names that a state gives to addresses, with pauses if it is large."""
    if state is None:
        return {}
    if part.size(state) < _LARGE:
        return part.pointers(state)
    names: _Names = {}
    several: dict[bytes, dict[bytes, None]] = {}
    pairs = part.producer.pointers(state)
    while chunk := list(islice(pairs, _PIECE)):
        _named(chunk, names, several)
        yield _Piece(len(chunk))
    return _with_several(names, several)


def _merge(piece: _Piece, changes: Changes, addresses: dict[bytes, None]) -> int:
    """Add a piece to what a flush has found, and return its size."""
    changes.answers.update(piece.changes.answers)
    changes.names.update(piece.changes.names)
    addresses |= piece.addresses
    return piece.size


def _size(piece: Contents) -> int:
    """Return what a piece costs: as much as its names, or by its octets if the answers are long."""
    return len(piece.names) + sum(map(len, piece.answers.values())) * _PIECE // _PIECE_OCTETS


def _chunks(keys: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(keys)
    while chunk := list(islice(rest, _PIECE)):
        yield chunk
