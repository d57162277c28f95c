"""pydns splits a Corefile into words and blocks like CoreDNS.

The Corefile means the same as the config.yaml that is made from it.
"""

import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pydns.config import document, yaml_writer
from pydns.config.corefile.blocks import BadCorefile, Line, parse
from pydns.config.corefile.directives import CARRIED_OUT
from pydns.config.corefile.tokens import tokens
from pydns.config.inputs import is_corefile, read_file
from pydns.config.node import Mapping
from pydns.config.read import Accepted, Refused, Surroundings, read, read_corefile, read_text
from pydns.dns import name

CASES = yaml.safe_load((Path(__file__).parent / "corefile_syntax.yaml").read_text())


@pytest.mark.parametrize("case", CASES["words"], ids=lambda case: case["text"][:40])
def test_a_text_is_split_into_words(case: dict[str, Any]) -> None:
    assert [token.text for token in tokens("Corefile", case["text"])] == case["words"]


@pytest.mark.parametrize("case", CASES["blocks"], ids=lambda case: case["name"])
def test_words_are_grouped_into_blocks(case: dict[str, Any]) -> None:
    try:
        parsed = parse("Corefile", case["text"], case.get("files", {}), case.get("environment", {}))
    except BadCorefile as error:
        assert str(error) == case.get("error")
        return
    found = [
        {" ".join([each.text for each in block.addresses]): list(map(written, block.directives))}
        for block in parsed.blocks
    ]
    assert found == case.get("blocks")


def written(line: Line) -> Any:
    """Return a line in the form of the cases: its words, and a mapping if the line opens a block."""
    words = " ".join([token.text for token in line.words])
    return {words: list(map(written, line.lines))} if line.lines else words


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (".:53 {\n", True),
        ("# the stock one\n\n. {\n", True),
        ("(snippet) {\n", True),
        ("corp.example:53, 10.0.0.0/8 { # ours\n", True),
        ("ttl: 5\n", False),
        ("hosts: {\n  a.example: {addresses: [10.0.0.1]}}\n", False),
        ('{"ttl": 5}', False),
        ("{\n", False),
        ("", False),
    ],
)
def test_a_corefile_is_known_by_its_first_line(text: str, is_one: bool) -> None:
    assert is_corefile("dns.txt", text) is is_one
    assert is_corefile("Corefile", text)


def test_a_corefile_for_another_cluster_domain_is_refused() -> None:
    text = "corp.local {\n kubernetes\n}\n. {\n forward . 10.0.0.1\n}\n"
    refused = read_corefile("Corefile", text, {}, Surroundings(domain=name.from_text("cluster.local")))
    assert isinstance(refused, Refused)
    assert [str(error) for error in refused.errors] == [
        'Corefile:1: "corp.local." is not the cluster domain, cluster.local.; the flag --domain sets the first domain'
    ]


def test_a_mistake_in_an_imported_file_names_that_file() -> None:
    refused = read({"Corefile": "import *.server", "a.server": ". {\n forward . 10.0.0.300\n}"})
    assert isinstance(refused, Refused)
    assert [str(error) for error in refused.errors] == [
        'a.server:2: "10.0.0.300" is not an IP address or IP:port',
    ]


def test_the_message_names_the_kind_of_a_wrong_manifest() -> None:
    refused = read_file("dns.yaml", b"apiVersion: apps/v1\nkind: Deployment\n")
    assert isinstance(refused, Refused)
    assert [str(error) for error in refused.errors] == [
        'dns.yaml:2: a manifest of kind "Deployment" is not a ConfigMap'
    ]


# Corefiles in the supported grammar. Some of them contain mistakes.
ZONES = st.sampled_from([".", "corp.example", "a.b", "10.0.0.0/8", "10.96.0.0/12", "2001:db8::/33", "bad..zone"])
SERVERS = st.sampled_from(
    [
        "8.8.8.8",
        "[::1]:53",
        "tls://9.9.9.9%dns.quad9.net",
        "ns.example",
        "/etc/resolv.conf",
        "1.2.3.400",
        "fe80::1%eth0",
        "https://1.1.1.1/dns-query",
    ]
)
WORDS = [
    "errors", "loop", "reload 10s", "log", "log . {class denial\n}", "bufsize 512", "rewrite", "auto", "file /x a.b",
]  # fmt: skip
CACHES = [
    "",
    "30",
    "0",
    "x",
    "a.b",
    "30 {\nprefetch 5\nserve_stale 1m\n}",
    "30 {\ndisable success a.b\ndisable denial\nkeepttl\n}",
    "corp.example {\nsuccess 9 5 2\nservfail 0\nserve_stale 1h verify\n}",
]
FORWARD = ["policy sequential", "force_tcp", "tls", "next NXDOMAIN", "except a.b", "failover REFUSED NXDOMAIN", "x"]
KUBERNETES = ["pods verified", "ttl 9", "labels a=b", "namespaces a b", "x"]
TEMPLATE = ["rcode NXDOMAIN", "rcode NOERROR\nmatch .*", "answer x"]
ENTRIES = ["10.0.0.1 a.example", "::1 a.example b.example", "10.0.0.1 *.example", "x a.example"]
ACL = ["block", "allow type A net 10.0.0.1/8 ::1", "filter type *", "drop net", "deny"]
VIEW = ["expr incidr(client_ip(), '10.0.0.0/8')", "expr true\nexpr type() in ['A']", "expr metadata('x') == 'y'", "x"]
FIELDS = st.sampled_from(["name", "stop name", "continue ttl", "rcode", "cname", "class"])
MATCHES = st.sampled_from(["", "exact", "prefix", "suffix", "substring", "regex"])
NAMES = st.sampled_from(["a.b", ".corp.example", r"(.*)\.a\.b", "{1}.b", "30-", "NXDOMAIN", '"a #b"', '"a\\"b"', ""])
OPTIONS = st.sampled_from(["", "answer auto", r"answer value (.*) {1}.b", "NOERROR", "{\n}"])
TYPES = st.sampled_from(["A", "AAAA", "ANY", "X"])
PROPERTIES = st.sampled_from(
    ["", "match ^a", "fallthrough", "fallthrough a.b", 'answer "{{ .Name }} 60 IN A 10.0.0.1"', "rcode REFUSED", "x"]
)
LINES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(CACHES).map("cache {}".format),
    st.builds("forward {} {}".format, ZONES, SERVERS),
    st.builds("forward . {} {{\n{}\n}}".format, SERVERS, st.sampled_from(FORWARD)),
    st.sampled_from(KUBERNETES).map("kubernetes cluster.local in-addr.arpa {{\n{}\n}}".format),
    st.sampled_from(["rcode NXDOMAIN", "rcode NOERROR\nmatch .*", "answer x"]).map(
        "template ANY ANY a.b {{\n{}\n}}".format
    ),
    st.builds("rewrite {} {} {} {} {}".format, FIELDS, MATCHES, NAMES, NAMES, OPTIONS),
    st.builds("template IN {} {} {{\n{}\n{}\n}}".format, TYPES, NAMES, PROPERTIES, PROPERTIES),
    st.sampled_from(ENTRIES).map("hosts {{\n{}\nfallthrough\n}}".format),
    st.sampled_from(ACL).map("acl {{\n{}\n}}".format),
    st.sampled_from(VIEW).map("view v {{\n{}\n}}".format),
    st.text(string.printable, max_size=20),
)
BLOCKS = st.builds(lambda zone, lines: f"{zone} {{\n" + "\n".join(lines) + "\n}\n", ZONES, st.lists(LINES, max_size=6))
COREFILES = st.lists(BLOCKS, min_size=1, max_size=3).map("".join)


# Lines in the supported grammar, without mistakes. A block has at most one line of each list.
RIGHT = (
    ["cache", "cache 30", "cache 60 {\nsuccess 100 60\ndenial 100 5 1\nprefetch 10\nserve_stale 1h\n}"],
    ["hosts {\n10.0.0.1 a.example b.example\n::1 a.example\nttl 30\nfallthrough\n}"],
    ["log", "log . {\nclass denial error\n}", "log corp.example"],
    ["acl {\nallow net 10.0.0.0/8\nblock type A AAAA\n}", "acl corp.example {\nfilter net *\n}"],
    ["rewrite name suffix .old.example .new.example answer auto", "rewrite ttl exact a.example 30-60"],
    ['template IN A t.example {\nanswer "{{ .Name }} 60 IN A 10.0.0.1"\n}', "template ANY AAAA {\nrcode NOERROR\n}"],
    ["errors", "loop\nreload 10s", "bufsize 512\nloadbalance\nprometheus :9153"],
)
RIGHT_SERVERS = ["8.8.8.8 1.1.1.1", "/etc/resolv.conf {\npolicy sequential\n}", "tls://9.9.9.9%dns.quad9.net"]
RIGHT_VIEW = "view v {\nexpr incidr(client_ip(), '10.0.0.0/8')\n}\ntemplate IN A {\nrcode NXDOMAIN\n}\n"
RIGHT_VIEWS = ["", f".:53 .:1053 {{\n{RIGHT_VIEW}}}\n"]


def right_blocks(zones: str) -> st.SearchStrategy[str]:
    lines = st.tuples(*(st.sampled_from(["", *each]) for each in RIGHT)).map("\n".join)
    return st.builds(
        lambda rest, to: f"{zones} {{\n{rest}\nforward . {to}\n}}\n", lines, st.sampled_from(RIGHT_SERVERS)
    )


RIGHT_COREFILES = st.builds(
    "{}{}{}".format, st.sampled_from(RIGHT_VIEWS), right_blocks(".:53 .:1053"), right_blocks("a.b:53 a.b:1053")
)


@given(RIGHT_COREFILES)
def test_a_supported_corefile_is_accepted_and_equals_its_migration(text: str) -> None:
    result = read_corefile("Corefile", text, {})
    assert isinstance(result, Accepted), result
    check_migration(result)


@given(COREFILES)
def test_a_corefile_and_its_migration_give_the_same_configuration(text: str) -> None:
    result = read_corefile("Corefile", text, {})
    if isinstance(result, Refused):
        assert all(len(str(error)) < 500 and str(error).isprintable() for error in result.errors)
        return
    check_migration(result)


def check_migration(result: Accepted) -> None:
    """Check that the migrated text gives the same configuration, and that migrating it again gives the same text."""
    assert result.translated is not None
    migrated = "\n".join(yaml_writer.lines(result.translated, "Corefile"))
    again = read_text("config.yaml", migrated)
    assert isinstance(again, Accepted), migrated
    assert again.config == result.config
    root = document.from_yaml("config.yaml", migrated)
    assert isinstance(root, Mapping)
    assert without_comments("\n".join(yaml_writer.lines(root, "config.yaml"))) == without_comments(migrated)


def without_comments(text: str) -> str:
    """Return YAML without the comments that name the line of a key."""
    return re.sub("  # .*", "", text)


@given(COREFILES)
def test_ignored_directives_have_no_effect(text: str) -> None:
    strict, lenient = (read_corefile("Corefile", text, {}, Surroundings(lenient=each)) for each in (False, True))
    if isinstance(strict, Accepted):
        assert lenient == strict
    elif isinstance(lenient, Accepted):
        assert set(lenient.left_out) == set(strict.errors)
        assert lenient.translated is not None
        migrated = read_text("config.yaml", "\n".join(yaml_writer.lines(lenient.translated, "Corefile")))
        assert isinstance(migrated, Accepted)
        assert migrated.config == lenient.config
    else:
        assert lenient.errors == strict.errors


def test_ignored_directives_do_not_change_other_directives() -> None:
    rest = ". {\n forward . 10.0.0.1\n cache 30\n%s}\n"
    lenient = read_corefile("Corefile", rest % " whoami\n", {}, Surroundings(lenient=True))
    strict = read_corefile("Corefile", rest % "", {})
    assert isinstance(lenient, Accepted)
    assert isinstance(strict, Accepted)
    assert lenient.config == strict.config
    assert list(map(str, lenient.left_out)) == ['Corefile:4: "whoami" is not carried out here']


def test_a_view_is_left_out_as_a_whole() -> None:
    text = ". {\n view v {\n expr %s\n }\n template IN A {\n %s\n }\n}\n. {\n forward . 10.0.0.1\n}\n"
    for condition, wrong in (("metadata('x') == 'y'", "rcode NXDOMAIN"), ("true", "match ^(?!x)")):
        lenient = read_corefile("Corefile", text % (condition, wrong), {}, Surroundings(lenient=True))
        assert isinstance(lenient, Accepted)
        assert len(lenient.left_out) == 1
        assert (lenient.config.views, lenient.config.templates) == ((), ())


PIECES = ["{", "}", "{{$X}", '"', '""', "import x", "import", "(x)", "\n", " ", "a", ",", "#", "\\", "{$HOME}", ". {\n"]
TEXTS = st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))


@given(TEXTS, TEXTS)
def test_no_text_causes_an_exception(text: str, imported: str) -> None:
    read({"Corefile": text, "x": imported})
    read({"Corefile": f". {{\nforward . 10.0.0.1\nimport x\n{text}", "x": imported})


ARGUMENTS = [
    ".", "a.example", "a..b", "*.b", "10.0.0.0/9", "::/3", "fe80::1%{x}", "1.2.3.4", "1.2.3.4:0", "tls://1.2.3.4%n",
    "https://h/", "/etc/x", "db.x", '""', "ANY", "IN", "A", "NXDOMAIN", "stop", "continue", "name", "exact", "suffix",
    "regex", "(.*)", "(", "{1}", "\\", "ttl", "0", "5", "30", "10h", "true", "client_ip()", "auto", "answer", "*",
    "net", "type", "success", "class", "all", "block", "allow", "{$LOOP}",
]  # fmt: skip
INNER = [
    "fallthrough", "expr", "pods", "ttl", "multicluster", "zonal", "labels", "except", "next", "failover", "policy",
    "tls", "max_concurrent", "match", "rcode", "answer", "success", "denial", "disable", "servfail", "serve_stale",
    "directory", "reload", "prefix", "translate_all", "class", "block", "filter", "ignore",
]  # fmt: skip


def lines_of(names: list[str], blocks: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    words = st.lists(st.sampled_from(ARGUMENTS), max_size=5).map(" ".join)
    return st.builds("{} {}{}\n".format, st.sampled_from(names), words, blocks)


DIRECTIVES = lines_of(
    sorted(CARRIED_OUT),
    st.lists(lines_of(INNER + ARGUMENTS, st.just("")), max_size=3).map(
        lambda each: f" {{\n{''.join(each)}}}" * bool(each)
    ),
)
LOOP = {"LOOP": "{$BACK}", "BACK": "{$LOOP}"}


@example(first="rewrite ttl continue 30\nrewrite name stop a.example\n", second="template ANY ANY\n", lenient=False)
@example(first="log {$LOOP}\ntemplate ANY ANY\n", second="", lenient=False)
@example(first="", second='hosts {\n"" a.example\n}\n', lenient=False)
@example(first="log fe80::%1/64 10.0.0.0/255.0.0.0 ::/0 0.0.0.0/0 10.0.0.0/32 ::1/128\n", second="", lenient=False)
@given(
    first=st.lists(DIRECTIVES, max_size=4).map("".join),
    second=st.lists(DIRECTIVES, max_size=2).map("".join),
    lenient=st.booleans(),
)
def test_no_words_of_a_directive_cause_an_exception(first: str, second: str, lenient: bool) -> None:
    text = f". {{\nforward . 10.0.0.1\n{first}}}\na.example 10.0.0.0/15 {{\n{second}}}\n"
    result = read_corefile("Corefile", text, {"db.x": ""}, Surroundings(environment=LOOP, lenient=lenient))
    if isinstance(result, Accepted):
        assert result.translated is not None
        text = "\n".join(yaml_writer.lines(result.translated, "Corefile"))
        files = {"config.yaml": text, "db.x": ""}
        migrated = read(files)
        assert isinstance(migrated, Accepted), migrated
        assert migrated.config == result.config
