"""Templates of CoreDNS's plugin `template`: answers that are made from the name of the question.

A template has patterns, which match names, and the texts of records. A text may contain fields. This text has two:

    {{ .Name }} 60 IN A 10.0.0.{{ .Group.last }}

This module supports only a few fields of Go's template language. `BadTemplate` reports all other fields.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pydns.dns import name, plain_records
from pydns.dns.pattern import Pattern
from pydns.dns.rrset import ANY, CNAME, SOA, RRset, Soa, type_text

_DEFAULT_TTL_S = 3600  # the TTL of a record whose text contains no TTL, as in CoreDNS
MAX_RECORD = 4096  # the maximum number of characters in the text of a record
_FIELD = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_INDEX = re.compile(r'index\s+\.(Match|Group)\s+(?:"([^"]*)"|([0-9]{1,4}))')
_GROUP = re.compile(r"\.Group\.([A-Za-z_0-9]+)")
_NUMBER = re.compile(r"parseInt\s+(\S+|\(.*\))\s+(2|8|10|16)\s+(8|16|32|64)")
_SIMPLE = ("Name", "Zone", "Type", "Class")
_WANTED = "one of the supported fields: .Name, .Zone, .Type, .Class, .Group.NAME, index .Match N and parseInt"
_BLANKS = r"[ \t]+"
_SOA = re.compile(
    rf"(\S+){_BLANKS}(?:([0-9]{{1,9}}){_BLANKS})?(?:IN{_BLANKS})?SOA{_BLANKS}(\S+){_BLANKS}(\S+)\s+"
    r"\(?\s*([0-9]{1,10})\s+([0-9]{1,10})\s+([0-9]{1,10})\s+([0-9]{1,10})\s+([0-9]{1,10})\s*\)?\s*",
    re.IGNORECASE,
)
# In a template of CoreDNS, the class may also come before the TTL.
_CLASS_FIRST = re.compile(rf"(\S+){_BLANKS}IN{_BLANKS}([0-9]{{1,9}}){_BLANKS}(.*)", re.IGNORECASE | re.DOTALL)
_TYPES = "A, AAAA, CNAME, MX, NS, PTR, SOA, SRV and TXT"
_KNOWN_TYPES = frozenset(re.split(", | and ", _TYPES))


class BadTemplate(ValueError):
    """A text can't be used as a record. The message says what was found and what was wanted."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"{found} is not {wanted}")
        self.found = found
        self.wanted = wanted


class Match(NamedTuple):
    """A question that a template matches."""

    qname: str  # in lower case, with a final dot
    qtype: int
    zone: str
    groups: Sequence[str]  # the texts of the groups; the first one is the whole match
    names: Sequence[str]  # the names of the groups

    def group(self, key: str) -> str | None:
        """Return the text of the group with this name or number, or None if the pattern has no such group."""
        if key in self.names and key:
            return self.groups[self.names.index(key)]
        return self.groups[int(key)] if key.isdecimal() and int(key) < len(self.groups) else None


# Returns the text of a field, or None if the pattern has no such group or if `parseInt` gets no number.
_Field = Callable[[Match], str | None]


class Text:
    """The text of a record, with fields."""

    def __init__(self, text: str) -> None:
        """Read the text of a record. Raises `BadTemplate`."""
        if len(text) > MAX_RECORD:
            raise BadTemplate("a record of this length", f"allowed: {MAX_RECORD} characters at most")
        self.text = text
        self._pieces: list[str | _Field] = []
        self.groups: list[str] = []  # the names or numbers of the groups that the fields use
        position = 0
        for field in _FIELD.finditer(text):
            self._pieces += [text[position : field.start()], self._field(field[1].strip())]
            position = field.end()
        self._pieces.append(text[position:])
        rest = "".join([each for each in self._pieces if isinstance(each, str)])
        if "{{" in rest or "}}" in rest:
            raise BadTemplate(f'"{text}"', "a text whose fields are all closed")
        self._check_type()

    def __repr__(self) -> str:
        return f"Text({self.text!r})"

    def record(self, match: Match) -> RRset | None:
        """Return the record for a question, or None if the text isn't a record after its fields are filled in."""
        pieces = [each if isinstance(each, str) else each(match) for each in self._pieces]
        found = [each for each in pieces if each is not None]
        return _parse("".join(found)) if len(found) == len(pieces) else None

    def _field(self, field: str) -> _Field:
        if field.startswith(".") and field[1:] in _SIMPLE:
            return {
                ".Name": lambda match: match.qname,
                ".Zone": lambda match: match.zone,
                ".Type": lambda match: type_text(match.qtype),
                ".Class": lambda match: "IN",
            }[field]
        if (number := _NUMBER.fullmatch(field)) is not None:
            inner = self._field(number[1].removeprefix("(").removesuffix(")"))
            base, bits = int(number[2]), int(number[3])
            return lambda match: _whole(inner(match), base, bits)
        if (index := _INDEX.fullmatch(field)) is not None:
            key = index[2] if index[1] == "Group" else index[3]
        else:
            group = _GROUP.fullmatch(field)
            key = group[1] if group is not None else None
        if key is None:
            raise BadTemplate(f'"{{{{ {field} }}}}"', _WANTED)
        self.groups.append(key)
        return lambda match: match.group(key)

    def _check_type(self) -> None:
        """Raise `BadTemplate` if the text has a record type that `_parse` can't read."""
        _, *words = _FIELD.sub("{}", self.text).split() or [""]
        words = [each for each in words[:3] if not each.isdecimal() and each.upper() != "IN"]
        if not words:
            raise BadTemplate(f'"{self.text}"', "a record: OWNER TTL IN TYPE DATA")
        if "{}" not in words[0] and words[0].upper() not in _KNOWN_TYPES:
            raise BadTemplate(f'"{words[0]}"', f"one of the supported types: {_TYPES}")


def _whole(text: str | None, base: int, bits: int) -> str | None:
    """Parse a number without a sign as Go's `strconv.ParseUint` does.

    Return the number in decimal, or None if the text isn't a number.
    """
    digits = "0123456789abcdef"[:base]
    if not text or len(text) > 64 or any(each not in digits for each in text.lower()) or int(text, base) >> bits:
        return None
    return str(int(text, base))


def _parse(text: str) -> RRset | None:
    """Parse a record in zone-file format. Return None if the text isn't a record.

    A name without a final dot is treated as if it had one.
    """
    swapped = _CLASS_FIRST.fullmatch(text)
    if swapped is not None:
        text = f"{swapped[1]} {swapped[2]} IN {swapped[3]}"
    if (soa := _SOA.fullmatch(text.strip())) is not None:
        return _soa(soa)
    record = plain_records.read(text.strip(), None, name.ROOT)
    if record is None:
        return None
    ttl_s = _DEFAULT_TTL_S if record.ttl_s is None else record.ttl_s
    return RRset(record.owner.lower(), record.rtype, ttl_s, (record.rdata,))


def _soa(match: re.Match[str]) -> RRset | None:
    owner, ttl, mname, rname, *timers = match.groups()
    try:
        names = [name.from_text(each) for each in (owner, mname, rname)]
    except name.BadName:
        return None
    numbers = [int(each) for each in timers]
    if max(numbers) >> 32:
        return None
    rdata = names[1] + names[2] + Soa(names[1], names[2], *numbers).timers()
    return RRset(names[0].lower(), SOA, int(ttl) if ttl else _DEFAULT_TTL_S, (rdata,))


class Template(NamedTuple):
    """A template. The names in `zones` and `except_` are text with a final dot."""

    zones: tuple[str, ...]
    qtypes: frozenset[int] | None  # None: all types
    patterns: tuple[Pattern, ...]
    answers: tuple[Text, ...] = ()
    authorities: tuple[Text, ...] = ()
    additionals: tuple[Text, ...] = ()
    rcode: int = 0
    ends: bool = False  # True: a name in `zones` gets SERVFAIL if no pattern matches it

    def match(self, qname: str, qtype: int) -> Match | bool:
        """Return the match of a question.

        Return False if the template doesn't apply, or True if the answer is SERVFAIL.
        """
        zone = max([each for each in self.zones if is_within(qname, each)], key=len, default="")
        if not zone or (self.qtypes is not None and qtype not in self.qtypes and qtype != ANY):
            return False
        for pattern in self.patterns:
            groups = pattern.search(qname)
            if groups is not None:
                rtype = qtype
                if qtype == ANY and self.qtypes is not None and len(self.qtypes) == 1:
                    (rtype,) = self.qtypes
                return Match(qname, rtype, zone, groups, pattern.groups)
        return self.ends


def is_within(qname: str, zone: str) -> bool:
    """Return whether a name is at or below a zone. `qname` and `zone` are text in lower case with a final dot."""
    return zone == "." or qname == zone or qname.endswith(f".{zone}")


class Made(NamedTuple):
    """The records that a template makes for a question."""

    answers: tuple[RRset, ...]
    authorities: tuple[RRset, ...]
    additionals: tuple[RRset, ...]


def make(template: Template, match: Match, qname: bytes) -> Made | None:
    """Return the records for a question, or None if a text isn't a record after its fields are filled in.

    In the answer section, `qname` and the targets of the CNAMEs form a chain of names. If the owner of a record is not
    in the chain so far, the last name of the chain replaces the owner.
    """
    sections = []
    for texts in (template.answers, template.authorities, template.additionals):
        records = [text.record(match) for text in texts]
        found = [each for each in records if each is not None]
        if len(found) < len(records):
            return None
        sections.append(tuple(found))
    return Made(tuple(_chained(sections[0], qname)), sections[1], sections[2])


def _chained(records: Sequence[RRset], qname: bytes) -> Iterator[RRset]:
    known = [qname]
    for record in records:
        yield record if record.owner in known else record._replace(owner=known[-1])
        if record.rtype == CNAME:
            known.append(record.rdatas[0].lower())
