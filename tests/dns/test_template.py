"""A template's text with fields becomes a record. Invalid texts are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydns.dns import name
from pydns.dns.pattern import Pattern
from pydns.dns.rrset import A
from pydns.dns.template import BadTemplate, Match, Text
from pydns.dns.text import to_text

MATCH = Match("a-10.b.example.", A, "example.", ("a-10.b.example.", "a", "10"), ("", "word", ""))


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("{{ .Name }} 60 IN A 10.0.0.{{ index .Match 2 }}", "a-10.b.example. 60 IN A 10.0.0.10"),
        ("{{.Name}} IN 60 A 10.0.0.1", "a-10.b.example. 60 IN A 10.0.0.1"),
        ("{{ .Name }} A 10.0.0.1", "a-10.b.example. 3600 IN A 10.0.0.1"),
        ("{{ .Name }} 60 {{ .Class }} {{ .Type }} 10.0.0.1", "a-10.b.example. 60 IN A 10.0.0.1"),
        ("{{ .Name }} 60 IN CNAME {{ .Group.word }}.{{ .Zone }}", "a-10.b.example. 60 IN CNAME a.example."),
        ('{{ .Name }} 60 IN TXT "{{ index .Group "word" }} and {{ .Group.1 }}"', 'a-10.b.example. 60 IN TXT "a and a"'),
        ("{{ .Name }} 60 IN A 10.0.0.{{ parseInt .Group.2 16 8 }}", "a-10.b.example. 60 IN A 10.0.0.16"),
        ("relative 60 IN MX 10 mail.{{ .Zone }}", "relative. 60 IN MX 10 mail.example."),
        (
            "{{ .Zone }} IN SOA ns.{{ .Zone }} admin.{{ .Zone }} (1 2 3 4 5)",
            "example. 3600 IN SOA ns.example. admin.example. 1 2 3 4 5",
        ),
        ("{{ .Name }} 60 IN A 10.0.0.{{ .Group.missing }}", None),
        ("{{ .Name }} 60 IN A 10.0.0.{{ parseInt .Group.word 10 8 }}", None),
        ("{{ .Name }} 60 IN A {{ .Name }}", None),
        ("{{ .Name }} 60 IN {{ .Group.word }} 10.0.0.{{ .Group.word }}", None),
    ],
)
def test_a_text_becomes_a_record(text: str, record: str | None) -> None:
    made = Text(text).record(MATCH)
    assert (to_text(made)[0] if made is not None else None) == record


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ .Remote }} 60 IN A 10.0.0.1", '"{{ .Remote }}" is not one of the supported fields'),
        ("{{ .Name | upper }} 60 IN A 10.0.0.1", '"{{ .Name | upper }}" is not one of the supported fields'),
        ("{{ if true }}x{{ end }} 60 IN A 10.0.0.1", '"{{ if true }}" is not one of the supported fields'),
        ("{{ .Name 60 IN A 10.0.0.1", "is not a text whose fields are all closed"),
        ("{{ .Name }} 60 IN HTTPS 1 .", '"HTTPS" is not one of the supported types'),
        ("{{ .Name }} 60 IN", "is not a record: OWNER TTL IN TYPE DATA"),
        ("", "is not a record: OWNER TTL IN TYPE DATA"),
        ("x" * 5000, "is not allowed: 4096 characters at most"),
    ],
)
def test_the_message_names_what_a_text_must_not_contain(text: str, reason: str) -> None:
    with pytest.raises(BadTemplate, match=re.escape(reason)):
        Text(text)


PIECES = [
    "{{ .Name }}",
    "{{ .Zone }}",
    "{{ .Group.word }}",
    "{{ index .Match 9 }}",
    " ",
    "60",
    "IN",
    "A",
    "TXT",
    '"',
    "\\",
    "1.2.3.4",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.binary(max_size=9))
def test_any_text_and_any_name_give_a_record_or_none(text: str, label: bytes) -> None:
    qname = name.to_text(name.from_labels(*filter(None, [label, b"example"])).lower())
    groups = Pattern("^(?P<word>.)(.*)$").search(qname)
    assert groups is not None
    try:
        record = Text(text).record(Match(qname, A, ".", groups, ("", "word", "")))
    except BadTemplate:
        return
    assert record is None or name.from_text(name.to_text(record.owner)) == record.owner
