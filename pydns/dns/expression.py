"""Reads conditions on a question and its client, as CoreDNS's plugin `view` does (github.com/expr-lang/expr).

    incidr(client_ip(), '10.0.0.0/8') || incidr(client_ip(), 'fd00::/8')
    type() in ['A', 'AAAA'] and not (name() endsWith '.corp.example.')

This module supports the part of the language that Corefiles use. The functions are `client_ip()`, `name()`, `type()`
and `incidr`. The result of `name()` is in lower case and ends with a dot. The operators are `and`, `or`, `not`, `==`,
`!=`, `in`, `startsWith`, `endsWith`, `contains` and `matches` (RE2). Values are texts in quotes, lists of texts, `true`
and `false`.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pydns.dns.address import AddressRange, BadAddress, address_text, parse_address, range_around
from pydns.dns.networks import Networks
from pydns.dns.pattern import BadPattern, Pattern

MAX_EXPRESSION = 10_000  # the maximum number of characters in a condition
_MAX_DEPTH = 50  # maximum number of nested parentheses and negations


class BadExpression(ValueError):
    """A text isn't a condition, or pydns doesn't support a part of the text. The message is the reason."""


class Asker(NamedTuple):
    """A client, and the question that it asks."""

    address: bytes  # 4 or 16 octets
    qname: str  # in lower case, with a final dot
    qtype: str


Condition = Callable[[Asker], bool]
_Value = Callable[[Asker], str]

_FUNCTIONS: dict[str, _Value] = {
    "client_ip": lambda asker: address_text(asker.address),
    "name": lambda asker: asker.qname,
    "type": lambda asker: asker.qtype,
}
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "startsWith": lambda left, right: left.startswith(right),
    "endsWith": lambda left, right: left.endswith(right),
    "contains": lambda left, right: right in left,
}
_OR, _AND, _NOT = ("||", "or"), ("&&", "and"), ("!", "not")
_TOKEN = re.compile(
    r"""\s*(?: (?P<text> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" ) | (?P<word> [A-Za-z_]\w* )
    | (?P<sign> \|\| | && | == | != | [!()\[\],] ) | (?P<end> \Z ) )""",
    re.VERBOSE,
)


def parse(text: str) -> Condition:
    """Return the condition. Raises `BadExpression`."""
    if len(text) > MAX_EXPRESSION:
        raise BadExpression(f"longer than {MAX_EXPRESSION:,} characters")
    reader = _Reader(_tokens(text))
    condition = _either(reader, 0)
    reader.expect("")
    return condition


class _Token(NamedTuple):
    text: str  # without the quotes
    is_text: bool = False


def _tokens(text: str) -> list[_Token]:
    found = []
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise BadExpression(f"{text[position:].strip()[:20]!r} can't be read")
        position = match.end()
        if match["text"] is not None:
            found.append(_Token(re.sub(r"\\(.)", r"\1", match["text"][1:-1], flags=re.DOTALL), is_text=True))
        elif match["end"] is None:
            found.append(_Token(match["word"] or match["sign"]))
        else:
            return [*found, _Token("")]


class _Reader:
    """Reads the tokens of a condition one after the other."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._rest = tokens[::-1]

    def peek(self) -> _Token:
        return self._rest[-1]

    def take(self) -> _Token:
        token = self._rest[-1]
        if len(self._rest) > 1:  # the last token stands for the end of the condition, so it is never removed
            self._rest.pop()
        return token

    def skip(self, *words: str) -> bool:
        """If the next token is one of `words`, take the token and return True. Otherwise return False."""
        token = self._rest[-1]
        if token.is_text or token.text not in words:
            return False
        self.take()
        return True

    def expect(self, word: str) -> None:
        token = self.take()
        if token.is_text or token.text != word:
            raise BadExpression(f"found {_shown(token)}, wanted {repr(word) if word else 'the end'}")


def _shown(token: _Token) -> str:
    return repr(token.text[:20]) if token.text or token.is_text else "the end"


def _either(reader: _Reader, depth: int) -> Condition:
    parts = [_both(reader, depth)]
    while reader.skip(*_OR):
        parts.append(_both(reader, depth))
    return parts[0] if len(parts) == 1 else lambda asker: any(part(asker) for part in parts)


def _both(reader: _Reader, depth: int) -> Condition:
    parts = [_single(reader, depth)]
    while reader.skip(*_AND):
        parts.append(_single(reader, depth))
    return parts[0] if len(parts) == 1 else lambda asker: all(part(asker) for part in parts)


def _single(reader: _Reader, depth: int) -> Condition:
    if depth > _MAX_DEPTH:
        raise BadExpression("nested too deeply")
    if reader.skip(*_NOT):
        negated = _single(reader, depth + 1)
        return lambda asker: not negated(asker)
    if reader.skip("("):
        inner = _either(reader, depth + 1)
        reader.expect(")")
        return inner
    if reader.skip("true"):
        return lambda _: True
    if reader.skip("false"):
        return lambda _: False
    if reader.skip("incidr"):
        return _incidr(reader)
    return _comparison(reader)


def _incidr(reader: _Reader) -> Condition:
    reader.expect("(")
    reader.expect("client_ip")
    for word in ("(", ")", ","):
        reader.expect(word)
    networks = Networks([_network(_text(reader))])
    reader.expect(")")
    return lambda asker: asker.address in networks


def _network(text: str) -> AddressRange:
    """Parse a network such as 10.0.0.0/8. Bits after the prefix are ignored, as in Go's `ParseCIDR`."""
    address, _, length = text.partition("/")
    try:
        return range_around(parse_address(address), length)
    except BadAddress:
        raise BadExpression(f"{text[:50]!r} is not a network, such as 10.0.0.0/8") from None


def _comparison(reader: _Reader) -> Condition:
    value = _value(reader)
    is_negated = reader.skip("not")
    token = reader.take()
    operator = "" if token.is_text else token.text
    if operator == "in":
        found = _list(reader)
        condition: Condition = lambda asker: value(asker) in found  # noqa: E731
    elif operator == "matches":
        condition = _matching(value, _text(reader))
    elif operator in _COMPARISONS:
        compare, other = _COMPARISONS[operator], _value(reader)
        condition = lambda asker: compare(value(asker), other(asker))  # noqa: E731
    else:
        raise BadExpression(f"found {_shown(token)}, wanted a comparison")
    return (lambda asker: not condition(asker)) if is_negated else condition


def _matching(value: _Value, text: str) -> Condition:
    try:
        pattern = Pattern(text)
    except BadPattern as error:
        raise BadExpression(f"the pattern {error}") from None
    return lambda asker: pattern.search(value(asker)) is not None


def _value(reader: _Reader) -> _Value:
    token = reader.take()
    if token.is_text:
        return lambda _: token.text
    function = _FUNCTIONS.get(token.text)
    if function is None:
        known = ", ".join(f"{each}()" for each in _FUNCTIONS)
        raise BadExpression(f"found {_shown(token)}, wanted a text or one of {known}")
    reader.expect("(")
    reader.expect(")")
    return function


def _text(reader: _Reader) -> str:
    token = reader.take()
    if not token.is_text:
        raise BadExpression(f"found {_shown(token)}, wanted a text in quotes")
    return token.text


def _list(reader: _Reader) -> frozenset[str]:
    reader.expect("[")
    found: list[Any] = []
    while not reader.skip("]"):
        found.append(_text(reader))
        if not reader.skip(","):
            reader.expect("]")
            break
    return frozenset(found)
