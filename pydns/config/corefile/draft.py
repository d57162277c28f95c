"""Collects the configuration while the directives of a Corefile are read one by one."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.tokens import Token
from pydns.config.mistakes import ConfigError, ConfigNotice, Wanted, quote
from pydns.config.node import Mapping as MappingNode
from pydns.config.node import Node, Scalar, Sequence
from pydns.config.shapes import MAX_MISTAKES


class Zone(NamedTuple):
    """A zone of a server block: its name as CoreDNS writes the name, and its place in the Corefile."""

    name: str  # the name in lower case, with a final dot
    token: Token

    @property
    def is_root(self) -> bool:
        """Return whether this is the root zone.

        The block of the root zone serves all names that no other block serves.
        """
        return self.name == "."

    @property
    def name_token(self) -> Token:
        """Return a token with the zone's name. The token has the place of the zone's word in the Corefile.

        The word may be a range of addresses.
        """
        return self.token._replace(text=self.name)


class Cache(NamedTuple):
    """The cache of a server block."""

    zones: tuple[Zone, ...]  # answers for names outside of these zones are not cached
    keys: dict[str, Node]  # the keys below `cache` in config.yaml
    entries: int | None  # the capacity of the cache; None if the directive gives no capacity
    uncached: dict[str, list[Zone]]  # "success" or "denial" -> zones whose successes or denials are not cached


class Forwarded(NamedTuple):
    """A server block that forwards names."""

    at: Token  # the first address of the block
    zones: tuple[Zone, ...]
    cache: Cache | None


class RewriteDraft(NamedTuple):
    """A rule from a directive `rewrite`."""

    at: Token  # the directive
    rule: Node
    zones: tuple[Zone, ...]  # the zones of the server block
    old_end: str  # the end of each name that the rule matches, with a dot in front if whole labels match; may be empty
    new_end: str  # the end of each new name, with a dot in front; may be empty


class TemplateDraft(NamedTuple):
    """A template."""

    at: Token  # the directive
    keys: dict[str, Node]
    zones: tuple[Zone, ...]  # the zones of the template
    block: tuple[Zone, ...]  # the zones of the server block
    denial: Token | None  # the rcode of a template that denies all names and types


class ViewDraft(NamedTuple):
    """A view for one zone of a block with `view`."""

    zone: Zone
    at: Token  # the directive
    when: str
    templates: Node


class Draft:
    """The results of all directives so far: keys of `config.yaml`, notes and errors."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self.keys: dict[str, Node] = {}  # the top-level keys of `config.yaml`
        self.routes: dict[str, Node] = {}
        self.served: frozenset[str] = frozenset()  # the zones of all blocks without `view`
        self.hosts: dict[str, Node] = {}
        self.host_tokens: list[Token] = []  # the names in the `hosts` directives of the Corefile
        self.hosts_files: list[Node] = []
        self.zone_files: list[Node] = []
        self.imports: list[tuple[Token, list[Zone]]] = []  # each property `multicluster` with its zones
        self.blocked: dict[str, Node] = {}
        self.views: list[ViewDraft] = []
        self.rewrites: list[RewriteDraft] = []
        self.templates: list[TemplateDraft] = []
        self.domains: list[tuple[Token, dict[str, Node]]] = []  # domains of the cluster, each with its keys
        self.forwarded: list[Forwarded] = []
        # for each directive `log`: its first word, its zones and its classes
        self.logs: list[tuple[Token, tuple[Token, ...], tuple[Token, ...]]] = []
        self.notes: list[ConfigNotice] = []
        self.refused: list[ConfigError] = []

    def note(self, at: Token, text: str) -> None:
        """Add a note about a directive or property that has no effect on answers."""
        self.notes.append(ConfigNotice(f"{at.file}:{at.line}: {at.text}", text))

    def read_each(self, lines: Iterable[Line], read: Callable[[Line], None]) -> bool:
        """Call `read` for each line, even if `read` refuses an earlier one. Return whether all lines were accepted."""
        is_whole = True
        for line in lines:
            try:
                read(line)
            except BadCorefile as error:
                self.refuse(error)
                is_whole = False
        return is_whole

    def refuse(self, error: BadCorefile) -> None:
        """Add an error for a directive that pydns doesn't support.

        If pydns only ignored the directive, clients would get answers that CoreDNS never sends.
        """
        if len(self.refused) < MAX_MISTAKES:
            self.refused.append(error.error)


def text(token: Token) -> Scalar:
    """Return a word as a text value."""
    return Scalar(token.text, token.text, token.line)


def number(token: Token, value: int) -> Scalar:
    """Return a whole number as a value, with the place of a word of the Corefile."""
    return Scalar(value, str(value), token.line)


def switch(token: Token, *, value: bool) -> Scalar:
    """Return a boolean as a value, with the place of a word of the Corefile."""
    return Scalar(value, "true" if value else "false", token.line)


def word(token: Token, value: str) -> Scalar:
    """Return the `config.yaml` word `value` at the place of a Corefile word."""
    return Scalar(value, value, token.line)


def sequence(items: Iterable[Node], line: int) -> Sequence:
    """Return a node of a list of values."""
    return Sequence(list(items), line)


def mapping(entries: Mapping[str, Node], line: int) -> MappingNode:
    """Return a node of a mapping of keys to values."""
    return MappingNode([(Scalar(key, key, value.line), value) for key, value in entries.items()], line)


def whole(token: Token, low: int, high: int) -> int:
    """Parse a word as a whole number from `low` to `high`. Raises `BadCorefile`."""
    if token.text.isascii() and token.text.isdecimal() and len(token.text) < 12 and low <= int(token.text) <= high:
        return int(token.text)
    raise BadCorefile(token, quote(token.text), f"a whole number from {low} to {high}")


def one_of(token: Token, words: Collection[str]) -> str:
    """Return the text of a word that must be one of `words`. Raises `BadCorefile`."""
    if token.text in words:
        return token.text
    raise BadCorefile(token, quote(token.text), f"one of {', '.join(words)}")


def checked(token: Token, parse: Callable[[str], Any]) -> Any:
    """Parse a word with a parser of `config.texts`. Raises `BadCorefile`."""
    value = parse(token.text)
    if isinstance(value, Wanted):
        raise BadCorefile(token, quote(token.text), value.text)
    return value


def only(line: Line, least: int, most: int | None = None) -> tuple[Token, ...]:
    """Return the arguments of a line.

    Raises `BadCorefile` if there are fewer than `least` or more than `most` arguments.
    """
    most = least if most is None else most
    if least <= len(line.arguments) <= most:
        return line.arguments
    wanted = f"{least}" if least == most else f"{least} to {most}"
    raise BadCorefile(line.words[0], f"{quote(line.name)} with {len(line.arguments)} arguments", f"one with {wanted}")
