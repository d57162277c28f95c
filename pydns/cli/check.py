"""The verb `check`: what a configuration would be told if it were put in force, without putting it there."""

from collections.abc import Iterator
from pathlib import Path

from pydns.config import summary
from pydns.config.read import Accepted, Refused
from pydns.control.config_file import read_path


def check(path: Path) -> tuple[bool, Iterator[str]]:
    """Read a file or folder as `--config` does. Return whether it is accepted, and the lines to print.

    Raises `OSError` for what can't be read.
    """
    result = read_path(path)
    return isinstance(result, Accepted), _lines(result)


def _lines(result: Accepted | Refused) -> Iterator[str]:
    if isinstance(result, Refused):
        yield from map(str, result.errors)
        return
    yield from summary.lines(result.config)
    for notice in result.notices:
        yield f"note: {notice}"
