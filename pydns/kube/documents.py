"""Reads the documents of a manifest file as plain values with line numbers. This module knows no kinds of objects.

`json_documents` reads texts that consist of JSON objects. `config.yaml_reader` reads all other texts, with its rules
for manifests. These rules apply, too:
1. If a key occurs twice in a mapping, the last value is used, as with kubectl. A warning names the key.
2. Aliases and merge keys of YAML work, but the number of values that they add is limited. Ten nested levels of
   `a: &a [*b, *b, …]` can mean ten billion values.
3. The keys of mappings are always text.
"""

from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

from pydns.config import node, yaml_reader
from pydns.config.node import Node, Scalar
from pydns.kube import json_documents
from pydns.kube.json_documents import JsonValue

Path = tuple[str | int, ...]  # the keys and indexes that lead from the root of a document to a value


class Document(NamedTuple):
    """One document of a text. The value of an empty document is None."""

    number: int  # the number of the document in the text; the first one is 1
    value: Any  # None, a bool, int, float or str, or lists and dicts of such values; the keys of dicts are text
    source: Node | JsonValue  # the parsed text from which `value` was made, for `line_of`
    warnings: "tuple[DocumentMistake, ...]" = ()

    def line_of(self, path: Path) -> int:
        """Return the line of the value at `path`.

        If this value doesn't exist, return the line of the last existing part of `path`. The first line is 1.
        """
        if isinstance(self.source, JsonValue):
            return self.source.line_of(path)
        found, line = self.source, self.source.line
        for step in path:
            child = _child(found, step)
            if child is None:
                break
            found, line = child
        return line


class DocumentMistake(NamedTuple):
    """A mistake in a text, and the numbers of the document and the line with the mistake.

    The first document and the first line have number 1.
    """

    document: int
    line: int
    reason: str


def read(text: str) -> Iterator[Document | DocumentMistake]:
    """Yield the documents of a text in YAML or JSON.

    For a document that breaks a rule, a mistake is yielded instead. After a syntax error, the rest of the text is not
    read, because it isn't known where the next document begins.
    """
    objects = json_documents.read(text)
    if objects is not None:
        yield from map(_json_document, objects, count(1))
        return
    for document in yaml_reader.compose(text, yaml_reader.MANIFESTS):
        if isinstance(document, yaml_reader.Broken):
            # The field `line` already contains the line, so "this line" is left out of the reason.
            reason = f"{document.found} is not {document.wanted}".removeprefix("this line ")
            yield DocumentMistake(document.number, document.line, reason)
            continue
        values = _Values(len(text))
        try:
            value = values.value(document.root)
            warnings = [DocumentMistake(document.number, line, reason) for line, reason in values.warnings]
            yield Document(document.number, value, document.root, tuple(warnings))
        except _Refused as refused:
            yield DocumentMistake(document.number, refused.line, refused.reason)
        except RecursionError:
            yield DocumentMistake(document.number, document.root.line, "is nested too deeply, or contains itself")


def _json_document(found: JsonValue, number: int) -> Document:
    line = found.line_of(())
    reasons = [
        f"key {key!r} occurs twice in one mapping; the last one counts" for key in found.doubled[:_MOST_WARNINGS]
    ]
    return Document(number, found.value, found, tuple([DocumentMistake(number, line, reason) for reason in reasons]))


_MOST_WARNINGS = 100  # maximum number of warnings for a document
_ALIAS_ROOM = 100_000  # the maximum number of values that aliases may add to those in the text


class _Refused(Exception):
    def __init__(self, at: Node, reason: str) -> None:
        self.line = at.line
        self.reason = reason


class _Values:
    """Makes the value of one document. A budget limits how many values the document may contain."""

    def __init__(self, characters: int) -> None:
        self.budget = characters // 2 + _ALIAS_ROOM  # a value in the text takes at least two characters
        self.warnings: list[tuple[int, str]] = []  # pairs of a line and a reason

    def value(self, at: Node) -> Any:
        self.budget -= 1
        if self.budget < 0:
            raise _Refused(at, f"aliases add more than {_ALIAS_ROOM} values")
        if isinstance(at, Scalar):
            return at.value
        if isinstance(at, node.Sequence):
            return [self.value(item) for item in at.items]
        return self.mapping(at)

    def mapping(self, at: node.Mapping) -> dict[str, Any]:
        value: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key, child in at.entries:
            if not isinstance(key, Scalar):
                raise _Refused(key, "a key is not a scalar")
            if key.is_plain and key.text == "<<":
                merged += child.items if isinstance(child, node.Sequence) else [child]
                continue
            if key.text in lines and len(self.warnings) < _MOST_WARNINGS:
                found = f"key {key.text[:80]!r} occurs twice in one mapping, first in line {lines[key.text]}"
                self.warnings.append((key.line, f"{found}; the last one counts"))
            lines[key.text] = key.line
            value[key.text] = self.value(child)
        for source in merged:
            if not isinstance(source, node.Mapping):
                raise _Refused(source, "<<: only mappings can be merged")
            for merged_key, each in self.value(source).items():
                value.setdefault(merged_key, each)
        return value


def _child(at: Node, step: str | int) -> tuple[Node, int] | None:
    """Return the child of a node at `step`, and the line of the child. In a mapping, this is the line of the key."""
    if isinstance(at, node.Mapping):
        for key, value in at.entries:
            if isinstance(key, Scalar) and key.text == step:
                return value, key.line
    elif isinstance(at, node.Sequence) and isinstance(step, int) and step < len(at.items):
        return at.items[step], at.items[step].line
    return None
