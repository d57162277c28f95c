"""Reads the directive `template CLASS TYPE [ZONES…] { … }`. It is supported only for denying all names of a zone."""

from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.draft import Draft, only, word
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import zones_of
from pydns.config.mistakes import quote

_DENIALS = {"NXDOMAIN": "nxdomain", "NOERROR": "nodata"}
_WANTED = "carried out here; NXDOMAIN or NOERROR for all names and types of a zone is, as the key `blocked`"
_ANYTHING = (".*", "^.*$", "(.*)", "^(.*)$")  # patterns that match every name


def read_template(line: Line, server: Server, draft: Draft) -> None:
    """Read a template that blocks zones. Other templates are refused."""
    if len(line.arguments) < 2:
        raise BadCorefile(line.words[0], "template", "complete: it needs a class and a type")
    rclass, rtype, *named = line.arguments
    zones = [zone for token in named for zone in zones_of(token)] or list(server.zones)
    denial: Token | None = None
    for each in line.lines:
        match each.name:
            case "rcode":
                denial = only(each, 1)[0]
            case "match" if all(token.text in _ANYTHING for token in each.arguments):
                pass
            case "fallthrough":
                pass  # no effect: fallthrough is for names that don't match, but here all names match
            case _:
                raise BadCorefile(each.words[0], quote(each.name), _WANTED)
    if rclass.text.upper() not in ("ANY", "IN") or rtype.text.upper() != "ANY":
        raise BadCorefile(line.words[0], f"template {rclass.text} {rtype.text}", _WANTED)
    if denial is None or denial.text.upper() not in _DENIALS or any(zone.is_root for zone in zones):
        raise BadCorefile(line.words[0], "template", _WANTED)
    server.has_answers = True
    for zone in zones:
        draft.blocked.setdefault(zone.name[:-1], word(denial, _DENIALS[denial.text.upper()]))
