r"""Compiles regular expressions as CoreDNS does. The patterns have the syntax of RE2 and match in linear time.

Python's `re` backtracks, so matching a hostile name could take exponential time. Google's `re2` has the syntax of Go's
`regexp`, and finds the same match: the leftmost one, with Perl's preferences. Unlike `regexp`, `re2` accepts `\C` and
two groups with the same name.
"""

from typing import Any

MAX_PATTERN = 10_000  # the maximum number of characters in a pattern, as in CoreDNS
_MAX_MEMORY = 1024 * 1024  # the maximum memory, in octets, for a compiled pattern and for matching


class BadPattern(ValueError):
    """A text isn't a pattern, or the pattern is too large. The message says why, such as "is invalid"."""


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str) -> None:
        """Compile a pattern. Raises `BadPattern`."""
        if len(text) > MAX_PATTERN:
            raise BadPattern(f"is longer than {MAX_PATTERN:,} characters")
        if not text.isascii():
            raise BadPattern("has a character beyond ASCII, which no name contains")
        import re2  # imported here, because the import takes 3 MB and 0.03 s, and most configurations have no patterns

        options = re2.Options()
        options.log_errors = False
        options.max_mem = _MAX_MEMORY
        try:
            self._compiled: Any = re2.compile(text, options)
        except re2.error as error:
            raise BadPattern(f"is invalid: {error.args[0].decode()}") from None
        self.text = text
        names = {index: name for name, index in self._compiled.groupindex.items()}
        # The names of the groups. Group 0 is the whole match. If a group has no name, the text is empty.
        self.groups: tuple[str, ...] = tuple([names.get(index, "") for index in range(self._compiled.groups + 1)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def search(self, text: str) -> tuple[str, ...] | None:
        """Return the leftmost match in a text and the groups of this match, or None if the pattern doesn't match.

        The text of a group that isn't part of the match is empty.
        """
        found = self._compiled.search(text) if text.isascii() else None
        return None if found is None else (found[0], *[each or "" for each in found.groups()])
