"""Finds wasted queries: those for names of a search list that were denied before another name had an answer. Pure.

If a name has fewer dots than `ndots`, a pod's resolver appends each domain of its search list in turn. It asks for each
result until one has an answer. For `api.example.com`, it asks for four names, and the first three queries are wasted.

Rules:

1. A denied query is wasted if the same client gets an answer for a name of the same walk within `WALK_S`.
2. Two names are of the same walk in two cases. The denied name is the answered name with more labels at the end. Or
   both are the same name with different domains of the search list, and the domain of the denied name comes first in
   the list.
3. The domains of the search list are NAMESPACE.svc.DOMAIN, svc.DOMAIN and DOMAIN. Nodes may add other domains, which
   only the first case of rule 2 finds.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydns.dns import name
from pydns.ring.queries import Query

WALK_S = 5.0  # after this time, resolvers give up a query
_SVC = b"\3svc"
_MOST_OPEN = 32  # maximum number of kept denied names with the same client and first label


class Wasted(NamedTuple):
    """The wasted queries of a client for one name."""

    client: bytes
    qname: bytes  # the answered name in lower case
    is_as_it_is: bool  # whether the client asked for this name without a domain of the search list
    queries: int  # number of wasted queries
    walks: int  # number of answered queries that came after wasted ones


def wasted(queries: Iterable[Query], domains: Sequence[bytes]) -> list[Wasted]:
    """Return the wasted queries for each client and name. The largest number comes first.

    `queries` must be in the order of time. `domains` are the domains of the cluster in lower case.
    """
    denied: dict[bytes, list[tuple[float, bytes]]] = {}  # client and first label -> time and name
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
    """Return whether a resolver asks for `denied` before it asks for `answered`. Both names are in lower case."""
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
    """Return the largest value of `ndots` that avoids a client's wasted queries, or None if there is none.

    Names with one dot are ignored: with `ndots: 1`, a resolver would ask upstreams for names such as SERVICE.NAMESPACE.
    """
    dots = [len(name.labels_of(each.qname)) - 1 for each in found if each.is_as_it_is]
    return min((each for each in dots if each > 1), default=None)
