"""Thousands of manifests from seeds, in the styles of YAML and JSON that people and tools write.

This module doesn't know the right results.
"""

import json
from pathlib import Path
from random import Random
from typing import Any

import yaml

_PIECES: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "manifest_pieces.yaml").read_text())
_VALUES: list[str] = _PIECES["values"]
DIFFERENCES: list[dict[str, str]] = _PIECES["differences"]
_KEYS = ["a", "bee", "x-y", "80", "10", '"q"', "'s'", "long key", "a.b/c"]


def make(seed: int) -> str:
    """Return the text of a seed. Each of the first texts tests a single value."""
    if seed < len(_VALUES):
        return with_value(_VALUES[seed])
    random = Random(seed)
    if random.random() < 0.2:
        return _json(random)
    documents = [_document(random, number) for number in range(random.randint(1, 4))]
    return random.choice(["", "---\n", "# comment\n"]) + random.choice(["---\n", "\n---\n", "--- # next\n"]).join(
        documents
    )


def with_value(value: str) -> str:
    """Return a Service that has a value somewhere in its spec. The value is written in YAML."""
    return f"apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  value: {value}\n"


def _document(random: Random, number: int) -> str:
    kind = random.choice(["Service", "Pod", "ConfigMap", "Endpoints"])
    head = f"apiVersion: v1\nkind: {kind}\nmetadata:\n  name: n{number}\n"
    anchors: list[str] = []
    body = "".join(f"  {key}: {_value(random, 2, anchors)}\n" for key in random.sample(_KEYS, random.randint(0, 5)))
    return f"{head}spec:\n{body}" if body else head


def _value(random: Random, depth: int, anchors: list[str]) -> str:
    choice = random.random()
    if depth and choice < 0.15:
        return "[" + ", ".join(_value(random, depth - 1, anchors) for _ in range(random.randint(0, 3))) + "]"
    if depth and choice < 0.3:
        keys = random.sample(_KEYS[:6], random.randint(0, 3))
        return "{" + ", ".join(f"{key}: {_value(random, depth - 1, anchors)}" for key in keys) + "}"
    if choice < 0.36 and anchors:
        return "*" + random.choice(anchors)
    if choice < 0.42:
        anchors.append(f"a{len(anchors)}")
        return f"&{anchors[-1]} {random.choice(['x', '1', chr(34) + 'q' + chr(34)])}"
    return random.choice(_FLOW_VALUES) if depth < 2 else random.choice(_VALUES)


_FLOW_VALUES = [each for each in _VALUES if not set(each) & set("|>\n,[]{}&*")]


def _json(random: Random) -> str:
    objects: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"j{number}"},
            "spec": {random.choice(["a", "b", "é", "k" * 1100]): random.choice(_JSON_VALUES) for _ in range(3)},
        }
        for number in range(random.randint(1, 3))
    ]
    indent = random.choice([None, 2, "\t"])
    return "\n".join(json.dumps(each, indent=indent, ensure_ascii=random.random() < 0.5) for each in objects)


_JSON_VALUES: list[Any] = [
    1,
    -1,
    1.5,
    1e3,
    "x",
    "😀",
    "\t\n",
    None,
    True,
    [],
    {},
    [1, [2]],
    {"a": {"b": []}},
    "yes",
    "1",
]
