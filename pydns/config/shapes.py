"""The shapes that a configuration's values can have: each knows how it is read and how its JSON Schema reads.

This room knows no key by name; `keys` builds the one table from these. Reading collects mistakes and goes on; what it
returns after one is None.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple, Protocol

from pydns.config import node as tree
from pydns.config.mistakes import ConfigError, Wanted, quote
from pydns.config.node import Node, Scalar

MAX_MISTAKES = 100


class TooManyMistakes(Exception):
    """Reading stopped: a text of 1 MiB can hold 500,000 mistakes, and nobody reads them."""


class Mistakes(list[ConfigError]):
    """What was found wrong so far."""

    def add(self, place: "Place", node: Node, found: str, wanted: str) -> None:
        """Note one mistake. Raises `TooManyMistakes` when there is no use in going on."""
        if len(self) == MAX_MISTAKES:
            raise TooManyMistakes
        self.append(ConfigError(place.at_line(node.line), found, wanted))


class Place(NamedTuple):
    """Where in which text a value is."""

    source: str  # empty where the path says it
    path: str = ""

    def at_line(self, line: int) -> str:
        """Return the place as an error gives it, `config.yaml:9: cache.entries`."""
        source = f"{self.source}:{line}" if self.source and line else self.source
        return ": ".join(filter(None, (source, self.path)))

    def key(self, key: str) -> "Place":
        """Return the place of a key of ours inside this one."""
        return self._replace(path=f"{self.path}.{key}" if self.path else key)

    def entry(self, key: str) -> "Place":
        """Return the place of what the operator named `key` inside this one."""
        return self._replace(path=f"{self.path}[{quote(key)}]")

    def item(self, index: int) -> "Place":
        """Return the place of an item of a list."""
        return self._replace(path=f"{self.path}[{index}]")


class Shape(Protocol):
    """What a value must look like."""

    @property
    def wanted(self) -> str:
        """Return what is wanted, to go after "is not"."""
        ...

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Any:
        """Return the value; None if there was a mistake."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the shape as JSON Schema, which may allow more than `read`."""
        ...


class Text(NamedTuple):
    """A text that means something: `parse` returns what, or what was wanted."""

    wanted: str
    parse: Callable[[str], Any]

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Any:
        """Return what the text means; None after a mistake."""
        if not isinstance(node, Scalar) or node.value is None:
            mistakes.add(place, node, found(node), self.wanted)
            return None
        value = self.parse(node.text)
        if isinstance(value, Wanted):
            mistakes.add(place, node, found(node), value.text)
            return None
        if not isinstance(node.value, str):
            mistakes.add(place, node, found(node), f"a text; put quotes around it: {quote(node.text)}")
            return None
        return value

    def schema(self) -> dict[str, Any]:
        """Return that this is a text."""
        return {"type": "string"}


class Whole(NamedTuple):
    """A whole number in a range."""

    low: int
    high: int

    @property
    def wanted(self) -> str:
        """Return the range."""
        return f"a whole number from {self.low} to {self.high}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> int | None:
        """Return the number; None after a mistake."""
        # `true` is an int for Python, not for an operator.
        if isinstance(node, Scalar) and type(node.value) is int and self.low <= node.value <= self.high:
            return node.value
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the range."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Number(NamedTuple):
    """A number in a range, whole or not."""

    low: int
    high: int

    @property
    def wanted(self) -> str:
        """Return the range."""
        return f"a number from {self.low} to {self.high}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> float | None:
        """Return the number; None after a mistake."""
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high:
            return float(value)
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the range."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}


class Share(NamedTuple):
    """A part of a whole."""

    @property
    def wanted(self) -> str:
        """Return the range."""
        return "a number above 0 and up to 1"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> float | None:
        """Return the number; None after a mistake."""
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the range."""
        return {"type": "number", "exclusiveMinimum": 0, "maximum": 1}


class Switch(NamedTuple):
    """On or off."""

    @property
    def wanted(self) -> str:
        """Return both values."""
        return "true or false"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> bool | None:
        """Return the boolean; None after a mistake."""
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return that this is a boolean."""
        return {"type": "boolean"}


class OneOf(NamedTuple):
    """A word out of a closed set."""

    words: type[Enum]

    @property
    def wanted(self) -> str:
        """Return the words."""
        *first, last = [word.value for word in self.words]
        return f"{', '.join(first)} or {last}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Enum | None:
        """Return the member; None after a mistake."""
        if isinstance(node, Scalar):
            for word in self.words:
                if word.value == node.value:
                    return word
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the words."""
        return {"enum": [word.value for word in self.words]}


class ListOf(NamedTuple):
    """A list of one or more, in the order of the text."""

    item: Shape
    what: str  # in the plural

    @property
    def wanted(self) -> str:
        """Return what the list is of."""
        return f"a list of {self.what}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> tuple[Any, ...] | None:
        """Return the items; None after a mistake."""
        if not isinstance(node, tree.Sequence):
            mistakes.add(place, node, found(node), self.wanted)
            return None
        if not node.items:
            mistakes.add(place, node, "an empty list", f"a list of one or more {self.what}")
            return None
        before = len(mistakes)
        items = [self.item.read(item, place.item(index), mistakes) for index, item in enumerate(node.items)]
        return tuple(items) if len(mistakes) == before else None

    def schema(self) -> dict[str, Any]:
        """Return the items' schema in an array's."""
        return {"type": "array", "items": self.item.schema(), "minItems": 1}


class Key(NamedTuple):
    """A row of the table: a key, and what the documentation says about it."""

    name: str
    shape: Shape
    purpose: str
    example: str = ""  # YAML; empty for a record, whose keys have examples
    wrong: str = ""  # YAML that is refused; the documentation shows with which error
    default: str = ""  # in words, where the value itself doesn't say it
    field: str = ""  # of the value, if called differently
    required: bool = False


class Conflict(NamedTuple):
    """A mistake that shows only when several keys are seen together, noted at one of them."""

    key: str
    found: str
    wanted: str


class Record(NamedTuple):
    """A mapping with keys of ours. `make` is called with what was read, by field; its defaults are the keys'."""

    make: Callable[..., Any]
    keys: Sequence[Key]
    what: str
    # Called with what was read, as `make` is, but after mistakes too: None is what was written and could not be read.
    check: Callable[..., Iterable[Conflict]] = lambda **values: ()
    identity: str = ""  # the field that gets the name under which the record stands

    @property
    def wanted(self) -> str:
        """Return what the record is."""
        return self.what

    def read(self, node: Node, place: Place, mistakes: Mistakes, identity: Any = None) -> Any:
        """Return what `make` makes; None after a mistake in it."""
        if not isinstance(node, tree.Mapping):
            mistakes.add(place, node, found(node), self.wanted)
            return None
        before = len(mistakes)
        values: dict[str, Any] = {self.identity: identity} if self.identity else {}
        nodes: dict[str, Node] = {}
        known = {key.name: key for key in self.keys}
        for key_node, value_node in node.entries:
            if not isinstance(key_node, Scalar) or key_node.text not in known:
                mistakes.add(place, key_node, found_key(key_node), f"a key here{_did_you_mean(key_node, known)}")
                continue
            key = known[key_node.text]
            if key.name in nodes:
                mistakes.add(place.key(key.name), key_node, *_double(nodes[key.name]))
                continue
            nodes[key.name] = key_node
            values[field_of(key)] = key.shape.read(value_node, place.key(key.name), mistakes)
        for key in self.keys:
            if key.required and key.name not in nodes:
                mistakes.add(place, node, f"a mapping without {quote(key.name)}", self.what)
        for conflict in self.check(**values):
            mistakes.add(place.key(conflict.key), nodes[conflict.key], conflict.found, conflict.wanted)
        return self.make(**values) if len(mistakes) == before else None

    def schema(self) -> dict[str, Any]:
        """Return the keys with their purposes, defaults and examples."""
        schema: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key.name: self._property(key) for key in self.keys},
        }
        if required := [key.name for key in self.keys if key.required]:
            schema["required"] = required
        return schema

    def default_of(self, key: Key) -> Any:
        """Return the value of the key when it isn't written; `inspect.Parameter.empty` if it must be written."""
        import inspect  # for documentation alone

        return inspect.signature(self.make).parameters[field_of(key)].default

    def _property(self, key: Key) -> dict[str, Any]:
        schema = {"description": key.purpose} | key.shape.schema()
        default = self.default_of(key)
        if isinstance(default, Enum):
            default = default.value
        if isinstance(default, str | int | float) and not key.default:
            schema["default"] = default
        return schema


class MapOf(NamedTuple):
    """A mapping whose keys the operator chooses. A record gets the name as its identity; `pair` joins other values."""

    name: Text
    value: Shape
    what: str
    pair: Callable[[Any, Any], Any] = lambda name, value: (name, value)

    @property
    def wanted(self) -> str:
        """Return what is mapped to what."""
        return self.what

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> tuple[Any, ...] | None:
        """Return the values in the order of the text; None after a mistake."""
        if not isinstance(node, tree.Mapping):
            mistakes.add(place, node, found(node), self.wanted)
            return None
        before = len(mistakes)
        first: dict[Any, Node] = {}
        values = []
        for key_node, value_node in node.entries:
            if not isinstance(key_node, Scalar):
                mistakes.add(place, key_node, found_key(key_node), self.name.wanted)
                continue
            inside = place.entry(key_node.text)
            # A key is a text, whatever else it looks like: `1.168.192.in-addr.arpa`, `10`.
            name = self.name.read(key_node._replace(value=key_node.text), inside, mistakes)
            if name is not None and first.setdefault(name, key_node) is not key_node:
                mistakes.add(inside, key_node, *_double(first[name]))
                continue
            if isinstance(self.value, Record):
                values.append(self.value.read(value_node, inside, mistakes, name))
            else:
                values.append(self.pair(name, self.value.read(value_node, inside, mistakes)))
        return tuple(values) if len(mistakes) == before else None

    def schema(self) -> dict[str, Any]:
        """Return the values' schema under any key."""
        return {"type": "object", "additionalProperties": self.value.schema()}


class TextOrRecord(NamedTuple):
    """A record that can be written as one text if all but one of its keys have their defaults."""

    text: Text
    record: Record

    @property
    def wanted(self) -> str:
        """Return what the text is."""
        return self.text.wanted

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Any:
        """Return the record that either form means; None after a mistake."""
        if isinstance(node, tree.Mapping):
            return self.record.read(node, place, mistakes)
        return self.text.read(node, place, mistakes)

    def schema(self) -> dict[str, Any]:
        """Return both forms."""
        return {"anyOf": [self.text.schema(), self.record.schema()]}


def found(node: Node) -> str:
    """Return what a person would say is there: texts in quotes, as opposed to numbers and the like."""
    if isinstance(node, tree.Sequence):
        return "a list"
    if isinstance(node, tree.Mapping):
        return "a mapping"
    if node.value is None:
        return "an empty value"
    return quote(node.value) if isinstance(node.value, str) else quote(node.text)[1:-1]


def found_key(node: Node) -> str:
    """Return the key as it was written."""
    return quote(node.text) if isinstance(node, Scalar) else found(node)


def suggestion(text: str, known: Iterable[str]) -> str:
    """Return the word that was probably meant, as the end of a sentence."""
    close = difflib.get_close_matches(text, known, n=1)  # looks at long texts only to see that they are too long
    return f"; did you mean {quote(close[0])}?" if close else ""


def field_of(key: Key) -> str:
    """Return the name of the value's field that the key sets."""
    return key.field or key.name


def walk(record: Record, prefix: str = "") -> Iterator[tuple[str, Record, Key]]:
    """Yield every key that can be written, with its path and the record that it is in."""
    for key in record.keys:
        path = prefix + key.name
        yield path, record, key
        shape = key.shape
        if isinstance(shape, MapOf):
            path, shape = f"{path}.NAME", shape.value
        elif isinstance(shape, ListOf):
            path, shape = f"{path}[]", shape.item
        if isinstance(shape, TextOrRecord):
            shape = shape.record
        if isinstance(shape, Record):
            yield from walk(shape, path + ".")


def _did_you_mean(node: Node, known: Iterable[str]) -> str:
    return suggestion(node.text.lower().replace("-", "_"), known) if isinstance(node, Scalar) else ""


def _double(first: Node) -> tuple[str, str]:
    return f"a second value{f' (the first is in line {first.line})' if first.line else ''}", "allowed"
