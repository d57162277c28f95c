"""The contents of the answer table after a zone's contents and changes were written."""

from collections.abc import Collection
from dataclasses import dataclass, field

from pydns.kube.zone import Zone
from pydns.table.layout import Changes


@dataclass
class Written:
    """The answers and names of a table."""

    answers: dict[bytes, bytes] = field(default_factory=dict)
    names: dict[bytes, bytes] = field(default_factory=dict)

    def load(self, zone: Zone, left_out: Collection[str] = ()) -> None:
        """Replace everything by the contents of a zone, without the objects of the sources `left_out`."""
        self.answers, self.names = {}, {}
        for piece in zone.contents(left_out):
            self.answers |= piece.answers
            self.names |= piece.names

    def change(self, changes: Changes) -> None:
        """Apply the changes of one commit."""
        for entries, changed in ((self.answers, changes.answers), (self.names, changes.names)):
            for key, value in changed.items():
                if value is None:
                    entries.pop(key, None)
                else:
                    entries[key] = value


def written(zone: Zone) -> Written:
    """Return a new table with the whole contents of a zone."""
    table = Written()
    table.load(zone)
    return table
