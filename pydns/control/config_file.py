"""A file or folder as the source of the live configuration.

This module reads the file or folder, watches it and delivers its contents. This module knows files. `config.inputs`
knows what the texts mean, and `control.file_watch` knows when a change counts. Rules:

1. In a folder each key is a file, as in a mounted ConfigMap. Names that begin with a dot are ignored. The files of a
   mounted ConfigMap are links that lead through the kubelet's folder `..data`. The kubelet replaces `..data` when the
   ConfigMap changes.
2. A folder takes effect as a whole, and only if nothing changed while it was read. So a mixture of an old and a new
   ConfigMap never takes effect.
3. If the folder has a Corefile, the files in its direct sub-folders are read, too. k3s and AKS mount `coredns-custom`
   as a sub-folder. The Corefile imports the files of sub-folders by their names. If the folder and a sub-folder have
   files of the same name, the folder's file is used.
4. If the path doesn't exist, the defaults apply. If the path can't be read, the contents that were read last stay in
   force.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydns.config import inputs
from pydns.config.model import Config
from pydns.config.read import ANYWHERE, Accepted, Refused, Surroundings
from pydns.control.config_source import Seen, Verdict
from pydns.control.file_watch import LOOK_S, UNSETTLED, FileWatch, Signature, States, signature

_MOST_FOLDERS = 16  # the maximum number of sub-folders that are read
_MOST_ENTRIES = 1000  # a sub-folder with more entries is left out


class ConfigFile:
    """Delivers the contents of a path.

    `start` makes the first delivery, and a thread makes a delivery after each change.
    """

    def __init__(
        self,
        path: Path,
        deliver: Callable[[Seen], None],
        surroundings: Surroundings = ANYWHERE,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        self.name = str(path)
        self._surroundings = surroundings
        self._path = path
        self._deliver = deliver
        self._delivered: Seen | None = None
        self._look_problem: str | None = None
        self._read_problem: str | None = None
        self.watch = FileWatch[_Look](self._look, self._read, thread="config", look_s=look_s)

    def start(self) -> None:
        """Deliver the current contents if they can be read. After that, watch the path."""
        self.watch.read_all()
        self.watch.start()

    def stop(self) -> None:
        """Stop watching. Nothing is delivered after this method has returned."""
        self.watch.stop()

    def problem(self) -> str | None:
        """Return why the path can't be read now, or None if it can be read."""
        return self._look_problem or self._read_problem

    def announce(self, verdict: Verdict) -> None:
        """Do nothing: a file has no place for a verdict. The log and the status show the verdict."""

    def _look(self, before: Mapping[Path, "_Look"]) -> dict[Path, "_Look"]:
        try:
            look = _look(self._path)
        except OSError as error:
            self._look_problem = self._text(error)
            return dict(before)
        self._look_problem = None
        return {self._path: look}

    def _read(self, path: Path) -> "States[_Look]":
        if self._look_problem is not None:  # the path may have become a FIFO, and reading it could take for ever
            return {path: UNSETTLED}
        look = self.watch.looked[path]
        try:
            seen = _read(path, look, self._surroundings)
            # Rule 2. The first contents are delivered even if they are the defaults.
            if _look(path) != look and self._delivered is not None:
                return {path: UNSETTLED}
        except OSError as error:
            self._read_problem = self._text(error)
            return {path: UNSETTLED}
        self._read_problem = None
        if seen != self._delivered:
            self._delivered = seen
            self._deliver(seen)
        return {path: look}

    def _text(self, error: OSError) -> str:
        return f"{error.filename or self._path}: {error.strerror}"


def read_path(path: Path, surroundings: Surroundings = ANYWHERE) -> Accepted | Refused:
    """Return the current contents of a path. Raises `OSError` if the path can't be read or doesn't exist."""
    look = _look(path)
    if look.form is _Form.ABSENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return _read(path, look, surroundings).result


class _Form(Enum):
    ABSENT = "absent"
    FILE = "file"
    FOLDER = "folder"


class _Look(NamedTuple):
    """The state of the path. Two states differ if the contents of the path changed."""

    form: _Form
    # The sorted names of files, with signatures. If the path is a file, the name is empty. In sub-folders, a name is
    # `folder/file`.
    files: tuple[tuple[str, Signature], ...]


def _look(path: Path) -> _Look:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _Look(_Form.ABSENT, ())
    if not stat.S_ISDIR(status.st_mode):
        if not stat.S_ISREG(status.st_mode):  # for example a FIFO: reading it could take for ever
            raise OSError(errno.EINVAL, "is neither a file nor a folder", str(path))
        return _Look(_Form.FILE, (("", signature(status)),))
    files, folders = _list(path)
    if inputs.has_imports(files):
        for folder, found in islice(_sub_folders(path, folders), _MOST_FOLDERS):
            files |= {f"{folder}/{name}": state for name, state in found.items() if inputs.is_import(name)}
    return _Look(_Form.FOLDER, tuple(sorted(files.items())))


def _sub_folders(path: Path, folders: list[str]) -> Iterator[tuple[str, dict[str, Signature]]]:
    """Yield the sub-folders that may be a mounted ConfigMap, with their files.

    Leave out a sub-folder if it is too large, if pydns may not list it, or if it was deleted meanwhile.
    """
    for folder in sorted(folders):
        try:
            files, _ = _list(path / folder, _MOST_ENTRIES)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        if files and sum(each.size for each in files.values()) < inputs.MAX_OCTETS:
            yield folder, files


def _list(path: Path, most: int | None = None) -> tuple[dict[str, Signature], list[str]]:
    """Return the files and the folders in a folder. If the folder has more than `most` entries, return no entry."""
    files: dict[str, Signature] = {}
    folders: list[str] = []
    with os.scandir(path) as entries:
        for number, entry in enumerate(entries, start=1):
            if most is not None and number > most:
                return {}, []
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # the file was deleted meanwhile, or it is a link to a missing file
            if stat.S_ISREG(status.st_mode):
                files[entry.name] = signature(status)
            elif stat.S_ISDIR(status.st_mode):
                folders.append(entry.name)
    return files, folders


def _read(path: Path, look: _Look, surroundings: Surroundings) -> Seen:
    if look.form is _Form.ABSENT:
        return Seen(Accepted(Config()), exists=False)
    if look.form is _Form.FILE:
        return Seen(inputs.read_file(path.name, _octets(path), surroundings))
    names = [name for name, _ in look.files if "/" not in name]
    wanted = inputs.wanted(names)
    files = {name: _octets(path / name) if name in wanted else b"" for name in names}
    for below in [name for name, _ in look.files if "/" in name]:
        name = below.rpartition("/")[2]
        if name not in files:
            try:
                files[name] = _octets(path / below)
            except PermissionError:
                continue  # the Corefile may not need this file, so it is left out
    return Seen(inputs.read_folder(files, surroundings))


def _octets(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(inputs.MAX_OCTETS)
