"""Writes the output of a verb, or the line that reports why the verb failed.

This module imports no large module, because `serve` uses it.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import Struct


LEFT_OUT = 3  # exit status: the configuration is accepted, but --lenient leaves a part out


class Colour(Enum):
    """A colour for text on a terminal."""

    RED = "31"
    GREEN = "32"
    YELLOW = "33"


def painted(text: str, colour: Colour) -> str:
    """Return the text in a colour, if standard output is a terminal and NO_COLOR isn't set (no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{colour.value}m{text}\x1b[0m"


def encode(value: "Struct") -> str:
    """Return a value as indented JSON."""
    import msgspec  # imported here, because `serve` doesn't need msgspec in this module

    # msgspec's own encoder refuses a file name that isn't UTF-8. So each octet of a file name that isn't UTF-8 is
    # printed as an escape, such as \udcff.
    return json.dumps(msgspec.to_builtins(value), indent=1)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each row. The cells of a column begin below each other. All rows must have the same length."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip()


def write_lines(lines: Iterable[str]) -> bool:
    """Write lines to standard output. Return False if the reader has closed the pipe.

    A reader, such as `head`, may close the pipe early without an error.
    """
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def fail(verb: str, reason: object, status: int = 1) -> int:
    """Write the reason why a verb failed, and return the exit status."""
    sys.stderr.write(f"pydns {verb}: {reason}\n")
    return status
