"""Reads hostnames, targets and TTLs from annotations, into which users can write any text.

The name of an annotation consists of a configured prefix and a key of external-dns. If an object has a key with several
prefixes, the annotation with the first configured prefix is used.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from pydns.dns import name
from pydns.dns.address import BadAddress, parse_address
from pydns.kube.external.exposure import MOST, quote

# External-dns only uses an object if its annotation `controller` has this value or is missing.
CONTROLLER = "dns-controller"
MAX_TTL_S = 0x7FFFFFFF  # the maximum TTL (RFC 2181 section 8)

_LABEL = "[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_HOSTNAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"(?:[0-9]{1,10}(?:\.[0-9]{1,9})?(?:h|ms|m|s))+")
_PART = re.compile(r"([0-9.]+)(h|ms|m|s)")


def annotation(annotations: Mapping[str, str], prefixes: Iterable[str], key: str) -> str | None:
    """Return the value of the first annotation PREFIX + KEY that exists, or None. Prefixes are tried in order."""
    return next((annotations[prefix + key] for prefix in prefixes if prefix + key in annotations), None)


def is_ours(annotations: Mapping[str, str], prefixes: Iterable[str]) -> bool:
    """Return False if the annotation `controller` reserves the object for another controller, else True."""
    return annotation(annotations, prefixes, "controller") in (None, CONTROLLER)


def hostnames(text: str | None, problems: list[str]) -> list[bytes]:
    """Return the hostnames in a list that is separated by commas, as wire names in lower case.

    For each part that is not a hostname, a problem is added to `problems`.
    """
    return each_hostname(filter(None, _parts(text, "hostnames", problems)), problems)


def _parts(text: str | None, what: str, problems: list[str]) -> Iterator[str]:
    parts = (text or "").split(",", MOST)
    if len(parts) > MOST:
        problems.append(f"only the first {MOST} {what} count")
        parts.pop()
    return map(str.strip, parts)


def each_hostname(texts: Iterable[str], problems: list[str], what: str = "") -> list[bytes]:
    """Return the wire names of texts, each name once.

    For each text that is not a hostname, a message that begins with `what` is added to `problems`.
    """
    found: dict[bytes, None] = {}
    for text in texts:
        if (wire := hostname(text)) is not None:
            found[wire] = None
        else:
            problems.append(f"{what}{quote(text)} is not a hostname")
    return list(found)


def hostname(text: str) -> bytes | None:
    """Return the wire name of a hostname or a wildcard. Return None if the text is neither."""
    lowered = text.removesuffix(".").lower()
    if len(lowered) > name.MAX_NAME or _HOSTNAME.fullmatch(lowered) is None:
        return None
    try:
        return name.from_text(lowered)
    except name.BadName:  # the name or one of its labels is too long
        return None


def targets(text: str | None, problems: list[str]) -> tuple[list[bytes], list[bytes]]:
    """Return the addresses and the wire names in a list that is separated by commas."""
    addresses: dict[bytes, None] = {}
    rest = []
    for part in _parts(text, "targets", problems):
        try:
            addresses[parse_address(part)] = None
        except BadAddress:
            rest.append(part)
    return list(addresses), [each for each in hostnames(",".join(rest), problems) if not name.is_wildcard(each)]


def ttl_s(text: str | None, default_s: int, problems: list[str]) -> int:
    """Return the TTL in seconds. The text may be a number, such as `30`, or a Go duration, such as `1m30s`.

    If the text is invalid, a problem is added to `problems`, and the result is the default.
    """
    if text is None:
        return default_s
    written = text.strip()
    seconds = 0.0
    if written.isascii() and written.isdigit() and len(written) <= 10:
        seconds = int(written)
    elif len(written) <= 40 and _DURATION.fullmatch(written):
        seconds = sum([float(number) * _UNITS_S[unit] for number, unit in _PART.findall(written)])
    if 1 <= seconds <= MAX_TTL_S:
        return int(seconds)
    problems.append(f"TTL {quote(text)} is not a number of seconds from 1 to {MAX_TTL_S}")
    return default_s


def strings(text: str) -> Iterator[bytes]:
    """Split the text of a TXT record into character-strings of at most 255 octets (RFC 1035 section 3.3)."""
    octets = text.encode("utf-8", "replace")
    for begin in range(0, max(len(octets), 1), 255):
        yield octets[begin : begin + 255]
