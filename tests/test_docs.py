"""The documents are correct about flags, keys, links and files."""

import re
import shlex
import textwrap
from pathlib import Path

import dns.message
import pytest
import yaml

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config import describe
from pydns.config.keys import ROOT as KEYS
from pydns.config.model import Config
from pydns.config.read import Accepted, read
from tests.corefiles import shape, table
from tests.subject import InProcess, load

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "ARCHITECTURE.md",
    "DIFFERENCES.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "manifests/README.md",
    *sorted(f"docs/{each.name}" for each in (ROOT / "docs").glob("*.md")),
)
ROW = re.compile(r"^\| `(--[a-z-]+)[^`]*` \| `(\w+)` \| ([^|]+) \|", re.MULTILINE)


def _documented() -> dict[str, tuple[str, str]]:
    return {flag: (variable, default.strip()) for flag, variable, default in ROW.findall(_text("docs/flags.md"))}


def _text(document: str) -> str:
    return (ROOT / document).read_text()


def _flags_of_help(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    with pytest.raises(SystemExit):
        parser({}).parse_args(["serve", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    options = words[words.index("show this help") :]
    return dict(re.findall(r"(--[a-z-]+)(?: [^\s-]\S*)? .*?\[(PYDNS_\w+)\]", options))


def test_the_page_of_flags_has_every_flag_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert {flag: variable for flag, (variable, _) in _documented().items()} == _flags_of_help(capsys)


def test_defaults_of_flags_are_those_of_the_parser() -> None:
    defaults = vars(parser({}).parse_args(["serve"]))
    said = {flag: default for flag, (_, default) in _documented().items()}
    assert said
    for flag, default in said.items():
        value = defaults[flag[2:].replace("-", "_")]
        if isinstance(value, str):
            assert default == f"`{value}`", flag
        else:  # without a default text, the page describes the default behaviour in words
            assert not default.startswith("`"), flag


def test_the_table_of_flags_is_up_to_date() -> None:
    begin, end = "print(flags_table(), end='')\" -->\n", "<!-- end of flags -->"
    assert _text("docs/flags.md").partition(begin)[2].partition(end)[0] == describe.flags_table()


def test_the_table_of_keys_is_up_to_date() -> None:
    page = _text("docs/configuration.md")
    begin, end = "print(keys_table(), end='')\" -->\n", "<!-- end of keys -->"
    assert page.partition(begin)[2].partition(end)[0] == describe.keys_table()


def test_the_list_of_keys_in_the_readme_of_the_manifests_is_up_to_date() -> None:
    begin, end = "print(key_names(), end='')\" -->\n", "<!-- end of key names -->"
    assert _text("manifests/README.md").partition(begin)[2].partition(end)[0] == describe.key_names()


def test_the_table_of_directives_is_up_to_date() -> None:
    begin, end = "print(directives_table(), end='')\" -->\n", "<!-- end of directives -->"
    assert _text("docs/corefile.md").partition(begin)[2].partition(end)[0] == describe.directives_table()


def test_the_table_of_reasons_is_up_to_date() -> None:
    begin, end = "print(reasons_table(), end='')\" -->\n", "<!-- end of reasons -->"
    assert _text("docs/reasons.md").partition(begin)[2].partition(end)[0] == describe.reasons_table()


def test_stories_print_what_pydns_explain_prints() -> None:
    cases = [case for each in yaml.safe_load(_text("tests/cli/explain.yaml")) for case in each["cases"]]
    told = {f"$ pydns explain {case['explain']}\n{case['says']}" for case in cases}
    stories = _text("docs/troubleshooting.md").partition("## Five stories\n")[2].partition("\n## ")[0]
    shown = [
        textwrap.dedent(each) for each in re.findall(r"^    \$ pydns explain .*\n(?:    .*\n)+", stories, re.MULTILINE)
    ]
    assert len(shown) == 5
    assert [each for each in shown if each not in told] == []


def test_each_directive_has_one_row() -> None:
    names = re.findall(r"^\| (`\w+`) \|", describe.directives_table(), re.MULTILINE)
    assert sorted(set(names)) == sorted(names)


def test_the_table_of_corefiles_is_up_to_date() -> None:
    begin, end = "<!-- corefiles: python -m tests.corefiles.table -->\n", "<!-- end of corefiles -->"
    assert _text("docs/corefile.md").partition(begin)[2].partition(end)[0] == table.table(shape.read())


def test_the_keys_that_give_the_behaviour_of_coredns_are_accepted_and_change_something() -> None:
    """Check the last column of the table of defaults that differ: no value may be our default."""
    table = _text("docs/corefile.md").partition("## Defaults that differ from CoreDNS\n")[2].partition("\n## ")[0]
    last = [row.rstrip(" |").rpartition("| ")[2] for row in table.splitlines() if row.startswith("| ")][2:]
    snippets = re.findall(r"`([^`]+)`(?: of the upstream)?", "\n".join(last))
    assert len(snippets) >= 6
    for snippet in snippets:
        text = f"upstreams: [{{address: 10.0.0.2, {snippet}}}]" if snippet.startswith("case:") else snippet
        result = read({"config.yaml": text})
        assert isinstance(result, Accepted), (snippet, result)
        assert result.config != read_default(text), snippet


def read_default(text: str) -> Config:
    """Return the configuration to compare a snippet with.

    It has the defaults, and the server that the snippet needs.
    """
    result = read({"config.yaml": "upstreams: [10.0.0.2]" if text.startswith("upstreams:") else ""})
    assert isinstance(result, Accepted)
    return result.config


# Keys of the same ConfigMap that shown configurations name.
BESIDE = {
    "NodeHosts": "10.0.0.7 node-7\n",
    "db.example.org": "@ 60 SOA ns admin 1 2 3 4 5\n  NS ns.example.org.\n",
}
SHOWN_CONFIGURATIONS = [
    pytest.param(text, id=f"{document}: {text.splitlines()[0]}")
    for document in DOCUMENTS
    for block in re.findall(r"(?:^    .*\n)+", (ROOT / document).read_text(), re.MULTILINE)
    for text in [textwrap.dedent(block)]
    if text.partition(":")[0] in {key.name for key in KEYS.keys}
]


@pytest.mark.parametrize("text", SHOWN_CONFIGURATIONS)
def test_shown_configurations_are_accepted(text: str) -> None:
    """Check each block whose first line is a key. If the lines of a block have the same key, they are alternatives."""
    first = text.partition(":")[0]
    is_choice = all(line.startswith(f"{first}: ") for line in text.splitlines())
    for each in text.splitlines() if is_choice else [text]:
        result = read({"config.yaml": each, **BESIDE})
        assert isinstance(result, Accepted), (each, result)


def test_the_documents_show_configurations() -> None:
    assert len(SHOWN_CONFIGURATIONS) > 10


COMMANDS = sorted(
    {
        command
        for document in DOCUMENTS
        for command in re.findall(
            r"^ {4,}(?:\$ )?(?:\.venv/bin/)?(pydns [a-z].*)$", (ROOT / document).read_text(), re.MULTILINE
        )
        if not command.startswith("pydns serve: ")  # such a line is output of pydns
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_have_valid_verbs_and_flags(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0], comments=True)
    options = parser({}).parse_args(words[1:])
    if options.verb == "serve":
        settings_of(options)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_have_targets(document: str) -> None:
    folder = (ROOT / document).parent
    targets = re.findall(r"\]\(([^)#]+)", _text(document))
    assert [target for target in targets if "://" not in target and not (folder / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_to_sections_have_targets(document: str) -> None:
    for target, section in re.findall(r"\]\(([^):#]*)#([^)]+)\)", _text(document)):
        path = (ROOT / document).parent / target if target else ROOT / document
        titles = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert section in anchors, (document, target, section)


def test_named_files_exist() -> None:
    named = {
        (document, path)
        for document in DOCUMENTS
        for path in re.findall(r"`((?:pydns|manifests|tests|docs)/[\w./-]+)`", _text(document))
    }
    assert len(named) > 20
    assert sorted(each for each in named if not (ROOT / each[1]).exists()) == []


def test_the_readme_leads_to_every_page() -> None:
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages - set(re.findall(r"\]\(([^)#]+)", _text("README.md"))) == set()


def test_every_promise_about_security_names_tests_that_exist() -> None:
    text = _text("SECURITY.md")
    rows = [row for table in re.findall(r"\| test \|\n\| --- .*\n((?:\|.*\n)+)", text) for row in table.splitlines()]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for path, test in named:
            assert f"\ndef {test}(" in _text(path), f"{path}::{test}"


def test_first_example_of_external_zones_has_the_records_of_its_table(tmp_path: Path) -> None:
    text = _text("docs/external.md")
    config, cluster = [list(yaml.safe_load_all(block)) for block in re.findall("```yaml\n(.*?)```", text, re.DOTALL)]
    rows = re.findall(r"^\| `(\S+) (\w+)` \| `(.+)` \|$", text, re.MULTILINE)
    assert len(rows) == 6
    subject = InProcess(tmp_path, load(cluster, config=config[0]))
    try:
        for qname, qtype, answer in rows:
            reply = subject.ask(dns.message.make_query(qname, qtype).to_wire(), tcp=False)
            assert reply is not None
            assert [str(each) for rrset in dns.message.from_wire(reply).answer for each in rrset] == [answer]
    finally:
        subject.close()
