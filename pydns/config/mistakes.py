"""Messages that tell the operator about a configuration: mistakes and notices.

A configuration with a mistake is refused. A configuration that only has notices is accepted.
"""

import json
from typing import NamedTuple


class ConfigError(NamedTuple):
    """A mistake: its path, the value found, and the value wanted. The message is `PATH: FOUND is not WANTED`."""

    path: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.path}: {self.found} is not {self.wanted}"


class Unsupported(ConfigError):
    """A part of a Corefile that is valid for CoreDNS and changes answers, but that pydns doesn't support."""

    __slots__ = ()


class Wanted(NamedTuple):
    """The result of parsing a wrong text. `Wanted` describes a correct text, and follows "is not" in the message."""

    text: str


class ConfigNotice(NamedTuple):
    """A notice for the operator. A configuration with notices is accepted."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


def quote(text: str) -> str:
    """Return the text as a JSON string with only printable characters. A long text is shortened."""
    shortened = text if len(text) <= 80 else text[:77] + "…"
    return json.dumps(shortened, ensure_ascii=not shortened.isprintable())
