"""Splits a Corefile into words, as CoreDNS's lexer does (`coredns/caddy`, `caddyfile/lexer.go`)."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydns.config.node import ImportedLine


class Token(NamedTuple):
    """A word and its place."""

    text: str
    file: str
    line: int  # the line where the word begins; the first line is 1
    is_quoted: bool = False

    @property
    def last_line(self) -> int:
        """Return the line where the word ends. A quoted word may have several lines."""
        return self.line + self.text.count("\n")


def tokens(file: str, text: str) -> Iterator[Token]:
    """Yield the words of a text. A quoted word may be empty. The cost is linear in the length of the text.

    Two special rules come from CoreDNS. A `#` within a word starts a comment that ends at the next space: `a#b c` is
    `a` and `c`. Every carriage return is removed, even within a word.
    """
    text = text.removeprefix("\ufeff")
    line, counted = 1, 0
    for match in _PART.finditer(text):
        if match["comment"] or match["space"]:
            continue
        line += text.count("\n", counted, match.start())
        counted = match.start()
        if match["quoted"] is not None:
            yield Token(match["inner"].replace('\\"', '"'), file, line, is_quoted=True)
        elif match["open"] is not None:
            if match["rest"]:  # without a closing quote, the word ends at the end of the text
                yield Token(match["rest"].replace('\\"', '"'), file, line, is_quoted=True)
        elif word := match["word"].replace("\r", ""):
            yield Token(word, file, line)


def quoted(word: str) -> str | None:
    """Return a text as a word of a Corefile: in quotes if necessary.

    Return None if `tokens` can't read the text as one word.
    """
    if word and not _NEEDS_QUOTES.search(word):
        return word
    return None if word.endswith("\\") or '\\"' in word else '"' + word.replace('"', '\\"') + '"'


def imported(file: str, text: str) -> list[Token]:
    """Return the words of an imported file. The place of each word includes the name of the file."""
    return [token._replace(line=ImportedLine.of(file, token.line)) for token in tokens(file, text)]


_SPACE = "\t\n\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Go's unicode.IsSpace, except \r
_PART = re.compile(
    rf"""
    (?P<space> [{_SPACE}\r]+ )
    | (?P<comment> \#[^\n]* )
    | (?P<quoted> "(?P<inner> (?: [^"\\] | \\. )*+ )" )
    | (?P<open> "(?P<rest> .* ) )
    | (?P<word> [^{_SPACE}\#"] [^{_SPACE}\#]* ) (?: \#[^{_SPACE}]* )?
    """,
    re.VERBOSE | re.DOTALL,
)

_NEEDS_QUOTES = re.compile(rf'^"|[{_SPACE}\r#]')


_MAX_REFERENCES = 100
_MAX_WORD = 1 << 16  # characters


def with_environment(text: str, environment: Mapping[str, str]) -> str:
    """Replace `{%NAME%}` and `{$NAME}` in a word, as CoreDNS does. The value of an unknown variable is empty.

    References in the values of variables are replaced, too. At most `_MAX_REFERENCES` references are replaced. When the
    word is longer than `_MAX_WORD`, no more references are replaced. CoreDNS has no such limits, and hangs if two
    variables refer to each other.
    """
    left = _MAX_REFERENCES
    for begin, end in (("{%", "%}"), ("{$", "}")):
        while (start := text.find(begin)) >= 0:
            stop = text.find(end, start)
            if stop <= start + len(begin) or not left or len(text) > _MAX_WORD:
                break
            left -= 1
            reference = text[start : stop + len(end)]
            written = environment.get(reference[len(begin) : -len(end)], "")
            value = written.encode(errors="surrogateescape").decode(errors="replace")  # the value can be invalid UTF-8
            text = text.replace(reference, value if reference not in value else "")
    return text
