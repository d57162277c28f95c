"""Walks down a zone from its apex to a name, for zones with delegations, DNAMEs or wildcards.

`pydns.serve.follow` looks up the records of a name itself. If the table has no records of the type for the name,
`follow` calls this module. This module knows only the tree of names.
"""

from typing import TYPE_CHECKING, NamedTuple

from pydns.dns import name
from pydns.table.layout import NodeKind

if TYPE_CHECKING:
    from pydns.table.reader import Cursor


class Delegation(NamedTuple):
    """The result for a name at or below a cut, for which other servers answer."""

    cut: bytes
    referral: bytes  # the compiled NS RRset, with glue


class Renamed(NamedTuple):
    """The result for a name below a DNAME."""

    owner: bytes


class Wildcard(NamedTuple):
    """The result for a missing name that gets the records of a wildcard (RFC 4592 section 2.2.1)."""

    source: bytes


def descend(names: "Cursor", apex_tree: bytes, tree: bytes) -> Delegation | Renamed | Wildcard | None:
    """Return the delegation, DNAME or wildcard that applies to a name of a zone, or None if none applies.

    The apex and the name are tree keys. The walk takes one or two seeks for each label.
    """
    at = apex_tree
    while True:
        if names.set_key(at):
            kind = names.value()
            if kind[:1] == NodeKind.CUT:
                return Delegation(name.from_tree_key(at), kind[1:])
            if kind == NodeKind.DNAME and at != tree:
                return Renamed(name.from_tree_key(at))
        if at == tree:
            return None
        below = tree[: len(at) + 1 + tree[len(at)]]
        if not _exists(names, below):
            break
        at = below
    # Now `at` is the tree key of the closest encloser (RFC 4592 section 3.3.1).
    source = at + b"\1*"
    if not _exists(names, source):
        return None
    if below != tree and names.key() == source and names.value().startswith(NodeKind.ONE_LABEL):
        return None
    return Wildcard(name.from_tree_key(source))


def _exists(names: "Cursor", tree: bytes) -> bool:
    return names.set_range(tree) and names.key().startswith(tree)
