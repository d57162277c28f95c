"""Decides which entries of a cluster the writer keeps after a restart, until the cluster has been listed again."""

from collections.abc import Sequence

from pydns.dns import name
from pydns.dns.compiled import decompile
from pydns.dns.rrset import PTR
from pydns.table.client_classes import question_of
from pydns.table.layout import is_tree_key, origin_of

_PTR = PTR.to_bytes(2) + b"\0\1"


class Kept:
    """The kept entries: those of some zones, and the reverse names whose PTR targets are in these zones."""

    def __init__(self, apexes: Sequence[bytes]) -> None:
        self._apexes = tuple(apexes)
        self._trees = tuple([name.tree_key(apex) for apex in apexes])
        self._reverse: set[bytes] = set()  # tree keys of the reverse names that the writer keeps

    def __bool__(self) -> bool:
        """Return whether the writer keeps any entry."""
        return bool(self._apexes)

    def keeps_answer(self, key: bytes, value: bytes) -> bool:
        """Return whether the writer keeps the answer `value` to the question `key`.

        The caller must check all answers before it checks the first name.
        """
        if self._is_inside(key):
            return True
        if not key.endswith(_PTR):
            return False
        targets = decompile(key, value)[0].rdatas
        if any(name.is_at_or_below(target, apex) for target in targets for apex in self._apexes):
            self._reverse.add(name.tree_key(_owner(key)))
            return True
        return False

    def keeps_name(self, tree: bytes, value: bytes) -> bool:
        """Return whether the writer keeps an entry of `names`: a name, an explanation, or an answer for a class."""
        tree = origin_of(tree)
        if is_tree_key(tree):
            return tree.startswith(self._trees) or tree in self._reverse
        question = question_of(tree)
        return question is not None and self._is_inside(question)

    def _is_inside(self, question: bytes) -> bool:
        owner = _owner(question)
        return any(name.is_at_or_below(owner, apex) for apex in self._apexes)


def _owner(question: bytes) -> bytes:
    return question[:-4].removeprefix(b"\0") or name.ROOT
