"""Defines the key for the cache of upstreams' answers."""

from collections.abc import Iterator
from typing import Any

from pydns.config import texts
from pydns.config.keys.values import TTL
from pydns.config.model import (
    CacheOptions,
    CacheZone,
    StaleMode,
)
from pydns.config.shapes import Conflict, Key, MapOf, OneOf, Record, Switch, Text, Whole
from pydns.dns import name

_DEFAULT_CACHE = CacheOptions()


_LIMITS = (("min_ttl", "max_ttl"), ("min_negative_ttl", "max_negative_ttl"))


def _check_cache(zones: tuple[CacheZone, ...] | None = (), **written: Any) -> Iterator[Conflict]:
    for keys in _LIMITS:
        low_key, high_key = keys
        low, high = (written.get(f"{key}_s", getattr(_DEFAULT_CACHE, f"{key}_s")) for key in keys)
        if low is None or high is None:
            continue
        if low > high:
            at = low_key if f"{low_key}_s" in written else high_key
            yield Conflict(at, f"{low_key} {low}", f"at most {high_key}, which is {high}")
            continue
        for zone in zones or ():
            own_low, own_high = (getattr(zone, f"{key}_s") for key in keys)
            zone_low = low if own_low is None else own_low
            zone_high = high if own_high is None else own_high
            if zone_low > zone_high:
                found = f"{low_key} {zone_low} of {name.to_text(zone.domain)}"
                yield Conflict("zones", found, f"at most its {high_key}, which is {zone_high}")


_CACHE_KEYS = (
    Key("success", Switch(), "Whether the cache keeps answers with records.", "false", "'no'"),
    Key("denial", Switch(), "Whether the cache keeps NXDOMAIN and answers without records.", "false", "'no'"),
    Key("max_ttl", TTL, "Longest time to keep an answer, in seconds.", "600", "10m", field="max_ttl_s"),
    Key("min_ttl", TTL, "Shortest time to keep an answer, in seconds.", "5", "-5", field="min_ttl_s"),
    Key(
        "max_negative_ttl",
        TTL,
        "Longest time to keep NXDOMAIN and answers without records, in seconds.",
        "30",
        "1000000",
        field="max_negative_ttl_s",
    ),
    Key(
        "min_negative_ttl",
        TTL,
        "Shortest time to keep NXDOMAIN and answers without records, in seconds.",
        "1",
        "one",
        field="min_negative_ttl_s",
    ),
    Key("servfail_s", Whole(1, 300), "How long failures are kept, in seconds (RFC 9520).", "30", "0"),
    Key(
        "serve_stale_s",
        TTL,
        "How long an expired answer may still be used, in seconds. 0 means never.",
        "86400",
        "false",
    ),
    Key(
        "stale_mode",
        OneOf(StaleMode),
        "When an expired answer is used. verify: after upstreams have failed. immediate: at once, while upstreams are "
        "asked for a new answer.",
        "immediate",
        "'on'",
    ),
    Key("prefetch", Switch(), "Refresh popular answers before they expire.", "false", "'no'"),
    Key("keep_ttl", Switch(), "Cached answers keep their TTLs instead of counting them down.", "true", "'no'"),
)
_CACHE = Record(
    CacheOptions,
    (
        Key("entries", Whole(0, 10_000_000), "How many answers one worker keeps at most.", "50000", "-1"),
        Key("bytes", Whole(0, 1 << 40), "Limit of the memory for one worker's answers, in octets.", "33554432", "32Mi"),
        *_CACHE_KEYS,
        Key(
            "zones",
            MapOf(
                Text(texts.DOMAIN, texts.parse_route_domain),
                Record(CacheZone, _CACHE_KEYS, "a mapping of limits", identity="domain"),
                "a mapping of domains to limits",
            ),
            "Domains with values of their own, except for `entries` and `bytes`. The longest domain that contains a "
            "name counts. If a domain sets no value for a key, the value of the whole cache counts.",
            "{corp.example: {max_ttl: 30, denial: false}}",
            "{corp.example: 30}",
            default="none",
        ),
    ),
    "a mapping of limits",
    _check_cache,
)


KEY = Key("cache", _CACHE, "The cache for answers of upstreams. Answers from the cluster are never cached.")
