"""What external zones read of objects: annotations, the status of a load balancer, the time of creation.

A mistake here never makes an object unusable, because the cluster's own names don't depend on it. What can't be used
is left out and becomes a problem, which the status shows.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.address import BadAddress, parse_address
from pydns.kube.objects import RawMeta

# k8s_gateway's label and annotation that have no prefix of external-dns. They are always read.
IGNORE_LABEL = "k8s-gateway.dns/ignore"
RESOLVE_ENDPOINTS = "k8s-gateway.dns/resolve-endpoints"

MOST_PROBLEMS = 10  # of one object


class Exposure(NamedTuple):
    """How an object is reached from outside of the cluster, and what its owner asks for."""

    created: str  # RFC 3339 in UTC, so texts compare as times do; empty in manifests
    annotations: dict[str, str]  # those whose prefixes are configured
    addresses: tuple[bytes, ...]  # of the load balancer
    hostnames: tuple[bytes, ...]  # of the load balancer, wire form, lower case, sorted
    problems: tuple[str, ...] = ()  # what is left out

    def with_problems(self, more: Iterable[str]) -> "Exposure":
        """Return a copy that has these problems, too."""
        return self._replace(problems=(*self.problems, *more)[:MOST_PROBLEMS])


class ExposedMeta(RawMeta, rename="camel", gc=False):
    """What is read of `metadata`."""

    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None


class _LoadBalancerIngress(msgspec.Struct, gc=False):
    ip: str | None = None
    hostname: str | None = None


class _LoadBalancer(msgspec.Struct, gc=False):
    ingress: list[_LoadBalancerIngress] | None = None


class LoadBalancerStatus(msgspec.Struct, rename="camel", gc=False):
    """What is read of the `status` of a Service and of an Ingress."""

    load_balancer: _LoadBalancer | None = None


def read_exposure(meta: ExposedMeta, status: LoadBalancerStatus | None, prefixes: Iterable[str]) -> Exposure | None:
    """Return the exposure of an object. None: it asks to be ignored."""
    if (meta.labels or {}).get(IGNORE_LABEL) == "true":
        return None
    prefixes = (*prefixes, RESOLVE_ENDPOINTS)
    annotations = {key: value for key, value in (meta.annotations or {}).items() if key.startswith(prefixes)}
    addresses: dict[bytes, None] = {}
    hostnames: set[bytes] = set()
    problems: list[str] = []
    balancer = status.load_balancer if status is not None else None
    for entry in (balancer.ingress if balancer is not None else None) or ():
        # One with both has the address for a reason; so CoreDNS.
        if entry.ip:
            addresses.update(dict.fromkeys(read_addresses([entry.ip], problems)))
        elif entry.hostname:
            try:
                hostnames.add(name.from_text(entry.hostname).lower())
            except name.BadName as error:
                problems.append(f"hostname {quote(entry.hostname)} in the status {error}")
    return Exposure(
        meta.creation_timestamp or "",
        annotations,
        tuple(addresses),
        tuple(sorted(hostnames)),
        tuple(problems[:MOST_PROBLEMS]),
    )


def read_addresses(texts: Iterable[str], problems: list[str]) -> list[bytes]:
    """Return addresses. Those that are none are added to the problems."""
    found = []
    for text in texts:
        try:
            found.append(parse_address(text))
        except BadAddress as error:
            problems.append(str(error))
    return found


def quote(text: str) -> str:
    """Return a text of an object as a message shows it."""
    return repr(text if len(text) <= 80 else text[:77] + "…")
