"""`pydns slo` prints the figures of the status next to their objectives."""

import json
import re
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from pydns.cli.main import main
from pydns.table.status import IndicatorStatus, KindStatus, Status, encode
from pydns.table.writer import Writer
from tests.subject import load

GOOD = (
    IndicatorStatus(
        indicator="programming",
        group="cluster_ip",
        window="5m",
        covered_s=300,
        events=0,
        objective=0.99,
        within_s=1.024,
    ),
    IndicatorStatus(
        indicator="programming",
        group="cluster_ip",
        window="1h",
        covered_s=3600,
        events=40,
        p50_s=0.0081,
        p99_s=0.041,
        good=1.0,
        objective=0.99,
        within_s=1.024,
    ),
    IndicatorStatus(
        indicator="errors", group="own", window="5m", covered_s=300, events=20_000, good=0.9995, objective=0.999
    ),
    IndicatorStatus(
        indicator="errors", group="own", window="1h", covered_s=3600, events=90_000, good=0.9999, objective=0.999
    ),
    IndicatorStatus(indicator="errors", group="forwarded", window="1h", covered_s=3600, events=10, good=0.5),
)
KNOWN = Status(kinds={"Service": KindStatus(data_age_s=3.0)}, indicators=GOOD)


def write(state_dir: Path, status: Status, *, age_s: float = -600) -> None:
    """Write a status. Its default time is in the future, so that it is fresh even if the test is slow."""
    facts = load([]).facts(serial=7, synced=True)
    writer = Writer(state_dir, facts)
    writer.replace(load([]).contents, facts)
    writer.put_status(encode(replace(status, time=time.time() - age_s)))
    writer.close()


def test_figures_are_next_to_their_objectives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, KNOWN)
    assert main(["slo", "--state-dir", str(tmp_path)]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert [[cell.strip() for cell in line if cell] for line in lines] == [
        ["last 5 min", "last 1 h", "objective"],
        ["programming, cluster_ip", "none", "p50 8.1 ms, p99 41 ms (40)", "99 % in 1.02 s", "met, 100.00 % good"],
        ["errors, own names", "0.050 % of 20,000", "0.010 % of 90,000", "at most 0.1 %", "met, 99.95 % good"],
        ["errors, forwarded names", "none", "50.000 % of 10", "none"],
        ["age of the data", "3.00 s, Service", "at most 15 min", "met"],
    ]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (replace(KNOWN, indicators=(replace(GOOD[2], good=0.998),)), "missed, 99.80 % good"),
        (replace(KNOWN, kinds={"Service": KindStatus(data_age_s=901.0)}), "missed"),
    ],
)
def test_a_missed_objective_gives_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: Status, line: str
) -> None:
    write(tmp_path, status)
    assert main(["slo", "--state-dir", str(tmp_path)]) == 1
    assert f"  {line}\n" in capsys.readouterr().out


def test_the_last_figures_of_a_pydns_that_has_ended_give_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, KNOWN, age_s=100)
    assert main(["slo", "--state-dir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("pydns is not running: the figures are from its last status\n")
    # the age of the data has grown since the status was written
    assert re.search(r"age of the data +10\d\.\d\d s, Service", printed)


def test_json_has_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, KNOWN)
    assert main(["slo", "--state-dir", str(tmp_path), "-o", "json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["running"], printed["met"], printed["data_age"]["resource"]) == (True, True, "Service")
    assert [row["good"] for row in printed["indicators"]] == [None, 1.0, 0.9995, 0.9999, 0.5]


def test_a_short_history_is_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, replace(KNOWN, indicators=(replace(GOOD[1], covered_s=90.0),)))
    main(["slo", "--state-dir", str(tmp_path)])
    assert "\nThe controller has run for 90.00 s, so the last hour is not complete.\n" in capsys.readouterr().out
