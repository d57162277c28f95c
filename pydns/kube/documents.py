"""YAML and JSON text to documents: plain values that know which line they came from. Knows YAML, not Kubernetes.

Rules, where YAML readers differ:
1. A key that stands twice in a mapping is a mistake. PyYAML, like most readers, takes the last one silently.
2. Aliases and merge keys work, but may add only so many values: `a: &a [*b, *b, …]` ten deep is ten billion.
3. Plain scalars read as kubectl reads them: dates stay text, and so does `2001:10:20:30:40:50:10:20`, which YAML 1.1
   takes for a number to the base of 60. Keys are always text.
4. Tags beyond YAML's own scalars are a mistake.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]  # keys and indexes, from a document's root inwards


class Document(NamedTuple):
    """One document of a text. An empty one has the value None."""

    number: int  # from 1
    value: Any  # None, bool, int, float, str, lists and dicts with text keys
    node: yaml.Node  # what `value` was made of; `line_of` reads it

    def line_of(self, path: Path) -> int:
        """Return the line, from 1, of what `path` leads to, or of the last part of `path` that is there."""
        node, line = self.node, self.node.start_mark.line
        for step in path:
            found = _step(node, step)
            if found is None:
                break
            node, line = found
        return line + 1


class Mistake(NamedTuple):
    """What is wrong with a text, and where. Lines and documents count from 1."""

    document: int
    line: int
    reason: str


def read(text: str) -> Iterator[Document | Mistake]:
    """Yield the documents of a text in YAML, or in JSON, which is YAML but for tabs between its tokens.

    A document that breaks a rule above gives a mistake in its place; broken syntax ends the text with a mistake,
    as nobody can say where the next document would begin.
    """
    number = 0
    try:
        for number, node in enumerate(yaml.compose_all(text, Loader=_LOADER), start=1):
            try:
                yield Document(number, _Reading(len(text)).value(node), node)
            except _Refused as refused:
                yield Mistake(number, refused.line, refused.reason)
            except RecursionError:
                yield Mistake(number, node.start_mark.line + 1, _TOO_DEEP)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        context = f" {error.context}" if error.context else ""
        yield Mistake(number + 1, line, f"is not YAML: {error.problem}{context}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        yield Mistake(number + 1, line, f"is not YAML: {error.reason}")
    except RecursionError:  # from PyYAML's own parser; libyaml has a limit
        yield Mistake(number + 1, 1, _TOO_DEEP)


# The C parser is ten times as fast; a PyYAML built without libyaml has only the other.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALIAS_ROOM = 100_000  # values that aliases may add to what is written
_TOO_DEEP = "is nested too deeply, or holds itself"
_TAG = "tag:yaml.org,2002:"


class _Refused(Exception):
    def __init__(self, node: yaml.Node, reason: str) -> None:
        self.line = node.start_mark.line + 1
        self.reason = reason


class _Reading:
    """Makes the value of one document, within a budget of values."""

    def __init__(self, characters: int) -> None:
        self.budget = characters // 2 + _ALIAS_ROOM  # what is written takes two characters a value or more

    def value(self, node: yaml.Node) -> Any:
        self.budget -= 1
        if self.budget < 0:
            raise _Refused(node, f"aliases add more than {_ALIAS_ROOM} values")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item) for item in node.value]
        try:
            return _SCALARS[node.tag.removeprefix(_TAG)](node.value)
        except KeyError:
            raise _Refused(node, f"tag {node.tag} is not supported") from None
        except ValueError:
            raise _Refused(node, f"{node.value[:80]!r} is not of type {node.tag.removeprefix(_TAG)}") from None

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        value: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused(key_node, "a key is not a scalar")
            key = key_node.value
            if key in lines:
                raise _Refused(key_node, f"key {key!r} stands twice in one mapping, first in line {lines[key]}")
            lines[key] = key_node.start_mark.line + 1
            if key_node.tag == _TAG + "merge":
                merged = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            else:
                value[key] = self.value(value_node)
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                raise _Refused(source, "<<: only mappings can be merged")
            value = {**self.value(source), **value}
        return value


def _step(node: yaml.Node, step: str | int) -> tuple[yaml.Node, int] | None:
    children: Sequence[Any] = node.value
    if isinstance(node, yaml.MappingNode):
        for key, value in children:
            if key.value == step:
                return value, key.start_mark.line
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(children):
        return children[step], children[step].start_mark.line
    return None


def _int(text: str) -> int | str:
    if ":" in text:
        return text
    digits = text.replace("_", "")
    bare = digits.lstrip("+-")
    return int(digits, 8 if bare.isdigit() and bare.startswith("0") else 0)


def _float(text: str) -> float | str:
    if ":" in text:
        return text
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "timestamp": str,  # rule 3
    "null": lambda text: None,
    "bool": lambda text: text.lower() in ("yes", "true", "on"),
    "int": _int,
    "float": _float,
    "merge": str,  # a << that stands for a value
    "value": str,  # a lone =, which YAML 1.1 thought special
}
