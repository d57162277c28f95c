"""The verb `check`: reads a configuration as `serve --config` does, and puts it nowhere in force."""

import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from pydns.cli.output import fail, write_lines
from pydns.config import flags, summary
from pydns.config.read import Accepted, Refused, Surroundings
from pydns.config.shapes import Mistakes
from pydns.control.config_file import read_path


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
    except OSError as error:
        return fail("check", f"{error.filename or path}: {error.strerror}")
    write_lines(_lines(result, domain))
    return 0 if isinstance(result, Accepted) else 1


def _lines(result: Accepted | Refused, domain: bytes) -> Iterator[str]:
    if isinstance(result, Refused):
        yield from map(str, result.errors)
        return
    yield from summary.lines(result.config)
    for covered in summary.covered(result.config, domain):
        yield f"note: {covered}"
    for notice in result.notices:
        yield f"note: {notice}"
