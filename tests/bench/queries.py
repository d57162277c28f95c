"""The queries for dnsperf: workloads from a fixed seed, each with the rcodes of the right answers.

This module knows the names of the cluster, and how a pod's resolver uses its search list. It knows nothing about
servers.
"""

import random
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import NamedTuple

from tests.bench.cluster import DOMAIN, NAMESPACES, PORT_NAME, Service

NOERROR = "NOERROR"
NXDOMAIN = "NXDOMAIN"


class Query(NamedTuple):
    """One query and the rcode of its right answer."""

    name: str  # a name without the final dot
    type: str
    rcode: str


class Workload(NamedTuple):
    """Queries that dnsperf repeats until its time is over.

    `limit` is the target for CPU time per query, relative to Knot's.
    """

    name: str
    queries: list[Query]
    limit: float

    def text(self) -> str:
        """Return the queries as a data file for dnsperf."""
        return "".join([f"{query.name} {query.type}\n" for query in self.queries])

    def shares(self) -> dict[str, float]:
        """Return a dict: rcode -> share of the answers with this rcode."""
        counts = Counter(query.rcode for query in self.queries)
        return {rcode: count / len(self.queries) for rcode, count in counts.items()}


def workloads(cluster: list[Service]) -> list[Workload]:
    """Return all workloads. The same cluster always gives the same workloads."""
    return [
        Workload("a", _existing(cluster, random.Random("a")), 1.6),
        Workload("nxdomain", _missing(random.Random("nxdomain")), 2.0),
        mix(cluster),
    ]


def mix(cluster: list[Service]) -> Workload:
    """Return the queries of pods, as a resolver with a search list sends them."""
    return Workload("mix", _mix(cluster, random.Random("mix")), 2.0)


def _existing(cluster: list[Service], rng: random.Random) -> list[Query]:
    return [Query(service.dns_name, "A", NOERROR) for service in rng.choices(cluster, k=50_000)]


def _missing(rng: random.Random) -> list[Query]:
    names = (f"no-{rng.randrange(1_000_000)}.ns-{rng.randrange(NAMESPACES)}.svc.{DOMAIN}" for _ in range(50_000))
    return [Query(name, "A", NXDOMAIN) for name in names]


# The kinds of names that pods look up, with their frequency in 100 lookups. With ndots:5, a resolver asks for A and
# AAAA of each name that its search list produces, until a name exists.
_LOOKUPS = {
    "same namespace": 40,  # svc-1: the first name exists
    "other namespace": 20,  # svc-1.ns-1: the second name exists
    # svc-1.ns-1.svc.cluster.local: it has four dots, which is less than five; the fourth name exists
    "written out": 15,
    # www.example.com: none of the names exists in the cluster. The last query is left out, because its name is outside
    # the cluster.
    "outside": 10,
    "srv": 10,
    "ptr": 5,
}


def _mix(cluster: list[Service], rng: random.Random) -> list[Query]:
    queries: list[Query] = []
    for lookup in rng.choices(list(_LOOKUPS), list(_LOOKUPS.values()), k=20_000):
        queries += _lookup(lookup, rng.choice(cluster), rng)
    return queries


def _lookup(lookup: str, service: Service, rng: random.Random) -> Iterator[Query]:
    namespace = f"ns-{rng.randrange(NAMESPACES)}"
    if lookup == "same namespace":
        yield from _walk(service.name, service.namespace, tries=1)
    elif lookup == "other namespace":
        yield from _walk(f"{service.name}.{service.namespace}", namespace, tries=2)
    elif lookup == "written out":
        yield from _walk(service.dns_name, namespace, tries=4)
    elif lookup == "outside":
        for query in _walk(f"www-{rng.randrange(1000)}.example.com", namespace, tries=3):
            yield query._replace(rcode=NXDOMAIN)
    elif lookup == "srv":
        yield Query(f"_{PORT_NAME}._tcp.{service.dns_name}", "SRV", NOERROR)
    else:
        yield Query(IPv4Address(service.address).reverse_pointer, "PTR", NOERROR)


def _walk(name: str, namespace: str, tries: int) -> Iterator[Query]:
    """Yield A and AAAA of the first `tries` names that the search list produces. The last of these names exists."""
    suffixes = [f".{namespace}.svc.{DOMAIN}", f".svc.{DOMAIN}", f".{DOMAIN}", ""]
    for position, suffix in enumerate(suffixes[:tries], start=1):
        for qtype in "A", "AAAA":
            yield Query(name + suffix, qtype, NOERROR if position == tries else NXDOMAIN)
