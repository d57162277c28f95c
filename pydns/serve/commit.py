"""The commit of the table that the worker reads, with its zones and with facts about names.

This module keeps all facts that depend on the commit, so no other module is affected by a new commit.
`pydns.serve.fast` calls this module for each query. `pydns.serve.follow` and `pydns.serve.strict` call it, too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from pydns.config.model import Config
from pydns.dns import name
from pydns.dns.compiled import HEADER, decompile, is_lettered, question
from pydns.dns.message import OPT_SIZE, PLAIN_SIZE, Rcode, compose_opt, question_end
from pydns.dns.reason import LONGEST_OPTION, Reason
from pydns.dns.rrset import ANY, AXFR, DS, IXFR, OPT, SOA, RRset, Soa
from pydns.metrics.meter import TRANSPORTS, Lists
from pydns.serve.rules import Rules
from pydns.table.client_classes import Classes, find_classes, is_plain_answer
from pydns.table.layout import FORMAT, Facts, NodeKind, ZoneFacts, unready_key
from pydns.table.tree import Tree
from pydns.upstream.routes import Routes

if TYPE_CHECKING:
    from pydns.metrics.meter import Tally
    from pydns.table.reader import Cursor, Reader, Transaction

# Timers of SOA records, with the values of CoreDNS. Only secondary servers use these timers.
_REFRESH_S, _RETRY_S, _EXPIRE_S = 7200, 1800, 86400
# The maximum number of entries in each dict of `Commit`. An entry takes half a kilobyte. Search lists need a few
# entries for each namespace with clients.
_MAX_NAMES: Final = 16_384
_SVC, _POD = b"\3svc", b"\3pod"  # labels directly below a domain of clusters
_ZONES: Final = b"\5_zone"  # the first label of a name of kind `ZONES`
# The worker keeps an answer for a client class if it has at most this many octets. Finding a longer answer takes little
# time compared with sending it.
_MAX_CHOSEN: Final = 512
# Types and classes of questions that the fast path may deny. The set for zones from files is smaller. It lacks types
# whose records the fast path can't find (`pydns.serve.fast`, rule 3).
_SPECIAL = (SOA, OPT, IXFR, AXFR, ANY)
ORDINARY: Final = frozenset(rtype.to_bytes(2) + b"\0\1" for rtype in range(1, 256) if rtype not in _SPECIAL)
_ORDINARY_IN_FILES: Final = frozenset(each for each in ORDINARY if not is_lettered(int.from_bytes(each[:2])))

# Two OPT records with the reason of a denial. In the second one, DO is set.
Endings = tuple[bytes, bytes]
# The maximum octets of a denial, without the parent of the denied name and without the names in the SOA record.
_DENIAL_SIZE = HEADER + 1 + name.MAX_LABEL + 4 + 12 + 20 + OPT_SIZE + LONGEST_OPTION
_PLAIN_ENDINGS: Endings = compose_opt(False), compose_opt(True)

# The rows of the tally that count the denials of a type: one row for names that exist, and one for missing names.
Denials = tuple[Lists, Lists]


class Zone(NamedTuple):
    """A zone of the commit, with values that the worker derives from its facts."""

    tree: bytes  # the tree key of the apex
    facts: ZoneFacts
    text: str  # the apex as text
    apex_length: int
    authorities: dict[int, bytes]  # offset at which a message contains the apex -> the SOA record of a denial
    denials: tuple[dict[bytes, Denials], ...]  # for each transport, a dict: type and class -> rows of the tally
    is_complete: bool  # whether the table has all names of the zone, so that any other name doesn't exist
    longest_parent: int  # the maximum octets of a name so that every denial directly below it fits into `PLAIN_SIZE`

    def learn_denials(self, tally: "Tally", type_and_class: bytes, ordinary: frozenset[bytes]) -> Denials | None:
        """Return the rows that count denials of a type. Return None if the fast path must not deny this type."""
        if type_and_class not in ordinary:
            return None
        rtype = int.from_bytes(type_and_class[:2])
        found, denied = (tally.row(self.text, rtype, rcode) for rcode in (Rcode.NOERROR, Rcode.NXDOMAIN))
        learned = self.denials[tally.transport][type_and_class] = found[:], denied[:]
        return learned


# Facts about a name, for questions about the names directly below it. The first two facts are the name's tree key and
# its zone. The third is whether the table has every existing name below it. The fourth is the set of types and classes
# that the fast path may deny. The facts form a plain tuple, because unpacking a NamedTuple takes 0.02 µs more.
Parent = tuple[bytes, Zone, bool, frozenset[bytes]]


# The answer for a client: the key under which the rotations of its records are counted, and the compiled answer. The
# key is empty if the records aren't rotated.
Chosen = tuple[bytes, bytes]


class Sender(Protocol):
    """The client that gets an answer. This module needs only its address."""

    @property
    def address(self) -> bytes:
        """The octets of the client's IP address.

        If the address is unknown, the result is empty, and the client has no classes.
        """


class At(NamedTuple):
    """A sender whose address is known."""

    address: bytes


NOBODY: Final = At(b"")  # the sender of questions without a client


class Once:
    """A sender whose address is looked up only once: when it is first needed."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._address: bytes | None = None

    @property
    def address(self) -> bytes:
        """The octets of the sender's IP address."""
        if self._address is None:
            self._address = self._sender.address
        return self._address


class Commit:
    """The commit that the current transaction sees. Not safe for use by several threads."""

    def __init__(self, table: "Reader") -> None:
        self.facts = Facts(FORMAT, name.ROOT, [], 0, False, 0)
        self.transaction: Transaction | None = None
        self.names: Cursor  # a cursor of `transaction`
        self.zones: dict[bytes, Zone] = {}  # apex -> zone
        # A negative offset into a question. The octets from this offset on contain the longest domain of clusters, the
        # type and the class. In most cases, these octets identify the zone. With a shorter end, questions for different
        # zones could end with the same octets.
        self.tail = 0
        # Tree key of the name directly above the namespaces of pods -> TTL of the pods' records. Each domain of
        # clusters has one such name.
        self._pod_trees: dict[bytes, int] = {}
        self._domain_trees: frozenset[bytes] = frozenset()
        # The fast path has references to the next four objects, so they are cleared, but never replaced.
        self.parents: dict[bytes, Parent] = {}  # name -> facts about the name
        self.foreign: set[bytes] = set()  # names outside the zones of pydns, without a host below them
        # a client's address, followed by a question -> the answer for this client
        self.chosen: dict[bytes, Chosen] = {}
        # Name -> the OPT records of denials of names directly below it. If these denials can have different reasons,
        # the name isn't in this dict.
        self.endings: dict[bytes, Endings] = {}
        self.no_type = _endings(Reason.NO_TYPE)  # the OPT records of NODATA
        self.sends_reasons = True  # whether clients that send EDNS get the reason of a reply that isn't a success
        self._imports: tuple[bytes, ...] = ()  # tree keys of the names directly above the namespaces of ServiceImports
        self.rules = Rules()
        self._table = table
        self._id = -1
        self._classes: dict[bytes, Classes] = {}  # a client's address -> the client's classes
        self._above: set[bytes] = set()  # the ancestors of each apex, and of the domain of each route within a zone
        self._routes = Routes(())
        self._has_routes_within = False  # whether the domain of a route is within a zone that doesn't fall through
        self._zone_texts: dict[bytes, str] = {}  # name -> the apex, as text, of the zone that contains the name

    def begin(self, transaction: "Transaction") -> None:
        """Use a new transaction. If it sees a new commit, load the facts of this commit."""
        if transaction is self.transaction:
            return
        self.transaction = transaction
        self.names = transaction.cursor(self._table.names)
        if transaction.id() == self._id:
            return
        self._id = transaction.id()
        before, self.facts = self.facts, self._table.facts(transaction)
        for known in self.zones.values():
            known.authorities.clear()  # the SOA records contain the serial, which may have changed
        self.foreign.clear()  # there may be a new host below one of these names
        self.chosen.clear()
        self.endings.clear()
        if before.classes_commit != self.facts.classes_commit:
            self._classes.clear()
        if (before.zones, before.synced) != (self.facts.zones, self.facts.synced):
            self._take_zones(self.facts)

    def configure(self, config: Config) -> None:
        """Apply the configuration: whether clients get reasons, and the rules for all clients."""
        self.rules = Rules(config)
        self.sends_reasons = config.edns.ede
        self.no_type = _endings(Reason.NO_TYPE) if self.sends_reasons else _PLAIN_ENDINGS
        self._imports = tuple([name.tree_key(zone) for zone in config.multicluster.zones])
        self.endings.clear()

    @contextmanager
    def ruled_by(self, rules: Rules) -> Iterator[None]:
        """Apply the rules of a view within the `with` block.

        Only tools call this function. `pydns.serve.views` does the same in less time.
        """
        common, self.rules = self.rules, rules
        try:
            yield
        finally:
            self.rules = common

    def why_missing(self, qname: bytes, zone: Zone) -> Reason:
        """Return why `qname`, a name in lower case, doesn't exist in its zone.

        This takes at most four seeks in the table.
        """
        tree = name.tree_key(qname)
        apex = zone.tree
        if apex not in self._domain_trees and apex not in self._imports:
            # A static zone in which not even the apex exists is a blocked domain, or a special name.
            is_denied = zone.facts.is_static and not self._exists(apex)
            return Reason.BLOCKED if is_denied else Reason.NO_NAME
        ends = _ends(tree, len(apex), 3)
        what = tree[len(apex) : ends[0]]
        if len(ends) < 2 or what not in (_SVC, _POD):
            return Reason.NO_NAME
        if what == _POD:
            return Reason.NO_POD if self._exists(apex + _SVC + tree[ends[0] : ends[1]]) else Reason.NO_NAMESPACE
        if not self._exists(tree[: ends[1]]):
            return Reason.NO_NAMESPACE
        if self.kind(unready_key(tree[: ends[2]])) is not None:
            return Reason.NO_READY_ENDPOINT
        return Reason.NO_ENDPOINT if self._exists(tree[: ends[2]]) else Reason.NO_SERVICE

    def why_nxdomain(self, qname: bytes, transaction: "Transaction") -> Reason | None:
        """Return why `qname`, a name in lower case, doesn't exist.

        Return None if no zone of pydns contains the name.
        """
        self.begin(transaction)
        zone = self.zone_of(qname)
        return None if zone is None else self.why_missing(qname, zone)

    def learn_ending(self, parent: bytes, qname: bytes, zone: Zone) -> Endings:
        """Return the OPT records of an NXDOMAIN for `qname`, a name directly below `parent`.

        The OPT records are kept in `endings`, unless another name below `parent` may have another reason.
        """
        reason = self.why_missing(qname, zone)
        found = _endings(reason) if self.sends_reasons else _PLAIN_ENDINGS
        if reason in (Reason.NO_SERVICE, Reason.NO_READY_ENDPOINT):
            tree = name.tree_key(qname)
            unready = unready_key(name.tree_key(parent))
            is_service = _ends(tree, len(zone.tree), 4)[2:] == [len(tree)]  # whether the parent is a namespace
            if is_service and self.names.set_range(unready) and self.names.key().startswith(unready):
                return found
        if len(self.endings) >= _MAX_NAMES:
            self.endings.clear()
        self.endings[parent] = found
        return found

    def _exists(self, tree: bytes) -> bool:
        return self.names.set_range(tree) and self.names.key().startswith(tree)

    def set_routes(self, routes: Routes) -> None:
        """Apply the routes to upstreams.

        If the domain of a route is within a zone of pydns, upstreams answer for the names in this domain.
        """
        self._routes = routes
        self.foreign.clear()
        self._take_zones(self.facts)

    def _take_zones(self, facts: Facts) -> None:
        self.tail = -max(map(len, facts.domains)) - 4
        self._domain_trees = frozenset(map(name.tree_key, facts.domains))
        self._pod_trees = {name.tree_key(domain) + _POD: ttl_s for domain, ttl_s in facts.domains.items()}
        self.zones.clear()
        self.parents.clear()
        self._above.clear()
        self._zone_texts.clear()
        least_ttl_s = min(facts.domains.values())
        of_cluster = {zone.apex for zone in facts.zones if not zone.is_static}
        for zone in facts.zones:
            above = list(name.ancestors(zone.apex))
            is_clusters = not of_cluster.isdisjoint([zone.apex, *above])
            if is_clusters and zone.is_static:  # the cluster may add a name to the zone of a file at any time
                zone = msgspec.structs.replace(zone, ttl_s=min(zone.ttl_s, least_ttl_s))
            is_complete = zone.is_known and zone.is_listed and (facts.synced or not is_clusters)
            tree, text = name.tree_key(zone.apex), name.to_text(zone.apex)
            denials: tuple[dict[bytes, Denials], ...] = tuple({} for _ in TRANSPORTS)
            room = PLAIN_SIZE - _DENIAL_SIZE - len(zone.mname) - len(zone.rname)
            self.zones[zone.apex] = Zone(tree, zone, text, len(zone.apex), {}, denials, is_complete, room)
            self._above.update(above)
        # If a zone falls through, upstreams are asked for the names that it lacks. So a route within such a zone needs
        # no special treatment.
        self._has_routes_within = False
        for domain in self._routes.domains - self.zones.keys():
            zone_around = self.innermost_zone(domain)
            if zone_around is not None and not zone_around.facts.falls_through:
                self._has_routes_within = True
                self._above.update(name.ancestors(domain))

    def zone_of(self, qname: bytes) -> Zone | None:
        """Return the zone that must answer for `qname`, a name in lower case.

        If several zones contain the name, it is the innermost zone. Return None if no zone contains the name, or if a
        route with a longer domain does.
        """
        zone = self.innermost_zone(qname)
        if zone is None or not self._has_routes_within or zone.facts.falls_through:
            return zone
        route = self._routes.find(qname)
        return None if route is not None and len(route.domain) > len(zone.facts.apex) else zone

    def has_route_below(self, domain: bytes, qname: bytes) -> bool:
        """Return whether the route of a name has a longer domain than `domain`."""
        route = self._routes.find(qname)
        return route is not None and len(route.domain) > len(domain)

    def innermost_zone(self, qname: bytes) -> Zone | None:
        """Return the innermost zone that contains a name in lower case, even if a route has a longer domain."""
        zone = self.zones.get(qname)
        return zone or next((self.zones[each] for each in name.ancestors(qname) if each in self.zones), None)

    def zone_text(self, reply: bytes) -> str:
        """Return the zone under which metrics count a reply, or a dot if no zone of pydns contains the name."""
        qname = reply[HEADER : question_end(reply) - 4].lower()
        text = self._zone_texts.get(qname)
        if text is None:
            zone = self.zone_of(qname) if qname else None
            text = "." if zone is None else zone.text
            if len(self._zone_texts) >= _MAX_NAMES:
                self._zone_texts.clear()
            self._zone_texts[qname] = text
        return text

    def learn(self, parent: bytes) -> Parent | None:
        """Return the facts about a name, and add them to `parents`. A name outside all zones is added to `foreign`.

        Return None if the name is outside all zones of pydns, or isn't a well-formed name in lower case. Also return
        None if a zone or a host is below the name.
        """
        zone = self.zones.get(parent)
        position, last = 0, len(parent) - 1
        while position < last:
            if not 0 < parent[position] <= name.MAX_LABEL:
                return None
            position += 1 + parent[position]
            if zone is None:
                zone = self.zones.get(parent[position:])
        if position != last or parent[last] or parent in self._above:
            return None
        tree = name.tree_key(parent)
        if self._has_routes_within:
            zone = self.zone_of(parent)
        if zone is not None:
            if len(parent) > zone.longest_parent:
                return None  # a denial may be too long, so the strict path must compose it
            if len(self.parents) >= _MAX_NAMES:
                self.parents.clear()
            is_open = zone.facts.falls_through or not zone.facts.is_plain or tree.startswith(tuple(self._pod_trees))
            is_open = is_open or _ZONES in tree
            ordinary = _ORDINARY_IN_FILES if zone.facts.soa_timers else ORDINARY
            learned = self.parents[parent] = tree, zone, zone.is_complete and not is_open, ordinary
            return learned
        if self.names.set_range(tree) and self.names.key().startswith(tree):
            return None  # a host is below the name
        if tree and self.split_wildcard(tree) is not None:
            return None
        if len(self.foreign) >= _MAX_NAMES:
            self.foreign.clear()
        self.foreign.add(parent)
        return None

    def split_wildcard(self, tree: bytes) -> bytes | None:
        """Return the wildcard that covers a name outside all zones, if the wildcard has answers for client classes.

        A wildcard doesn't cover the name if the table has a closer ancestor of the name. Only names in the table
        matter.
        """
        starts = [0]
        while starts[-1] + 1 + tree[starts[-1]] < len(tree):
            starts.append(starts[-1] + 1 + tree[starts[-1]])
        for at in reversed(starts):
            encloser = tree[:at]
            if self.names.set_key(encloser + b"\1*"):
                kind = self.names.value()
                is_covered = kind == NodeKind.SPLIT or (
                    at == starts[-1] and kind == NodeKind.ONE_LABEL + NodeKind.SPLIT
                )
                return name.from_tree_key(encloser + b"\1*") if is_covered else None
            if self.names.set_range(encloser or b"\1") and self.names.key().startswith(encloser):
                return None
        return None

    def has_apex_within(self, tail: bytes) -> bool:
        """Return whether an apex is longer than `tail`, and ends with `tail`.

        Then names that end with `tail` can belong to different zones.
        """
        return any(len(apex) > len(tail) and apex.endswith(tail) for apex in self.zones)

    def kind(self, tree: bytes) -> bytes | None:
        """Return the value that `names` has for a tree key, or None."""
        assert self.transaction is not None
        return self.transaction.get(tree, db=self._table.names)

    def answer(self, key: bytes, sender: Sender) -> bytes | None:
        """Return the compiled answer for the sender, or None if the table has no answer.

        An empty answer means NODATA.
        """
        assert self.transaction is not None
        compiled = self.transaction.get(key)
        if compiled is None or compiled[0] <= 1:
            return compiled
        compiled = self.class_answer(key, compiled, sender.address)[1]
        return compiled if not compiled or is_plain_answer(compiled) else None

    def class_answer(self, key: bytes, plain: bytes, address: bytes) -> tuple[bytes, bytes]:
        """Return two values: the key of the answer for the client at `address`, and the answer.

        The answer comes from the client's first class with an answer. If no class of the client has an answer, the
        answer is `plain`. An empty answer means NODATA. The returned `plain` may contain levels of classes, but no
        answer (`is_plain_answer`).
        """
        assert self.transaction is not None
        classes = self._classes.get(address)
        if classes is None:
            if len(self._classes) >= _MAX_NAMES:
                self._classes.clear()
            classes = self._classes[address] = find_classes(self.names, address)
        for level, prefix in classes:
            if level & plain[0]:
                found = self.transaction.get(prefix + key, None, self._table.names)
                if found is not None:
                    return prefix + key, found
        return key, plain

    def choose(self, key: bytes, plain: bytes, address: bytes) -> Chosen | None:
        """Return the answer for the client at `address`, and keep it in `chosen`.

        Return None if the client gets no records, or has no answer.
        """
        answer_key, compiled = self.class_answer(key, plain, address)
        if not is_plain_answer(compiled):
            return None
        found = answer_key if compiled[0] & 1 else b"", compiled
        if len(compiled) <= _MAX_CHOSEN:
            if len(self.chosen) >= _MAX_NAMES:
                self.chosen.clear()
            self.chosen[address + key] = found
        return found

    def stored(self, owner: bytes, rtype: int) -> RRset:
        """Return the RRset of the table that clients without a class get.

        The caller must know that the RRset exists.
        """
        assert self.transaction is not None
        key = question(owner, rtype)
        return decompile(key, self.transaction.get(key, b""))[0]

    def first_type(self, owner: bytes) -> int | None:
        """Return the record type with which pydns answers ANY for a name (RFC 8482 section 4.1), or None.

        The result is never DS. At a delegation, pydns has only the DS records, because other servers have all other
        records.
        """
        assert self.transaction is not None
        types = Tree(self._table, self.transaction).types(owner)
        return next((rtype for rtype in types if rtype != DS), None)

    def authority(self, zone: ZoneFacts, apex_at: int) -> bytes:
        """Compose the SOA record of a denial.

        The message contains the apex at the offset `apex_at`, to which the owner points.
        """
        pointer = (0xC000 | apex_at).to_bytes(2)
        names = [
            each[: -len(zone.apex)] + pointer if name.is_at_or_below(each, zone.apex) else each
            for each in (zone.mname, zone.rname)
        ]
        rdata = b"".join(names) + self._soa_timers(zone)
        return pointer + b"\0\6\0\1" + zone.ttl_s.to_bytes(4) + len(rdata).to_bytes(2) + rdata

    def soa(self, zone: ZoneFacts) -> RRset:
        """Return the SOA RRset of a zone."""
        return RRset(zone.apex, SOA, zone.ttl_s, (zone.mname + zone.rname + self._soa_timers(zone),))

    def host_soa(self, qname: bytes) -> RRset:
        """Return the SOA RRset for a host outside the zones of pydns.

        The owner of the record is the name of the host.
        """
        return self.soa(msgspec.structs.replace(self.zones[self.facts.domain].facts, apex=qname))

    def _soa_timers(self, zone: ZoneFacts) -> bytes:
        of_cluster = Soa(zone.mname, zone.rname, self.facts.serial, _REFRESH_S, _RETRY_S, _EXPIRE_S, zone.minimum_s)
        return zone.soa_timers or of_cluster.timers()

    def zoned_service(self, tree: bytes) -> tuple[bytes, bytes] | None:
        """Return the Service's tree key, and the label `pin` or `prefer`, of a name such as ZONE.pin._zone.SERVICE."""
        at = 0
        while _ZONES in tree and at < len(tree):
            end = at + 1 + tree[at]
            if tree[at:end] == _ZONES and self.kind(tree[:end]) == NodeKind.ZONES:
                rest = tree[end:]
                directive = rest[: 1 + rest[0]] if rest else b""
                return (tree[:at], directive[1:]) if len(rest) > len(directive) else None
            at = end
        return None

    def pod_ttl_s(self, tree: bytes) -> int | None:
        """Return the TTL of a pod's name, if every address has a name in its namespace (`pods: insecure`).

        Return None for any other name.
        """
        pod_tree = next((each for each in self._pod_trees if tree.startswith(each)), None)
        if pod_tree is None or len(tree) == len(pod_tree):
            return None
        at = len(pod_tree)
        namespace = tree[: at + 1 + tree[at]]
        rest = tree[len(namespace) :]
        if not rest or len(rest) != 1 + rest[0]:
            return None
        return self._pod_trees[pod_tree] if self.kind(namespace) == NodeKind.POD_NAMESPACE else None


def _endings(reason: Reason) -> Endings:
    return compose_opt(False, 0, reason), compose_opt(True, 0, reason)


def _ends(tree: bytes, at: int, most: int) -> list[int]:
    """Return the offsets at which labels of a tree key end, after the offset `at`.

    At most `most` offsets are returned.
    """
    found: list[int] = []
    while at < len(tree) and len(found) < most:
        at += 1 + tree[at]
        found.append(at)
    return found
