"""Parses a Corefile to server blocks, as CoreDNS's own parser does (`coredns/caddy`, `caddyfile/parse.go`).

This module resolves snippets, imports and environment variables. `directives` defines the meaning of each directive.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from pydns.config.corefile.tokens import Token, imported, tokens, with_environment
from pydns.config.mistakes import ConfigError, Unsupported, quote

MAX_TOKENS = 200_000  # the largest number of words in a Corefile and all files that it imports
MAX_IMPORTS = 1_000
MAX_DEPTH = 20  # the largest depth of nested blocks


class Line(NamedTuple):
    """The words of a line, and the lines of the block that this line opens."""

    words: tuple[Token, ...]  # a line has at least one word
    lines: "tuple[Line, ...]" = ()

    @property
    def name(self) -> str:
        """Return the first word of the line.

        The first word is the name of a directive, or of a property of a directive.
        """
        return self.words[0].text

    @property
    def arguments(self) -> tuple[Token, ...]:
        """Return the words after the first word."""
        return self.words[1:]


class Block(NamedTuple):
    """A server block."""

    addresses: tuple[Token, ...]
    directives: tuple[Line, ...]


class Missing(NamedTuple):
    """An import pattern that matches no file. CoreDNS logs a warning for this case."""

    pattern: Token


class Parsed(NamedTuple):
    """A parsed Corefile."""

    blocks: tuple[Block, ...]
    missing: tuple[Missing, ...] = ()


class BadCorefile(Exception):
    """A mistake for which CoreDNS also refuses the Corefile. `error` contains the place and the reason."""

    _kind: type[ConfigError] = ConfigError

    def __init__(self, at: Token | str, found: str, wanted: str) -> None:
        place = at if isinstance(at, str) else f"{at.file}:{at.line}"
        self.error = self._kind(place, found, wanted)
        super().__init__(str(self.error))


class NotCarriedOut(BadCorefile):
    """A directive or property that changes answers in CoreDNS, and that pydns doesn't support.

    `--lenient` leaves such a directive or property out.
    """

    _kind = Unsupported


def parse(file: str, text: str, files: Mapping[str, str], environment: Mapping[str, str]) -> Parsed:
    """Return the server blocks of a text. Raises `BadCorefile` for the first mistake, as CoreDNS does.

    `files` has the names and texts of the files that can be imported. In an import path, the folder is ignored, because
    the keys of a ConfigMap have no folders.
    """
    return _Parser(file, text, files, environment).parse()


def find(files: Mapping[str, str], path: str) -> list[str]:
    """Return the sorted names of the files that match a path or a pattern."""
    wanted = path.rpartition("/")[2]
    if _has_wildcard(wanted):
        return sorted(each for each in files if fnmatchcase(each, wanted))
    return [wanted] if wanted in files else []


def _has_wildcard(path: str) -> bool:
    return any(each in path for each in "*?[")


class _Parser:
    def __init__(self, file: str, text: str, files: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._file = file
        self._files = files
        self._environment = environment
        self._tokens = _Splicer(tokens(file, text))
        self._snippets: dict[str, list[Token]] = {}
        self._missing: list[Missing] = []
        self._imports = 0

    def parse(self) -> Parsed:
        blocks = []
        while self._tokens.peek() is not None:
            block = self._block()
            if block is not None and block.addresses:
                blocks.append(block)
        return Parsed(tuple(blocks), tuple(self._missing))

    def _block(self) -> Block | None:
        addresses = self._addresses()
        following = self._tokens.peek()
        if following is None:
            return Block(tuple(addresses), ())
        has_braces = following.text == "{"
        if len(addresses) == 1 and (snippet := _snippet_name(addresses[0])):
            if not has_braces:
                raise BadCorefile(following, quote(following.text), f'"{{" after {addresses[0].text}')
            self._define(snippet, addresses[0])
            return None
        if has_braces:
            self._tokens.take()
        return Block(tuple(addresses), tuple(self._directives(has_braces)))

    def _addresses(self) -> list[Token]:
        found: list[Token] = []
        has_begun = is_more = False
        while (token := self._tokens.peek()) is not None:
            if has_begun and not is_more and self._tokens.is_new_line():
                break
            if token.text == "import" and self._tokens.is_new_line():
                self._import()
                continue
            text = with_environment(token.text, self._environment)
            if text == "{":
                if is_more:
                    raise BadCorefile(token, '"{"', 'an address; the line before ends with ","')
                break
            self._tokens.take()
            has_begun = True
            if text:
                is_more = text.endswith(",")
                found.append(token._replace(text=text.removesuffix(",")))
        if token is None and is_more:
            raise BadCorefile(found[-1], "the end of the text", 'an address; the line before ends with ","')
        return found

    def _define(self, snippet: str, at: Token) -> None:
        if snippet in self._snippets:
            raise BadCorefile(at, f"a second snippet {quote(snippet)}", "allowed")
        opening = self._tokens.take()
        found: list[Token] = []
        depth = 1
        while (token := self._tokens.peek()) is not None:
            self._tokens.take()
            depth += (token.text == "{") - (token.text == "}")
            if not depth:
                self._snippets[snippet] = found
                return
            found.append(token)
        raise BadCorefile(opening, '"{" without "}"', "allowed")

    def _directives(self, has_braces: bool) -> Iterator[Line]:
        opening = self._tokens.before
        while (token := self._tokens.peek()) is not None:
            if token.text == "}":
                self._tokens.take()
                return
            if token.text == "import":
                self._import()
                continue
            yield self._directive()
        # CoreDNS accepts a last block without a closing brace if the last word of the text closes an inner block.
        if has_braces and (self._tokens.before is None or self._tokens.before.text != "}"):
            raise BadCorefile(opening or self._file, '"{" without "}"', "allowed")

    def _directive(self) -> Line:
        """Return the next directive with its block."""
        name = self._tokens.take()
        words = [name._replace(text=with_environment(name.text, self._environment))]
        starts = [True]
        depth = 0
        while (token := self._tokens.peek()) is not None:
            is_new_line = self._tokens.is_new_line()
            if token.text == "{":
                depth += 1
            elif is_new_line and depth == 0:
                break
            elif token.text == "}":
                if depth == 0:
                    raise BadCorefile(token, '"}" without "{"', "allowed")
                depth -= 1
            elif token.text == "import" and is_new_line:
                self._import()
                continue
            self._tokens.take()
            starts.append(is_new_line)
            words.append(token._replace(text=with_environment(token.text, self._environment)))
        if depth:
            raise BadCorefile(name, f'"{{" of {quote(name.text)} without "}}"', "allowed")
        return _line(words, starts)

    def _import(self) -> None:
        """Replace the word `import` and its argument by the imported words."""
        keyword = self._tokens.take()
        pattern = self._tokens.peek()
        if pattern is None or self._tokens.is_new_line():
            raise BadCorefile(keyword, '"import"', "complete: the name of a snippet or a file is missing")
        self._tokens.take()
        if self._tokens.peek() is not None and not self._tokens.is_new_line():
            raise BadCorefile(keyword, '"import" with several names', "allowed: write each on a line of its own")
        self._imports += 1
        if self._imports > MAX_IMPORTS:
            raise BadCorefile(keyword, f"import {self._imports:,}", f"allowed: {MAX_IMPORTS:,} at most (a cycle?)")
        wanted = with_environment(pattern.text, self._environment)
        if wanted in self._snippets:
            self._splice(pattern, self._snippets[wanted])
            return
        if wanted.count("*") > 1 or wanted.count("?") > 1 or ("[" in wanted and "]" in wanted):
            raise BadCorefile(pattern, quote(wanted), "a pattern with one wildcard")
        found = find(self._files, wanted)
        if not found:
            if not _has_wildcard(wanted):
                raise BadCorefile(pattern, quote(wanted), "a snippet above or a file beside the Corefile")
            self._missing.append(Missing(pattern._replace(text=wanted)))
        self._splice(pattern, [token for each in found for token in imported(each, self._files[each])])

    def _splice(self, at: Token, found: Sequence[Token]) -> None:
        if not self._tokens.splice(found):
            raise BadCorefile(at, f"an import that makes more than {MAX_TOKENS:,} words", "allowed")


class _Splicer:
    """A sequence of tokens, in which imported tokens replace the directive `import`."""

    def __init__(self, first: Iterator[Token]) -> None:
        self._rest: list[Iterator[Token]] = [first]
        self._next: Token | None = None
        self._left = MAX_TOKENS
        self.before: Token | None = None

    def peek(self) -> Token | None:
        while self._next is None and self._rest:
            self._next = next(self._rest[-1], None)
            if self._next is None:
                self._rest.pop()
        return self._next

    def take(self) -> Token:
        token = self.peek()
        assert token is not None  # the callers have called `peek`, so there is a token
        self.before, self._next = token, None
        return token

    def is_new_line(self) -> bool:
        """Return whether the next token begins a line.

        As in CoreDNS, a token begins no line if its line number is lower than that of the token before it.
        """
        before, token = self.before, self.peek()
        return before is None or token is None or before.file != token.file or before.last_line < token.line

    def splice(self, found: Sequence[Token]) -> bool:
        """Insert tokens before the next token. Return False if the Corefile then has too many tokens."""
        self._left -= len(found)
        if self._next is not None:
            self._rest.append(iter((self._next,)))
            self._next = None
        self._rest.append(iter(found))
        return self._left >= 0


def _snippet_name(address: Token) -> str:
    text = address.text
    return text[1:-1] if text.startswith("(") and text.endswith(")") else ""


def _line(words: Sequence[Token], starts: Sequence[bool]) -> Line:
    """Return the words of a directive as a line with its block. The caller has checked that the braces are balanced."""
    rest = deque(zip(words, starts, strict=True))
    line = _next_line(rest, 0)
    if rest:
        raise BadCorefile(rest[0][0], quote(rest[0][0].text), 'allowed behind "}"')
    return line


def _next_line(rest: deque[tuple[Token, bool]], depth: int) -> Line:
    words = [rest.popleft()[0]]
    if depth and words[0].text == "{":
        raise BadCorefile(words[0], '"{" at the beginning of a line', "allowed in a block")
    while rest and not rest[0][1] and rest[0][0].text not in ("{", "}"):
        words.append(rest.popleft()[0])
    lines: list[Line] = []
    if rest and rest[0][0].text == "{":
        opening = rest.popleft()[0]
        if depth == MAX_DEPTH:
            raise BadCorefile(opening, f"a block at depth {depth + 1}", "allowed")
        while rest and rest[0][0].text != "}":
            lines.append(_next_line(rest, depth + 1))
        if not rest:  # the brace is the end of a longer word: it comes from an environment variable
            raise BadCorefile(opening, '"{" without "}"', "allowed")
        rest.popleft()
    return Line(tuple(words), tuple(lines))
