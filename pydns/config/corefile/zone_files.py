"""Reads the directives `file` and `auto`.

The zones of these directives are in files beside the Corefile, or at absolute paths.
"""

import re
from collections.abc import Iterable, Iterator

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut, find
from pydns.config.corefile.draft import Draft, Zone, checked, mapping, only, switch, text
from pydns.config.corefile.durations import seconds
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import is_within, zones_of
from pydns.config.mistakes import quote
from pydns.config.node import Node
from pydns.dns.pattern import BadPattern, Pattern

_RELOAD = "no effect: pydns reads a changed file at once"
_IGNORED = "no effect: CoreDNS ignores it, too"
_PATTERN, _TEMPLATE = r"db\.(.*)", "{1}"  # the plugin's defaults


def read_file(line: Line, server: Server, draft: Draft) -> None:
    """Read `file DBFILE [ZONES…]`. Each zone is served from the file."""
    file, *named = only(line, 1, 1000)
    zones = [zone for token in named for zone in zones_of(token)] or list(server.zones)
    falling: list[Zone] = []
    for each in line.lines:
        match each.name:
            case "fallthrough":
                falling += [zone for token in each.arguments for zone in zones_of(token)] or [Zone(".", each.words[0])]
            case "reload":
                seconds(only(each, 1)[0])
                draft.note(each.words[0], _RELOAD)
            case "upstream":
                draft.note(each.words[0], _IGNORED)
            case _:
                raise BadCorefile(each.words[0], quote(each.name), "a property of file")
    beside = find(draft.files, file.text)
    if not beside and not file.text.startswith("/"):
        raise NotCarriedOut(
            file, quote(file.text), "a file beside the Corefile, a key of the same ConfigMap, or a path"
        )
    path = file._replace(text=beside[0]) if beside else file
    for zone in zones:
        _take(path, zone, draft, fallthrough=any(is_within(zone.name, each.name) for each in falling))
    server.has_answers = True


def read_auto(line: Line, server: Server, draft: Draft) -> None:
    """Read `auto [ZONES…]`. Files beside the Corefile are read if their names match the pattern.

    Files in the directory of the directive are not read.
    """
    zones = [zone for token in line.arguments for zone in zones_of(token)] or list(server.zones)
    at = line.words[0]
    pattern, template = at._replace(text=_PATTERN), _TEMPLATE
    for each in line.lines:
        match each.name:
            case "directory":
                _, *more = only(each, 1, 3)
                if len(more) == 1:
                    raise BadCorefile(each.words[0], "a pattern without a template", "allowed")
                if more:
                    pattern, template = more[0], more[1].text
            case "reload":
                draft.note(each.words[0], _RELOAD)
            case "upstream":
                draft.note(each.words[0], _IGNORED)
            case _:
                raise BadCorefile(each.words[0], quote(each.name), "a property of auto")
    found = list(_matching(draft.files, pattern, template))
    for file, origin in found:
        if any(is_within(origin, zone.name) for zone in zones):
            _take(at._replace(text=file), Zone(origin, at._replace(text=origin)), draft, fallthrough=False)
    if not found:
        draft.note(at, "no file beside the Corefile has such a name")
    server.has_answers = True


def _matching(files: Iterable[str], pattern: Token, template: str) -> Iterator[tuple[str, str]]:
    """Yield each file whose name matches, and the zone that the template makes of the file's name."""
    try:
        compiled = Pattern(pattern.text)
    except BadPattern as error:
        raise BadCorefile(pattern, f"{quote(pattern.text)}, which {error},", "a pattern") from None
    if len(compiled.groups) == 1:
        raise BadCorefile(pattern, quote(pattern.text), "a pattern with a group")
    for file in sorted(files):
        groups = compiled.search(file)
        if groups is not None:
            yield file, _expanded(template, groups).lower().removesuffix(".") + "."


def _expanded(template: str, groups: tuple[str, ...]) -> str:
    """Return the template with the groups of a match in the places of `{1}` or `${1}`."""
    return _PLACE.sub(lambda place: groups[int(place[1])] if int(place[1]) < len(groups) else "", template)


_PLACE = re.compile(r"\$?\{([0-9])\}")


def _take(file: Token, zone: Zone, draft: Draft, *, fallthrough: bool) -> None:
    checked(file, texts.parse_file)
    checked(zone.name_token, texts.parse_route_domain)
    keys: dict[str, Node] = {"file": text(file), "zone": text(zone.name_token)}
    if fallthrough:
        keys["fallthrough"] = switch(file, value=True)
    draft.zone_files.append(mapping(keys, file.line))
