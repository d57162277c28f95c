"""Reads a text file again after each change. The caller polls the file, so no thread is needed."""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pydns.control.file_watch import UNSETTLED, FileWatch, Signature, States, cannot_be_read, signature

_State = Signature | int  # the state of the file, or the errno of a failed stat


class TextFile:
    """A text file. `control.file_watch` decides when a change takes effect."""

    def __init__(self, path: Path, max_octets: int) -> None:
        self.text: str | None = None  # the text of the file, or None if the file can't be read
        self.problem = ""  # why the file can't be read
        self._path = path
        self._max_octets = max_octets
        self._watch = FileWatch[_State](self._look, self._read)
        self._is_read = False

    def poll(self) -> None:
        """Look at the file, and read it if it has changed. The first call always reads the file."""
        if self._is_read:
            self._watch.poll()
        else:
            self._watch.read_all()
            self._is_read = True

    def _look(self, before: Mapping[Path, _State]) -> dict[Path, _State]:
        try:
            return {self._path: signature(self._path.stat())}
        except OSError as error:
            return {self._path: error.errno or 0}

    def _read(self, path: Path) -> States[_State]:
        try:
            # Only regular files are read, because the reader of a FIFO could wait for ever. /dev/null counts as an
            # empty file.
            if not stat.S_ISREG(path.stat().st_mode) and path != Path(os.devnull):
                raise OSError(errno.EINVAL, "is not a file", str(path))
            with path.open("rb") as file:
                raw = file.read(self._max_octets + 1)
        except OSError as error:
            self.text, self.problem = None, cannot_be_read(path, error)
            return {path: UNSETTLED}
        if len(raw) > self._max_octets:
            self.text, self.problem = None, f"{path}: can't be read: it has more than {self._max_octets:,} octets"
        else:
            self.text, self.problem = raw.decode(errors="replace"), ""
        return {path: self._watch.looked[path]}
