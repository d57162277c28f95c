"""Reads the rings of all workers from the state directory, while the workers write."""

import os
import stat
from operator import itemgetter
from pathlib import Path

from pydns.ring import layout
from pydns.ring.queries import Query, queries

_NONE = (0, 0)


class RingError(Exception):
    """No ring can be read. The message of this error has the reason."""


class Rings:
    """The rings in a state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._read: dict[Path, tuple[int, int]] = {}  # file -> its inode, and the position up to which it was read

    def new(self, since: float = 0.0, most_octets: int | None = None) -> list[Query]:
        """Return the queries that workers wrote after the last call. Queries that came before `since` are left out.

        The oldest queries come first. If a worker has written more than its ring can keep, the oldest queries are lost.
        If `most_octets` is given, only the newest octets of each ring are read. Together these are at most
        `most_octets`, but always enough for a record of each ring. Raises `RingError`.
        """
        files = sorted(self._state_dir.glob(layout.FILES))
        found = [
            self._new_of(file, since, None if most_octets is None else most_octets // len(files)) for file in files
        ]
        if not any(each is not None for each in found):
            raise RingError(
                f"{self._state_dir} has no recent queries: pydns isn't running there, or recent_queries_mib is 0"
            )
        queries_of_all = [query for each in found for query in each or ()]
        queries_of_all.sort(key=itemgetter(0))
        return queries_of_all

    def _new_of(self, file: Path, since: float, most_octets: int | None) -> list[Query] | None:
        """Return the queries of one ring, or None if there is no ring."""
        try:
            # The link leads to a descriptor of a process. If that process has ended, the link may lead to any file.
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RingError(f"{file}: {error.strerror}") from None
        try:
            status = os.fstat(descriptor)
            head = layout.parse_head(os.pread(descriptor, layout.HEAD, 0)) if stat.S_ISREG(status.st_mode) else None
            if head is None:
                return None
            inode, read_to = self._read.get(file, _NONE)
            if inode != status.st_ino or read_to > head.written:
                read_to = 0
            first = max(layout.readable_from(head), read_to)
            if most_octets is not None:
                first = max(first, head.written - max(most_octets, layout.MAX_RECORD))
            octets = _copy(descriptor, head.room, first, head.written)
            after = layout.parse_head(os.pread(descriptor, layout.HEAD, 0)) or head
        finally:
            os.close(descriptor)
        self._read[file] = status.st_ino, head.written
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
