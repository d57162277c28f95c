"""Generates documentation from the tables: a JSON Schema for editors, and Markdown tables for the documentation."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pydns.config import document, flags
from pydns.config.corefile import directives
from pydns.config.keys import KUBE_DNS, ROOT
from pydns.config.mistakes import ConfigError
from pydns.config.shapes import Key, Mistakes, Place, Record, walk
from pydns.dns.reason import Reason


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `config.yaml`. The schema can't find every mistake, for example in an address."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Live configuration of pydns (config.yaml)",
        **ROOT.schema(),
    }


def json_schema_text() -> str:
    """Return the text of the published `schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"


def flags_table() -> str:
    """Return all flags of `serve` as a Markdown table."""
    rows = []
    for flag in flags.SERVE:
        mistakes = Mistakes()
        if flag.wrong:
            flag.read(flag.wrong, mistakes)
        typed = f"{flag.option} {flag.metavar}".strip()
        default = f"`{flag.default}`" if flag.default else flag.absent_text
        errors = [*(f"`{mistake}`" for mistake in mistakes), *filter(None, [flag.remark])]
        rows.append((f"`{typed}`", f"`{flag.variable}`", default, flag.purpose, ". ".join(errors)))
    return _markdown(("flag", "variable", "default", "purpose", "errors"), rows)


def keys_table() -> str:
    """Return all keys as Markdown tables. Each row has an example, and the error for a wrong value.

    Each key of `config.yaml` with keys below it has a section and a table of its own.
    """
    rows: dict[Key, list[_KeyRow]] = {key: [] for key in ROOT.keys}
    top = ROOT.keys[0]
    seen: set[Key] = set()  # keys that have a row: keys of a server appear in several places, but have one row
    for path, record, key in walk(ROOT):
        top = key if record is ROOT else top
        if key.example and key not in seen:
            rows[top].append((path, key, _default(record, key)))
        seen.add(key)
    alone = [found[0] for found in rows.values() if len(found) == 1]
    kube_dns = [(key.name, key, key.default) for key in KUBE_DNS]
    sections = [
        _keys_section("Keys of kube-dns", "", kube_dns),
        _keys_section("Keys without keys below them", "", alone),
    ]
    for key, found in rows.items():
        if len(found) > 1:
            sections.append(_keys_section(f"`{key.name}`", "" if key.example else key.purpose, found))
    return "\n".join(sections)


_KeyRow = tuple[str, Key, str]  # path, key, default


def _keys_section(title: str, purpose: str, rows: Iterable[_KeyRow]) -> str:
    cells = [
        (f"`{path}`", key.purpose, f"`{key.example}`", default, f"`{mistakes_in(path, key, key.wrong)[0]}`")
        for path, key, default in rows
    ]
    text = f"{purpose}\n\n" if purpose else ""
    return f"### {title}\n\n{text}" + _markdown(("key", "purpose", "example", "default", "error"), cells)


def key_names() -> str:
    """Return the names of all keys of `config.yaml` in one line of Markdown."""
    return ", ".join([f"`{key.name}`" for key in ROOT.keys]) + "\n"


def directives_table() -> str:
    """Return the directives of a Corefile as a Markdown table. Each row describes how pydns handles the directive."""
    rows = [(f"`{name}`", "carried out", "see above") for name in sorted(directives.CARRIED_OUT)]
    rows += [
        (f"`{name}`", "no effect", row.why.removeprefix("no effect: "))
        for name, row in sorted(directives.NO_EFFECT.items())
    ]
    rows += [(f"`{name}`", "refused", row.nearest or row.why) for name, row in sorted(directives.INSTEAD.items())]
    return _markdown(("directive", "here", "remark or replacement"), rows)


def reasons_table() -> str:
    """Return all reasons why a reply isn't a success, as a Markdown table."""
    rows = [(f"`{each.code}`", str(int(each.ede)), each.text, each.advice) for each in Reason]
    return _markdown(("code", "EDE", "meaning", "what to do"), rows)


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join([f"| {' | '.join(cells)} |\n" for cells in lines])


def mistakes_in(path: str, key: Key, text: str) -> list[ConfigError]:
    """Return the mistakes in `text`, a YAML value for the key."""
    node = document.from_yaml(path, text)
    if isinstance(node, ConfigError):
        return [node]
    mistakes = Mistakes()
    key.shape.read(node, Place("", path), mistakes)
    return mistakes


def _default(record: Record, key: Key) -> str:
    if key.required:
        return "(required)"
    if key.default:
        return key.default
    value = msgspec.to_builtins(record.default_of(key))
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
