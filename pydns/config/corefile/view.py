"""Reads blocks with the directive `view NAME { expr EXPRESSION }`. Such a block serves only some clients or questions.

In CoreDNS, a block with `view` serves a question if the block's zone is the longest match and the block's expression is
true. In `config.yaml`, the condition of a view contains the zone and the expression. If pydns doesn't support one
directive of a block with `view`, it refuses the whole block. If pydns left out only the directive, clients would get
answers that they never get from CoreDNS.
"""

from collections.abc import Iterable, Sequence

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Block, Line, NotCarriedOut
from pydns.config.corefile.draft import Draft, ViewDraft, mapping, only, sequence, word
from pydns.config.corefile.rules import template_node
from pydns.config.corefile.server import Server
from pydns.config.corefile.zones import is_within
from pydns.config.mistakes import Wanted, quote
from pydns.config.node import Node


def read_view(line: Line, server: Server, draft: Draft) -> None:
    """Read the expression of a block with `view`. If the block has several expressions, all must be true."""
    if server.view is not None:
        raise BadCorefile(line.words[0], "a second view", "allowed in a block")
    only(line, 1)
    conditions = [_condition(each) for each in line.lines]
    if not conditions:
        raise BadCorefile(line.words[0], "view", "complete: the directive needs an expression")
    server.view = conditions[0] if len(conditions) == 1 else " and ".join([f"({each})" for each in conditions])


def _condition(line: Line) -> str:
    if line.name != "expr" or not line.arguments:
        raise BadCorefile(line.words[0], quote(line.name), "expr with an expression")
    condition = " ".join([each.text for each in line.arguments])
    checked = texts.parse_expression(condition)
    if isinstance(checked, Wanted):
        raise NotCarriedOut(line.words[0], quote(condition), checked.text)
    return condition


def has_view(block: Block) -> bool:
    """Return whether a block serves only some clients or questions."""
    return any(line.name == "view" for line in block.directives)


def take_view(server: Server, inner: Draft, draft: Draft) -> None:
    """Add a block with `view` to `draft`. The block's directives were read into `inner`."""
    if not inner.refused:
        server.finish(inner)
    draft.notes += inner.notes
    draft.refused += inner.refused
    if inner.refused or server.view is None:
        return
    draft.logs += inner.logs
    at = next(line.words[0] for line in server.block.directives if line.name == "view")
    templates = [template_node(each, ()) for each in inner.templates]
    node = sequence(templates, templates[0].line)
    draft.views += [ViewDraft(zone, at, server.view, node) for zone in server.zones]


def views_key(views: Iterable[ViewDraft], served: Sequence[str]) -> Node | None:
    """Return the key `views`, or None if no block has a view.

    `served` contains the zones of the blocks that serve all clients.
    """
    longest_first = sorted(views, key=lambda view: -len(view.zone.name))
    found = [_view(each, served) for each in longest_first]
    return sequence(found, found[0].line) if found else None


def _view(view: ViewDraft, served: Sequence[str]) -> Node:
    parts = [] if view.zone.is_root else [_names(view.zone.name)]
    below = [each for each in served if each != view.zone.name and is_within(each, view.zone.name)]
    parts += [f"not ({_names(each)})" for each in below]
    when = " and ".join([f"({each})" for each in (view.when, *parts)]) if parts else view.when
    return mapping({"when": word(view.at, when), "templates": view.templates}, view.at.line)


def _names(zone: str) -> str:
    """Return a condition for the names of a zone."""
    return f"name() == '{zone}' or name() endsWith '.{zone}'"
