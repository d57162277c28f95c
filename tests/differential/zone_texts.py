"""Thousands of zone files from seeds: the styles of people and tools, and typical mistakes.

Each text has its own apex, so that one server can load all of them. This module doesn't know the right results.
"""

from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml

_LINES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "zone_lines.yaml").read_text())
_OWNERS, _RECORDS, _SPECIAL, _ODD = (_LINES[key] for key in ("owners", "records", "special", "odd"))
# The first seeds: each of these lines is in a separate zone.
ALONE: list[str] = [*_ODD, *("x 60 " + record.replace("{n}", "5") + "\n" for record in _RECORDS)]
DIFFERENCES: list[dict[str, str]] = _LINES["differences"]


class ZoneText(NamedTuple):
    """A zone file, and the name of its zone without a final dot."""

    apex: str
    text: str


def make(seed: int) -> ZoneText:
    """Return the zone file of a seed. Each of the first files tests one odd line or one type."""
    apex = f"z{seed}.example."
    lines = _alone(ALONE[seed]) if seed < len(ALONE) else _random(Random(seed))
    return ZoneText(apex[:-1], "".join(lines).replace("{apex}", apex))


def with_line(line: str, number: int) -> ZoneText:
    """Return a zone file that contains only this line and the apex records."""
    apex = f"line{number}.example."
    return ZoneText(apex[:-1], "".join(_alone(line)).replace("{apex}", apex))


def _alone(line: str) -> list[str]:
    return ["$TTL 300\n", f"{_SOA}\n", "@ NS ns\n", line]


_SOA = "@ SOA ns hostmaster.{apex} 1 2h 30M 1w 300"


def _random(random: Random) -> list[str]:
    """Return a zone in which all records of an owner have the same TTL.

    Servers differ if an owner has several TTLs. Records without a TTL appear only after $TTL. Without $TTL, Knot uses
    3600. RFC 1035 and pydns use the TTL of the previous record.
    """
    directive = random.choice(["$TTL 60\n", "$TTL 1h30m\n", "$ORIGIN {apex}\n", "; a comment\n\n"])
    has_default = directive.startswith("$TTL")
    ttl = "" if has_default else "300 "
    _, _, soa = _SOA.partition(" ")
    first = f"{random.choice(['@', '{apex}'])} {ttl}{random.choice(['IN ', '', 'in '])}"
    lines = [directive, f"{first}{_spread(random, soa)}\n"]
    if random.random() < 0.9:
        lines.append(f"{random.choice(['', '@'])} {ttl}NS {random.choice(['ns', 'ns.other.example.', 'ns.{apex}'])}\n")
    ttls: dict[str, str] = {"@": ttl.strip()}
    owner = "@"
    for _ in range(random.randint(1, 25)):
        if random.random() < 0.1:
            lines.append(random.choice(_SPECIAL).replace("{n}", str(random.randint(1, 9))))
            owner = ""
            continue
        written = random.choice(_OWNERS)
        if not written and not owner:
            continue
        owner = (written or owner).lower().replace("{apex}", "@") if written in ("", "{apex}") else written.lower()
        choices = ["", "60", "1h", "0", "1D"] if has_default else ["60", "1h", "0", "1D"]
        lines.append(_line(random, written, ttls.setdefault(owner, random.choice(choices))))
    if has_default and random.random() < 0.25:
        lines.append(random.choice(_ODD))
    if random.random() < 0.1:
        lines.append(f"{first}{soa}\n")
    return lines


def _spread(random: Random, record: str) -> str:
    """Write a record on one line, or on several lines in parentheses."""
    if random.random() < 0.7:
        return record
    first, *rest = record.split(" ")
    return f"{first} ( {random.choice([' ', chr(10), ' ; (' + chr(10) + chr(9)]).join(rest)} )"


def _line(random: Random, owner: str, ttl: str) -> str:
    middle = random.choice([(ttl,), (ttl, "IN"), ("IN", ttl)])
    record = random.choice(_RECORDS).replace("{n}", str(random.randint(1, 9)))
    comment = random.choice(["", "", "", " ; comment", '\t;( "', "  "])
    blank = random.choice([" ", "\t", "\t\t", "  "])
    return f"{owner}{blank}{blank.join(filter(None, [*middle, record]))}{comment}\n"
