"""The fields of objects that external zones need: annotations, load balancer status, creation time.

An invalid value in these fields never makes the whole object unusable, because names in the cluster domain don't depend
on these fields. Invalid values are left out, and the status shows a problem for each.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.address import BadAddress, parse_address
from pydns.kube.objects import RawMeta

# A label and an annotation of k8s_gateway. Their keys don't begin with the prefix of external-dns, so pydns always
# reads them.
IGNORE_LABEL = "k8s-gateway.dns/ignore"
RESOLVE_ENDPOINTS = "k8s-gateway.dns/resolve-endpoints"

MOST = 1000  # maximum hostnames in one annotation, and maximum addresses in one field of an object
MOST_PROBLEMS = 10  # maximum problems that are kept for one object


class Exposure(NamedTuple):
    """The external addresses of an object, and the annotations in which its owner asks for names."""

    created: str  # creation time as in RFC 3339, in UTC, so that texts sort like times; empty in manifests
    annotations: dict[str, str]  # the annotations that have a configured prefix
    addresses: tuple[bytes, ...]  # addresses of the load balancer
    hostnames: tuple[bytes, ...]  # hostnames of the load balancer: wire form, lower case, sorted
    problems: tuple[str, ...] = ()  # one text for each value that is left out

    def with_problems(self, more: Iterable[str]) -> "Exposure":
        """Return a copy with additional problems. At most `MOST_PROBLEMS` are kept."""
        return self._replace(problems=(*self.problems, *more)[:MOST_PROBLEMS])


class ExposedMeta(RawMeta, rename="camel", gc=False):
    """The fields of `metadata` that external zones need."""

    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None


class _LoadBalancerIngress(msgspec.Struct, gc=False):
    ip: str | None = None
    hostname: str | None = None


class _LoadBalancer(msgspec.Struct, gc=False):
    ingress: list[_LoadBalancerIngress] | None = None


class LoadBalancerStatus(msgspec.Struct, rename="camel", gc=False):
    """The field of `status` that external zones need, for a Service or an Ingress."""

    load_balancer: _LoadBalancer | None = None


def read_exposure(meta: ExposedMeta, status: LoadBalancerStatus | None, prefixes: Iterable[str]) -> Exposure | None:
    """Return the exposure of an object, or None if a label asks pydns to ignore the object."""
    if (meta.labels or {}).get(IGNORE_LABEL) == "true":
        return None
    prefixes = (*prefixes, RESOLVE_ENDPOINTS)
    annotations = {key: value for key, value in (meta.annotations or {}).items() if key.startswith(prefixes)}
    addresses: dict[bytes, None] = {}
    hostnames: set[bytes] = set()
    problems: list[str] = []
    balancer = status.load_balancer if status is not None else None
    for entry in ((balancer.ingress if balancer is not None else None) or ())[:MOST]:
        # If an entry has an address and a hostname, the address is used, as in CoreDNS.
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
    """Return the addresses in `texts`. For each text that is not an address, add a problem."""
    found = []
    for number, text in enumerate(texts):
        if number == MOST:
            problems.append(f"only the first {MOST} addresses count")
            break
        try:
            found.append(parse_address(text))
        except BadAddress as error:
            problems.append(str(error))
    return found


def quote(text: str) -> str:
    """Return a text in quotes for a message. A long text is shortened."""
    return repr(text if len(text) <= 80 else text[:77] + "…")
