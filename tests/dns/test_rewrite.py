"""Invalid rewrite rules are refused. Answers always lead from the client's name to the records."""

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydns.dns import name
from pydns.dns.rewrite import Answer, BadRule, Question, parse, revert, rewritten, wire
from pydns.dns.rrset import CNAME, MX, NS, SOA, SRV, A, RRset, srv


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "a rule without a field is not complete"),
        ("stop", "a rule without a field is not complete"),
        ("name a", "name a is not complete"),
        ("name like a b", "name like a b is not complete"),
        ("name a b answer auto", "name a b answer is not complete"),
        ("name regex ( b", "it is invalid: missing ): ("),
        ("name regex (a) {1}{2}", "the text uses more groups than this pattern has"),
        ("name exact a b answer", "answer is not one of the options answer auto, answer name and answer value"),
        ("name exact a b answer value c", "answer value is not complete"),
        ("name suffix a b answer auto name c d", "answer auto with answer name is not allowed"),
        ("ttl a", "ttl a is not complete"),
        ("ttl a 5m", '"5m" is not a TTL in seconds'),
        ("ttl a 9-1", '"9-1" is not a range between 0 and 2147483647'),
        ("ttl like a 5", '"like" is not one of exact'),
        ("rcode a NXDOMAIN", "rcode a NXDOMAIN is not complete"),
        ("rcode a BADSIG NOERROR", '"BADSIG" is not one of NOERROR'),
        ("type A", "type A is not complete"),
        ("type A B", '"B" is not a type of records'),
        ("cname a", "cname a is not complete"),
        ("class IN CH", "only questions of class IN are answered"),
        ("edns0 local set 0xffee abcd", "upstreams get no options of a client"),
    ],
)
def test_an_invalid_or_unsupported_rule_is_refused_with_a_reason(rule: str, reason: str) -> None:
    with pytest.raises(BadRule, match=re.escape(reason)):
        parse(rule.split())


@pytest.mark.parametrize(
    "rule",
    [
        "name exact a.b c",
        "name suffix a.b c answer auto",
        "name regex (.*) {1}c answer name (.*)c {1}",
        "cname exact b c",
        "cname prefix b c",
        "cname suffix b c",
        "cname substring b c",
        "cname regex (.*)b {1}c",
        "ttl a.b 5",
        "rcode a.b NXDOMAIN NOERROR",
    ],
)
def test_the_same_rule_of_two_configurations_changes_answers_alike(rule: str) -> None:
    question = Question("a.b.", A)
    one, other = (rewritten([parse(rule.split())], question) for _ in range(2))
    assert one is not None
    assert one == other


NAMES = st.sampled_from(["a.b.", "b.", "a.b.c.", "c.", "x.a.b.", "d.e.", ".", "A.b.", r"\000a.b."])
TEXTS = st.sampled_from(["a.b", "b", ".b", ".c", "a.", "(.*)", r"(.*)\.b", "{1}", "{0}.c", "", "..", "x" * 70])
OPTIONS = st.sampled_from(
    ["", "answer auto", r"answer name (.*)\.c {1}.b", r"answer value (.*)\.b {1}.e", "answer auto value c d"]
)
MATCHES = st.sampled_from(["exact", "prefix", "suffix", "substring", "regex"])
RULES = st.one_of(
    st.builds("{} name {} {} {} {}".format, st.sampled_from(["", "continue"]), MATCHES, TEXTS, TEXTS, OPTIONS),
    st.builds("continue ttl {} {} {}".format, MATCHES, TEXTS, st.sampled_from(["5", "-9", "7-8"])),
    st.builds("continue rcode {} {} NOERROR NXDOMAIN".format, MATCHES, TEXTS),
    st.builds("continue cname {} {} {}".format, MATCHES, TEXTS, TEXTS),
    st.just("continue type A SRV"),
)


def answer_of(names: Sequence[str]) -> Answer:
    """Return an answer with a chain of CNAMEs and records whose RDATA has names."""
    wires = [name.from_text(each).lower() for each in names]
    chain = [RRset(owner, CNAME, 60, (target,)) for owner, target in pairwise(wires)]
    last = [RRset(wires[-1], A, 60, (b"\1\2\3\4",)), RRset(wires[-1], SRV, 9, (srv(0, 1, 2, wires[0]),))]
    beside = RRset(wires[-1], MX, 3, (b"\0\1" + wires[-1],))
    return Answer(0, [*chain, *last], [RRset(name.ROOT, SOA, 5, (wires[0] * 2 + bytes(20),)), beside], [beside])


@given(st.lists(RULES, min_size=1, max_size=4), NAMES, st.lists(NAMES, max_size=3))
def test_after_any_rules_the_owners_lead_from_the_clients_name_to_the_records(
    texts: list[str], asked: str, chain: list[str]
) -> None:
    rules = []
    for text in texts:
        try:
            rules.append(parse(text.split()))
        except BadRule as error:
            assert str(error)
    found = rewritten(rules, Question(asked.lower(), A))
    if found is None or (looked_up := wire(found.question.qname)) is None:
        return
    qname = name.from_text(asked).lower()
    answer = answer_of([name.to_text(looked_up.lower()), *chain])
    result = revert(found.changes, qname, looked_up.lower(), answer)
    names = {qname}
    for rrset in result.answers:
        assert rrset.owner.lower() in names
        if rrset.rtype == CNAME:
            names.add(rrset.rdatas[0].lower())
    assert not result.onward or result.onward in names
    for rrset in (*result.answers, *result.authorities, *result.additionals):
        assert name.from_text(name.to_text(rrset.owner)) == rrset.owner
        if rrset.rtype == SOA:
            assert any(name.is_at_or_below(each, rrset.owner) for each in names)


def test_a_group_that_looks_like_a_reference_is_not_replaced_again() -> None:
    rule = parse(["name", "regex", r"^(((((((.*)))))))\.x\.$", "{1}.{7}.y."])
    hostile = "".join([f"{{{index}}}" * 6 for index in range(1, 8)])
    found = rewritten([rule], Question(f"{hostile}.x.", A))
    assert found is not None and found.question.qname == f"{hostile}.{hostile}.y."


def test_the_last_change_of_a_name_is_reverted_first() -> None:
    rules = [
        parse(each.split()) for each in ("continue name suffix .a .b answer auto", "name suffix .b .c answer auto")
    ]
    found = rewritten(rules, Question("x.a.", A))
    assert found is not None
    assert found.question.qname == "x.c."
    records = [RRset(name.from_text("x.c"), NS, 5, (name.from_text("ns.c"),))]
    result = revert(found.changes, name.from_text("x.a"), name.from_text("x.c"), Answer(0, records))
    assert result.answers == [RRset(name.from_text("x.a"), NS, 5, (name.from_text("ns.a"),))]
