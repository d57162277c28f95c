"""Parses zone files (RFC 1035 section 5). The result is the RRsets of a zone, or all mistakes with file and line.

`pydns.dns.plain_records` reads most lines. In all other lines, dnspython reads names, TTLs and RDATA. This module
itself splits the text into entries, handles directives and checks the rules of a zone, so it can go on after a mistake.
Rules:

1. A line that can't be read is a mistake. A file with a mistake isn't served, as in Knot and BIND.
2. A valid record that doesn't belong in the zone is left out with a warning. All other records are served.
3. This module opens no files. The caller passes a function that returns the text for a `$INCLUDE`.
4. Hostile text can't take much time, because octets, records, mistakes, warnings, `$INCLUDE` and `$GENERATE` have
   limits.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple, cast

import dns.exception
import dns.grange
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer
import dns.ttl
from dns.rdtypes.rrsigbase import sigtime_to_posixtime

from pydns.dns import name, plain_records
from pydns.dns.rrset import CNAME, DNAME, NS, NSEC, OPT, RRSIG, SOA, TXT, RRset

MAX_OCTETS = 16 << 20  # maximum octets of a file together with the files that it includes
MAX_RECORDS = 250_000  # maximum records of a zone; a record takes up to 60 µs
_MAX_DEPTH = 8  # how many levels deep a file may include files
_MAX_INCLUDES = 100
_MAX_GENERATED = 65_536  # maximum records of one $GENERATE
_MAX_MISTAKES = 100  # maximum number of mistakes, and maximum number of warnings
_MAX_RRSET = 0xFFFF  # maximum records in an RRset; the count in a message can't be greater


class Mistake(NamedTuple):
    """A mistake or a warning. Line 0 means that it concerns the whole file."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


class ZoneFile(NamedTuple):
    """The zone in a file.

    Owners are in lower case. The RRset of the SOA record comes first. Every RRset occurs once.
    """

    apex: bytes
    rrsets: tuple[RRset, ...]
    records: int
    warnings: tuple[Mistake, ...]  # the first `_MAX_MISTAKES` warnings, sorted by file and line
    left_out: int  # how many records are left out


class Unavailable(Exception):
    """The text for a `$INCLUDE` can't be read. The message says why."""


Include = Callable[[str, str], tuple[str, str]]
"""Takes the argument of `$INCLUDE` and the file that contains the `$INCLUDE`.

Returns the name and the text of the included file. Raises `Unavailable`.
"""


def read(text: str, file: str, origin_text: str, include: Include) -> ZoneFile | list[Mistake]:
    """Return the zone in `text`, or all mistakes in it. The apex of the zone is the owner of the first SOA record.

    Before the first `$ORIGIN`, names are relative to `origin_text`. Reading continues after a mistake, and never raises
    an exception.
    """
    reader = _Reader(include)
    try:
        origin = dns.name.from_text(origin_text).to_wire()
    except (dns.exception.DNSException, UnicodeError):
        origin = None  # the text isn't a valid name, so names must be absolute unless the file contains $ORIGIN
    try:
        reader.read(text, file, _State(origin), 0)
    except _Enough:
        return reader.mistakes
    return reader.mistakes or reader.zone.finish(file)


class _Record(NamedTuple):
    owner: bytes  # in lower case
    rtype: int
    ttl_s: int
    rdata: bytes
    file: str
    line: int


@dataclass(slots=True)
class _State:
    """The values that a line gets from the lines before it."""

    origin: bytes | None  # the letters have the same case as in the zone file
    owner: bytes | None = None
    default_ttl_s: int | None = None  # the TTL in the last $TTL
    last_ttl_s: int | None = None  # the TTL of the previous record (RFC 1035 section 5.1)


class _Wrong(Exception):
    """A line has a mistake. The message says which."""


class _Enough(Exception):
    """Reading stops because a limit is reached. The last mistake names the limit."""


class _Reader:
    def __init__(self, include: Include) -> None:
        self.zone = _Zone()
        self.mistakes: list[Mistake] = []
        self._include = include
        self._octets = 0
        self._records = 0
        self._includes = 0

    def read(self, text: str, file: str, state: _State, depth: int) -> None:
        """Read a file. `state` contains the values that the first line gets from lines before it."""
        self._octets += len(text)
        if self._octets > MAX_OCTETS:
            self._stop(file, 0, f"has more than {MAX_OCTETS >> 20} MiB, together with the files that it includes")
        for line, entry in _entries(text):
            try:
                if entry is None:
                    raise _Wrong("parenthesis is not closed")
                if entry[0] == "$":
                    self._directive(entry, file, line, state, depth)
                else:
                    self._record(entry, file, line, state)
            except _Wrong as error:
                self._note(file, line, str(error))
            except dns.exception.DNSException as error:
                self._note(file, line, _reason(error))
            except (ValueError, OverflowError) as error:  # dnspython's parsers of RDATA raise these exceptions
                self._note(file, line, str(error))

    def _note(self, file: str, line: int, reason: str) -> None:
        self.mistakes.append(Mistake(file, line, reason))
        if len(self.mistakes) >= _MAX_MISTAKES:
            raise _Enough

    def _stop(self, file: str, line: int, reason: str) -> None:
        self.mistakes.append(Mistake(file, line, reason))
        raise _Enough

    def _directive(self, entry: str, file: str, line: int, state: _State, depth: int) -> None:
        tokens = dns.tokenizer.Tokenizer(entry)
        directive = tokens.get().value.upper()
        if directive == "$ORIGIN":
            state.origin = _absolute(tokens.get().value, state.origin)
            tokens.get_eol()
        elif directive == "$TTL":
            state.default_ttl_s = _ttl(tokens.get_string())
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
            self.read(text, included, replace(state, origin=origin), depth + 1)
            # For the lines after `$INCLUDE`, the included file changes neither the origin nor the owner (RFC 1035
            # section 5.1). As in BIND, it changes no TTL, either.
        elif directive == "$GENERATE":
            self._generate(tokens, file, line, state)
        else:
            raise _Wrong(f"{directive} is not $ORIGIN, $TTL, $INCLUDE or $GENERATE")

    def _generate(self, tokens: dns.tokenizer.Tokenizer, file: str, line: int, state: _State) -> None:
        counts = tokens.get_string()
        try:
            start, stop, step = dns.grange.from_text(counts)
        except (AssertionError, ValueError):
            raise _Wrong(f"$GENERATE {counts}: wanted START-STOP or START-STOP/STEP") from None
        if (stop - start) // step >= _MAX_GENERATED:
            raise _Wrong(f"$GENERATE {counts}: makes more than {_MAX_GENERATED} records")
        # The words keep their escapes, because `_record` parses the generated record.
        words = [f'"{token.value}"' if token.is_quoted_string() else token.value for token in tokens.get_remaining()]
        template = " ".join(words)
        for counter in range(start, stop + 1, step):
            self._record(_substitute(template, counter), file, line, replace(state))

    def _record(self, entry: str, file: str, line: int, state: _State) -> None:
        if self._records >= MAX_RECORDS:
            self._stop(file, line, f"the zone has more than {MAX_RECORDS} records")
        record = plain_records.read(entry, state.owner, state.origin) or _tokenized(entry, state)
        if record is None:
            return
        owner, ttl_s, rtype, rdata = record
        state.owner = owner
        if ttl_s is None:
            ttl_s = state.default_ttl_s if state.default_ttl_s is not None else state.last_ttl_s
            if ttl_s is None and rtype == SOA:
                state.last_ttl_s = ttl_s = int.from_bytes(rdata[-4:])
            if ttl_s is None:
                raise _Wrong("has no TTL, and there is no $TTL before it")
        else:
            state.last_ttl_s = ttl_s
        self._records += 1
        self.zone.add(_Record(owner.lower(), rtype, ttl_s, rdata, file, line))


def _tokenized(entry: str, state: _State) -> plain_records.PlainRecord | None:
    """Return the record in an entry of any form, or None if the entry has only blanks and comments."""
    tokens = dns.tokenizer.Tokenizer(entry)
    token = tokens.get(want_leading=True)
    if token.is_whitespace():
        token = tokens.get()
        if token.is_eol_or_eof():
            return None
        tokens.unget(token)
        if state.owner is None:
            raise _Wrong("begins with blanks, and there is no owner before it")
        owner = state.owner
    else:
        owner = _absolute(token.value, state.origin)
    ttl_s, rtype = _ttl_and_type(tokens)
    try:
        rdata = _rdata(rtype, tokens, _dnspython_name(state.origin))
    except dns.name.NeedAbsoluteNameOrOrigin:
        raise _Wrong("has a relative name, and there is no $ORIGIN before it") from None
    except Exception as error:  # dnspython may raise any exception for hostile text
        raise _Wrong(f"{' '.join(entry.split())[:100]}: {_reason(error)}") from None
    if len(rdata) > 0xFFFF:
        raise _Wrong("has more than 65535 octets of data")
    return plain_records.PlainRecord(owner, ttl_s, int(rtype), rdata)


@lru_cache(maxsize=4)
def _dnspython_name(wire: bytes | None) -> dns.name.Name | None:
    return None if wire is None else dns.name.from_wire(wire, 0)[0]


# RDATA.


def _rdata(rtype: dns.rdatatype.RdataType, tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None) -> bytes:
    """Parse RDATA. For some types, this function and Knot accept more forms than dnspython."""
    parse = _RDATA.get(rtype)
    if parse is not None:
        first = tokens.get()
        tokens.unget(first)
        if first.value != "\\#":  # the RDATA isn't in the generic form of RFC 3597
            return parse(tokens, origin)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, tokens, origin, relativize=False)
    return cast(bytes, rdata.to_wire())


def _strings(tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None) -> bytes:
    texts = [cast(bytes, token.unescape_to_bytes().value) for token in tokens.get_remaining()]
    if not texts:
        raise _Wrong("has no string")
    return plain_records.strings(texts)


def _fingerprint(tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None) -> bytes:
    """Parse SSHFP RDATA (RFC 4255 section 3.1). A fingerprint may have any length, as in BIND."""
    numbers = bytes([tokens.get_uint8() for _ in range(2)])
    return numbers + bytes.fromhex(tokens.concatenate_remaining_identifiers())


def _service_binding(
    rtype: dns.rdatatype.RdataType, tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None
) -> bytes:
    """Parse SVCB and HTTPS RDATA.

    A record in AliasMode may have parameters, because clients ignore them (RFC 9460 section 2.4.2).
    """
    priority = tokens.get_uint16()
    # Priority 1 means ServiceMode. dnspython accepts parameters only in this mode.
    tokens.unget(dns.tokenizer.Token(dns.tokenizer.IDENTIFIER, "1"))
    rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, tokens, origin, relativize=False)
    return priority.to_bytes(2) + cast(bytes, rdata.to_wire())[2:]


def _certificate_association(tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None) -> bytes:
    """Parse TLSA and SMIMEA RDATA (RFC 6698 section 2.1). The data of the certificate may have any length."""
    numbers = bytes([tokens.get_uint8() for _ in range(3)])
    return numbers + bytes.fromhex(tokens.concatenate_remaining_identifiers())


def _two_names(tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None) -> bytes:
    names = [cast(bytes, tokens.get_name(origin).to_wire()) for _ in range(2)]
    tokens.get_eol()
    return b"".join(names)


def _signature(tokens: dns.tokenizer.Tokenizer, origin: dns.name.Name | None) -> bytes:
    """Parse RRSIG RDATA.

    The two times are numbers of 32 bits, which begin again at 0 in the year 2106 (RFC 4034 section 3.1.5).
    """
    words = [token.value for token in tokens.get_remaining()]
    for position in _SIGNATURE_TIMES:
        if len(words) > position and len(words[position]) == _DATE_DIGITS:
            words[position] = str(sigtime_to_posixtime(words[position]) % 2**32)  # type: ignore[no-untyped-call]
    signature = dns.tokenizer.Tokenizer(" ".join(words))
    rdata = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.RRSIG, signature, origin, relativize=False)
    return cast(bytes, rdata.to_wire())


_SIGNATURE_TIMES = (4, 5)  # positions of the expiration and the inception among the words of the RDATA
_DATE_DIGITS = 14  # the digits of a time in the form YYYYMMDDHHmmSS
_RDATA: dict[int, Callable[[dns.tokenizer.Tokenizer, dns.name.Name | None], bytes]] = {
    TXT: _strings,
    dns.rdatatype.SPF: _strings,
    dns.rdatatype.TLSA: _certificate_association,
    dns.rdatatype.SMIMEA: _certificate_association,
    dns.rdatatype.SSHFP: _fingerprint,
    dns.rdatatype.SVCB: partial(_service_binding, dns.rdatatype.SVCB),
    dns.rdatatype.HTTPS: partial(_service_binding, dns.rdatatype.HTTPS),
    dns.rdatatype.MINFO: _two_names,
    RRSIG: _signature,
}


def _entries(text: str) -> Iterator[tuple[int, str | None]]:
    """Yield each entry of a zone file, with the number of its first line before it.

    An entry is a record or a directive, which may have several lines in parentheses. The entry is None if a parenthesis
    isn't closed.
    """
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


# Matches text in which parentheses have no meaning: escaped characters, strings in quotes and comments.
_NOT_PARENTHESES = re.compile(r'\\.|"(?:[^"\\]|\\.)*"?|;.*')


def _ttl_and_type(tokens: dns.tokenizer.Tokenizer) -> tuple[int | None, dns.rdatatype.RdataType]:
    """Read the TTL and the class in any order, and then the type."""
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
        raise _Wrong(f"{word} is not a type of record") from None
    if dns.rdatatype.is_metatype(rtype) or rtype in (0, OPT):
        raise _Wrong(f"{word} is not a type that a zone can have")
    return ttl_s, rtype


def _ttl(text: str) -> int:
    try:
        return dns.ttl.from_text(text)
    except dns.exception.DNSException:
        raise _Wrong(f"{text} is not a TTL; wanted seconds, or units as in 1h30m, at most 2147483647 s") from None


def _absolute(text: str, origin: bytes | None) -> bytes:
    try:
        found = dns.name.from_text(text, _dnspython_name(origin))
    except (dns.exception.DNSException, UnicodeError) as error:
        raise _Wrong(f"{text[:80]} is not a name: {_reason(error)}") from None
    if not found.is_absolute():
        raise _Wrong(f"{text} is relative, and there is no $ORIGIN before it")
    return cast(bytes, found.to_wire())


def _substitute(template: str, counter: int) -> str:
    r"""Replace `$` and `${OFFSET,WIDTH,BASE}` by the counter. `$$` and `\$` mean a literal dollar sign."""

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


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


class _Draft:
    """An RRset of a zone that is still being read, and the file and the line of the RRset's first record."""

    __slots__ = ("file", "line", "rdatas", "ttl_s")

    def __init__(self, ttl_s: int, rdata: bytes, file: str, line: int) -> None:
        self.ttl_s = ttl_s
        self.rdatas = {rdata: None}
        self.file = file
        self.line = line

    def mistake(self, owner: bytes, reason: str) -> Mistake:
        return Mistake(self.file, self.line, f"{name.to_text(owner)} has {reason}")


class _Zone:
    """Collects the records of a zone.

    Leaves out records that don't belong in the zone (rule 2). Finds mistakes, such as a CNAME beside other records
    (rule 1).
    """

    def __init__(self) -> None:
        self._soa: _Record | None = None
        self._early: list[_Record] = []  # the records before the SOA record, which wait until the apex is known
        self._drafts: dict[bytes, dict[int, _Draft]] = {}  # owner -> type -> RRset
        self._warnings: list[Mistake] = []
        self._left_out = 0

    def add(self, record: _Record) -> None:
        """Add a record to the zone, or leave it out with a warning."""
        soa = self._soa
        if soa is None:
            if record.rtype == SOA:
                self._begin(record)
            else:
                self._early.append(record)
            return
        owner, rtype, ttl_s, rdata, file, line = record
        there = self._drafts.get(owner)
        if there is None:
            if not name.is_at_or_below(owner, soa.owner):
                self._leave_out(record, f"{name.to_text(owner)} is not in the zone {name.to_text(soa.owner)}")
                return
            there = self._drafts[owner] = {}
        if rtype in _CHECKED and (reason := _why_left_out(record, soa)):
            self._leave_out(record, reason)
            return
        draft = there.get(rtype)
        if draft is None:
            there[rtype] = _Draft(ttl_s, rdata, file, line)
        else:
            draft.rdatas[rdata] = None  # of equal records, one is kept (RFC 2181 section 5)
            draft.ttl_s = min(draft.ttl_s, ttl_s)  # an RRset has one TTL (RFC 2181 section 5.2)

    def finish(self, file: str) -> ZoneFile | list[Mistake]:
        """Return the zone, or the reasons why it can't be served."""
        if self._soa is None:
            return [Mistake(file, 0, "has no SOA record")]
        apex = self._soa.owner
        if NS not in self._drafts[apex]:
            self._warn(Mistake(file, 0, f"has no NS record of {name.to_text(apex)}"))
        mistakes = sorted(self._mistakes(apex))[:_MAX_MISTAKES]
        if mistakes:
            return mistakes
        rrsets = tuple(
            [
                RRset(owner, rtype, draft.ttl_s, tuple(draft.rdatas))
                for owner, there in self._drafts.items()
                for rtype, draft in there.items()
            ]
        )
        records = sum([len(rrset.rdatas) for rrset in rrsets])
        return ZoneFile(apex, rrsets, records, tuple(sorted(self._warnings)), self._left_out)

    def _begin(self, soa: _Record) -> None:
        self._soa = soa
        self._drafts[soa.owner] = {SOA: _Draft(soa.ttl_s, soa.rdata, soa.file, soa.line)}
        for record in self._early:
            self.add(record)
        self._early.clear()

    def _leave_out(self, record: _Record, reason: str) -> None:
        self._left_out += 1
        self._warn(Mistake(record.file, record.line, f"{reason}; left out"))

    def _warn(self, warning: Mistake) -> None:
        if len(self._warnings) < _MAX_MISTAKES:
            self._warnings.append(warning)

    def _mistakes(self, apex: bytes) -> Iterator[Mistake]:
        for owner, there in self._drafts.items():
            if CNAME in there and (others := there.keys() - {CNAME, RRSIG, NSEC}):
                last = max([there[CNAME], *(there[each] for each in others)], key=lambda draft: draft.line)
                yield last.mistake(owner, "a CNAME and other records")
            if NS in there and DNAME in there and owner != apex:
                yield there[DNAME].mistake(owner, "NS and DNAME records")  # not allowed by RFC 6672 section 2.3
            for rtype, draft in there.items():
                if len(draft.rdatas) > 1 and rtype in (CNAME, DNAME):
                    yield draft.mistake(owner, f"several records of type {_type_text(rtype)}")
                if len(draft.rdatas) > _MAX_RRSET:
                    yield draft.mistake(owner, f"more than {_MAX_RRSET} records of a type")


_CHECKED = frozenset({SOA, NS, DNAME})


def _why_left_out(record: _Record, soa: _Record) -> str | None:
    if record.rtype == SOA:
        is_same = record.owner == soa.owner and record.rdata == soa.rdata  # `dig AXFR` prints the SOA record twice
        return None if is_same else "second SOA record of the zone"
    if name.is_wildcard(record.owner):  # RFC 4592 sections 4.2, 4.4
        return f"{_type_text(record.rtype)} at a wildcard has no meaning"
    return None
