"""Reads durations in the form that Go programs write: `30s`, `1h30m`, `250ms`."""

import re
from math import ceil

from pydns.config.corefile.blocks import BadCorefile
from pydns.config.corefile.tokens import Token
from pydns.config.mistakes import quote

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?)(ns|us|µs|ms|s|m|h)")


def seconds(token: Token) -> int:
    """Return a duration in whole seconds, rounded up. The duration `0` needs no unit. Raises `BadCorefile`."""
    if token.text == "0":
        return 0
    parts = list(_PART.finditer(token.text))
    if not parts or "".join([part[0] for part in parts]) != token.text:
        raise BadCorefile(token, quote(token.text), "a duration, such as 30s or 1h")
    return ceil(sum([float(part[1]) * _UNITS[part[2]] for part in parts]))
