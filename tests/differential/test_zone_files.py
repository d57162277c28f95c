"""Generated zone files: pydns serves the same records as Knot DNS, and refuses the same files as Knot.

Intended differences are listed in zone_lines.yaml, and must still exist. The default is 200 zones. For the long run,
set PYDNS_TEST_ZONES=2000 (`make differential`).
"""

import os

import pytest

from pydns.dns.rrset import RRSIG
from pydns.zones import zonefile
from tests.differential import knot, zone_texts
from tests.differential.knot import Record
from tests.differential.zone_texts import ZoneText

_ZONES = int(os.environ.get("PYDNS_TEST_ZONES", len(zone_texts.ALONE) + 200))


def ours(zone: ZoneText) -> frozenset[Record] | None:
    """Return the records that pydns reads, or None if it refuses the zone."""
    read = zonefile.read(zone.text, "z", zone.apex, _no_include)
    if isinstance(read, list):
        return None
    return frozenset((each.owner, each.rtype, each.ttl_s, rdata) for each in read.rrsets for rdata in each.rdatas)


def test_generated_zones_have_the_records_that_knot_serves() -> None:
    zones = [zone_texts.make(seed) for seed in range(_ZONES)]
    theirs = knot.read(zones)
    different = [zone for zone in zones if _comparable(ours(zone)) != _comparable(theirs[zone.apex])]
    assert different == []
    served = [zone for zone in zones if theirs[zone.apex] is not None]
    assert len(served) > len(zones) / 2  # otherwise too few records would be tested


def test_the_listed_differences_still_exist() -> None:
    zones = [zone_texts.with_line(each["line"], number) for number, each in enumerate(zone_texts.DIFFERENCES)]
    theirs = knot.read(zones)
    found = []
    for zone, listed in zip(zones, zone_texts.DIFFERENCES, strict=True):
        mine, knots = ours(zone), theirs[zone.apex]
        both = mine is not None and knots is not None
        verdict = ("same" if mine == knots else "differs") if both else "refused" if mine is None else "served"
        found.append({**listed, "knot": "refused" if knots is None else "served", "ours": verdict})
    assert found == zone_texts.DIFFERENCES


def _comparable(records: frozenset[Record] | None) -> frozenset[Record] | None:
    """Remove the TTL of signatures, which is one of the listed differences."""
    if records is None:
        return None
    return frozenset((owner, rtype, 0 if rtype == RRSIG else ttl, rdata) for owner, rtype, ttl, rdata in records)


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise zonefile.Unavailable("no such file")


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_zone(seed: int) -> None:
    assert zone_texts.make(seed) == zone_texts.make(seed)
