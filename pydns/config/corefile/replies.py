"""Reads the directives that change replies of a whole server: `any`, `bufsize`, `chaos`, `dns64`, `local`, `nsid`, …

In CoreDNS, such a directive applies to its block. In pydns, the directive becomes a key that applies to all names. So
some of these directives must be in every block.
"""

import re
from collections.abc import Mapping, Sequence

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.draft import (
    Draft,
    checked,
    mapping,
    number,
    one_of,
    only,
    sequence,
    switch,
    text,
    whole,
    word,
)
from pydns.config.corefile.server import Reply, Server
from pydns.config.mistakes import quote
from pydns.config.model import ChaosName
from pydns.config.node import Node

_ALL_CLIENTS = ("::/0", "0.0.0.0/0")
_HEADER = re.compile(r"((query|response) )?(set|clear)( (aa|ra|rd))+")
_IN_FULL = frozenset(["any", "dns64"])  # keys that change answers for names, so all blocks must have them


def read_any(line: Line, server: Server, draft: Draft) -> None:
    """Read `any`."""
    only(line, 0)
    server.replies.append(Reply("any", line.words[0], word(line.words[0], "hinfo")))


def read_bufsize(line: Line, server: Server, draft: Draft) -> None:
    """Read `bufsize [SIZE]`. If blocks have different sizes, the smallest size applies."""
    size = next((whole(each, 512, 4096) for each in only(line, 0, 1)), 1232)
    server.replies.append(Reply("bufsize", line.words[0], number(line.words[-1], size), (str(size),)))


def read_nsid(line: Line, server: Server, draft: Draft) -> None:
    """Read `nsid [DATA…]`. Without data, the name of the host identifies the server."""
    at = line.words[0]
    keys: dict[str, Node] = {}
    if line.arguments:
        keys["data"] = text(at._replace(text=" ".join([each.text for each in line.arguments])))
    server.replies.append(Reply("nsid", at, mapping(keys, at.line), _words(line)))


def read_chaos(line: Line, server: Server, draft: Draft) -> None:
    """Read `chaos [VERSION] [AUTHORS…]`.

    The block answers a name of class CH only if the name is in a zone of the block.
    """
    at = line.words[0]
    names = [
        each.value
        for each in ChaosName
        if any(zone.is_root or f".{each.value}.".endswith(f".{zone.name}") for zone in server.zones)
    ]
    server.has_answers = True
    if not names:
        draft.note(at, "no effect: the block has none of the names in class CH")
        return
    keys: dict[str, Node] = {}
    if line.arguments:
        keys["version"] = text(line.arguments[0])
        if line.arguments[1:]:
            keys["authors"] = sequence(map(text, line.arguments[1:]), at.line)
    else:
        draft.note(at, "no version is given, so the answers are the name and version of pydns, and no authors")
    keys["names"] = sequence([word(at, each) for each in names], at.line)
    server.replies.append(Reply("chaos", at, mapping(keys, at.line), (*_words(line), *names)))


def read_dns64(line: Line, server: Server, draft: Draft) -> None:
    """Read `dns64 [PREFIX] { prefix PREFIX; translate_all; allow_ipv4 }`."""
    at = line.words[0]
    keys: dict[str, Node] = {"map_private": switch(at, value=True)}
    prefixes = list(only(line, 0, 1))
    for each in line.lines:
        match each.name:
            case "prefix":
                prefixes = list(only(each, 1))
            case "translate_all":
                keys["translate_all"] = switch(each.words[0], value=True)
            case "allow_ipv4":
                clients = [word(each.words[0], client) for client in _ALL_CLIENTS]
                keys["clients"] = sequence(clients, each.words[0].line)
            case _:
                wanted = "a property of dns64: prefix, translate_all or allow_ipv4"
                raise BadCorefile(each.words[0], quote(each.name), wanted)
    for prefix in prefixes:
        checked(prefix, texts.parse_dns64_prefix)
        keys["prefixes"] = sequence([text(prefix)], prefix.line)
    described = *(each.text for each in prefixes), *sorted(keys)
    server.replies.append(Reply("dns64", at, mapping(keys, at.line), described))


def read_local(line: Line, server: Server, draft: Draft) -> None:
    """Read `local`. The directive has an effect only in a block for the root zone or for `localhost.`."""
    only(line, 0)
    at = line.words[0]
    if any(zone.is_root or zone.name == "localhost." for zone in server.zones):
        server.has_answers = True
        draft.keys["local_names"] = switch(at, value=True)
        draft.note(
            at, "names such as localhost.default.svc.cluster.local are answered like all other names of their zone"
        )
    else:
        draft.note(at, "no effect: the block has no name that the directive would answer")


def read_header(line: Line, _server: Server, draft: Draft) -> None:
    """Read `header { response set ra }`. Refuse other changes of the header."""
    only(line, 0)

    def read_change(each: Line) -> None:
        words = " ".join([word.text for word in each.words])
        if not _HEADER.fullmatch(words):
            raise BadCorefile(each.words[0], quote(words), 'a change of flags, such as "response set ra"')
        if words not in ("response set ra", "set ra"):
            raise NotCarriedOut(each.words[0], quote(words), 'carried out here; only "response set ra" is')
        draft.note(each.words[0], "no effect: pydns sets RA whenever it has servers to ask")

    draft.read_each(line.lines, read_change)


def read_loadbalance(line: Line, _server: Server, draft: Draft) -> None:
    """Read `loadbalance [round_robin]`. The directive has no effect, because addresses and SRV records always
    rotate.
    """
    at = line.words[0]
    for each in line.arguments:
        if each.text != "round_robin":
            one_of(each, ("round_robin", "weighted"))
            raise NotCarriedOut(each, quote(each.text), "carried out here; only round_robin is")
    for inner in line.lines:
        one_of(inner.words[0], ("prefer", "reload"))
        raise NotCarriedOut(inner.words[0], quote(inner.name), "carried out here: addresses rotate evenly")
    draft.note(at, "no effect: pydns always does this")


def reply_keys(servers: Sequence[Server], draft: Draft) -> Mapping[str, Node]:
    """Return the keys that the directives of all blocks give.

    Refuse `any` or `dns64` if only some blocks have the directive.
    """
    keys: dict[str, Node] = {}
    found: dict[str, list[Reply]] = {}
    for server in servers:
        for each in server.replies:
            found.setdefault(each.key, []).append(each)
    sizes = found.pop("bufsize", [])
    if sizes:
        smallest = min(sizes, key=lambda each: int(each.words[0]))
        keys["edns"] = mapping({"max_udp_size": smallest.node}, smallest.at.line)
    for key, (first, *others) in found.items():
        keys[key] = first.node
        for other in others:
            if other.words != first.words:
                wanted = f"that of line {first.at.line}: the key {key} is for all names"
                draft.refuse(NotCarriedOut(other.at, f"another {key}", wanted))
        for server in servers if key in _IN_FULL else ():
            needs_it = server.forwards if key == "dns64" else server.zones
            if needs_it and not any(each.key == key for each in server.replies):
                wanted = (
                    f"carried out here unless all blocks have this directive; {server.block.addresses[0].text} does not"
                )
                draft.refuse(NotCarriedOut(first.at, quote(key), wanted))
                break
    return keys


def _words(line: Line) -> tuple[str, ...]:
    return tuple([each.text for each in line.arguments])
