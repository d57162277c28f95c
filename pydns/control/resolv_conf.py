"""Reads the current nameservers of a resolv.conf.

The nameservers are the upstreams, or the servers of a route that names the file. This module knows one file.
`config.resolv_conf` knows what the lines of the file mean. This module starts no thread. The controller asks for the
nameservers periodically, and each call looks at the file.
"""

from collections.abc import Iterable
from pathlib import Path

from pydns.config import resolv_conf
from pydns.config.model import ServerSpec
from pydns.control.text_file import TextFile
from pydns.log import Level, Log

_MAX_OCTETS = 1024 * 1024


class ResolvConf:
    """Reads the file again when it has changed.

    While the file can't be read, the nameservers that were read last are used.
    """

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self._file = TextFile(path, _MAX_OCTETS)
        self._in_force: tuple[str, frozenset[str]] | None = None  # text and `own` of the last call
        self._upstreams: tuple[ServerSpec, ...] = ()
        self._logged: frozenset[str] = frozenset()

    def upstreams(self, own: frozenset[str]) -> tuple[ServerSpec, ...]:
        """Return the nameservers, without the `own` addresses of this server. Log once why a nameserver is left out."""
        self._file.poll()
        text = self._file.text
        if text is None:
            self._in_force = None
            self._log_new([f"{self._file.problem}; keeping {len(self._upstreams)} nameservers"])
        elif self._in_force != (text, own):
            found = resolv_conf.read(str(self._path), text, own)
            self._in_force = text, own
            self._upstreams = found.upstreams
            self._log_new(str(notice) for notice in found.notices)
        return self._upstreams

    def _log_new(self, notices: Iterable[str]) -> None:
        """Log the notices that the previous call of `upstreams` did not have."""
        found = frozenset(notices)
        for notice in sorted(found - self._logged):
            self._log("nameserver notice", level=Level.WARNING, notice=notice)
        self._logged = found
