"""The verb `status`: sync state, age of data and counts, from the table that the workers answer from."""

import json
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydns.cli.output import write_table
from pydns.dns import name
from pydns.process import memory
from pydns.table.reader import Reader

_FRESH_S = 5.0  # what was said of processes longer ago is of processes that have ended
_MAX_FILES = 10  # zone files that have a line each; of more, those with a problem


def run(options: Namespace) -> int:
    """Print the status and return the exit status."""
    return write_table("status", status(Path(options.state_dir)))


def status(state_dir: Path) -> Iterator[str]:
    """Yield what the controller says of itself, and what is in the table. Raises `TableError`."""
    reader = Reader(state_dir)
    with reader.transaction() as transaction:
        facts = reader.facts(transaction)
        answers, names = reader.counts(transaction)
        said = json.loads(reader.status(transaction))
    yield f"domain    {name.to_text(facts.domain)}"
    yield f"synced    {'yes' if facts.synced else 'no: what is not in the table gets SERVFAIL'}"
    if said.get("restored"):
        yield "serving   a table from before the restart"
    yield f"serial    {facts.serial}"
    yield f"table     {answers} answers, {names} names"
    if table := said.get("table"):
        yield f"          {table['bytes'] / 1e6:.1f} MB, {table['commits']} commits, {table['readers']} readers"
    if said:
        yield f"source    {said['source']}, said {max(0.0, time.time() - said['time']):.1f} s ago"
    for kind, about in said.get("kinds", {}).items():
        state = "synced" if about["synced"] else "not synced"
        problem = f", {about['problem']}" if about["problem"] else ""
        yield f"  {kind}: {state}, {about['objects']} objects, {about['skipped']} skipped{_ages(about)}{problem}"
        if "relists" in about:
            errors = ", ".join(f"{number} × {reason}" for reason, number in sorted(about["errors"].items()))
            yield f"    at version {about['resource_version']}, {about['relists']} relists, errors: {errors or 'none'}"
            yield f"    {about['audits']} audits, {about['repaired']} objects repaired by them"
    yield from _zones(said.get("zones", []))
    yield from _configuration(said["config"]) if "config" in said else ()
    yield from _upstreams(said.get("upstreams", []))
    answered = {f"worker {index}": number for index, number in enumerate(said.get("queries", []))}
    is_running = said and time.time() - said["time"] < _FRESH_S
    for each in said.get("processes", []) if is_running else []:
        silence_s = each["answered_itself_s_ago"]
        pid = f"pid {each['pid']}" if each["pid"] else "not running"
        well = "" if silence_s is None else f", answered itself {silence_s:.1f} s before"
        asked = f", {answered[each['process']]} queries" if each["process"] in answered else ""
        yield f"  {each['process']}: {pid}, {each['restarts']} restarts, {each['stuck']} of them as stuck{asked}{well}"
    if is_running and (octets := memory.shared_memory(each["pid"] for each in said["processes"])):
        yield f"memory    {octets / 1e6:.1f} MB"


def _ages(about: dict[str, Any]) -> str:
    """Say what a kind has ages of, as far as is known."""
    said = ""
    for key, what in (("event", "last event"), ("bookmark", "last bookmark"), ("audit", "last audit")):
        age_s = about.get(f"last_{key}_age_s")
        said += "" if age_s is None else f", {what} {age_s:.1f} s ago"
    return said


def _zones(files: list[dict[str, Any]]) -> Iterator[str]:
    if files:
        yield f"zones     {len(files)} files, {sum(about['records'] for about in files)} records"
    for about in files:
        if not about["problem"] and len(files) > _MAX_FILES:
            continue
        zone = (
            f"{about['zone']} serial {about['serial']}, {about['records']} records" if about["zone"] else "not served"
        )
        problem = f"; {about['problem']}" if about["problem"] else ""
        yield f"  {about['file']}: {zone}{problem}"


def _configuration(said: dict[str, Any]) -> Iterator[str]:
    state = _STATES[said["state"]]
    age = f", for {max(0.0, time.time() - said['since']):.0f} s"
    in_force = f", in force: {said['hash']}" if said["hash"] else ""
    yield f"config    {said['source']}: {state}{age}{in_force}" if said["state"] != "none" else "config    flags alone"
    if said["problem"]:
        yield f"  can't be read: {said['problem']}"
    yield from (f"  mistake: {mistake}" for mistake in said["mistakes"])
    yield from (f"  notice: {notice}" for notice in said["notices"])
    for kind, problem in said["waiting_for"].items():
        yield f"  cluster options not in force: {kind} is not listed yet{f', {problem}' if problem else ''}"


def _upstreams(said: list[dict[str, Any]]) -> Iterator[str]:
    if said:
        yield f"upstreams {len(said)}"
    for about in said:
        latency = "not heard yet" if about["latency_s"] is None else f"{about['latency_s'] * 1000:.1f} ms"
        broken = f", taken for dead by {about['breakers_open']} of {about['workers']} workers"
        yield f"  {about['upstream']}: {latency}{broken if about['breakers_open'] else ''}"


_STATES = {
    "none": "",
    "unread": "not read yet",
    "absent": "not there, the defaults count",
    "accepted": "accepted",
    "refused": "refused, the last good one stays",
}
