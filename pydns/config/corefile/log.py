"""Reads the directive `log [NAMES…] [FORMAT] { class CLASS… }`."""

from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.draft import Draft, mapping, one_of, only, sequence, text
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import zones_of
from pydns.config.mistakes import quote
from pydns.config.node import Node

_CLASSES = ("success", "denial", "error", "all")


def read_log(line: Line, server: Server, draft: Draft) -> None:
    """Read from a directive `log` which queries are logged. The `log` directives of all blocks are combined."""
    zones: list[Token] = []
    for each in line.arguments:
        if "{" in each.text:
            draft.note(each, "no effect: lines have the format of --log-format")
        else:
            zones += [zone.name_token for zone in zones_of(each)]
    if not zones and not any(zone.is_root for zone in server.zones):
        zones = [zone.name_token for zone in server.zones]
    classes: list[Token] = []
    for inner in line.lines:
        if inner.name != "class":
            raise BadCorefile(inner.words[0], quote(inner.name), 'a property of log: "class"')
        for word in only(inner, 1, 4):
            one_of(word, _CLASSES)
            classes.append(word)
    if any(each.text == "all" for each in classes):
        classes = []
    draft.logs.append((line.words[0], tuple(zones), tuple(classes)))


def log_key(logs: list[tuple[Token, tuple[Token, ...], tuple[Token, ...]]]) -> Node | None:
    """Return the key `log`, combined from all directives `log`, or None if no block has one."""
    if not logs:
        return None
    at = logs[0][0]
    queries: dict[str, Node] = {}
    if all(zones for _, zones, _ in logs) and not any(zone.text == "." for _, zones, _ in logs for zone in zones):
        named = {zone.text: zone for _, zones, _ in logs for zone in zones}
        queries["zones"] = sequence(map(text, named.values()), at.line)
    if all(classes for _, _, classes in logs):
        wanted = {word.text: word for _, _, classes in logs for word in classes}
        queries["classes"] = sequence(map(text, wanted.values()), at.line)
    return mapping({"queries": mapping(queries, at.line)}, at.line)
