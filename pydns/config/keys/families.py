"""Defines the keys that choose between IPv4 and IPv6 addresses for names outside the cluster."""

from collections.abc import Iterator
from typing import Any

from pydns.config import texts
from pydns.config.keys.values import DOMAIN
from pydns.config.mistakes import Wanted
from pydns.config.model import Dns64Options, Families, FamilyOptions
from pydns.config.shapes import Conflict, Key, ListOf, OneOf, Record, Switch, Text, TextOrRecord

_RANGES = ListOf(Text("a range of addresses", texts.parse_ptr_range), "ranges")


def _parse_families(text: str) -> FamilyOptions | Wanted:
    try:
        return FamilyOptions(Families(text))
    except ValueError:
        return Wanted(OneOf(Families).wanted)


_FAMILIES = TextOrRecord(
    Text(OneOf(Families).wanted, _parse_families),
    Record(
        FamilyOptions,
        (
            Key(
                "which",
                OneOf(Families),
                "The address families that clients get. If this is the only key, you can write the value without the "
                "mapping.",
                "auto",
                "ipv5",
            ),
            Key(
                "except",
                ListOf(DOMAIN, "domain names"),
                "Names in these domains keep both their IPv4 and their IPv6 addresses.",
                "[corp.example]",
                "[corp..example]",
                default="none",
                field="except_",
            ),
        ),
        "auto, ipv4, ipv6, all or a mapping",
    ),
)

_DNS64 = Record(
    Dns64Options,
    (
        Key(
            "prefixes",
            ListOf(Text(texts.DNS64_PREFIX, texts.parse_dns64_prefix), "prefixes"),
            "Prefixes that are routed to the NAT64. Each IPv4 address is mapped into each prefix.",
            "['2001:db8:64::/96']",
            "['2001:db8:64::/72']",
        ),
        Key(
            "clients",
            _RANGES,
            "Clients that get mapped addresses.",
            "['fd00::/8', 10.0.0.0/8]",
            "['fd00::/200']",
            default="clients that ask over IPv6",
        ),
        Key(
            "exclude",
            _RANGES,
            "IPv6 addresses that are treated as if the name didn't have them.",
            "['::ffff:0:0/96', '2001:db8:bad::/48']",
            "['::ffff']",
        ),
        Key("translate_all", Switch(), "Whether names with IPv6 addresses get mapped addresses, too.", "true", "all"),
        Key(
            "map_private",
            Switch(),
            "Whether private addresses are also mapped into 64:ff9b::/96, which RFC 6052 forbids. Private addresses "
            "are always mapped into other prefixes.",
            "true",
            "10.0.0.0/8",
        ),
    ),
    "a mapping of options",
)


def check(families: FamilyOptions | None = None, dns64: Dns64Options | None = None, **_: Any) -> Iterator[Conflict]:
    """Yield a mistake if `dns64` is used with `families: ipv4`, which removes all IPv6 addresses."""
    if dns64 is not None and families is not None and families.which is Families.IPV4:
        yield Conflict("dns64", "a mapping", 'used together with "families: ipv4"')


KEYS = (
    Key(
        "families",
        _FAMILIES,
        "Address families of names outside the cluster. ipv4: such names have no IPv6 addresses. ipv6: such names "
        "have no IPv4 addresses. auto: only the families with which this server reaches the Internet. all: both "
        "families.",
        "ipv4",
        "ipv5",
        default="`all`",
    ),
    Key(
        "dns64",
        _DNS64,
        "IPv6 addresses that pydns makes for names outside the cluster with only IPv4 addresses (RFC 6147).",
    ),
)
