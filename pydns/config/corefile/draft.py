"""The configuration that a Corefile means, while its directives are read one by one."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.tokens import Token
from pydns.config.mistakes import ConfigError, ConfigNotice, Wanted, quote
from pydns.config.node import Mapping as MappingNode
from pydns.config.node import Node, Scalar, Sequence
from pydns.config.shapes import MAX_MISTAKES


class Zone(NamedTuple):
    """A zone that a server block has, as CoreDNS names it, and where it is written."""

    name: str  # in lower case, with a final dot
    token: Token

    @property
    def is_root(self) -> bool:
        """Return whether the block has all names that no other block has."""
        return self.name == "."


class Draft:
    """What the directives of all blocks have given so far: the keys of `config.yaml`, notes, and what is refused."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.keys: dict[str, Node] = {}  # of the root of `config.yaml`
        self.routes: dict[str, Node] = {}
        self.hosts: dict[str, Node] = {}
        self.blocked: dict[str, Node] = {}
        self.domain: Token | None = None  # of the cluster
        self.caches: list[tuple[Token, tuple[Line, MappingNode] | None]] = []  # of the blocks that forward
        self.uncached: list[Zone] = []  # zones that a block's cache leaves out
        self.logs: list[tuple[Token, tuple[Token, ...], tuple[Token, ...]]] = []  # with zones and classes
        self.notes: list[ConfigNotice] = []
        self.refused: list[ConfigError] = []

    def note(self, at: Token, text: str) -> None:
        """Report something that has no effect on answers."""
        self.notes.append(ConfigNotice(f"{at.file}:{at.line}: {at.text}", text))

    def read_each(self, lines: Iterable[Line], read: Callable[[Line], None]) -> None:
        """Call `read` for each line. A line that it refuses doesn't keep it from the others."""
        for line in lines:
            try:
                read(line)
            except BadCorefile as error:
                self.refuse(error)

    def refuse(self, error: BadCorefile) -> None:
        """Report something that can't be carried out and changes answers."""
        if len(self.refused) < MAX_MISTAKES:
            self.refused.append(error.error)


def text(token: Token) -> Scalar:
    """Return a word as a text."""
    return Scalar(token.text, token.text, token.line)


def number(token: Token, value: int) -> Scalar:
    """Return a word that means a whole number."""
    return Scalar(value, str(value), token.line)


def switch(token: Token, *, value: bool) -> Scalar:
    """Return what a word switches on or off."""
    return Scalar(value, "true" if value else "false", token.line)


def word(token: Token, value: str) -> Scalar:
    """Return the word of `config.yaml` for one of the Corefile."""
    return Scalar(value, value, token.line)


def sequence(items: Iterable[Node], line: int) -> Sequence:
    """Return a list."""
    return Sequence(list(items), line)


def mapping(entries: Mapping[str, Node], line: int) -> MappingNode:
    """Return a mapping."""
    return MappingNode([(Scalar(key, key, value.line), value) for key, value in entries.items()], line)


def whole(token: Token, low: int, high: int) -> int:
    """Return the number that a word is. Raises `BadCorefile`."""
    if token.text.isascii() and token.text.isdecimal() and len(token.text) < 12 and low <= int(token.text) <= high:
        return int(token.text)
    raise BadCorefile(token, quote(token.text), f"a whole number from {low} to {high}")


def checked(token: Token, parse: Callable[[str], Any]) -> Any:
    """Return what a parser of `config.texts` makes of a word. Raises `BadCorefile`."""
    value = parse(token.text)
    if isinstance(value, Wanted):
        raise BadCorefile(token, quote(token.text), value.text)
    return value


def only(line: Line, least: int, most: int | None = None) -> tuple[Token, ...]:
    """Return the arguments of a line, of which there must be so many. Raises `BadCorefile`."""
    most = least if most is None else most
    if least <= len(line.arguments) <= most:
        return line.arguments
    wanted = f"{least}" if least == most else f"{least} to {most}"
    raise BadCorefile(line.words[0], f"{quote(line.name)} with {len(line.arguments)} arguments", f"one with {wanted}")
