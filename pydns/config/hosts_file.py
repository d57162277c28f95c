"""Reads files in the form of /etc/hosts: lines with an address and its names (hosts(5))."""

from typing import NamedTuple

from pydns.config import texts
from pydns.config.mistakes import ConfigNotice, Wanted, quote
from pydns.config.model import Host, HostsFile
from pydns.dns import name
from pydns.dns.address import unmapped

MAX_OCTETS = 16 * 1024 * 1024
_MOST_NOTICES = 20


class Entries(NamedTuple):
    """The hosts of a file, and notices about lines with a wrong address or name."""

    hosts: tuple[Host, ...]  # one `Host` for each name
    notices: tuple[ConfigNotice, ...]


def read(source: str, text: str, file: HostsFile) -> Entries:
    """Read the text of a hosts file. As in CoreDNS, invalid addresses and names are left out.

    Each of the first 20 lines with a mistake gives a notice. Names outside of the file's zones are left out without a
    notice.
    """
    found: dict[bytes, dict[bytes, None]] = {}
    notices: list[ConfigNotice] = []
    wrong = 0  # the number of lines with a mistake, which may be millions in a large file
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        address = texts.parse_ip(words[0].partition("%")[0])  # as in CoreDNS, the zone of an IPv6 address is ignored
        names = [texts.parse_host(word) for word in words[1:]]
        if isinstance(address, Wanted) or any(isinstance(each, Wanted) for each in names):
            wrong += 1
            if wrong <= _MOST_NOTICES:
                reason = f"left out: {quote(' '.join(words))} has a wrong address or name"
                notices.append(ConfigNotice(f"{source}:{number}", reason))
        if isinstance(address, Wanted):
            continue
        for qname in names:
            if not isinstance(qname, Wanted) and _is_in(qname, file):
                found.setdefault(qname, {})[unmapped(address)] = None
    if wrong > _MOST_NOTICES:
        notices.append(ConfigNotice(source, f"{wrong - _MOST_NOTICES} more lines have a wrong address or name"))
    hosts = [Host(qname, tuple(addresses), file.ttl_s, file.ptr) for qname, addresses in found.items()]
    return Entries(tuple(hosts), tuple(notices))


def _is_in(qname: bytes, file: HostsFile) -> bool:
    """Return whether a name in the file is used: it is in `file.zones`, but not in `file.except_`.

    If both tuples have a domain that contains the name, the longer domain decides.
    """
    inside = max([len(zone) for zone in file.zones if name.is_at_or_below(qname, zone)], default=0)
    outside = max([len(zone) for zone in file.except_ if name.is_at_or_below(qname, zone)], default=0)
    return inside > outside
