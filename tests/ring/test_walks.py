"""Wasted queries of search lists are found, with the change that would avoid them."""

import pytest

from pydns.dns import name
from pydns.dns.rrset import AAAA, A
from pydns.ring.queries import Facts, Outcome, Query, Source
from pydns.ring.summary import duration_text, groups
from pydns.ring.walks import Wasted, ndots, wasted

DOMAINS = (name.from_text("cluster.local"),)
POD, OTHER = b"\x0a\0\0\1", b"\x0a\0\0\2"


def query(text: str, came: float = 1.0, *, client: bytes = POD, qtype: int = A, spent_s: float = 0.001) -> Query:
    """Return a query. `text` is a name.

    If there is no answer, a space and NXDOMAIN, NODATA or SERVFAIL follow the name.
    """
    qname, _, result = text.partition(" ")
    rcode, answers = {"": (0, 1), "NODATA": (0, 0), "NXDOMAIN": (3, 0), "SERVFAIL": (2, 0)}[result]
    outcome = {"": Outcome.ANSWERED, "SERVFAIL": Outcome.FAILED}.get(result, Outcome.DENIED)
    facts = Facts(name.from_text(qname), qtype, rcode, answers, False, Source.TABLE, outcome)
    return Query(came, spent_s, client, False, 100, facts, Source.TABLE, "", b"")


def found(*queries: Query) -> list[tuple[str, int, int]]:
    return [(name.to_text(each.qname), each.queries, each.walks) for each in wasted(queries, DOMAINS)]


NS, SVC, DOMAIN = "shop.svc.cluster.local", "svc.cluster.local", "cluster.local"
CASES = {
    "an outside name": (
        ["api.example.com." + each + " NXDOMAIN" for each in (NS, SVC, DOMAIN)] + ["api.example.com"],
        [("api.example.com.", 3, 1)],
    ),
    "a domain of the node": (
        ["api.example.com.ec2.internal NXDOMAIN", "api.example.com"],
        [("api.example.com.", 1, 1)],
    ),
    "a Service of another namespace": (
        [f"web.other.{NS} NXDOMAIN", f"web.other.{SVC}"],
        [(f"web.other.{SVC}.", 1, 1)],
    ),
    "a Service with svc": (
        [f"web.other.svc.{NS} NXDOMAIN", f"web.other.svc.{SVC} NXDOMAIN", f"web.other.svc.{DOMAIN}"],
        [(f"web.other.{SVC}.", 2, 1)],
    ),
    "another case of letters": (
        ["API.example.com.svc.Cluster.local NXDOMAIN", "api.Example.com"],
        [("api.example.com.", 1, 1)],
    ),
    "a Service that is found at once": ([f"web.{NS}"], []),
    "a name that no walk finds": ([f"wbe.{each} NXDOMAIN" for each in (NS, SVC, DOMAIN)] + ["wbe NXDOMAIN"], []),
    "a name that fails": ([f"a.example.{NS} NXDOMAIN", "a.example SERVFAIL"], []),
    "names that only begin alike": ([f"api.examples.{NS} NXDOMAIN", "api.example"], []),
    "another Service of the same first label": ([f"web.{NS} NXDOMAIN", f"web.other.{SVC}"], []),
    "the name itself without another type": (["www.example.com NODATA", "www.example.com"], []),
}


@pytest.mark.parametrize("case", CASES)
def test_names_of_a_search_list_that_are_denied_before_an_answer_are_wasted(case: str) -> None:
    asked, wanted = CASES[case]
    assert found(*map(query, asked)) == wanted


def test_queries_of_both_families_and_of_all_walks_are_added_up() -> None:
    walk = [
        query(f"a.example.{suffix}".strip(".") + result, at, qtype=qtype)
        for at in (1.0, 100.0)
        for suffix, result in ((NS, " NXDOMAIN"), (SVC, " NXDOMAIN"), ("", ""))
        for qtype in (A, AAAA)
    ]
    assert found(*walk) == [("a.example.", 8, 2)]


def test_another_client_and_a_late_answer_do_not_belong_to_the_walk() -> None:
    denied = query(f"a.example.{NS} NXDOMAIN", 1.0)
    assert found(denied, query("a.example", 1.0, client=OTHER)) == []
    assert found(denied, query("a.example", 7.0)) == []


def test_the_value_of_ndots_saves_all_names_with_two_dots_or_more() -> None:
    def of(text: str, *, as_it_is: bool = True) -> Wasted:
        return Wasted(POD, name.from_text(text), as_it_is, 3, 1)

    assert ndots([of("a.b.example.com"), of("www.example.com")]) == 2
    assert ndots([of("a.b.example.com"), of("example.com")]) == 3
    assert ndots([of("example.com")]) is None
    assert ndots([of(f"web.other.{SVC}", as_it_is=False)]) is None


def test_groups_have_counts_and_durations() -> None:
    queries = [
        query("a.example", spent_s=0.001),
        query("b.example NXDOMAIN", spent_s=0.5),
        query("b.example SERVFAIL", spent_s=0.25),
        query("b.example", spent_s=0.0),
    ]
    assert groups(queries, ["a", "b", "b", None]) == [("b", 2, 1, 1, 0.375, 0.5), ("a", 1, 0, 0, 0.001, 0.001)]


@pytest.mark.parametrize(("spent_s", "text"), [(0.0, "up to 0.1 ms"), (0.05, "up to 100 ms"), (3.0, "more than 1 s")])
def test_durations_have_groups(spent_s: float, text: str) -> None:
    assert duration_text(spent_s) == text
