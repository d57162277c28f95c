"""The texts of a ConfigMap become either a configuration or a list of all mistakes. The cases are in cases/*.yaml."""

import time
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pydns.config import model
from pydns.config.document import MAX_TEXT
from pydns.config.model import Config, NamedUpstream, ServersFile, ServerSpec, Transport
from pydns.config.read import Accepted, Refused, Surroundings, read, read_text
from pydns.config.shapes import MAX_MISTAKES
from pydns.dns import name

CASES = [
    pytest.param(case, id=f"{file.stem}: {case['name']}")
    for file in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load(file.read_text())
]


@pytest.mark.parametrize("case", CASES)
def test_a_configmap_is_read_as_its_case_says(case: dict[str, Any]) -> None:
    domain = name.from_text(case["domain"]) if "domain" in case else None
    result = read(case["data"], Surroundings(domain, lenient=case.get("lenient", False)))
    if isinstance(result, Refused):
        assert [str(error) for error in result.errors] == case.get("errors")
    else:
        assert written(result.config) == case.get("config")
        assert [str(notice) for notice in result.notices] == case.get("notices", [])


def written(value: Any, field: str = "") -> Any:
    """Return a value in the form of the cases: without defaults, and with each server on one line."""
    if isinstance(value, ServersFile):
        return f"{value.transport.value} {value.path}" + (f" from {value.source}" if value.source else "")
    if isinstance(value, ServerSpec | NamedUpstream):
        host = value.ip if isinstance(value, ServerSpec) else name.to_text(value.qname)
        path = value.path if value.transport is Transport.HTTPS else None
        source = value.source and f"from {value.source}"
        server_name = value.server_name
        parts = (value.transport.value, host, value.port, server_name, value.packets_per_second, path, source)
        return " ".join(str(part) for part in parts if part is not None)
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        return {
            each.name: written(getattr(value, each.name), each.name)
            for each in fields
            if getattr(value, each.name) != each.default
        }
    if isinstance(value, tuple):
        return [written(item, field) for item in value]
    if isinstance(value, bytes):
        return str(ip_address(value)) if field == "addresses" else name.to_text(value)
    return value.value if isinstance(value, Enum) else value


@pytest.mark.parametrize("case", CASES)
def test_an_accepted_configuration_survives_the_answer_table(case: dict[str, Any]) -> None:
    result = read(case["data"])
    config = result.config if isinstance(result, Accepted) else Config()
    assert model.load(model.dump(config)) == config


def test_a_file_is_read_like_config_yaml_and_its_errors_name_the_file() -> None:
    assert read_text("dns.yaml", "ttl: 30") == Accepted(Config(ttl_s=30))
    refused = read_text("dns.yaml", "\nttl: 5s")
    assert isinstance(refused, Refused)
    assert [str(error) for error in refused.errors] == [
        'dns.yaml:2: ttl: "5s" is not a whole number from 0 to 3600',
    ]


HOSTILE = {
    "deep list": "[" * 400_000,
    "deep block list": "- " * 400_000,
    "deep mapping": '{"a":' * 200_000,
    "deep complex keys": "? " * 400_000,
    "a list of mistakes": "namespaces: [" + "A," * 300_000 + "]",
    "unknown keys": "".join([f"kex{i}: 1\n" for i in range(50_000)]),
    "a long key": "t" * 900_000 + ": 1",
    "a long number": "ttl: " + "9" * 900_000,
    "a long float": "ttl: 0." + "9" * 900_000,
    "a long host": "upstreams: [" + "a-" * 400_000 + "]",
    "a long domain": "hosts: {? " + "a." * 400_000 + " : {addresses: [1]}}",
    "a long plain word": "ttl: " + "1e" * 400_000,
    "too long": "#" * (MAX_TEXT + 1),
    "half a surrogate pair": "ttl: \ud800",
    "a byte order mark inside": "ttl: \ufeff5",
    "NUL": "\0",
    "digits that JSON can't convert": "[" + "9" * 5000 + "]",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("key", ["config.yaml", "stubDomains", "upstreamNameservers"])
def test_hostile_texts_are_refused_at_a_bounded_cost(key: str, text: str) -> None:
    started = time.process_time()
    result = read({key: text})
    # This limit is much longer than any of these texts takes, and much shorter than a quadratic reader would take.
    assert time.process_time() - started < 10
    assert isinstance(result, Refused)
    assert 1 <= len(result.errors) <= MAX_MISTAKES + 1
    assert all(len(str(error)) < 500 and str(error).isprintable() for error in result.errors)


def test_only_a_hundred_mistakes_are_listed_and_the_last_line_says_so() -> None:
    refused = read({"config.yaml": "namespaces: [" + "A, " * 101 + "]"})
    assert isinstance(refused, Refused)
    assert str(refused.errors[99]) == 'config.yaml:1: namespaces[99]: "A" is not the name of a namespace'
    assert str(refused.errors[100]) == "and more: the rest, after 100 mistakes, is not listed"


# Known keys with any values, because Hypothesis would hardly find known keys by itself.
WORDS = st.sampled_from(
    [
        "upstreams",
        "routes",
        "servers",
        "cache",
        "ttl",
        "hosts",
        "addresses",
        "log",
        "queries",
        "share",
        "acme.local",
        ".",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
YAML_TEXTS = VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True)) | st.text()
JSON_TEXTS = VALUES.map(lambda value: msgspec.json.encode(value).decode()) | st.text()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine must not fail the test
@given(yaml_text=YAML_TEXTS, stubs=JSON_TEXTS, nameservers=JSON_TEXTS, other=st.text())
@example(yaml_text="log: {queries: {share: 0x1}}", stubs="[NaN, -0, 1e999]", nameservers='"\\ud800"', other="\ud800")
def test_no_text_causes_an_exception(yaml_text: str, stubs: str, nameservers: str, other: str) -> None:
    result = read({"config.yaml": yaml_text, "stubDomains": stubs, "upstreamNameservers": nameservers, other: other})
    said = result.errors if isinstance(result, Refused) else result.notices
    assert all(str(each).isprintable() for each in said)
