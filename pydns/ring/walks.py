"""Finds wasted queries: queries for names of a search list that were denied before another name had an answer. Pure.

If a name has fewer dots than `ndots`, a pod's resolver appends each domain of its search list in turn. The resolver
asks for each of the longer names until one has an answer. A lookup of `api.example.com` usually asks for four names,
and the first three queries are wasted.

Rules:

1. A denied query is wasted if the same client gets an answer for a name of the same walk within `WALK_S`.
2. A denied and an answered name are of the same walk in two cases. In the first case, the denied name is the answered
   name with more labels at the end. In the second case, both consist of the same name and a domain of the search list.
   The domain of the denied name comes earlier in this list.
3. The domains of the search list are NAMESPACE.svc.DOMAIN, svc.DOMAIN and DOMAIN. Nodes may add other domains to the
   list. This module doesn't know them, so only the first case of rule 2 applies to them.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydns.dns import name
from pydns.ring.queries import Query

WALK_S = 5.0  # seconds after which resolvers give up a query
_SVC = b"\3svc"
_MOST_OPEN = 32  # maximum number of denied names that are kept for a client and a first label


class Wasted(NamedTuple):
    """The wasted queries of a client before it got answers for one name."""

    client: bytes
    qname: bytes  # the answered name in lower case
    # Whether the client got the answer for the name as it was written, without a domain of the search list.
    is_as_it_is: bool
    queries: int  # how many queries were wasted
    walks: int  # how many answered queries came after wasted queries


def wasted(queries: Iterable[Query], domains: Sequence[bytes]) -> list[Wasted]:
    """Return the wasted queries for each client and name. The client and name with the most wasted queries come first.

    `queries` must be sorted by time. `domains` are the domains of the cluster in lower case.
    """
    # client and first label -> when each denied query came, and its name
    denied: dict[bytes, list[tuple[float, bytes]]] = {}
    found: dict[tuple[bytes, bytes], list[int]] = {}
    for query in queries:
        facts = query.facts
        qname = facts.qname.lower()
        if not qname or facts.rcode is None:
            continue
        key = query.client + qname[: 1 + qname[0]]
        if facts.is_denied:
            names = denied.setdefault(key, [])
            names.append((query.came, qname))
            if len(names) > _MOST_OPEN:
                del names[0]
        elif facts.rcode == 0 and (names := denied.get(key, [])):
            of_walk = [each for at, each in names if query.came - at <= WALK_S and is_of_walk(each, qname, domains)]
            if of_walk:
                sums = found.setdefault((query.client, qname), [0, 0, 0])
                sums[0] += len(of_walk)
                sums[1] += 1
                sums[2] |= any(each.startswith(qname[:-1]) for each in of_walk)
                denied[key] = [each for each in names if each[1] not in of_walk]
    made = [
        Wasted(client, qname, bool(as_it_is), count, walks)
        for (client, qname), (count, walks, as_it_is) in found.items()
    ]
    return sorted(made, key=lambda each: (-each.queries, each.client, each.qname))


def is_of_walk(denied: bytes, answered: bytes, domains: Sequence[bytes]) -> bool:
    """Return whether two names are of the same walk (rule 2). Both names are in lower case."""
    if len(denied) <= len(answered):
        return False
    if denied.startswith(answered[:-1]):
        return True
    for domain in domains:
        svc = _SVC + domain
        for suffix in svc, domain:
            begin = answered[: -len(suffix)]
            if not begin or not answered.endswith(suffix) or not denied.startswith(begin):
                continue
            rest = denied[len(begin) :]
            if rest[1 + rest[0] :] == svc or (suffix == domain and rest == svc):
                return True
    return False


def ndots(found: Iterable[Wasted]) -> int | None:
    """Return the largest value of `ndots` that avoids a client's wasted queries, or None if no value does.

    Names with one dot are ignored, because `ndots: 1` isn't useful: a resolver would ask upstreams for names such as
    SERVICE.NAMESPACE.
    """
    dots = [len(name.labels_of(each.qname)) - 1 for each in found if each.is_as_it_is]
    return min((each for each in dots if each > 1), default=None)
