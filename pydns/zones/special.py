"""Builds zones of names that pydns denies and never forwards: special names, and the blocked domains.

If an upstream answered a query for a special name, clients in pods might use another server instead of pydns. Then
these clients would not find the names of the cluster.
"""

from collections.abc import Iterable

from pydns.config.model import Blocked, Denial, SpecialName
from pydns.dns import name
from pydns.table.layout import Contents
from pydns.zones import zonefile
from pydns.zones.compile import CompiledZone, compile_zone
from pydns.zones.zonefile import Unavailable, ZoneFile

# The wildcard makes every name exist. Its only type is TYPE65534 (private use), which no client asks for.
_NODATA = "$TTL 3600\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 3600\n@ NS localhost.\n* TYPE65534 \\# 0\n"
_NXDOMAIN = "$TTL 3600\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 3600\n"

_SPECIAL = {
    SpecialName.RESOLVER_ARPA.value: Denial.NODATA,  # RFC 9462 section 6.4: no encrypted resolver is designated
    SpecialName.USE_APPLICATION_DNS_NET.value: Denial.NXDOMAIN,  # Firefox's canary domain: keep the system's resolver
}
SPECIAL_NAMES = tuple(_SPECIAL)


def special_zones(names: Iterable[str] = SPECIAL_NAMES) -> dict[str, CompiledZone]:
    """Return the zones of these special names. The key of each zone is a text that is used like a file name."""
    return {f"special name {each}": _compile(each, _SPECIAL[each]) for each in names}


def blocked_zones(blocked: Iterable[Blocked]) -> dict[str, CompiledZone]:
    """Return the zones of domains that are denied as a whole. The key of each zone is used like a file name.

    `pydns.serve.rules` denies the names of the other blocked domains.
    """
    whole = [each for each in blocked if each.is_whole]
    return {f"blocked {(text := name.to_text(each.domain))}": _compile(text, each.denial) for each in whole}


def _compile(apex: str, denial: Denial) -> CompiledZone:
    read = zonefile.read(_NODATA if denial is Denial.NODATA else _NXDOMAIN, apex, apex, _no_include)
    assert isinstance(read, ZoneFile), read
    zone = compile_zone(read)
    return _denied(zone) if denial is Denial.NXDOMAIN else zone


def _denied(zone: CompiledZone) -> CompiledZone:
    """Return the zone without any names. Even the apex doesn't exist, so every answer is NXDOMAIN."""
    tree = name.tree_key(zone.facts.apex)
    assert all(each.startswith(tree) for each in zone.contents.names)
    return zone._replace(contents=Contents({}, {}), records=0)


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise Unavailable("a special zone includes nothing")
