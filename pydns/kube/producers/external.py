"""External zones: the names that objects of the cluster claim in the configured zones.

A key is a name. Several objects may claim one name. The state of a key is the final decision about the name, so two
keys never have records of the same owner. When an object changes, the names that it claimed before and the names that
it claims now may change. An answer with an MX, SRV or NS record also contains the addresses of the target. So if the
addresses of the target change, this answer may change, too.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from pydns.config.model import ExternalSource, ExternalZone, HairpinMode
from pydns.dns import name
from pydns.dns.compiled import TARGET_AT
from pydns.dns.rrset import AAAA, CNAME, HTTPS, NS, SVCB, A, RRset, address_type
from pydns.kube.external.claims import Claim, Claimant, Decision, Record, decide
from pydns.kube.external.hairpin import MOST_ADDRESSES, Hairpin, Hairpins
from pydns.kube.external.source import Claimed, MakeSource, Source, Zones
from pydns.kube.producer import FIRST, Change, ZoneOptions
from pydns.kube.producers.dns_endpoints import DNSEndpoints
from pydns.kube.producers.exposed_services import LEAST_NAMESERVER_TTL_S, ExposedServices
from pydns.kube.producers.ingresses import Ingresses
from pydns.kube.producers.routes import Routes
from pydns.table.client_classes import ClientClass, Level
from pydns.table.layout import NodeKind, origin_key

# Name of a source in the configuration -> the source. Nodes claim no names, so they have no source here.
# `ExposedServices` uses the addresses of Nodes.
_SOURCES: dict[ExternalSource, MakeSource] = {
    ExternalSource.SERVICES: ExposedServices,
    ExternalSource.INGRESSES: Ingresses,
    ExternalSource.ROUTES: Routes,
    ExternalSource.DNSENDPOINTS: DNSEndpoints,
}
_ADDRESS_TYPES = (A, AAAA)
_PUBLIC_TYPES = (*_ADDRESS_TYPES, CNAME)
_MOST_ORIGINS = 1024  # maximum octets of the text that explains a name
_MOST_LISTED = 100  # maximum number of conflicts, and of notices, that are listed


class NameState(NamedTuple):
    """The records of a name, and the text that explains where they come from."""

    owner: bytes
    kind: bytes | None  # the `NodeKind` of the name, or None if the name doesn't exist and has only an explanation
    rrsets: tuple[RRset, ...]
    inside: tuple[RRset, ...]  # the RRsets that only clients in the cluster get; an RRset without RDATA means NODATA
    pointers: tuple[bytes, ...]  # the addresses whose PTR records lead to this name
    origins: str  # the lines with which `explain` explains the name


class Conflicts(NamedTuple):
    """The problems with external names."""

    names: dict[str, str]  # name -> the objects that claim the name; 100 names at most
    losers: int  # how many claims lost
    notices: dict[str, str]  # object -> which parts of the object aren't served; 100 objects at most


class External:
    """The producer for external names. A key is a name in lower case."""

    def __init__(self, options: ZoneOptions) -> None:
        self._options = options
        self._hairpins = Hairpins() if options.has_hairpin else None
        # Address record -> each name with claims that contain the record, and the number of these claims. Used only for
        # hairpin.
        self._having: dict[Record, Counter[bytes]] = {}
        self._zones = Zones(options)
        self._sources: dict[str, list[Source]] = {}  # cluster -> the sources for its objects
        if options.external:
            for cluster in options.exposed:
                of_cluster = _options_of(cluster, options)
                self._sources[cluster] = [make(of_cluster, self._zones) for make in _SOURCES.values()]
        # (cluster, index of the source, key of an object) -> the claims of the object
        self._claimed: dict[tuple[str, int, Hashable], Claimed] = {}
        self._claims: dict[bytes, dict[Claimant, Claim]] = {}  # name -> the claims for the name, by their claimants
        # name -> the objects that want the name but can't get it, each with the reason
        self._refused: dict[bytes, dict[Claimant, str]] = {}
        # Target -> each name whose answer also contains the addresses of the target, and how many objects cause this.
        self._carriers: dict[bytes, Counter[bytes]] = {}
        self._counts: Counter[bytes] = Counter()  # apex -> how many names of the zone are claimed
        self._wildcards: Counter[bytes] = Counter()  # apex -> how many wildcards of the zone are claimed
        self._losers: dict[bytes, tuple[int, tuple[str, ...]]] = {}
        self._noticed: dict[Claimant, tuple[str, ...]] = {}
        # claimant -> its notices, if they have changed since the last call of `take_news`
        self._news: dict[Claimant, tuple[str, ...]] = {}
        for zone in options.external:
            for each in zone.nameservers:
                self._carry(each.owner(zone.apex), zone.apex, 1)

    def note(self, change: Change, cluster: str = FIRST) -> Iterable[bytes]:
        """Process a changed object. Return the names whose records may have changed."""
        touched: dict[bytes, None] = {}
        for number, source in enumerate(self._sources.get(cluster, ())):
            for key in source.note(change):
                claimed = source.claimed(key)
                if claimed is not None and cluster:
                    claimed.move_to(cluster)
                self._claim_again((cluster, number, key), claimed, touched)
        if self._hairpins is not None and cluster == FIRST:
            for record in self._hairpins.note(change):
                touched.update(dict.fromkeys(self._having.get(record, ())))
        for owner in tuple(touched):
            touched.update(dict.fromkeys(self._carriers.get(owner, ())))
        return touched

    def _claim_again(self, at: tuple[str, int, Hashable], after: Claimed | None, touched: dict[bytes, None]) -> None:
        before = self._claimed.pop(at, None)
        if after is not None:
            self._claimed[at] = after
        if before is not None and (after is None or before.claimant != after.claimant):
            # An object that was deleted and created again has another claimant.
            self._change(before.claimant, before, None, touched)
            before = None
        if after is not None:
            self._change(after.claimant, before, after, touched)

    def _change(
        self, claimant: Claimant, before: Claimed | None, after: Claimed | None, touched: dict[bytes, None]
    ) -> None:
        old = before.claims if before is not None else {}
        new = after.claims if after is not None else {}
        old_refused = before.refused if before is not None else {}
        new_refused = after.refused if after is not None else {}
        for owner in old_refused.keys() | new_refused.keys():
            if old_refused.get(owner) != new_refused.get(owner):
                self._refuse(owner, claimant, new_refused.get(owner))
                touched[owner] = None
        for owner in old.keys() | new.keys():
            claim = new.get(owner)
            if old.get(owner) != claim:
                self._put(owner, claimant, claim)
                touched[owner] = None
        carried = before.carried() if before is not None else frozenset()
        carries = after.carried() if after is not None else frozenset()
        for pairs, difference in ((carried - carries, -1), (carries - carried, 1)):
            for target, owner in pairs:
                self._carry(target, owner, difference)
                touched[owner] = None
        self._notice(claimant, tuple(after.notices) if after is not None else ())

    def _refuse(self, owner: bytes, claimant: Claimant, why: str | None) -> None:
        refused = self._refused.setdefault(owner, {})
        if why is not None:
            refused[claimant] = why
        else:
            del refused[claimant]
            if not refused:
                del self._refused[owner]

    def _put(self, owner: bytes, claimant: Claimant, claim: Claim | None) -> None:
        claims = self._claims.setdefault(owner, {})
        was_claimed = bool(claims)
        if self._hairpins is not None:
            self._count_having(owner, claims.get(claimant), -1)
            self._count_having(owner, claim, 1)
        if claim is not None:
            claims[claimant] = claim
        else:
            del claims[claimant]
            if not claims:
                del self._claims[owner]
        difference = bool(claims) - was_claimed
        zone = self._zones.of(owner)
        if difference and zone is not None:
            self._counts[zone.apex] += difference
            if name.is_wildcard(owner):
                self._wildcards[zone.apex] += difference

    def _count_having(self, owner: bytes, claim: Claim | None, difference: int) -> None:
        if claim is None or claim.way is None or len(claim.records) > MOST_ADDRESSES:
            return  # a name with such a claim has no hairpin, whatever the other claims are
        for record in claim.records:
            owners = self._having.setdefault(record, Counter())
            owners[owner] += difference
            if not owners[owner]:
                del owners[owner]
                if not owners:
                    del self._having[record]

    def _carry(self, target: bytes, owner: bytes, difference: int) -> None:
        carriers = self._carriers.setdefault(target, Counter())
        carriers[owner] += difference
        if not carriers[owner]:
            del carriers[owner]
            if not carriers:
                del self._carriers[target]

    def _notice(self, claimant: Claimant, notices: tuple[str, ...]) -> None:
        if self._noticed.get(claimant, ()) != notices:
            self._news[claimant] = notices
            if notices:
                self._noticed[claimant] = notices
            else:
                del self._noticed[claimant]

    def current_keys(self) -> Collection[bytes]:
        """Return all names that objects want, and the apexes of all external zones."""
        return self._claims.keys() | self._refused.keys() | {zone.apex for zone in self._zones.all}

    def state(self, key: bytes) -> NameState | None:
        """Return the decision about a name. The objects that lost the name are remembered for `conflicts`."""
        zone = self._zones.of(key)
        claims = self._claims.get(key)
        if zone is None or (claims is None and key != zone.apex):
            self._losers.pop(key, None)
            refused = sorted(self._refused.get(key, {}).items()) if zone is not None else ()
            origins = "\n".join([f"{claimant} wants this name, but {why}" for claimant, why in refused])
            return NameState(key, None, (), (), (), origins[:_MOST_ORIGINS]) if refused else None
        decision = self._decide(key, zone)
        if decision.losers:
            self._losers[key] = decision.losers, decision.reasons
        else:
            self._losers.pop(key, None)
        hairpin = self._hairpin(zone, decision)
        inside = tuple(self._inside(key, zone, decision, hairpin))
        origins = "\n".join(decision.reasons)[:_MOST_ORIGINS]
        if hairpin is not None:
            origins += "\n" + hairpin.why[:_MOST_ORIGINS]
        if not zone.is_served:
            is_one_label = decision.kind.startswith(NodeKind.ONE_LABEL)
            split = (NodeKind.ONE_LABEL if is_one_label else b"") + NodeKind.SPLIT
            return NameState(key, split, (), inside, (), origins) if claims else None
        rrsets = [
            RRset(key, rtype, decision.ttl_s, rdatas, self._additional(key, rtype, rdatas, self._addresses))
            for rtype, rdatas in decision.records.items()
        ]
        kind = decision.kind
        if key == zone.apex:
            rrsets += self._nameservers(zone)
            kind = NodeKind.PLAIN
        return NameState(key, kind, tuple(rrsets), inside, decision.pointers, origins)

    def _hairpin(self, zone: ExternalZone, decision: Decision) -> Hairpin | None:
        """Return the ClusterIPs that clients in the cluster get for a name.

        Return None if the name can't have hairpin.
        """
        if self._hairpins is None or zone.hairpin is HairpinMode.OFF or decision.way is None:
            return None
        records = [(rtype, rdata) for rtype in _PUBLIC_TYPES for rdata in decision.records.get(rtype, ())]
        return self._hairpins.find(records, decision.way, zone.annotations) if records else None

    def _inside(self, owner: bytes, zone: ExternalZone, decision: Decision, hairpin: Hairpin | None) -> Iterator[RRset]:
        """Yield the RRsets that clients in the cluster get instead of the records of a name.

        Public addresses and ClusterIPs are never mixed, because a public IPv6 address beside a ClusterIP would lead
        half of the clients out of the cluster. HTTPS and SVCB records of upstreams may contain public addresses, so
        they are replaced, too.
        """
        if hairpin is not None and hairpin.addresses:
            by_type = _by_type(hairpin.addresses)
            is_elsewhere = CNAME in decision.records or not zone.is_served
            for rtype in (*_ADDRESS_TYPES, HTTPS, SVCB):
                if is_elsewhere or rtype in by_type or rtype in decision.records:
                    yield RRset(owner, rtype, self._options.ttl_s, by_type.get(rtype, ()))
        if self._hairpins is None or not zone.is_served:
            return
        for rtype, rdatas in decision.records.items():
            additional = self._additional(owner, rtype, rdatas, self._inside_addresses)
            if additional != self._additional(owner, rtype, rdatas, self._addresses):
                yield RRset(owner, rtype, decision.ttl_s, rdatas, additional)

    def _decide(self, owner: bytes, zone: ExternalZone) -> Decision:
        claims = self._claims.get(owner)
        if claims is None:
            return Decision({}, zone.ttl_s, NodeKind.PLAIN, (), (), 0)
        return decide(owner, claims, is_apex=owner == zone.apex)

    def _addresses(self, owner: bytes) -> tuple[RRset, ...]:
        """Return the address records of a name. The result is empty if no object claims the name."""
        zone = self._zones.of(owner)
        if zone is None or owner not in self._claims:
            return ()
        decision = self._decide(owner, zone)
        return tuple(
            [
                RRset(owner, rtype, decision.ttl_s, decision.records[rtype])
                for rtype in _ADDRESS_TYPES
                if rtype in decision.records
            ]
        )

    def _inside_addresses(self, owner: bytes) -> tuple[RRset, ...]:
        """Return the address records that clients in the cluster get for a name."""
        zone = self._zones.of(owner)
        if zone is None or owner not in self._claims:
            return ()
        hairpin = self._hairpin(zone, self._decide(owner, zone))
        if hairpin is None or not hairpin.addresses:
            return self._addresses(owner)
        by_type = _by_type(hairpin.addresses)
        return tuple([RRset(owner, rtype, self._options.ttl_s, rdatas) for rtype, rdatas in by_type.items()])

    def _additional(
        self,
        owner: bytes,
        rtype: int,
        rdatas: Iterable[bytes],
        addresses: Callable[[bytes], tuple[RRset, ...]],
    ) -> tuple[RRset, ...]:
        if rtype not in TARGET_AT:
            return ()
        targets = dict.fromkeys([rdata[TARGET_AT[rtype] :].lower() for rdata in rdatas])
        carried = [target for target in targets if owner in self._carriers.get(target, ())]
        return tuple([rrset for target in carried for rrset in addresses(target)])

    def _nameservers(self, zone: ExternalZone) -> list[RRset]:
        """Return the NS records of a zone. A nameserver without an address gets no NS record."""
        glue = {owner: self._addresses(owner) for owner in (each.owner(zone.apex) for each in zone.nameservers)}
        found = tuple([owner for owner, rrsets in glue.items() if rrsets])
        additional = tuple([rrset for owner in found for rrset in glue[owner]])
        return [RRset(zone.apex, NS, max(zone.ttl_s, LEAST_NAMESERVER_TTL_S), found, additional)] if found else []

    def rrsets(self, state: NameState) -> Iterator[RRset]:
        """Yield the records that a name has for all clients."""
        return iter(state.rrsets)

    def class_rrsets(self, state: NameState) -> Iterator[tuple[ClientClass, RRset]]:
        """Yield the RRsets that only clients in the cluster get, each with the class of these clients."""
        client_class = ClientClass(Level.CLUSTER, self._options.domain)
        for rrset in state.inside:
            yield client_class, rrset

    def names(self, state: NameState) -> Mapping[bytes, bytes]:
        """Return the table's entries for a name: its node kind, if the name exists, and its explanation.

        The keys are the tree key and the origin key of the name.
        """
        tree = name.tree_key(state.owner)
        origins = {origin_key(tree): state.origins.encode()}
        return origins if state.kind is None else {tree: state.kind, **origins}

    def pointers(self, state: NameState) -> Iterator[tuple[bytes, bytes]]:
        """Yield the load balancers' addresses that lead to a name, each with the name."""
        for address in state.pointers:
            yield address, state.owner

    def size(self, state: NameState) -> int:
        """Return how many records a name has."""
        return sum([len(rrset.rdatas) for rrset in state.rrsets])

    def change_ttl(self, ttl_s: int) -> None:
        """Use another TTL for answers with ClusterIPs. All other answers have TTLs of the zone or of an object."""
        self._options = self._options._replace(ttl_s=ttl_s)

    # Information about the external zones

    def is_plain(self, apex: bytes) -> bool:
        """Return whether no object claims a wildcard in a zone."""
        return not self._wildcards[apex]

    def count(self, apex: bytes) -> int:
        """Return how many names of a zone are claimed."""
        return self._counts[apex]

    def problem(self, zone: ExternalZone) -> str | None:
        """Return a text that lists those nameservers of a zone that have no address, or None if all have one."""
        owners = [each.owner(zone.apex) for each in zone.nameservers]
        lacking = [name.to_text(owner) for owner in owners if not self._addresses(owner)]
        return f"without an address: {', '.join(lacking)}" if lacking else None

    def conflicts(self) -> Conflicts:
        """Return the names that objects lost to other objects, and the objects that are served only in part."""
        names = sorted(self._losers)[:_MOST_LISTED]
        return Conflicts(
            {name.to_text(each): "; ".join(self._losers[each][1]) for each in names},
            sum(losers for losers, _ in self._losers.values()),
            {str(each): "; ".join(self._noticed[each]) for each in sorted(self._noticed)[:_MOST_LISTED]},
        )

    def take_news(self) -> dict[str, str]:
        """Return a dict: object whose notices have changed since the last call -> its notices now.

        An empty text means that the object no longer has a problem.
        """
        news, self._news = self._news, {}
        return {str(claimant): "; ".join(notices) for claimant, notices in news.items()}


def _by_type(addresses: Iterable[bytes]) -> dict[int, tuple[bytes, ...]]:
    """Return the addresses, grouped by record type."""
    found: dict[int, tuple[bytes, ...]] = {}
    for address in addresses:
        rtype = address_type(address)
        found[rtype] = (*found.get(rtype, ()), address)
    return found


def _options_of(cluster: str, options: ZoneOptions) -> ZoneOptions:
    """Return the options that apply to the objects of a cluster.

    The cluster's first domain decides which namespaces are served.
    """
    if cluster == FIRST:
        return options
    namespaces = next((each.namespaces for each in options.further if each.source == cluster), None)
    return options._replace(source=cluster, namespaces=namespaces)
