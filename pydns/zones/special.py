"""Zones that are served unless they are left out: names that a resolver must answer itself.

An upstream that answers them could lead clients in pods away from this server, and so from the cluster's names.
"""

from collections.abc import Iterable

from pydns.config.model import SpecialName
from pydns.dns import name
from pydns.table.layout import Contents
from pydns.zones import zonefile
from pydns.zones.compile import CompiledZone, compile_zone
from pydns.zones.zonefile import Unavailable, ZoneFile

# The wildcard makes every name exist, without a record of a type that clients ask for (TYPE65534 is for private use).
_NODATA = "$TTL 3600\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 3600\n@ NS localhost.\n* TYPE65534 \\# 0\n"
_NXDOMAIN = "$TTL 3600\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 3600\n"

_TEXTS = {
    SpecialName.RESOLVER_ARPA.value: _NODATA,  # RFC 9462 section 6.4: no encrypted resolver is designated
    SpecialName.USE_APPLICATION_DNS_NET.value: _NXDOMAIN,  # Firefox's canary domain: it keeps to the system's resolver
}
SPECIAL_NAMES = tuple(_TEXTS)


def special_zones(names: Iterable[str] = SPECIAL_NAMES) -> dict[str, CompiledZone]:
    """Return the zones of some of `SPECIAL_NAMES`, each by a text that takes the place of its file's name."""
    return {f"special name {each}": _compile(each) for each in names}


def _compile(apex: str) -> CompiledZone:
    text = _TEXTS[apex]
    read = zonefile.read(text, apex, apex, _no_include)
    assert isinstance(read, ZoneFile), read
    zone = compile_zone(read)
    return _denied(zone) if text is _NXDOMAIN else zone


def _denied(zone: CompiledZone) -> CompiledZone:
    """Return a zone without any name, its own included: every answer is NXDOMAIN."""
    tree = name.tree_key(zone.facts.apex)
    assert all(each.startswith(tree) for each in zone.contents.names)
    return zone._replace(contents=Contents({}, {}), records=0)


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise Unavailable("a special zone includes nothing")
