"""The verb `top`: counts recent queries by a key, and finds queries that search lists waste."""

import gc
import os
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from msgspec import Struct

from pydns.cli.client_names import NameOf, client_names
from pydns.cli.output import encode, fail, write_lines
from pydns.cli.query_filter import Filter, client_text
from pydns.config import flags
from pydns.config.settings import GroupedBy, OutputFormat
from pydns.config.shapes import Mistakes
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.process.ring_files import RingError, Rings
from pydns.ring.queries import Query, Source, name_text
from pydns.ring.summary import Group, duration_text, groups
from pydns.ring.walks import Wasted, ndots, wasted
from pydns.table.reader import Reader, TableError

_EVERY_S = 2.0  # seconds after which the table is printed again on a terminal
_MOST_ROWS = 20  # the most rows that are printed if the output isn't a terminal
_MOST_IN_JSON = 1000
_CLEAR = "\x1b[H\x1b[J"
_UNKNOWN = "unknown"
_BY_CLIENT = (GroupedBy.CLIENT, GroupedBy.NAMESPACE, GroupedBy.LABEL, GroupedBy.WASTED)
_NO_NAMES: NameOf = lambda _address: None  # noqa: E731


class Row(Struct, frozen=True, kw_only=True):
    """The counts of all queries with the same key."""

    key: str
    queries: int
    denied: int
    failed: int
    mean_s: float
    max_s: float


class WastedRow(Struct, frozen=True, kw_only=True):
    """The wasted queries of a client for one name."""

    client: str
    client_name: str | None
    name: str
    wasted: int
    walks: int
    advice: str


class Top(Struct, frozen=True, kw_only=True):
    """The result of `top`, as `-o json` prints it. docs/json.md describes the keys."""

    version: int = 1
    by: str
    since_s: float
    queries: int
    clients: int
    rows: tuple[Row, ...] = ()
    wasted: tuple[WastedRow, ...] = ()


def run(options: Namespace) -> int:
    """Print the counts as a table. Return 1 if no ring can be read, and 2 if a flag is invalid."""
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    by = flags.BY.read(options.by, mistakes)
    since_s = flags.SINCE.read(options.since, mistakes)
    asks_all = flags.ALL.read(options.all, mistakes)
    chosen = Filter.of(options, mistakes)
    if mistakes:
        return fail("top", mistakes[0], 2)
    # The garbage collector searches for reference cycles. The queries have none, and the search takes longer than
    # reading 100,000 queries.
    gc.disable()
    state_dir = Path(options.state_dir)
    if asks_all:
        return _all(by, since_s, chosen, state_dir, output)
    is_live = output is OutputFormat.TEXT and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    rings = Rings(state_dir)
    found: list[Query] = []
    try:
        while True:
            since = time.time() - since_s
            found = [each for each in found if each.came >= since] + rings.new(since)
            top = _top(found, by, since_s, chosen, state_dir)
            if not is_live:
                write_lines([encode(top)] if output is OutputFormat.JSON else _lines(top, _MOST_ROWS))
                return 0
            height = shutil.get_terminal_size().lines - 3
            if not write_lines([_CLEAR + "\n".join(_lines(top, height))]):
                return 0
            time.sleep(_EVERY_S)
    except RingError as error:
        return fail("top", error)
    except KeyboardInterrupt:
        return 0


def _all(by: GroupedBy, since_s: float, chosen: Filter, state_dir: Path, output: OutputFormat) -> int:
    """Print the table for the queries of every replica."""
    from pydns.cli import replicas  # imports HTTP, which the verb doesn't need otherwise

    try:
        answers = replicas.queries(since_s)
    except replicas.ReplicasError as error:
        return fail("top", error)
    found = sorted([query for each in answers for query in each.value or ()], key=itemgetter(0))
    top = _top(found, by, since_s, chosen, state_dir)
    write_lines([encode(top)] if output is OutputFormat.JSON else _lines(top, _MOST_ROWS))
    return replicas.SILENT if replicas.complain("top", answers) else 0


def _top(found: Sequence[Query], by: GroupedBy, since_s: float, chosen: Filter, state_dir: Path) -> Top:
    needs_names = chosen.needs_names or by in _BY_CLIENT
    names = client_names(state_dir) if needs_names else _NO_NAMES
    if chosen != Filter():
        found = [query for query in found if chosen.takes(query, names(query.client))]
    clients = len({query.client for query in found})
    rows: tuple[Row, ...] = ()
    rows_of_wasted: tuple[WastedRow, ...] = ()
    if by is GroupedBy.WASTED:
        rows_of_wasted = tuple(_wasted_rows(wasted(found, _domains(state_dir)), names))
    else:
        rows = tuple(_rows(found, by, names))
    return Top(by=by.value, since_s=since_s, queries=len(found), clients=clients, rows=rows, wasted=rows_of_wasted)


def _rows(found: Sequence[Query], by: GroupedBy, names: NameOf) -> list[Row]:
    if by is GroupedBy.NAME:
        # reading a field by its index is faster than by its name
        of_names = groups(found, [query[5][0].lower() for query in found])
        return [_row(each, name_text(each.key)) for each in of_names[:_MOST_IN_JSON]]
    if by is GroupedBy.CLIENT:
        of_clients = groups(found, [query.client for query in found])
        return [_row(each, client_text(each.key, names(each.key))) for each in of_clients[:_MOST_IN_JSON]]

    def of_namespace(query: Query) -> str:
        who = names(query.client)
        return (who.namespace if who is not None else "") or _UNKNOWN

    def of_label(query: Query) -> str:
        who = names(query.client)
        return (who.labels_text if who is not None else "") or _UNKNOWN

    def of_upstream(query: Query) -> str | None:
        if query.source is not Source.UPSTREAM:
            return None
        return query.server or "no usable answer"

    keys: dict[GroupedBy, Callable[[Query], str | None]] = {
        GroupedBy.NAMESPACE: of_namespace,
        GroupedBy.LABEL: of_label,
        GroupedBy.RCODE: lambda query: query.facts.result,
        GroupedBy.SOURCE: lambda query: query.source.value,
        GroupedBy.LATENCY: lambda query: duration_text(query.spent_s),
        GroupedBy.UPSTREAM: of_upstream,
    }
    return [_row(each, each.key) for each in groups(found, list(map(keys[by], found)))[:_MOST_IN_JSON]]


def _row(group: Group[str] | Group[bytes], text: str) -> Row:
    return Row(
        key=text,
        queries=group.queries,
        denied=group.denied,
        failed=group.failed,
        mean_s=round(group.mean_s, 6),
        max_s=round(group.max_s, 6),
    )


def _domains(state_dir: Path) -> tuple[bytes, ...]:
    """Return the domains of the cluster, or an empty tuple if there is no table.

    Without domains, `wasted` finds only lookups in which the name without a search domain got the answer.
    """
    try:
        reader = Reader(state_dir)
    except TableError:
        return ()
    with reader.transaction() as transaction:
        domains = tuple(reader.facts(transaction).domains)
    reader.close()
    return domains


def _wasted_rows(found: Sequence[Wasted], names: NameOf) -> Iterator[WastedRow]:
    of_clients: dict[bytes, list[Wasted]] = {}
    for each in found:
        of_clients.setdefault(each.client, []).append(each)
    for each in found[:_MOST_IN_JSON]:
        who = names(each.client)
        yield WastedRow(
            client=address_text(each.client),
            client_name=None if who is None else str(who),
            name=name.to_text(each.qname),
            wasted=each.queries,
            walks=each.walks,
            advice=_advice(each, ndots(of_clients[each.client])),
        )


def _advice(found: Wasted, value: int | None) -> str:
    """Return advice that avoids the wasted queries: a value of `ndots` for the pod, or the name with a final dot."""
    dots = len(name.labels_of(found.qname)) - 1
    if found.is_as_it_is and value is not None and dots >= value:
        return f'dnsConfig: {{options: [{{name: ndots, value: "{value}"}}]}}'
    return f"ask for {name.to_text(found.qname)} with the final dot"


def _lines(top: Top, height: int) -> Iterator[str]:
    yield f"{top.queries} queries of {top.clients} clients in {top.since_s:g} s"
    if top.by == GroupedBy.WASTED.value:
        total = sum(row.wasted for row in top.wasted)
        share = total / top.queries if top.queries else 0.0
        yield f"{total} of them ({share:.0%}) were wasted by search lists"
        if top.wasted:
            yield f"{'wasted':>7} {'lookups':>7}  client, name, and a way to avoid the queries"
        for row in top.wasted[: max(1, height // 2)]:
            who = row.client if row.client_name is None else f"{row.client_name} ({row.client})"
            yield f"{row.wasted:>7} {row.walks:>7}  {who} {row.name}"
            yield f"{'':>17}{row.advice}"
        return
    yield f"{'queries':>8} {'share':>6} {'denied':>7} {'failed':>7} {'mean ms':>8} {'max ms':>8}  {top.by}"
    for each in top.rows[: max(1, height)]:
        yield (
            f"{each.queries:>8} {each.queries / top.queries:>6.1%} {each.denied:>7} {each.failed:>7} "
            f"{each.mean_s * 1000:>8.2f} {each.max_s * 1000:>8.2f}  {each.key}"
        )
