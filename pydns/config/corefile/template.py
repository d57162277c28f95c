"""Reads the directive `template CLASS TYPE [ZONES…] { … }`. `pydns.dns.template` knows records and fields."""

from collections.abc import Callable

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.draft import Draft, TemplateDraft, Zone, one_of, only, sequence, text, word
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import is_within, zones_of
from pydns.config.mistakes import Wanted, quote
from pydns.config.model import RcodeName
from pydns.config.node import Node

_ANYTHING = (".*", "^.*$", "(.*)", "^(.*)$")  # patterns that match every name
DENIALS = {"NXDOMAIN": "nxdomain", "NOERROR": "nodata"}  # rcode -> value of `blocked`
_RCODES = tuple(each.value for each in RcodeName)
_CLASSES = ("IN", "CS", "CH", "HS", "NONE", "ANY")
_RECORDS = ("answer", "authority", "additional")


class _Properties:
    """The properties of a template."""

    def __init__(self) -> None:
        self.match: list[Token] = []
        self.records: dict[str, list[Token]] = {}
        self.rcode: Token | None = None
        self.falling: list[str] | None = None  # zones whose unmatched names fall through to the next template


def read_template(line: Line, server: Server, draft: Draft) -> None:
    """Read a template into the rules of the draft."""
    at = line.words[0]
    if len(line.arguments) < 2:
        raise BadCorefile(at, "template", "complete: the directive needs a class and a type")
    rclass, rtype, *named = line.arguments
    one_of(rclass, _CLASSES)
    if rclass.text not in ("ANY", "IN"):
        raise NotCarriedOut(rclass, quote(rclass.text), "carried out here: only questions of class IN are answered")
    zones = tuple([zone for token in named for zone in zones_of(token)]) or server.zones
    properties = _Properties()
    if not draft.read_each(line.lines, lambda each: _read_property(each, properties, draft)):
        # Without one of its properties, a template would give wrong answers. So the whole template is left out.
        return
    keys: dict[str, Node] = {}
    if rtype.text != "ANY":
        _supported(rtype, texts.parse_type)
        keys["types"] = sequence([text(rtype)], rtype.line)
    is_for_all = all(each.text in _ANYTHING for each in properties.match)
    if not is_for_all:
        keys["match"] = sequence(map(text, properties.match), properties.match[0].line)
        if not _falls_through(zones, properties, at):
            keys["unmatched"] = word(at, "servfail")
    for section, records in properties.records.items():
        keys[section] = sequence(map(text, records), records[0].line)
    if properties.rcode is not None and properties.rcode.text != "NOERROR":
        keys["rcode"] = text(properties.rcode)
    server.has_templates = True
    is_whole = is_for_all and rtype.text == "ANY"
    if is_whole and all(any(is_within(each.name, zone.name) for zone in zones) for each in server.zones):
        server.has_answers = True
    rcode = properties.rcode or at._replace(text="NOERROR")
    is_denial = is_whole and not properties.records and rcode.text in DENIALS
    draft.templates.append(TemplateDraft(at, keys, zones, server.zones, rcode if is_denial else None))


def _read_property(line: Line, properties: _Properties, draft: Draft) -> None:
    at = line.words[0]
    match line.name:
        case "match":
            for each in only(line, 1, 100):
                _supported(each, texts.parse_pattern)
                properties.match.append(each)
        case "rcode":
            properties.rcode = only(line, 1)[0]
            one_of(properties.rcode, _RCODES)
        case "fallthrough":
            properties.falling = [zone.name for token in line.arguments for zone in zones_of(token)] or ["."]
        case "ederror":
            draft.note(at, "no effect: pydns doesn't send the extended error of a template")
        case "upstream":
            draft.note(at, "no effect: pydns always follows a CNAME")
        case "var" | "expr":
            raise NotCarriedOut(at, quote(line.name), "carried out here")
        case section if section in _RECORDS:
            for each in only(line, 1, 100):
                _supported(each, texts.parse_record)
                properties.records.setdefault(section, []).append(each)
        case _:
            raise BadCorefile(at, quote(line.name), "a property of template")


def _supported(token: Token, parse: Callable[[str], object]) -> None:
    value = parse(token.text)
    if isinstance(value, Wanted):
        raise NotCarriedOut(token, quote(token.text), value.text)


def _falls_through(zones: tuple[Zone, ...], properties: _Properties, at: Token) -> bool:
    """Return whether the next template is tried for names that no pattern matches. Raises `BadCorefile`."""
    if properties.falling is None:
        return False
    covered = [any(is_within(zone.name, each) for each in properties.falling) for zone in zones]
    if not all(covered) and any(is_within(each, zone.name) for each in properties.falling for zone in zones):
        raise NotCarriedOut(
            at, "fallthrough of some zones", "carried out: either all names of a template fall through, or no name"
        )
    return all(covered)
