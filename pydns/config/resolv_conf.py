"""Reads a resolv.conf(5).

The nameservers are the upstreams if the configuration has no upstreams. The search list and `ndots` in a pod's file
decide which names the pod asks for.
"""

from collections.abc import Collection
from typing import NamedTuple

from pydns.config import texts
from pydns.config.mistakes import ConfigNotice, Wanted, quote
from pydns.config.model import ServerSpec
from pydns.dns.address import is_loopback, parse_address
from pydns.dns.walk import MOST_DOMAINS, Searching


class Nameservers(NamedTuple):
    """The usable nameservers of a file in their order, and notices about its other nameservers."""

    upstreams: tuple[ServerSpec, ...]  # empty if no nameserver is usable
    notices: tuple[ConfigNotice, ...]


def read(source: str, text: str, own: Collection[str] = ()) -> Nameservers:
    """Read the `nameserver` lines. A file may have more than three nameservers.

    The other lines are ignored, because they are for stub resolvers. The addresses in `own`, loopback addresses and
    invalid addresses are left out, with a notice that names the line. In a pod, queries to a loopback address come back
    to pydns. If a pod inherits the node's resolv.conf, the file may have the address of systemd-resolved: 127.0.0.53.
    """
    ours = {texts.parse_ip(address) for address in own}
    upstreams: dict[str, ServerSpec] = {}
    notices = []
    for number, line in enumerate(text.splitlines(), 1):
        keyword, *rest = line.split(maxsplit=1) or [""]
        if keyword != "nameserver":
            continue
        written = rest[0].split()[0] if rest else ""
        ip = texts.parse_zoned_ip(written)
        if isinstance(ip, Wanted):
            notices.append(
                ConfigNotice(f"{source}:{number}", f"nameserver left out: {quote(written)} is not {ip.text}")
            )
            continue
        address = parse_address(ip.partition("%")[0])
        if address in ours:
            reason = f"{written} is this server's own address"
        elif is_loopback(address):
            reason = f"{written} is a loopback address, which leads back to pydns; give the resolv.conf of the node"
        else:
            upstreams.setdefault(ip, ServerSpec(ip))
            continue
        notices.append(ConfigNotice(f"{source}:{number}", f"nameserver left out: {reason}"))
    return Nameservers(tuple(upstreams.values()), tuple(notices))


_MOST_NDOTS = 15  # the largest value of `ndots`; larger values have the same effect (resolv.conf(5))


def read_searching(text: str) -> Searching:
    """Return the search list and `ndots` of a pod's file.

    If several lines have the same keyword, the last line counts, as in resolvers. The default of `ndots` is 1. Invalid
    domains and options are left out.
    """
    domains: tuple[bytes, ...] = ()
    ndots = 1
    for line in text.splitlines():
        keyword, *words = line.split()[: MOST_DOMAINS + 1] or [""]
        if keyword in ("search", "domain"):
            found = [texts.parse_domain(each) for each in (words if keyword == "search" else words[:1])]
            domains = tuple([each for each in found if not isinstance(each, Wanted)])
        elif keyword == "options":
            for each in words:
                if each.startswith("ndots:") and each[6:].isdecimal():
                    ndots = min(int(each[6:]), _MOST_NDOTS) if len(each) < 9 else _MOST_NDOTS
    return Searching(domains, ndots)
