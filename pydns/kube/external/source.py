"""What a source of external names is: it turns objects of some kinds into claims.

`pydns.kube.producers.external` does the rest for all sources: it decides who gets a name, and makes the records. A
new source is a file in `pydns.kube.producers` and a row in the table there.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pydns.config.model import ExternalZone
from pydns.dns import name
from pydns.dns.compiled import TARGET_AT
from pydns.dns.rrset import CNAME, address_type
from pydns.kube.external import hostnames
from pydns.kube.external.claims import Claim, Claimant, Record
from pydns.kube.external.exposure import MOST_PROBLEMS, Exposure
from pydns.kube.producer import Change, ZoneOptions

_MOST_NAMES = 10_000  # of one object: a headless Service has as many endpoints


class Zones:
    """The external zones."""

    def __init__(self, options: ZoneOptions) -> None:
        self.all = options.external
        self.nameservers = frozenset(each.owner(zone.apex) for zone in self.all for each in zone.nameservers)
        # The cluster's own zones may be within external ones. Nobody can claim names there.
        by_apex: dict[bytes, ExternalZone | None] = {zone.apex: zone for zone in self.all}
        by_apex |= dict.fromkeys((options.domain, *options.reverse_zones))
        self._by_apex = sorted(by_apex.items(), key=lambda each: len(each[0]), reverse=True)

    def of(self, owner: bytes) -> ExternalZone | None:
        """Return the innermost zone that a name in lower case is in, None if it isn't an external one."""
        return next((zone for apex, zone in self._by_apex if name.is_at_or_below(owner, apex)), None)


class Claimed:
    """What one object claims, and what is wrong with it."""

    def __init__(self, claimant: Claimant, zones: Zones) -> None:
        self.claimant = claimant
        self.claims: dict[bytes, Claim] = {}
        self.notices: list[str] = []
        self._zones = zones

    def add(self, zone: ExternalZone, owner: bytes, claim: Claim, *, is_nameserver: bool = False) -> None:
        """Claim a name in lower case, if it belongs to this zone.

        The name of a nameserver is for the Service that the configuration names: whoever had it would have the zone.
        """
        if len(owner) > name.MAX_NAME or self._zones.of(owner) is not zone:
            return
        if (owner in self._zones.nameservers) is not is_nameserver:
            self.notice(f"{name.to_text(owner)} is for a nameserver of the zone")
            return
        known = self.claims.get(owner)
        if known is not None:
            self.claims[owner] = known | claim
        elif len(self.claims) < _MOST_NAMES:
            self.claims[owner] = claim
        else:
            self.notice(f"only {_MOST_NAMES} names of it are served")

    def carried(self) -> frozenset[tuple[bytes, bytes]]:
        """Return the names of this object whose addresses its other records carry along, each with their owner.

        Names of other objects are not: one object could make each change of another one expensive.
        """
        return frozenset(
            (target, owner)
            for owner, claim in self.claims.items()
            for rtype, rdata in claim.records
            if rtype in TARGET_AT and (target := rdata[TARGET_AT[rtype] :].lower()) in self.claims
        )

    def notice(self, *texts: str) -> None:
        """Remember what the owner of the object should know."""
        for text in texts:
            if text not in self.notices and len(self.notices) < MOST_PROBLEMS:
                self.notices.append(text)


class Source(Protocol):
    """Makes claims of the objects of one or more kinds."""

    def note(self, change: Change) -> Iterable[Any]:
        """Take in a changed object of any kind. Return the keys of objects whose claims may differ now."""

    def claimed(self, key: Any) -> Claimed | None:
        """Return what the object of a key claims now. None: there is none, or it claims nothing."""


MakeSource = Callable[[ZoneOptions, Zones], Source]


def address_records(addresses: Iterable[bytes]) -> tuple[Record, ...]:
    """Return the records of addresses."""
    return tuple([(address_type(each), each) for each in addresses])


def target_records(exposure: Exposure, target: str | None, problems: list[str]) -> tuple[Record, ...]:
    """Return the records of the annotation `target`, else those of the load balancer."""
    addresses: Iterable[bytes] = exposure.addresses
    names: Iterable[bytes] = exposure.hostnames
    if target is not None and target.strip():
        addresses, names = hostnames.targets(target, problems)
    return (*address_records(addresses), *((CNAME, each) for each in names))
