"""The entries of client names in the table (`pydns.table.client_names`), made from objects of the first cluster. Pure.

An entry belongs to one object, and the object has it ready. So nothing is compiled, and no published state is kept: an
entry that changed is written, and that is all.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from pydns.kube.objects import EndpointSlice, Object
from pydns.kube.producer import Change
from pydns.table.client_names import MAX_KEY, slice_key
from pydns.table.layout import Changes, Contents

_PIECE = 200  # entries


class ClientEntries:
    """The entries that changed since the last commit."""

    def __init__(self) -> None:
        self._changed: dict[bytes, bytes | None] = {}

    def __bool__(self) -> bool:
        """Return whether an entry changed."""
        return bool(self._changed)

    def note(self, change: Change) -> None:
        """Process a changed object."""
        before, after = map(_entry, change)
        if before != after:
            if before is not None and (after is None or before[0] != after[0]):
                self._changed[before[0]] = None
            if after is not None:
                self._changed[after[0]] = after[1]

    def flush(self, changes: Changes, most: int | None) -> None:
        """Move the changed entries to `changes`, at most `most`."""
        for key in list(islice(self._changed, most)):
            changes.names[key] = self._changed.pop(key)

    def contents(self, objects: Iterable[Object]) -> Iterator[Contents]:
        """Yield the entries of all objects, in pieces. They count as published."""
        self._changed.clear()
        entries = filter(None, map(_entry, objects))
        while names := dict(islice(entries, _PIECE)):
            yield Contents({}, names)


def _entry(value: Object | None) -> tuple[bytes, bytes] | None:
    """Return the key and value of an object's entry, or None if it has none."""
    if not isinstance(value, EndpointSlice) or not value.clients:
        return None
    key = slice_key(value.namespace, value.name)
    return (key, value.clients) if len(key) <= MAX_KEY else None
