"""The protocol of sources. A source turns objects of some kinds into claims for external names.

`pydns.kube.producers.external` does the common work for all sources: it decides which object gets a name, and makes
the records. To add a source, write a file in `pydns.kube.producers`, and add a row to the table in `external.py` there.
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

# The most names of one object, and the most records of all its names. A headless Service may have 10,000 endpoints. One
# Service of 1,000 hostnames with 20,000 targets each would keep the controller busy for over a minute.
_MOST_NAMES, _MOST_RECORDS = 10_000, 50_000
_MOST_REFUSED = 100  # the most names of one object that are explained although the object doesn't get them


class Zones:
    """The external zones."""

    def __init__(self, options: ZoneOptions) -> None:
        self.all = options.external
        self.nameservers = frozenset(each.owner(zone.apex) for zone in self.all for each in zone.nameservers)
        # An external zone may contain zones of the cluster itself. No object can claim names in those zones.
        by_apex: dict[bytes, ExternalZone | None] = {zone.apex: zone for zone in self.all}
        by_apex |= dict.fromkeys(options.apexes)
        self._by_apex = sorted(by_apex.items(), key=lambda each: len(each[0]), reverse=True)

    def of(self, owner: bytes) -> ExternalZone | None:
        """Return the external zone that contains a name in lower case.

        If zones are nested, return the innermost zone. Return None if the name is in no external zone, or if the
        innermost zone belongs to the cluster itself.
        """
        return next((zone for apex, zone in self._by_apex if name.is_at_or_below(owner, apex)), None)


class Claimed:
    """The claims of one object, and notices about its problems."""

    def __init__(self, claimant: Claimant, zones: Zones) -> None:
        self.claimant = claimant
        self.claims: dict[bytes, Claim] = {}
        self.notices: list[str] = []
        self.refused: dict[bytes, str] = {}  # name that the object wants but can't have -> why, for `explain`
        self._zones = zones
        self._room = _MOST_RECORDS  # the number of records that may still be claimed

    def add(self, zone: ExternalZone, owner: bytes, claim: Claim, *, is_nameserver: bool = False) -> None:
        """Claim a name in lower case if it belongs to this zone.

        Only the Service in the configuration can claim the name of a nameserver. An object that got this name could
        take over the whole zone.
        """
        if len(owner) > name.MAX_NAME or self._zones.of(owner) is not zone:
            return
        if (owner in self._zones.nameservers) is not is_nameserver:
            self.notice(f"{name.to_text(owner)} is for a nameserver of the zone")
            return
        if len(claim.records) > self._room:
            self.notice(f"only {_MOST_RECORDS} records of it are served")
            claim = claim._replace(records=claim.records[: self._room])
        self._room -= len(claim.records)
        known = self.claims.get(owner)
        if known is not None:
            self.claims[owner] = known | claim
        elif len(self.claims) < _MOST_NAMES:
            self.claims[owner] = claim
        else:
            self.notice(f"only {_MOST_NAMES} names of it are served")

    def refuse(self, zone: ExternalZone, owner: bytes, why: str) -> None:
        """Remember why the object doesn't get a name in lower case that it wants, if it belongs to this zone."""
        if owner not in self.claims and len(self.refused) < _MOST_REFUSED and self._zones.of(owner) is zone:
            self.refused[owner] = why

    def move_to(self, cluster: str) -> None:
        """Assign the claims to another cluster. Remove their hairpin, because these ClusterIPs are useless here."""
        self.claimant = self.claimant._replace(cluster=cluster)
        self.claims = {owner: claim._replace(way=None) for owner, claim in self.claims.items()}

    def carried(self) -> frozenset[tuple[bytes, bytes]]:
        """Return pairs of a target name and an owner name.

        The answer for the owner also contains the addresses of the target. Both names belong to this object. A target
        that belongs to another object is left out. Otherwise one object could make each change of another object
        expensive.
        """
        return frozenset(
            (target, owner)
            for owner, claim in self.claims.items()
            for rtype, rdata in claim.records
            if rtype in TARGET_AT and (target := rdata[TARGET_AT[rtype] :].lower()) in self.claims
        )

    def notice(self, *texts: str) -> None:
        """Remember descriptions of problems for the owner of the object."""
        for text in texts:
            if text not in self.notices and len(self.notices) < MOST_PROBLEMS:
                self.notices.append(text)


class Source(Protocol):
    """Turns objects of one or more kinds into claims."""

    def note(self, change: Change) -> Iterable[Any]:
        """Process a changed object of any kind. Return the keys of the objects whose claims may have changed."""

    def claimed(self, key: Any) -> Claimed | None:
        """Return the current claims of the object with this key. None: no object has the key, or it claims nothing."""


MakeSource = Callable[[ZoneOptions, Zones], Source]


def address_records(addresses: Iterable[bytes]) -> tuple[Record, ...]:
    """Return an A or AAAA record for each address."""
    return tuple([(address_type(each), each) for each in addresses])


def target_records(exposure: Exposure, target: str | None, problems: list[str]) -> tuple[Record, ...]:
    """Return records for the values of the annotation `target`. If it is missing, use the load balancer's addresses."""
    addresses: Iterable[bytes] = exposure.addresses
    names: Iterable[bytes] = exposure.hostnames
    if target is not None and target.strip():
        addresses, names = hostnames.targets(target, problems)
    return (*address_records(addresses), *((CNAME, each) for each in names))
