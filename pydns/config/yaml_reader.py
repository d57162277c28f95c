"""Parses YAML text to trees of nodes. No other module calls a YAML parser.

There are two sets of rules, for two kinds of text:

| | `CONFIG`: live configuration | `MANIFESTS`: Kubernetes manifests |
| --- | --- | --- |
| plain scalars | YAML 1.2 core schema: `yes` is a text | YAML 1.1, as kubectl: `yes` is true; `1:30` is a text |
| aliases | refused, so a document is never larger than its text | allowed; the caller limits their total size |
| tags | refused | YAML's own scalar tags have an effect; other tags are ignored, as in kubectl |

The two sets share these rules:
1. The parser's events are composed with a stack. PyYAML's own composer uses recursion in C. With that composer, deep
   nesting would crash the process.
2. A document that breaks a rule is reported, and reading continues with the next document. After an error in the
   syntax, reading stops.
3. The cost is linear in the length of the text.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import yaml

from pydns.config import node
from pydns.config.mistakes import quote
from pydns.config.node import Node, Scalar, Value


class Rules(NamedTuple):
    """A set of rules: the allowed features of a document, and the meaning of its scalars."""

    plain: Callable[[str], Value]  # returns the value of a scalar without quotes and tag, or raises `BadScalar`
    tags: Mapping[str, Callable[[str], Value]]  # tag -> function that returns the scalar's value
    other_tags: bool  # whether tags that `tags` lacks are allowed; a scalar with such a tag is a text
    aliases: bool


class BadScalar(Exception):
    """A scalar whose text doesn't fit its type."""

    def __init__(self, text: str, type_name: str) -> None:
        super().__init__(text)
        self.found = quote(text)
        self.wanted = f"of type {type_name}"


class Composed(NamedTuple):
    """One document of a text. The root of an empty document is a null."""

    number: int  # the number of the document in the text, from 1
    root: Node


class Broken(NamedTuple):
    """A document that can't be read. The operator sees the reason: `found` is not `wanted`.

    Lines and documents are numbered from 1.
    """

    number: int
    line: int  # 0 if the line is unknown
    found: str
    wanted: str


def compose(text: str, rules: Rules) -> Iterator[Composed | Broken]:
    """Yield the documents of a text. The text may also be JSON, but without tabs between its tokens."""
    number = 0
    try:
        for document in _documents(yaml.parse(text, Loader=_LOADER), rules):
            yield document
            number = document.number
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        context = f" {error.context}" if error.context else ""
        yield Broken(number + 1, line, "this line", f"YAML: {error.problem}{context}")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        yield Broken(number + 1, line, f"the character U+{error.character:04X}", f"allowed in YAML: {error.reason}")
    except UnicodeEncodeError:  # the text has half a surrogate pair, so it can't be encoded for the parser
        yield Broken(number + 1, 0, "this text", "Unicode")


# The C parser is ten times as fast. PyYAML has only the Python parser if it was built without libyaml.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Refused(Exception):
    def __init__(self, event: yaml.NodeEvent, found: str, wanted: str) -> None:
        super().__init__(found)
        self.line = _line(event)
        self.found = found
        self.wanted = wanted


def _documents(events: Iterator[yaml.Event], rules: Rules) -> Iterator[Composed | Broken]:
    number = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            number += 1
            document: Composed | Broken
            try:
                document = Composed(number, _compose(events, rules))
            except _Refused as refused:
                document = Broken(number, refused.line, refused.found, refused.wanted)
                _skip_document(events)
            yield document


def _skip_document(events: Iterator[yaml.Event]) -> None:
    for event in events:
        if isinstance(event, yaml.DocumentEndEvent):
            return


def _compose(events: Iterator[yaml.Event], rules: Rules) -> Node:
    """Consume the events up to the end of a document, and return the document's tree."""
    root = node.Sequence([], 1)
    open_nodes: list[node.Sequence | node.Mapping] = [root]
    keys: list[Node | None] = [None]  # for each open mapping, the key whose value comes next
    anchors: dict[str, Node] = {}
    for event in events:
        new: Node
        if isinstance(event, yaml.ScalarEvent):
            new = _scalar(event, rules)
        elif isinstance(event, yaml.CollectionStartEvent):
            new = _collection(event, rules)
        elif isinstance(event, yaml.CollectionEndEvent):
            open_nodes.pop()
            keys.pop()
            continue
        elif isinstance(event, yaml.AliasEvent):
            new = _aliased(event, anchors, rules)
        else:  # the end of the document
            break
        parent = open_nodes[-1]
        if isinstance(parent, node.Sequence):
            parent.items.append(new)
        elif (key := keys[-1]) is None:
            keys[-1] = new
        else:
            parent.entries.append((key, new))
            keys[-1] = None
        if isinstance(event, yaml.AliasEvent):
            continue
        if event.anchor:
            anchors[event.anchor] = new
        if not isinstance(new, Scalar):
            open_nodes.append(new)
            keys.append(None)
    return root.items[0]


def _aliased(event: yaml.AliasEvent, anchors: dict[str, Node], rules: Rules) -> Node:
    if not rules.aliases:
        raise _Refused(event, f"the alias *{event.anchor}", "allowed; repeat the value instead")
    if event.anchor not in anchors:
        raise _Refused(event, f"the alias *{event.anchor}", "defined before the alias is used")
    return anchors[event.anchor]


def _scalar(event: yaml.ScalarEvent, rules: Rules) -> Scalar:
    text, tag = event.value, event.tag
    is_plain = not tag and event.implicit[0]
    try:
        if is_plain:
            value = rules.plain(text)
        else:
            value = rules.tags.get(_allowed(event, rules), str)(text) if tag else text
    except BadScalar as error:
        raise _Refused(event, error.found, error.wanted) from None
    return Scalar(value, text, _line(event), is_plain)


def _collection(event: yaml.CollectionStartEvent, rules: Rules) -> node.Sequence | node.Mapping:
    if event.tag:
        _allowed(event, rules)
    kind = node.Sequence if isinstance(event, yaml.SequenceStartEvent) else node.Mapping
    return kind([], _line(event))


def _allowed(event: yaml.ScalarEvent | yaml.CollectionStartEvent, rules: Rules) -> str:
    tag = str(event.tag)
    if tag not in rules.tags and not rules.other_tags:
        raise _Refused(event, f"the tag {quote(tag)}", "supported; leave it out")
    return tag


def _line(event: yaml.NodeEvent) -> int:
    return event.start_mark.line + 1  # type: ignore[union-attr]  # both parsers always set it


def plain_1_2(text: str) -> Value:
    """Return the value of a plain scalar in the core schema of YAML 1.2.2 (section 10.3.2).

    No key accepts an infinity, NaN or an integer of 20 or more digits, so such a scalar is returned as a text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) < 20:
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


_WORDS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile("[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def plain_1_1(text: str) -> Value:
    """Return the value of a plain scalar as kubectl reads it: YAML 1.1, but dates and base-60 numbers are texts."""
    for tag, pattern in _PATTERNS_1_1.get(text[:1], ()):
        if pattern.match(text):
            return _TAGS_1_1[tag](text)
    return text


def _null(_: str) -> None:
    return None


def _bool(text: str) -> bool:
    return text.lower() in ("yes", "true", "on")


def _int(text: str) -> int | float | str:
    """Return the value of an integer. A number of more than 64 bits becomes a float, as in JSON.

    A number with very many digits becomes a text.
    """
    digits = text.replace("_", "")
    if ":" in text or len(digits) > _MOST_DIGITS:
        return text
    bare = digits.lstrip("+-")
    try:
        number = int(digits, 8 if bare.isdigit() and bare.startswith("0") else 0)
    except ValueError:
        raise BadScalar(text, "int") from None
    return number if -(2**63) <= number < 2**64 else float(number)


def _float(text: str) -> float | str:
    if ":" in text:
        return text
    try:
        return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise BadScalar(text, "float") from None


def _binary(text: str) -> str:
    try:
        return base64.b64decode(text).decode(errors="replace")
    except ValueError:
        raise BadScalar(text, "binary") from None


_MOST_DIGITS = 67  # the length of a 64-bit number in base 2, with sign and prefix
_PATTERNS_1_1: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
_YAML = "tag:yaml.org,2002:"
_TAGS_1_1: dict[str, Callable[[str], Value]] = {
    "!": str,
    _YAML + "str": str,
    _YAML + "timestamp": str,
    _YAML + "binary": _binary,
    _YAML + "null": _null,
    _YAML + "bool": _bool,
    _YAML + "int": _int,
    _YAML + "float": _float,
    _YAML + "merge": str,  # the key <<
    _YAML + "value": str,  # a single =, which has a special meaning in YAML 1.1
}

CONFIG = Rules(plain_1_2, {}, other_tags=False, aliases=False)
MANIFESTS = Rules(plain_1_1, _TAGS_1_1, other_tags=True, aliases=True)
