"""The verb `check`: reads a configuration and zone files as `serve` does, and puts them nowhere in force."""

import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from pydns.cli.output import fail, write_lines
from pydns.config import flags, summary
from pydns.config.read import Accepted, Refused, Surroundings
from pydns.config.shapes import Mistakes
from pydns.control.config_file import read_path
from pydns.control.source import SourceError
from pydns.control.zone_folder import ZoneFolder
from pydns.dns import name
from pydns.log import Level, Log


def run(options: Namespace) -> int:
    """Print every mistake and return 1, or print what the configuration changes and return 0."""
    mistakes = Mistakes()
    path = options.file or options.config
    if path is None:
        return fail("check", "FILE is missing; wanted a file, or the folder of a mounted ConfigMap", 2)
    domain = flags.DOMAIN.read(options.domain, mistakes)
    if mistakes:
        return fail("check", mistakes[0], 2)
    try:
        result = read_path(Path(path), Surroundings(domain, os.environ))
        zones = _read_zones(options.zones)
    except OSError as error:
        return fail("check", f"{error.filename or path}: {error.strerror}")
    except SourceError as error:
        return fail("check", error)
    wrong = [mistake for each in zones.status() for mistake in each.mistakes] if zones else []
    if isinstance(result, Refused) or wrong:
        write_lines([*map(str, result.errors if isinstance(result, Refused) else ()), *wrong])
        return 1
    write_lines(_lines(result, domain, zones))
    return 0


def _read_zones(directory: str | None) -> ZoneFolder | None:
    """Return the zone files of a folder, read once. Raises `SourceError`."""
    if directory is None:
        return None
    folder = ZoneFolder(Path(directory), lambda: None, Log(lowest=Level.ERROR))
    folder.check()
    folder.read()
    return folder


def _lines(result: Accepted, domain: bytes, zones: ZoneFolder | None) -> Iterator[str]:
    yield from summary.lines(result.config)
    files = (zones.zones() if zones else None) or {}
    external = result.config.external
    served = [(domain, "the cluster"), *((zone.facts.apex, f"zone file {file}") for file, zone in files.items())]
    served += [(zone.apex, "the external zone") for zone in external if not summary.external_problem(zone, domain)]
    for covered in summary.covered(result.config, served):
        yield f"note: {covered}"
    for zone in external:
        if (problem := summary.external_problem(zone, domain)) is not None:
            yield f"note: external[{name.to_text(zone.apex)}]: {problem}"
    for warning in zones.warnings() if zones else ():
        yield f"note: {warning}"
    for notice in result.notices:
        yield f"note: {notice}"
