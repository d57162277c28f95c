"""Conditions of views: the part of CoreDNS's expressions that Corefiles use."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pydns.dns.address import parse_address
from pydns.dns.expression import Asker, BadExpression, parse

CASES = yaml.safe_load(Path(__file__).with_name("expressions.yaml").read_text())


@pytest.mark.parametrize("case", CASES["conditions"], ids=lambda case: case["when"])
def test_a_condition_is_true_for_the_clients_that_it_describes(case: dict[str, Any]) -> None:
    holds = parse(case["when"])
    for asker in case["holds"]:
        assert holds(_asker(asker)), asker
    for asker in case["fails"]:
        assert not holds(_asker(asker)), asker


def _asker(text: str) -> Asker:
    address, qname, qtype = text.split()
    return Asker(parse_address(address), qname, qtype)


@pytest.mark.parametrize("case", CASES["mistakes"], ids=lambda case: case["when"])
def test_an_invalid_condition_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(BadExpression) as error:
        parse(case["when"])
    assert str(error.value) == case["error"]


PIECES = [
    "incidr",
    "(",
    ")",
    "client_ip()",
    "type()",
    "'A'",
    "==",
    "and",
    "||",
    "!",
    "not",
    "[",
    "]",
    ",",
    "in",
    "'",
    "\\",
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join)))
def test_no_text_causes_another_exception(text: str) -> None:
    try:
        holds = parse(text)
    except BadExpression as error:
        assert str(error)
        return
    assert holds(Asker(bytes(4), "a.example.", "A")) in (True, False)
