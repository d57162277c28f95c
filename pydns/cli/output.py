"""Writes what a verb prints, and the one line that says why it failed. Imports nothing heavy: `serve` uses it."""

import os
import sys
from collections.abc import Iterable


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output. A reader that closes the pipe early, such as `head`, is no failure."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(verb: str, reason: object, status: int = 1) -> int:
    """Write why a verb failed, and return the exit status."""
    sys.stderr.write(f"pydns {verb}: {reason}\n")
    return status
