"""Reads the directive `cache` as CoreDNS's plugin does."""

from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.draft import Draft, mapping, number, one_of, only, switch, whole
from pydns.config.corefile.durations import seconds
from pydns.config.corefile.server import Server
from pydns.config.corefile.zones import zones_of
from pydns.config.keys import MAX_TTL_S
from pydns.config.mistakes import quote
from pydns.config.node import Node, Scalar

_SUCCESS_S, _DENIAL_S, _LEAST_S, _STALE_S = 3600, 1800, 5, 3600  # the plugin's defaults
_CAPACITY = 9984  # the plugin's default, for positive and for negative answers each
_MOST_ENTRIES = 10_000_000


def read_cache(line: Line, server: Server, draft: Draft) -> None:
    """Read the cache of a block. Missing values get CoreDNS's defaults."""
    if server.cache is not None:
        raise BadCorefile(line.words[0], "a second cache", "allowed in a block")
    at = line.words[0]
    arguments = list(line.arguments)
    ttls = number(at, _SUCCESS_S), number(at, _DENIAL_S)
    if arguments and arguments[0].text.isdecimal():
        ttl = arguments.pop(0)
        ttls = (number(ttl, whole(ttl, 1, MAX_TTL_S)),) * 2
    names = {zone.name for zone in server.zones}
    for each in arguments:
        if each.text != "." and {zone.name for zone in zones_of(each)} != names:
            raise BadCorefile(each, quote(each.text), "carried out: a block has one cache, for all of its names")
    keys: dict[str, Node] = {
        "max_ttl": ttls[0],
        "max_negative_ttl": ttls[1],
        "min_ttl": number(at, _LEAST_S),
        "min_negative_ttl": number(at, _LEAST_S),
        "serve_stale_s": number(at, 0),
        "prefetch": switch(at, value=False),
    }
    capacities: list[int] = []
    draft.read_each(line.lines, lambda each: _read_property(each, keys, capacities, draft))
    for kind in ("", "negative_"):
        _lower(keys, f"min_{kind}ttl", f"max_{kind}ttl")
    if capacities:
        entries = sum(capacities) + _CAPACITY * (2 - len(capacities))
        keys["entries"] = number(at, min(entries, _MOST_ENTRIES))
    server.cache = line, mapping(keys, at.line)


def _read_property(line: Line, keys: dict[str, Node], capacities: list[int], draft: Draft) -> None:
    at = line.words[0]
    match line.name:
        case "success" | "denial":
            kind = "" if line.name == "success" else "negative_"
            found = only(line, 1, 3)
            capacities.append(whole(found[0], 0, _MOST_ENTRIES))
            for name, least, word in zip(("max", "min"), (1, 0), found[1:], strict=False):
                keys[f"{name}_{kind}ttl"] = number(word, whole(word, least, MAX_TTL_S))
        case "prefetch":
            keys["prefetch"] = switch(at, value=whole(only(line, 1, 3)[0], 0, 1 << 31) > 0)
        case "serve_stale":
            found = only(line, 0, 2)
            keys["serve_stale_s"] = number(at, min(seconds(found[0]), MAX_TTL_S) if found else _STALE_S)
        case "servfail":
            only(line, 1)
            draft.note(at, "no effect: failures are kept for a few seconds")
        case "disable":
            kind_, *zones = only(line, 1, 1000)
            one_of(kind_, ("success", "denial"))
            draft.uncached += [zone for token in zones for zone in zones_of(token)]
            if not zones:
                raise BadCorefile(at, "disable for all zones", "carried out: leave out the cache")
        case _:
            raise BadCorefile(at, quote(line.name), "carried out here; see the keys of `cache`")


def _lower(keys: dict[str, Node], low: str, high: str) -> None:
    """Lower the limit `low` to the limit `high` if `low` is greater, as CoreDNS does."""
    least, most = keys[low], keys[high]
    if isinstance(least, Scalar) and isinstance(most, Scalar) and int(least.text) > int(most.text):
        keys[low] = most
