"""A ConfigMap means the same when it comes from the API, from a mounted folder, or from a manifest file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydns.config.inputs import MAX_OCTETS, read_config_map, read_file, read_folder
from pydns.config.model import Config, ServerSpec
from pydns.config.read import Accepted, Refused

# Copied from https://kubernetes.io/docs/tasks/administer-cluster/dns-custom-nameservers/ from the time when the page
# described kube-dns.
DOCUMENTED = b"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: kube-dns
  namespace: kube-system
data:
  stubDomains: |
    {"acme.local": ["1.2.3.4"]}
  upstreamNameservers: |
    ["8.8.8.8", "8.8.4.4"]
"""
KEYS = {"stubDomains": '{"acme.local": ["1.2.3.4"]}\n', "upstreamNameservers": '["8.8.8.8", "8.8.4.4"]\n'}


def errors(result: Accepted | Refused) -> list[str]:
    assert isinstance(result, Refused), result
    return [str(error) for error in result.errors]


def test_the_example_of_the_kubernetes_documentation_means_the_same_in_every_form() -> None:
    (of_file, of_folder, of_api) = (
        read_file("kube-dns.yaml", DOCUMENTED),
        read_folder({key: text.encode() for key, text in KEYS.items()}),
        read_config_map(KEYS),
    )
    assert of_file == of_folder == of_api
    assert isinstance(of_file, Accepted)
    assert of_file.config.upstreams == (ServerSpec("8.8.8.8"), ServerSpec("8.8.4.4"))
    assert [(route.domain, route.servers) for route in of_file.config.routes] == [
        (b"\4acme\5local\0", (ServerSpec("1.2.3.4"),))
    ]


def test_a_file_that_is_not_a_manifest_is_read_as_config_yaml() -> None:
    assert read_file("dns.yaml", b"\xef\xbb\xbfttl: 30") == Accepted(Config(ttl_s=30))
    assert errors(read_file("dns.yaml", b"ttl: 5s")) == ['dns.yaml:1: ttl: "5s" is not a whole number from 0 to 3600']


@pytest.mark.parametrize("data", [b"", b"data:\n", b"data: {}\n", b"data: null\nbinaryData: null\n"])
def test_a_manifest_without_keys_gives_the_defaults(data: bytes) -> None:
    assert read_file("cm.yaml", b"kind: ConfigMap\n" + data) == Accepted(Config())


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"data: [a]", ["cm.yaml:2: data: a list is not a mapping of texts"]),
        (b"data: {config.yaml: 5}", ['cm.yaml:2: data["config.yaml"]: 5 is not a text']),
        (
            b"data: {config.yaml: {ttl: 5}, stubDomains: '['}",
            [
                'cm.yaml:2: data["config.yaml"]: a mapping is not a text',
                "stubDomains: the end of the text is not JSON: expecting value",
            ],
        ),
        (b"binaryData: {config.yaml: gA==}", ["config.yaml: the content is not text in UTF-8"]),
        (b"---\na: b", ["cm.yaml:3: a second document is not allowed"]),
    ],
)
def test_every_mistake_in_a_manifest_is_reported(manifest: bytes, said: list[str]) -> None:
    assert errors(read_file("cm.yaml", b"kind: ConfigMap\n" + manifest)) == said


FIRST = """apiVersion: v1
kind: ConfigMap
data:
  Corefile: "import custom/*.server"
  a.server: "a.example {\\n forward . 10.0.0.1\\n}"
"""
SECOND = """apiVersion: v1
kind: ConfigMap
data:
  a.server: "nonsense"
  b.server: "b.example {\\n forward . 10.0.0.2\\n}"
"""


def _list(*manifests: str) -> str:
    items = "".join("- " + each.replace("\n", "\n  ").rstrip() + "\n" for each in manifests)
    return f"apiVersion: v1\nitems:\n{items}kind: List\n"


@pytest.mark.parametrize("text", [_list(FIRST, SECOND), f"{FIRST}---\n{SECOND}", f"{FIRST}---\n{_list(SECOND)}---\n"])
def test_the_first_of_several_configmaps_imports_from_the_others(text: str) -> None:
    accepted = read_file("cm.yaml", text.encode())
    assert isinstance(accepted, Accepted)
    assert [route.domain for route in accepted.config.routes] == [b"\1a\7example\0", b"\1b\7example\0"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "apiVersion: v1\nkind: List\nitems: []",
            'cm.yaml:2: a manifest of kind "List" without items is not a ConfigMap',
        ),
        ("apiVersion: v1\nkind: List\nitems: [5]", "cm.yaml:3: 5 is not a ConfigMap"),
        (_list("apiVersion: v1\nkind: Secret\n"), 'cm.yaml:4: a manifest of kind "Secret" is not a ConfigMap'),
        (
            f"{FIRST}---\n[",
            "cm.yaml:8: this line is not YAML: did not find expected node content while parsing a flow node",
        ),
    ],
)
def test_a_list_or_document_without_a_configmap_is_refused(text: str, said: str) -> None:
    assert errors(read_file("cm.yaml", text.encode())) == [said]


def test_binary_data_is_refused_in_known_keys_and_ignored_with_a_notice_in_others() -> None:
    assert errors(read_folder({"config.yaml": b"ttl: 5 # \x80", "stubDomains": b"["})) == [
        "config.yaml: the content is not text in UTF-8",
        "stubDomains: the end of the text is not JSON: expecting value",
    ]
    assert errors(read_file("dns.yaml", b"\xff")) == ["dns.yaml: the content is not text in UTF-8"]
    accepted = read_config_map({}, ["logo.png"])
    assert isinstance(accepted, Accepted)
    assert [str(notice) for notice in accepted.notices] == ['"logo.png": ignored: not a known key']


def test_an_endless_file_is_too_long() -> None:
    assert "is not within the limit" in errors(read_file("dns.yaml", b"#" * MAX_OCTETS))[0]


@given(raw=st.binary(), data=st.text())
def test_no_octets_cause_an_exception(raw: bytes, data: str) -> None:
    read_file("dns.yaml", raw)
    read_file("dns.yaml", b"kind: ConfigMap\n" + raw)
    read_file("dns.yaml", b"kind: ConfigMap\ndata: " + data.encode("utf-8", "replace"))
    read_folder({"config.yaml": raw, "stubDomains": raw})


def test_a_truncated_file_next_to_the_configuration_is_not_used() -> None:
    files = {"config.yaml": b"hosts_files: [NodeHosts]", "NodeHosts": b"10.0.0.1 a.example\n" + bytes(MAX_OCTETS)}
    assert isinstance(read_folder(files), Refused)
    accepted = read_folder(files | {"NodeHosts": files["NodeHosts"][:-MAX_OCTETS]})
    assert isinstance(accepted, Accepted) and len(accepted.config.hosts) == 1
