"""Reads the directive `dnstap ADDRESS [full] { identity TEXT; version TEXT; extra TEXT }`.

The directive changes no answer.
"""

from pydns.config.collector import COLLECTOR, parse_collector
from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.draft import Draft, mapping, only, switch, text
from pydns.config.corefile.server import Server
from pydns.config.mistakes import Wanted, quote
from pydns.config.node import Node

_MOST_ARGUMENTS = 4  # the address, `full`, and two sizes of buffers
_IDENTITY, _OTHERS = "identity", ("version", "extra", "skipverify")


def read_dnstap(line: Line, _server: Server, draft: Draft) -> None:
    """Read the address of the collector. Only the first directive `dnstap` of a Corefile has an effect.

    The collector of this directive gets the queries of all blocks.
    """
    to, *arguments = only(line, 1, _MOST_ARGUMENTS)
    if "dnstap" in draft.keys:
        draft.note(line.words[0], "no effect: the queries of all blocks go to one collector")
        return
    keys: dict[str, Node] = {}
    for each in line.lines:
        if each.name == _IDENTITY:
            (identity,) = only(each, 1)
            keys["identity"] = text(identity)
        elif each.name in _OTHERS:
            draft.note(each.words[0], "no effect: pydns has no such option for a collector")
        else:
            raise BadCorefile(each.words[0], quote(each.name), f"one of {', '.join((_IDENTITY, *_OTHERS))}")
    address = to.text if "://" in to.text else f"unix://{to.text}"
    if isinstance(parse_collector(address), Wanted):
        draft.note(to, f"no effect: the collector must be {COLLECTOR}")
        return
    is_full = any(each.text == "full" for each in arguments)
    keys = {"to": text(to._replace(text=address)), "full": switch(line.words[0], value=is_full), **keys}
    draft.keys["dnstap"] = mapping(keys, line.words[0].line)
