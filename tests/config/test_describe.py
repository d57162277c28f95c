"""The documentation of the keys is correct: the schema, the example, and the table."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pydns.config import describe
from pydns.config.keys import KUBE_DNS, ROOT
from pydns.config.read import Accepted, read, read_text
from pydns.config.shapes import Key, walk

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = (REPOSITORY / "manifests/config.example.yaml").read_text()
KEYS = [(path, key) for path, _, key in walk(ROOT)]
LEAVES = [pytest.param(path, key, id=path) for path, key in KEYS if key.example]


def test_the_published_schema_is_generated_from_the_table() -> None:
    published = (REPOSITORY / "pydns/config/schema.json").read_text()
    assert published == describe.json_schema_text(), "write json_schema_text() of pydns.config.describe there"


def test_the_example_is_a_configuration_without_mistakes() -> None:
    result = read_text("config.example.yaml", EXAMPLE)
    assert isinstance(result, Accepted), result
    assert result == read({"config.yaml": EXAMPLE})


def test_the_example_sets_every_key() -> None:
    assert {path for path, _ in KEYS} - set(paths(yaml.safe_load(EXAMPLE), ROOT.schema())) == {
        # The example shows these keys below upstreams.
        "routes.NAME.servers[].server_name",
        "routes.NAME.servers[].packets_per_second",
        "routes.NAME.servers[].case",
        "routes.NAME.servers[].edns",
        "routes.NAME.servers[].source",
        "routes.NAME.servers[].tls",
        "routes.NAME.servers[].tls.ca",
        "routes.NAME.servers[].tls.certificate",
        "routes.NAME.servers[].tls.key",
        # The example shows these keys directly below cache.
        *(path for path, _ in KEYS if path.startswith("cache.zones.NAME.")),
        # The example shows these keys directly below the root.
        *(path for path, _ in KEYS if path.startswith(("views[].templates[].", "views[].blocked.NAME."))),
        # The example shows these keys for the first domain.
        *(path for path, _ in KEYS if ".domains.NAME." in f".{path}"),
    } - {
        "domains.NAME.namespaces",
        "domains.NAME.ttl",
        "cache.zones.NAME.max_ttl",
        "cache.zones.NAME.denial",
        "views[].templates[].types",
    }


def paths(value: Any, schema: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the keys that a document sets, in the notation of the table."""
    found = []
    if isinstance(value, dict):
        for alternative in schema.get("anyOf", [schema]):
            if alternative.get("type") == "string":  # the short form of a mapping
                continue
            for key, inner in value.items():
                known = alternative.get("properties")
                if known is None and alternative.get("type") == "string":
                    continue
                if known is None:
                    found += paths(inner, alternative.get("additionalProperties", {}), f"{prefix[:-1]}.NAME.")
                else:
                    found += [prefix + key, *paths(inner, known[key], f"{prefix}{key}.")]
    elif isinstance(value, list):
        for inner in value:
            found += paths(inner, schema.get("items", {}), f"{prefix[:-1]}[].")
    return found


@pytest.mark.parametrize(("path", "key"), LEAVES)
def test_the_example_in_the_table_is_right_and_the_wrong_value_is_refused(path: str, key: Key) -> None:
    assert describe.mistakes_in(path, key, key.example) == []
    assert str(describe.mistakes_in(path, key, key.wrong)[0]).startswith(path)


@pytest.mark.parametrize("key", KUBE_DNS, ids=lambda key: key.name)
def test_the_example_of_a_kube_dns_key_is_right_and_its_wrong_value_is_refused(key: Key) -> None:
    assert isinstance(read({key.name: key.example}), Accepted)
    assert describe.mistakes_in(key.name, key, key.wrong)


def test_the_table_has_a_row_for_every_key_with_its_default_and_its_error() -> None:
    rows = [line.split(" | ") for line in describe.keys_table().splitlines() if line.startswith("| `")]
    assert {row[0] for row in rows} == {f"| `{path}`" for path, key in KEYS if key.example} - {
        # These rows would be the same as the rows for upstreams.
        "| `routes.NAME.servers[].address`",
        "| `routes.NAME.servers[].transport`",
        "| `routes.NAME.servers[].server_name`",
        "| `routes.NAME.servers[].packets_per_second`",
        "| `routes.NAME.servers[].case`",
        "| `routes.NAME.servers[].edns`",
        "| `routes.NAME.servers[].source`",
        "| `routes.NAME.servers[].tls.ca`",
        "| `routes.NAME.servers[].tls.certificate`",
        "| `routes.NAME.servers[].tls.key`",
        "| `hosts_files[].ttl`",  # the same as `hosts.NAME.ttl`
        # These rows would be the same as the rows for the whole cache.
        *(f"| `{path}`" for path, _ in KEYS if path.startswith(("cache.zones.NAME.", "clusters.NAME.domains.NAME."))),
        # These rows would be the same as the rows for the first domain.
        *(f"| `domains.NAME.{each}`" for each in ("namespace_labels", "endpoints", "hide_empty_services")),
        "| `domains.NAME.fallthrough`",
        # These rows would be the same as the rows for templates and blocked domains of all clients.
        *(f"| `{path}`" for path, _ in KEYS if path.startswith(("views[].templates[].", "views[].blocked.NAME."))),
    } | {f"| `{key.name}`" for key in KUBE_DNS}
    assert all(len(row) == 5 and all(cell.strip("|` ") for cell in row) for row in rows)
    ttl = next(row for row in rows if row[0] == "| `cache.max_ttl`")
    assert ttl[3:] == ["`3600`", '`cache.max_ttl: "10m" is not a whole number from 0 to 604800` |']


@pytest.mark.parametrize(
    "text", [EXAMPLE, "{}", "upstreams: [10.0.0.2, {address: 10.0.0.3}]"], ids=["example", "empty", "both forms"]
)
def test_the_schema_accepts_valid_configurations(text: str) -> None:
    assert complaints(yaml.safe_load(text), json.loads(describe.json_schema_text())) == []


@pytest.mark.parametrize("key", [key for _, key in KEYS if key.name in ("ttl", "pods", "routes", "share")])
def test_the_schema_refuses_wrong_kinds_and_ranges(key: Key) -> None:
    assert complaints(yaml.safe_load(key.wrong), key.shape.schema())


def test_the_schema_refuses_unknown_and_missing_keys() -> None:
    assert complaints({"tll": 5}, describe.json_schema()) == ["tll"]
    assert complaints({"hosts": {"a.example": {}}}, describe.json_schema()) == ["addresses"]


KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def complaints(value: Any, schema: dict[str, Any]) -> list[str]:
    """Validate with the JSON Schema keywords that the schema of pydns uses. Any other keyword fails the test."""
    unknown = schema.keys() - {"$schema", "title", "description", "default", "type", "enum", "anyOf"}
    unknown -= {"properties", "additionalProperties", "required", "items", "minItems"}
    unknown -= {"minimum", "maximum", "exclusiveMinimum"}
    assert not unknown
    if "anyOf" in schema:
        results = [complaints(value, each) for each in schema["anyOf"]]
        return [] if [] in results else results[-1]
    if "enum" in schema:
        return [] if value in schema["enum"] else [str(value)]
    if not isinstance(value, KINDS[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return [f"{value} is no {schema['type']}"]
    found = []
    if isinstance(value, dict):
        found += [key for key in schema.get("required", ()) if key not in value]
        for key, inner in value.items():
            inside = schema.get("properties", {}).get(key, schema["additionalProperties"])
            found += [key] if inside is False else complaints(inner, inside)
    elif isinstance(value, list):
        found += ["too few"] if len(value) < schema.get("minItems", 0) else []
        found += [each for inner in value for each in complaints(inner, schema["items"])]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        low, above = schema.get("minimum", value), schema.get("exclusiveMinimum", value - 1)
        found += [] if low <= value <= schema["maximum"] and value > above else [str(value)]
    return found
