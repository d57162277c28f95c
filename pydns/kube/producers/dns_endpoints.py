"""DNSEndpoints of external-dns (externaldns.k8s.io/v1alpha1).

A DNSEndpoint itself contains its names and records.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from pydns.config.model import ExternalSource
from pydns.dns import name
from pydns.dns.address import BadAddress, parse_address
from pydns.dns.rrset import AAAA, CNAME, MX, SRV, TXT, A, srv, txt
from pydns.kube.external import hostnames
from pydns.kube.external.claims import Claim, Claimant, Rank, Record
from pydns.kube.external.exposure import MOST_PROBLEMS, ExposedMeta, quote
from pydns.kube.external.source import Claimed, Zones
from pydns.kube.objects import Options, as_label
from pydns.kube.producer import Change, ZoneOptions

_Key = tuple[str, str]  # namespace and name


class EndpointRecords(NamedTuple):
    """The records that a DNSEndpoint has for one name."""

    owner: bytes  # the name in wire form and lower case
    records: tuple[Record, ...]
    # The TTLs of all entries for this name. The smallest one is used. None stands for the TTL of the zone.
    ttls_s: frozenset[int | None]


class DNSEndpoint(NamedTuple):
    """A DNSEndpoint, with the records of each name."""

    namespace: str
    name: str
    created: str
    endpoints: tuple[EndpointRecords, ...]
    problems: tuple[str, ...]  # a text for each invalid record, which is left out

    @property
    def key(self) -> _Key:
        """Return the namespace and the name of the DNSEndpoint."""
        return self.namespace, self.name


class _Endpoint(msgspec.Struct, gc=False):
    name: str | None = msgspec.field(name="dnsName", default=None)
    type: str | None = msgspec.field(name="recordType", default=None)
    ttl: int | None = msgspec.field(name="recordTTL", default=None)
    targets: list[str] | None = None


class _Spec(msgspec.Struct, gc=False):
    endpoints: list[_Endpoint] | None = None


class RawDNSEndpoint(msgspec.Struct, gc=False):
    """The fields of a DNSEndpoint that pydns reads."""

    metadata: ExposedMeta
    spec: _Spec | None = None


def read_dns_endpoint(raw: RawDNSEndpoint, options: Options) -> DNSEndpoint:
    """Return a DNSEndpoint. Raises ValueError."""
    meta = raw.metadata
    problems: list[str] = []
    # Owner -> its records and TTLs. A DNSEndpoint may have thousands of entries for one name.
    found: dict[bytes, tuple[dict[Record, None], set[int | None]]] = {}
    for each in (raw.spec.endpoints if raw.spec is not None else None) or ():
        owner = hostnames.hostname(each.name or "")
        parse = _TYPES.get((each.type or "").upper())
        if owner is None:
            problems.append(f"dnsName {quote(each.name or '')} is not a hostname")
        elif parse is None:
            problems.append(f"recordType {quote(each.type or '')} is not {', '.join(_TYPES)}")
        else:
            rtype, compose = parse
            records = []
            for target in each.targets or ():
                try:
                    records.append((rtype, compose(target)))
                except (ValueError, OverflowError):
                    problems.append(f"target {quote(target)} is not one of type {each.type}")
            ttl_s = each.ttl if each.ttl and 0 < each.ttl <= hostnames.MAX_TTL_S else None
            if records:
                known, ttls_s = found.setdefault(owner, ({}, set()))
                known.update(dict.fromkeys(records))
                ttls_s.add(ttl_s)
    return DNSEndpoint(
        as_label(meta.namespace, "namespace"),
        meta.name,
        meta.creation_timestamp or "",
        tuple([EndpointRecords(owner, tuple(records), frozenset(ttls)) for owner, (records, ttls) in found.items()]),
        tuple(problems[:MOST_PROBLEMS]),
    )


class DNSEndpoints:
    """The source for DNSEndpoints. A key is the namespace and name of a DNSEndpoint."""

    def __init__(self, options: ZoneOptions, zones: Zones) -> None:
        self._options = options
        self._all_zones = zones
        self._zones = [zone for zone in zones.all if ExternalSource.DNSENDPOINTS in zone.sources]
        self._endpoints: dict[_Key, DNSEndpoint] = {}

    def note(self, change: Change) -> Iterable[_Key]:
        """Process a changed DNSEndpoint. Return the key of the DNSEndpoint."""
        before, after = change
        if isinstance(before, DNSEndpoint):
            del self._endpoints[before.key]
        if isinstance(after, DNSEndpoint):
            self._endpoints[after.key] = after
        return [each.key for each in (before, after) if isinstance(each, DNSEndpoint)]

    def claimed(self, key: _Key) -> Claimed | None:
        """Return the names and records that a DNSEndpoint claims."""
        found = self._endpoints.get(key)
        if found is None or not self._options.serves(found.namespace):
            return None
        claimed = Claimed(Claimant(Rank.EXPLICIT, found.created, *key, "DNSEndpoint"), self._all_zones)
        claimed.notice(*found.problems)
        for zone in self._zones:
            for owner, records, ttls_s in found.endpoints:
                claimed.add(zone, owner, Claim(records, min(each or zone.ttl_s for each in ttls_s)))
        return claimed


def _address(length: int) -> Callable[[str], bytes]:
    def compose(text: str) -> bytes:
        address = parse_address(text.strip())
        if len(address) != length:
            raise BadAddress(text)
        return address

    return compose


def _target(text: str) -> bytes:
    target = hostnames.hostname(text.strip())
    if target is None or name.is_wildcard(target):
        raise ValueError(text)
    return target


def _txt(text: str) -> bytes:
    if len(text) >= 2 and text[0] == text[-1] == '"':  # in external-dns, the text of a TXT record is in quotes
        text = text[1:-1]
    rdata = b"".join([txt(each) for each in hostnames.strings(text)])
    if len(rdata) > 0xFFFF:
        raise ValueError(text)
    return rdata


def _mx(text: str) -> bytes:
    preference, exchange = text.split()
    return _number(preference).to_bytes(2) + (name.ROOT if exchange == "." else _target(exchange))


def _srv(text: str) -> bytes:
    priority, weight, port, target = text.split()
    return srv(_number(priority), _number(weight), _number(port), name.ROOT if target == "." else _target(target))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= 0xFFFF):
        raise ValueError(text)
    return int(text)


_TYPES: dict[str, tuple[int, Callable[[str], bytes]]] = {
    "A": (A, _address(4)),
    "AAAA": (AAAA, _address(16)),
    "CNAME": (CNAME, _target),
    "MX": (MX, _mx),
    "SRV": (SRV, _srv),
    "TXT": (TXT, _txt),
}
