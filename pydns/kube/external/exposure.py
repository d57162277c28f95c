"""The fields of objects that external zones need: annotations, load balancer status, creation time.

Names in the cluster domain don't depend on these fields. So an invalid value in these fields is only left out, and the
object is still used. The status shows a problem for each such value.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.address import BadAddress, parse_address
from pydns.kube.objects import RawMeta

# The keys of a label and of an annotation of k8s_gateway. These keys don't begin with the prefix of external-dns, so
# pydns reads them whatever the configured prefixes are.
IGNORE_LABEL = "k8s-gateway.dns/ignore"
RESOLVE_ENDPOINTS = "k8s-gateway.dns/resolve-endpoints"

MOST = 1000  # maximum number of hostnames in an annotation, and of addresses in a field of an object
MOST_PROBLEMS = 10  # maximum number of problems that are kept for an object


class Exposure(NamedTuple):
    """The external addresses of an object, and the annotations in which its owner asks for names."""

    # When the object was created, in the form of RFC 3339 and in UTC, so that texts sort like times; empty in
    # manifests.
    created: str
    annotations: dict[str, str]  # those annotations whose keys have a configured prefix
    addresses: tuple[bytes, ...]  # the addresses of the load balancer
    hostnames: tuple[bytes, ...]  # the hostnames of the load balancer, in wire form and lower case, sorted
    problems: tuple[str, ...] = ()  # a text for each value that is left out

    def with_problems(self, more: Iterable[str]) -> "Exposure":
        """Return a copy with `more` added to its problems. At most `MOST_PROBLEMS` are kept."""
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
    """The field of a Service's or an Ingress's `status` that external zones need."""

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
        # If an entry has both an address and a hostname, only the address is used, as in CoreDNS.
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
    """Return the addresses in `texts`. For each text that is not an address, a problem is added to `problems`."""
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
    """Return a text in quotes, for a message. A long text is shortened."""
    return repr(text if len(text) <= 80 else text[:77] + "…")
