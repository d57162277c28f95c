"""YAML is read as kubectl reads it. The reader of pydns is stricter where kubectl would not report a mistake."""

import pytest
import yaml

from pydns.config import yaml_reader
from pydns.kube import documents
from pydns.kube.documents import Document, DocumentMistake


@pytest.fixture(params=["libyaml", "pure"], autouse=True)
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run each test with both of PyYAML's parsers."""
    if request.param == "pure":
        monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)
    return str(request.param)


def values(text: str) -> list[object]:
    return [each.value if isinstance(each, Document) else each for each in documents.read(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, -2, 0x10, 010, 1_000]", [1, -2, 16, 8, 1000]),
        ("[1.5, -.inf]", [1.5, float("-inf")]),
        ("[yes, No, true, on, OFF]", [True, False, True, True, False]),
        ("[~, null, ]", [None, None]),
        ("['80', \"on\", !!str 80, None]", ["80", "on", "80", "None"]),
        ("[2026-11-24T20:40:00Z, 2026-11-24]", ["2026-11-24T20:40:00Z", "2026-11-24"]),
        ("[2001:10:20:30:40:50:10:20, 1:30, 1:30.5]", ["2001:10:20:30:40:50:10:20", "1:30", "1:30.5"]),
        ("{80: a, on: b}", {"80": "a", "on": "b"}),
        ("{a: &x {k: 1}, b: *x}", {"a": {"k": 1}, "b": {"k": 1}}),
        ("{a: &x {k: 1, l: 2}, b: {<<: *x, k: 3}}", {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}}),
        ("{<<: [{k: 1}, {k: 2, l: 3}]}", {"k": 1, "l": 3}),
        ('{"a": [1, {"b": "\\u00e9"}]}', {"a": [1, {"b": "é"}]}),
    ],
)
def test_scalars_and_mappings_are_read_as_kubectl_reads_them(text: str, value: object) -> None:
    assert values(text) == [value]


def test_empty_documents_are_numbered_but_report_nothing() -> None:
    found = list(documents.read("# nothing\n---\n---\na: 1\n---\n# nothing\n"))
    assert [(each.number, each.value) for each in found if isinstance(each, Document)] == [
        (1, None),
        (2, {"a": 1}),
        (3, None),
    ]
    assert values("") == []


@pytest.mark.parametrize(
    ("text", "document", "line", "reason"),
    [
        ("? [a]\n: 1\n", 1, 1, "a key is not a scalar"),
        ("a: !!int x\n", 1, 1, '"x" is not of type int'),
        ("a: {<<: 1}\n", 1, 1, "<<: only mappings can be merged"),
        ("a: &a [*a]\n", 1, 1, "is nested too deeply, or contains itself"),
    ],
)
def test_a_mistake_names_its_document_and_line(text: str, document: int, line: int, reason: str) -> None:
    assert list(documents.read(text))[-1] == DocumentMistake(document, line, reason)


@pytest.mark.parametrize(
    ("text", "value", "document", "line", "first"),
    [
        ("a: 1\nb: 2\na: 3\n", {"a": 3, "b": 2}, 1, 3, "'a' occurs twice in one mapping, first in line 1"),
        (
            "x: 1\n---\ns:\n  - {k: 1, k: 2}\n",
            {"s": [{"k": 2}]},
            2,
            4,
            "'k' occurs twice in one mapping, first in line 4",
        ),
        ("x: 1\n---\n1: a\n'1': b\n", {"1": "b"}, 2, 4, "'1' occurs twice in one mapping, first in line 3"),
        ('{"x": 1}\n{"s": [{"k": 1, "k": 2}]}', {"s": [{"k": 2}]}, 2, 2, "'k' occurs twice in one mapping"),
    ],
)
def test_the_last_of_two_equal_keys_is_used_and_a_warning_names_it(
    text: str, value: object, document: int, line: int, first: str
) -> None:
    *_, found = documents.read(text)
    assert isinstance(found, Document)
    assert found.value == value
    assert found.warnings == (DocumentMistake(document, line, f"key {first}; the last one counts"),)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: !secret x", {"a": "x"}),
        ("a: !!python/name:os.system x", {"a": "x"}),
        ("a: !!binary aGVsbG8=", {"a": "hello"}),
        ("a: !thing {b: 1}", {"a": {"b": 1}}),
        ("a: !!set {b}", {"a": {"b": None}}),
        ("<<: {a: 1}\n<<: {b: 2}", {"a": 1, "b": 2}),
        ("a: 0x" + "f" * 6000, {"a": "0x" + "f" * 6000}),
        ("a: " + "9" * 6000, {"a": "9" * 6000}),
        ("a: 99999999999999999999", {"a": 1e20}),
        ('{"a": "\\ud83d\\ude00", "b": "x\\ud83d"}', {"a": "😀", "b": "x\ufffd"}),
        ('{"' + "k" * 5000 + '":\t1}', {"k" * 5000: 1}),
        ('{"a": ' + "9" * 6000 + "}", {"a": float("inf")}),
        ('{"a": yes, b: 1}', {"a": True, "b": 1}),
    ],
)
def test_odd_yaml_is_read_as_kubectl_reads_it(text: str, found: object) -> None:
    assert values(text) == [found]


def test_text_may_have_several_json_objects() -> None:
    text = '{"a": 1} {"b": 2}\n{"c": 3}\n---\n{"d": [1,\n {"e": 1}]}\n'
    read = [each for each in documents.read(text) if isinstance(each, Document)]
    assert [(each.number, each.value) for each in read] == [
        (1, {"a": 1}),
        (2, {"b": 2}),
        (3, {"c": 3}),
        (4, {"d": [1, {"e": 1}]}),
    ]
    assert [each.line_of(()) for each in read] == [1, 1, 2, 4]
    assert [read[3].line_of(path) for path in (("d",), ("d", 1), ("d", 1, "e"), ("d", 1, "f"))] == [4, 5, 5, 5]


@pytest.mark.parametrize("constant", ["NaN", "Infinity"])
def test_text_that_is_not_json_is_read_as_yaml(constant: str) -> None:
    assert values('{"a": ' + constant + "}") == [{"a": constant}]


@pytest.mark.parametrize(
    ("text", "document", "line"),
    [
        ("a: 1\n---\nb: [1, 2\nc: 3\n", 2, 4),
        ("a: 1\n---\nb: *nowhere\n", 2, 3),
        ("a: 1\n\tb: 2\n", 1, 2),
        ("a: \x07\n", 1, 1),
        ("a: 1\n---\nb: 1\nc: \x07\n", None, 4),  # the pure Python parser checks all characters of a text first
        ("[" * 2000, 1, 1),  # the time of the pure Python parser is quadratic: 5,000 brackets took 7 s
    ],
)
def test_broken_syntax_names_document_and_line(text: str, document: int | None, line: int) -> None:
    *_, mistake = documents.read(text)
    assert isinstance(mistake, DocumentMistake)
    assert mistake.line == line
    assert document is None or mistake.document == document


def test_document_with_a_mistake_does_not_hide_the_others() -> None:
    first, second, third = values("a: 1\n---\nb: 1\n[b]: 2\n---\nc: 3\n")
    assert first == {"a": 1}
    assert isinstance(second, DocumentMistake)
    assert third == {"c": 3}


def test_yaml_aliases_cannot_use_up_the_memory() -> None:
    bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 10):
        bomb += f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 10)}]\n"
    (mistake,) = documents.read(bomb)
    assert isinstance(mistake, DocumentMistake)
    assert mistake.reason == "aliases add more than 100000 values"


def test_an_unknown_path_has_the_line_of_its_nearest_known_parent() -> None:
    (document,) = documents.read("kind: Service\nspec:\n  ports:\n    - name: http\n      port: x\n    - port: 1\n")
    assert isinstance(document, Document)
    assert document.line_of(()) == 1
    assert document.line_of(("spec", "ports")) == 3
    assert document.line_of(("spec", "ports", 0, "port")) == 5
    assert document.line_of(("spec", "ports", 1, "name")) == 6
    assert document.line_of(("status", "phase")) == 1
