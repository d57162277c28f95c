"""What an operator reads about a configuration: mistakes, for which it is refused, and notices."""

import json
from typing import NamedTuple


class ConfigError(NamedTuple):
    """A mistake: where it is, what was found and what was wanted. Its text is `PATH: FOUND is not WANTED`."""

    path: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found} is not {self.wanted}"


class Wanted(NamedTuple):
    """The result of parsing a text that is wrong: what it should have been, to go after "is not"."""

    text: str


class ConfigNotice(NamedTuple):
    """Something that the operator should know. The configuration is accepted in spite of it."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def quote(text: str) -> str:
    """Return the text as JSON, shortened. The result is printable, whatever the text holds."""
    shortened = text if len(text) <= 80 else text[:77] + "…"
    return json.dumps(shortened, ensure_ascii=not shortened.isprintable())
