"""A folder of zone files: reads it, watches it, has the zones ready for the table.

Knows files and one thread; what the files say is `pydns.zones.zonefile`'s business. Rules:

1. Zones are `*.zone`, also in sub-folders, but no hidden files. What they include may have any name; it is looked for
   beside the file that includes it, and must lie in the folder, links followed.
2. A zone counts as a whole, with what it includes. One with a mistake stays as it last was without; before that, it is
   left out. The others go on. Each mistake is logged once, and once that the file is right again.
3. A change counts when two looks in a row agree on it, and watching is by stat: as for manifests.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydns.control.folder import UNSETTLED, Signature, SourceError, scan
from pydns.log import Level, Log
from pydns.zones import zonefile
from pydns.zones.compile import CompiledZone, compile_zone
from pydns.zones.zonefile import Mistake, Unavailable

_ENDING = ".zone"
_MOST_LOGGED = 20  # mistakes of one file

States = dict[Path, Signature | None]  # of a zone file and what it includes; None: not there


class FileStatus(NamedTuple):
    """How a zone file does."""

    file: str
    zone: CompiledZone | None
    mistakes: list[Mistake]


class ZoneFolder:
    """The zones of a folder: those there are at `start`, and from then on as they change.

    `changed` is called, by the folder's own thread, when `zones` or `status` return something else than before.
    """

    def __init__(self, directory: Path, changed: Callable[[], None], log: Log, *, poll_s: float = 0.25) -> None:
        self._directory = directory
        self._changed = changed
        self._log = log
        self._poll_s = poll_s
        self._last_look: dict[Path, Signature] = {}
        self._in_force: dict[Path, States] = {}
        self._zones: dict[Path, CompiledZone] = {}  # as of when the file was last without mistakes
        self._mistakes: dict[Path, list[Mistake]] = {}  # by file, and by folder that can't be listed
        self._ready: dict[str, CompiledZone] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="zones", daemon=True)

    def start(self) -> None:
        """Read what is there, then watch. Raises `SourceError` if the folder can't be listed."""
        try:
            os.scandir(self._directory).close()
        except OSError as error:
            wanted = f"wanted a folder with *{_ENDING} files"
            raise SourceError(f"--zones {self._directory}: {error.strerror}; {wanted}") from None
        self._last_look = self._look()
        for path in self._zone_files():
            # Of what has just been written, the next state could look the same.
            self._in_force[path] = dict.fromkeys(self._read(path), UNSETTLED)
        self._ready = {str(path): zone for path, zone in sorted(self._zones.items())}
        self._log(
            "zone files read",
            directory=str(self._directory),
            zones=len(self._zones),
            records=sum(zone.records for zone in self._zones.values()),
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def zones(self) -> dict[str, CompiledZone]:
        """Return the zones by file, in order; the same dict until something changes. Any thread may ask."""
        return self._ready

    def status(self) -> list[FileStatus]:
        """Return how the files do. Any thread may ask: what is read here is replaced, never changed."""
        zones, mistakes = self._zones, self._mistakes
        return [
            FileStatus(str(path), zones.get(path), mistakes.get(path, []))
            for path in sorted(zones.keys() | mistakes.keys())
        ]

    def poll(self) -> None:
        """Look once, and take up what that settles. The folder's thread does this every `poll_s`."""
        zones, mistakes = self._zones, self._mistakes
        previous, self._last_look = self._last_look, self._look()
        for path in sorted({*self._zone_files(), *self._in_force}):
            known = self._in_force.get(path, {path: None})
            now: States = {each: self._last_look.get(each) for each in known}
            if now == known or now != {each: previous.get(each) for each in known}:
                continue  # nothing new, or rule 3
            if now[path] is not None:
                self._in_force[path] = self._read(path)
            else:
                del self._in_force[path]
                self._zones = {key: each for key, each in self._zones.items() if key != path}
                self._mistakes = {key: each for key, each in self._mistakes.items() if key != path}
                self._log("zone file is gone", file=str(path))
        if zones is not self._zones:
            self._ready = {str(path): zone for path, zone in sorted(self._zones.items())}
        if zones is not self._zones or mistakes != self._mistakes:
            self._changed()

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            self.poll()

    def _look(self) -> dict[Path, Signature]:
        """Return the files that are there. What lies below a folder that can't be listed is as it was."""
        found: dict[Path, Signature] = {}
        failed = dict(scan(self._directory, ("",), found))
        for path, signature in self._last_look.items():
            if not failed.keys().isdisjoint(path.parents):
                found.setdefault(path, signature)
        for folder in [each for each in self._mistakes if each not in failed and each.suffix != _ENDING]:
            self._report(folder, [])
        for folder, error in failed.items():
            self._report(folder, [Mistake(str(folder), 0, f"can't be read: {error.strerror}")])
        return found

    def _zone_files(self) -> list[Path]:
        return sorted(path for path in self._last_look if path.suffix == _ENDING)

    def _read(self, path: Path) -> States:
        """Read a zone, and return what of the folder it depends on, in the state of the last look."""
        depends: States = {path: self._last_look.get(path)}

        def include(wanted: str, by: str) -> tuple[str, str]:
            target = Path(os.path.normpath(Path(by).parent / wanted))
            if not target.is_relative_to(self._directory):
                raise Unavailable(f"lies outside of {self._directory}")
            depends[target] = self._last_look.get(target)
            if depends[target] is None:
                raise Unavailable("no such file")
            if not target.resolve().is_relative_to(self._directory.resolve()):
                raise Unavailable(f"lies outside of {self._directory}")
            try:
                return str(target), _text(target)
            except OSError as error:
                depends[target] = UNSETTLED  # this may pass without a trace, so it is tried again at every look
                raise Unavailable(f"can't be read: {error.strerror}") from None

        try:
            read = zonefile.read(_text(path), str(path), path.stem, include)
        except Unavailable as error:
            read = [Mistake(str(path), 0, str(error))]
        except OSError as error:
            depends[path] = UNSETTLED
            read = [Mistake(str(path), 0, f"can't be read: {error.strerror}")]
        if isinstance(read, list):
            self._report(path, read)
            return depends
        self._report(path, [])
        zone = compile_zone(read)
        if self._zones.get(path) != zone:
            self._zones = {**self._zones, path: zone}
            if self._thread.ident is not None:
                self._log("zone changed", file=str(path), serial=zone.serial, records=zone.records)
        return depends

    def _report(self, path: Path, mistakes: list[Mistake]) -> None:
        before = self._mistakes.get(path, [])
        new = [mistake for mistake in mistakes if mistake not in before]
        action = "keeping its last good state" if path in self._zones else "left out until it is right"
        for mistake in new[:_MOST_LOGGED]:
            self._log("zone file has a mistake", level=Level.WARNING, problem=str(mistake), action=action)
        if len(new) > _MOST_LOGGED:
            more = len(new) - _MOST_LOGGED
            self._log("zone file has more mistakes", level=Level.WARNING, file=str(path), more=more)
        if before and not mistakes:
            self._log("zone file is right again", file=str(path))
        others = {key: each for key, each in self._mistakes.items() if key != path}
        self._mistakes = {**others, path: mistakes} if mistakes else others


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(zonefile.MAX_OCTETS + 1)  # more than is allowed is noticed there
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Unavailable(f"line {line} is not UTF-8") from None
