"""Finds the records that the zones of pydns have for a name, step by step.

This code isn't on the fast path, so it is simple. For each name of a chain of CNAMEs, `Follower` calls the steps in the
order of `STEPS`. A step has one of three results. After `Found`, the search ends. After `FOLLOW`, the search continues
with the next name of the chain. After None, the next step is called. This table lists the steps by topic. A new step
belongs beside the others of its topic:

    question           `Search` contains the name in lower case, the type, the sender and the chain so far
    rewrite            `rewritten` and `synthesized` apply the rules that come before the records
    records            `found_here` returns records of the table, also for client classes; `apex_soa`, `pod_address` and
                       `in_empty_zone` answer if the table has no answer, and ignore client classes
    alias              `aliased` applies aliases; `descended` applies DNAMEs, wildcards and delegations
    next name          `existing` follows the CNAME of a name; `not_ours` leaves the name to upstreams or blocks it
    denial             `existing` denies a missing type of an existing name; `denied` denies a missing name
    additional         `found_here` adds the compiled additional records; `descended` adds the glue
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from pydns.dns import name
from pydns.dns.compiled import decompile, question, rotate_rrset
from pydns.dns.dashed import pod_rrsets, undashed
from pydns.dns.denial import denial_soa
from pydns.dns.message import TCP_SIZE, Rcode
from pydns.dns.reason import Reason
from pydns.dns.rewrite import Answer
from pydns.dns.rrset import ANY, CNAME, DNAME, DS, HTTPS, NS, SOA, SVCB, TXT, RRset, txt
from pydns.serve.commit import NOBODY, Commit, Sender, Zone
from pydns.serve.descent import Delegation, Renamed, Wildcard, descend
from pydns.serve.rules import MAX_LEADS, Lead, denied
from pydns.table.layout import NodeKind

if TYPE_CHECKING:
    from pydns.table.reader import Transaction

MAX_CHASE: Final = 10  # maximum number of CNAMEs in a chain, as in CoreDNS
# A record of these types is valid only for the name that owns it (RFC 9460). So if upstreams answer for the target of
# an alias, the alias doesn't get the target's records of these types.
_BINDINGS: Final = frozenset([SVCB, HTTPS])
_BINDINGS_TTL_S = 60
_PENDING_TTL_S: Final = 5  # the TTL of the denial of a name that will have an address soon


class Found(NamedTuple):
    """The records that the zones of pydns have for a name, and for the names to which its CNAMEs lead."""

    rcode: Rcode
    answers: Sequence[RRset] = ()
    authorities: Sequence[RRset] = ()
    additionals: Sequence[RRset] = ()
    authoritative: bool = True
    reason: Reason | None = None  # why the reply isn't a success; None if it is a success
    is_referral: bool = False
    # The name, in lower case, for which upstreams must be asked; else empty. If pydns doesn't ask upstreams for the
    # client, the client gets what the other fields of `Found` contain.
    onward: bytes = b""
    # If a rule has replaced the client's question, the question for upstreams. Then `onward` is the name in the
    # client's question.
    lead: Lead | None = None


# The answer while pydns doesn't know all names of the zone. The name may exist, and clients would cache an NXDOMAIN
# (RFC 8914 section 4.15).
_NOT_READY: Final = Found(Rcode.SERVFAIL, authoritative=False, reason=Reason.NOT_SYNCED)
# The answer if rules lead from name to name in an endless loop.
_LOOP: Final = Found(Rcode.SERVFAIL, authoritative=False, reason=Reason.RULE_LOOP)
# The answer if a rule makes an invalid name.
_NO_NAME: Final = Found(Rcode.SERVFAIL, authoritative=False, reason=Reason.RULE_TARGET)


class Next(Enum):
    """The result of a step after which the search continues with another name."""

    FOLLOW = "the search goes on with the name that was put into it"


class Search:
    """The name that the follower looks up now, and the CNAMEs that led to this name."""

    __slots__ = ("chain", "is_rewritten", "leads", "qname", "qtype", "sender", "source", "transaction", "tree", "zone")

    def __init__(
        self,
        qname: bytes,
        qtype: int,
        transaction: "Transaction",
        sender: Sender,
        is_rewritten: bool = False,
        leads: int = 0,
    ) -> None:
        """`leads` says how many rules have led to this name.

        If `is_rewritten` is true, the rules of `rewrites` don't apply to the name.
        """
        self.qtype = qtype
        self.transaction = transaction
        self.sender = sender
        self.leads = leads
        self.chain: list[RRset] = []
        self.turn_to(qname)
        self.is_rewritten = is_rewritten

    def turn_to(self, qname: bytes) -> None:
        """Make `qname` the current name of the search."""
        self.qname = qname
        self.is_rewritten = False
        # The name under which the table has the records. If `qname` gets the records of a wildcard, the wildcard.
        self.source = qname
        self.zone: Zone | None = None
        self.tree = b""

    def is_loop(self) -> bool:
        """Return whether the chain already contains the current name."""
        return any(self.qname == rrset.owner.lower() for rrset in self.chain)


class Follower:
    """Looks up names in the zones of a commit."""

    def __init__(
        self, commit: Commit, loop_mark: bytes = b"", turn: Callable[[bytes], int] = lambda _question: 0
    ) -> None:
        """The names of probes begin with `loop_mark`, and only pydns asks for these names.

        `turn` counts the answers to a question, so that each answer begins with another record.
        """
        self._commit = commit
        self._turn = turn
        self._loop_mark = loop_mark

    def follow(
        self,
        qname: bytes,
        qtype: int,
        transaction: "Transaction",
        sender: Sender,
        is_rewritten: bool = False,
        leads: int = 0,
    ) -> Found:
        """Return the records that the sender gets for a name in lower case. CNAMEs to zones of pydns are followed.

        `leads` says how many rules have led to this name. If `is_rewritten` is true, the last rule was one of
        `rewrites`, so the rules of `rewrites` don't apply again. The last name of the chain determines the rcode (RFC
        6604 section 2.1). The chain ends at a name that it already contains, or at a name outside the zones of pydns.
        Then the client gets the part of the chain up to this name.
        """
        self._commit.begin(transaction)
        search = Search(qname, qtype, transaction, sender, is_rewritten, leads)
        for _ in range(MAX_CHASE + 1):
            if search.is_loop():
                break
            outcome = self._step_through(search)
            if isinstance(outcome, Found):
                return outcome
        return Found(Rcode.NOERROR, search.chain, reason=Reason.CNAME_CHAIN)

    def _step_through(self, search: Search) -> Found | Next:
        for step in STEPS:
            outcome = step(self, search)
            if outcome is not None:
                return outcome
        raise AssertionError("the last step always ends the search")

    def rewritten(self, search: Search) -> Found | None:
        """Return the answer to the question that a rule of `rewrites` makes, or None if no such rule applies."""
        lead = self.rewriting(search)
        return None if lead is None else self._led(search, lead)

    def rewriting(self, search: Search) -> Lead | None:
        """Return the question that the rules of `rewrites` make of the current question, or None if no rule applies."""
        if search.is_rewritten or self._is_own(search):
            return None
        return self._commit.rules.rewriting(search.qname, search.qtype)

    def synthesized(self, search: Search) -> Found | Next | None:
        """Return the records of a template, or None if no template applies.

        If the records end with a CNAME, it is followed.
        """
        answer = self.synthesis(search)
        if answer is None:
            return None
        last = answer.answers[-1] if answer.answers and answer.rcode == Rcode.NOERROR else None
        if last is not None and last.rtype == CNAME and search.qtype not in (CNAME, ANY):
            search.chain += answer.answers
            search.turn_to(last.rdatas[0].lower())
            return Next.FOLLOW
        rcode, answers = Rcode(answer.rcode), [*search.chain, *answer.answers]
        reason = None if answer.answers and rcode is Rcode.NOERROR else Reason.TEMPLATE
        return Found(rcode, answers, answer.authorities, answer.additionals, rcode is not Rcode.SERVFAIL, reason)

    def synthesis(self, search: Search) -> Answer | None:
        """Return the answer that a template makes for the question, or None if no template applies."""
        return None if self._is_own(search) else self._commit.rules.synthesis(search.qname, search.qtype)

    def aliased(self, search: Search) -> Found | None:
        """Return the answer for the target of an alias, or None if the configuration has no alias for the name."""
        lead = self.alias(search)
        return None if lead is None else self._led(search, lead)

    def alias(self, search: Search) -> Lead | None:
        """Return the question for the target of the name's alias.

        Return None if the name has no alias, or if the name itself may exist.
        """
        lead = self._commit.rules.alias(search.qname, search.qtype)
        if lead is None:
            return None
        tree, zone = name.tree_key(search.qname), self._commit.zone_of(search.qname)
        if zone is None:
            is_ours = bool(tree) and self._commit.kind(tree) is not None
        else:
            names = self._commit.names
            exists = names.set_range(tree) and names.key().startswith(tree)
            is_ours = exists or not zone.is_complete or search.qname == zone.facts.apex
        return None if is_ours or self._commit.pod_ttl_s(tree) is not None else lead

    def _is_own(self, search: Search) -> bool:
        """Return whether the question comes from pydns itself: from a probe or a self-check.

        Rules don't apply to these questions.
        """
        is_probe = self._loop_mark and search.qname[1:].startswith(self._loop_mark)
        return bool(is_probe) or (search.qtype == SOA and search.qname == self._commit.facts.domain)

    def _led(self, search: Search, lead: Lead) -> Found:
        """Return the answer to the question `lead`, which a rule has made of the current question.

        The first owner in this answer is the current name.
        """
        if search.leads == MAX_LEADS:
            return _LOOP
        if not lead.qname:
            return _NO_NAME
        inner = self.follow(
            lead.qname, lead.qtype, search.transaction, search.sender, lead.is_rewritten, search.leads + 1
        )
        if inner in (_LOOP, _NO_NAME, _NOT_READY):
            return inner
        if inner.onward and not lead.is_rewritten and search.qtype in _BINDINGS:
            return Found(
                Rcode.NOERROR, search.chain, [denial_soa(search.qname, _BINDINGS_TTL_S)], reason=Reason.NO_TYPE
            )
        if inner.onward and search.chain:
            return Found(Rcode.NOERROR, search.chain, reason=Reason.NOT_OURS, onward=search.qname)
        answer = lead.revert(search.qname, Answer(inner.rcode, inner.answers, inner.authorities, inner.additionals))
        answers = [*search.chain, *answer.answers]
        if answer.onward:  # a rule has given a CNAME another target
            rest = self.follow(answer.onward, search.qtype, search.transaction, search.sender, leads=search.leads + 1)
            if rest.onward:
                return Found(Rcode.NOERROR, answers, reason=Reason.NOT_OURS, onward=answer.onward)
            return rest._replace(answers=[*answers, *rest.answers], authoritative=inner.authoritative)
        return inner._replace(
            rcode=Rcode(answer.rcode),
            answers=answers,
            authorities=answer.authorities,
            additionals=answer.additionals,
            onward=search.qname if inner.onward else b"",
            lead=lead if inner.onward else None,
        )

    def found_here(self, search: Search) -> Found | None:
        """Return the records of the table for the current name and type. For ANY, return the records of one type.

        Return NODATA if a client class of the sender removes the records, or None if the table has no records.
        """
        rtype = search.qtype if search.qtype != ANY else self._commit.first_type(search.source)
        if rtype is None:
            return None
        key = question(search.source, rtype)
        compiled = self._commit.answer(key, search.sender)
        if compiled is None:
            return None
        if not compiled:
            zone = self._commit.zone_of(search.qname)
            soa = self._commit.host_soa(search.qname) if zone is None else self._commit.soa(zone.facts)
            return Found(Rcode.NOERROR, search.chain, [soa], reason=Reason.NOT_FOR_CLIENT)
        rrset, additionals = decompile(key, compiled, TCP_SIZE)
        rrset = rotate_rrset(rrset._replace(owner=search.qname), self._turn(key))
        return Found(Rcode.NOERROR, [*search.chain, rrset], (), additionals)

    def not_ours(self, search: Search) -> Found | None:
        """Leave a name outside the zones of pydns to upstreams, unless the name is a host or blocked.

        If a route has a longer domain than the zone of the name, upstreams answer. But if the table has an entry for
        the name, pydns answers itself.
        """
        qname, chain = search.qname, search.chain
        search.zone = self._commit.zone_of(qname)
        search.tree = name.tree_key(qname)
        if search.zone is not None:
            return None if search.zone.facts.is_known else _NOT_READY
        kind = self._commit.kind(search.tree) if search.tree else None
        if kind is not None and (zone := self._commit.innermost_zone(qname)) is not None:
            search.zone = zone
            return None
        if kind == NodeKind.HOST:
            return Found(Rcode.NOERROR, chain, [self._commit.host_soa(qname)], reason=Reason.NO_TYPE)
        if kind is None and search.tree and (source := self._commit.split_wildcard(search.tree)) is not None:
            search.source = source
            if (found := self.found_here(search)) is not None:
                return found
        if not chain and self._loop_mark and qname[1:].startswith(self._loop_mark):
            probe = RRset(qname, TXT, 0, (txt(self._loop_mark[::-1]),))
            return Found(Rcode.NOERROR, [probe], authoritative=False)
        blocked = self._commit.rules.blocked(qname, search.qtype)
        if blocked is not None and not self._commit.has_route_below(blocked.domain, qname):
            answer = denied(blocked)
            is_denial = bool(answer.authorities)
            return Found(Rcode(answer.rcode), chain, answer.authorities, (), is_denial, Reason.BLOCKED)
        if chain:
            return Found(Rcode.NOERROR, chain, reason=Reason.NOT_OURS, onward=qname)
        return Found(Rcode.REFUSED, authoritative=False, reason=Reason.NOT_OURS, onward=qname)

    def descended(self, search: Search) -> Found | Next | None:
        """Apply delegations, DNAMEs and wildcards, in zones that contain them."""
        zone, qname = _zone(search), search.qname
        if zone.facts.is_plain:
            return None
        place = descend(self._commit.names, zone.tree, search.tree)
        if place is not None and not zone.is_complete:
            return _NOT_READY
        if isinstance(place, Delegation) and (search.qtype != DS or qname != place.cut):
            servers, glue = decompile(question(place.cut, NS), place.referral, TCP_SIZE)
            # AA refers to the first owner in the answer (RFC 1035 section 4.1.1). So AA is set if CNAMEs of zones of
            # pydns lead to the delegation.
            is_ours = bool(search.chain)
            return Found(Rcode.NOERROR, search.chain, [servers], glue, is_ours, is_referral=True, onward=qname)
        if isinstance(place, Renamed):
            return self._renamed(search, place.owner)
        if isinstance(place, Wildcard):
            search.source, search.tree = place.source, name.tree_key(place.source)
            return self.found_here(search)
        return None

    def _renamed(self, search: Search, owner: bytes) -> Found | Next:
        qname, dname = search.qname, self._commit.stored(owner, DNAME)
        target = qname[: -len(owner)] + dname.rdatas[0].lower()
        search.chain.append(dname)
        if len(target) > name.MAX_NAME:  # the name would be too long (RFC 6672 section 2.2)
            return Found(Rcode.YXDOMAIN, search.chain, reason=Reason.DNAME_TOO_LONG)
        search.chain.append(RRset(qname, CNAME, dname.ttl_s, (target,)))
        if search.qtype in (CNAME, ANY):
            return Found(Rcode.NOERROR, search.chain)
        search.turn_to(target)
        return Next.FOLLOW

    def apex_soa(self, search: Search) -> Found | None:
        """Return the SOA record if the question asks for it.

        The table has SOA records in its facts, and not among its answers.
        """
        zone = _zone(search)
        if search.qtype not in (SOA, ANY) or search.qname != zone.facts.apex:
            return None
        return Found(Rcode.NOERROR, [*search.chain, self._commit.soa(zone.facts)])

    def existing(self, search: Search) -> Found | Next | None:
        """If the name exists, follow its CNAME, or return NODATA if it has no CNAME."""
        names = self._commit.names
        if not (names.set_range(search.tree) and names.key().startswith(search.tree)):
            return None
        kind = names.value().removeprefix(NodeKind.ONE_LABEL) if names.key() == search.tree else NodeKind.PLAIN
        if kind == NodeKind.ALIAS:
            cname = self._commit.stored(search.source, CNAME)
            search.chain.append(cname._replace(owner=search.qname))
            search.turn_to(cname.rdatas[0].lower())
            return Next.FOLLOW
        soa = self._commit.soa(_zone(search).facts)
        if kind == NodeKind.PENDING:
            soa = soa._replace(ttl_s=min(soa.ttl_s, _PENDING_TTL_S))
            return Found(Rcode.NOERROR, search.chain, [soa], reason=Reason.PENDING)
        return Found(Rcode.NOERROR, search.chain, [soa], reason=Reason.NO_TYPE)

    def pod_address(self, search: Search) -> Found | None:
        """Compose the records of a pod's name from the address in the name (`pods: insecure`)."""
        ttl_s = self._commit.pod_ttl_s(search.tree)
        if ttl_s is None:
            return None
        address = undashed(name.labels_of(search.qname)[0])
        if not address:
            return None
        for rrset in pod_rrsets(search.qname, address, ttl_s):
            if search.qtype in (rrset.rtype, ANY):
                return Found(Rcode.NOERROR, [*search.chain, rrset], (), rrset.additional)
        return Found(Rcode.NOERROR, search.chain, [self._commit.soa(_zone(search).facts)], reason=Reason.NO_TYPE)

    def in_empty_zone(self, search: Search) -> Found | None:
        """Answer a name for a Service's endpoints in one zone of nodes, if no endpoint is in this zone.

        The answer to a name with the label `pin` is NODATA. The answer to a name with the label `prefer` has the
        endpoints of all zones of nodes.
        """
        place = self._commit.zoned_service(search.tree)
        if place is None:
            return None
        service, directive = place
        if directive == b"prefer":
            search.source, search.sender = name.from_tree_key(service), NOBODY
            if (found := self.found_here(search)) is not None:
                return found
        elif directive != b"pin":
            return None
        return Found(Rcode.NOERROR, search.chain, [self._commit.soa(_zone(search).facts)], reason=Reason.NO_TYPE)

    def denied(self, search: Search) -> Found:
        """Return NXDOMAIN, because no step has found the name. Return SERVFAIL if the zone isn't complete yet."""
        zone = _zone(search)
        if not zone.is_complete:
            return _NOT_READY
        onward = search.qname if zone.facts.falls_through else b""
        reason = self._commit.why_missing(search.qname, zone)
        return Found(Rcode.NXDOMAIN, search.chain, [self._commit.soa(zone.facts)], reason=reason, onward=onward)


STEPS: tuple[Callable[[Follower, Search], Found | Next | None], ...] = (
    Follower.rewritten,
    Follower.synthesized,
    Follower.found_here,
    Follower.aliased,
    Follower.not_ours,
    Follower.descended,
    Follower.apex_soa,
    Follower.existing,
    Follower.pod_address,
    Follower.in_empty_zone,
    Follower.denied,
)


def _zone(search: Search) -> Zone:
    assert search.zone is not None  # the step `not_ours` has set the zone
    return search.zone
