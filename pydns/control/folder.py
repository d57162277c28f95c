"""A folder that is watched: which files lie in it, and in what state. Knows nothing of what is in them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class SourceError(Exception):
    """The folder can't be a source at all; the message is for the one who started us."""


class Signature(NamedTuple):
    """What tells two states of a file apart. The change time is there for who sets the others back (`cp -p`)."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


# Of a file that is to be read again: it couldn't be read, or it was read at once, at start, and its next state could
# look the same, as a tick of the file system's clock has milliseconds.
UNSETTLED = Signature(0, 0, 0, 0, 0)


def signature(status: os.stat_result) -> Signature:
    """Return a file's."""
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def scan(folder: Path, endings: tuple[str, ...], found: dict[Path, Signature]) -> Iterator[tuple[Path, OSError]]:
    """Put what lies in and below `folder` into `found`; yield the folders that can't be read, and why.

    Names that begin with a dot are left out: editors' own files, and the `..data` of a mounted ConfigMap, whose files
    are found by their plain names.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = folder / entry.name
                if entry.is_dir(follow_symlinks=False):  # a link could lead in a circle
                    yield from scan(path, endings, found)
                elif entry.name.endswith(endings):
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue  # gone since, or a link to nothing
                    if stat.S_ISREG(status.st_mode):
                        found[path] = signature(status)
    except OSError as error:
        yield folder, error
