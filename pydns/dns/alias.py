r"""Aliases: names that are answered with the records of other names.

    api.corp.example       one name; the target is a name
    *.corp.example         all names below corp.example; a target with `*.` keeps the labels that the star stands for
    ~(.+)\.prev\.example   names that match a pattern as a whole, without the final dot; `{1}` is the first group

For each question, pydns first looks for an alias of exactly the question's name. Then it looks for the longest matching
name with a star. Last, it tries the patterns in the order of the configuration.
"""

from collections.abc import Iterable

from pydns.dns import name
from pydns.dns.pattern import BadPattern, Pattern
from pydns.dns.rewrite import filled, wire

_STAR, _TILDE = "*.", "~"


class BadAlias(ValueError):
    """A text isn't the left side of an alias, or isn't a target. The message describes a valid text."""


def parse_pattern(text: str) -> str:
    """Return the left side of an alias (a name, a name with a star, or a pattern) in canonical form.

    Raises `BadAlias`.
    """
    if text.startswith(_TILDE):
        _compiled(text)
        return text
    star = _STAR if text.startswith(_STAR) else ""
    return star + _name(text.removeprefix(star))


def parse_target(text: str) -> str:
    """Return a target in canonical form. Raises `BadAlias`."""
    star = _STAR if text.startswith(_STAR) else ""
    rest = text.removeprefix(star)
    if "{" in rest:
        _name(filled(rest, ["a"] * 100))
        return text.lower()
    return star + _name(rest)


def problem(pattern: str, target: str) -> str | None:
    """Return None if a target fits the left side of its alias. Otherwise return a description of a valid target."""
    if target.startswith(_STAR) and not pattern.startswith(_STAR):
        return f'a target of names without "{_STAR}"'
    groups = len(_compiled(pattern).groups) if pattern.startswith(_TILDE) else 0
    if "{" in filled(target, ["a"] * groups):
        return "a text that uses only groups of the pattern"
    return None


def _name(text: str) -> str:
    try:
        found = name.from_text(text).lower()
    except name.BadName as error:
        raise BadAlias(f"a domain name: it {error}") from None
    if found == name.ROOT:
        raise BadAlias("a domain name below the root")
    return name.to_text(found)


def _compiled(text: str) -> Pattern:
    try:
        return Pattern(f"^(?:{text.removeprefix(_TILDE)})$")
    except BadPattern as error:
        raise BadAlias(f"a pattern of RE2: it {error}") from None


class Aliases:
    """The aliases of a configuration."""

    def __init__(self, aliases: Iterable[tuple[str, str]]) -> None:
        """`aliases` contains a pair for each alias: the results of `parse_pattern` and of `parse_target`.

        A look-up takes more time for each alias that is a pattern. The number of other aliases doesn't matter.
        """
        self._names: dict[bytes, bytes] = {}
        # Domain -> two values: whether the target keeps the labels before the domain, and the target.
        self._below: dict[bytes, tuple[bool, bytes]] = {}
        self._patterns: list[tuple[Pattern, str]] = []
        for pattern, target in aliases:
            if pattern.startswith(_TILDE):
                self._patterns.append((_compiled(pattern), target))
                continue
            keeps = target.startswith(_STAR)
            to = name.from_text(target.removeprefix(_STAR))
            if pattern.startswith(_STAR):
                self._below[name.from_text(pattern.removeprefix(_STAR))] = keeps, to
            else:
                self._names[name.from_text(pattern)] = to

    def __bool__(self) -> bool:
        return bool(self._names or self._below or self._patterns)

    def find(self, qname: bytes) -> bytes | None:
        """Return the target for `qname`, a name in lower case. Return None if no alias matches the name.

        An empty result means that the name of the target is invalid, for example too long.
        """
        exact = self._names.get(qname)
        if exact is not None:
            return exact
        if self._below:
            for domain in name.ancestors(qname):
                if domain in self._below:
                    keeps, target = self._below[domain]
                    whole = qname[: -len(domain)] + target if keeps else target
                    return whole if len(whole) <= name.MAX_NAME else b""
        if self._patterns:
            text = name.to_text(qname).removesuffix(".")
            for pattern, new in self._patterns:
                groups = pattern.search(text)
                if groups is not None:
                    found = wire(filled(new, groups))
                    return found.lower() if found is not None else b""
        return None
