"""The shapes of configuration values. A shape can read a value, and can describe itself as JSON Schema.

The shapes don't know the names of keys and flags. `keys` and `flags` are tables that use these shapes. If a value has a
mistake, the shape records the mistake and returns None. Then reading continues. This module imports no large module.
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
    """Reading stopped after `MAX_MISTAKES`. A text of 1 MiB can contain 500,000 mistakes, and nobody reads so many."""


class Mistakes(list[ConfigError]):
    """A list of the mistakes that were found so far."""

    def add(self, place: "Place", node: Node, found: str, wanted: str) -> None:
        """Add a mistake to the list. Raises `TooManyMistakes` if the list already has `MAX_MISTAKES`."""
        if len(self) == MAX_MISTAKES:
            raise TooManyMistakes
        self.append(ConfigError(place.at_line(node.line), found, wanted))


class Place(NamedTuple):
    """The place of a value: the text that contains the value, and the path within the text."""

    source: str  # the name of the text; empty if the path already includes the name
    path: str = ""

    def at_line(self, line: int) -> str:
        """Return the place as an error shows it: `config.yaml:9: cache.entries`."""
        source = line.file if isinstance(line, tree.ImportedLine) else self.source
        source = f"{source}:{line:d}" if source and line else source
        return ": ".join(filter(None, (source, self.path)))

    def key(self, key: str) -> "Place":
        """Return the place of a known key in this mapping."""
        return self._replace(path=f"{self.path}.{key}" if self.path else key)

    def entry(self, key: str) -> "Place":
        """Return the place of a key, such as a domain, that the operator has chosen in this mapping."""
        return self._replace(path=f"{self.path}[{quote(key)}]")

    def item(self, index: int) -> "Place":
        """Return the place of an item of this list."""
        return self._replace(path=f"{self.path}[{index}]")


class Shape(Protocol):
    """The shape of a value."""

    @property
    def wanted(self) -> str:
        """Return a description of the shape. The description follows "is not" in an error."""
        ...

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Any:
        """Return the value that a node contains. Return None if the value has a mistake."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the shape as JSON Schema. The schema may accept values that `read` refuses."""
        ...


class Text(NamedTuple):
    """A text that is parsed to a value. `parse` returns the value, or a `Wanted` for a wrong text."""

    wanted: str
    parse: Callable[[str], Any]

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Any:
        """Return the value of the text. Return None if the text has a mistake."""
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
        """Return the JSON type of the value."""
        return {"type": "string"}


class Whole(NamedTuple):
    """A whole number in a range."""

    low: int
    high: int

    @property
    def wanted(self) -> str:
        """Return the allowed range."""
        return f"a whole number from {self.low} to {self.high}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> int | None:
        """Return the number. Return None after a mistake."""
        # In Python, `true` is also an int. For an operator, `true` is not a number.
        if isinstance(node, Scalar) and type(node.value) is int and self.low <= node.value <= self.high:
            return node.value
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the allowed range."""
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


class Number(NamedTuple):
    """A number in a range. The number may have a fraction."""

    low: int
    high: int

    @property
    def wanted(self) -> str:
        """Return the allowed range."""
        return f"a number from {self.low} to {self.high}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> float | None:
        """Return the number. Return None after a mistake."""
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high:
            return float(value)
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the allowed range."""
        return {"type": "number", "minimum": self.low, "maximum": self.high}


class Share(NamedTuple):
    """A part of a whole, as a number from 0 to 1."""

    @property
    def wanted(self) -> str:
        """Return the allowed range."""
        return "a number above 0 and up to 1"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> float | None:
        """Return the number. Return None after a mistake."""
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the allowed range."""
        return {"type": "number", "exclusiveMinimum": 0, "maximum": 1}


class Switch(NamedTuple):
    """A value that is true or false."""

    @property
    def wanted(self) -> str:
        """Return a description of the two values."""
        return "true or false"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> bool | None:
        """Return the boolean. Return None after a mistake."""
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the JSON type of the value."""
        return {"type": "boolean"}


class OneOf(NamedTuple):
    """One word from a fixed set."""

    words: type[Enum]

    @property
    def wanted(self) -> str:
        """Return the allowed words."""
        *first, last = [word.value for word in self.words]
        return f"{', '.join(first)} or {last}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Enum | None:
        """Return the member of the enum for the word. Return None after a mistake."""
        if isinstance(node, Scalar):
            for word in self.words:
                if word.value == node.value:
                    return word
        mistakes.add(place, node, found(node), self.wanted)
        return None

    def schema(self) -> dict[str, Any]:
        """Return the allowed words."""
        return {"enum": [word.value for word in self.words]}


class ListOf(NamedTuple):
    """A list of items, in the order of the text. A list has at least one item, unless `may_be_empty` is True."""

    item: Shape
    what: str  # a plural noun for the items, for errors
    may_be_empty: bool = False

    @property
    def wanted(self) -> str:
        """Return a description of the list and its items."""
        return f"a list of {self.what}"

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> tuple[Any, ...] | None:
        """Return the items of the list. Return None after a mistake."""
        if not isinstance(node, tree.Sequence):
            mistakes.add(place, node, found(node), self.wanted)
            return None
        if not node.items and not self.may_be_empty:
            mistakes.add(place, node, "an empty list", f"a list of one or more {self.what}")
            return None
        before = len(mistakes)
        items = [self.item.read(item, place.item(index), mistakes) for index, item in enumerate(node.items)]
        return tuple(items) if len(mistakes) == before else None

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of the items."""
        return {"type": "array", "items": self.item.schema(), "minItems": 0 if self.may_be_empty else 1}


class Key(NamedTuple):
    """A row of the table: a key and its documentation."""

    name: str
    shape: Shape
    purpose: str
    example: str = ""  # an example in YAML; empty for a record, because its keys have examples
    wrong: str = ""  # a YAML value that is refused, whose error the documentation shows
    default: str = ""  # a description of the default, if the value alone isn't clear
    field: str = ""  # the name of the field for the value, if it differs from the key's name
    required: bool = False


class Conflict(NamedTuple):
    """A mistake in the combination of several keys. Its message is about one of them: `found` is not `wanted`."""

    key: str
    found: str
    wanted: str


class Record(NamedTuple):
    """A mapping with known keys. `make` gets the values by field name.

    The defaults of `make`'s parameters are the defaults of the keys.
    """

    make: Callable[..., Any]
    keys: Sequence[Key]
    what: str
    # `check` gets the same arguments as `make`. `check` is called even if keys have mistakes. The value of a key with a
    # mistake is None.
    check: Callable[..., Iterable[Conflict]] = lambda **values: ()
    identity: str = ""  # the field for the record's name, if the record is in a `MapOf`

    @property
    def wanted(self) -> str:
        """Return the name of the record."""
        return self.what

    def read(self, node: Node, place: Place, mistakes: Mistakes, identity: Any = None) -> Any:
        """Return the result of `make`. Return None if the mapping has a mistake."""
        if not isinstance(node, tree.Mapping):
            mistakes.add(place, node, found(node), self.wanted)
            return None
        before = len(mistakes)
        values: dict[str, Any] = {self.identity: identity} if self.identity else {}
        nodes: dict[str, Node] = {}
        known = {key.name: key for key in self.keys}
        for key_node, value_node in node.entries:
            if not isinstance(key_node, Scalar) or key_node.text not in known:
                mistakes.add(place, key_node, found_key(key_node), f"a known key{_did_you_mean(key_node, known)}")
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
        """Return the schema of an object with these keys, their purposes and their defaults."""
        schema: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key.name: self._property(key) for key in self.keys},
        }
        if required := [key.name for key in self.keys if key.required]:
            schema["required"] = required
        return schema

    def default_of(self, key: Key) -> Any:
        """Return the default value of a key. Returns `inspect.Parameter.empty` if the key is required."""
        import inspect  # imported here, because only the documentation needs it

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
    """A mapping whose keys the operator chooses.

    If the values are records, each record gets its key in the field whose name is `Record.identity`. For other
    values, `pair` combines the key and the value.
    """

    name: Text
    value: Shape
    what: str
    pair: Callable[[Any, Any], Any] = lambda name, value: (name, value)

    @property
    def wanted(self) -> str:
        """Return a description of the mapping."""
        return self.what

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> tuple[Any, ...] | None:
        """Return the values in the order of the text. Return None after a mistake."""
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
            # A key is always a text, even if it looks like a number, as `10` or `1.5` do.
            name = self.name.read(key_node._replace(value=key_node.text), inside, mistakes)
            if name is not None and first.setdefault(name, key_node) is not key_node:
                mistakes.add(inside, key_node, *_double(first[name]))
                continue
            if isinstance(self.value, Record):
                values.append(self.value.read(value_node, inside, mistakes, name))
                continue
            value = self.value.read(value_node, inside, mistakes)
            if len(mistakes) == before:
                values.append(self.pair(name, value))
        return tuple(values) if len(mistakes) == before else None

    def schema(self) -> dict[str, Any]:
        """Return the schema of an object with the values."""
        return {"type": "object", "additionalProperties": self.value.schema()}


class TextOrRecord(NamedTuple):
    """A record with a short form: one text. The short form sets one key, and leaves all other keys at their
    defaults.
    """

    text: Text
    record: Record

    @property
    def wanted(self) -> str:
        """Return a description of the text."""
        return self.text.wanted

    def read(self, node: Node, place: Place, mistakes: Mistakes) -> Any:
        """Return the record from the short or the long form. Return None after a mistake."""
        if isinstance(node, tree.Mapping):
            return self.record.read(node, place, mistakes)
        return self.text.read(node, place, mistakes)

    def schema(self) -> dict[str, Any]:
        """Return a schema that allows the short and the long form."""
        return {"anyOf": [self.text.schema(), self.record.schema()]}


def found(node: Node) -> str:
    """Return a value as errors show it. Texts have quotes. Other scalars, such as numbers, have no quotes."""
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
    """Return the end of a sentence that suggests the most similar known word.

    If no word is similar, return an empty text.
    """
    close = difflib.get_close_matches(text, known, n=1)  # the cost is linear in the length of a long text
    return f"; did you mean {quote(close[0])}?" if close else ""


def field_of(key: Key) -> str:
    """Return the name of the field that the key sets."""
    return key.field or key.name


def walk(record: Record, prefix: str = "") -> Iterator[tuple[str, Record, Key]]:
    """For every possible key, yield its path, the record that has it, and its row."""
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
