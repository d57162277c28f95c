"""Claims: an object claims a name and the records that it wants there.

If several objects claim a name, these rules decide:

1. A DNSEndpoint wins over objects of all other kinds. This rule applies to each record type separately, but A, AAAA and
   CNAME count as one type.
2. Among all other objects, the oldest one wins the name for its namespace, as in the Gateway API. Among objects of the
   same age, the one whose namespace and name sort first wins. The records of all objects in the winning namespace are
   merged. Objects in other namespaces lose.
3. A CNAME must be alone at its name (RFC 1034 section 3.6.2). A CNAME beside other records or at an apex is left out.
   Of several CNAMEs, the first in lexical order is used.
4. If no winning claim has records, the name is pending: the name exists, but has no records yet.
"""

from collections.abc import Mapping
from enum import IntEnum
from functools import reduce
from itertools import groupby
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.rrset import AAAA, CNAME, A
from pydns.table.layout import NodeKind

Record = tuple[int, bytes]  # the type and the RDATA of a record

_MOST = 4096  # maximum number of records of one type at a name; more addresses would not fit into a message
_ADDRESSES = (A, AAAA, CNAME)  # types that count as one type in rule 1 of this module
_MOST_TOLD = 5  # maximum number of objects that the explanation of a name lists


class Rank(IntEnum):
    """The rank of a claim. A claim with a lower rank wins, even if its object is younger."""

    EXPLICIT = 0
    ORDINARY = 1
    LISTENER = 2  # a claim for the hostname of a listener; a route that claims the same name wins


class Claimant(NamedTuple):
    """An object that claims names. Among several claimants of a name, the first one in sorted order wins."""

    rank: Rank
    created: str  # when the object was created, in the form of RFC 3339; empty if unknown
    namespace: str
    name: str
    kind: str
    cluster: str = ""  # the cluster of the object; empty for the first cluster

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}{f' of cluster {self.cluster}' if self.cluster else ''}"

    def shares_with(self, other: "Claimant") -> bool:
        """Return whether both objects are in the same namespace of the same cluster."""
        return self.namespace == other.namespace and self.cluster == other.cluster


class Way(NamedTuple):
    """The way of a name: the ports that its clients use, and the Gateway that has its addresses.

    Only `hairpin` needs the way of a name.
    """

    ports: frozenset[int] = frozenset()  # a Service needs these ports to replace the public addresses
    # The namespace and the name of the Gateway that has the addresses of the name.
    gateway: tuple[str, str] | None = None


def merge_ways(first: Way | None, second: Way | None) -> Way | None:
    """Combine the ways of two claims for one name: the result has the ports of both claims.

    Return None if the name can't have hairpin.
    """
    if first is None or second is None:
        return None
    return Way(first.ports | second.ports, first.gateway if first.gateway == second.gateway else None)


class Claim(NamedTuple):
    """The records that an object wants for a name, and how the name is used."""

    records: tuple[Record, ...]  # no records if the object has no address yet
    ttl_s: int
    # True: a wildcard in the name covers exactly one label; False: it covers any number of labels.
    is_one_label: bool = False
    pointers: tuple[bytes, ...] = ()  # the addresses whose PTR records may lead to this name
    way: Way | None = None  # None if clients in the cluster get the same addresses as all other clients

    def __or__(self, other: "Claim") -> "Claim":
        """Return one claim with the records of two claims of the same object."""
        return Claim(
            tuple(dict.fromkeys((*self.records, *other.records))),
            min(self.ttl_s, other.ttl_s),
            self.is_one_label and other.is_one_label,
            tuple(dict.fromkeys((*self.pointers, *other.pointers))),
            merge_ways(self.way, other.way),
        )


class Decision(NamedTuple):
    """What the rules have decided about a name."""

    records: dict[int, tuple[bytes, ...]]  # type -> the RDATA of the records
    ttl_s: int
    kind: bytes  # the `NodeKind` of the name
    pointers: tuple[bytes, ...]
    # The lines of the explanation: which objects won, which lost, and which records are left out.
    reasons: tuple[str, ...]
    losers: int
    way: Way | None = None  # the merged ways of the claims with addresses


def decide(owner: bytes, claims: Mapping[Claimant, Claim], *, is_apex: bool = False) -> Decision:
    """Apply the rules of this module to the claims for a name. There must be at least one claim."""
    found: dict[int, dict[bytes, None]] = {}
    pointers: dict[bytes, None] = {}
    winners: list[Claimant] = []
    losers: list[tuple[Claimant, Claimant]] = []  # pairs of a loser and the object that won over it
    decided: dict[object, Claimant] = {}  # group of record types -> the claimant whose rank won the group
    for _, of_rank in groupby(sorted(claims), lambda each: each.rank):
        first, *others = of_rank
        taken: dict[object, Claimant] = {}
        for each in (first, *others):
            claim = claims[each]
            if not each.shares_with(first):
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
                if each.rank is not Rank.LISTENER:
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
    ways = [each.way for each in given if any(rtype in _ADDRESSES for rtype, _ in each.records)]
    way = reduce(merge_ways, ways) if ways else None
    return Decision(
        records, min(each.ttl_s for each in given), kind, tuple(pointers), (*reasons, *left_out), len(losers), way
    )


def _group(rtype: int) -> object:
    return _ADDRESSES if rtype in _ADDRESSES else rtype


def _without_alias(found: dict[int, dict[bytes, None]], *, is_apex: bool) -> list[str]:
    """Remove from `found` the CNAMEs that rule 3 of this module leaves out.

    Return a line of the explanation for each removed CNAME.
    """
    aliases = sorted(found.get(CNAME, ()))
    if not aliases:
        return []
    if is_apex or len(found) > 1:
        del found[CNAME]
        where = "at the apex" if is_apex else "beside other records"
        return [f"hostname {name.to_text(each)} is ignored: a CNAME can't stand {where}" for each in aliases]
    found[CNAME] = {aliases[0]: None}
    return [f"hostname {name.to_text(each)} is ignored: a name can have only one CNAME" for each in aliases[1:]]


def _why(loser: Claimant, winner: Claimant) -> str:
    if winner.rank < loser.rank:
        return f"{winner} comes first"
    if winner.created < loser.created:
        return f"{winner} is older"
    return f"{winner} is as old, and comes first in the order of namespaces and names"


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_TOLD
    return [*lines[:_MOST_TOLD], f"and {more} more"] if more > 0 else lines
