"""The verb `migrate`: prints a Corefile as a `config.yaml` with the same meaning."""

import os
import sys
from argparse import Namespace
from pathlib import Path

from pydns.cli.output import LEFT_OUT, fail, write_lines
from pydns.config import flags, yaml_writer
from pydns.config.read import COREDNS_KEY, Refused, Surroundings
from pydns.config.shapes import Mistakes
from pydns.control.config_file import read_path


def run(options: Namespace) -> int:
    """Print the keys of the config.yaml, each with its line of the Corefile. Print notes on standard error.

    Return 1 if a directive is refused, and 3 if a directive is left out (`--lenient`).
    """
    mistakes = Mistakes()
    lenient = flags.LENIENT.read(options.lenient, mistakes)
    if mistakes:
        return fail("migrate", mistakes[0], 2)
    try:
        result = read_path(Path(options.file), Surroundings(environment=os.environ, lenient=lenient))
    except OSError as error:
        return fail("migrate", f"{error.filename or options.file}: {error.strerror}")
    if isinstance(result, Refused):
        for mistake in result.errors:
            fail("migrate", mistake)
        return 1
    if result.translated is None:
        return fail(
            "migrate",
            f"{options.file}: has no Corefile that is used; wanted a Corefile, or a ConfigMap or folder with one",
        )
    for each in result.left_out:
        sys.stderr.write(f"left out: {each}\n")
    for notice in result.notices:
        sys.stderr.write(f"note: {notice}\n")
    write_lines(yaml_writer.lines(result.translated, COREDNS_KEY))
    return LEFT_OUT if result.left_out else 0
