"""Collects the results of one server block while its directives are read."""

from typing import NamedTuple

from pydns.config.corefile.blocks import BadCorefile, Block, Line, NotCarriedOut
from pydns.config.corefile.draft import Cache, Draft, Forwarded, TemplateDraft, Zone, word
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import zones_of
from pydns.config.node import Mapping as MappingNode
from pydns.config.node import Node


class Acl(NamedTuple):
    """A directive `acl`: the zones that it names, and the keys of its rules."""

    zones: tuple[Zone, ...]
    rules: tuple[MappingNode, ...]


class Reply(NamedTuple):
    """A directive that changes replies of the whole server, and the key of `config.yaml` that replaces it."""

    key: str
    at: Token
    node: Node
    # the words of the directive; two blocks want different values if the words differ
    words: tuple[str, ...] = ()


def _first_zone(line: Line) -> str:
    """Return the zone of a directive `forward`, or an empty text if it names no valid zone."""
    try:
        return zones_of(line.arguments[0])[0].name if line.arguments else ""
    except BadCorefile:
        return ""


class Server:
    """A server block."""

    def __init__(self, zones: tuple[Zone, ...], block: Block) -> None:
        self.zones = zones
        self.block = block
        self.cache: Cache | None = None
        self.has_templates = False
        self.has_answers = False  # whether a directive other than `forward` and `template` answers names of this block
        self.acl: list[Acl] = []
        self.view: str | None = None  # the questions that the block serves, as an expression; None: all questions
        self.replies: list[Reply] = []
        self.forwards: list[Zone] = []  # the zones of the `forward` directives so far
        # the zones of the `forward` directives that follow; the next directive's zone is last
        self.following = [_first_zone(line) for line in block.directives if line.name == "forward"][::-1]

    def finish(self, draft: Draft) -> None:
        """Add the results of the whole block to the draft. Callers do this after the last directive."""
        first = self.block.addresses[0]
        if self.forwards:
            draft.forwarded.append(Forwarded(first, self.zones, self.cache))
        elif self.has_templates and not self.has_answers:
            # In CoreDNS, no plugin answers the questions that the templates don't answer.
            rest = TemplateDraft(first, {"rcode": word(first, "SERVFAIL")}, self.zones, self.zones, None)
            draft.templates.append(rest)
        elif not self.has_answers and self.zones and not self._names_forward():
            wanted = "carried out: the names of the block would have no server"
            draft.refuse(NotCarriedOut(first, "a block without forward", wanted))

    def _names_forward(self) -> bool:
        """Return whether the block has a `forward`. A `forward` with a mistake or in capitals also counts."""
        return any(line.name.lower() == "forward" for line in self.block.directives)
