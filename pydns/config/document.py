"""A configuration text as a tree that knows its lines: what YAML and JSON have in common, before keys have meaning.

Two rules, for both languages:
1. Nothing is guessed: a plain scalar is what YAML 1.2's core schema says (`yes` is text), and no tag or alias is
   followed, so a document is never larger than its text.
2. No text can raise, nor cost more than its length, which is bounded; nothing recurses on YAML.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from pydns.config.mistakes import ConfigError, quote

MAX_TEXT = 1024 * 1024  # characters; the API server refuses ConfigMaps beyond 1 MiB


class Scalar(NamedTuple):
    """A single value, as meant and as written."""

    value: str | int | float | bool | None
    text: str
    line: int  # from 1; 0 where it isn't known


class Sequence(NamedTuple):
    """A list."""

    items: "list[Node]"
    line: int


class Mapping(NamedTuple):
    """Keys and values, in the order of the text, doubles included."""

    entries: "list[tuple[Node, Node]]"
    line: int


Node = Scalar | Sequence | Mapping


def from_yaml(source: str, text: str) -> Node | ConfigError:
    """Parse one YAML document; a text without any is a null. `source` names the text in the error."""
    if too_long := _too_long(source, text):
        return too_long
    try:
        return _compose(source, yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return ConfigError(f"{source}:{line}", "this line", f"YAML: {error.problem}")
    except yaml.reader.ReaderError as error:
        return ConfigError(source, f"the character U+{error.character:04X}", f"allowed in YAML: {error.reason}")
    except UnicodeEncodeError:  # half a surrogate pair, before the parser sees it
        return ConfigError(source, "this text", "Unicode")


def from_json(source: str, text: str) -> Node | ConfigError:
    """Parse a JSON value. `source` names the text in the error."""
    if too_long := _too_long(source, text):
        return too_long
    try:
        return _from_value(json.loads(text, object_pairs_hook=_Pairs))
    except json.JSONDecodeError as error:
        rest = text[error.pos : error.pos + 20]
        place = f"{quote(rest)} in line {error.lineno}, column {error.colno}," if rest else "the end of the text"
        return ConfigError(source, place, f"JSON: {error.msg.lower()}")
    except RecursionError:
        return ConfigError(source, "a value so deeply nested", "allowed")
    except ValueError:  # the interpreter's bound on the digits of a number
        return ConfigError(source, "a number so long", "allowed")


def _too_long(source: str, text: str) -> ConfigError | None:
    if len(text) <= MAX_TEXT:
        return None
    return ConfigError(source, f"a text of {len(text):,} characters", f"within the limit of {MAX_TEXT:,}")


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object; `json` would let the last of two equal keys win."""


def _from_value(value: Any) -> Node:
    if isinstance(value, _Pairs):
        return Mapping([(Scalar(key, key, 0), _from_value(member)) for key, member in value], 0)
    if isinstance(value, list):
        return Sequence([_from_value(item) for item in value], 0)
    return Scalar(value, value if isinstance(value, str) else json.dumps(value), 0)


def _compose(source: str, events: Iterator[yaml.Event]) -> Node | ConfigError:
    """Build the tree with a stack of its own: PyYAML's composer recurses, in C, until the process dies."""
    root = Sequence([], 1)  # of documents
    open_nodes: list[Sequence | Mapping] = [root]
    keys: list[Node | None] = [None]  # per open node: the key that waits for its value
    for event in events:
        node: Node
        line = event.start_mark.line + 1  # type: ignore[union-attr]  # the C parser always has one
        if isinstance(event, yaml.ScalarEvent):
            node = Scalar(_resolve(event.value) if event.implicit[0] else event.value, event.value, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Sequence([], line)
        elif isinstance(event, yaml.MappingStartEvent):
            node = Mapping([], line)
        elif isinstance(event, yaml.AliasEvent):
            return ConfigError(f"{source}:{line}", f"the alias *{event.anchor}", "allowed; write the value out")
        else:
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                open_nodes.pop()
                keys.pop()
            continue
        if event.tag:
            return ConfigError(f"{source}:{line}", f"the tag {quote(event.tag)}", "allowed")
        parent = open_nodes[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif (key := keys[-1]) is None:
            keys[-1] = node
        else:
            parent.entries.append((key, node))
            keys[-1] = None
        if not isinstance(node, Scalar):
            open_nodes.append(node)
            keys.append(None)
    if len(root.items) > 1:
        return ConfigError(f"{source}:{root.items[1].line}", "a second document", "allowed")
    return root.items[0] if root.items else Scalar(None, "", 1)


def _resolve(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) < 20:  # no number of ours needs more
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


# YAML 1.2.2 section 10.3.2. Infinities and NaN are left out: they would be wrong everywhere, and are as text too.
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
