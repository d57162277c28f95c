"""Reads the directive `hosts`: names with fixed addresses, in the Corefile or in a file in the form of /etc/hosts."""

from pydns.config import texts
from pydns.config.corefile.blocks import Line, NotCarriedOut, find
from pydns.config.corefile.draft import Draft, Zone, checked, mapping, number, only, sequence, switch, text, whole, word
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import is_within, zones_around, zones_of
from pydns.config.keys.values import MAX_TTL_S
from pydns.config.mistakes import Wanted, quote
from pydns.config.node import Node
from pydns.dns.address import address_text, unmapped
from pydns.dns.name import reverse_name, to_text

_TTL_S = 3600  # the plugin's default TTL
_FILE = "/etc/hosts"  # the plugin reads this file, even if the directive has entries of its own


class _Options:
    """The properties of a `hosts` directive."""

    def __init__(self, at: Token) -> None:
        self.ttl = number(at, _TTL_S)
        self.ptr = switch(at, value=True)
        self.falling: list[Zone] = []  # zones whose missing names fall through to the next plugin
        self.entries: list[tuple[Token, tuple[Token, ...]]] = []  # each address with its names


def read_hosts(line: Line, server: Server, draft: Draft) -> None:
    """Read the file and the entries of a directive `hosts`.

    Names outside of the directive's zones have no effect, as in CoreDNS.
    """
    at = line.words[0]
    file, *named = line.arguments or (at._replace(text=_FILE),)
    zones = tuple([zone for token in named for zone in zones_of(token)]) or server.zones
    options = _Options(at)
    draft.read_each(line.lines, lambda each: _read_property(each, options, draft))
    _take_file(file, zones, options, server, draft)
    _take_entries(at, zones, options, server, draft)
    for zone in zones:
        _deny_others(zone, options, server, draft)


def _read_property(line: Line, options: _Options, draft: Draft) -> None:
    at = line.words[0]
    match line.name:
        case "ttl":
            ttl = only(line, 1)[0]
            options.ttl = number(ttl, whole(ttl, 1, MAX_TTL_S))
        case "no_reverse":
            options.ptr = switch(at, value=False)
        case "reload":
            draft.note(at, "no effect: pydns reads a changed file at once")
        case "fallthrough":
            options.falling += [zone for token in line.arguments for zone in zones_of(token)] or [Zone(".", at)]
        case _:
            _read_entry(line, options, draft)


def _read_entry(line: Line, options: _Options, draft: Draft) -> None:
    at = line.words[0]
    looks_like_address = at.text[:1].isdecimal() or ":" in at.text
    if looks_like_address and not options.falling and isinstance(texts.parse_ip(at.text), Wanted):
        draft.note(at, "left out: it is not an IP address")  # CoreDNS refuses such a line only after `fallthrough`
        return
    octets = unmapped(checked(at, texts.parse_ip))
    for name in line.arguments:
        checked(name, texts.parse_host)
    address = at._replace(text=address_text(octets)) if len(octets) == 4 else at
    options.entries.append((address, line.arguments))


def _take_file(file: Token, zones: tuple[Zone, ...], options: _Options, server: Server, draft: Draft) -> None:
    """Add the file of a directive.

    The file has an absolute path, or is beside the Corefile (a key of the same ConfigMap).
    """
    beside = find(draft.files, file.text)
    path = file._replace(text=beside[0]) if beside else file
    if not beside and not file.text.startswith("/"):
        wanted = "a file beside the Corefile, a key of the same ConfigMap, or a path"
        raise NotCarriedOut(file, quote(file.text), wanted)
    checked(path, texts.parse_file)
    keys: dict[str, Node] = {"file": text(path), "ttl": options.ttl}
    if not options.ptr.value:
        keys["ptr"] = options.ptr
    elif not any(zone.is_root or is_within(zone.name, "arpa.") for zone in server.zones):
        keys["ptr"] = switch(file, value=False)
    if not any(zone.is_root for zone in zones):
        keys["zones"] = sequence([text(each.name_token) for each in zones], file.line)
    own = {zone.name for zone in server.zones}
    others = [each for each in sorted(draft.served - own) if any(is_within(each, zone.name) for zone in zones)]
    if others:
        keys["except"] = sequence([text(file._replace(text=each)) for each in others], file.line)
    draft.hosts_files.append(mapping(keys, file.line))


def _take_entries(at: Token, zones: tuple[Zone, ...], options: _Options, server: Server, draft: Draft) -> None:
    """Add the entries of a directive.

    For each name, CoreDNS chooses the block with the longest zone. CoreDNS chooses the block for the name of a PTR
    record in the same way.
    """
    found: dict[str, dict[str, Node]] = {}
    with_ptr: set[str] = set()
    elsewhere: set[str] = set()  # names that another block answers
    around = {zone.name for zone in zones}
    for address, names in options.entries:
        for name in names:
            written = name.text.lower().removesuffix(".")
            if not any(zones_around(f"{written}.", around)):
                draft.note(name, "no effect: the name is in no zone of this directive")
            elif not _is_asked(f"{written}.", server, draft):
                elsewhere.add(written)
            else:
                found.setdefault(written, {})[address.text] = text(address)
                draft.host_tokens.append(name)
                if _is_asked(to_text(reverse_name(checked(address, texts.parse_ip))), server, draft):
                    with_ptr.add(written)
    if elsewhere:
        draft.note(at, f"names without effect, because they are in the zones of other blocks: {len(elsewhere)}")
    for written, addresses in found.items():
        if written in draft.hosts:
            raise NotCarriedOut(at, f"{written} in two directives", "allowed")
        unique = list(addresses.values())
        keys: dict[str, Node] = {"addresses": sequence(unique, unique[0].line), "ttl": options.ttl}
        if not options.ptr.value or written not in with_ptr:
            keys["ptr"] = switch(at, value=False)
        draft.hosts[written] = mapping(keys, unique[0].line)


def _is_asked(name: str, server: Server, draft: Draft) -> bool:
    """Return whether CoreDNS asks this block for a name.

    CoreDNS asks this block if no other block has a longer zone that contains the name.
    """
    own = {zone.name for zone in server.zones}
    return next(zones_around(name, draft.served | own), None) in own


def note_cluster_hosts(draft: Draft) -> None:
    """Add a note for each host in a domain of the cluster. Callers do this after all blocks have been read."""
    domains = {domain.text.lower().removesuffix(".") + "." for domain, _ in draft.domains}
    for token in dict.fromkeys(draft.host_tokens):
        if any(zones_around(token.text.lower().removesuffix(".") + ".", domains)):
            draft.note(token, "if the cluster has this name, its records win over this host; in CoreDNS, the host wins")


def _deny_others(zone: Zone, options: _Options, server: Server, draft: Draft) -> None:
    """Deny the names of a zone that have no addresses, unless they fall through to the next plugin."""
    if any(is_within(zone.name, each.name) for each in options.falling):
        return
    at = zone.token
    if zone.is_root:
        raise NotCarriedOut(
            at, "hosts without fallthrough for the zone .", "carried out: it would deny all other names"
        )
    for each in options.falling:
        if is_within(each.name, zone.name):
            wanted = f"carried out without that of {zone.name}: either all names of a zone fall through, or no name"
            raise NotCarriedOut(each.token, f"fallthrough of {each.name}", wanted)
    server.has_answers = True
    draft.blocked.setdefault(zone.name[:-1], word(at, "nxdomain"))
