"""The whole lookup of a pod: every name that its resolver asks for, the replies, and what a person can change.

`pydns.dns.walk` has the models of the resolvers. `pydns.cli.reasons` gives the replies. The pod's resolv.conf isn't in
the table. Without `--pod-resolv-conf`, the lookup assumes the resolv.conf that the kubelet writes for a pod without
dnsConfig.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydns.cli.ask import Asked, ask
from pydns.cli.hints import TELLING, hints
from pydns.cli.reasons import Reply, Similar, Witness
from pydns.dns import name
from pydns.dns.message import Rcode
from pydns.dns.rrset import AAAA, A
from pydns.dns.walk import End, Outcome, Resolver, Searching, Walk, walk

PAIR = (A, AAAA)  # the types that an application asks for in one lookup
_OUTCOMES = {
    Rcode.NOERROR.name: Outcome.ANSWER,
    Rcode.NXDOMAIN.name: Outcome.NXDOMAIN,
    Rcode.SERVFAIL.name: Outcome.SERVFAIL,
    Rcode.REFUSED.name: Outcome.ERROR,
    Rcode.YXDOMAIN.name: Outcome.ERROR,
    "no reply": Outcome.SILENCE,
}  # a reply that isn't in this table counts as NODATA


class Step(NamedTuple):
    """One question of a lookup."""

    reply: Reply
    asked: tuple[Asked, ...]  # what upstreams answered
    outcome: Outcome
    is_assumed: bool  # True: the outcome is a guess, because the upstreams weren't asked


class Lookup(NamedTuple):
    """A whole lookup."""

    steps: tuple[Step, ...]  # one step for each question, in order
    walk: Walk
    hints: tuple[str, ...]

    @property
    def result(self) -> str:
        """What the application gets, with the numbers of names and queries."""
        asked = self.walk.asked
        queries = len(self.steps)
        counted = f"{len(asked)} name{'s' if len(asked) > 1 else ''}, {queries} quer{'ies' if queries > 1 else 'y'}"
        if not any(each.is_assumed for each in self.steps[-2:]):
            condition = ""
        elif self.walk.end is End.FOUND:
            condition = ", if upstreams have the name"
        else:
            condition = ", unless upstreams have the name"
        return f"{self.walk.end.value}{condition}: {counted}"


def look_up(
    witness: Witness,
    resolver: Resolver,
    qname: bytes,
    is_absolute: bool,
    searching: Searching,
    qtypes: Sequence[int],
    *,
    asks: bool,
) -> Lookup:
    """Return the lookup of a name by a resolver. If `asks` is True, queries are sent to the upstreams."""
    steps: list[Step] = []
    similar: dict[Similar, None] = {}  # Services that the application may have meant

    def outcome_of(each: bytes, qtype: int) -> Outcome:
        reply = witness.reply_to_client(each, qtype)
        if reply.said == Rcode.NXDOMAIN.name:
            similar.update(dict.fromkeys(witness.similar(each)))
        is_of_cluster = bool(similar) or any(step.reply.reason in TELLING for step in steps)
        # Without an upstream's answer, a name with a dot is assumed to exist outside of the cluster. Names below a
        # search domain, and names that look like names of the cluster, are assumed not to exist.
        exists = bool(reply.records) or (each == qname and len(name.labels_of(each)) > 1 and not is_of_cluster)
        steps.append(_step(reply, exists, asks=asks))
        return steps[-1].outcome

    found = walk(resolver, qname, is_absolute, searching, qtypes, outcome_of)
    replies = [each.reply for each in steps]
    return Lookup(tuple(steps), found, tuple(hints(found, qname, replies, tuple(similar), resolver)))


def _step(reply: Reply, exists: bool, *, asks: bool) -> Step:
    if not reply.servers:
        return Step(reply, (), _OUTCOMES.get(reply.said, Outcome.NODATA), is_assumed=False)
    if asks:
        asked = tuple(ask(reply.servers, reply.onward, reply.qtype))
        return Step(reply, asked, _of_upstreams(asked), is_assumed=False)
    if reply.dead and len(reply.dead) >= len(set(reply.servers)):
        return Step(reply, (), Outcome.SERVFAIL, is_assumed=False)
    return Step(reply, (), Outcome.ANSWER if exists else Outcome.NXDOMAIN, is_assumed=True)


def _of_upstreams(asked: Sequence[Asked]) -> Outcome:
    """Return the outcome of the first server with a usable reply."""
    for each in asked:
        if each.has_answer:
            return Outcome.ANSWER
        if each.reply in (Rcode.NXDOMAIN.name, Rcode.NOERROR.name, "NODATA"):
            return Outcome.NXDOMAIN if each.reply == Rcode.NXDOMAIN.name else Outcome.NODATA
    return Outcome.SERVFAIL


def kubelet_searching(namespace: str, domain: bytes) -> Searching:
    """Return the search list that the kubelet writes for a pod, without the domains of the node's resolv.conf."""
    svc = name.from_labels(b"svc")[:-1] + domain
    return Searching((name.from_labels(namespace.encode())[:-1] + svc, svc, domain))
