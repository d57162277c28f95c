"""Parses label selectors in the syntax of `kubectl -l` (Kubernetes labels.Parse), and matches labels with them.

The parser supports the operators for equality and for sets. The parser refuses `>` and `<`, because only node affinity
uses these two operators. This module knows nothing about API objects.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class BadSelector(ValueError):
    """Text that is not a label selector. The message quotes the wrong part, and describes the right form."""


class Requirement(NamedTuple):
    """One condition on one label. A missing label meets the condition only if `wanted` is False."""

    key: str
    values: frozenset[str] | None  # None if every value meets the condition
    wanted: bool  # False for !=, notin and !key

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` meet this condition."""
        met = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return met is self.wanted


class Selector(NamedTuple):
    """A label selector. Labels match if they meet all requirements of the selector.

    An empty selector has no requirements, so it matches all labels.
    """

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` meet all requirements."""
        return all(requirement.matches(labels) for requirement in self.requirements)


def parse(text: str) -> Selector:
    """Parse a selector: `a=b,a==b,a!=b,a in (x,y),a notin (x),a,!a`. The selector of an empty text matches all labels.

    Raises `BadSelector` for the first part that isn't a requirement. The checks of keys and values are the same as in
    the API server. So the API server accepts every selector that this function accepts.
    """
    if not text.strip():
        return Selector(())
    # A comma inside parentheses separates values. A comma outside of parentheses separates requirements.
    return Selector(tuple([_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", text)]))


def is_label_key(text: str) -> bool:
    """Return whether a text is the key of a label: a name, with a prefix or without."""
    return _KEY.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Return whether a text is a valid label value and isn't empty."""
    return bool(text) and _VALUE.fullmatch(text) is not None


def selects(service_selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether a Service's `spec.selector` selects a pod with `labels`. The empty selector selects every pod."""
    return service_selector.items() <= labels.items()


_REQUIREMENT = re.compile(
    r"""(?P<not>!?)\s*(?P<key>[^\s!=<>(),]+)\s*
        (?:(?P<operator>==|=|!=)\s*(?P<value>[^\s!=<>(),]*)
          |(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?""",
    re.VERBOSE,
)
_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"({_NAME})?")
_FORMS = "key, !key, key=value, key!=value, key in (value,…) or key notin (value,…)"


def _requirement(text: str) -> Requirement:
    found = _REQUIREMENT.fullmatch(text)
    if found is None or (found["not"] and (found["operator"] or found["set"])):
        raise BadSelector(f"{text!r} is not a requirement; wanted {_FORMS}")
    if not _KEY.fullmatch(found["key"]):
        raise BadSelector(f"{text!r}: {found['key']!r} is not a label key; wanted [PREFIX/]NAME")
    if found["set"]:
        values = frozenset([value.strip() for value in found["values"].split(",")])
    elif found["operator"]:
        values = frozenset([found["value"]])
    else:
        return Requirement(found["key"], None, not found["not"])
    for value in sorted(values):
        if not _VALUE.fullmatch(value):
            raise BadSelector(
                f"{text!r}: {value!r} is not a label value; wanted at most 63 letters, digits, '-', '_' or '.'"
            )
    return Requirement(found["key"], values, found["operator"] != "!=" and found["set"] != "notin")
