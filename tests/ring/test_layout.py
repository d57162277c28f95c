"""The format of a ring. Records can be read back, even while the writer continues. No octets raise an exception."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from pydns.dns.address import parse_address
from pydns.ring import layout
from pydns.ring.layout import Origin, Record, columns, parse

CLIENTS = [parse_address(f"10.0.0.{number}") for number in range(1, 5)]
CLIENTS_6 = [parse_address(f"2001:db8::{number}") for number in range(1, 5)]
REPLIES = [b"first", b"second", b"", b"fourth"]


def compose(
    position: int,
    turns: Sequence[tuple[float, float, int]],
    addresses: bytes,
    messages: Sequence[bytes],
    form: int = 0,
    extra: bytes = b"",
) -> bytes:
    lengths = layout.compose_lengths([len(each) for each in messages])
    came, spent_s, counts = zip(*turns, strict=True)
    return b"".join(layout.compose(position, (came, spent_s, counts), addresses, lengths, messages, form, extra))


class Later(NamedTuple):
    """A reply that was sent after its batch."""

    message: bytes
    address: bytes
    came: float
    spent_s: float
    origin: Origin
    server: str


def compose_later(position: int, replies: Sequence[Later]) -> bytes:
    messages, addresses, came, spent_s, origins, servers = zip(*replies, strict=True)
    return b"".join(layout.compose_later(position, messages, addresses, came, spent_s, origins, servers))


def written(records: Sequence[bytes]) -> bytes:
    return b"".join(records)


def read(octets: bytes) -> list[Record]:
    return parse(octets, len(octets), 0)


@pytest.mark.parametrize(
    ("addresses", "clients"),
    [(b"".join(CLIENTS), CLIENTS), (columns(CLIENTS), CLIENTS), (columns(CLIENTS_6), CLIENTS_6)],
    ids=["IPv4", "IPv4 as IPv6", "IPv6"],
)
def test_a_record_is_read_as_it_was_written(addresses: bytes, clients: list[bytes]) -> None:
    (record,) = read(compose(0, [(12.5, 0.25, 4)], addresses, REPLIES))
    assert record.addresses == clients
    assert record.messages == REPLIES
    assert list(record.lengths) == [5, 6, 0, 6]
    assert (record.turns, record.is_stream) == ([(12.5, 0.25, 4)], False)
    assert (list(record.origins), list(record.servers)) == ([Origin.UNKNOWN] * 4, [""] * 4)


def test_origins_and_transport_are_kept() -> None:
    origins = bytes([Origin.RULE, 0, 0, Origin.RULE])
    form = layout.WITH_ORIGINS | layout.STREAM
    (record,) = read(compose(0, [(1.0, 0.0, 4)], b"".join(CLIENTS), REPLIES, form, origins))
    assert list(record.origins) == [Origin.RULE, Origin.UNKNOWN, Origin.UNKNOWN, Origin.RULE]
    assert record.is_stream
    assert record.messages == REPLIES


def test_deferred_replies_have_times_and_servers_of_their_own() -> None:
    replies = [
        Later(b"first", CLIENTS[0], 1.0, 0.5, Origin.UPSTREAM, "10.0.0.2:53"),
        Later(b"second", CLIENTS_6[0], 2.0, 0.25, Origin.STALE, ""),
        Later(b"third", b"", 3.0, 0.125, Origin.UPSTREAM, "10.0.0.2:53"),
    ]
    (record,) = read(compose_later(0, replies))
    assert record.messages == [b"first", b"second", b"third"]
    assert record.addresses == [CLIENTS[0], CLIENTS_6[0], bytes(16)]
    assert record.turns == [(1.0, 0.5, 1), (2.0, 0.25, 1), (3.0, 0.125, 1)]
    assert list(record.origins) == [Origin.UPSTREAM, Origin.STALE, Origin.UPSTREAM]
    assert list(record.servers) == ["10.0.0.2:53", "", "10.0.0.2:53"]


def test_long_messages_are_cut_but_their_length_is_kept() -> None:
    long = bytes(range(256)) * 16
    (record,) = read(compose(0, [(1.0, 0.0, 4)], b"".join(CLIENTS), [long, b"short", long, long]))
    assert record.messages == [long[: layout.CUT], b"short", long[: layout.CUT], long[: layout.CUT]]
    assert list(record.lengths) == [4096, 5, 4096, 4096]
    stream = compose(0, [(1.0, 0.0, 1)], CLIENTS[0], [bytes(65_535)])
    assert len(stream) < layout.MAX_RECORD
    most = [
        Later(bytes(65_535), CLIENTS_6[0], 1.0, 0.0, Origin.UPSTREAM, f"{n}." + "n" * 300) for n in range(layout.MOST)
    ]
    assert len(compose_later(0, most)) <= layout.MAX_RECORD


def test_a_torn_record_hides_only_older_records() -> None:
    records: list[bytes] = []
    for number in range(5):
        records.append(compose(len(written(records)), [(float(number), 0.0, 1)], CLIENTS[0], [b"reply"]))
    octets = written(records)
    assert [record.turns[0].came for record in read(octets)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    at = len(written(records[:2]))
    torn = octets[: at + 8] + bytes(8) + octets[at + 16 :]
    assert [record.turns[0].came for record in read(torn)] == [3.0, 4.0]
    assert read(octets[:-3]) == []  # the octets end within a record


def test_a_record_of_an_earlier_lap_is_not_taken_for_a_new_one() -> None:
    old = compose(0, [(1.0, 0.0, 1)], CLIENTS[0], [b"reply"])
    assert parse(old, 1000 + len(old), 0) == []


def test_records_that_the_writer_may_have_touched_are_left_out() -> None:
    first = compose(0, [(1.0, 0.0, 1)], CLIENTS[0], [b"reply"])
    octets = first + compose(len(first), [(2.0, 0.0, 1)], CLIENTS[0], [b"reply"])
    assert [record.turns[0].came for record in parse(octets, len(octets), 1)] == [2.0]
    room = layout.SMALLEST
    head = layout.Head(room, 10 * room, 0.0)
    assert layout.readable_from(head) == 9 * room + layout.MAX_RECORD


@pytest.mark.parametrize("seed", range(20))
def test_no_octets_raise_an_exception(seed: int) -> None:
    chance = random.Random(seed)
    later = [Later(b"reply", CLIENTS[0], 1.0, 0.5, Origin.UPSTREAM, "10.0.0.2:53")] * 3
    first = compose(0, [(1.0, 0.0, 4)], columns(CLIENTS), REPLIES, layout.WITH_ORIGINS, bytes(4))
    octets = bytearray(first + compose_later(len(first), later))
    for _ in range(500):
        changed = octets.copy()
        for _ in range(chance.randrange(1, 8)):
            changed[chance.randrange(len(changed))] = chance.choice([0, 1, 255, chance.randrange(256)])
        for record in read(bytes(changed)):
            sizes = {len(each) for each in record[2:]} | {sum(turn.messages for turn in record.turns)}
            assert len(sizes) == 1, "all lists of a record have the same length"
        layout.parse_head(bytes(changed))
    assert read(chance.randbytes(2000)) == []


def test_a_name_of_a_server_that_could_control_a_terminal_makes_the_record_invalid() -> None:
    later = [Later(b"reply", CLIENTS[0], 1.0, 0.5, Origin.UPSTREAM, "\x1b[2J")]
    assert read(compose_later(0, later)) == []


@pytest.mark.parametrize(
    ("room", "magic", "is_ring"),
    [
        (layout.SMALLEST, layout.MAGIC, True),
        (layout.SMALLEST - 1, layout.MAGIC, False),
        (layout.LARGEST + 1, layout.MAGIC, False),
        (layout.SMALLEST, b"another\0", False),
    ],
)
def test_only_heads_of_this_format_are_read(room: int, magic: bytes, is_ring: bool) -> None:
    head = layout.compose_head(room, 1.5).replace(layout.MAGIC, magic)
    wanted = layout.Head(room, 0, 1.5) if is_ring else None
    assert layout.parse_head(head) == wanted
    assert layout.parse_head(head[:20]) is None
