"""What objects want names to have, and who gets a name that several want.

1. A DNSEndpoint comes before all others, for addresses and aliases together, and for every other type by itself.
2. Otherwise the oldest object decides which namespace has the name, as in the Gateway API. If there are several of that
   age, it is the first by namespace and name. Objects of that namespace share the name: it has what all of them give.
   Objects of other namespaces lose.
3. A CNAME stands alone (RFC 1034 section 3.6.2): beside other records, and at an apex, it is left out. Of several, the
   first one in lexical order counts.
4. A name that is only given by claims without records is pending: it exists, and has no records yet.
"""

from collections.abc import Mapping
from enum import IntEnum
from itertools import groupby
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.rrset import AAAA, CNAME, A
from pydns.table.layout import NodeKind

Record = tuple[int, bytes]  # type and RDATA

_MOST = 4096  # records of a type at a name: more addresses would not fit into a message
_ADDRESSES = (A, AAAA, CNAME)  # one of them decides about the others
_MOST_TOLD = 5  # objects of a name, for explanations


class Rank(IntEnum):
    """Which claims come first, whatever their age."""

    EXPLICIT = 0
    ORDINARY = 1


class Claimant(NamedTuple):
    """The object that claims names. They sort as they win."""

    rank: Rank
    created: str  # RFC 3339, or empty
    namespace: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Claim(NamedTuple):
    """What an object wants a name to have."""

    records: tuple[Record, ...]  # none: they are pending
    ttl_s: int
    is_one_label: bool = False  # for a wildcard: it covers one label, not any number
    pointers: tuple[bytes, ...] = ()  # addresses whose reverse names may name it

    def __or__(self, other: "Claim") -> "Claim":
        """Return both claims of one object in one."""
        return Claim(
            tuple(dict.fromkeys((*self.records, *other.records))),
            min(self.ttl_s, other.ttl_s),
            self.is_one_label and other.is_one_label,
            tuple(dict.fromkeys((*self.pointers, *other.pointers))),
        )


class Decision(NamedTuple):
    """What a name has in the end."""

    records: dict[int, tuple[bytes, ...]]  # type -> RDATA
    ttl_s: int
    kind: bytes  # a `NodeKind`
    pointers: tuple[bytes, ...]
    reasons: tuple[str, ...]  # which objects give the name, which ones lose, and what is left out
    losers: int


def decide(owner: bytes, claims: Mapping[Claimant, Claim], *, is_apex: bool = False) -> Decision:
    """Return what a name has by the rules above. There is at least one claim."""
    found: dict[int, dict[bytes, None]] = {}
    pointers: dict[bytes, None] = {}
    winners: list[Claimant] = []
    losers: list[tuple[Claimant, Claimant]] = []  # each with the one it loses to
    decided: dict[object, Claimant] = {}  # groups of types that a rank has taken
    for _, of_rank in groupby(sorted(claims), lambda each: each.rank):
        first, *others = of_rank
        taken: dict[object, Claimant] = {}
        for each in (first, *others):
            claim = claims[each]
            if each.namespace != first.namespace:
                losers.append((each, first))
                continue
            lost_to = None
            for rtype, rdata in claim.records:
                group = _group(rtype)
                lost = decided.get(group)
                lost_to = lost_to or lost
                if lost is None:
                    found.setdefault(rtype, {})[rdata] = None
                    taken.setdefault(group, each)
            if lost_to is not None:
                losers.append((each, lost_to))
            else:
                winners.append(each)
                pointers.update(dict.fromkeys(claim.pointers))
        decided |= taken
    left_out = _without_alias(found, is_apex=is_apex)
    records = {rtype: tuple(rdatas)[:_MOST] for rtype, rdatas in found.items()}
    given = [claims[each] for each in winners]
    kind: bytes = NodeKind.ALIAS if CNAME in records else NodeKind.PLAIN if records else NodeKind.PENDING
    if name.is_wildcard(owner) and all(each.is_one_label for each in given):
        kind = NodeKind.ONE_LABEL + kind
    reasons = [f"{each} gives it" if claims[each].records else f"{each} has no address yet" for each in winners]
    reasons = [*_shortened(reasons), *_shortened([f"{each} wants it too, but {_why(each, to)}" for each, to in losers])]
    return Decision(
        records, min(each.ttl_s for each in given), kind, tuple(pointers), (*reasons, *left_out), len(losers)
    )


def _group(rtype: int) -> object:
    return _ADDRESSES if rtype in _ADDRESSES else rtype


def _without_alias(found: dict[int, dict[bytes, None]], *, is_apex: bool) -> list[str]:
    """Apply rule 3. Return what is left out."""
    aliases = sorted(found.get(CNAME, ()))
    if not aliases:
        return []
    if is_apex or len(found) > 1:
        del found[CNAME]
        where = "at the apex" if is_apex else "beside other records"
        return [f"hostname {name.to_text(each)} is ignored: a CNAME can't stand {where}" for each in aliases]
    found[CNAME] = {aliases[0]: None}
    return [f"hostname {name.to_text(each)} is ignored: a name has one CNAME" for each in aliases[1:]]


def _why(loser: Claimant, winner: Claimant) -> str:
    if winner.rank < loser.rank:
        return f"{winner} comes first"
    if winner.created < loser.created:
        return f"{winner} is older"
    return f"{winner} is as old, and the first by namespace and name"


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_TOLD
    return [*lines[:_MOST_TOLD], f"and {more} more"] if more > 0 else lines
