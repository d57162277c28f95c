"""The models of resolvers walk as their sources say, and as the real resolvers do. The cases are in walks.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pydns.dns import name
from pydns.dns.rrset import AAAA, A
from pydns.dns.walk import Ask, Outcome, Resolver, Searching, candidates, walk

CASES = [
    pytest.param(case, resolver, id=f"{case['name']} ({resolver.value})")
    for case in yaml.safe_load(Path(__file__).with_name("walks.yaml").read_text())
    for resolver in Resolver
]
DOMAINS = ("shop.svc.d", "svc.d", "d")


def _answering(replies: dict[str, str]) -> Ask:
    def ask(qname: bytes, qtype: int) -> Outcome:
        outcomes = replies.get(name.to_text(qname).rstrip("."), "NXDOMAIN NXDOMAIN").split()
        return Outcome[outcomes[(A, AAAA).index(qtype)]]

    return ask


@pytest.mark.parametrize(("case", "resolver"), CASES)
def test_a_resolver_asks_for_the_names_of_its_case(case: dict[str, Any], resolver: Resolver) -> None:
    domains = tuple(map(name.from_text, case.get("domains", DOMAINS)))
    lookup = case["lookup"]
    qname = name.from_text(lookup)
    found = walk(
        resolver,
        qname,
        lookup.endswith("."),
        Searching(domains, case.get("ndots", 5)),
        (A, AAAA),
        _answering(case.get("replies", {})),
    )
    wanted = case.get(resolver.value, case["all"])
    numbered = [qname, *(qname[:-1] + each for each in domains)]
    asked = " ".join([str(numbered.index(each.qname)) for each in found.asked])
    assert (asked, found.end.name) == (str(wanted["asked"]), wanted["end"])


def test_names_that_are_too_long_are_left_out() -> None:
    qname = name.from_text(".".join(["x" * 59] * 4))
    searching = Searching((name.from_text("default.svc.cluster.local"), name.from_text("d")))
    for resolver in Resolver:
        assert candidates(qname, False, searching, resolver) == [qname[:-1] + name.from_text("d"), qname]
