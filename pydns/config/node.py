"""A text as a tree of values that know their lines, before any key has a meaning. Knows neither YAML nor JSON."""

from typing import NamedTuple

Value = str | int | float | bool | None


class ImportedLine(int):
    """A line of another file than the one that is read: a Corefile imports files."""

    file: str

    @classmethod
    def of(cls, file: str, line: int) -> "ImportedLine":
        """Return the line of a file."""
        imported = cls(line)
        imported.file = file
        return imported


class Scalar(NamedTuple):
    """A single value, and the text that it was written as."""

    value: Value
    text: str
    line: int  # from 1; 0 if unknown
    is_plain: bool = False  # YAML: written without quotes and without a tag


class Sequence(NamedTuple):
    """A list."""

    items: "list[Node]"
    line: int


class Mapping(NamedTuple):
    """Keys and values in the order of the text. A key that was written twice is here twice."""

    entries: "list[tuple[Node, Node]]"
    line: int


Node = Scalar | Sequence | Mapping
