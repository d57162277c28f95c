"""Parses one configuration text, in YAML or JSON, to a tree of nodes. For invalid syntax, the result is an error.

No text causes an exception. The cost is linear in the length of the text, and the length has a limit.
"""

import json
from itertools import islice
from typing import Any

from pydns.config import yaml_reader
from pydns.config.mistakes import ConfigError, quote
from pydns.config.node import Mapping, Node, Scalar, Sequence

MAX_TEXT = 1024 * 1024  # the maximum number of characters in a text, because a ConfigMap has at most 1 MiB


def from_yaml(source: str, text: str) -> Node | ConfigError:
    """Parse one YAML document. The result for a text without a document is a null.

    `source` is the name of the text in errors.
    """
    if too_long := _too_long(source, text):
        return too_long
    documents = list(islice(yaml_reader.compose(text, yaml_reader.CONFIG), 2))
    for document in documents:
        if isinstance(document, yaml_reader.Broken):
            path = f"{source}:{document.line}" if document.line else source
            return ConfigError(path, document.found, document.wanted)
        if document.number > 1:
            return ConfigError(f"{source}:{document.root.line}", "a second document", "allowed")
        root = document.root
    return root if documents else Scalar(None, "", 1)


def all_from_yaml(source: str, text: str) -> list[Node] | ConfigError:
    """Parse all YAML documents of a text. An empty document is left out, unless it is the first one."""
    if too_long := _too_long(source, text):
        return too_long
    roots: list[Node] = []
    for document in yaml_reader.compose(text, yaml_reader.CONFIG):
        if isinstance(document, yaml_reader.Broken):
            path = f"{source}:{document.line}" if document.line else source
            return ConfigError(path, document.found, document.wanted)
        if not roots or not (isinstance(document.root, Scalar) and document.root.value is None):
            roots.append(document.root)
    return roots


def from_json(source: str, text: str) -> Node | ConfigError:
    """Parse a JSON value. `source` is the name of the text in errors."""
    if too_long := _too_long(source, text):
        return too_long
    try:
        return _from_value(json.loads(text, object_pairs_hook=_Pairs))
    except json.JSONDecodeError as error:
        rest = text[error.pos : error.pos + 20]
        place = f"{quote(rest)} in line {error.lineno}, column {error.colno}," if rest else "the end of the text"
        return ConfigError(source, place, f"JSON: {error.msg.lower()}")
    except RecursionError:
        return ConfigError(source, "a value nested so deeply", "allowed")
    except ValueError:  # Python limits the number of digits in an integer
        return ConfigError(source, "a number so long", "allowed")


def _too_long(source: str, text: str) -> ConfigError | None:
    if len(text) <= MAX_TEXT:
        return None
    return ConfigError(source, f"a text of {len(text):,} characters", f"within the limit of {MAX_TEXT:,}")


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object. A dict isn't used, because it would keep only the last of two equal keys."""


def _from_value(value: Any) -> Node:
    if isinstance(value, _Pairs):
        return Mapping([(Scalar(key, key, 0), _from_value(member)) for key, member in value], 0)
    if isinstance(value, list):
        return Sequence([_from_value(item) for item in value], 0)
    return Scalar(value, value if isinstance(value, str) else json.dumps(value), 0)
