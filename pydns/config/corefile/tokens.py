"""The words of a Corefile. Splits as the lexer of CoreDNS (`coredns/caddy`, `caddyfile/lexer.go`) does."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydns.config.node import ImportedLine


class Token(NamedTuple):
    """A word, and where it is written."""

    text: str
    file: str
    line: int  # from 1, where it begins
    is_quoted: bool = False

    @property
    def last_line(self) -> int:
        """Return the line where it ends. A quoted word may have several lines."""
        return self.line + self.text.count("\n")


def tokens(file: str, text: str) -> Iterator[Token]:
    """Yield the words of a text. A word with quotes may be empty. The cost is linear in the length of the text.

    Two habits of CoreDNS are kept. A `#` within a word ends the line only up to the next space: `a#b c` is `a` and `c`.
    A carriage return is left out wherever it is written, within a word too.
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
            if match["rest"]:  # nothing ends the quotes: the word goes on to the end of the text
                yield Token(match["rest"].replace('\\"', '"'), file, line, is_quoted=True)
        elif word := match["word"].replace("\r", ""):
            yield Token(word, file, line)


def imported(file: str, text: str) -> list[Token]:
    """Return the words of a file that is imported. Their lines know the file."""
    return [token._replace(line=ImportedLine.of(file, token.line)) for token in tokens(file, text)]


_SPACE = "\t\n\v\f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Go's unicode.IsSpace, but for \r
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


def with_environment(text: str, environment: Mapping[str, str]) -> str:
    """Return a word with `{%NAME%}` and `{$NAME}` replaced, as CoreDNS does. An unknown variable is empty."""
    for begin, end in (("{%", "%}"), ("{$", "}")):
        while (start := text.find(begin)) >= 0:
            stop = text.find(end, start)
            if stop <= start + len(begin):
                break
            reference = text[start : stop + len(end)]
            value = environment.get(reference[len(begin) : -len(end)], "")
            text = text.replace(reference, value if reference not in value else "")
    return text
