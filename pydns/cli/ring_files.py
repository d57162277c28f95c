"""Reads the rings of all workers from the state directory, while the workers write."""

import os
from operator import itemgetter
from pathlib import Path

from pydns.ring import layout
from pydns.ring.queries import Query, queries

_NONE = (0, 0)


class RingError(Exception):
    """There is no ring that can be read. The message has the reason."""


class Rings:
    """The rings in a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._read: dict[Path, tuple[int, int]] = {}  # file -> its inode, and the position up to which it was read

    def new(self, since: float = 0.0) -> list[Query]:
        """Return the queries that were written after the last call and came at `since` or later, oldest first.

        If a worker has written more than the ring holds, the older queries are lost. Raises `RingError`.
        """
        files = sorted(self._state_dir.glob(layout.FILES))
        if not files:
            raise RingError(
                f"{self._state_dir} has no recent queries: pydns has not been started there, or recent_queries_mib is 0"
            )
        found = [query for file in files for query in self._new_of(file, since)]
        found.sort(key=itemgetter(0))
        return found

    def _new_of(self, file: Path, since: float) -> list[Query]:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:  # the configuration has just changed
            return []
        except OSError as error:
            raise RingError(f"{file}: {error.strerror}") from None
        try:
            inode, read_to = self._read.get(file, _NONE)
            if inode != os.fstat(descriptor).st_ino:
                inode, read_to = os.fstat(descriptor).st_ino, 0
            head = layout.parse_head(os.pread(descriptor, layout.HEAD, 0))
            if head is None:
                return []
            first = max(layout.readable_from(head), read_to)
            octets = _copy(descriptor, head.room, first, head.written)
            after = layout.parse_head(os.pread(descriptor, layout.HEAD, 0)) or head
        finally:
            os.close(descriptor)
        self._read[file] = inode, head.written
        records = layout.parse(octets, head.written, max(first, layout.readable_from(after)))
        return queries(records, head.offset_s, since)


def _copy(descriptor: int, room: int, first: int, end: int) -> bytes:
    """Return the octets of a ring from the position `first` up to `end`."""
    if first >= end:
        return b""
    begin, stop = first % room, end % room
    if begin < stop:
        return os.pread(descriptor, stop - begin, layout.HEAD + begin)
    return os.pread(descriptor, room - begin, layout.HEAD + begin) + os.pread(descriptor, stop, layout.HEAD)
