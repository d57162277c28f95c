"""Real resolvers in a namespace with a pod's resolv.conf query a running pydns, and get the results in the table.

The speed isn't checked here: `python -m tests.clients` prints the times. However, two faults that cost seconds are
checked: a query that is sent again because its reply didn't arrive, and TCP without a truncated reply.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.clients import lookups, namespace, programs, table
from tests.clients.lookups import Asked, Lookup
from tests.clients.pod import Pod
from tests.clients.wiretap import Query

# A resolver's first test needs this time: it compiles Go's packages and looks up all names.
pytestmark = pytest.mark.timeout(300)

Answered = Mapping[Asked, Lookup]
ONE_BY_ONE = [each for each in table.RESOLVERS if each not in lookups.ALL_AT_ONCE]
ROTATING: list[dict[str, Any]] = table.read("rotation.yaml")


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    try:
        pod = Pod(tmp_path_factory.mktemp("clients"))
    except namespace.Unavailable as error:
        pytest.skip(f"no network namespaces: {error}")
    yield pod
    pod.close()


@pytest.fixture(scope="module")
def found_by(pod: Pod, request: pytest.FixtureRequest) -> Callable[[str], Answered]:
    """Return the whole table with the results that a resolver finds. Each question is asked once."""
    cache = request.config.cache
    assert cache is not None
    # the cache for compiled packages of Go. Compiling them takes 14 s the first time
    go_cache = cache.mkdir("clients-go")
    known: dict[str, Answered | programs.Missing] = {}

    def found(resolver: str) -> Answered:
        if resolver not in known:
            try:
                known[resolver] = lookups.whole_table(resolver, pod, go_cache)
            except programs.Missing as error:
                known[resolver] = error
        answered = known[resolver]
        if isinstance(answered, programs.Missing):
            if os.environ.get("CI") and not table.RESOLVERS[resolver].get("may be missing"):
                pytest.fail(f"CI has every resolver, but {answered}")
            pytest.skip(str(answered))
        return answered

    return found


def _cases() -> Iterator[Any]:
    for resolver in table.RESOLVERS:
        for row in table.rows():
            reason = row.wrong_today(resolver)
            marks = [pytest.mark.xfail(reason=reason, raises=AssertionError)] if reason else []
            if row.questions(resolver):
                yield pytest.param(resolver, row, id=f"{resolver}-{row.name}", marks=marks)


@pytest.mark.parametrize(("resolver", "row"), list(_cases()))
def test_a_resolver_gets_the_results_in_the_table(
    resolver: str, row: table.Row, found_by: Callable[[str], Answered]
) -> None:
    answered = found_by(resolver)
    for question in row.questions(resolver):
        lookup, expected = answered[question, row.name], row.expected(resolver, question)
        assert expected.includes(lookup.found), f"{question}: found {lookup.line!r}; wanted {expected}"


@pytest.mark.parametrize("resolver", ONE_BY_ONE)
def test_no_resolver_repeats_a_question_or_uses_tcp_without_a_truncated_reply(
    resolver: str, found_by: Callable[[str], Answered]
) -> None:
    slow = {row.name for row in table.rows() if row.is_slow}
    for (question, name), lookup in found_by(resolver).items():
        assert name in slow or lookup.delay() is None, f"{question} {name}: {lookup.delay()}, each time"


def _walks() -> Iterator[Any]:
    for name, by_resolver in table.read("walks.yaml").items():
        for resolver in ONE_BY_ONE:
            kind, _, _ = table.RESOLVERS[resolver]["asks"].partition(",")
            yield pytest.param(resolver, name, by_resolver.get(resolver, by_resolver[kind]), id=f"{resolver}-{name}")


@pytest.mark.parametrize(("resolver", "name", "walk"), list(_walks()))
def test_a_resolver_walks_its_search_list_in_the_expected_order(
    resolver: str, name: str, walk: list[str], found_by: Callable[[str], Answered]
) -> None:
    question = "A" if "A" in table.RESOLVERS[resolver]["questions"] else "both"
    seen = found_by(resolver)[question, name].seen
    assert [each.qname for each in seen if isinstance(each, Query) and each.rtype == "A"] == walk


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case["name"],
            marks=[pytest.mark.xfail(reason=case["wrong today"])] if "wrong today" in case else [],
        )
        for case in ROTATING
    ],
)
def test_repeated_look_ups_begin_with_different_addresses(case: dict[str, Any], pod: Pod) -> None:
    try:
        command = programs.glibc(pod.folder)
    except programs.Missing as error:
        pytest.skip(str(error))
    with lookups.conversation(pod, command) as ask:
        first = {ask("A", case["name"]).split()[0] for _ in range(case["asked"])}
    assert len(first) > 1, f"always {first}"


def test_the_table_has_120_names_in_each_family() -> None:
    for resolver, how in table.RESOLVERS.items():
        for question in {"A", "AAAA", "both"} & set(how["questions"]):
            assert sum(question in row.questions(resolver) for row in table.rows()) >= 120, resolver


def test_an_extra_or_missing_address_is_a_difference() -> None:
    expected = table.parse("10.0.0.{1..3}")
    assert expected.includes(table.parse("10.0.0.3 10.0.0.2 10.0.0.1"))
    for wrong in ("10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4", "none", "failed"):
        assert not expected.includes(table.parse(wrong))
        assert not table.parse(wrong).includes(expected)
    assert not table.parse("at least 2 of 10.0.0.{1..3}").includes(table.parse("10.0.0.1"))
    assert not table.parse("at least 2 of 10.0.0.{1..3}").includes(table.parse("10.0.0.1 10.0.0.2 10.0.0.4"))
