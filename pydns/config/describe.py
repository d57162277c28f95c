"""What is published about the keys, made from the table: a JSON Schema for editors and CI, and a table for people."""

import json
from typing import Any

import msgspec

from pydns.config import document
from pydns.config.keys import KUBE_DNS, ROOT
from pydns.config.mistakes import ConfigError
from pydns.config.shapes import Key, Mistakes, Place, Record, walk


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of `config.yaml`. It lets through what only reading finds, such as a broken address."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Live configuration of pydns (config.yaml)",
        **ROOT.schema(),
    }


def json_schema_text() -> str:
    """Return the text of the published `schema.json`."""
    return json.dumps(json_schema(), indent=2) + "\n"


def markdown_table() -> str:
    """Return all keys as a Markdown table: purpose, example, default, and what a wrong value is told."""
    rows = [(key.name, key, key.default) for key in KUBE_DNS]
    seen: set[Key] = set()  # what can be said of a server is the same wherever there is one
    for path, record, key in walk(ROOT):
        if key.example and key not in seen:
            rows.append((path, key, _default(record, key)))
        seen.add(key)
    lines = ["| key | purpose | example | default | error |", "| --- | --- | --- | --- | --- |"]
    for path, key, default in rows:
        cells = (f"`{path}`", key.purpose, f"`{key.example}`", default, f"`{mistakes_in(path, key, key.wrong)[0]}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def mistakes_in(path: str, key: Key, text: str) -> list[ConfigError]:
    """Return what reading says about a value for the key, written in YAML."""
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
