"""Finds the problems in a status, the worst first. The console shows these problems at the top. This module is pure."""

from collections.abc import Iterator
from enum import Enum

from msgspec import Struct

from pydns.metrics.objectives import DATA_AGE_S, is_met
from pydns.table.status import ConfigState, ConfigStatus, KindStatus, Status

_QUIET_S = 5.0  # the controller reports every second, so this is a long silence
_SILENT_S = 5.0  # a worker checks itself every half second, so this is a long silence


class Level(Enum):
    """How bad a problem is."""

    BAD = "bad"  # clients get wrong answers or no answers
    WARNING = "warning"


class Problem(Struct, frozen=True):
    """A problem, with the place in the documentation that describes it."""

    level: Level
    text: str
    see: str = ""  # the heading in docs/troubleshooting.md that describes the problem


def problems(status: Status, age_s: float) -> list[Problem]:
    """Return the problems in a status, the worst first. `age_s` is the age of the status."""
    return sorted(_all(status, age_s), key=lambda each: each.level is not Level.BAD)


def _all(status: Status, age_s: float) -> Iterator[Problem]:
    if not status.time:
        yield Problem(Level.BAD, "The controller has reported nothing yet")
        return
    if age_s > _QUIET_S:
        yield Problem(
            Level.BAD, f"The controller has reported nothing for {age_s:.0f} s: the page shows the last report"
        )
    if status.draining:
        yield Problem(Level.WARNING, "pydns is stopping: new clients should use another pod")
    if not status.synced:
        missing = ", ".join(f"{kind} ({problem or 'not listed yet'})" for kind, problem in status.missing.items())
        text = (
            "Names that aren't in the table get SERVFAIL, because some kinds of objects haven't been listed: "
            f"{missing or 'waiting'}"
        )
        yield Problem(Level.BAD, text, "PydnsNotSynced")
    if status.restored:
        yield Problem(Level.WARNING, "The answers are from a table written before the restart", "PydnsNotSynced")
    for kind, each in status.kinds.items():
        yield from _kind(kind, each, age_s)
    for name, source in status.sources.items():
        for kind, each in source.kinds.items():
            yield from _kind(f"{kind} of {name}", each, age_s)
    yield from _upstreams(status)
    for process in status.processes:
        if not process.pid:
            yield Problem(Level.BAD, f"{process.process} isn't running", "PydnsRestarts")
        elif process.answered_itself_s_ago is not None and process.answered_itself_s_ago > _SILENT_S:
            silent_s = process.answered_itself_s_ago
            yield Problem(
                Level.BAD, f"{process.process} hasn't answered its self-check for {silent_s:.0f} s", "PydnsRestarts"
            )
    if status.config is not None:
        yield from _configuration(status.config)
    for zone in status.zones:
        if zone.problem:
            yield Problem(Level.WARNING, f"Zone file {zone.file}: {zone.problem}")
    if status.external is not None:
        for apex, problem in status.external.problems.items():
            yield Problem(Level.WARNING, f"External zone {apex}: {problem}")
    for service, missing in status.cut.items():
        yield Problem(Level.WARNING, f"{service} is too large: {missing}")
    if status.left_out:
        yield Problem(Level.WARNING, f"{status.left_out} warnings about manifests and zone files")
    missed: dict[tuple[str, str], list[str]] = {}
    for row in status.indicators:
        if not is_met(row):
            share = f"{(row.good or 0) * 100:.2f} % good in {row.window}"
            missed.setdefault((row.indicator, row.group), []).append(share)
    for (indicator, group), shares in missed.items():
        yield Problem(
            Level.WARNING, f"Objective missed: {indicator}, {group}: {', '.join(shares)}", _BURNS.get(indicator, "")
        )


_BURNS = {
    "programming": "PydnsProgrammingBudgetBurn",
    "lookups": "PydnsLookupBudgetBurn",
    "errors": "PydnsErrorBudgetBurn",
}


def _kind(title: str, kind: KindStatus, late_s: float) -> Iterator[Problem]:
    if not kind.synced:
        return  # `_all` already reports the kinds that haven't been listed
    if kind.data_age_s is not None and kind.data_age_s + late_s > DATA_AGE_S:
        text = f"{title}: the data is {(kind.data_age_s + late_s) / 60:.0f} min old"
        yield Problem(Level.BAD, text + (f", {kind.problem}" if kind.problem else ""), "PydnsDataOld")
    elif kind.problem:
        yield Problem(Level.WARNING, f"{title}: {kind.problem}", "PydnsDataOld")


def _upstreams(status: Status) -> Iterator[Problem]:
    dead = [each for each in status.upstreams if each.breakers_open and each.breakers_open == each.workers]
    if dead and len(dead) == len(status.upstreams):
        yield Problem(
            Level.BAD, "No upstream answers: lookups of names outside of the cluster fail", "PydnsUpstreamsDown"
        )
        return
    for each in status.upstreams:
        if each.breakers_open:
            text = f"The upstream {each.upstream} doesn't answer {each.breakers_open} of {each.workers} workers"
            yield Problem(Level.WARNING, text, "PydnsUpstreamFailing")


def _configuration(config: ConfigStatus) -> Iterator[Problem]:
    if config.state is ConfigState.REFUSED:
        text = f"The configuration has {len(config.mistakes)} mistakes, so the previous configuration stays in force"
        yield Problem(Level.WARNING, text, "PydnsConfigRefused")
    if config.problem:
        yield Problem(Level.WARNING, f"The configuration can't be read: {config.problem}", "PydnsConfigRefused")
    if config.left_out:
        yield Problem(Level.WARNING, f"{len(config.left_out)} parts of the Corefile are left out")
