"""A server block while its directives are read, and what they give together."""

from pydns.config.corefile.blocks import BadCorefile, Block, Line
from pydns.config.corefile.draft import Draft, Zone
from pydns.config.node import Mapping as MappingNode


class Server:
    """A server block."""

    def __init__(self, zones: tuple[Zone, ...], block: Block) -> None:
        self.zones = zones
        self.block = block
        self.cache: tuple[Line, MappingNode] | None = None
        self.has_answers = False  # some directive has answers for its names
        self.forwards: list[Zone] = []  # what its `forward` directives are for

    def finish(self, draft: Draft) -> None:
        """Take the block as a whole into the draft, after its last directive."""
        first = self.block.addresses[0]
        if self.forwards:
            draft.caches.append((first, self.cache))
        elif not self.has_answers and self.zones:
            wanted = "carried out: its names would have no server"
            draft.refuse(BadCorefile(first, "a block without forward", wanted))
