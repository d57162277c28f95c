"""Explains why a name has its answer. The texts are for an operator who knows DNS and Kubernetes.

The answer comes from the same code that answers clients. Most reasons come from the tree of names in the table. The
tree shows the target of a CNAME, the missing part of a name, and the zone of that part. The tree doesn't tell why an
object has no name. The table also contains the controller's status. For some objects without a name, the status has the
reason.
"""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

import dns.rdatatype
import msgspec

from pydns.cli.forwarding import Forwarding, OwnAnswer, Step
from pydns.config import model
from pydns.config.model import AclAction, AnyQueries, AnyServer
from pydns.config.summary import rule_text
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.compiled import decompile, question
from pydns.dns.dashed import pod_rrsets, undashed
from pydns.dns.expression import Asker
from pydns.dns.message import Rcode
from pydns.dns.reason import Reason
from pydns.dns.rrset import ANY, CNAME, NS, PTR, SOA, RRset
from pydns.dns.text import to_text
from pydns.serve.access import deciding, rules_of
from pydns.serve.commit import At, Commit
from pydns.serve.descent import Wildcard, descend
from pydns.serve.extras import ANY_AS_HINFO
from pydns.serve.follow import MAX_CHASE, Follower, Found, Search
from pydns.serve.rules import MAX_LEADS, Lead
from pydns.serve.views import views_of
from pydns.table.client_classes import ClientClass, Level, classes_at
from pydns.table.layout import NodeKind, ZoneFacts
from pydns.table.status import MAX_LISTED, Filter, ZoneStatus, decode
from pydns.table.tree import Tree
from pydns.upstream.servers import Servers
from pydns.zones.special import INTERNAL_TYPE

if TYPE_CHECKING:
    from pydns.table.reader import Reader, Transaction

_CLASS_TEXTS = {
    Level.VIEW: "in view {}",
    Level.NODE: "on node {}",
    Level.ZONE: "in zone {}",
    Level.CLUSTER: "in cluster {}",
}
# The most names in a list. If more names exist, the list has only those that are similar to the missing name.
_MAX_SHOWN = 10
_NOBODY = "nobody"
_NODATA = "NODATA"
FORWARDED = "forwarded"  # upstreams answer the question
_ACL_REPLIES = {
    AclAction.BLOCK: Rcode.REFUSED.name,
    AclAction.FILTER: _NODATA,
    AclAction.DROP: "no reply",
}
_ACL_REASONS = {
    AclAction.BLOCK: Reason.ACL_BLOCK,
    AclAction.FILTER: Reason.ACL_FILTER,
    AclAction.DROP: Reason.ACL_DROP,
}


class Path(NamedTuple):
    """How upstreams answer a question. If two configurations give equal paths, upstreams answer in the same way."""

    qname: bytes
    qtype: int  # the type for which upstreams are asked first
    steps: tuple[Step, ...]
    derivation: tuple[str, ...]  # how `families` and `dns64` change the answer
    # the rules that made this question from the client's question; the last rule comes first
    leads: tuple[Lead, ...] = ()


class Reply(NamedTuple):
    """The reply to a client's question, with the source of the answer and the reasons."""

    qname: bytes
    qtype: int
    has_answer: bool  # whether there is an answer of the requested type
    said: str
    kept_s: int | None  # seconds for which clients cache a denial
    records: list[str]
    source: str
    why: list[str]
    reason: Reason | None = None  # None if the question has an answer, or if upstreams answer it
    onward: bytes = b""  # the name for which upstreams are asked
    servers: tuple[AnyServer, ...] = ()  # the servers that may be asked, in order
    dead: tuple[str, ...] = ()  # the servers in `servers` that all workers regard as dead
    path: Path | None = None  # None if no upstream is asked
    others: tuple[str, ...] = ()  # the authority and additional records, without SOA records


class Similar(NamedTuple):
    """A Service that a person may have meant."""

    name: str  # SERVICE.NAMESPACE
    why: str


def type_text(rtype: int) -> str:
    """Return the name of a record type."""
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))


class Witness:
    """Explains names from one commit of a table."""

    def __init__(
        self, reader: "Reader", transaction: "Transaction", client: bytes = b"", *, has_reasons: bool = True
    ) -> None:
        """`client` has the octets of the client's address. `client` is empty for a client without a class.

        If `has_reasons` is false, `why` is empty in all replies. Finding these texts takes most of the time.
        """
        self._has_reasons = has_reasons
        self._reader = reader
        self._client = At(client)
        self._commit = commit = Commit(reader)
        self._follower = Follower(commit)
        self.turn_to(transaction)
        try:
            self._config = model.load(reader.config(transaction))
        except msgspec.DecodeError:  # the table has no configuration yet
            self._config = model.Config(upstreams=())
        self._routes = Servers().plan(self._config, {}).routes
        self._forwarding = Forwarding(self._config, self._routes, self.status)
        commit.set_routes(self._routes)
        commit.configure(self._config)
        self._acl = rules_of(self._config)
        self._views = views_of(self._config)
        self._external = {zone.apex for zone in self._config.external if zone.is_served}

    def turn_to(self, transaction: "Transaction") -> None:
        """Use a newer commit for the next questions. The configuration stays the same."""
        self._transaction = transaction
        self._tree = Tree(self._reader, transaction)
        self._facts = self._reader.facts(transaction)
        self.status = decode(self._reader.status(transaction))

    def reply_of(self, client: bytes, qname: bytes, qtype: int) -> Reply:
        """Return the reply to a client. Later calls of the other methods also answer this client."""
        self._client = At(client)
        return self.reply_to_client(qname, qtype)

    @property
    def domain(self) -> bytes:
        """The first domain, that of `--domain`."""
        return self._facts.domain

    @property
    def domains(self) -> tuple[bytes, ...]:
        """All domains, from the first domain on."""
        return tuple(self._facts.domains)

    def similar(self, qname: bytes) -> Iterator[Similar]:
        """Yield Services that a person may have meant by a name that doesn't exist."""
        parent, missing = self._tree.closest_encloser(qname)
        label, domain = name.label_to_text(missing), self._domain_of(parent)
        depth = len(name.labels_of(qname)) - len(name.labels_of(parent))
        match self._labels_in_cluster(parent):
            case ["svc", namespace] if depth == 1:
                for each in self._namespaces_with(domain, label):
                    yield Similar(f"{label}.{each}", f"Service {label} is in namespace {each}")
                for each in self._close(label, parent):
                    yield Similar(f"{each}.{namespace}", f"namespace {namespace} has a Service {each}")
            case ["svc"] if depth == 2:
                service = name.label_to_text(name.labels_of(qname)[0])
                for each in self._close(label, parent):
                    if self._has_service(domain, service, each):
                        yield Similar(f"{service}.{each}", f"namespace {each} has a Service {service}")

    def _close(self, label: str, parent: bytes) -> list[str]:
        return get_close_matches(label, map(name.label_to_text, self._tree.labels_below(parent)))

    def _domain_of(self, qname: bytes) -> bytes:
        """Return the domain that contains a name. If no domain contains the name, return the first domain."""
        around = [each for each in self._facts.domains if name.is_at_or_below(qname, each)]
        return max(around, key=len, default=self.domain)

    def _object(self, domain: bytes, service: str) -> str:
        """Return a Service as the status names it. `service` is NAMESPACE/NAME."""
        text = name.to_text(domain)
        cluster = next((each.cluster for each in self.status.sources.values() if text in each.domains), "")
        return f"Service {service}{f' of cluster {cluster}' if cluster else ''}"

    def client_text(self) -> str:
        """Return the classes of the client as text.

        The text is empty if the client has no class, or if no client is given.
        """
        address = self._client.address
        found = classes_at(self._tree.names, address) if address else ()
        known = ", ".join([_CLASS_TEXTS[each.level].format(_class_name(each)) for each in found])
        return f"client {address_text(address)}: {known}" if known else ""

    def reply_to_client(self, qname: bytes, qtype: int) -> Reply:
        """Return the reply that the client gets. The rules of `acl` and `views` are applied."""
        address = self._client.address
        place = deciding(self._acl, address, qname, qtype) if address else None
        if place is not None and (rule := self._config.acl[place]).action is not AclAction.ALLOW:
            why = [f"acl[{place}] decides: {rule_text(rule)}"]
            said = _ACL_REPLIES[rule.action]
            reason = _ACL_REASONS[rule.action]
            return Reply(qname, qtype, False, said, None, [], _NOBODY, why, reason)
        if qtype == ANY and self._config.any is AnyQueries.HINFO:
            records = to_text(ANY_AS_HINFO._replace(owner=qname))
            return Reply(qname, qtype, True, Rcode.NOERROR.name, None, records, "pydns", ["the key `any`: hinfo"])
        asker = Asker(address, name.to_text(qname), type_text(qtype))
        for at, (holds, rules) in enumerate(self._views if address else ()):
            if holds(asker):
                # If the rules don't touch the question, the rules for all clients apply (as in `pydns.serve.views`).
                if not rules.touches(qname, qtype):
                    break
                with self._commit.ruled_by(rules):
                    reply = self.reply(qname, qtype)
                return reply._replace(why=[f"views[{at}] counts: {self._config.views[at].when}", *reply.why])
        return self.reply(qname, qtype)

    @property
    def depends_on_client(self) -> bool:
        """Whether `acl` or `views` may change the answer, but no client is given."""
        return bool(self._config.acl or self._config.views) and not self._client.address

    def reply(self, qname: bytes, qtype: int, is_rewritten: bool = False, leads: int = 0) -> Reply:
        """Return the reply to a query with RD set. `qname` is in lower case.

        `leads` is the number of rules that led to this name. `is_rewritten` is True if a rule of `rewrites` made the
        name.
        """
        found = self._follower.follow(qname, qtype, self._transaction, self._client, is_rewritten, leads)
        search = Search(qname, qtype, self._transaction, self._client, is_rewritten, leads)
        return self._ruled(search, found) or self._found(qname, qtype, found, leads)

    def _ruled(self, search: Search, found: Found) -> Reply | None:
        """Return the reply if a rule gives the name another answer."""
        qname, qtype = search.qname, search.qtype
        rewriting = self._follower.rewriting(search)
        if rewriting is None and self._follower.synthesis(search) is not None:
            source, why = "templates of the configuration", "a template of the configuration answers the question"
            if found.onward:  # the last CNAME of the template has a target that upstreams must answer
                reply = self._found(qname, qtype, found, search.leads)
                return reply._replace(why=[why, *reply.why])
            return self._reply(qname, qtype, found, source, [why])
        lead = rewriting or self._follower.alias(search)
        if lead is None:
            blocked = self._commit.rules.blocked(qname, qtype) if self._zone(qname) is None else None
            if blocked is None or found.onward or found.answers:
                return None
            why = f"{name.to_text(blocked.domain)} is blocked ({blocked.denial.value})"
            return self._reply(qname, qtype, found, "blocked domains of the configuration", [why])
        if not lead.qname or search.leads == MAX_LEADS:
            why = "a rule leads to no valid name" if not lead.qname else f"no more than {MAX_LEADS} rules are followed"
            return self._reply(qname, qtype, found, _NOBODY, [why])
        inner = self.reply(lead.qname, lead.qtype, lead.is_rewritten, search.leads + 1)
        target = f"{name.to_text(lead.qname)} {type_text(lead.qtype)}"
        why = (
            f"`rewrites` make {target} of the name"
            if lead.is_rewritten
            else f"the name is an alias of {name.to_text(lead.qname)}"
        )
        reply = self._reply(qname, qtype, found, inner.source, [why, *inner.why])
        if not found.onward:
            return reply
        path = inner.path and inner.path._replace(leads=(*inner.path.leads, lead))
        return reply._replace(said=inner.said, reason=inner.reason, path=path)

    def _reply(self, qname: bytes, qtype: int, found: Found, source: str, why: list[str]) -> Reply:
        has_answer = _has_answer(found, qtype)
        said = _said(found, has_answer)
        is_denial = said in (_NODATA, Rcode.NXDOMAIN.name) and bool(found.authorities)
        kept_s = found.authorities[0].ttl_s if is_denial else None
        records = [line for rrset in found.answers for line in to_text(rrset)]
        rest = [each for each in (*found.authorities, *found.additionals) if each.rtype != SOA]
        others = tuple([line for rrset in rest for line in to_text(rrset)])
        return Reply(
            qname, qtype, has_answer, said, kept_s, records, source, why, found.reason, found.onward, others=others
        )

    def _found(self, qname: bytes, qtype: int, found: Found, leads: int = 0) -> Reply:
        why, last = self._chain(qname, qtype, found.answers)
        if self._has_reasons:
            why += self._reasons(last, qtype, found)
        zone = self._zone(last)
        if zone is not None and zone.soa_timers and (file := self._file(zone)) and file.problem:
            why.append(f"the file has a mistake, so its last good state counts: {file.problem}")
        source = self._source(last, qtype)
        offered = self._config.upstreams or self._config.routes
        if not found.onward:
            if zone is not None:
                why += self._covered_route(last, zone)
        elif not offered:
            why.append("there are no upstreams")
        elif found.answers and found.onward != qname and leads < MAX_LEADS and self._has_lead(found.onward, qtype):
            # A CNAME leads to a name that a rule changes. A worker answers this name like a new question
            # (`Recursion.go_on`).
            steps = why[: len(found.answers)]
            return self._continued(qname, qtype, found.answers, found.onward, steps, leads)
        elif own := self._forwarding.own_answer(found.onward, qtype, self._client.address):
            return self._own(qname, qtype, found, own, why, leads)
        else:
            servers, more = self._forwarding.title_and_steps(found.onward)
            said, source = (FORWARDED, servers) if servers else (Rcode.REFUSED.name, _NOBODY)
            asked = tuple(self._forwarding.servers(found.onward)) if servers else ()
            reply = self._reply(qname, qtype, found, source, [*why, *more, *self._derivation(found.onward, qtype)])
            return reply._replace(
                said=said,
                kept_s=None,
                reason=None if servers else Reason.NOT_OURS,
                servers=asked,
                dead=self._forwarding.dead(asked),
                path=self._path(found.onward, qtype) if servers else None,
                others=(),
            )
        return self._reply(qname, qtype, found, source, why)

    def _continued(
        self, qname: bytes, qtype: int, answers: Iterable[RRset], target: bytes, why: Sequence[str], leads: int
    ) -> Reply:
        """Return a reply with the records `answers`, followed by the records of the last CNAME's target."""
        inner = self.reply(target, qtype, leads=leads + 1)
        records = [line for rrset in answers for line in to_text(rrset)]
        return inner._replace(qname=qname, records=[*records, *inner.records], why=[*why, *inner.why])

    def _own(self, qname: bytes, qtype: int, found: Found, own: OwnAnswer, why: Sequence[str], leads: int) -> Reply:
        """Return the reply that `dns64` makes without an upstream."""
        answers = [*found.answers, *own.answers]
        why = [*why, "`dns64` makes the answer without an upstream"]
        if own.onward and leads < MAX_LEADS:
            return self._continued(qname, qtype, answers, own.onward, why, leads)
        made = found._replace(rcode=Rcode.NOERROR, answers=answers, authorities=(), reason=None, onward=b"")
        return self._reply(qname, qtype, made, "dns64 of the configuration", list(why))

    def _derivation(self, qname: bytes, qtype: int) -> tuple[str, ...]:
        return tuple(self._forwarding.derivation(qname, qtype, self._client.address))

    def _path(self, qname: bytes, qtype: int) -> Path:
        asked_type = self._forwarding.asked_type(qname, qtype, self._client.address)
        return Path(qname, asked_type, tuple(self._forwarding.steps(qname)), self._derivation(qname, qtype))

    def _has_lead(self, qname: bytes, qtype: int) -> bool:
        search = Search(qname, qtype, self._transaction, self._client)
        return self._follower.rewriting(search) is not None or self._follower.alias(search) is not None

    def _chain(self, qname: bytes, qtype: int, answers: Sequence[RRset]) -> tuple[list[str], bytes]:
        """Return the steps of a CNAME chain, and the last name of the chain."""
        steps = []
        for rrset in answers:
            if rrset.rtype == CNAME != qtype:
                qname = rrset.rdatas[0].lower()
                source = self._source(rrset.owner, CNAME)
                source = "a rule of the configuration" if source == _NOBODY else source
                steps.append(f"{name.to_text(rrset.owner)} is a CNAME for {name.to_text(qname)} ({source})")
        return steps, qname

    def _reasons(self, last: bytes, qtype: int, found: Found) -> list[str]:
        shown = name.to_text(last)
        if found.reason is Reason.NOT_SYNCED:
            return self._what_is_awaited()
        if found.rcode is Rcode.YXDOMAIN:
            return [f"a DNAME turns the name into a name of more than {name.MAX_NAME} octets"]
        if found.is_referral:
            cut = found.authorities[0]
            return [f"{name.to_text(cut.owner)} is delegated to {', '.join(map(name.to_text, cut.rdatas))}"]
        if found.rcode is Rcode.NXDOMAIN:
            return self._what_is_missing(last)
        if _has_answer(found, qtype):
            return [*self._what_it_is(last, qtype), *self._what_is_cut_of(found.answers[-1])]
        if found.authorities:
            return self._what_else_there_is(last, qtype)
        if found.onward:
            zone = self._zone(last)
            return [
                *self._tree.origins(last),
                f"{shown} is in no zone that pydns answers"
                if zone is None
                else f"{shown} would be in zone {name.to_text(zone.apex)}, but a route contains this name",
            ]
        looped = any(last == rrset.owner for rrset in found.answers)
        return [f"CNAMEs lead back to {shown}" if looped else f"no more than {MAX_CHASE} CNAMEs are followed"]

    def _what_it_is(self, qname: bytes, qtype: int) -> list[str]:
        domain = self._domain_of(qname)
        match self._labels_in_cluster(qname):
            case ["svc", namespace, service]:
                cut, origins = self._what_is_cut(domain, namespace, service), self._tree.origins(qname)
                return [f"{service} is a Service in namespace {namespace}", *cut, *origins]
            case ["svc", namespace, service, *_]:
                why = f"the name belongs to an endpoint or a port of Service {service} in namespace {namespace}"
                return [why, *self._what_is_cut(domain, namespace, service)]
            case ["pod", namespace, _]:
                return [f"the name is a pod's address in namespace {namespace} (pods: {self._pods(domain, namespace)})"]
        match self._labels_of_import(qname):
            case [namespace, service, *rest]:
                what = "an endpoint or a port of a ServiceImport" if rest else "a ServiceImport"
                return [f"the name belongs to {what}: {namespace}/{service}"]
        source = self._wildcard(qname)
        steps = [f"the answer is synthesized from {name.to_text(source)}"] if source else []
        return [*steps, *self._tree.origins(source or qname), *self._delegation(qname, qtype)]

    def _what_else_there_is(self, qname: bytes, qtype: int) -> list[str]:
        if source := self._wildcard(qname):
            return [f"the answer is synthesized from {name.to_text(source)}", *self._what_else_there_is(source, qtype)]
        types = self._tree.types(qname)
        if types == [INTERNAL_TYPE]:
            parent = name.to_text(qname[1 + qname[0] :])
            return [f"names below {parent} have no records: the domain is a special name, or blocked with `nodata`"]
        match self._labels_in_cluster(qname):
            case ["svc", namespace]:
                return [f"{namespace} is a namespace, which has no records", *self._there("Services", qname)]
            case ["pod", _, label] if not types and (address := undashed(label.encode())):
                types = [each.rtype for each in pod_rrsets(qname, address, 0)]
        shown, origins = name.to_text(qname), self._tree.origins(qname)
        if qtype in types:
            return [f"{shown} has {type_text(qtype)}, but not for the client that asks", *origins]
        if types:
            return [f"{shown} exists with {', '.join(map(type_text, types))}, without {type_text(qtype)}", *origins]
        if origins:
            return origins
        if self._tree.kind(qname) == NodeKind.PENDING:
            return [f"ServiceImport {'/'.join(self._labels_of_import(qname) or ())} has no address yet"]
        return [f"{shown} has no records, only names below it", *self._there("names", qname)]

    def _what_is_missing(self, qname: bytes) -> list[str]:
        denied = self._zone(qname)
        if denied is not None and denied.is_static and not self._tree.exists(denied.apex):
            return [f"{name.to_text(denied.apex)} is blocked, or a special name that pydns denies"]
        parent, missing = self._tree.closest_encloser(qname)
        label, domain = name.label_to_text(missing), self._domain_of(parent)
        only = self.status.only if domain == self.domain else Filter()
        match self._labels_of_import(parent):
            case [namespace]:
                if endpoints := self.status.without_endpoints.get(f"ServiceImport {namespace}/{label}"):
                    return [f"ServiceImport {namespace}/{label} is headless without a ready endpoint: {endpoints}"]
                return [f"namespace {namespace} has no ServiceImport {label}", *self._there("names", parent, label)]
        match self._labels_in_cluster(parent):
            case []:
                pattern = f"SERVICE.NAMESPACE.svc.{name.to_text(domain)}"
                return [f"{name.to_text(domain)} has no {label}; Services are called {pattern}"]
            case ["svc" | "pod"] if only.namespaces is not None and label not in only.namespaces:
                return [f"namespace {label} is not served; the served namespaces are: {', '.join(only.namespaces)}"]
            case ["pod"] if self._tree.exists(_child(label, _child("svc", domain))):
                return ["pods have no names (pods: disabled)"]
            case ["svc" | "pod"]:
                return [f"there is no namespace {label}", *self._there("namespaces", parent, label)]
            case ["svc", namespace]:
                skipped = self.status.skipped.get(self._object(domain, f"{namespace}/{label}"))
                if skipped:
                    return [f"Service {label} in namespace {namespace} is skipped: {skipped}"]
                without_endpoints = self.status.without_endpoints
                if endpoints := without_endpoints.get(self._object(domain, f"{namespace}/{label}")):
                    return [
                        f"{label} is a headless Service in namespace {namespace} without a ready endpoint: {endpoints}",
                        "such a Service has no name, as if it didn't exist (DNS specification, section 2.4)",
                    ]
                reasons = []
                # The status lists a limited number of Services without endpoints.
                if len(without_endpoints) >= MAX_LISTED:
                    reasons.append("it is headless without a ready endpoint")
                if only.labels:
                    reasons.append(f"its labels are not {only.labels}")
                why = ", or ".join([f"namespace {namespace} has no Service {label}", *reasons])
                return [why, *self._elsewhere(domain, label, namespace), *self._there("Services", parent, label)]
            case ["svc", namespace, service, *_]:
                why = f"Service {service} in namespace {namespace} has no such endpoint or port"
                return [why, *self._what_is_cut(domain, namespace, service), *self._there("names", parent, label)]
            case ["pod", namespace] if undashed(label.encode()) is None:
                return [f"{label} is not an address with dashes, such as 10-0-0-1"]
            case ["pod", namespace] if self._pods(domain, namespace) == "verified":
                return [f"no pod in namespace {namespace} has the address {label} (pods: verified)"]
            case ["pod", *_]:
                return ["there is nothing below a pod's name"]
        zone = self._zone(qname)
        if zone is not None and zone.falls_through and zone.apex not in self._facts.domains:
            return ["no Service, endpoint or host has this address"]
        if refused := self._tree.origins(qname):
            return refused
        return [f"{name.to_text(parent)} has no {label}", *self._there("names", parent, label)]

    def _delegation(self, qname: bytes, qtype: int) -> list[str]:
        """Return the lines that the parent zone of an external zone needs: NS records and the servers' addresses."""
        if qtype != NS or qname not in self._external:
            return []
        key = question(qname, NS)
        servers, glue = decompile(key, self._transaction.get(key, b""))
        lines = [line for rrset in (servers, *glue) for line in to_text(rrset)]
        return ["the parent zone needs these lines:", *(f"  {line}" for line in lines)]

    def _elsewhere(self, domain: bytes, service: str, namespace: str) -> list[str]:
        """Return a line with the other namespaces that have a Service of the same name."""
        found = [each for each in self._namespaces_with(domain, service) if each != namespace]
        if not found:
            return []
        shown = ", ".join([f"{service}.{each}" for each in found[:_MAX_SHOWN]])
        more = f" and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
        return [f"other namespaces have a Service of this name: {shown}{more}"]

    def _namespaces_with(self, domain: bytes, service: str) -> list[str]:
        namespaces = sorted(map(name.label_to_text, self._tree.labels_below(_child("svc", domain))))
        return [each for each in namespaces if self._has_service(domain, service, each)]

    def _has_service(self, domain: bytes, service: str, namespace: str) -> bool:
        return self._tree.exists(_child(service, _child(namespace, _child("svc", domain)))) or (
            self._object(domain, f"{namespace}/{service}") in self.status.without_endpoints
        )

    def _what_is_cut(self, domain: bytes, namespace: str, service: str) -> list[str]:
        missing = self.status.cut.get(self._object(domain, f"{namespace}/{service}"))
        return [f"the Service is too large to be served as a whole: {missing}"] if missing else []

    def _what_is_cut_of(self, pointers: RRset) -> list[str]:
        """Return a line for each Service that a PTR record names and whose records are incomplete.

        The address of the PTR records may have further names that aren't in the table.
        """
        if pointers.rtype != PTR:
            return []
        services: dict[tuple[bytes, str, str], None] = {}
        for target in pointers.rdatas:
            match self._labels_in_cluster(target):
                case ["svc", namespace, service, *_]:
                    services[self._domain_of(target), namespace, service] = None
        return [
            f"{service} in namespace {namespace}: {reason}"
            for domain, namespace, service in list(services)[:_MAX_SHOWN]
            for reason in self._what_is_cut(domain, namespace, service)
        ]

    def _pods(self, domain: bytes, namespace: str) -> str:
        kind = self._tree.kind(_child(namespace, _child("pod", domain)))
        return "insecure" if kind == NodeKind.POD_NAMESPACE else "verified"

    def _what_is_awaited(self) -> list[str]:
        why = ["the cluster has not been listed yet, so the name may exist later"]
        for kind, problem in self.status.missing.items():
            why.append(f"{kind} is not listed" + (f": {problem}" if problem else ""))
        return why

    def _covered_route(self, qname: bytes, zone: ZoneFacts) -> list[str]:
        """If a route contains a name of pydns's own zones, return a line that explains why the route isn't used."""
        spec = self._routes.find(qname)
        if spec is None or spec.domain == name.ROOT:
            return []
        route, apex = name.to_text(spec.domain), name.to_text(zone.apex)
        if len(spec.domain) > len(zone.apex):
            return [f"route {route} contains the name, too, but pydns has records of its own for it"]
        file = self._file(zone) if zone.soa_timers else None
        answered = f"from file {file.file}" if file else "here"
        return [f"route {route} contains the name, too, but zone {apex} is answered {answered}"]

    def _source(self, qname: bytes, qtype: int) -> str:
        """Return the source of the answer. If there is no answer, return the source of the denial."""
        key = question(qname, qtype)
        is_static = self._reader.is_static(key, self._transaction)
        zone = self._zone(qname)
        if (is_static or zone is None) and self._tree.kind(qname) == NodeKind.HOST:
            return "hosts of the configuration"
        if zone is None:
            return _NOBODY
        if zone.apex in self._external and not is_static:
            return f"external zone {name.to_text(zone.apex)}"
        if not zone.soa_timers or (self._transaction.get(key) is not None and not is_static):
            return f"cluster {name.to_text(self._domain_of(qname))}"
        file = self._file(zone)
        return f"zone file {file.file}" if file else f"zone {name.to_text(zone.apex)}"

    def _file(self, zone: ZoneFacts) -> ZoneStatus | None:
        """Return the status of a zone's file.

        If several files contain the zone, return the status of the first file.
        """
        apex_text = name.to_text(zone.apex)
        return next((each for each in self.status.zones if each.zone == apex_text), None)

    def _zone(self, qname: bytes) -> ZoneFacts | None:
        return next((zone for zone in self._facts.zones if name.is_at_or_below(qname, zone.apex)), None)

    def _wildcard(self, qname: bytes) -> bytes | None:
        """Return the wildcard from which a name is synthesized."""
        zone = self._zone(qname)
        if zone is None or zone.is_plain:
            return None
        place = descend(self._tree.names, name.tree_key(zone.apex), name.tree_key(qname))
        return place.source if isinstance(place, Wildcard) else None

    def _labels_in_cluster(self, qname: bytes) -> list[str] | None:
        """Return a name's labels below a domain, with the topmost label first.

        Return None if the name is outside all domains.
        """
        domain = self._domain_of(qname)
        if not name.is_at_or_below(qname, domain):
            return None
        depth = len(name.labels_of(domain))
        return [name.label_to_text(each) for each in name.labels_of(qname)[::-1][depth:]]

    def _labels_of_import(self, qname: bytes) -> list[str] | None:
        """Return a name's labels below `svc` in a zone of ServiceImports, with the topmost label first.

        Return None if the name is not below `svc` in such a zone.
        """
        for apex in self._config.multicluster.zones:
            services = _child("svc", apex)
            if name.is_at_or_below(qname, services):
                depth = len(name.labels_of(services))
                return [name.label_to_text(each) for each in name.labels_of(qname)[::-1][depth:]]
        return None

    def _there(self, kind: str, parent: bytes, like: str = "") -> list[str]:
        """Return one line that lists the labels directly below the name `parent`."""
        labels = sorted(map(name.label_to_text, self._tree.labels_below(parent)))
        close = get_close_matches(like, labels)
        if len(labels) <= _MAX_SHOWN:
            return [f"{kind} there: {', '.join(labels) or 'none'}" + (f"; did you mean {close[0]}?" if close else "")]
        return [f"{kind} there: {len(labels)}" + (f", similar ones: {', '.join(close)}" if close else "")]


def _has_answer(found: Found, qtype: int) -> bool:
    return found.rcode is Rcode.NOERROR and bool(found.answers) and qtype in (found.answers[-1].rtype, ANY)


def _said(found: Found, has_answer: bool) -> str:
    if found.is_referral:
        return "a referral"
    if has_answer:
        return Rcode.NOERROR.name
    if not found.authorities:
        is_chain = found.answers and found.rcode is Rcode.NOERROR
        return "NOERROR with the CNAMEs alone" if is_chain else found.rcode.name
    return _NODATA if found.rcode is Rcode.NOERROR else found.rcode.name


def _class_name(found: ClientClass) -> str:
    return name.to_text(found.name) if found.level is Level.CLUSTER else found.name.decode()


def _child(label: str, parent: bytes) -> bytes:
    return name.from_labels(label.encode())[:-1] + parent
