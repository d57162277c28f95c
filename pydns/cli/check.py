"""The verb `check`: reads a configuration and zone files as `serve` does, but doesn't apply them."""

import os
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from pydns.cli.output import LEFT_OUT, Colour, encode, fail, painted, write_lines
from pydns.config import flags, summary
from pydns.config.read import Accepted, Refused, Surroundings
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.control.config_file import read_path
from pydns.control.source import SourceError
from pydns.control.zone_folder import ZoneFolder
from pydns.control.zone_texts import ZoneTexts
from pydns.dns import name
from pydns.log import Level, Log


def run(options: Namespace) -> int:
    """Print every mistake, and return 1 if there is a mistake.

    If there is no mistake, print the changes to the defaults and return 0. If a part of a Corefile is left out
    (`--lenient`), return 3.
    """
    mistakes = Mistakes()
    path = options.file or options.config
    if path is None:
        return fail("check", "FILE is missing; wanted a file, or the folder of a mounted ConfigMap", 2)
    domain = flags.DOMAIN.read(options.domain, mistakes)
    output = flags.OUTPUT.read(options.output, mistakes)
    lenient = flags.LENIENT.read(options.lenient, mistakes)
    if mistakes:
        return fail("check", mistakes[0], 2)
    try:
        result = read_path(Path(path), Surroundings(domain, os.environ, lenient))
        zones = _read_zones(options.zones)
    except OSError as error:
        return fail("check", f"{error.filename or path}: {error.strerror}")
    except SourceError as error:
        return fail("check", error)
    checked = _checked(result, domain, zones)
    write_lines([encode(checked)] if output is OutputFormat.JSON else _lines(checked))
    if not checked.accepted:
        return 1
    return LEFT_OUT if checked.left_out else 0


class Checked(Struct, frozen=True, kw_only=True):
    """The result of a check, as `-o json` prints it. docs/json.md describes the keys."""

    version: int = 1
    accepted: bool
    mistakes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _read_zones(directory: str | None) -> ZoneFolder | None:
    """Read the zone files of a folder once. Raises `SourceError`."""
    if directory is None:
        return None
    folder = ZoneFolder(Path(directory), lambda: None, Log(lowest=Level.ERROR))
    folder.check()
    folder.read()
    return folder


def _checked(result: Accepted | Refused, domain: bytes, zones: ZoneFolder | None) -> Checked:
    inline = ZoneTexts(Log(lowest=Level.ERROR))
    # files with an absolute path aren't read, because they may be missing on this host
    if isinstance(result, Accepted):
        inline.set_files([each for each in result.config.zone_files if each.text is not None])
    states = (*(zones.status() if zones else ()), *inline.status())
    wrong = [mistake for each in states for mistake in each.mistakes]
    if isinstance(result, Refused) or wrong:
        mistakes = result.errors if isinstance(result, Refused) else ()
        return Checked(accepted=False, mistakes=(*map(str, mistakes), *wrong))
    files = {**((zones.zones() if zones else None) or {}), **inline.zones()}
    config, external = result.config, result.config.external
    served = [(each, "the cluster") for each in (domain, *(each.domain for each in config.domains))]
    served += [(each.domain, f"cluster {cluster.name}") for cluster in config.clusters for each in cluster.domains]
    apexes = [apex for apex, _ in served]
    served += [(zone.facts.apex, f"zone file {file}") for file, zone in files.items()]
    served += [(zone.apex, "the external zone") for zone in external if not summary.external_problem(zone, apexes)]
    problems = [
        f"{name.to_text(apex)}: several domains have this name; only the first one counts"
        for apex, number in Counter(apexes).items()
        if number > 1
    ]
    problems += [
        f"external[{name.to_text(zone.apex)}]: {problem}"
        for zone in external
        if (problem := summary.external_problem(zone, apexes)) is not None
    ]
    problems += [
        f"multicluster: {name.to_text(apex)} {problem}"
        for apex in result.config.multicluster.zones
        if (problem := summary.multicluster_problem(apex, result.config, apexes)) is not None
    ]
    warnings = (*(zones.warnings() if zones else ()), *inline.warnings())
    notes = (*summary.covered(result.config, served), *problems, *warnings, *map(str, result.notices))
    changes = tuple(summary.lines(result.config))
    return Checked(accepted=True, changes=changes, left_out=tuple(map(str, result.left_out)), notes=notes)


def _lines(checked: Checked) -> Iterator[str]:
    yield from (painted(mistake, Colour.RED) for mistake in checked.mistakes)
    yield from checked.changes
    yield from (f"{painted('left out', Colour.RED)}: {each}" for each in checked.left_out)
    yield from (f"{painted('note', Colour.YELLOW)}: {note}" for note in checked.notes)
