"""Reads the directive `acl [ZONES…] { ACTION [type TYPE…] [net NETWORK…] … }`.

The directive decides which clients get answers. A rule applies to the names that its block serves. If another block has
a zone below a zone of this block, the rule doesn't apply to the names in that zone. So `acl_key` adds the rules after
all blocks have been read.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.draft import Draft, Zone, checked, mapping, one_of, sequence, text, word
from pydns.config.corefile.server import Acl, Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import is_within, zones_around, zones_of
from pydns.config.mistakes import quote
from pydns.config.node import Mapping as MappingNode
from pydns.config.node import Node

_ACTIONS = ("allow", "block", "filter", "drop")
_CONDITIONS = ("type", "net")
_ALL = "*"


def read_acl(line: Line, server: Server, draft: Draft) -> None:
    """Read the rules of a directive `acl`. A rule has no effect on names outside the zones of the block, as in
    CoreDNS.
    """
    named = {zone.name: zone for token in line.arguments for zone in zones_of(token)}
    if not line.lines:
        raise BadCorefile(line.words[0], "acl", "complete: the directive needs a rule, such as `block net 10.0.0.0/8`")
    rules: list[MappingNode] = []
    draft.read_each(line.lines, lambda each: rules.append(_rule(each)))
    server.acl.append(Acl(tuple(named.values()) or server.zones, tuple(rules)))


def _rule(line: Line) -> MappingNode:
    at = line.words[0]
    keys: dict[str, Node] = {"action": word(at, one_of(at, _ACTIONS))}
    for condition, values in _conditions(line):
        if not values:
            raise BadCorefile(condition, quote(condition.text), "complete: the condition needs a value")
        if any(each.text == _ALL for each in values):
            continue
        if condition.text == "type":
            for each in values:
                checked(each, texts.parse_question_type)
            keys["types"] = sequence([text(each._replace(text=each.text.upper())) for each in values], values[0].line)
        else:
            keys["clients"] = sequence([text(network(each)) for each in values], values[0].line)
    return mapping(keys, at.line)


def _conditions(line: Line) -> Iterator[tuple[Token, list[Token]]]:
    """Yield each condition of a rule with its values."""
    rest = list(line.arguments)
    while rest:
        condition = rest.pop(0)
        one_of(condition, _CONDITIONS)
        values = []
        while rest and rest[0].text not in _CONDITIONS:
            values.append(rest.pop(0))
        yield condition, values


def network(token: Token) -> Token:
    """Return a network in canonical form. As in CoreDNS, bits after the prefix are ignored. Raises `BadCorefile`."""
    try:
        return token._replace(text=str(ip_network(token.text, strict=False)))
    except ValueError:
        raise BadCorefile(token, quote(token.text), texts.CLIENTS) from None


def acl_key(servers: Sequence[Server]) -> Node | None:
    """Return the key `acl` of all blocks, or None if there are no rules."""
    found: list[Node] = []
    servers_by_zone = {zone.name: server for server in servers for zone in server.zones}
    for server in servers:
        for acl in server.acl:
            served = [
                part
                for zone in acl.zones
                for part in _parts(zone, server)
                if servers_by_zone[next(zones_around(part.name, servers_by_zone))] is server
            ]
            if served:
                scope = _scope(served, server, servers).entries
                found += [rule._replace(entries=[*rule.entries, *scope]) for rule in acl.rules]
    return sequence(found, min([each.line for each in found])) if found else None


def _parts(zone: Zone, server: Server) -> list[Zone]:
    """Return the zone itself if the block serves the zone.

    If the block doesn't, return those zones of the block that are within `zone`.
    """
    if any(zones_around(zone.name, {each.name for each in server.zones})):
        return [zone]
    return [each for each in server.zones if is_within(each.name, zone.name)]


def _scope(served: Sequence[Zone], server: Server, servers: Sequence[Server]) -> MappingNode:
    keys: dict[str, Node] = {}
    if not any(zone.is_root for zone in served):
        keys["within"] = _names(served)
    others = [zone for other in servers if other is not server for zone in other.zones]
    names = {zone.name for zone in served}
    below = [zone for zone in others if any(zones_around(zone.name, names))]
    if below:
        keys["except"] = _names(below)
    return mapping(keys, served[0].token.line)


def _names(zones: Sequence[Zone]) -> Node:
    return sequence([text(each.name_token) for each in zones], zones[0].token.line)
