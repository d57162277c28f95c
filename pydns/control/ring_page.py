"""The page /ring: the recent queries of a replica, as a message that other replicas read.

`encode` makes the body of the page, and `decode` reads it. A replica may have another version, or another program may
answer at the replica's address. So `decode` trusts nothing: it limits every value, and reads each query from its
message again.
"""

from collections.abc import Sequence
from math import isfinite

import msgspec
from msgspec import Struct

from pydns.ring.layout import CUT
from pydns.ring.queries import Facts, Query, Source, read

VERSION = 1
CONTENT_TYPE = "application/msgpack"
MOST = 20_000  # the maximum number of queries in a page
MOST_OCTETS = CUT + 162  # the maximum size of a query in a page, in octets
_LONGEST_SERVER = 127
_LARGEST = 65_535  # the maximum size of a DNS message in octets


class _Row(Struct, frozen=True, array_like=True):
    came: float
    spent_s: float
    client: bytes
    is_stream: bool
    size: int
    source: Source
    server: str
    message: bytes  # the first octets of the reply, or of the query if there was no reply


class _Page(Struct, frozen=True, kw_only=True):
    version: int
    queries: list[_Row]


def encode(queries: Sequence[Query], most: int) -> bytes:
    """Return the body of a page with the last `most` queries, or with all queries if there are fewer."""
    rows = [
        _Row(
            query.came,
            query.spent_s,
            query.client,
            query.is_stream,
            query.size,
            query.source,
            query.server[:_LONGEST_SERVER],
            query.message[:CUT],
        )
        for query in queries[max(0, len(queries) - most) :]
    ]
    return _encode(_Page(version=VERSION, queries=rows))


def decode(body: bytes, most: int) -> list[Query]:
    """Return the queries of a page. Raises `ValueError` if the page is invalid or has more than `most` queries."""
    page = _decode(body)  # `msgspec.DecodeError` is a `ValueError`
    if page.version != VERSION:
        raise ValueError(f"it has version {page.version} of the page /ring, and this replica has {VERSION}")
    if len(page.queries) > most:
        raise ValueError(f"it sent {len(page.queries)} queries, more than the {most} that were asked for")
    known: dict[bytes, Facts] = {}
    return [_query(row, known) for row in page.queries]


def _query(row: _Row, known: dict[bytes, Facts]) -> Query:
    times_are_usable = 0 <= row.came < _LAST_S and isfinite(row.spent_s) and row.spent_s >= 0
    is_usable = times_are_usable and len(row.client) in (4, 16) and 0 <= row.size <= _LARGEST
    if not is_usable or len(row.message) > CUT or len(row.server) > _LONGEST_SERVER or not row.server.isprintable():
        raise ValueError("the replica sent a query with an invalid value")
    facts = known.get(row.message[2:])
    if facts is None:
        facts = known[row.message[2:]] = read(row.message)
    return Query(row.came, row.spent_s, row.client, row.is_stream, row.size, facts, row.source, row.server, row.message)


_LAST_S = 253_402_300_799  # the last second of the year 9999, after which no time can be printed
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Page).decode
