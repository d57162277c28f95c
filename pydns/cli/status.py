"""The verb `status`: prints whether pydns is running, the sync state, the age of data, and counts from the table."""

import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from pydns.cli.output import Colour, aligned, encode, fail, painted, write_lines
from pydns.config import flags
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.dns import name
from pydns.process import memory
from pydns.process.ring_files import RingError, Rings
from pydns.table import status as controller_status
from pydns.table.client_names import Known, read_client_names
from pydns.table.layout import Facts
from pydns.table.reader import Reader, TableError
from pydns.table.status import (
    ConfigState,
    ConfigStatus,
    ExternalStatus,
    KindStatus,
    SourceStatus,
    Status,
    UpstreamStatus,
    ZoneStatus,
)

_RECENT_S = 60.0  # the line `clients` counts the queries of the last minute
_MANY = 0.01  # if a larger share of queries comes from rewritten addresses, the names of clients are of little use
_FRESH_S = 5.0  # if the status is older than this, the processes have ended
# The most lines for zone files, and the most lines for warnings. If there are more zone files than this, only the files
# with problems are printed.
_MAX_FILES = 10


def run(options: Namespace) -> int:
    """Print the status. Return 0 if pydns is running, otherwise 1."""
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    if mistakes:
        return fail("status", mistakes[0], 2)
    if flags.ALL.read(options.all, mistakes):
        return _all(output)
    try:
        state_dir = Path(options.state_dir)
        found = _read(state_dir, with_clients=output is not OutputFormat.JSON)
    except TableError as error:
        return fail("status", error)
    write_lines(_json(found) if output is OutputFormat.JSON else _lines(found))
    return 0 if found.is_running else 1


class ReplicaStatus(Struct, frozen=True, kw_only=True):
    """The status of a replica."""

    name: str
    address: str
    problem: str | None  # why there is no status of this replica
    status: Status | None


class ReplicaStatuses(Struct, frozen=True, kw_only=True):
    """What `pydns status --all -o json` prints. docs/json.md describes the keys."""

    version: int = 1
    replicas: tuple[ReplicaStatus, ...]


def _all(output: OutputFormat) -> int:
    """Print a line for each replica. Return 0 if every replica is running, and `SILENT` if a replica doesn't answer."""
    from pydns.cli import replicas  # imports HTTP, which the verb doesn't need otherwise

    try:
        answers = replicas.statuses()
    except replicas.ReplicasError as error:
        return fail("status", error)
    if output is OutputFormat.JSON:
        found = [
            ReplicaStatus(
                name=each.replica.name, address=each.replica.address, problem=each.problem or None, status=each.value
            )
            for each in answers
        ]
        write_lines([encode(ReplicaStatuses(replicas=tuple(found)))])
    else:
        write_lines(_replica_lines([(*each.replica[:2], each.value) for each in answers if each.value is not None]))
    if replicas.complain("status", answers):
        return replicas.SILENT
    return 0 if all(each.value is not None and _is_fresh(each.value) for each in answers) else 1


def _replica_lines(found: Sequence[tuple[str, str, Status]]) -> Iterator[str]:
    table = [["replica", "address", "state", "synced", "serial", "oldest data", "config", "queries", "dead upstreams"]]
    for name_, address, known in found:
        ages = [each.data_age_s for each in known.kinds.values() if each.data_age_s is not None]
        dead = [each for each in known.upstreams if each.is_down]
        table.append(
            [
                name_,
                address,
                "draining" if known.draining else "running" if _is_fresh(known) else "not well",
                "yes" if known.synced else "no",
                str(known.serial),
                f"{max(ages):.1f} s" if ages else "unknown",
                "" if known.config is None else known.config.hash,
                str(sum(known.queries)),
                f"{len(dead)} of {len(known.upstreams)}",
            ]
        )
    yield from aligned(table)
    if len({known.config.hash for *_, known in found if known.config is not None}) > 1:
        yield painted("the replicas have different configurations in force", Colour.RED)


def _is_fresh(known: Status) -> bool:
    return abs(time.time() - known.time) < _FRESH_S  # `abs`, because the clocks of two replicas may differ


class _Found(NamedTuple):
    """The status, facts and counts in a table."""

    facts: Facts
    answers: int
    names: int
    known: Status
    age_s: float
    clients: tuple[str, ...] = ()  # lines

    @property
    def is_running(self) -> bool:
        return self.age_s < _FRESH_S


def status(state_dir: Path) -> Iterator[str]:
    """Yield lines with the controller's status and the counts of the table. Raises `TableError`."""
    return _lines(_read(state_dir))


def _read(state_dir: Path, *, with_clients: bool = True) -> _Found:
    reader = Reader(state_dir)
    clients = tuple(_clients(reader, state_dir)) if with_clients else ()
    with reader.transaction() as transaction:
        known = controller_status.decode(reader.status(transaction))
        counts = reader.counts(transaction)
        return _Found(reader.facts(transaction), *counts, known, max(0.0, time.time() - known.time), clients)


def _clients(reader: Reader, state_dir: Path) -> Iterator[str]:
    """Yield the number of addresses with names, and the share of recent queries from clients without a name."""
    names = read_client_names(reader)
    yield f"clients   {len(names)} addresses with names"
    try:
        recent = Counter(query.client for query in Rings(state_dir).new(time.time() - _RECENT_S))
    except RingError:
        return
    if not recent:
        return
    unknown = rewritten = 0
    for address, number in recent.items():
        name_ = names.name_of(address)
        unknown += number if name_ is None else 0
        rewritten += number if name_ is not None and name_.known is Known.REWRITTEN else 0
    total = recent.total()
    yield f"  {total} queries in the last minute, {unknown / total:.1%} of them from unknown clients"
    if rewritten:
        share = f"{rewritten / total:.1%} from rewritten addresses"
        yield f"  {painted(share, Colour.RED) if rewritten > _MANY * total else share}"


def _json(found: _Found) -> Iterator[str]:
    octets = _memory(found.known) if found.is_running else None
    yield encode(replace(found.known, memory=octets))


def _lines(found: _Found) -> Iterator[str]:
    facts, known = found.facts, found.known
    yield f"pydns     {_life(found)}"
    if known.build:
        yield f"build     {known.build}"
    yield f"domain    {', '.join(map(name.to_text, facts.domains))}"
    not_synced = painted("no: names that are not in the table get SERVFAIL", Colour.RED)
    yield f"synced    {painted('yes', Colour.GREEN) if facts.synced else not_synced}"
    if known.restored:
        yield "serving   a table from before the restart"
    yield f"serial    {facts.serial}"
    yield f"table     {found.answers} answers, {found.names} names"
    if known.table is not None:
        table = known.table
        yield f"          {table.bytes / 1e6:.1f} MB, {table.commits} commits, {table.readers} readers"
    yield from found.clients
    if known.time:
        yield f"source    {known.source}, as of {found.age_s:.1f} s ago"
    for kind, each in known.kinds.items():
        yield from _kind(kind, each)
    for source, further in known.sources.items():
        yield from _source(source, further)
    yield from (f"  too large: {each}: {missing}" for each, missing in known.cut.items())
    yield from _zones(known.zones)
    if known.external is not None:
        yield from _external(known.external)
    if known.left_out:
        yield f"warnings  {known.left_out}"
        yield from (f"  {warning}" for warning in known.warnings[:_MAX_FILES])
    if known.config is not None:
        yield from _configuration(known.config)
    yield from _upstreams(known.upstreams)
    if found.is_running:
        yield from _processes(known)


def _life(found: _Found) -> str:
    if found.is_running:
        return painted("running", Colour.GREEN)
    if not found.known.time:
        return painted("not running: pydns has reported nothing yet", Colour.RED)
    report = f"its last report is {found.age_s:.0f} s old, and so is everything below"
    pid = next((each.pid for each in found.known.processes if each.process == "controller"), 0)
    # In another container, this process id may mean another process. So a process with this id is only a hint that the
    # controller exists.
    if pid and Path(f"/proc/{pid}").exists():
        return painted(f"not well: process {pid}, its controller, exists, but {report}", Colour.RED)
    return painted(f"not running: {report}", Colour.RED)


def _source(source: str, known: SourceStatus) -> Iterator[str]:
    cluster = f"cluster {known.cluster}" if known.cluster else "the first cluster"
    labels = f", labels {known.labels}" if known.labels else ""
    not_synced = painted("not synced: names that are not in the table get SERVFAIL", Colour.RED)
    state = painted("synced", Colour.GREEN) if known.synced else not_synced
    yield f"source    {source}: {cluster}{labels}, domains {', '.join(known.domains) or 'none'}, {state}"
    for kind, each in known.kinds.items():
        yield from _kind(kind, each)


def _kind(kind: str, known: KindStatus) -> Iterator[str]:
    state = "not served" if not known.served else "synced" if known.synced else "not synced"
    problem = f", {known.problem}" if known.problem else ""
    yield f"  {kind}: {state}, {known.objects} objects, {known.skipped} skipped{_ages(known)}{problem}"
    if known.errors is not None:
        errors = ", ".join(f"{number} × {reason}" for reason, number in sorted(known.errors.items())) or "none"
        version = "" if known.resource_version is None else f"at version {known.resource_version}, "
        yield f"    {version}{known.relists} relists, errors: {errors}"
        yield f"    {known.audits} audits, {known.repaired} objects repaired by them"


def _ages(known: KindStatus) -> str:
    """Return a text with the ages of a kind's data, as far as they are known."""
    ages = (
        ("last event", known.last_event_age_s),
        ("last bookmark", known.last_bookmark_age_s),
        ("last audit", known.last_audit_age_s),
    )
    return "".join(f", {title} {age_s:.1f} s ago" for title, age_s in ages if age_s is not None)


def _zones(files: Sequence[ZoneStatus]) -> Iterator[str]:
    if files:
        yield f"zones     {_counted(len(files), 'file')}, {_counted(sum(each.records for each in files), 'record')}"
    for each in files:
        if not each.problem and len(files) > _MAX_FILES:
            continue
        records = _counted(each.records, "record")
        zone = f"{each.zone} serial {each.serial}, {records}" if each.zone else "not served"
        problem = f"; {each.problem}" if each.problem else ""
        yield f"  {each.file}: {zone}{problem}"


def _external(known: ExternalStatus) -> Iterator[str]:
    zones, names = _counted(len(known.zones), "zone"), _counted(sum(known.zones.values()), "name")
    yield f"external  {zones}, {names}, {_counted(known.losers, 'conflict')}"
    for zone, number in known.zones.items():
        problem = f"; {known.problems[zone]}" if zone in known.problems else ""
        yield f"  {zone}: {_counted(number, 'name')}{problem}"
    yield from (f"  {owner}: {text}" for owner, text in list(known.conflicts.items())[:_MAX_FILES])
    yield from (f"  {each}: {text}" for each, text in list(known.notices.items())[:_MAX_FILES])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _configuration(known: ConfigStatus) -> Iterator[str]:
    if known.state is ConfigState.NONE:
        yield "config    flags alone"
    else:
        age = f", for {max(0.0, time.time() - known.since):.0f} s"
        in_force = f", in force: {known.hash}" if known.hash else ""
        yield f"config    {known.source}: {_STATES[known.state]}{age}{in_force}"
    if known.problem:
        yield f"  can't be read: {known.problem}"
    yield from (f"  {painted('mistake', Colour.RED)}: {mistake}" for mistake in known.mistakes)
    yield from (f"  {painted('left out', Colour.RED)}: {each}" for each in known.left_out)
    yield from (f"  notice: {notice}" for notice in known.notices)
    for kind, problem in known.waiting_for.items():
        yield f"  cluster options not in force: {kind} is not listed yet{f', {problem}' if problem else ''}"


def _upstreams(upstreams: Sequence[UpstreamStatus]) -> Iterator[str]:
    if upstreams:
        yield f"upstreams {len(upstreams)}"
    for each in upstreams:
        latency = "unknown" if each.latency_s is None else f"{each.latency_s * 1000:.1f} ms"
        broken = f"regarded as dead by {each.breakers_open} of {each.workers} workers" if each.breakers_open else ""
        yield f"  {each.upstream}: latency {latency}{broken and ', ' + painted(broken, Colour.RED)}"
        for fact, seconds in each.learned_s.items():
            yield f"    {fact}{f', for {seconds:.0f} s more' if seconds else ''}"


def _processes(known: Status) -> Iterator[str]:
    yield f"processes {sum(bool(each.pid) for each in known.processes)}"
    answered = {f"worker {index}": number for index, number in enumerate(known.queries)}
    for each in known.processes:
        pid = f"pid {each.pid}" if each.pid else painted("not running", Colour.RED)
        queries = f", {answered[each.process]} queries" if each.process in answered else ""
        age_s = each.answered_itself_s_ago
        answer = "" if age_s is None else f", last self-check {age_s:.1f} s ago"
        restarts = f"{each.restarts} restarts, {each.stuck} of them because the process was stuck"
        yield f"  {each.process}: {pid}, {restarts}{queries}{answer}"
    if octets := _memory(known):
        yield f"memory    {octets / 1e6:.1f} MB"


def _memory(known: Status) -> int:
    return memory.shared_memory(each.pid for each in known.processes)


_STATES = {
    ConfigState.UNREAD: "not read yet",
    ConfigState.ABSENT: "missing, so the defaults are in force",
    ConfigState.ACCEPTED: "accepted",
    ConfigState.REFUSED: "refused; the last accepted configuration stays in force",
}
