"""The format of a ring: memory in which one worker keeps its last queries.

Other processes read this memory while the worker writes. The memory has a head of `HEAD` octets, and then room for
records. The head has these fields:

    octets 0–7     MAGIC
    octets 8–15    the size of the room in octets
    octets 16–23   how many octets of records have been written since the ring was made
    octets 24–31   a number of seconds: this number plus a time in a record is the time in seconds since 1970

A record contains the messages of several turns, so that the worker writes only once for hundreds of queries. Here, a
turn is a batch of messages that came together, or a single deferred reply. Numbers have the byte order of the machine.
A record consists of these parts:

    head           `_RECORD`: position, octets of the record, numbers of messages and turns, form, octets of the names
    turns          the time when each turn came (8 octets each), the seconds until its replies were sent (4 octets
                   each), and its number of messages (2 octets each)
    lengths        the length of each message as it was sent (2 octets each). 0 means that the reply is deferred. A
                   deferred reply is in a turn of its own
    addresses      the addresses of the clients, 4 octets each. In form WIDE: the first 8 octets of each address, and
                   then the last 8 octets of each address
    origins        only in form WITH_ORIGINS: an `Origin` for each message (1 octet each)
    servers        only in form LATER: for each message, the index of its server in `names` (1 octet each)
    messages       one after the other. In form SHORTENED: only the first `CUT` octets of each message
    names          only in form LATER: the names of the servers, with a zero octet after each name
    end            the size of the record again, so that a reader can go from the newest record to the oldest

A message is the reply to a query. A reply contains the question and the rcode, so the worker need not parse it. If a
query gets no reply, the message is the query, with the bit QR set to 0.

The position of a record is the number of octets that were written before it. A record may begin at the end of the room
and continue at its beginning. A reader copies the room. Then the reader looks how far the writer has come in the
meantime, and uses only records that the writer can't have overwritten (`readable_from`). The reader ignores a record
with a wrong position. So a reader never uses a record that is only half written, even if the writer was killed.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from itertools import accumulate, pairwise
from math import isfinite
from struct import Struct
from typing import NamedTuple

from pydns.dns.address import MAPPED, unmapped

MAGIC = b"pydnsq\0\1"
FILES = "queries-*"  # pattern for links in the state directory; each of these links leads to a ring
HEAD = 4096  # octets of the head; this is one page, so that the room begins with a page
WRITTEN_AT, OFFSET_AT = 16, 24  # offsets of two fields in the head
MOST = 320  # maximum number of messages in a record
# The bits of a record's form. They are plain numbers, because each operation with an IntFlag takes 0.5 µs.
WIDE, WITH_ORIGINS, LATER, SHORTENED = 1, 2, 4, 8
STREAM = 16  # another bit of the form; it is set if the messages came over TCP
CUT = 288  # maximum octets of a message in form SHORTENED; a header and the longest question fit
LONG = 320  # a record whose messages are longer on average has the form SHORTENED
MOST_NAMES, MOST_NAME = 4096, 127  # maximum octets of all names of servers in a record, and of one name
MAX_RECORD = MOST * (LONG + 14 + 2 + 16 + 1 + 1) + MOST_NAMES + 64  # maximum octets of a record
SMALLEST, LARGEST = 4 * MAX_RECORD, 1 << 30  # minimum and maximum octets of a room

_HEAD = Struct("=8sQQd")
_RECORD = Struct("=QIHHBxxxI")
_END = Struct("=I")
_LEAST = _RECORD.size + _END.size


@cache
def _lengths(count: int) -> Struct:
    return Struct(f"={count}H")


@cache
def _turns(count: int) -> Struct:
    return Struct(f"={count}d{count}f{count}H")


class Origin(IntEnum):
    """Where a reply came from, if the worker knows.

    Otherwise, `pydns.ring.queries` infers the source from the reply.
    """

    UNKNOWN = 0
    RULE = 1  # a rule of the configuration
    CACHE = 2
    STALE = 3  # an expired answer of the cache
    UPSTREAM = 4


class Head(NamedTuple):
    """The head of a ring."""

    room: int
    written: int
    offset_s: float


class Turn(NamedTuple):
    """A batch of messages that came together, or a single deferred reply."""

    came: float
    spent_s: float  # seconds until the replies were sent
    messages: int


# Several turns as three columns: when each turn came, the seconds until its replies were sent, and its number of
# messages.
Turns = tuple[Sequence[float], Sequence[float], Sequence[int]]


class Record(NamedTuple):
    """A record. Each list except `turns` has one element for each message."""

    is_stream: bool
    turns: Sequence[Turn]
    addresses: Sequence[bytes]
    messages: Sequence[bytes]
    lengths: Sequence[int]  # how many octets each message had when it was sent
    origins: Sequence[int]
    servers: Sequence[str]


def file_name(worker: int) -> str:
    """Return the name of the link to a worker's ring in the state directory."""
    return f"{FILES[:-1]}{worker}"


# Writing


def compose_head(room: int, offset_s: float) -> bytes:
    """Return the octets of the head of an empty ring."""
    return _HEAD.pack(MAGIC, room, 0, offset_s)


def compose(
    position: int,
    turns: Turns,
    addresses: bytes,
    lengths: bytes,
    messages: Sequence[bytes],
    form: int = 0,
    extra: bytes = b"",
    names: bytes = b"",
) -> list[bytes]:
    """Return the parts of a record, which together are its octets. A record has at most `MOST` messages.

    `addresses` contains 4 octets for each message, or is the result of `columns`. `lengths` contains 2 octets for each
    message. `messages` contains the octets of the messages, in parts of any size. `extra` contains the origins and the
    indices of the servers.
    """
    count = len(lengths) // 2
    octets = sum(map(len, messages))
    if octets > LONG * count:
        form |= SHORTENED
        messages = [_shortened(b"".join(messages), _lengths(count).unpack(lengths))]
        octets = len(messages[0])
    if len(addresses) > 4 * count:
        form |= WIDE
    came, spent_s, counts = turns
    times = _turns(len(came)).pack(*came, *spent_s, *counts)
    octets += _LEAST + len(times) + len(lengths) + len(addresses) + len(extra) + len(names)
    head = _RECORD.pack(position, octets, count, len(came), form, len(names))
    return [head, times, lengths, addresses, extra, *messages, names, _END.pack(octets)]


def _shortened(messages: bytes, lengths: Sequence[int]) -> bytes:
    places = zip(accumulate(lengths, initial=0), lengths, strict=False)
    return b"".join([messages[at : at + min(length, CUT)] for at, length in places])


def compose_later(
    position: int,
    messages: Sequence[bytes],
    addresses: Sequence[bytes],
    came: Sequence[float],
    spent_s: Sequence[float],
    origins: Sequence[Origin],
    servers: Sequence[str],
    form: int = 0,
) -> list[bytes]:
    """Return the parts of a record of deferred replies.

    For each message, `addresses` contains the address of the client, and `servers` contains the upstream that answered.
    If no upstream answered, the text in `servers` is empty.
    """
    places = {"": 0}
    names = b"\0"
    for server in dict.fromkeys(servers):
        text = server.encode(errors="replace")[:MOST_NAME] + b"\0"
        fits = len(names) + len(text) <= MOST_NAMES and len(places) < 256
        places.setdefault(server, len(places) if fits else 0)
        names += text if server and fits else b""
    extra = bytes(origins) + bytes(map(places.__getitem__, servers))
    lengths = compose_lengths(list(map(len, messages)))
    turns = came, spent_s, [1] * len(messages)
    packed = b"".join(addresses) if set(map(len, addresses)) == {4} else columns(addresses)
    return compose(position, turns, packed, lengths, messages, form | WITH_ORIGINS | LATER, extra, names)


def compose_lengths(lengths: Sequence[int]) -> bytes:
    """Return the lengths of at most `MOST` messages, as octets in the format of a record."""
    return _lengths(len(lengths)).pack(*lengths)


def columns(addresses: Sequence[bytes]) -> bytes:
    """Return addresses in form WIDE.

    An IPv4 address becomes an address such as ::ffff:192.0.2.1. An unknown address becomes ::.
    """
    wide = [each if len(each) == 16 else MAPPED + each if len(each) == 4 else bytes(16) for each in addresses]
    return b"".join([each[:8] for each in wide] + [each[8:] for each in wide])


# Reading


def parse_head(octets: bytes) -> Head | None:
    """Parse the head of a ring. Return None if the octets aren't the head of a ring in this format."""
    if len(octets) < _HEAD.size:
        return None
    magic, room, written, offset_s = _HEAD.unpack_from(octets)
    if magic != MAGIC or not SMALLEST <= room <= LARGEST or not isfinite(offset_s):
        return None
    return Head(room, written, offset_s)


def readable_from(head: Head) -> int:
    """Return the first position whose octets are still valid, even if the writer is writing the next record now."""
    return max(0, head.written + MAX_RECORD - head.room)


def parse(octets: bytes, end: int, first: int) -> list[Record]:
    """Parse the records in `octets`.

    The newest record must end at the end of `octets`, which is the position `end`. In the result, the oldest record
    comes first. Records before the position `first` are left out. If a record can't be parsed, it is left out together
    with all older records. Never raises an exception, for any octets.
    """
    found = []
    at = len(octets)
    while at >= _LEAST:
        size = _END.unpack_from(octets, at - _END.size)[0]
        begin = at - size
        if size < _LEAST or begin < 0 or end - len(octets) + begin < first:
            break
        record = _parse_record(octets, begin, at - _END.size, end - len(octets) + begin)
        if record is None:
            break
        found.append(record)
        at = begin
    found.reverse()
    return found


def _parse_record(octets: bytes, begin: int, end: int, wanted_position: int) -> Record | None:
    """Parse the record that begins at the offset `begin`, and whose last part begins at the offset `end`."""
    position, size, count, turn_count, form, names_size = _RECORD.unpack_from(octets, begin)
    if position != wanted_position or size != end + _END.size - begin:
        return None
    if not 1 <= count <= MOST or not 1 <= turn_count <= count:
        return None
    lengths_at = begin + _RECORD.size + 14 * turn_count
    addresses_at = lengths_at + 2 * count
    origins_at = addresses_at + (16 if form & WIDE else 4) * count
    servers_at = origins_at + (count if form & WITH_ORIGINS else 0)
    messages_at = servers_at + (count if form & LATER else 0)
    if messages_at > end:
        return None
    times = _turns(turn_count).unpack_from(octets, begin + _RECORD.size)
    counts = times[2 * turn_count :]
    if sum(counts) != count or not all(map(isfinite, times[: 2 * turn_count])):
        return None
    turns = list(map(Turn, times[:turn_count], times[turn_count : 2 * turn_count], counts))
    lengths = _lengths(count).unpack_from(octets, lengths_at)
    kept = [min(each, CUT) for each in lengths] if form & SHORTENED else lengths
    ends = list(accumulate(kept, initial=messages_at))
    if ends[-1] + names_size != end:
        return None
    messages = [octets[first:last] for first, last in pairwise(ends)]
    addresses = _parse_addresses(octets[addresses_at:origins_at], count)
    origins = octets[origins_at:servers_at] or bytes(count)
    servers: Sequence[str] = [""] * count
    if form & LATER:
        names = octets[end - names_size : end].decode(errors="replace").split("\0")
        places = octets[servers_at:messages_at]
        # Names of servers in a configuration are printable. An unprintable name might control a terminal.
        if not all(map(str.isprintable, names)) or max(places) >= len(names):
            return None
        servers = [names[place] for place in places]
    return Record(bool(form & STREAM), turns, addresses, messages, lengths, origins, servers)


def _parse_addresses(octets: bytes, count: int) -> list[bytes]:
    if len(octets) == 4 * count:
        return [octets[at : at + 4] for at in range(0, 4 * count, 4)]
    half = 8 * count
    return [unmapped(octets[at : at + 8] + octets[half + at : half + at + 8]) for at in range(0, half, 8)]
