"""An overlay shows what the table would have if the writer replaced the static records."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydns.dns import name
from pydns.table.layout import FORMAT, Changes, Contents, Facts, ZoneFacts
from pydns.table.overlay import Overlay
from pydns.table.reader import Reader
from pydns.table.writer import Writer

APEX, SHARED = name.from_text("corp.example."), name.from_text("k8s.example.")
CLUSTER = [ZoneFacts(b"\1c\0", b"\1c\0", b"\1c\0", 5, 5), ZoneFacts(SHARED, b"\1c\0", b"\1c\0", 5, 5)]
FACTS = Facts(FORMAT, b"\1c\0", sorted(CLUSTER, key=lambda zone: -len(zone.apex)), 1, True, 5)

KEYS = st.binary(min_size=1, max_size=2).map(lambda octets: b"\1" + octets)
ENTRIES = st.dictionaries(KEYS, st.binary(min_size=1, max_size=2).map(lambda octets: b"=" + octets), max_size=8)
CONTENTS = st.builds(Contents, ENTRIES, ENTRIES)


def zone(apex: bytes, *, is_plain: bool = True) -> ZoneFacts:
    return ZoneFacts(apex, b"\1s\0", b"\1s\0", 60, 60, soa_timers=bytes(20), is_plain=is_plain)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("overlay")


def table(state_dir: Path, cluster: Contents, static: Contents, zones: list[ZoneFacts]) -> Reader:
    """Return the table that a writer makes. It replaces whatever the directory had."""
    writer = Writer(state_dir, FACTS)
    writer.put_static(static, zones)
    writer.replace(lambda: iter([cluster]), FACTS)
    writer.commit(Changes({}, {}), FACTS)
    writer.close()
    return Reader(state_dir)


def walk(table: Reader, database: Any, keys: list[bytes]) -> Iterator[tuple[bytes, object]]:
    """Yield what all methods of a transaction and of a cursor return for some keys."""
    with table.transaction() as transaction:
        for key in keys:
            yield key, transaction.get(key, None, database)
            yield key, transaction.get(key, b"absent", db=database)
            cursor = transaction.cursor(db=database)
            yield key, cursor.set_key(key) and cursor.item()
            there = cursor.set_range(key)
            while there:
                yield key, (cursor.key(), cursor.value())
                there = cursor.next()


@given(cluster=CONTENTS, before=CONTENTS, after=CONTENTS)
def test_an_overlay_shows_what_the_writer_would_write(
    folder: Path, cluster: Contents, before: Contents, after: Contents
) -> None:
    zones = [zone(APEX), zone(SHARED, is_plain=False)]
    old, new = table(folder / "old", cluster, before, [zone(APEX)]), table(folder / "new", cluster, after, zones)
    try:
        overlay = Overlay(old, after, zones, b"config")
        for entries, shown, wanted in (("answers", overlay.answers, new.answers), ("names", overlay.names, new.names)):
            every: list[Mapping[bytes, bytes]] = [getattr(each, entries) for each in (cluster, before, after)]
            keys = sorted({key for each in every for key in each} | {b"\0", b"\2"})
            assert list(walk(overlay, shown, keys)) == list(walk(new, wanted, keys))
            if entries == "answers":
                with overlay.transaction() as transaction, new.transaction() as other:
                    static = [overlay.is_static(key, transaction) for key in keys]
                    assert static == [new.is_static(key, other) for key in keys]
        with overlay.transaction() as transaction, new.transaction() as other:
            assert overlay.facts(transaction).zones == new.facts(other).zones
            assert overlay.config(transaction) == b"config"
            assert overlay.status(transaction) == old.status(transaction)
    finally:
        old.close()
        new.close()


def test_the_reader_below_an_overlay_still_shows_the_table(tmp_path: Path) -> None:
    reader = table(tmp_path, Contents({}, {}), Contents({b"\1k": b"old"}, {}), [])
    overlay = Overlay(reader, Contents({b"\1k": b"new"}, {}), [], b"")
    with reader.transaction() as transaction:
        assert overlay.over(transaction).get(b"\1k") == b"new"
        assert transaction.get(b"\1k") == b"old"
        assert reader.static_contents(transaction) == Contents({b"\1k": b"old"}, {})
    reader.close()
