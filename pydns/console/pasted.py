"""Finds the question in a text that a developer pastes: a name, a URL, a command, an error message.

This module is pure.
"""

import re
from typing import NamedTuple

LONGEST = 2000  # the most characters of a text that are read


class Pasted(NamedTuple):
    """The name and the type of records that a text asks for. A part that the text lacks is empty."""

    name: str
    type: str = ""


# The messages in which programs report a name that they can't resolve. The first pattern that matches gives the name.
_ERRORS = tuple(
    re.compile(pattern)
    for pattern in (
        r"lookup (\S+?)(?: on \S+)?:",  # Go: dial tcp: lookup db.shop on 10.96.0.10:53: no such host
        r"getaddrinfo (?:ENOTFOUND|EAI_AGAIN|EAI_\w+|ENODATA) (\S+)",  # Node.js
        r"UnknownHostException: (\S+?)(?::|\s|$)",  # Java
        r"Could not resolve host(?:name)?:? ['\"]?([^\s'\";,]+)",  # curl, git
        r"host(?:name| name)? ['\"]([^\s'\"]+)['\"]",  # libpq: could not translate host name "db" to address
        r"bad address ['\"]?([^\s'\"]+)",  # busybox
        r"unable to resolve (?:host address )?['\"‘]?([^\s'\"’]+)",  # wget
        r"can't find ([^\s:]+)",  # nslookup
        r"host=['\"]([^\s'\"]+)['\"]",  # Python, urllib3
    )
)
_COMMANDS = {"curl", "dig", "drill", "getent", "host", "hosts", "kdig", "nc", "nslookup", "ping", "wget", "ahosts"}
_TYPE = re.compile(r"A|AAAA|ANY|CAA|CNAME|HTTPS|MX|NAPTR|NS|PTR|SOA|SRV|SVCB|TXT|TYPE\d{1,5}")


def parse(text: str) -> Pasted:
    """Return the name and the type of records in a text. If the text has no name, `name` is empty.

    Never raises an exception. The name isn't checked: it may be an address, a URL or HOST:PORT, or no name at all.
    """
    text = " ".join(text[:LONGEST].split())
    for pattern in _ERRORS:
        if (found := pattern.search(text)) is not None:
            return Pasted(found[1].strip("'\""))
    words = text.split()
    urls = [word for word in words if "://" in word]
    if urls:
        return Pasted(urls[0].strip("'\"<>(),"))
    is_command = bool(words) and words[0] in _COMMANDS
    names: list[str] = []
    rtype = ""
    for word in words[1:] if is_command else words:
        if _TYPE.fullmatch(word.upper()) and (names or is_command):
            rtype = word.upper()
        elif not word.startswith(("-", "+", "@")) and word not in _COMMANDS:
            names.append(word.strip("'\",;"))
    return Pasted(names[0] if names else "", rtype)
