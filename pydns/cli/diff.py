"""The verb `diff`: prints the answers to recent queries that another configuration would change.

`pydns.cli.rehearsal` finds out what the configuration would put into force. `pydns.cli.replay` compares the answers.
"""

import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from pydns.cli.client_names import NameOf, client_names
from pydns.cli.output import LEFT_OUT, Colour, encode, fail, painted, write_lines
from pydns.cli.query_filter import Filter
from pydns.cli.reasons import FORWARDED, Reply
from pydns.cli.rehearsal import Rehearsal
from pydns.cli.replay import Change, replay, with_reasons
from pydns.config import flags
from pydns.config.inputs import MAX_OCTETS, read_file
from pydns.config.read import Accepted, Refused, Surroundings
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.control.config_file import read_path
from pydns.control.zone_texts import ZoneTexts
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.rrset import type_text
from pydns.log import Level, Log
from pydns.process.ring_files import RingError, Rings
from pydns.ring.queries import Query
from pydns.table.reader import Reader, TableError

_TROUBLE = 2
_MOST_ROWS, _MOST_IN_JSON = 50, 1000
_MOST_RECORDS = 5
_MOST_WHY = 2


class Outcome(Struct, frozen=True, kw_only=True):
    """The answer that one configuration gives to a question."""

    reply: str
    reason: str | None
    cached_s: int | None
    records: tuple[str, ...]
    others: tuple[str, ...]
    source: str
    why: tuple[str, ...]


class ChangedAnswer(Struct, frozen=True, kw_only=True):
    """A question whose answer would change."""

    name: str
    type: str
    queries: int
    clients: int
    client: str
    client_name: str | None
    before: Outcome
    after: Outcome


class Diff(Struct, frozen=True, kw_only=True):
    """The result. `-o json` prints it, and docs/json.md describes it."""

    version: int = 1
    queries: int
    questions: int
    forwarded: int
    changed: int
    changed_queries: int
    changes: tuple[ChangedAnswer, ...]
    not_compared: tuple[str, ...]
    notes: tuple[str, ...]


def run(options: Namespace) -> int:
    """Print the answers that would change. Return 0 if there are none, and 1 if there are some.

    If there are none, but not everything could be compared, return 3. If nothing can be compared at all, return 2.
    """
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    is_live = flags.LIVE.read(options.live, mistakes)
    since_s = flags.SINCE_ALL.read(options.since, mistakes)
    lenient = flags.LENIENT.read(options.lenient, mistakes)
    resolv_conf = flags.RESOLV_CONF.read(options.resolv_conf, mistakes)
    chosen = Filter.of(options, mistakes)
    if mistakes:
        return fail("diff", mistakes[0], _TROUBLE)
    if not is_live:
        return fail("diff", "--live is missing: only the answers to recent queries can be compared", _TROUBLE)
    state_dir = Path(options.state_dir)
    # `client_names` opens the table, too, and a process may have the table open only once at a time.
    names = client_names(state_dir)
    try:
        reader = Reader(state_dir)
    except TableError as error:
        return fail("diff", error, _TROUBLE)
    try:
        rehearsal = Rehearsal(reader, resolv_conf)
        result = _read(options.file, Surroundings(rehearsal.domain, os.environ, lenient))
        wrong = result.errors if isinstance(result, Refused) else _wrong_zones(result)
        if wrong or isinstance(result, Refused):
            for each in wrong:
                fail("diff", each)
            return fail("diff", "pydns would not put this configuration into force", _TROUBLE)
        queries = Rings(state_dir).new(0.0 if since_s is None else time.time() - since_s)
        if chosen != Filter():
            queries = [query for query in queries if chosen.takes(query, names(query.client))]
        is_json = output is OutputFormat.JSON
        diff = compare(reader, rehearsal, result, queries, names, _MOST_IN_JSON if is_json else _MOST_ROWS)
    except OSError as error:
        return fail("diff", f"{error.filename or options.file}: {error.strerror}", _TROUBLE)
    except (TableError, RingError) as error:
        return fail("diff", error, _TROUBLE)
    finally:
        reader.close()
    write_lines([encode(diff)] if is_json else _lines(diff))
    if diff.changed:
        return 1
    return LEFT_OUT if diff.not_compared else 0


def _read(file: str, surroundings: Surroundings) -> Accepted | Refused:
    """Read the configuration. A dash stands for standard input: a pod often has no place for a file."""
    if file == "-":
        return read_file("standard input", sys.stdin.buffer.read(MAX_OCTETS), surroundings)
    return read_path(Path(file), surroundings)


def _wrong_zones(accepted: Accepted) -> list[str]:
    """Return the mistakes in zone files whose text is in the configuration."""
    inline = ZoneTexts(Log(lowest=Level.ERROR))
    inline.set_files([each for each in accepted.config.zone_files if each.text is not None])
    return [mistake for each in inline.status() for mistake in each.mistakes]


def compare(
    reader: Reader, rehearsal: Rehearsal, accepted: Accepted, queries: Iterable[Query], names: NameOf, most: int
) -> Diff:
    """Return the answers that a configuration would change, at most `most` of them."""
    wanted = rehearsal.want(accepted.config)
    before, after = rehearsal.check(), rehearsal.rehearse(wanted.config)
    found = replay(reader, before, after, queries)
    left_out = [f"{count} queries: {why}" for why, count in found.left_out.items()]
    left_out += [f"left out of the Corefile: {each}" for each in accepted.left_out]
    notes = [*wanted.notes, *after.notes]
    if found.forwarded:
        notes.append("upstreams aren't asked: a forwarded question changes if other servers or rules apply to it")
    return Diff(
        queries=found.queries,
        questions=found.questions,
        forwarded=found.forwarded,
        changed=len(found.changes),
        changed_queries=sum(each.question.queries for each in found.changes),
        changes=tuple([_row(each, names) for each in with_reasons(reader, before, after, found.changes[:most])]),
        not_compared=tuple(dict.fromkeys((*wanted.unknown, *before.unknown, *after.unknown, *left_out))),
        notes=tuple(dict.fromkeys(notes)),
    )


def _row(change: Change, names: NameOf) -> ChangedAnswer:
    question = change.question
    who = names(question.client)
    return ChangedAnswer(
        name=name.to_text(question.qname),
        type=type_text(question.qtype),
        queries=question.queries,
        clients=question.clients,
        client=address_text(question.client),
        client_name=None if who is None else str(who),
        before=_outcome(change.before),
        after=_outcome(change.after),
    )


def _outcome(reply: Reply) -> Outcome:
    return Outcome(
        reply=reply.said,
        reason=None if reply.reason is None else reply.reason.code,
        cached_s=reply.kept_s,
        records=tuple(reply.records),
        others=reply.others,
        source=reply.source,
        why=tuple(reply.why),
    )


def _lines(diff: Diff) -> Iterator[str]:
    if diff.changed:
        share = f"{diff.changed_queries} of {diff.queries} queries ({diff.changed_queries / diff.queries:.0%})"
        yield f"{share} would get another answer, by {diff.changed} of {diff.questions} questions"
    else:
        what = "that could be compared " if diff.not_compared else ""
        yield f"no answer {what}would change: {diff.queries} queries, {diff.questions} questions"
    for row in diff.changes:
        who = row.client if row.client_name is None else f"{row.client_name} ({row.client})"
        of = who if row.clients == 1 else f"{row.clients} clients, such as {who}"
        yield f"{row.queries:>7}  {row.name} {row.type}  from {of}"
        yield from _outcome_lines("now", row.before, Colour.RED)
        yield from _outcome_lines("then", row.after, Colour.GREEN)
    if diff.changed > len(diff.changes):
        yield f"         and {diff.changed - len(diff.changes)} more questions, asked less often (-o json has 1,000)"
    yield from (f"{painted('not compared', Colour.RED)}: {each}" for each in diff.not_compared)
    yield from (f"{painted('note', Colour.YELLOW)}: {each}" for each in diff.notes)


def _outcome_lines(title: str, outcome: Outcome, colour: Colour) -> Iterator[str]:
    kept = "" if outcome.cached_s is None else f", cached for {outcome.cached_s} s"
    reason = "" if outcome.reason is None else f" ({outcome.reason})"
    via = f" to {outcome.source}" if outcome.reply == FORWARDED else f", from {outcome.source}"
    yield f"         {painted(f'{title:<5}', colour)} {outcome.reply}{reason}{kept}{via}"
    records = [*outcome.records, *outcome.others]
    for each in (*records[:_MOST_RECORDS], *outcome.why[-_MOST_WHY:]):
        yield f"               {each}"
    if len(records) > _MOST_RECORDS:
        yield f"               and {len(records) - _MOST_RECORDS} more records"
