"""Reads the directive `cache` as CoreDNS's plugin does.

In CoreDNS, each server block has a cache for positive and one for negative answers. In pydns, all names share one
cache, and domains may have limits of their own.
"""

from collections.abc import Mapping
from itertools import chain

from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.draft import (
    Cache,
    Draft,
    Forwarded,
    Zone,
    mapping,
    number,
    one_of,
    only,
    switch,
    whole,
    word,
)
from pydns.config.corefile.durations import seconds
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import is_within, zones_around, zones_of
from pydns.config.keys.values import MAX_TTL_S
from pydns.config.mistakes import quote
from pydns.config.node import Node, Scalar

_SUCCESS_S, _DENIAL_S, _LEAST_S, _STALE_S, _SERVFAIL_S = 3600, 1800, 5, 3600, 5  # the plugin's defaults, in seconds
_CAPACITY = 9984  # the plugin's default size of the cache for positive answers, and of the cache for negative answers
_MOST_ENTRIES = 10_000_000
_MOST_SERVFAIL_S = 300
_KINDS = ("success", "denial")


def read_cache(line: Line, server: Server, draft: Draft) -> None:
    """Read the cache of a block. Values that the directive leaves out get the defaults of CoreDNS."""
    if server.cache is not None:
        raise BadCorefile(line.words[0], "a second cache", "allowed in a block")
    at = line.words[0]
    arguments = list(line.arguments)
    ttls = number(at, _SUCCESS_S), number(at, _DENIAL_S)
    if arguments and arguments[0].text.isdecimal():
        ttl = arguments.pop(0)
        ttls = (number(ttl, whole(ttl, 1, MAX_TTL_S)),) * 2
    zones = [zone for each in arguments for zone in zones_of(each)] or server.zones
    keys: dict[str, Node] = {
        "max_ttl": ttls[0],
        "max_negative_ttl": ttls[1],
        "min_ttl": number(at, _LEAST_S),
        "min_negative_ttl": number(at, _LEAST_S),
        "serve_stale_s": number(at, 0),
        "prefetch": switch(at, value=False),
    }
    capacities: dict[str, int] = {}
    uncached: dict[str, list[Zone]] = {}
    draft.read_each(line.lines, lambda each: _read_property(each, keys, capacities, uncached, draft))
    for kind in ("", "negative_"):
        _lower(keys, f"min_{kind}ttl", f"max_{kind}ttl")
    entries = sum([capacities.get(kind, _CAPACITY) for kind in _KINDS]) if capacities else None
    server.cache = Cache(tuple(zones), keys, entries, uncached)


def _read_property(
    line: Line, keys: dict[str, Node], capacities: dict[str, int], uncached: dict[str, list[Zone]], draft: Draft
) -> None:
    at = line.words[0]
    match line.name:
        case "success" | "denial":
            kind = "" if line.name == "success" else "negative_"
            found = only(line, 1, 3)
            capacities[line.name] = whole(found[0], 0, _MOST_ENTRIES)
            for name, least, each in zip(("max", "min"), (1, 0), found[1:], strict=False):
                keys[f"{name}_{kind}ttl"] = number(each, whole(each, least, MAX_TTL_S))
        case "prefetch":
            keys["prefetch"] = switch(at, value=whole(only(line, 1, 3)[0], 0, 1 << 31) > 0)
        case "serve_stale":
            found = only(line, 0, 2)
            keys["serve_stale_s"] = number(at, min(seconds(found[0]), MAX_TTL_S) if found else _STALE_S)
            mode = found[1]._replace(text=found[1].text.lower()) if len(found) == 2 else at._replace(text="immediate")
            keys["stale_mode"] = word(mode, one_of(mode, ("immediate", "verify")))
        case "servfail":
            keys["servfail_s"] = _servfail(only(line, 1)[0], draft)
        case "disable":
            kind_, *zones = only(line, 1, 1000)
            named = [zone for token in zones for zone in zones_of(token)]
            uncached[one_of(kind_, _KINDS)] = named or [Zone(".", at)]
        case "keepttl":
            only(line, 0)
            keys["keep_ttl"] = switch(at, value=True)
        case "serve_stale_policy":
            raise NotCarriedOut(at, quote(line.name), "carried out here")
        case _:
            raise BadCorefile(at, quote(line.name), "a property of cache")


def _servfail(duration: Token, draft: Draft) -> Node:
    found = seconds(duration)
    if found > _MOST_SERVFAIL_S:
        raise BadCorefile(duration, quote(duration.text), f"at most {_MOST_SERVFAIL_S}s")
    if not found:
        draft.note(duration, "failures are kept for 1 s, the least that RFC 9520 allows")
    return number(duration, max(found, 1))


def _lower(keys: dict[str, Node], low: str, high: str) -> None:
    """Reduce the limit `low` to the limit `high` if `low` is greater, as CoreDNS does."""
    least, most = keys[low], keys[high]
    if isinstance(least, Scalar) and isinstance(most, Scalar) and int(least.text) > int(most.text):
        keys[low] = most


def cache_key(draft: Draft) -> Node | None:
    """Return the key `cache` for all blocks that forward names. Return None if no block forwards names.

    The values of the root zone apply to all names. Without a root zone, the values of the first zone apply. A zone with
    other values has an entry in `zones`.
    """
    zones = [zone for block in draft.forwarded for zone in block.zones]
    if not zones:
        return None
    at = draft.forwarded[0].at
    caches = [block.cache for block in draft.forwarded if block.cache is not None]
    if not caches:
        return mapping({"entries": number(at, 0)}, at.line)
    general = _rule_for(next((zone for zone in zones if zone.is_root), zones[0]), draft.forwarded)
    keys = _difference(general, _defaults(at))
    if any(each.entries is not None for each in caches):
        entries = sum([2 * _CAPACITY if each.entries is None else each.entries for each in caches])
        keys["entries"] = number(at, min(entries, _MOST_ENTRIES))
    own = _zones(general, draft)
    if own:
        keys["zones"] = mapping(own, min([each.line for each in own.values()]))
    return mapping(keys, min([each.line for each in keys.values()]))


def _zones(general: Mapping[str, Node], draft: Draft) -> dict[str, Node]:
    """Return the keys for each zone that is cached in another way than the next larger zone."""
    named: dict[str, Zone] = {}
    for block in draft.forwarded:
        inside = [] if block.cache is None else [*block.cache.zones, *chain(*block.cache.uncached.values())]
        named |= {zone.name: zone for zone in (*block.zones, *inside) if not zone.is_root}
    rules: dict[str, Mapping[str, Node]] = {".": general}
    found: dict[str, Node] = {}
    domains = {domain.text for domain, _ in draft.domains}
    served = domains | {zone.name for block in draft.forwarded for zone in block.zones}
    for name in sorted(named, key=lambda name: name.count(".")):
        if next(zones_around(name, served), None) in domains:
            continue  # pydns never forwards the names of this zone, so it never caches them
        rule = _rule_for(named[name], draft.forwarded)
        around = max((each for each in rules if is_within(name, each)), key=len)
        if _difference(rule, rules[around]):
            rules[name] = rule
            found[name.removesuffix(".")] = mapping(_difference(rule, general), named[name].token.line)
    return found


def _rule_for(zone: Zone, blocks: list[Forwarded]) -> dict[str, Node]:
    """Return the keys with which pydns caches the names of a zone as CoreDNS does.

    Several blocks may have zones that contain `zone`. The block with the longest of these zones decides.
    """
    around = [(len(each.name), block) for block in blocks for each in block.zones if is_within(zone.name, each.name)]
    cache = max(around, key=lambda pair: pair[0])[1].cache if around else blocks[0].cache
    keys: dict[str, Node] = _defaults(zone.token)
    if cache is None or not any(is_within(zone.name, each.name) for each in cache.zones):
        return keys | {kind: switch(zone.token, value=False) for kind in _KINDS}
    keys |= cache.keys
    for kind in _KINDS:
        for each in cache.uncached.get(kind, ()):
            if is_within(zone.name, each.name):
                keys[kind] = switch(each.token, value=False)
    return keys


def _defaults(at: Token) -> dict[str, Node]:
    """Return the defaults of keys that the directive may leave out.

    The defaults leave the TTLs of answers as they are.
    """
    return {
        **{key: number(at, MAX_TTL_S) for key in ("max_ttl", "max_negative_ttl")},
        **{key: number(at, 0) for key in ("min_ttl", "min_negative_ttl")},
        **{kind: switch(at, value=True) for kind in _KINDS},
        "servfail_s": number(at, _SERVFAIL_S),
        "stale_mode": word(at, "verify"),
        "keep_ttl": switch(at, value=False),
    }


def _difference(keys: Mapping[str, Node], others: Mapping[str, Node]) -> dict[str, Node]:
    """Return the keys whose values differ from those in `others`."""
    return {key: node for key, node in keys.items() if key not in others or _value(node) != _value(others[key])}


def _value(node: Node) -> object:
    return node.value if isinstance(node, Scalar) else None
