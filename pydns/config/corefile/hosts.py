"""Reads the directive `hosts`: names with fixed addresses, in the Corefile or in a file in the format of /etc/hosts."""

from collections.abc import Iterable, Iterator

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line, find
from pydns.config.corefile.draft import Draft, checked, mapping, number, only, sequence, switch, text, whole
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.keys import MAX_TTL_S
from pydns.config.mistakes import Wanted, quote
from pydns.config.node import ImportedLine, Node, Scalar

_TTL_S = 3600  # the plugin's default
_PROPERTIES = ("fallthrough", "no_reverse", "reload", "ttl")
Entry = tuple[Token, tuple[Token, ...]]  # an address and its names


def read_hosts(line: Line, server: Server, draft: Draft) -> None:
    """Read the entries of a block. The file must be next to the Corefile, like the key `NodeHosts` of a ConfigMap."""
    at = line.words[0]
    arguments = line.arguments
    entries: list[Entry] = []
    if arguments:
        entries += _of_file(arguments[0], draft)
        if len(arguments) > 1:
            raise BadCorefile(arguments[1], quote(arguments[1].text), "carried out: entries aren't bound to zones")
    elif not any(each.name not in _PROPERTIES for each in line.lines):
        raise BadCorefile(at, "hosts without a file", "carried out: /etc/hosts of the pod isn't read")
    ttl, ptr = number(at, _TTL_S), switch(at, value=True)
    falls_through = False
    for each in line.lines:
        if each.name == "ttl":
            word = only(each, 1)[0]
            ttl = number(word, whole(word, 1, MAX_TTL_S))
        elif each.name == "no_reverse":
            ptr = switch(each.words[0], value=False)
        elif each.name == "reload":
            draft.note(each.words[0], "no effect: a change is in force at once")
        elif each.name == "fallthrough":
            falls_through = True
        else:
            entries.append((each.words[0], each.arguments))
    if not falls_through:
        raise BadCorefile(at, "hosts without fallthrough", "carried out: no other name would exist")
    found: dict[str, list[Node]] = {}
    for address, names in entries:
        checked(address, texts.parse_ip)
        for name in names:
            checked(name, texts.parse_host)
            found.setdefault(name.text.lower().removesuffix("."), []).append(text(address))
    for name_, addresses in found.items():
        known = draft.hosts.get(name_)
        if known is not None:
            raise BadCorefile(at, f"{name_} in two directives", "allowed")
        unique = list({each.text: each for each in addresses if isinstance(each, Scalar)}.values())
        keys: dict[str, Node] = {"addresses": sequence(unique, unique[0].line), "ttl": ttl}
        if not ptr.value:
            keys["ptr"] = ptr
        draft.hosts[name_] = mapping(keys, unique[0].line)


def _of_file(path: Token, draft: Draft) -> Iterator[Entry]:
    """Yield the entries of a file. CoreDNS skips lines that it can't read. Such a line only gives a note here."""
    names = find(draft.files, path.text)
    if not names:
        raise BadCorefile(path, quote(path.text), "a file beside the Corefile: a key of the same ConfigMap")
    yield from _entries(names[0], draft.files[names[0]].split("\n"), draft)


def _entries(file: str, lines: Iterable[str], draft: Draft) -> Iterator[Entry]:
    for at, line in enumerate(lines, 1):
        words = [Token(each, file, ImportedLine.of(file, at)) for each in line.partition("#")[0].split()]
        if len(words) < 2:
            continue
        good = [each for each in words[1:] if not isinstance(texts.parse_host(each.text), Wanted)]
        if isinstance(texts.parse_ip(words[0].text.partition("%")[0]), Wanted) or len(good) < len(words) - 1:
            draft.note(words[0], "left out: not an address with names of hosts")
        if not isinstance(texts.parse_ip(words[0].text), Wanted):
            yield words[0], tuple(good)
