"""Compiles zone files and hosts for the answer table.

`compile_zone` compiles each zone without regard to the others. Then `combine` joins all zones. If one zone is inside
another, the names of the inner zone belong only to the inner zone. Records of the cluster take precedence over records
of zone files and hosts: `pydns.table.writer` decides this for each key.

pydns doesn't answer with records below a delegation or a DNAME (RFC 1034 section 4.2, RFC 6672 section 2.4). The table
contains such records only as additional records of a referral. The entry of the delegated name in `names` contains the
referral.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydns.config.model import Host
from pydns.dns import name
from pydns.dns.compiled import TARGET_AT, compile_answer, question
from pydns.dns.rrset import AAAA, CNAME, DNAME, DS, NS, NSEC, PTR, RRSIG, SOA, A, RRset, address_type
from pydns.table.layout import Contents, NodeKind, ZoneFacts
from pydns.zones.zonefile import ZoneFile

_AT_A_CUT = frozenset({DS, NSEC, RRSIG})  # types, besides NS, that the parent zone has at a delegated name
_MOST_POINTERS = 100  # maximum PTR records of an address; lists of blocked names give 0.0.0.0 to thousands of names
_SOA_TIMERS = 20  # octets of a SOA record's RDATA after the two names


class CompiledZone(NamedTuple):
    """The entries of a zone for the table, and its facts."""

    facts: ZoneFacts
    contents: Contents
    serial: int
    records: int


class Statics(NamedTuple):
    """The facts and entries of all zone files and hosts."""

    zones: list[ZoneFacts]
    contents: Contents
    refused: dict[str, str]  # file whose zone can't be served -> reason


def compile_zone(zone: ZoneFile) -> CompiledZone:
    """Compile one zone. Names that belong to an inner zone are still in the result."""
    by_type: dict[int, dict[bytes, RRset]] = {}
    for rrset in zone.rrsets:
        by_type.setdefault(rrset.rtype, {})[rrset.owner] = rrset
    cuts = by_type.get(NS, {}).keys() - {zone.apex}
    dnames = by_type.get(DNAME, {}).keys()
    barriers = cuts | dnames
    addresses: dict[bytes, list[RRset]] = {}
    for rtype in (A, AAAA):
        for owner, rrset in by_type.get(rtype, {}).items():
            addresses.setdefault(owner, []).append(rrset)

    contents = Contents({}, {})
    has_wildcard = False
    for rrset in zone.rrsets:
        owner, rtype = rrset.owner, rrset.rtype
        if barriers and _lies_below_any(owner, barriers):
            continue
        if owner in cuts and rtype not in _AT_A_CUT:
            if rtype == NS:
                referral = compile_answer(rrset._replace(additional=_additional(rrset, addresses)))
                contents.names[name.tree_key(owner)] = NodeKind.CUT + referral
            continue
        additional = _additional(rrset, addresses) if rtype in TARGET_AT else ()
        additional = tuple([each for each in additional if not _lies_at_or_below_any(each.owner, cuts, barriers)])
        contents.answers[question(owner, rtype)] = compile_answer(rrset._replace(additional=additional))
        tree = name.tree_key(owner)
        if rtype in _KINDS:
            contents.names[tree] = _KINDS[rtype]
        else:
            contents.names.setdefault(tree, NodeKind.PLAIN)
        has_wildcard = has_wildcard or b"\1*" in owner

    soa = by_type[SOA][zone.apex]
    facts = _facts(soa, is_plain=not (has_wildcard or barriers))
    serial = int.from_bytes(facts.soa_timers[:4])
    return CompiledZone(facts, contents, serial, zone.records)


_KINDS: dict[int, bytes] = {CNAME: NodeKind.ALIAS, DNAME: NodeKind.DNAME}


def combine(
    zones: Mapping[str, CompiledZone],
    hosts: Sequence[Host],
    domains: Sequence[bytes],
    reverse_zones: Iterable[bytes],
    shared_zones: Iterable[bytes] = (),
    *,
    external_alone: bool = False,
) -> Statics:
    """Combine zones and hosts. `zones` is a dict: name of a file -> the zone in the file.

    `domains`, `reverse_zones` and `shared_zones` are the zones of the cluster. Shared zones are external zones and
    zones that fall through. A file with the apex of a shared zone adds its records to that zone, except for SOA and NS
    records at the apex. Any other file is refused if its zone is at or below a cluster domain, or if it is a reverse
    zone of the cluster. If several files have the same zone, only the first file is used. The records of a host replace
    a file's records of the same name and type. With `external_alone`, only files for shared zones are accepted.
    """
    refused: dict[str, str] = {}
    files: dict[bytes, str] = {}
    reverse_zones, shared_zones = set(reverse_zones), set(shared_zones)
    for file, zone in zones.items():
        apex = zone.facts.apex
        apex_text = name.to_text(apex)
        is_shared = apex in shared_zones
        if not is_shared and any(name.is_at_or_below(apex, each) for each in domains):
            refused[file] = f"{apex_text} is in the cluster domain"
        elif apex == name.ROOT:
            refused[file] = "the root zone can't be served"
        elif not is_shared and apex in reverse_zones:
            refused[file] = f"{apex_text} is one of the cluster's reverse zones"
        elif external_alone and not is_shared:
            refused[file] = f"{apex_text} is not an external zone, and pydns answers no other zones"
        elif apex in files:
            refused[file] = f"{apex_text} is already served from {files[apex]}"
        else:
            files[apex] = file
    everyone = {*domains, *reverse_zones, *shared_zones, *files}
    contents = Contents({}, {})
    facts = []
    for apex, file in files.items():
        zone = zones[file]
        inner = tuple([name.tree_key(each) for each in everyone if each != apex and name.is_at_or_below(each, apex)])
        piece = _outside(zone.contents, inner) if inner else zone.contents
        if apex in shared_zones:
            own = {question(apex, rtype) for rtype in (SOA, NS)}
            piece = piece._replace(answers={key: value for key, value in piece.answers.items() if key not in own})
        contents.answers.update(piece.answers)
        contents.names.update(piece.names)
        facts.append(zone.facts)
    _add_hosts(hosts, contents)
    return Statics(facts, contents, refused)


def _outside(contents: Contents, inner: tuple[bytes, ...]) -> Contents:
    """Return the contents of a zone without the names of inner zones.

    `inner` contains the tree keys of the inner zones' apexes.
    """
    return Contents(
        {
            key: value
            for key, value in contents.answers.items()
            if not name.tree_key(key[:-4].removeprefix(b"\0") or name.ROOT).startswith(inner)
        },
        {tree: value for tree, value in contents.names.items() if not tree.startswith(inner)},
    )


def _add_hosts(hosts: Sequence[Host], contents: Contents) -> None:
    """Add the records of hosts.

    A name or an address that occurs in several hosts gets the records of all these hosts.
    """
    found: dict[tuple[bytes, int], dict[bytes, int]] = {}  # owner and type -> RDATA -> TTL
    for host in hosts:
        for address in host.addresses:
            found.setdefault((host.qname, address_type(address)), {})[address] = host.ttl_s
            if host.ptr:
                pointers = found.setdefault((name.reverse_name(address), PTR), {})
                if len(pointers) < _MOST_POINTERS:
                    pointers[host.qname] = host.ttl_s
    for (owner, rtype), rdatas in found.items():
        rrset = RRset(owner, rtype, min(rdatas.values()), tuple(rdatas))
        contents.answers[question(owner, rtype)] = compile_answer(rrset)
        contents.names[name.tree_key(owner)] = NodeKind.HOST


def _facts(soa: RRset, *, is_plain: bool) -> ZoneFacts:
    rdata = soa.rdatas[0]
    timers = rdata[-_SOA_TIMERS:]
    names = rdata[:-_SOA_TIMERS]
    mname = name.from_labels(*name.labels_of(names))
    minimum_s = int.from_bytes(timers[-4:])
    # The TTL of a negative answer is the smaller of two values: the TTL of the SOA record, and the record's field
    # MINIMUM (RFC 2308 section 5).
    ttl_s = min(soa.ttl_s, minimum_s)
    return ZoneFacts(soa.owner, mname, names[len(mname) :], ttl_s, minimum_s, soa_timers=timers, is_plain=is_plain)


def _additional(rrset: RRset, addresses: Mapping[bytes, list[RRset]]) -> tuple[RRset, ...]:
    targets = dict.fromkeys(rdata[TARGET_AT[rrset.rtype] :].lower() for rdata in rrset.rdatas)
    return tuple([each for target in targets for each in addresses.get(target, ())])


def _lies_below_any(owner: bytes, ancestors: Iterable[bytes]) -> bool:
    return any(parent in ancestors for parent in name.ancestors(owner))


def _lies_at_or_below_any(owner: bytes, cuts: Iterable[bytes], barriers: Iterable[bytes]) -> bool:
    return owner in cuts or (bool(barriers) and _lies_below_any(owner, barriers))
