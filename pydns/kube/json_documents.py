"""Reads texts of JSON objects, and finds the line of each value. This module knows no kinds of objects.

The rules are the same as in kubectl:
1. A text may contain several objects, one after the other. `---` may separate them.
2. If a key occurs twice in a mapping, the last value is used.
3. Half of a surrogate pair becomes U+FFFD. An integer of more than 20 digits becomes a float.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple


class JsonValue(NamedTuple):
    """One object of a text."""

    value: dict[str, Any]
    doubled: tuple[str, ...]  # the keys that occur more than once in their mapping
    text: str
    start: int  # the offset in the text at which the object begins

    def line_of(self, path: tuple[str | int, ...]) -> int:
        """Return the line of the value at `path`.

        If this value doesn't exist, return the line of the last existing part of `path`. The first line is 1.
        """
        line_at = at = self.start
        for step in path:
            found = _places(self.text, at).get(step)
            if found is None:
                break
            line_at, at = found
        return bisect_left(_newlines(self.text), line_at) + 1


def read(text: str) -> list[JsonValue] | None:
    """Return the JSON objects in a text. Return None if the text is empty, or contains anything but JSON objects."""
    doubled: list[str] = []
    decoder = json.JSONDecoder(object_pairs_hook=partial(_mapping, doubled), parse_int=_int, parse_constant=_refuse)
    has_surrogates = _SURROGATE.search(text) is not None
    found: list[JsonValue] = []
    at = _end(_BETWEEN_OBJECTS, text, 0)
    while at < len(text):
        if text[at] != "{":
            return None
        try:
            value, end = decoder.raw_decode(text, at)
            if has_surrogates:
                value = _without_halves(value)
        except (ValueError, RecursionError):
            return None
        found.append(JsonValue(value, tuple(doubled), text, at))
        doubled.clear()
        at = _end(_BETWEEN_OBJECTS, text, end)
    return found or None


def _mapping(doubled: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        seen: set[str] = set()
        doubled += [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
    return value


def _int(text: str) -> int | float:
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _without_halves(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_without_halves(each) for each in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(each) for key, each in value.items()}
    return value


# Cached, because a list is searched again for each faulty object in the list.
@lru_cache(maxsize=8)
def _places(text: str, at: int) -> dict[str | int, tuple[int, int]]:
    """Return a dict for the mapping or list at `at`: key or index -> the offsets of the key and of the value.

    If a key occurs twice, the offsets are those of the last one.
    """
    return {step: (key_at, value_at) for step, key_at, value_at in _children(text, at)}


@lru_cache(maxsize=1)
def _newlines(text: str) -> list[int]:
    return [match.start() for match in re.finditer("\n", text)]


def _children(text: str, at: int) -> Iterator[tuple[str | int, int, int]]:
    """For each child of the mapping or list at `at`, yield its key or index, and the offsets of its key and its value.

    The text must be one that `read` accepts.
    """
    opening = text[at]
    if opening not in "{[":
        return
    at = _end(_BLANK, text, at + 1)
    index = 0
    while text[at] not in "}]":
        key: str | int = index
        key_at = at
        if opening == "{":
            key, at = _SKIPPER.raw_decode(text, at)
            at = _end(_BLANK, text, at)
        yield key, key_at, at
        _, at = _SKIPPER.raw_decode(text, at)
        at = _end(_BLANK, text, at)
        index += 1


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


_MOST_DIGITS = 20  # a 64-bit integer with its sign has at most 20 characters
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BETWEEN_OBJECTS = re.compile(r"(?:[ \t\r\n]|---(?=[ \t\r\n]))*")
_BLANK = re.compile(r"[ \t\r\n:,]*")
_SKIPPER = json.JSONDecoder(parse_int=_int)
