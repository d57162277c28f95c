"""Zone files (RFC 1035 section 5): text → the RRsets of a zone, or every mistake with its file and line.

dnspython reads names, TTLs and RDATA; which lines belong together, directives and the rules of a zone are here, so that
one mistake doesn't hide the next. Opens no files: text that `$INCLUDE` names comes from a function that is passed in.
Hostile text costs bounded time: octets, records, mistakes, `$INCLUDE` and `$GENERATE` have limits.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import dns.exception
import dns.grange
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.ttl

from pydns.dns import name
from pydns.dns.rrset import CNAME, DNAME, NS, NSEC, OPT, RRSIG, SOA, RRset

MAX_OCTETS = 16 << 20  # of a file and all that it includes
MAX_RECORDS = 250_000  # 60 µs each
_MAX_DEPTH = 8  # files that include one another
_MAX_INCLUDES = 100
_MAX_GENERATED = 65_536  # lines of one $GENERATE
_MAX_MISTAKES = 100
_MAX_RRSET = 0xFFFF  # records; what a message can count


class Mistake(NamedTuple):
    """What is wrong in which line. Line 0: the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class ZoneFile(NamedTuple):
    """What a file says. Owners are in lower case; the SOA comes first, and every RRset once."""

    apex: bytes
    rrsets: tuple[RRset, ...]
    records: int


class Unavailable(Exception):
    """Text that can't be had, and why."""


Include = Callable[[str, str], tuple[str, str]]
"""Takes what `$INCLUDE` says and the file that says it; returns the name of the file meant, and its text.

Raises `Unavailable`.
"""


def read(text: str, file: str, origin_text: str, include: Include) -> ZoneFile | list[Mistake]:
    """Read a zone. The apex is the owner of its SOA record; names are relative to `origin_text` before any `$ORIGIN`.

    Never raises, whatever the text. After a mistake the lines that follow are read too.
    """
    reader = _Reader(include)
    try:
        origin = dns.name.from_text(origin_text)
    except (dns.exception.DNSException, UnicodeError):
        origin = None  # names have to be absolute then, or there has to be an $ORIGIN
    try:
        reader.read(text, file, _State(origin, None, None, None), 0)
    except _Enough:
        return reader.mistakes
    return reader.mistakes or _check(reader.records, file)


class _Record(NamedTuple):
    owner: bytes
    rtype: int
    ttl_s: int
    rdata: bytes
    file: str
    line: int


class _State(NamedTuple):
    """What a line takes from those before it."""

    origin: dns.name.Name | None
    owner: dns.name.Name | None
    default_ttl_s: int | None  # of $TTL
    last_ttl_s: int | None  # RFC 1035 section 5.1


class _Wrong(Exception):
    """What is wrong with a line."""


class _Enough(Exception):
    """There is too much of it to read on; the mistakes say what."""


class _Reader:
    def __init__(self, include: Include) -> None:
        self.records: list[_Record] = []
        self.mistakes: list[Mistake] = []
        self._include = include
        self._octets = 0
        self._includes = 0

    def read(self, text: str, file: str, state: _State, depth: int) -> _State:
        """Read a file and return the state that it ends in."""
        self._octets += len(text)
        if self._octets > MAX_OCTETS:
            self._stop(file, 0, f"has more than {MAX_OCTETS >> 20} MiB, with what it includes")
        for line, entry in _entries(text):
            try:
                if entry is None:
                    raise _Wrong("parenthesis is not closed")
                if entry[0] == "$":
                    state = self._directive(entry, file, line, state, depth)
                else:
                    state = self._record(entry, file, line, state)
            except _Wrong as error:
                self._note(file, line, str(error))
            except dns.exception.DNSException as error:
                self._note(file, line, _words(error))
            except (ValueError, OverflowError) as error:  # of the types' own parsers
                self._note(file, line, str(error))
        return state

    def _note(self, file: str, line: int, reason: str) -> None:
        self.mistakes.append(Mistake(file, line, reason))
        if len(self.mistakes) >= _MAX_MISTAKES:
            raise _Enough

    def _stop(self, file: str, line: int, reason: str) -> None:
        self.mistakes.append(Mistake(file, line, reason))
        raise _Enough

    def _directive(self, entry: str, file: str, line: int, state: _State, depth: int) -> _State:
        tokens = dns.tokenizer.Tokenizer(entry)
        directive = tokens.get().value.upper()
        if directive == "$ORIGIN":
            state = state._replace(origin=_absolute(tokens.get().value, state.origin))
            tokens.get_eol()
        elif directive == "$TTL":
            state = state._replace(default_ttl_s=_ttl(tokens.get_string()))
            tokens.get_eol()
        elif directive == "$INCLUDE":
            self._includes += 1
            if self._includes > _MAX_INCLUDES or depth >= _MAX_DEPTH:
                self._stop(file, line, f"$INCLUDE: more than {_MAX_INCLUDES} files, or more than {_MAX_DEPTH} deep")
            wanted = tokens.get_string()
            origin = state.origin
            token = tokens.get()
            if not token.is_eol_or_eof():
                origin = _absolute(token.value, state.origin)
                tokens.get_eol()
            try:
                included, text = self._include(wanted, file)
            except Unavailable as error:
                raise _Wrong(f"$INCLUDE {wanted}: {error}") from None
            self.read(text, included, state._replace(origin=origin), depth + 1)
            # Origin and owner are as before (RFC 1035 section 5.1); so are TTLs, as in BIND.
        elif directive == "$GENERATE":
            self._generate(tokens, file, line, state)
        else:
            raise _Wrong(f"{directive} is none of $ORIGIN, $TTL, $INCLUDE and $GENERATE")
        return state

    def _generate(self, tokens: dns.tokenizer.Tokenizer, file: str, line: int, state: _State) -> None:
        counts = tokens.get_string()
        try:
            start, stop, step = dns.grange.from_text(counts)
        except (AssertionError, ValueError):
            raise _Wrong(f"$GENERATE {counts}: wanted START-STOP or START-STOP/STEP") from None
        if (stop - start) // step >= _MAX_GENERATED:
            raise _Wrong(f"$GENERATE {counts}: makes more than {_MAX_GENERATED} records")
        # Not unescaped: that is for who reads the records.
        words = [f'"{token.value}"' if token.is_quoted_string() else token.value for token in tokens.get_remaining()]
        template = " ".join(words)
        for counter in range(start, stop + 1, step):
            self._record(_substitute(template, counter), file, line, state)

    def _record(self, entry: str, file: str, line: int, state: _State) -> _State:
        if len(self.records) >= MAX_RECORDS:
            self._stop(file, line, f"the zone has more than {MAX_RECORDS} records")
        tokens = dns.tokenizer.Tokenizer(entry)
        token = tokens.get(want_leading=True)
        if token.is_whitespace():
            token = tokens.get()
            if token.is_eol_or_eof():
                return state
            tokens.unget(token)
            owner = state.owner
            if owner is None:
                raise _Wrong("begins with blanks, and there is no owner before it")
        else:
            owner = _absolute(token.value, state.origin)
            state = state._replace(owner=owner)
        ttl_s, rtype = _ttl_and_type(tokens)
        try:
            rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, tokens, state.origin, relativize=False)
            octets = cast(bytes, rdata.to_wire())
        except dns.name.NeedAbsoluteNameOrOrigin:
            raise _Wrong("has a relative name, and there is no $ORIGIN before it") from None
        except Exception as error:  # whatever a type's parser makes of hostile text
            raise _Wrong(f"{' '.join(entry.split())[:100]}: {_words(error)}") from None
        if len(octets) > 0xFFFF:
            raise _Wrong("has more than 65535 octets of data")
        if ttl_s is not None:
            state = state._replace(last_ttl_s=ttl_s)
        else:
            ttl_s = state.default_ttl_s if state.default_ttl_s is not None else state.last_ttl_s
            if ttl_s is None and rtype == SOA:
                ttl_s = int.from_bytes(octets[-4:])
                state = state._replace(last_ttl_s=ttl_s)
            if ttl_s is None:
                raise _Wrong("has no TTL, and there is no $TTL before it")
        self.records.append(_Record(cast(bytes, owner.to_wire()).lower(), int(rtype), ttl_s, octets, file, line))
        return state


def _entries(text: str) -> Iterator[tuple[int, str | None]]:
    """Yield what belongs together, with the number of its first line. None: a parenthesis that is not closed."""
    entry: list[str] = []
    begin = depth = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not entry:
            begin = number
            if not line.strip() or line.lstrip()[0] == ";":
                continue
        if entry or "(" in line or ")" in line:
            bare = _NOT_PARENTHESES.sub("", line)
            depth = max(0, depth + bare.count("(") - bare.count(")"))
        entry.append(line.rstrip("\r"))
        if not depth:
            yield begin, "\n".join(entry)
            entry.clear()
    if entry:
        yield begin, None


# Escaped characters, quoted strings and comments.
_NOT_PARENTHESES = re.compile(r'\\.|"(?:[^"\\]|\\.)*"?|;.*')


def _ttl_and_type(tokens: dns.tokenizer.Tokenizer) -> tuple[int | None, dns.rdatatype.RdataType]:
    """Take the type, and before it TTL and class in any order."""
    ttl_s = None
    for _ in range(3):
        word = tokens.get_string()
        if word[:1].isdigit() and ttl_s is None:
            ttl_s = _ttl(word)
        elif word.upper() in ("CH", "HS", "CS"):
            raise _Wrong(f"class {word} is not IN")
        elif word.upper() not in ("IN", "CLASS1"):
            break
    else:
        word = tokens.get_string()
    try:
        rtype = dns.rdatatype.from_text(word)
    except (dns.exception.DNSException, ValueError):
        raise _Wrong(f"{word} is no type of record") from None
    if dns.rdatatype.is_metatype(rtype) or rtype in (0, OPT):
        raise _Wrong(f"{word} is no type that a zone can have")
    return ttl_s, rtype


def _ttl(text: str) -> int:
    try:
        return dns.ttl.from_text(text)
    except dns.exception.DNSException:
        raise _Wrong(f"{text} is no TTL; wanted seconds or units, as 1h30m, at most 2147483647 s") from None


def _absolute(text: str, origin: dns.name.Name | None) -> dns.name.Name:
    try:
        found = dns.name.from_text(text, origin)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise _Wrong(f"{text[:80]} is no name: {_words(error)}") from None
    if not found.is_absolute():
        raise _Wrong(f"{text} is relative, and there is no $ORIGIN before it")
    return found


def _substitute(template: str, counter: int) -> str:
    r"""Put the counter in place of `$`, `${OFFSET,WIDTH,BASE}`; `$$` and `\$` stand for the sign itself."""

    def one(match: re.Match[str]) -> str:
        found = match.group()
        if found == "$$":
            return "\\$"
        if found[0] == "\\":
            return found
        offset, width, base = match.group(1) or 0, match.group(2) or 0, match.group(3) or "d"
        value = counter + int(offset)
        if base in "nN":
            digits = f"{value:x}"[::-1].ljust((int(width) + 1) // 2, "0")
            return ".".join(digits.upper() if base == "N" else digits)
        return f"{value:0{int(width)}{base}}"

    if _BROKEN_COUNTER.search(template):
        raise _Wrong("$GENERATE: wanted ${OFFSET,WIDTH,BASE}, width at most 99, base one of d, o, x, X, n, N")
    return _COUNTER.sub(one, template)


_MODIFIER = r"\{([+-]?\d{1,9})(?:,(\d{1,2})(?:,([doxXnN]))?)?\}"
_COUNTER = re.compile(rf"\\.|\$\$|\$(?:{_MODIFIER})?", re.DOTALL)
_BROKEN_COUNTER = re.compile(rf"(?<![$\\])\$(?!{_MODIFIER})\{{")


def _type_text(rtype: int) -> str:
    return dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _check(records: list[_Record], file: str) -> ZoneFile | list[Mistake]:
    """Make RRsets of a zone's records, or say what makes them no zone."""
    soas = [record for record in records if record.rtype == SOA]
    if not soas:
        return [Mistake(file, 0, "has no SOA record")]
    soa = soas[0]
    mistakes = [Mistake(each.file, each.line, "second SOA record of the zone") for each in soas[1:]]
    apex = soa.owner
    tree = name.tree_key(apex)
    found: dict[tuple[bytes, int], dict[bytes, None]] = {(apex, SOA): {}}
    ttls: dict[tuple[bytes, int], int] = {}
    types: dict[bytes, dict[int, _Record]] = {}
    for record in records:
        key = record.owner, record.rtype
        if record.owner not in types and not name.tree_key(record.owner).startswith(tree):
            reason = f"{name.to_text(record.owner)} is not in the zone {name.to_text(apex)}"
            mistakes.append(Mistake(record.file, record.line, reason))
            continue
        found.setdefault(key, {})[record.rdata] = None  # equal ones are one (RFC 2181 section 5)
        ttls[key] = min(record.ttl_s, ttls.get(key, record.ttl_s))  # RFC 2181 section 5.2
        types.setdefault(record.owner, {}).setdefault(record.rtype, record)
    if (apex, NS) not in found:
        mistakes.append(Mistake(file, 0, f"has no NS record of {name.to_text(apex)}"))
    for owner, there in types.items():
        others = there.keys() - {CNAME, RRSIG, NSEC}
        if CNAME in there and others:
            last = max([there[CNAME], *(there[each] for each in others)], key=lambda each: each.line)
            mistakes.append(Mistake(last.file, last.line, f"{name.to_text(owner)} has a CNAME and other records"))
        for rtype in (CNAME, DNAME):
            if len(found.get((owner, rtype), ())) > 1:
                reason = f"{name.to_text(owner)} has several records of type {_type_text(rtype)}"
                mistakes.append(Mistake(there[rtype].file, there[rtype].line, reason))
        if owner.startswith(b"\1*"):
            for rtype in {NS, DNAME} & there.keys():
                reason = f"{_type_text(rtype)} at a wildcard means nothing"  # RFC 4592 sections 4.2, 4.4
                mistakes.append(Mistake(there[rtype].file, there[rtype].line, reason))
        if NS in there and DNAME in there and owner != apex:
            reason = f"{name.to_text(owner)} has NS and DNAME records"  # RFC 6672 section 2.3
            mistakes.append(Mistake(there[DNAME].file, there[DNAME].line, reason))
    for (owner, rtype), rdatas in found.items():
        if len(rdatas) > _MAX_RRSET:
            reason = f"{name.to_text(owner)} has more than {_MAX_RRSET} records of a type"
            mistakes.append(Mistake(types[owner][rtype].file, types[owner][rtype].line, reason))
    if mistakes:
        return sorted(mistakes)[:_MAX_MISTAKES]
    rrsets = [RRset(owner, rtype, ttls[owner, rtype], tuple(rdatas)) for (owner, rtype), rdatas in found.items()]
    return ZoneFile(apex, tuple(rrsets), sum(map(len, found.values())))
