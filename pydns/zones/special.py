"""Builds zones that no zone file defines: for names that pydns always denies, and for names such as localhost.

An upstream's answer to a special name can make a client use another server instead of pydns. Then the client wouldn't
find the names of the cluster. So pydns answers questions for special names itself.
"""

from collections.abc import Iterable

from pydns.config.model import Blocked, Denial, SpecialName
from pydns.dns import name
from pydns.table.layout import Contents
from pydns.zones import zonefile
from pydns.zones.compile import CompiledZone, compile_zone
from pydns.zones.zonefile import Unavailable, ZoneFile

# A zone whose names get NODATA has a wildcard with one record. The record has this type, which is for private use. So
# every name exists, but every answer is NODATA, because no client asks for the type.
INTERNAL_TYPE = 65534
_NODATA = (
    "$TTL 3600\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 3600\n@ NS localhost.\n"
    f"* TYPE{INTERNAL_TYPE} \\# 0\n"
)
_NXDOMAIN = "$TTL 3600\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 3600\n"

_SOA = "$TTL 86400\n@ SOA localhost. nobody.invalid. 1 3600 1200 604800 86400\n@ NS localhost.\n"
_LOCAL = {  # RFC 6761 section 6.3, RFC 6303 section 4
    "localhost": _SOA + "@ A 127.0.0.1\n@ AAAA ::1\n* A 127.0.0.1\n* AAAA ::1\n",
    "127.in-addr.arpa": _SOA + "1.0.0 PTR localhost.\n",
    "0.in-addr.arpa": _SOA,
    "255.in-addr.arpa": _SOA,
}
_SPECIAL = {
    # NODATA means that there is no encrypted resolver (RFC 9462 section 6.4).
    SpecialName.RESOLVER_ARPA.value: Denial.NODATA,
    # Firefox asks for this name. After NXDOMAIN, Firefox keeps the system's resolver.
    SpecialName.USE_APPLICATION_DNS_NET.value: Denial.NXDOMAIN,
}
SPECIAL_NAMES = tuple(_SPECIAL)


def special_zones(names: Iterable[str] = SPECIAL_NAMES) -> dict[str, CompiledZone]:
    """Return the zones of special names. The key of each zone is a description, because the zone has no file."""
    return {f"special name {each}": _compile(each, _SPECIAL[each]) for each in names}


def local_zones() -> dict[str, CompiledZone]:
    """Return the zones of names such as localhost.

    The key of each zone is a description, because the zone has no file.
    """
    return {f"local name {apex}": _compile_text(apex, text) for apex, text in _LOCAL.items()}


def blocked_zones(blocked: Iterable[Blocked]) -> dict[str, CompiledZone]:
    """Return the zones of domains that are denied as a whole.

    The key of each zone is a description, because the zone has no file. `pydns.serve.rules` denies the names of all
    other blocked domains.
    """
    whole = [each for each in blocked if each.is_whole]
    return {f"blocked {(text := name.to_text(each.domain))}": _compile(text, each.denial) for each in whole}


def _compile(apex: str, denial: Denial) -> CompiledZone:
    zone = _compile_text(apex, _NODATA if denial is Denial.NODATA else _NXDOMAIN)
    return _denied(zone) if denial is Denial.NXDOMAIN else zone


def _compile_text(apex: str, text: str) -> CompiledZone:
    read = zonefile.read(text, apex, apex, _no_include)
    assert isinstance(read, ZoneFile), read
    return compile_zone(read)


def _denied(zone: CompiledZone) -> CompiledZone:
    """Return a copy of the zone without entries. Even the apex doesn't exist then, so every answer is NXDOMAIN."""
    tree = name.tree_key(zone.facts.apex)
    assert all(each.startswith(tree) for each in zone.contents.names)
    return zone._replace(contents=Contents({}, {}), records=0)


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise Unavailable("a special zone includes nothing")
