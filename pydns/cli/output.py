"""Writes what a verb prints, and the one line that says why it failed."""

import os
import sys
from collections.abc import Iterable

from pydns.table.reader import TableError


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output. A reader that closes the pipe early, such as `head`, is no failure."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_table(verb: str, lines: Iterable[str]) -> int:
    """Write lines that are made from the answer table. Return the exit status: 1 if there is no table."""
    try:
        write_lines(lines)
    except TableError as error:
        return fail(verb, error)
    return 0


def fail(verb: str, reason: object, status: int = 1) -> int:
    """Write why a verb failed, and return the exit status."""
    sys.stderr.write(f"pydns {verb}: {reason}\n")
    return status
