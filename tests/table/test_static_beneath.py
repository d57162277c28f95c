"""A table has two layers: the cluster's records take precedence over records of zone files and hosts."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pydns.table.layout import FORMAT, Changes, Contents, Facts, ZoneFacts
from pydns.table.reader import Reader
from pydns.table.writer import Writer

_CLUSTER_ZONE = ZoneFacts(b"\1c\0", b"\0", b"\0", 5, 5)
_FILE_ZONE = ZoneFacts(b"\1f\1c\0", b"\0", b"\0", 5, 5, soa_timers=bytes(20))
_FACTS = Facts(FORMAT, b"\1c\0", [_CLUSTER_ZONE], 1, True, 5)

# There are only a few keys and values, so that both layers often have the same key, and sometimes the same value.
_KEYS, _VALUES = st.sampled_from([b"a", b"b", b"c", b"d"]), st.sampled_from([b"", b"1", b"2"])
_ENTRIES = st.dictionaries(_KEYS, _VALUES)
_CHANGES = st.dictionaries(_KEYS, st.one_of(st.none(), _VALUES))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), _CHANGES, _CHANGES),
        st.tuples(st.just("replace"), _ENTRIES, _ENTRIES),
        st.tuples(st.just("revise"), st.just({}), st.just({})),
        st.tuples(st.just("static"), _ENTRIES, _ENTRIES),
        st.tuples(st.just("restart"), st.just({}), st.just({})),
    ),
    max_size=8,
)


def _revised(value: bytes) -> bytes:
    return value.replace(b"1", b"2")


@settings(max_examples=150, deadline=None)
@given(_STEPS)
@example(
    [("static", {b"a": b"1"}, {}), ("commit", {b"a": b"2"}, {}), ("static", {}, {})]
)  # the cluster's answer is still visible
# The static answer becomes visible again.
@example([("static", {b"a": b"1"}, {}), ("commit", {b"a": b"2"}, {}), ("commit", {b"a": None}, {})])
@example([("static", {b"a": b"1"}, {}), ("replace", {b"a": b"2"}, {}), ("static", {b"a": b"0"}, {})])
@example([("static", {b"a": b"1"}, {}), ("replace", {b"a": b"2"}, {}), ("replace", {b"b": b"2"}, {})])
def test_after_any_changes_cluster_records_take_precedence_over_static_records(steps: list[Any]) -> None:
    cluster: tuple[dict[bytes, bytes], ...] = ({}, {})
    static: tuple[dict[bytes, bytes], ...] = ({}, {})
    with tempfile.TemporaryDirectory() as directory:
        writer = Writer(Path(directory), _FACTS)
        for step, answers, names in steps:
            if step == "restart":
                writer.close()
                writer = Writer(Path(directory), _FACTS)
            elif step == "commit":
                for layer, changes in zip(cluster, (answers, names), strict=True):
                    layer.update(changes)
                    for key in [key for key, value in changes.items() if value is None]:
                        del layer[key]
                writer.commit(Changes(answers, names), _FACTS)
            elif step == "replace":
                cluster = (answers, names)
                # Each piece has one entry, so that the layers have common keys in several pieces.
                pieces = [Contents({key: value}, {}) for key, value in answers.items()] + [Contents({}, names)]
                writer.replace(lambda pieces=pieces: pieces, _FACTS)  # type: ignore[misc]
            elif step == "revise":
                cluster[0].update({key: _revised(value) for key, value in cluster[0].items()})
                writer.revise(_revised, _FACTS)
            else:
                static = (answers, names)
                writer.put_static(Contents(answers, names), [_FILE_ZONE])
        writer.close()
        reader = Reader(Path(directory))
        with reader.transaction() as transaction:
            found = dict(reader.items(transaction)), dict(reader.nodes(transaction))
        reader.close()
    assert found == ({**static[0], **cluster[0]}, {**static[1], **cluster[1]})


def test_zones_of_files_and_of_the_cluster_are_listed_longest_first(tmp_path: Path) -> None:
    writer = Writer(tmp_path, _FACTS)
    writer.put_static(Contents({}, {}), [_FILE_ZONE])
    assert writer.facts().zones == [_FILE_ZONE, _CLUSTER_ZONE]
    writer.commit(Changes({}, {}), _FACTS)
    assert writer.facts().zones == [_FILE_ZONE, _CLUSTER_ZONE]
    writer.close()
    writer = Writer(tmp_path, _FACTS)
    writer.commit(Changes({}, {}), _FACTS)
    assert writer.facts().zones == [_FILE_ZONE, _CLUSTER_ZONE]
    writer.put_static(Contents({}, {}), [])
    assert writer.facts().zones == [_CLUSTER_ZONE]
    writer.close()
