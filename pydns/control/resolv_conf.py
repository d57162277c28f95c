"""The current nameservers of a resolv.conf. They are the upstreams, or the servers of a route that names the file.

This module knows one file. `config.resolv_conf` knows what its lines mean. The module has no thread. The controller
asks for the nameservers periodically, and each call looks at the file.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydns.config import resolv_conf
from pydns.config.model import ServerSpec
from pydns.control.file_watch import UNSETTLED, FileWatch, Signature, States, cannot_be_read, signature
from pydns.log import Level, Log

_State = Signature | int  # an int is the errno of a failed stat


class ResolvConf:
    """Reads the file again when it has changed. While the file can't be read, the last nameservers stay in force."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._watch = FileWatch[_State](self._look, self._read)
        self._is_read = False
        self._text: str | None = None  # None: the file can't be read
        self._in_force: tuple[str | None, frozenset[str]] | None = None  # the text and own addresses used last
        self._upstreams: tuple[ServerSpec, ...] = ()
        self._logged: frozenset[str] = frozenset()

    def upstreams(self, own: frozenset[str]) -> tuple[ServerSpec, ...]:
        """Return the nameservers, without the `own` addresses of this server. Log each omitted nameserver once."""
        if self._is_read:
            self._watch.poll()
        else:
            self._watch.read_all()
            self._is_read = True
        if self._text is not None and self._in_force != (self._text, own):
            found = resolv_conf.read(str(self._path), self._text, own)
            self._in_force = self._text, own
            self._upstreams = found.upstreams
            self._log_new(str(notice) for notice in found.notices)
        return self._upstreams

    def _look(self, before: Mapping[Path, _State]) -> dict[Path, _State]:
        try:
            return {self._path: signature(self._path.stat())}
        except OSError as error:
            return {self._path: error.errno or 0}

    def _read(self, path: Path) -> States[_State]:
        try:
            self._text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            self._text = self._in_force = None
            self._log_new([f"{cannot_be_read(path, error)}; keeping {len(self._upstreams)} nameservers"])
            return {path: UNSETTLED}
        return {path: self._watch.looked[path]}

    def _log_new(self, notices: Iterable[str]) -> None:
        """Log the notices that the previous call did not contain."""
        found = frozenset(notices)
        for notice in sorted(found - self._logged):
            self._log("nameserver notice", level=Level.WARNING, notice=notice)
        self._logged = found
