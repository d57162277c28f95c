"""The table of names as Python values. names.yaml and resolvers.yaml explain the words of the table."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

NONE, FAILED, NOT_ASKED = "none", "failed", "not asked"
FAMILIES = ("A", "AAAA")
_HERE = Path(__file__).parent
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_AT_LEAST = re.compile(r"at least (\d+) of (.+)")


@dataclass(frozen=True, slots=True)
class Found:
    """A client's result, actual or expected: addresses or targets, or the word for why there are none."""

    values: frozenset[str]
    word: str = ""
    at_least: int = 0  # the number of values that is enough. 0: all values are needed

    def includes(self, other: "Found") -> bool:
        """Return whether the actual result `other` fulfils this expected result."""
        if self.at_least:
            return len(other.values) >= self.at_least and other.values <= self.values
        return self == other

    def __str__(self) -> str:
        text = " ".join(sorted(self.values)) or self.word
        return f"at least {self.at_least} of {text}" if self.at_least else text


@dataclass(frozen=True, slots=True)
class Row:
    """A name and its expected results."""

    name: str
    _found: Mapping[str, Any]

    def questions(self, resolver: str) -> list[str]:
        """Return the questions that a resolver is asked about the name: "A", "AAAA", "both" at once, "SRV"."""
        offered = [each for each in RESOLVERS[resolver]["questions"] if each != "SRV" or "SRV" in self._found]
        return [each for each in offered if self._text(resolver, each) != NOT_ASKED]

    def expected(self, resolver: str, question: str) -> Found:
        """Return the expected result for the resolver."""
        if self._is_unreachable(resolver):
            return parse(NONE)
        found = self._expected(resolver, question)
        if found.word == FAILED and not RESOLVERS[resolver].get("reports failures", True):
            return parse(NONE)
        return found

    def _expected(self, resolver: str, question: str) -> Found:
        text = self._text(resolver, question)
        if text is not None:
            return parse(text)
        if question != "both":
            return parse(NONE)
        return _union([self._expected(resolver, each) for each in FAMILIES])

    def _text(self, resolver: str, question: str) -> str | None:
        own: Mapping[str, str] = self._found.get("but", {}).get(resolver, {})
        text: str | None = own.get(question, self._found.get(question))
        return text

    def _is_unreachable(self, resolver: str) -> bool:
        how = RESOLVERS[resolver]["asks"]
        as_written = how == "as written" or (how == "as written, if it has dots" and "." in self.name)
        return as_written and self._found.get("as written") == NONE

    def wrong_today(self, resolver: str) -> str | None:
        """Return the known fault because of which this row fails for a resolver, or None."""
        for reason, resolvers in self._found.get("wrong today", {}).items():
            if (resolvers == "all" or resolver in resolvers) and not self._is_unreachable(resolver):
                return str(reason)
        return None

    @property
    def is_slow(self) -> bool:
        """Return whether the name's server is slow, so that clients may repeat their queries."""
        return bool(self._found.get("slow", False))


def read(name: str) -> Any:
    """Return the contents of a data file in this folder."""
    return yaml.safe_load((_HERE / name).read_text())


@cache
def rows() -> Sequence[Row]:
    """Return the table's rows."""
    return list(_rows())


def _rows() -> Iterator[Row]:
    for section in read("names.yaml"):
        common = {key: value for key, value in section.items() if key not in ("about", "names")}
        for name, found in section["names"].items():
            yield Row(name, common | found)


def expanded(text: str) -> list[str]:
    """Return one text for each number of a range such as `{1..3}`. A text without a range is returned unchanged."""
    if (found := _RANGE.search(text)) is None:
        return [text]
    first, last = map(int, found.groups())
    return [text[: found.start()] + str(each) + text[found.end() :] for each in range(first, last + 1)]


def parse(text: str) -> Found:
    """Parse a cell of the table or a line of a client."""
    if part := _AT_LEAST.fullmatch(text):
        return Found(_values(part[2].split()), at_least=int(part[1]))
    words = text.split()
    if words[:1] in ([NONE], [FAILED]):
        return Found(frozenset(), words[0])
    return Found(_values(words))


def _union(families: Sequence[Found]) -> Found:
    """Return the expected result for a client that asks for all families at once."""
    values = frozenset[str]().union(*(each.values for each in families))
    if not values:
        return Found(values, FAILED if any(each.word == FAILED for each in families) else NONE)
    some = any(each.at_least for each in families)
    return Found(values, at_least=sum(each.at_least or len(each.values) for each in families) if some else 0)


def _values(words: Iterable[str]) -> frozenset[str]:
    return frozenset(_normal(each) for word in words for each in expanded(word))


def _normal(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        return value.lower()


RESOLVERS: Mapping[str, Mapping[str, Any]] = read("resolvers.yaml")
