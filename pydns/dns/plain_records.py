"""Reads simple records of zone files without a tokenizer.

A simple record is a line with a record of a common type, without escapes and comments. Programs write large zone files,
and nearly all lines of these files are simple records. `read` takes 4 µs for a simple record. `pydns.zones.zonefile`,
which reads all other records, takes 50 µs. `read` returns None for a line that it can't read with certainty, so it
reports no errors. For every simple record, `read` and `pydns.zones.zonefile` return the same record.
tests/zones/test_plain_records.py tests this.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from pydns.dns.address import BadAddress, parse_address
from pydns.dns.name import MAX_NAME
from pydns.dns.rrset import AAAA, CNAME, MX, NS, PTR, SRV, TXT, A, srv, txt

MAX_STRING = 255  # the maximum number of octets in a character-string (RFC 1035 section 3.3)


class PlainRecord(NamedTuple):
    """A record whose names and RDATA are in wire form."""

    owner: bytes  # the letters have the same case as in the zone file
    ttl_s: int | None
    rtype: int
    rdata: bytes


def read(line: str, owner: bytes | None, origin: bytes | None) -> PlainRecord | None:
    """Return the record in a line, or None if the record isn't simple.

    If the line has no owner, the record gets `owner`, the owner of the record before it.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    owner_text, ttl, type_text, rdata_text = match.groups()
    if owner_text:
        owner = origin if owner_text == "@" else _wire_name(owner_text, origin)
    rtype, parse = _TYPES[type_text.upper()]
    rdata = parse(rdata_text, origin)
    if owner is None or rdata is None:
        return None
    return PlainRecord(owner, int(ttl) if ttl else None, rtype, rdata)


def strings(texts: list[bytes]) -> bytes:
    """Compose TXT RDATA.

    A text that is too long for one character-string is split. DKIM verifiers join the strings again.
    """
    return b"".join(
        [txt(text[begin : begin + MAX_STRING]) for text in texts for begin in range(0, max(len(text), 1), MAX_STRING)]
    )


def _wire_name(text: str, origin: bytes | None) -> bytes | None:
    if _NAME.fullmatch(text) is None:
        return None
    wire = b"".join([_LENGTHS[len(label)] + label for label in text.encode().split(b".")])
    if text[-1] != ".":  # after a final dot, the wire name already ends with the root label
        if origin is None:
            return None
        wire += origin
    return wire if len(wire) <= MAX_NAME else None


def _ipv4(text: str, origin: bytes | None) -> bytes | None:
    return _address(text, 4)


def _ipv6(text: str, origin: bytes | None) -> bytes | None:
    return _address(text, 16)


def _address(text: str, length: int) -> bytes | None:
    try:
        address = parse_address(text)
    except BadAddress:
        return None
    return address if len(address) == length else None


def _mx(text: str, origin: bytes | None) -> bytes | None:
    match = _MX.fullmatch(text)
    if match is None:
        return None
    preference, exchange = int(match[1]), _wire_name(match[2], origin)
    return preference.to_bytes(2) + exchange if exchange and preference <= 0xFFFF else None


def _srv(text: str, origin: bytes | None) -> bytes | None:
    match = _SRV.fullmatch(text)
    if match is None:
        return None
    priority, weight, port = map(int, match.groups()[:3])
    target = _wire_name(match[4], origin)
    return srv(priority, weight, port, target) if target and max(priority, weight, port) <= 0xFFFF else None


def _txt(text: str, origin: bytes | None) -> bytes | None:
    if _STRINGS.fullmatch(text) is None:
        return None
    rdata = strings([each.strip('"').encode() for each in _STRING.findall(text)])
    return rdata if len(rdata) <= 0xFFFF else None


_TYPES: dict[str, tuple[int, Callable[[str, bytes | None], bytes | None]]] = {
    "A": (A, _ipv4),
    "AAAA": (AAAA, _ipv6),
    "CNAME": (CNAME, _wire_name),
    "MX": (MX, _mx),
    "NS": (NS, _wire_name),
    "PTR": (PTR, _wire_name),
    "SRV": (SRV, _srv),
    "TXT": (TXT, _txt),
}
_LENGTHS = [length.to_bytes(1) for length in range(64)]
_LABEL = "[A-Za-z0-9_*-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_BLANK = "[ \t]+"
# The TTL has at most 9 digits, so it isn't above the maximum. The class must come after the TTL, as it usually does.
_LINE = re.compile(
    rf"([A-Za-z0-9_*.@-]*){_BLANK}(?:([0-9]{{1,9}}){_BLANK})?(?:[Ii][Nn]{_BLANK})?"
    rf"({'|'.join(_TYPES)}){_BLANK}([!-~][ -~\t]*?)[ \t]*",
    re.IGNORECASE | re.ASCII,
)
_NUMBER = "([0-9]{1,5})"
_MX = re.compile(rf"{_NUMBER}{_BLANK}([^ \t]+)")
_SRV = re.compile(rf"{_NUMBER}{_BLANK}{_NUMBER}{_BLANK}{_NUMBER}{_BLANK}([^ \t]+)")
# A string in quotes contains no " and no \. A string without quotes also contains no blank, no parenthesis and no ;.
_ONE_STRING = r'"[ !#-\[\]-~]*"|[!#-\'*-:<-\[\]-~]+'
_STRING = re.compile(_ONE_STRING)
_STRINGS = re.compile(rf"(?:{_ONE_STRING})(?:{_BLANK}(?:{_ONE_STRING}))*")
