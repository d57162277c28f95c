"""The verb `tail`: prints recent queries, and with --follow also new ones."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

import msgspec
from msgspec import Struct

from pydns.cli.client_names import NameOf, client_names
from pydns.cli.output import Colour, fail, painted, write_lines
from pydns.cli.query_filter import Filter, client_text
from pydns.config import flags
from pydns.config.settings import OutputFormat
from pydns.config.shapes import Mistakes
from pydns.dns.address import address_text
from pydns.process.ring_files import RingError, Rings
from pydns.ring.queries import Query
from pydns.table.client_names import ClientName

_EVERY_S = 0.2  # seconds between two looks for new queries
_NAMES_S = 10.0  # seconds after which the names of clients are read again


class Line(Struct, frozen=True, kw_only=True):
    """A query, as `-o json` prints it on a line. docs/json.md describes the keys."""

    version: int = 1
    time: str
    client: str
    client_name: str | None
    client_labels: dict[str, str]
    name: str
    type: str
    result: str
    source: str
    server: str | None
    duration_s: float
    size: int
    protocol: str
    truncated: bool
    replica: str | None  # the pod that answered the query; only with --all


def run(options: Namespace) -> int:
    """Print the recent queries that the flags select. Return 1 if no ring can be read, and 2 if a flag is invalid."""
    mistakes = Mistakes()
    output = flags.OUTPUT.read(options.output, mistakes)
    since_s = flags.SINCE.read(options.since, mistakes)
    follows = flags.FOLLOW.read(options.follow, mistakes)
    asks_all = flags.ALL.read(options.all, mistakes)
    chosen = Filter.of(options, mistakes)
    if mistakes:
        return fail("tail", mistakes[0], 2)
    if asks_all and follows:
        return fail("tail", "--all: can't be given together with --follow; give only one of the two flags", 2)
    state_dir = Path(options.state_dir)
    compose = _json if output is OutputFormat.JSON else _text
    if asks_all:
        return _all(since_s, chosen, client_names(state_dir), compose)
    rings, names, named_at = Rings(state_dir), client_names(state_dir), time.monotonic()
    since = time.time() - since_s
    try:
        while write_lines(_lines(rings.new(since), chosen, names, compose)) and follows:
            time.sleep(_EVERY_S)
            since = 0.0
            if time.monotonic() - named_at > _NAMES_S:
                names, named_at = client_names(state_dir), time.monotonic()
    except RingError as error:
        return fail("tail", error)
    except KeyboardInterrupt:
        pass
    return 0


def _all(since_s: float, chosen: Filter, names: NameOf, compose: "_Compose") -> int:
    """Print the queries of every replica, the oldest first."""
    from pydns.cli import replicas  # imports HTTP, which the verb doesn't need otherwise

    try:
        answers = replicas.queries(since_s)
    except replicas.ReplicasError as error:
        return fail("tail", error)
    found = [(query.came, each.replica.name, query) for each in answers for query in each.value or ()]
    found.sort(key=itemgetter(0))
    lines = (
        compose(query, who, replica) for _, replica, query in found if chosen.takes(query, who := names(query.client))
    )
    write_lines(lines)
    return replicas.SILENT if replicas.complain("tail", answers) else 0


def _lines(found: list[Query], chosen: Filter, names: NameOf, compose: "_Compose") -> Iterator[str]:
    for query in found:
        who = names(query.client)
        if chosen.takes(query, who):
            yield compose(query, who, None)


_Compose = Callable[[Query, ClientName | None, str | None], str]


def _text(query: Query, who: ClientName | None, replica: str | None) -> str:
    facts = query.facts
    result = f"{facts.result:<9}"
    if facts.rcode is None or query.facts.rcode not in (0, 3):
        result = painted(result, Colour.RED)
    via = f" via {query.server}" if query.server else ""
    labels = f" {who.labels_text}" if who is not None and who.labels else ""
    of = f" of {replica}" if replica else ""
    notes = "".join([via, " truncated" * facts.is_truncated, " tcp" * query.is_stream, labels, of])
    return (
        f"{_time(query.came)} {client_text(query.client, who):<15} {result} {query.source.value:<8} "
        f"{query.spent_s * 1000:8.2f} ms {facts.type_text:<5} {facts.name_text}{notes}"
    )


def _json(query: Query, who: ClientName | None, replica: str | None) -> str:
    facts = query.facts
    line = Line(
        time=_time(query.came),
        client=address_text(query.client),
        client_name=None if who is None else str(who),
        client_labels={} if who is None else dict(who.labels),
        name=facts.name_text,
        type=facts.type_text,
        result=facts.result,
        source=query.source.value,
        server=query.server or None,
        duration_s=round(query.spent_s, 6),
        size=query.size,
        protocol="tcp" if query.is_stream else "udp",
        truncated=facts.is_truncated,
        replica=replica,
    )
    return msgspec.json.encode(line).decode()


def _time(came: float) -> str:
    return datetime.fromtimestamp(came, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
