"""The nameservers of a resolv.conf: who is asked where the configuration names no upstreams (resolv.conf(5))."""

from collections.abc import Collection
from typing import NamedTuple

from pydns.config import texts
from pydns.config.mistakes import ConfigNotice, Wanted, quote
from pydns.config.model import ServerSpec
from pydns.dns.address import address_text, is_loopback


class Nameservers(NamedTuple):
    """What can be asked, in the order of the file, and why the rest can't."""

    upstreams: tuple[ServerSpec, ...]  # may be empty
    notices: tuple[ConfigNotice, ...]


def read(source: str, text: str, own: Collection[str] = ()) -> Nameservers:
    """Read the `nameserver` lines, more than three if there are; everything else is for stub resolvers.

    Left out, with a notice that names the line: our `own` addresses and loopback ones, which in a pod lead back to us
    (systemd-resolved's 127.0.0.53 gets there by way of the node's file), and what isn't an address.
    """
    ours = {texts.parse_ip(address) for address in own}
    upstreams: dict[bytes, ServerSpec] = {}
    notices = []
    for number, line in enumerate(text.splitlines(), 1):
        keyword, *rest = line.split(maxsplit=1) or [""]
        if keyword != "nameserver":
            continue
        written = rest[0].split()[0] if rest else ""
        address = texts.parse_ip(written)
        if isinstance(address, Wanted):
            reason = f"{quote(written)} is not {address.text}"
        elif address in ours:
            reason = f"{written} is this server's own address"
        elif is_loopback(address):
            reason = f"{written} is a loopback address and leads back here; give the node's own resolv.conf"
        else:
            upstreams.setdefault(address, ServerSpec(address_text(address)))
            continue
        notices.append(ConfigNotice(f"{source}:{number}", f"nameserver left out: {reason}"))
    return Nameservers(tuple(upstreams.values()), tuple(notices))
