"""The verb `slo`: prints how well pydns does its work, next to the objectives.

The verb reads the figures from the status in the table.
"""

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from pydns.cli.output import Colour, aligned, encode, fail, painted, write_lines
from pydns.config import flags
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.metrics.objectives import DATA_AGE_S, ERRORS, FORWARDED, OWN, PROGRAMMING, is_met
from pydns.table import status as controller_status
from pydns.table.reader import Reader, TableError
from pydns.table.status import IndicatorStatus, Status

_FRESH_S = 5.0  # if the status is older, pydns isn't running


class DataAge(Struct, frozen=True, kw_only=True):
    """The age of the oldest data, and the objective for it."""

    age_s: float | None  # None if no kind of object has been listed
    resource: str | None
    within_s: float
    met: bool


class Report(Struct, frozen=True, kw_only=True):
    """What `pydns slo` prints."""

    version: int = 1
    running: bool
    met: bool  # whether every objective is met
    indicators: tuple[IndicatorStatus, ...]
    data_age: DataAge


def run(options: Namespace) -> int:
    """Print the service level indicators. Return 0 if pydns runs and every objective is met, otherwise 1."""
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    if mistakes:
        return fail("slo", mistakes[0], 2)
    if flags.ALL.read(options.all, mistakes):
        return _all(output)
    try:
        found = read(Path(options.state_dir))
    except TableError as error:
        return fail("slo", error)
    write_lines(iter([encode(found)]) if output is OutputFormat.JSON else lines(found))
    return 0 if found.running and found.met else 1


class ReplicaReport(Struct, frozen=True, kw_only=True):
    """The report of a replica."""

    name: str
    address: str
    problem: str | None  # why there is no report of this replica
    report: Report | None


class Reports(Struct, frozen=True, kw_only=True):
    """What `pydns slo --all` prints."""

    version: int = 1
    replicas: tuple[ReplicaReport, ...]


def _all(output: OutputFormat) -> int:
    from pydns.cli import replicas  # this module imports HTTP, which is needed only for `--all`

    try:
        answers = replicas.statuses()
    except replicas.ReplicasError as error:
        return fail("slo", error)
    reports = [None if each.value is None else _report(each.value) for each in answers]
    if output is OutputFormat.JSON:
        found = [
            ReplicaReport(
                name=each.replica.name, address=each.replica.address, problem=each.problem or None, report=report
            )
            for each, report in zip(answers, reports, strict=True)
        ]
        write_lines([encode(Reports(replicas=tuple(found)))])
    else:
        for each, report in zip(answers, reports, strict=True):
            if report is not None:
                write_lines([f"replica {each.replica}", *lines(report), ""])
    if replicas.complain("slo", answers):
        return replicas.SILENT
    return 0 if all(report is not None and report.running and report.met for report in reports) else 1


def read(state_dir: Path) -> Report:
    """Return the figures of the status in the table. Raises `TableError`."""
    reader = Reader(state_dir)
    with reader.transaction() as transaction:
        return _report(controller_status.decode(reader.status(transaction)))


def _report(known: Status) -> Report:
    silent_s = max(0.0, time.time() - known.time)
    data_age = _data_age(known, silent_s)
    return Report(
        running=silent_s < _FRESH_S,
        met=data_age.met and all(map(is_met, known.indicators)),
        indicators=known.indicators,
        data_age=data_age,
    )


def lines(report: Report) -> Iterator[str]:
    """Yield a table with a line for each group of events and a column for each window."""
    if not report.running:
        yield painted("pydns is not running: the figures are from its last status", Colour.RED)
    rows: dict[tuple[str, str], dict[str, IndicatorStatus]] = {}
    for row in report.indicators:
        rows.setdefault((row.indicator, row.group), {})[row.window] = row
    table = [["", "last 5 min", "last 1 h", "objective", ""]]
    for (indicator, group), of_windows in rows.items():
        found = [*of_windows.values()]
        state = "" if found[0].objective is None else _state(found)
        figures = [_figures(of_windows.get(window)) for window in ("5m", "1h")]
        table.append([_title(indicator, group), *figures, _objective(found[0]), state])
    age = report.data_age
    figure = "unknown" if age.age_s is None else f"{_text_s(age.age_s)}, {age.resource}"
    table.append(["age of the data", figure, "", f"at most {_text_s(age.within_s)}", "met" if age.met else "missed"])
    for line, (*_, state) in zip(aligned([row[:-1] for row in table]), table, strict=True):
        yield f"{line}  {painted(state, Colour.RED if state.startswith('missed') else Colour.GREEN)}" if state else line
    covered_s = max((row.covered_s for row in report.indicators), default=0.0)
    if covered_s < 3600:
        yield f"The controller has run for {_text_s(covered_s)}, so the last hour is not complete."


def _state(rows: Sequence[IndicatorStatus]) -> str:
    worst = min((row.good for row in rows if row.good is not None), default=None)
    if worst is None:
        return "met"
    return f"{'met' if all(map(is_met, rows)) else 'missed'}, {worst * 100:.2f} % good"


def _title(indicator: str, group: str) -> str:
    if indicator == PROGRAMMING:
        return f"programming, {group}"
    names = {OWN: "own names", FORWARDED: "forwarded names"}.get(group, group)
    return f"errors, {names}" if indicator == ERRORS else f"lookups, {names}"


def _figures(row: IndicatorStatus | None) -> str:
    if row is None or not row.events:
        return "none"
    if row.indicator == ERRORS:
        share = 1 - row.good if row.good is not None else 0.0
        return f"{share * 100:.3f} % of {row.events:,}"
    return f"p50 {_text_s(row.p50_s or 0)}, p99 {_text_s(row.p99_s or 0)} ({row.events:,})"


def _objective(row: IndicatorStatus) -> str:
    if row.objective is None:
        return "none"
    if row.within_s is None:
        return f"at most {(1 - row.objective) * 100:.3g} %"
    return f"{row.objective * 100:g} % in {_text_s(row.within_s)}"


def _text_s(seconds: float) -> str:
    if seconds < 0.1:
        return f"{seconds * 1000:.2g} ms"
    return f"{seconds:.2f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _data_age(known: Status, silent_s: float) -> DataAge:
    ages = {kind: each.data_age_s for kind, each in known.kinds.items()}
    for name, source in known.sources.items():
        ages |= {f"{kind} of {name}": each.data_age_s for kind, each in source.kinds.items()}
    age_s, oldest = max(((age_s, kind) for kind, age_s in ages.items() if age_s is not None), default=(None, None))
    if age_s is not None:
        age_s = round(age_s + silent_s, 1)
    return DataAge(age_s=age_s, resource=oldest, within_s=DATA_AGE_S, met=age_s is None or age_s <= DATA_AGE_S)
