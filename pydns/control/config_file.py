"""A file or folder as the source of the live configuration: reads it, watches it, tells what it says.

Knows files and one thread; what texts mean is `config.inputs`. Rules:

1. In a folder the keys are files, as in a mounted ConfigMap. Names that begin with a dot are left out: the kubelet's
   `..data` is where the plain names lead to, and is swapped when the ConfigMap changes.
2. A change counts when two looks in a row agree on it, and nothing changed while it was read: so half-written files,
   the moment between an editor's delete and rename, and half of the old ConfigMap with half of the new don't count. At
   two looks a quarter of a second apart it takes effect within a second.
3. What isn't there means the defaults. What can't be read means nothing: what was read before stays.
4. Watching is by stat, as in `control.manifests`, and costs less: a mounted ConfigMap has few files.
"""

import errno
import os
import stat
import threading
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from pydns.config import inputs
from pydns.config.model import Config
from pydns.config.read import Accepted, Refused
from pydns.control.configuration import Seen
from pydns.control.folder import Signature, signature


class ConfigFile:
    """Delivers what a path says: at once from `start`, and from its own thread whenever it says something else."""

    def __init__(self, path: Path, deliver: Callable[[Seen], None], *, poll_s: float = 0.25) -> None:
        self.name = str(path)
        self._path = path
        self._deliver = deliver
        self._poll_s = poll_s
        self._last_look: _Look | None = None
        self._in_force: _Look | None = None  # the state that was read
        self._said: Seen | None = None
        self._problem: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="config", daemon=True)

    def start(self) -> None:
        """Deliver what is there, unless it can't be read, then watch."""
        self.poll(at_once=True)
        # Its next state could look the same, as a tick of the file system's clock has milliseconds.
        self._in_force = None
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. Nothing is delivered after this has returned."""
        self._stopping.set()
        self._thread.join()

    def problem(self) -> str | None:
        """Return why it can't be read now."""
        return self._problem

    def poll(self, *, at_once: bool = False) -> None:
        """Look once, and deliver what that settles. The thread does this every `poll_s`."""
        try:
            look = _look(self._path)
            settled = at_once or look == self._last_look
            self._last_look = look
            if not settled or look == self._in_force:
                return
            seen = _read(self._path, look)
            if _look(self._path) != look and not at_once:
                return
        except OSError as error:
            self._problem = f"{error.filename or self._path}: {error.strerror}"
            self._in_force = None  # this may pass without a trace in the state, so it is read again
            return
        self._in_force, self._problem = look, None
        if seen != self._said:
            self._said = seen
            self._deliver(seen)

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            self.poll()


def read_path(path: Path) -> Accepted | Refused:
    """Read what there is now. Raises `OSError` if that can't be read or isn't there."""
    look = _look(path)
    if look.form is _Form.ABSENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return _read(path, look).result


class _Form(Enum):
    ABSENT = "absent"
    FILE = "file"
    FOLDER = "folder"


class _Look(NamedTuple):
    """What tells two states of the path apart."""

    form: _Form
    files: dict[str, Signature]


def _look(path: Path) -> _Look:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _Look(_Form.ABSENT, {})
    if not stat.S_ISDIR(status.st_mode):
        if not stat.S_ISREG(status.st_mode):  # reading a FIFO would wait for ever
            raise OSError(errno.EINVAL, "is neither a file nor a folder", str(path))
        return _Look(_Form.FILE, {"": signature(status)})
    files = {}
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue  # gone since, or a link to nothing
            if stat.S_ISREG(status.st_mode):
                files[entry.name] = signature(status)
    return _Look(_Form.FOLDER, files)


def _read(path: Path, look: _Look) -> Seen:
    if look.form is _Form.ABSENT:
        return Seen(Accepted(Config()), exists=False)
    if look.form is _Form.FILE:
        return Seen(inputs.read_file(path.name, _octets(path)))
    return Seen(
        inputs.read_folder({name: _octets(path / name) if name in inputs.KEYS else b"" for name in sorted(look.files)})
    )


def _octets(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(inputs.MAX_OCTETS)
