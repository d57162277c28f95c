"""Hints: what a person can change about a lookup. `pydns.cli.lookup` is the caller.

A hint is made from the lookup's names and replies. A hint never repeats the reasons that are printed beside the
replies.
"""

from collections.abc import Iterator, Sequence

from pydns.cli.reasons import Reply, Similar
from pydns.config.summary import server_text
from pydns.dns import name
from pydns.dns.reason import Reason
from pydns.dns.walk import End, Resolver, Walk

# If a reply has one of these reasons, the reason explains why the lookup failed. If several replies have reasons of
# this tuple, the first in this order counts.
TELLING = (
    Reason.NOT_SYNCED,
    Reason.NO_READY_ENDPOINT,
    Reason.ACL_BLOCK,
    Reason.ACL_FILTER,
    Reason.ACL_DROP,
    Reason.BLOCKED,
    Reason.PENDING,
    Reason.NO_ENDPOINT,
    Reason.NOT_OURS,
)


def hints(
    walk: Walk, qname: bytes, replies: Sequence[Reply], similar: Sequence[Similar], resolver: Resolver
) -> list[str]:
    """Return hints about a lookup. `replies` are all replies of the walk, in order."""
    if walk.end is End.FOUND:
        return list(_of_success(walk, qname))
    return list(dict.fromkeys(_of_failure(walk, qname, replies, similar, resolver)))


def _of_success(walk: Walk, qname: bytes) -> Iterator[str]:
    """Yield hints on how the pod can avoid the queries for names that don't exist."""
    wasted = walk.asked[:-1]
    if not wasted:
        return
    queries = sum(len(each.outcomes) for each in wasted)
    found = walk.asked[-1].qname
    spared = f"{queries} of {queries + len(walk.asked[-1].outcomes)} queries were in vain"
    dots = len(name.labels_of(qname)) - 1
    if found == qname and dots > 1:
        yield (
            f"{spared}: write {name.to_text(qname)} with its final dot, or let the resolver try names with {dots} dots "
            "first, in the template of the pod:"
        )
        yield f'  dnsConfig: {{options: [{{name: ndots, value: "{dots}"}}]}}'
    else:
        yield f"{spared}: write {name.to_text(found)} with its final dot"


def _of_failure(
    walk: Walk, qname: bytes, replies: Sequence[Reply], similar: Sequence[Similar], resolver: Resolver
) -> Iterator[str]:
    reasons = [each.reason for each in replies]
    telling = next((each for each in TELLING if each in reasons), None)
    if telling is not None:
        found = next(each for each in replies if each.reason is telling)
        yield from _of_reason(telling, found.qname)
    for each in similar if telling is None else ():
        yield f"{each.why}: use {each.name}"
    failed = replies[-1]
    if telling is None and walk.end in (End.TRY_AGAIN, End.FAILED) and failed.servers:
        names = ", ".join(failed.dead or map(server_text, failed.servers))
        yield f"no usable answer from {names}: check the server, and firewalls between it and pydns"
        yield f"see what upstreams answer now: pydns explain {name.to_text(failed.onward)} --ask"
    last = walk.asked[-1]
    if resolver is Resolver.MUSL and walk.end is End.NO_DATA and last.qname != qname:
        yield f"musl stops at {name.to_text(last.qname)}, because this name exists without addresses; glibc tries more"
    if resolver is Resolver.MUSL and walk.end is End.NOT_FOUND and len(walk.asked) == 1:
        yield "musl tries no search domain for a name with as many dots as `ndots`"


def _of_reason(reason: Reason, qname: bytes) -> Iterator[str]:
    labels = [name.label_to_text(each) for each in name.labels_of(qname)]
    if reason is Reason.NO_READY_ENDPOINT and "svc" in labels[2:]:
        at = labels.index("svc", 2)
        service, namespace = labels[at - 2], labels[at - 1]
        yield (
            f"find out why no pod of Service {service} is ready: kubectl -n {namespace} get endpointslices "
            f"-l kubernetes.io/service-name={service} -o yaml"
        )
        yield "if pods must find each other before they are ready, set publishNotReadyAddresses: true in the Service"
    else:
        yield reason.advice
