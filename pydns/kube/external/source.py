"""The protocol of sources. In this package, a source is code that claims external names for objects.

`pydns.kube.producers.external` does the common work for all sources: it decides which object gets a name, and makes
the records. To add a source, write a file in `pydns.kube.producers`, and add a row to the table in
`pydns.kube.producers.external`.
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

# How many names an object may claim, and how many records all its names may have together. A headless Service may have
# 10,000 endpoints. Without limits, a Service of 1,000 hostnames with 20,000 targets each would keep the controller busy
# for over a minute.
_MOST_NAMES, _MOST_RECORDS = 10_000, 50_000
_MOST_REFUSED = 100  # for at most this many names that an object can't get, the reason is kept


class Zones:
    """The external zones of the configuration."""

    def __init__(self, options: ZoneOptions) -> None:
        self.all = options.external
        self.nameservers = frozenset(each.owner(zone.apex) for zone in self.all for each in zone.nameservers)
        # A zone of the cluster may be inside an external zone. No object can claim its names.
        by_apex: dict[bytes, ExternalZone | None] = {zone.apex: zone for zone in self.all}
        by_apex |= dict.fromkeys(options.apexes)
        self._by_apex = sorted(by_apex.items(), key=lambda each: len(each[0]), reverse=True)

    def of(self, owner: bytes) -> ExternalZone | None:
        """Return the external zone that contains `owner`, a name in lower case.

        If zones are nested, this is the innermost zone. Return None if the name is in no external zone, or if the
        innermost zone is a zone of the cluster.
        """
        return next((zone for apex, zone in self._by_apex if name.is_at_or_below(owner, apex)), None)


class Claimed:
    """The claims of one object, and notices about the object's problems."""

    def __init__(self, claimant: Claimant, zones: Zones) -> None:
        self.claimant = claimant
        self.claims: dict[bytes, Claim] = {}
        self.notices: list[str] = []
        self.refused: dict[bytes, str] = {}  # name that the object wants but can't get -> the reason, for `explain`
        self._zones = zones
        self._room = _MOST_RECORDS  # how many records the object may still claim

    def add(self, zone: ExternalZone, owner: bytes, claim: Claim, *, is_nameserver: bool = False) -> None:
        """Claim `owner`, a name in lower case, if it belongs to the zone `zone`.

        Only the Service that the configuration chooses can claim the name of a nameserver. Any other object that got
        this name could take over the whole zone.
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
        """Remember why the object doesn't get `owner`, a name that it wants.

        The name is in lower case. A name outside the zone `zone` is ignored.
        """
        if owner not in self.claims and len(self.refused) < _MOST_REFUSED and self._zones.of(owner) is zone:
            self.refused[owner] = why

    def move_to(self, cluster: str) -> None:
        """Mark the claims as those of an object of another cluster.

        The ways of the claims are removed, because clients in the first cluster can't use ClusterIPs of the other
        cluster.
        """
        self.claimant = self.claimant._replace(cluster=cluster)
        self.claims = {owner: claim._replace(way=None) for owner, claim in self.claims.items()}

    def carried(self) -> frozenset[tuple[bytes, bytes]]:
        """Return pairs of a target and an owner: the answer for the owner also contains the addresses of the target.

        This object has claimed both names. Targets that only other objects have claimed are left out, because otherwise
        one object could make each change of another object expensive.
        """
        return frozenset(
            (target, owner)
            for owner, claim in self.claims.items()
            for rtype, rdata in claim.records
            if rtype in TARGET_AT and (target := rdata[TARGET_AT[rtype] :].lower()) in self.claims
        )

    def notice(self, *texts: str) -> None:
        """Remember texts that tell the owner of the object about problems."""
        for text in texts:
            if text not in self.notices and len(self.notices) < MOST_PROBLEMS:
                self.notices.append(text)


class Source(Protocol):
    """Turns objects of one or more kinds into claims."""

    def note(self, change: Change) -> Iterable[Any]:
        """Process a changed object. Return the keys of all objects whose claims may have changed."""

    def claimed(self, key: Any) -> Claimed | None:
        """Return the claims that the object with this key has now.

        Return None if the object doesn't exist, or claims nothing.
        """


MakeSource = Callable[[ZoneOptions, Zones], Source]


def address_records(addresses: Iterable[bytes]) -> tuple[Record, ...]:
    """Return an A or AAAA record for each address."""
    return tuple([(address_type(each), each) for each in addresses])


def target_records(exposure: Exposure, target: str | None, problems: list[str]) -> tuple[Record, ...]:
    """Return the records for the targets in a text. The text `target` is the value of the annotation `target`.

    If `target` is None or blank, return records for the load balancer's addresses and hostnames.
    """
    addresses: Iterable[bytes] = exposure.addresses
    names: Iterable[bytes] = exposure.hostnames
    if target is not None and target.strip():
        addresses, names = hostnames.targets(target, problems)
    return (*address_records(addresses), *((CNAME, each) for each in names))
