"""Defines the tree of the values in a text. Each value has the number of its line.

The tree doesn't know what a key means. This module knows neither YAML nor JSON.
"""

from typing import NamedTuple

Value = str | int | float | bool | None


class ImportedLine(int):
    """The number of a line in a file that a Corefile imports, with the name of the file."""

    file: str

    @classmethod
    def of(cls, file: str, line: int) -> "ImportedLine":
        """Return the line with this number in a file."""
        imported = cls(line)
        imported.file = file
        return imported


class Scalar(NamedTuple):
    """A single value, and the text as written."""

    value: Value
    text: str
    line: int  # the number of the line, from 1; 0 if unknown
    is_plain: bool = False  # whether the value was written without quotes and without a tag in YAML


class Sequence(NamedTuple):
    """A list."""

    items: "list[Node]"
    line: int


class Mapping(NamedTuple):
    """Pairs of keys and values in the order of the text. A key that was written twice has two pairs."""

    entries: "list[tuple[Node, Node]]"
    line: int


Node = Scalar | Sequence | Mapping
