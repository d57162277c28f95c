"""Reads and watches a folder of zone files, and keeps the zones ready for the table.

This module knows files. `pydns.zones.zonefile` knows the contents of zone files, and `control.file_watch` decides when
a change takes effect. Rules:

1. Zones are the files `*.zone`, also in sub-folders. Hidden files are ignored. Included files may have any name. The
   path of an included file is relative to the file that includes it. The path must lead to a file inside the folder,
   after all links are followed.
2. A zone takes effect as a whole, together with the files that it includes. If a zone has a mistake, its last state
   without a mistake stays in force. A zone that has had a mistake from the start is left out. A mistake in a zone
   doesn't affect other zones. Each mistake is logged once.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydns.control.clock import Clock
from pydns.control.file_watch import (
    LOOK_S,
    UNSETTLED,
    FileWatch,
    FolderLook,
    Mistakes,
    Progress,
    Signature,
    States,
    cannot_be_read,
    check_folder,
)
from pydns.log import Log
from pydns.process.sources import ZONES
from pydns.zones import zonefile
from pydns.zones.compile import CompiledZone, compile_zone
from pydns.zones.zonefile import Unavailable

_ENDING = ".zone"


class FileStatus(NamedTuple):
    """The state of a zone file."""

    file: str
    zone: CompiledZone | None
    mistakes: tuple[str, ...]


class ZoneFolder:
    """The current zones of a folder.

    The folder's own thread calls `changed` when `zones` or `status` return a new result.
    """

    def __init__(self, directory: Path, changed: Callable[[], None], log: Log, *, look_s: float = LOOK_S) -> None:
        self._directory = directory
        self._changed = changed
        self._log = log
        self._zones: dict[Path, CompiledZone] = {}  # file -> its last zone without a mistake
        self._ready: dict[str, CompiledZone] | None = None  # None until all files were read for the first time
        self._mistakes = Mistakes("zone file", log, lambda path: path in self._zones)
        self._reported = self._zones, self._mistakes.found
        self.watch = FileWatch[Signature](
            # the watch looks at files with any name, because zones can include any file
            FolderLook(directory, ("",), self._mistakes),
            self._read,
            forget=self._forget,
            after_look=self._report_changes,
            is_read=lambda path: path.suffix == _ENDING,
            thread="zones",
            look_s=look_s,
        )

    def check(self) -> None:
        """Raise `SourceError` if the folder can't be listed."""
        check_folder(self._directory, *ZONES)

    def start(self) -> None:
        """Start a thread that reads all zones and then watches the folder.

        Raises `SourceError` if the folder can't be listed.
        """
        self.check()
        self.watch.start(self.read)

    def read(self) -> None:
        """Read all zones that exist. The thread calls this method first."""
        if not self.watch.read_all(Progress(self._directory, self._log, Clock())):
            return
        self._make_ready()
        self._reported = self._zones, self._mistakes.found
        records = sum(zone.records for zone in self._zones.values())
        self._log("zone files read", directory=str(self._directory), zones=len(self._zones), records=records)
        self._changed()

    def stop(self) -> None:
        """Stop watching."""
        self.watch.stop()

    def zones(self) -> dict[str, CompiledZone] | None:
        """Return a dict from file to zone, sorted by file. Return the same dict until a zone changes.

        Returns None until all files were read for the first time. Any thread may call this method.
        """
        return self._ready

    def status(self) -> list[FileStatus]:
        """Return the state of each file. Any thread may call this method: it reads values that are never modified."""
        zones, mistakes = self._zones, self._mistakes.found
        return [
            FileStatus(str(path), zones.get(path), mistakes.get(path, ()))
            for path in sorted(zones.keys() | mistakes.keys())
        ]

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about records that are left out of served zones, and about records that these zones lack.

        Any thread may call this method.
        """
        return tuple([each for _, found in sorted(self._mistakes.warnings.items()) for each in found])

    def _report_changes(self) -> None:
        zones, mistakes = self._reported
        self._reported = self._zones, self._mistakes.found
        if zones is not self._zones:
            self._make_ready()
        if zones is not self._zones or mistakes != self._mistakes.found:
            self._changed()

    def _make_ready(self) -> None:
        self._ready = {str(path): zone for path, zone in sorted(self._zones.items())}

    def _read(self, path: Path) -> States[Signature]:
        """Read a zone. Returns the files on which the zone depends, with their states in the last look."""
        depends: States[Signature] = {path: self.watch.looked.get(path)}

        def include(wanted: str, by: str) -> tuple[str, str]:
            target = Path(os.path.normpath(Path(by).parent / wanted))
            if not target.is_relative_to(self._directory):
                raise Unavailable(f"lies outside of {self._directory}")
            depends[target] = self.watch.looked.get(target)
            if depends[target] is None:
                raise Unavailable("no such file")
            if not target.resolve().is_relative_to(self._directory.resolve()):
                raise Unavailable(f"lies outside of {self._directory}")
            try:
                return str(target), _text(target)
            except OSError as error:
                depends[target] = UNSETTLED
                raise Unavailable(f"can't be read: {error.strerror}") from None

        try:
            read = zonefile.read(_text(path), str(path), path.stem, include)
        except Unavailable as error:
            self._mistakes.report(path, [f"{path}: {error}"])
            return depends
        except OSError as error:
            self._mistakes.report(path, [cannot_be_read(path, error)])
            return {**depends, path: UNSETTLED}
        if isinstance(read, list):
            self._mistakes.report(path, [str(mistake) for mistake in read])
            return depends
        self._mistakes.report(path, [], [str(warning) for warning in read.warnings])
        zone = compile_zone(read)
        if self._zones.get(path) != zone:
            self._zones = {**self._zones, path: zone}
            if self._ready is not None:
                self._log("zone changed", file=str(path), serial=zone.serial, records=zone.records)
        return depends

    def _forget(self, path: Path) -> None:
        self._zones = {key: each for key, each in self._zones.items() if key != path}
        self._mistakes.forget(path)
        self._log("zone file is gone", file=str(path))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        # One octet more than allowed is read, so that `zonefile` detects a file that is too large.
        raw = file.read(zonefile.MAX_OCTETS + 1)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unavailable(f"line {line} is not UTF-8") from None
