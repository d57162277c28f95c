"""Some states in a status are problems. The worst problem comes first."""

import re
from pathlib import Path

import pytest

from pydns.console.problems import Level, problems
from pydns.table.status import (
    ConfigState,
    ConfigStatus,
    ExternalStatus,
    IndicatorStatus,
    KindStatus,
    ProcessStatus,
    SourceStatus,
    Status,
    UpstreamStatus,
    ZoneStatus,
)

SYNCED = KindStatus(synced=True, data_age_s=1.0)
BAD, WARNING = Level.BAD, Level.WARNING


def status(**fields: object) -> Status:
    return Status(**{"time": 1000.0, "synced": True, "kinds": {"Service": SYNCED}, **fields})  # type: ignore[arg-type]


def upstream(address: str, dead: int) -> UpstreamStatus:
    return UpstreamStatus(upstream=address, workers=2, breakers_open=dead)


@pytest.mark.parametrize(
    ("found", "age_s", "level", "text"),
    [
        (Status(), 0.0, BAD, "has reported nothing yet"),
        (status(), 60.0, BAD, "nothing for 60 s"),
        (status(draining=True), 0.0, WARNING, "stopping"),
        (status(synced=False, kinds={"Service": KindStatus(problem="403")}), 0.0, BAD, "Service (403)"),
        (status(synced=False, kinds={"Service": KindStatus()}), 0.0, BAD, "Service (not listed yet)"),
        (status(restored=True), 0.0, WARNING, "before the restart"),
        (
            status(kinds={"Service": KindStatus(synced=True, data_age_s=899.0)}),
            2.0,
            BAD,
            "Service: the data is 15 min old",
        ),
        (status(kinds={"Service": KindStatus(synced=True, problem="timeout")}), 0.0, WARNING, "Service: timeout"),
        (
            status(sources={"west": SourceStatus(kinds={"Service": KindStatus(synced=True, problem="eof")})}),
            0.0,
            WARNING,
            "Service of west: eof",
        ),
        (status(upstreams=(upstream("10.0.0.2:53", 2),)), 0.0, BAD, "No upstream answers"),
        (
            status(upstreams=(upstream("10.0.0.2:53", 2), upstream("10.0.0.3:53", 0))),
            0.0,
            WARNING,
            "10.0.0.2:53 doesn't answer 2 of 2",
        ),
        (status(processes=(ProcessStatus(process="worker 0"),)), 0.0, BAD, "worker 0 isn't running"),
        (
            status(processes=(ProcessStatus(process="worker 0", pid=1, answered_itself_s_ago=7.0),)),
            0.0,
            BAD,
            "worker 0 hasn't answered its self-check for 7 s",
        ),
        (status(config=ConfigStatus(state=ConfigState.REFUSED, mistakes=("a", "b"))), 0.0, WARNING, "has 2 mistakes"),
        (status(config=ConfigStatus(problem="no such file")), 0.0, WARNING, "can't be read: no such file"),
        (status(config=ConfigStatus(left_out=("loop",))), 0.0, WARNING, "1 parts of the Corefile"),
        (status(zones=(ZoneStatus(file="a.zone", problem="line 3"),)), 0.0, WARNING, "a.zone: line 3"),
        (
            status(external=ExternalStatus(problems={"k8s.example.": "no address"})),
            0.0,
            WARNING,
            "k8s.example.: no address",
        ),
        (status(cut={"Service shop/web": "half"}), 0.0, WARNING, "Service shop/web is too large: half"),
        (status(left_out=3), 0.0, WARNING, "3 warnings"),
        (
            status(
                indicators=(
                    IndicatorStatus(indicator="errors", group="own", window="5m", good=0.9, objective=0.999),
                    IndicatorStatus(indicator="errors", group="own", window="1h", good=0.99, objective=0.999),
                )
            ),
            0.0,
            WARNING,
            "errors, own: 90.00 % good in 5m, 99.00 % good in 1h",
        ),
    ],
)
def test_a_state_is_a_problem(found: Status, age_s: float, level: Level, text: str) -> None:
    (problem,) = problems(found, age_s)
    assert problem.level is level
    assert text in problem.text


def test_a_healthy_status_has_no_problem() -> None:
    healthy = status(
        upstreams=(upstream("10.0.0.2:53", 0),),
        processes=(ProcessStatus(process="worker 0", pid=1, answered_itself_s_ago=0.4),),
        config=ConfigStatus(state=ConfigState.ACCEPTED, notices=("a key is ignored",)),
    )
    assert problems(healthy, 0.9) == []


def test_the_worst_problem_comes_first() -> None:
    found = problems(status(draining=True, left_out=1, processes=(ProcessStatus(process="worker 0"),)), 0.0)
    assert [each.level for each in found] == [BAD, WARNING, WARNING]


def test_every_runbook_exists() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "troubleshooting.md").read_text()
    named = set(re.findall(r'"(Pydns\w+)"', (root / "pydns" / "console" / "problems.py").read_text()))
    assert named
    assert {each for each in named if f"\n### {each}\n" not in text} == set()
