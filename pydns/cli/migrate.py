"""The verb `migrate`: prints a Corefile as a `config.yaml` with the same meaning."""

import os
import sys
from argparse import Namespace
from pathlib import Path

from pydns.cli.output import fail, write_lines
from pydns.config import yaml_writer
from pydns.config.read import COREDNS_KEY, Refused, Surroundings
from pydns.control.config_file import read_path


def run(options: Namespace) -> int:
    """Print the keys with their Corefile lines. Notes go to standard error. Return 1 if a directive is refused."""
    try:
        result = read_path(Path(options.file), Surroundings(environment=os.environ))
    except OSError as error:
        return fail("migrate", f"{error.filename or options.file}: {error.strerror}")
    if isinstance(result, Refused):
        for mistake in result.errors:
            fail("migrate", mistake)
        return 1
    if result.translated is None:
        return fail(
            "migrate", f"{options.file}: has no Corefile that counts; wanted one, or a ConfigMap or folder with one"
        )
    for notice in result.notices:
        sys.stderr.write(f"note: {notice}\n")
    write_lines(yaml_writer.lines(result.translated, COREDNS_KEY))
    return 0
