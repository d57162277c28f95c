"""Writes a tree of nodes as YAML text in block style. A comment after each key shows the key's line in the source."""

import json
import re
from collections.abc import Iterator

from pydns.config.node import ImportedLine, Mapping, Node, Scalar, Sequence


def lines(root: Mapping, source: str) -> Iterator[str]:
    """Yield the lines of a mapping. Comments show `source`, the name of the text that contains the mapping."""
    if not root.entries:
        yield "{}"
    yield from _mapping(root, source, "", "")


def _mapping(node: Mapping, source: str, indent: str, above: str) -> Iterator[str]:
    """Yield the lines of a mapping. A value has no comment if its place equals `above`, the parent's place."""
    for key, value in node.entries:
        assert isinstance(key, Scalar)
        head = f"{indent}{_scalar(key)}:"
        place = _place(value, source)
        comment = f"  # {place}" if place != above else ""
        if isinstance(value, Scalar):
            yield f"{head} {_scalar(value)}{comment}"
        elif isinstance(value, Sequence) and (items := _inline(value)) is not None:
            yield f"{head} [{items}]{comment}"
        elif isinstance(value, Sequence):
            yield f"{head}{comment}"
            for each in value.items:
                yield from _item(each, source, f"{indent}  ", place)
        elif value.entries:
            yield f"{head}{comment}"
            yield from _mapping(value, source, f"{indent}  ", place)
        else:
            yield f"{head} {{}}{comment}"


def _item(node: Node, source: str, indent: str, above: str) -> Iterator[str]:
    if isinstance(node, Scalar):
        place = _place(node, source)
        yield f"{indent}- {_scalar(node)}{f'  # {place}' if place != above else ''}"
    elif isinstance(node, Mapping) and not node.entries:
        yield f"{indent}- {{}}"
    elif isinstance(node, Mapping):
        first, *rest = _mapping(node, source, f"{indent}  ", above)
        yield f"{indent}- {first.lstrip()}"
        yield from rest


def _inline(node: Sequence) -> str | None:
    """Return the items of a list as one line.

    Return None if an item isn't a scalar, or if the line would be too long.
    """
    scalars = [_scalar(each) for each in node.items if isinstance(each, Scalar)]
    items = ", ".join(scalars)
    return items if len(scalars) == len(node.items) and (len(scalars) < 2 or len(items) <= _LINE) else None


_LINE = 80  # the most characters of a list on one line


def _place(node: Node, source: str) -> str:
    return f"{node.line.file if isinstance(node.line, ImportedLine) else source}:{node.line:d}"


def _scalar(scalar: Scalar) -> str:
    """Return a scalar in a form that keeps its type. A text gets quotes if it could be read as another type."""
    if not isinstance(scalar.value, str):
        return scalar.text
    return scalar.value if _PLAIN.fullmatch(scalar.value) else json.dumps(scalar.value)


_WORDS = "(?i:true|false|yes|no|on|off|null|y|n)"
_PLAIN = re.compile(rf"(?!{_WORDS}$)[A-Za-z][A-Za-z0-9_]*(?:[-./][A-Za-z0-9_]+)*", re.ASCII)
