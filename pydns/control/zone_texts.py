"""Reads the zones of the configuration.

The configuration contains the texts of zones, and the absolute paths of zone files. The rules are those of
`control.zone_folder`: a zone takes effect as a whole. If a zone has a mistake, its last state without a mistake stays
in force. The controller reads the zones when the configuration or a file has changed. A zone that includes other files
must be in the folder of `--zones`.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from pydns.config.model import ZoneText
from pydns.control.file_watch import Mistakes
from pydns.control.text_file import TextFile
from pydns.control.zone_folder import FileStatus
from pydns.dns import name
from pydns.log import Log
from pydns.zones import zonefile
from pydns.zones.compile import CompiledZone, compile_zone
from pydns.zones.zonefile import Unavailable


class ZoneTexts:
    """The current zones by title, and the mistakes in their texts."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # Zone file, without its text -> the file to read, or None if the configuration contains the text.
        self._files: dict[ZoneText, TextFile | None] = {}
        self._texts: dict[ZoneText, str] = {}  # the text that was read last
        self._zones: dict[Path, CompiledZone] = {}
        self._ready: dict[str, CompiledZone] = {}
        self._mistakes = Mistakes("zone file", log, lambda path: path in self._zones)

    def set_files(self, files: Sequence[ZoneText]) -> None:
        """Serve these zone files from now on, and no other zone files.

        A zone that was served before keeps its last state without a mistake.
        """
        wanted = {msgspec.structs.replace(each, text=None): each.text for each in files}
        for gone in self._files.keys() - wanted.keys():
            self._zones.pop(Path(gone.title), None)
            self._mistakes.forget(Path(gone.title))
            self._texts.pop(gone, None)
        before = self._files
        self._files = {}
        for file, text in wanted.items():
            self._files[file] = None
            if text is None:
                self._files[file] = before.get(file) or TextFile(Path(file.file), zonefile.MAX_OCTETS)
            else:
                self._take(file, text)
        self._make_ready()

    def look(self) -> None:
        """Look at the files with an absolute path, and read those that changed."""
        for file, watched in self._files.items():
            if watched is None:
                continue
            watched.poll()
            if watched.text is not None:
                self._take(file, watched.text)
            else:
                self._texts.pop(file, None)
                self._mistakes.report(Path(file.title), [watched.problem])
        self._make_ready()

    def zones(self) -> dict[str, CompiledZone]:
        """Return a dict from title to zone. Return the same dict until something changes."""
        return self._ready

    def status(self) -> list[FileStatus]:
        """Return the state of each zone file."""
        paths = [Path(file.title) for file in self._files]
        return [FileStatus(str(path), self._zones.get(path), self._mistakes.found.get(path, ())) for path in paths]

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about records that are left out of the zones, and about records that the zones lack."""
        return tuple([each for _, found in sorted(self._mistakes.warnings.items()) for each in found])

    def _make_ready(self) -> None:
        ready = {str(path): zone for path, zone in self._zones.items()}
        if ready != self._ready:
            self._ready = ready

    def _take(self, file: ZoneText, text: str) -> None:
        """Read a text if it changed."""
        if self._texts.get(file) == text:
            return
        self._texts[file] = text
        path = Path(file.title)
        read = zonefile.read(text, file.file, file.zone_text, _no_include)
        if isinstance(read, list):
            self._mistakes.report(path, [str(mistake) for mistake in read])
            return
        if file.zone is not None and read.apex != file.zone:
            mistake = f"{file.file}: its SOA is that of {name.to_text(read.apex)}, not of {name.to_text(file.zone)}"
            self._mistakes.report(path, [mistake])
            return
        self._mistakes.report(path, [], [str(warning) for warning in read.warnings])
        zone = compile_zone(read)
        if file.fallthrough:
            zone = zone._replace(facts=msgspec.structs.replace(zone.facts, falls_through=True))
        self._zones[path] = zone
        self._log("zone changed", file=str(path), serial=zone.serial, records=zone.records)


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise Unavailable("only zone files in the folder of --zones include others")
