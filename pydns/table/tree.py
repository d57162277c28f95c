"""Reads the tree of names in the answer table, and the types at a name.

Reading the tree takes long, so only tools and rare questions use this module.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydns.dns import name
from pydns.table.client_classes import is_plain_answer
from pydns.table.layout import is_tree_key, origin_key

if TYPE_CHECKING:
    from pydns.table.reader import Reader, Transaction


class Tree:
    """The names in one commit of the table. All names are in wire form and lower case."""

    def __init__(self, reader: "Reader", transaction: "Transaction") -> None:
        self.names = transaction.cursor(reader.names)
        self._answers = transaction.cursor(reader.answers)

    def exists(self, qname: bytes) -> bool:
        """Return whether a name exists. An empty non-terminal exists, too."""
        tree = name.tree_key(qname)
        return self.names.set_range(tree) and self.names.key().startswith(tree)

    def kind(self, qname: bytes) -> bytes | None:
        """Return the node kind of a name, or None if the table has no entry for exactly this name."""
        tree = name.tree_key(qname)
        return self.names.value() if tree and self.names.set_key(tree) else None

    def origins(self, qname: bytes) -> list[str]:
        """Return the lines that explain which objects created the records of a name in an external zone.

        Names in other zones have no such lines.
        """
        key = origin_key(name.tree_key(qname))
        return self.names.value().decode(errors="replace").splitlines() if self.names.set_key(key) else []

    def closest_encloser(self, qname: bytes) -> tuple[bytes, bytes]:
        """Return the closest encloser of a missing name, and the label before it in the missing name."""
        parent = qname
        while True:
            label = parent[1 : 1 + parent[0]]
            parent = parent[1 + len(label) :]
            if parent == name.ROOT or self.exists(parent):
                return parent, label

    def labels_below(self, parent: bytes) -> Iterator[bytes]:
        """Yield the labels directly below a name."""
        tree = name.tree_key(parent)
        at = len(tree)
        there = self.names.set_range(tree + b"\1")
        while there and (key := self.names.key()).startswith(tree) and is_tree_key(key):
            child = key[: at + 1 + key[at]]
            yield child[at + 1 :]
            there = self.names.set_range(child + b"\xff")  # the first entry after all names below `child`

    def types(self, qname: bytes) -> list[int]:
        """Return the types of the records that clients without a class see at a name. The name must not be the root."""
        found = []
        for prefix in (qname, b"\0" + qname):  # the two forms of keys that `pydns.dns.compiled.question` makes
            there = self._answers.set_range(prefix)
            while there and (key := self._answers.key()).startswith(prefix):
                if is_plain_answer(self._answers.value()):
                    found.append(int.from_bytes(key[-4:-2]))
                there = self._answers.next()
        return found
