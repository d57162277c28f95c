"""The nameservers of a resolv.conf as they are now: asked where the configuration names no upstreams.

Knows one file; what its lines mean is `config.resolvconf`. There is no thread: the controller asks every now and then.
"""

from pathlib import Path

from pydns.config import resolv_conf
from pydns.config.model import ServerSpec
from pydns.log import Level, Log


class ResolvConf:
    """Reads the file again when its state has changed. What can't be read any more stays as it was."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._last_look: _Look | None = None
        self._in_force: tuple[_Look, frozenset[str]] | None = None
        self._upstreams: tuple[ServerSpec, ...] = ()
        self._said: frozenset[str] = frozenset()

    def upstreams(self, own: frozenset[str]) -> tuple[ServerSpec, ...]:
        """Return the nameservers, without our `own` addresses. Each one left out is logged once.

        A changed state counts at the second look that finds it, for who writes the file may not be done.
        """
        look = self._look()
        settled = self._in_force is None or look == self._last_look
        self._last_look = look
        if not settled or self._in_force == (look, own):
            return self._upstreams
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            self._say({f"{self._path}: can't be read: {error.strerror}; keeping {len(self._upstreams)} nameservers"})
        else:
            found = resolv_conf.read(str(self._path), text, own)
            self._upstreams = found.upstreams
            self._say({str(notice) for notice in found.notices})
        self._in_force = look, own
        return self._upstreams

    def _look(self) -> "_Look":
        try:
            status = self._path.stat()
        except OSError as error:
            return (error.errno or 0,)
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def _say(self, notices: set[str]) -> None:
        for notice in sorted(notices - self._said):
            self._log("nameserver notice", level=Level.WARNING, notice=notice)
        self._said = frozenset(notices)


_Look = tuple[int, ...]
