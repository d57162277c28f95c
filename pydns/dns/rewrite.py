"""Rules of CoreDNS's plugin `rewrite`. A rule changes the client's question, or the answer, or both.

`parse` reads one rule. `rewritten` applies rules in order to a question. `revert` turns the answer to the changed
question into an answer to the client's question. The names of questions are text in lower case with a final dot, as
in CoreDNS, because a rule may match a part of a label.

If a rule lacks `answer auto`, CoreDNS answers with the records of another name, and resolvers drop this answer. In
pydns, the first owner is always the client's name, so resolvers keep the answer. DIFFERENCES.md lists this difference.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydns.dns import name
from pydns.dns.message import Rcode
from pydns.dns.pattern import BadPattern, Pattern
from pydns.dns.rrset import CNAME, DNAME, MX, NS, PTR, SOA, SRV, RRset, type_number

_MAX_TTL = (1 << 31) - 1
_GROUP = re.compile(r"\{(0|[1-9][0-9]{0,2})\}")
_VALUE_AT = {SRV: 6, MX: 2, CNAME: 0, NS: 0, DNAME: 0, PTR: 0, SOA: 0}  # type -> offset of the name in RDATA
_KINDS = ("exact", "prefix", "suffix", "substring", "regex")
# The rcodes that a rule may contain. Rcodes 7 to 10 belong to dynamic updates, and rcodes 16 to 23 to EDNS and TSIG.
_RCODES = {rcode.name: int(rcode) for rcode in Rcode if rcode <= Rcode.YXDOMAIN}


class BadRule(ValueError):
    """A text isn't a rule, or pydns doesn't support the rule.

    The message describes what was found and what was wanted.
    """

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"{found} is not {wanted}")
        self.found = found
        self.wanted = wanted


class UnsupportedRule(BadRule):
    """pydns doesn't support this rule of CoreDNS."""


class Question(NamedTuple):
    """A question of class IN."""

    qname: str  # in lower case, with a final dot
    qtype: int


class Answer(NamedTuple):
    """An answer as RRsets. `message.compose_reply` makes octets of it."""

    rcode: int
    answers: Sequence[RRset] = ()
    authorities: Sequence[RRset] = ()
    additionals: Sequence[RRset] = ()
    onward: bytes = b""  # the name, in lower case, whose records are still missing; empty if none are missing


# Changes of texts


@dataclass(frozen=True, slots=True)
class Remap:
    """Replaces the name `old` by the name `new`. In a name below `old`, only the end is replaced."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        """Return the name with its new end. A name that isn't at or below `old` is returned as it is."""
        rest = text.removesuffix(self.old)
        return rest + self.new if text.endswith(self.old) and (not rest or rest.endswith(".")) else text


@dataclass(frozen=True, slots=True)
class Suffix:
    """Replaces the end of a text."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        """Return the text with its new end. A text that doesn't end with `old` is returned as it is."""
        return text.removesuffix(self.old) + self.new if text.endswith(self.old) else text


@dataclass(frozen=True, slots=True)
class Prefix:
    """Replaces the beginning of a text."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        """Return the text with its new beginning. A text that doesn't begin with `old` is returned as it is."""
        return self.new + text.removeprefix(self.old) if text.startswith(self.old) else text


@dataclass(frozen=True, slots=True)
class Whole:
    """Replaces a text."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        """Return the new text. Any other text than `old` is returned as it is."""
        return self.new if text == self.old else text


@dataclass(frozen=True, slots=True)
class Substring:
    """Replaces a part of a text, wherever it occurs."""

    old: str
    new: str

    def __call__(self, text: str) -> str:
        """Return the text with `new` in place of `old`."""
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Captures:
    """Replaces a text that matches a pattern. `{1}` in the new text stands for the first group of the pattern."""

    pattern: Pattern
    new: str

    def __call__(self, text: str) -> str:
        """Return the new text. A text that doesn't match is returned as it is."""
        found = self.pattern.search(text)
        return text if found is None else filled(self.new, found)


def filled(text: str, groups: Sequence[str]) -> str:
    """Return a text with `{0}`, `{1}` and so on replaced by groups.

    CoreDNS also replaces a `{1}` that is part of a group's text. pydns doesn't, because a hostile name could make the
    result grow exponentially.
    """
    return _GROUP.sub(lambda found: groups[int(found[1])] if int(found[1]) < len(groups) else found[0], text)


Change = Callable[[str], str]


# Changes of an answer


class OwnerChange(NamedTuple):
    """Changes the owners of records."""

    change: Change


class ValueChange(NamedTuple):
    """Changes the names in RDATA."""

    change: Change


class TtlRange(NamedTuple):
    """Keeps the TTLs of all records within a range."""

    least_s: int
    most_s: int


class RcodeChange(NamedTuple):
    """Replaces one rcode of an answer by another one."""

    old: int
    new: int


class TargetChange(NamedTuple):
    """Replaces the target of a CNAME. The records of the new target replace those of the old one."""

    change: Change


AnswerChange = OwnerChange | ValueChange | TtlRange | RcodeChange | TargetChange


class Rewriting(NamedTuple):
    """A changed question, and the changes of its answer in the order in which pydns makes them."""

    question: Question
    changes: tuple[AnswerChange, ...] = ()


class Rule(NamedTuple):
    """A rule. `apply` returns None for a question that doesn't match the rule."""

    apply: Callable[[Question], Rewriting | None]
    stops: bool = True  # whether a question that matches this rule skips the rules after it


def rewritten(rules: Sequence[Rule], question: Question) -> Rewriting | None:
    """Apply the rules to a question.

    Return the changed question, or None if no rule matches. The name in the changed question may be invalid.
    """
    found: Rewriting | None = None
    for rule in rules:
        applied = rule.apply(question)
        if applied is None:
            continue
        question = applied.question
        # The change that was made last is the first to be reverted.
        found = Rewriting(question, (*reversed(applied.changes), *(found.changes if found else ())))
        if rule.stops or wire(question.qname) is None:
            break
    return found


def wire(text: str) -> bytes | None:
    """Return the name that a text contains, in wire form. Return None if the text is not a name."""
    try:
        return name.from_text(text)
    except name.BadName:
        return None


def revert(changes: Sequence[AnswerChange], asked: bytes, looked_up: bytes, answer: Answer) -> Answer:
    """Return the answer to the question `asked`, made from the answer to the question `looked_up`.

    The first owner in the answer section is the name of `asked`. Each further owner is the target of the CNAME before
    it. If a rule changes the target of a CNAME, the result ends with this CNAME, and `onward` is the new target.
    """
    owners = {looked_up: asked}
    last = asked
    answers: list[RRset] = []
    for rrset in answer.answers:
        owner = owners.get(rrset.owner.lower())
        if owner is None and rrset.rtype == DNAME:
            continue  # skip the DNAME: the CNAME that was made from it is the next RRset
        for replaced in _targets(changes, rrset):
            cname = rrset._replace(owner=owner or asked, ttl_s=_ttl(changes, rrset.ttl_s), rdatas=(replaced,))
            return Answer(Rcode.NOERROR, [*answers, cname], onward=replaced.lower())
        changed = _changed(changes, rrset)._replace(owner=owner or last)
        if rrset.rtype == CNAME:
            last = owners.setdefault(rrset.rdatas[0].lower(), changed.rdatas[0])
        answers.append(changed)
    authorities = [_changed(changes, rrset) for rrset in answer.authorities]
    # The owner of a SOA record must be an ancestor of the name that the answer denies, or this name itself.
    authorities = [
        each._replace(owner=last) if each.rtype == SOA and not name.is_at_or_below(last, each.owner) else each
        for each in authorities
    ]
    additionals = [_changed(changes, rrset) for rrset in answer.additionals]
    rcode = answer.rcode
    for change in changes:
        if isinstance(change, RcodeChange) and change.old == rcode:
            rcode = change.new
    onward = answer.onward and owners.get(answer.onward, answer.onward)
    return Answer(rcode, answers, authorities, additionals, onward)


def _targets(changes: Sequence[AnswerChange], rrset: RRset) -> Iterator[bytes]:
    """Yield the new target if a rule replaces the target of this CNAME."""
    if rrset.rtype == CNAME:
        target = name.to_text(rrset.rdatas[0].lower())
        for change in changes:
            if isinstance(change, TargetChange) and (new := change.change(target)) != target and (found := wire(new)):
                yield found


def _changed(changes: Sequence[AnswerChange], rrset: RRset) -> RRset:
    owner, rdatas = rrset.owner, rrset.rdatas
    for change in changes:
        if isinstance(change, OwnerChange):
            owner = _changed_name(change.change, owner)
        elif isinstance(change, ValueChange) and rrset.rtype in _VALUE_AT:
            at = _VALUE_AT[rrset.rtype]
            rdatas = tuple([_changed_value(change.change, each, at) for each in rdatas])
    additional = tuple([_changed(changes, each) for each in rrset.additional])
    return rrset._replace(owner=owner, rdatas=rdatas, ttl_s=_ttl(changes, rrset.ttl_s), additional=additional)


def _ttl(changes: Sequence[AnswerChange], ttl_s: int) -> int:
    for change in changes:
        if isinstance(change, TtlRange):
            ttl_s = min(max(ttl_s, change.least_s), change.most_s)
    return ttl_s


def _changed_value(change: Change, rdata: bytes, at: int) -> bytes:
    end = at
    while rdata[end]:
        end += 1 + rdata[end]
    return rdata[:at] + _changed_name(change, rdata[at : end + 1]) + rdata[end + 1 :]


def _changed_name(change: Change, owner: bytes) -> bytes:
    text = name.to_text(owner)
    changed = change(text)
    return owner if changed == text else wire(changed) or owner


# Reading


def parse(words: Sequence[str]) -> Rule:
    """Read a rule: the words that come after `rewrite`. Raises `BadRule`."""
    stops = True
    if words and words[0].lower() in ("stop", "continue"):
        stops = words[0].lower() == "stop"
        words = words[1:]
    if not words:
        raise BadRule("a rule without a field", "complete")
    field = words[0].lower()
    if field in _UNSUPPORTED:
        raise UnsupportedRule(f'"{words[0]}"', f"carried out here: {_UNSUPPORTED[field]}")
    if field not in _FIELDS:
        raise BadRule(f'"{words[0]}"', f"one of {', '.join(_FIELDS)}")
    return Rule(_FIELDS[field](list(words[1:])), stops)


def _name(words: list[str]) -> Callable[[Question], Rewriting | None]:
    if len(words) == 2:
        words = ["exact", *words]
    if len(words) < 3 or words[0].lower() not in _KINDS:
        raise BadRule(f"name {' '.join(words[:3])}", f"complete: it needs {' or '.join(_KINDS)}, and two names")
    kind, old, written = words[0].lower(), words[1], words[2]
    new = _absolute(written)
    options = _options(words[3:])
    if kind == "regex":
        pattern = _pattern(old)
        _check_groups(pattern, written)
        change: Change = Captures(pattern, new)
        return _name_rule(lambda text: pattern.search(text) is not None, change, options)
    old = _absolute(old)
    match kind:
        case "exact":
            options = options._replace(is_auto=True)
            return _name_rule(lambda text: text == old, lambda _: new, options)
        case "prefix":
            return _name_rule(lambda text: text.startswith(old), lambda text: new + text.removeprefix(old), options)
        case "suffix":
            # In all names of the answer, the old suffix replaces the new one again, as in CoreDNS.
            if options.is_auto:
                swap = Suffix(new, old)
                options = _Options(False, (OwnerChange(swap), ValueChange(swap), *options.changes))
            return _name_rule(lambda text: text.endswith(old), Suffix(old, new), options)
        case _:
            return _name_rule(lambda text: old in text, lambda text: text.replace(old, new), options)


class _Options(NamedTuple):
    """The options `answer …` of a rule that changes names."""

    is_auto: bool = False
    changes: tuple[AnswerChange, ...] = ()


def _name_rule(
    matches: Callable[[str], bool], change: Change, options: _Options
) -> Callable[[Question], Rewriting | None]:
    def apply(question: Question) -> Rewriting | None:
        if not matches(question.qname):
            return None
        new = change(question.qname)
        changes = options.changes
        if options.is_auto:
            back = Remap(new, question.qname)
            changes = (OwnerChange(back), ValueChange(back), *changes)
        return Rewriting(question._replace(qname=new), changes)

    return apply


def _options(words: list[str]) -> _Options:
    """Read `answer (auto | name FROM TO | value FROM TO)…`.

    Only the first option needs the word `answer`.
    """
    found: list[AnswerChange] = []
    is_auto = is_named = False
    if words and (words[0] != "answer" or len(words) < 2):
        raise BadRule(" ".join(words), "one of the options answer auto, answer name and answer value")
    while words:
        if words[0] == "answer":
            del words[0]
        option = words.pop(0) if words else ""
        if option == "auto":
            is_auto = True
            continue
        if option not in ("name", "value") or len(words) < 2:
            raise BadRule(f"answer {option}".strip(), "complete: it needs auto, name FROM TO or value FROM TO")
        old, new = words[0], words[1]
        del words[:2]
        pattern = _pattern(old)
        _check_groups(pattern, new)
        change = Captures(pattern, _absolute(new))
        is_named = is_named or option == "name"
        found.append(OwnerChange(change) if option == "name" else ValueChange(change))
    if is_auto and is_named:
        raise BadRule("answer auto with answer name", "allowed")
    return _Options(is_auto, tuple(found))


def _ttl_field(words: list[str]) -> Callable[[Question], Rewriting | None]:
    if not 2 <= len(words) <= 3:
        raise BadRule(f"ttl {' '.join(words)}", "complete: it needs a name and a TTL in seconds")
    low, dash, high = words[-1].partition("-")
    numbers = [each for each in (low, high) if each]
    if not numbers or any(not each.isdecimal() or not each.isascii() or len(each) > 10 for each in numbers):
        raise BadRule(f'"{words[-1]}"', "a TTL in seconds, or a range such as 30-300")
    least = int(low or 0)
    most = int(high) if high else _MAX_TTL if dash else least
    if not least <= most <= _MAX_TTL:
        raise BadRule(f'"{words[-1]}"', f"a range between 0 and {_MAX_TTL}")
    return _condition(words[:-1], TtlRange(least, most))


def _rcode_field(words: list[str]) -> Callable[[Question], Rewriting | None]:
    if not 3 <= len(words) <= 4:
        raise BadRule(f"rcode {' '.join(words)}", "complete: it needs a name and two rcodes")
    old, new = (_rcode(each) for each in words[-2:])
    return _condition(words[:-2], RcodeChange(old, new))


def _rcode(text: str) -> int:
    found = _RCODES.get(text.upper(), int(text) if text.isascii() and text.isdecimal() and len(text) < 3 else -1)
    if found not in _RCODES.values():
        raise BadRule(f'"{text}"', f"one of {', '.join(_RCODES)}")
    return found


def _condition(words: list[str], change: AnswerChange) -> Callable[[Question], Rewriting | None]:
    """Return the function of a rule that only changes the answers to questions whose names match."""
    kind, text = (words[0].lower(), words[1]) if len(words) == 2 else ("exact", words[0])
    if kind not in _KINDS:
        raise BadRule(f'"{kind}"', f"one of {', '.join(_KINDS)}")
    matches = _test(kind, text)
    return lambda question: Rewriting(question, (change,)) if matches(question.qname) else None


def _test(kind: str, text: str) -> Callable[[str], bool]:
    if kind == "regex":
        pattern = _pattern(text)
        return lambda qname: pattern.search(qname) is not None
    text = _absolute(text)
    return {
        "exact": lambda qname: bool(qname == text),
        "prefix": lambda qname: bool(qname.startswith(text)),
        "suffix": lambda qname: bool(qname.endswith(text)),
        "substring": lambda qname: bool(text in qname),
    }[kind]


def _type_field(words: list[str]) -> Callable[[Question], Rewriting | None]:
    if len(words) != 2:
        raise BadRule(f"type {' '.join(words)}", "complete: it needs two types")
    old, new = (_type(each) for each in words)
    return lambda question: Rewriting(question._replace(qtype=new)) if question.qtype == old else None


def _type(text: str) -> int:
    found = type_number(text)
    if found is None:
        raise BadRule(f'"{text}"', "a type of records")
    return found


def _cname_field(words: list[str]) -> Callable[[Question], Rewriting | None]:
    kind = words[0].lower() if len(words) == 3 else "exact"
    if not 2 <= len(words) <= 3 or kind not in _KINDS:
        raise BadRule(f"cname {' '.join(words)}", f"complete: it needs {' or '.join(_KINDS)}, and two names")
    old, new = (each.lower() for each in words[-2:])
    match kind:
        case "exact":
            change: Change = Whole(_absolute(old), _absolute(new))
        case "prefix":
            change = Prefix(old, new)
        case "suffix":
            change = Suffix(old, new)
        case "substring":
            change = Substring(old, new)
        case _:
            change = Captures(_pattern(old), new)
    return lambda question: Rewriting(question, (TargetChange(change),))


_FIELDS: dict[str, Callable[[list[str]], Callable[[Question], Rewriting | None]]] = {
    "name": _name,
    "ttl": _ttl_field,
    "rcode": _rcode_field,
    "type": _type_field,
    "cname": _cname_field,
}
_UNSUPPORTED = {
    "class": "only questions of class IN are answered",
    "edns0": "upstreams get no options of a client",
}


def _pattern(text: str) -> Pattern:
    try:
        return Pattern(text)
    except BadPattern as error:
        raise BadRule(f'"{text}"', f"a pattern of RE2: it {error}") from None


def _check_groups(pattern: Pattern, new: str) -> None:
    """Raise `BadRule` if the text `new` uses more groups than the pattern has. CoreDNS refuses such rules, too."""
    used = sum([f"{{{index}}}" in new for index in range(101)])
    if used > len(pattern.groups) - 1:
        raise BadRule(f'"{new}"', f'a text for "{pattern.text}": the text uses more groups than this pattern has')


def _absolute(text: str) -> str:
    return text.lower() if text.endswith(".") and not text.endswith("\\.") else f"{text.lower()}."
