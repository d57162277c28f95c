r"""Regular expressions as CoreDNS reads them (Go's `regexp`, RE2 syntax), matched in linear time.

Python's `re` backtracks: some patterns take exponential time for a hostile name. Here a search visits each pair of an
instruction and a position at most once. Go's own backtracker for short texts works in the same way. So captures are
the same as in Go: the leftmost match, with Perl's preferences.

Names are ASCII in lower case, so a pattern may contain only ASCII. Unicode classes (`\p{Greek}`) and `\C` are refused.
"""

from collections.abc import Iterator
from enum import Enum, auto
from itertools import groupby
from typing import Any, NamedTuple

MAX_PATTERN = 10_000  # octets, as in CoreDNS
MAX_INSTRUCTIONS = 2_000  # a search takes at most this number times the length of the name
MAX_REPEAT = 1_000  # as in Go
MAX_DEPTH = 100  # nested groups


class BadPattern(ValueError):
    """A text that isn't a pattern, or a pattern that is too large. The message is the reason."""


class _Op(Enum):
    """The kinds of instructions. The second field of an instruction depends on the kind."""

    LITERAL = auto()  # octets that must come next
    ONE_OF = auto()  # a set of octets, one of which must come next
    SPLIT = auto()  # the instruction to try if the next one fails
    SAVE = auto()  # the index of a capture that begins or ends here
    BEGIN = auto()
    END = auto()
    BOUNDARY = auto()  # whether a word must begin or end here, or must not
    LINE_BEGIN = auto()
    LINE_END = auto()
    FAIL = auto()
    MATCH = auto()


class _Kind(Enum):
    """The kinds of nodes in the tree of a pattern."""

    ONE_OF = auto()
    ASSERT = auto()
    CAT = auto()
    ALTERNATE = auto()
    REPEAT = auto()
    CAPTURE = auto()


class _Node(NamedTuple):
    """A part of a pattern. The meaning of `value` depends on the kind."""

    kind: _Kind
    value: Any = None
    parts: "tuple[_Node, ...]" = ()


class _Bounds(NamedTuple):
    """The value of a repetition."""

    least: int
    most: int | None
    is_greedy: bool


_Instruction = tuple[_Op, Any, int]  # kind, argument, next instruction

_ANY_OCTET = frozenset(range(128))
_DIGITS = frozenset(b"0123456789")
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_BLANK = frozenset(b"\t\n\f\r ")
_LOWER = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_UPPER = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PRINTED = frozenset(range(33, 127))
_SHORTHANDS = {
    "d": _DIGITS,
    "D": _ANY_OCTET - _DIGITS,
    "w": _WORD,
    "W": _ANY_OCTET - _WORD,
    "s": _BLANK,
    "S": _ANY_OCTET - _BLANK,
}
_POSIX = {
    "alnum": _LOWER | _UPPER | _DIGITS,
    "alpha": _LOWER | _UPPER,
    "ascii": _ANY_OCTET,
    "blank": frozenset(b"\t "),
    "cntrl": frozenset([*range(32), 127]),
    "digit": _DIGITS,
    "graph": _PRINTED,
    "lower": _LOWER,
    "print": _PRINTED | {32},
    "punct": _PRINTED - _LOWER - _UPPER - _DIGITS,
    "space": _BLANK | {11},
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": _DIGITS | frozenset(b"abcdefABCDEF"),
}
_CONTROLS = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_ASSERTIONS = {
    "A": (_Op.BEGIN, None),
    "z": (_Op.END, None),
    "b": (_Op.BOUNDARY, True),
    "B": (_Op.BOUNDARY, False),
}


class Pattern:
    """A compiled pattern."""

    def __init__(self, text: str) -> None:
        """Compile a pattern. Raises `BadPattern`."""
        self.text = text
        parser = _Parser(text)
        tree = parser.parse()
        self.groups: tuple[str, ...] = tuple(parser.groups)  # names of the groups; a group without a name has ""
        self._saves = 2 * len(self.groups)
        self._program: list[_Instruction] = []
        self._entry = self._emit(_capture(0, tree), self._add(_Op.MATCH, None, 0))
        self._is_anchored = _begins(tree)
        self._needed = _needed(tree)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def search(self, text: str) -> tuple[str, ...] | None:
        """Return the leftmost match and its groups, or None. A group that isn't part of the match is empty."""
        if not text.isascii():
            return None
        octets = text.encode()
        if self._needed not in octets:
            return None
        saves = self._search(octets)
        if saves is None:
            return None
        return tuple([text[saves[at] : saves[at + 1]] for at in range(0, len(saves), 2)])

    def _search(self, octets: bytes) -> tuple[int, ...] | None:
        program, size = self._program, len(octets)
        width = size + 1
        visited = bytearray(len(program) * width)
        for start in range(1 if self._is_anchored else width):
            stack = [(self._entry, start, (0,) * self._saves)]
            while stack:
                at, position, saves = stack.pop()
                while not visited[place := at * width + position]:
                    visited[place] = 1
                    op, argument, following = program[at]
                    if op is _Op.ONE_OF:
                        if position == size or octets[position] not in argument:
                            break
                        position += 1
                    elif op is _Op.LITERAL:
                        if not octets.startswith(argument, position):
                            break
                        position += len(argument)
                    elif op is _Op.SPLIT:
                        stack.append((argument, position, saves))
                    elif op is _Op.SAVE:
                        saves = (*saves[:argument], position, *saves[argument + 1 :])
                    elif op is _Op.MATCH:
                        return saves
                    elif not _holds(op, argument, octets, position):
                        break
                    at = following
        return None

    # Compilation, from the end to the begin: each instruction knows the next one.

    def _add(self, op: _Op, argument: Any, following: int) -> int:
        if len(self._program) == MAX_INSTRUCTIONS:
            raise BadPattern(f"is larger than {MAX_INSTRUCTIONS} instructions")
        self._program.append((op, argument, following))
        return len(self._program) - 1

    def _emit(self, node: _Node, following: int) -> int:
        """Add the instructions of a node. Return the first of them. `following` comes after the node."""
        kind, value, parts = node
        if kind is _Kind.ONE_OF:
            if len(value) == 1:
                return self._add(_Op.LITERAL, bytes(value), following)
            return self._add(_Op.ONE_OF, value, following) if value else self._add(_Op.FAIL, None, following)
        if kind is _Kind.ASSERT:
            return self._add(value[0], value[1], following)
        if kind is _Kind.CAPTURE:
            end = self._add(_Op.SAVE, 2 * value + 1, following)
            return self._add(_Op.SAVE, 2 * value, self._emit(parts[0], end))
        if kind is _Kind.CAT:
            for is_literal, run in groupby(reversed(parts), _is_literal):
                if is_literal:
                    octets = b"".join([bytes(part.value) for part in run])[::-1]
                    following = self._add(_Op.LITERAL, octets, following)
                else:
                    for part in run:
                        following = self._emit(part, following)
            return following
        if kind is _Kind.ALTERNATE:
            *others, last = parts
            entry = self._emit(last, following)
            for part in reversed(others):
                entry = self._add(_Op.SPLIT, entry, self._emit(part, following))
            return entry
        return self._repeat(parts[0], value, following)

    def _repeat(self, part: _Node, bounds: _Bounds, following: int) -> int:
        least, most, is_greedy = bounds
        if most is None:
            if least == 0 and _may_be_empty(part):
                # As in Go: (x+)? prefers the same match as Perl's x*, if x may be empty.
                return self._option(_Node(_Kind.REPEAT, _Bounds(1, None, is_greedy), (part,)), is_greedy, following)
            loop = self._add(_Op.SPLIT, None, following)
            body = self._emit(part, loop)
            self._program[loop] = (_Op.SPLIT, following, body) if is_greedy else (_Op.SPLIT, body, following)
            entry, least = (loop, 0) if least == 0 else (body, least - 1)
        else:
            entry = following
            for _ in range(most - least):
                entry = self._option(part, is_greedy, entry, following)
        for _ in range(least):
            entry = self._emit(part, entry)
        return entry

    def _option(self, part: _Node, is_greedy: bool, following: int, otherwise: int | None = None) -> int:
        otherwise = following if otherwise is None else otherwise
        body = self._emit(part, following)
        first, second = (body, otherwise) if is_greedy else (otherwise, body)
        return self._add(_Op.SPLIT, second, first)


def _holds(op: _Op, argument: Any, octets: bytes, position: int) -> bool:
    before, after = octets[position - 1 : position] if position else b"", octets[position : position + 1]
    match op:
        case _Op.BEGIN:
            return position == 0
        case _Op.END:
            return position == len(octets)
        case _Op.LINE_BEGIN:
            return before in (b"", b"\n")
        case _Op.LINE_END:
            return after in (b"", b"\n")
        case _Op.BOUNDARY:
            words = [each != b"" and each[0] in _WORD for each in (before, after)]
            return bool((words[0] != words[1]) == argument)
        case _:
            return False


def _is_literal(node: _Node) -> bool:
    return node.kind is _Kind.ONE_OF and len(node.value) == 1


def _capture(index: int, node: _Node) -> _Node:
    return _Node(_Kind.CAPTURE, index, (node,))


def _may_be_empty(node: _Node) -> bool:
    kind, value, parts = node
    if kind is _Kind.ALTERNATE:
        return any(map(_may_be_empty, parts))
    if kind is _Kind.REPEAT and value.least == 0:
        return True
    return kind is not _Kind.ONE_OF and all(map(_may_be_empty, parts))


def _begins(node: _Node) -> bool:
    """Return whether a match can only begin at the start of the text."""
    kind, value, parts = node
    if kind is _Kind.ASSERT:
        return bool(value[0] is _Op.BEGIN)
    return kind in (_Kind.CAT, _Kind.CAPTURE) and bool(parts) and _begins(parts[0])


def _needed(node: _Node) -> bytes:
    """Return the longest run of octets that every match contains. Most names lack it, so a search costs little."""
    runs = [b""]
    for part in _sequence(node):
        if _is_literal(part):
            runs[-1] += bytes(part.value)
        elif part.kind is not _Kind.ASSERT:
            runs.append(b"")
    return max(runs, key=len)


def _sequence(node: _Node) -> Iterator[_Node]:
    if node.kind in (_Kind.CAT, _Kind.CAPTURE):
        for part in node.parts:
            yield from _sequence(part)
    else:
        yield node


class _Flags(NamedTuple):
    ignore_case: bool = False
    multiline: bool = False
    dot_is_any: bool = False
    swap_greed: bool = False


_FLAG_NAMES = {"i": "ignore_case", "m": "multiline", "s": "dot_is_any", "U": "swap_greed"}


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > MAX_PATTERN:
            raise BadPattern(f"is longer than {MAX_PATTERN:,} characters")
        if not text.isascii():
            raise BadPattern("has a character beyond ASCII, and no name has one")
        self._text = text
        self._at = 0
        self._depth = 0
        self._flags = _Flags()
        self.groups = [""]

    def parse(self) -> _Node:
        node = self._alternate()
        if self._at < len(self._text):
            raise BadPattern('has ")" without "("')
        return node

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, wanted: str = "") -> bool:
        """Move on if the text goes on with `wanted`."""
        if self._text.startswith(wanted, self._at):
            self._at += len(wanted)
            return True
        return False

    def _alternate(self) -> _Node:
        flags = self._flags  # flags that are set within a group end with it
        parts = [self._cat()]
        while self._take("|"):
            parts.append(self._cat())
        self._flags = flags
        return parts[0] if len(parts) == 1 else _Node(_Kind.ALTERNATE, None, tuple(parts))

    def _cat(self) -> _Node:
        parts: list[_Node] = []
        can_repeat = False
        while (char := self._next()) and char not in "|)":
            bounds = self._bounds()
            if bounds is None:
                found = self._atom()
                parts += found
                can_repeat = bool(found)
                continue
            if not can_repeat:
                raise BadPattern(f"has {char!r} without something to repeat")
            parts[-1] = _Node(_Kind.REPEAT, bounds, (parts[-1],))
            can_repeat = False
        return parts[0] if len(parts) == 1 else _Node(_Kind.CAT, None, tuple(parts))

    def _bounds(self) -> _Bounds | None:
        """Take a repetition, if there is one here."""
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._next())
        if simple is not None:
            self._at += 1
            least, most = simple
        elif (counted := self._counted()) is not None:
            least, most = counted
        else:
            return None
        return _Bounds(least, most, self._take("?") == self._flags.swap_greed)

    def _counted(self) -> tuple[int, int | None] | None:
        """Take `{n}`, `{n,}` or `{n,m}`. Other braces are ordinary characters."""
        end = self._text.find("}", self._at)
        if self._next() != "{" or end < 0:
            return None
        low, comma, high = self._text[self._at + 1 : end].partition(",")
        if not low.isdigit() or (high and not high.isdigit()) or len(low) > 9 or len(high) > 9:
            return None
        self._at = end + 1
        least = int(low)
        most = int(high) if high else None if comma else least
        if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
            raise BadPattern(f"has a repetition that isn't within 0 and {MAX_REPEAT}")
        return least, most

    def _atom(self) -> list[_Node]:
        char = self._next()
        self._at += 1
        if char == "(":
            return self._group()
        if char == "[":
            return [self._class()]
        if char == ".":
            return [_Node(_Kind.ONE_OF, _ANY_OCTET if self._flags.dot_is_any else _ANY_OCTET - {10})]
        if char == "^":
            return [_Node(_Kind.ASSERT, (_Op.LINE_BEGIN if self._flags.multiline else _Op.BEGIN, None))]
        if char == "$":
            return [_Node(_Kind.ASSERT, (_Op.LINE_END if self._flags.multiline else _Op.END, None))]
        if char == "\\":
            if self._next() in _ASSERTIONS and self._next():
                self._at += 1
                return [_Node(_Kind.ASSERT, _ASSERTIONS[self._text[self._at - 1]])]
            if self._take("Q"):
                quoted, _, rest = self._text[self._at :].partition("\\E")
                self._at = len(self._text) - len(rest)
                return [self._octets(frozenset([ord(each)])) for each in quoted]
            return [self._octets(self._escape())]
        return [self._octets(frozenset([ord(char)]))]

    def _octets(self, octets: frozenset[int]) -> _Node:
        if self._flags.ignore_case:
            octets |= {each ^ 32 for each in octets & (_LOWER | _UPPER)}
        return _Node(_Kind.ONE_OF, octets)

    def _group(self) -> list[_Node]:
        index = None
        before = self._flags
        if self._take("?"):
            if self._take("P<") or self._take("<"):
                name, closing, _ = self._text[self._at :].partition(">")
                if not closing or not name or not all(ord(each) in _WORD for each in name) or name in self.groups:
                    raise BadPattern("has a group with an invalid name")
                self._at += len(name) + 1
                index = len(self.groups)
                self.groups.append(name)
            elif not self._set_flags():
                return []  # `(?i)` is for the rest of the group around it
        else:
            index = len(self.groups)
            self.groups.append("")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadPattern(f"has groups nested deeper than {MAX_DEPTH}")
        node = self._alternate()
        if not self._take(")"):
            raise BadPattern('has "(" without ")"')
        self._depth -= 1
        self._flags = before
        return [node if index is None else _capture(index, node)]

    def _set_flags(self) -> bool:
        """Take the flags of a group. Return whether the group has a content."""
        value = True
        while (char := self._next()) not in ("", ":", ")"):
            self._at += 1
            if char == "-" and value:
                value = False
            elif char in _FLAG_NAMES:
                self._flags = self._flags._replace(**{_FLAG_NAMES[char]: value})
            else:
                raise BadPattern(f"has an unknown group (?{char}")
        self._at += 1
        return char == ":"

    def _class(self) -> _Node:
        is_negated = self._take("^")
        found: frozenset[int] = frozenset()
        is_first = True
        while is_first or self._next() != "]":
            is_first = False
            if not self._next():
                raise BadPattern('has "[" without "]"')
            if self._text.startswith("[:", self._at) and (end := self._text.find(":]", self._at)) > 0:
                found |= self._posix(self._text[self._at + 2 : end])
                self._at = end + 2
                continue
            low = self._member()
            rest = self._text[self._at : self._at + 2]
            if len(rest) == 2 and rest[0] == "-" and rest[1] != "]" and len(low) == 1:
                self._at += 1
                high = self._member()
                if len(high) != 1 or min(high) < min(low):
                    raise BadPattern("has an invalid range in a class")
                low = frozenset(range(min(low), min(high) + 1))
            found |= low
        self._at += 1
        if self._flags.ignore_case:
            found |= {each ^ 32 for each in found & (_LOWER | _UPPER)}
        return _Node(_Kind.ONE_OF, _ANY_OCTET - found if is_negated else found)

    def _posix(self, name: str) -> frozenset[int]:
        known = _POSIX.get(name.removeprefix("^"))
        if known is None:
            raise BadPattern(f"has an unknown class [:{name}:]")
        return _ANY_OCTET - known if name.startswith("^") else known

    def _member(self) -> frozenset[int]:
        char = self._next()
        self._at += 1
        return self._escape() if char == "\\" else frozenset([ord(char)])

    def _escape(self) -> frozenset[int]:
        """Return the octets that an escape matches. The backslash has been taken."""
        char = self._next()
        self._at += 1
        if char in _SHORTHANDS:
            return _SHORTHANDS[char]
        if char in _CONTROLS:
            return frozenset([_CONTROLS[char]])
        if char == "x":
            return frozenset([self._hexadecimal()])
        if char and not char.isalnum():
            return frozenset([ord(char)])
        raise BadPattern(f"has an unknown escape \\{char}")

    def _hexadecimal(self) -> int:
        rest = self._text[self._at :]
        digits = rest[1:].partition("}")[0] if rest.startswith("{") else rest[:2]
        if not digits or len(digits) > 6 or not all(ord(each) in _POSIX["xdigit"] for each in digits):
            raise BadPattern("has an invalid escape \\x")
        self._at += len(digits) + (2 if rest.startswith("{") else 0)
        if int(digits, 16) > 127:
            raise BadPattern("has a character beyond ASCII, and no name has one")
        return int(digits, 16)
