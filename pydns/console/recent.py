"""Keeps recent queries for the console, and finds the busiest names and clients among them. Pure.

The queries come from the rings of the workers. The rings are read only while a browser shows the console, so an unused
console costs almost nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from pydns.dns.address import address_text
from pydns.ring import walks
from pydns.ring.queries import Query, name_text

KEPT = 20_000
KEPT_S = 300.0
TOP_S = 60.0  # the busiest names and clients are found among the queries of the last minute
_MOST_ROWS = 100  # the maximum number of queries in one page of the console
_BUSIEST = 8

NameOf = Callable[[bytes], str | None]  # octets of a client's address -> its name, or None


class Line(Struct, frozen=True):
    """A query as the browser shows it."""

    number: int
    time: float
    client: str
    who: str  # the name of the client, or empty if it is unknown
    name: str
    type: str
    result: str
    source: str
    server: str
    seconds: float
    is_stream: bool


class Row(Struct, frozen=True):
    """A name or a client, with its queries of the last minute."""

    text: str
    queries: int
    denied: int  # how many of the queries were denied
    more: str = ""  # the address of a client, if `text` has the client's name


class Wasted(Struct, frozen=True):
    """A name that resolvers found only after they had tried other names."""

    text: str
    walks: int
    wasted: int  # the number of queries for the names that were tried before


class Top(Struct, frozen=True):
    """The busiest names and clients of the last minute."""

    queries: int = 0
    seconds: float = 0.0  # the time between the oldest of the queries and now
    names: tuple[Row, ...] = ()
    clients: tuple[Row, ...] = ()
    wasted: tuple[Wasted, ...] = ()


class Wanted(NamedTuple):
    """Conditions for the queries that the reader wants to see."""

    text: str = ""  # a part of the name, or of the client's name or address
    # A result, such as SERVFAIL. "failed" means every result except NOERROR, NODATA and NXDOMAIN.
    result: str = ""
    slow_s: float = 0.0


class Recent:
    """The queries of the last five minutes, at most `KEPT`."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, Query]] = deque(maxlen=KEPT)
        self._number = 0

    def add(self, queries: Iterable[Query]) -> None:
        """Add queries. The oldest query comes first."""
        for query in queries:
            self._number += 1
            self._kept.append((self._number, query))

    def forget(self, now: float) -> None:
        """Forget the queries that are too old. `now` is Unix time."""
        while self._kept and self._kept[0][1].came < now - KEPT_S:
            self._kept.popleft()

    @property
    def last(self) -> int:
        """Return the number of the newest query, or 0 if there was none."""
        return self._number

    def lines(self, after: int, wanted: Wanted, name_of: NameOf) -> list[Line]:
        """Return the wanted queries with a number above `after`, the newest first, 100 at most."""
        found: list[Line] = []
        texts: dict[tuple[bytes, bytes], str] = {}  # name and client -> the text in which to look for `wanted.text`
        for number, query in reversed(self._kept.copy()):  # a copy, because another thread may add queries
            if number <= after or len(found) == _MOST_ROWS:
                break
            if query.spent_s < wanted.slow_s or not _has_result(query, wanted.result):
                continue
            if wanted.text:
                key = query.facts.qname, query.client
                if key not in texts:
                    who = name_of(query.client) or ""
                    texts[key] = f"{query.facts.name_text}\n{address_text(query.client)}\n{who}".lower()
                if wanted.text not in texts[key]:
                    continue
            found.append(_line(number, query, name_of(query.client) or ""))
        return found

    def top(self, now: float, name_of: NameOf, domains: Sequence[bytes]) -> Top:
        """Return the busiest names and clients. `now` is Unix time, and `domains` are the domains of the cluster."""
        queries = [query for _, query in self._kept.copy() if query.came >= now - TOP_S]
        if not queries:
            return Top()
        in_vain = [query for query in queries if query.facts.is_denied]
        names = Counter([query.facts.qname.lower() for query in queries])
        clients = Counter([query.client for query in queries])
        denied_names = Counter([query.facts.qname.lower() for query in in_vain])
        denied_clients = Counter([query.client for query in in_vain])
        return Top(
            len(queries),
            round(max(1.0, min(TOP_S, now - queries[0].came)), 1),
            tuple(Row(name_text(qname), count, denied_names[qname]) for qname, count in names.most_common(_BUSIEST)),
            tuple(_client(each, count, denied_clients[each], name_of) for each, count in clients.most_common(_BUSIEST)),
            tuple(_wasted(queries, domains)),
        )


def _has_result(query: Query, wanted: str) -> bool:
    result = query.facts.result
    if wanted == "failed":
        return result not in ("NOERROR", "NODATA", "NXDOMAIN")
    return not wanted or result == wanted


def _line(number: int, query: Query, who: str) -> Line:
    facts = query.facts
    return Line(
        number,
        query.came,
        address_text(query.client),
        who,
        facts.name_text,
        facts.type_text,
        facts.result,
        query.source.value,
        query.server,
        round(query.spent_s, 6),
        query.is_stream,
    )


def _client(address: bytes, count: int, denied: int, name_of: NameOf) -> Row:
    text, who = address_text(address), name_of(address)
    return Row(text, count, denied) if who is None else Row(who, count, denied, text)


def _wasted(queries: Iterable[Query], domains: Sequence[bytes]) -> Iterator[Wasted]:
    """Yield the names for which all clients together wasted the most queries."""
    found: dict[bytes, tuple[int, int]] = {}
    for each in walks.wasted(queries, domains):
        count, wasted = found.get(each.qname, (0, 0))
        found[each.qname] = count + each.walks, wasted + each.queries
    for qname, (count, wasted) in sorted(found.items(), key=lambda item: -item[1][1])[:_BUSIEST]:
        yield Wasted(name_text(qname), count, wasted)
