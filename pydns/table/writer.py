"""Writes the answer table. Only one thread of the controller uses this module.

Commits are not synced to the disk. If the controller ends without warning, the kernel's page cache still has its
commits. A table from before a reboot is discarded. To detect a reboot, pydns writes the kernel's boot id into a file
next to the table.
"""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import msgspec

from pydns.dns.name import ROOT
from pydns.table import state_dir as directory
from pydns.table.client_classes import is_range
from pydns.table.client_names import entries_from, is_client_name
from pydns.table.kept import Kept
from pydns.table.layer import Layer, Replacement
from pydns.table.layout import (
    ACCEPTED_KEY,
    ANSWERS,
    CONFIG_KEY,
    FACTS,
    FACTS_KEY,
    FORMAT,
    MAX_READERS,
    NAMES,
    STATIC_ANSWERS,
    STATIC_NAMES,
    STATUS_KEY,
    WHOLE_KEY,
    Changes,
    Contents,
    Facts,
    ZoneFacts,
    decode_facts,
    encode_facts,
    file_in,
    with_static_zones,
)

# Sizes of LMDB's map in octets, and the factors by which it grows. The whole map is allocated on the disk (`state_dir`,
# rule 4). If the map is full, the writer enlarges it and repeats the commit. Repeating the commit of a `replace` takes
# long, so `replace` enlarges the map by a larger factor. Afterwards, it frees the space that it doesn't need.
_FIRST_SIZE = 128 << 20  # enough for 10,000 Services with 10 endpoints each without a repeated commit
_LEAST_SIZE = 1 << 20
_GROWTH, _GROWTH_TO_REPLACE = 1.5, 2.0
_LEAST_GROWTH = 1.125  # the smallest factor, for a disk that has no space for more
_PAGES_PER_ENTRIES = 2.5  # each octet of new keys and values takes at most this many octets in pages
_SPARE = 1.06  # the size of the map after `replace`, divided by the size of the used pages
# `replace` sorts and stores entries in chunks. A chunk ends after this many entries, or this many octets of values.
# Sorting halves the number of written pages. Larger chunks would need more memory.
_CHUNK, _CHUNK_OCTETS = 100_000, 16 << 20
# The table has this root zone while static zones are still being read. It contains all names outside the cluster's
# zones.
_UNKNOWN = ZoneFacts(ROOT, ROOT, ROOT, 0, 0, is_known=False)

if TYPE_CHECKING:
    Transaction = lmdb.Transaction[bytes]


class WriterError(Exception):
    """The table can't be written. The message says why."""


class DiskFullError(WriterError):
    """The disk has no space for a commit. The table is as it was before the commit."""


class Writer:
    """The table, opened for writing. Only one thread of one process may use it."""

    def __init__(self, state_dir: Path, empty: Facts, check_s: float = directory.WHOLE_CHECK_S) -> None:
        """Open the table in `state_dir`. If no table exists, create a table with the facts `empty`.

        Checking an existing table takes at most `check_s` seconds. An unreadable table is discarded, and `thrown_away`
        contains the reason. A table from an earlier boot, with another format or with another cluster domain is
        discarded, too. A table is also discarded if it serves the cluster domain and `empty` doesn't, or the other way
        round. Any other table is kept, but marked as unsynced. Raises `WriterError` if the directory can't be written,
        or if another pydns uses it.
        """
        path = self._path = file_in(state_dir)
        self.thrown_away = ""
        try:
            self._lock = directory.prepare(state_dir)
            if directory.remove_unless_plain(path):
                self.thrown_away = "it was not a plain file"
            directory.discard_after_reboot(path)
            size = path.stat().st_size if path.exists() else 0
            if size and (why := directory.damage(path, check_s)):
                self.thrown_away = why
            if self.thrown_away or not size:
                directory.discard(path)
            self._open(size if size and not self.thrown_away else _FIRST_SIZE)
        except directory.DirectoryError as error:
            raise WriterError(f"--state-dir {state_dir}: {error}") from None
        except (OSError, lmdb.Error) as error:
            raise WriterError(f"--state-dir {state_dir}: can't be written: {error}") from None
        self._begin_with(empty)

    def _open(self, size: int) -> None:
        """Open the table with a map of `size` octets, or of fewer octets if the disk has no room."""
        directory.allocate_readers(self._path)
        if not self._path.exists():
            # Opening writes the first pages of a new file.
            self._environment = self._with_map(_LEAST_SIZE, writemap=False)
            self._environment.close()
        self._environment = self._with_map(self._allocated(size), writemap=True)
        self._facts_db = self._environment.open_db(FACTS)
        self._answers = Layer(self._environment, ANSWERS, STATIC_ANSWERS)
        self._layers = (self._answers, Layer(self._environment, NAMES, STATIC_NAMES))

    def _with_map(self, size: int, writemap: bool) -> lmdb.Environment:
        # Without `writemap`, LMDB would copy the pages of a large commit into the heap. Afterwards, the heap would keep
        # this memory without using it.
        return lmdb.open(
            str(self._path),
            subdir=False,
            map_size=size,
            max_dbs=5,
            max_readers=MAX_READERS,
            sync=False,
            writemap=writemap,
        )

    def _allocated(self, size: int) -> int:
        """Allocate disk space for a map of `size` octets, or of fewer octets if the disk has no room.

        Return the allocated size.
        """
        while True:
            try:
                directory.allocate(self._path, size)
                return size
            except OSError as error:
                if not directory.is_full(error) or size <= _LEAST_SIZE:
                    raise
                size //= 2

    def _begin_with(self, empty: Facts) -> None:

        def apply(transaction: "Transaction") -> None:
            raw = transaction.get(FACTS_KEY, db=self._facts_db)
            facts = _facts_or_none(raw)
            if facts is None or facts.format != FORMAT or _cluster(facts) != _cluster(empty):
                transaction.drop(self._facts_db, delete=False)
                for layer in self._layers:
                    layer.clear(transaction)
                facts = empty
            self._is_new = facts is empty
            self._classes_commit, self._clients_commit = facts.classes_commit, facts.clients_commit
            self._static_zones = [zone for zone in facts.zones if zone.is_static]
            transaction.put(FACTS_KEY, encode_facts(_unsynced(facts)), db=self._facts_db)

        self._transact(apply)

    def commit(self, changes: Changes, facts: Facts) -> None:
        """Apply changes of the cluster's entries and replace its facts, in one commit.

        A deleted entry no longer hides the static entry with the same key, so readers see the static entry again.
        """

        def apply(transaction: "Transaction") -> None:
            for layer, entries in zip(self._layers, changes, strict=True):
                layer.change(transaction, entries)
            self._put_facts(
                transaction,
                facts,
                has_ranges=any(map(is_range, changes.names)),
                has_clients=any(map(is_client_name, changes.names)),
            )

        self._transact(apply)

    def replace(
        self,
        contents: Callable[[], Iterable[Contents]],
        facts: Facts | Callable[[], Facts],
        absent: Callable[[], Sequence[bytes]] = tuple,
    ) -> None:
        """Replace the cluster's entries by the entries of `contents()`, and replace its facts, in one commit.

        Only entries whose value differs are written. `contents` is called again if the file must grow. `facts` is a
        value, or a function that returns the value. The functions `facts` and `absent` are called after `contents`, so
        their results can depend on the contents. `absent` returns apexes of zones. The old entries and reverse names of
        these zones are kept, unless the contents replace them.
        """

        def apply(transaction: "Transaction") -> None:
            replacements = [Replacement(layer, transaction) for layer in self._layers]
            for chunk in _chunks(contents()):
                for replacement, entries in zip(replacements, chunk, strict=True):
                    replacement.put(entries)
            kept = Kept(absent())
            for replacement, keeps in zip(replacements, (kept.keeps_answer, kept.keeps_name), strict=True):
                replacement.finish(keeps if kept else None)
            found = facts if isinstance(facts, Facts) else facts()
            self._put_facts(transaction, found, has_ranges=True, has_clients=True)
            if found.synced:
                transaction.put(WHOLE_KEY, b"1", db=self._facts_db)

        self._transact(apply, _GROWTH_TO_REPLACE)
        self._let_pages_go()

    def revise(self, revised: Callable[[bytes], bytes], facts: Facts) -> None:
        """Replace each answer of the cluster by the result of `revised`, in one commit.

        The result must have the same length.
        """

        def apply(transaction: "Transaction") -> None:
            self._answers.revise(transaction, revised)
            self._put_facts(transaction, facts)

        self._transact(apply)
        self._let_pages_go()

    def _let_pages_go(self) -> None:
        """Close the file and open it again.

        Otherwise, this process would keep the pages of a large commit in its memory.
        """
        used = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        size = self._environment.info()["map_size"]
        self._environment.close()
        self._open(min(size, max(_LEAST_SIZE, _whole_pages(used * _SPARE))))

    def expect_static(self) -> None:
        """If the table is new, mark all names outside the cluster's zones as unknown. `put_static` removes the mark.

        Until then, readers must neither deny nor forward these names, because a static zone may contain them.
        """
        if self._is_new:
            self.put_static(Contents({}, {}), [_UNKNOWN])

    def put_static(self, contents: Contents, zones: list[ZoneFacts]) -> None:
        """Replace the static entries and their zones. Each of `zones` must be static (`ZoneFacts.is_static`).

        The cluster's entries don't change. They still hide static entries with the same key from readers.
        """

        def apply(transaction: "Transaction") -> None:
            for layer, entries in zip(self._layers, contents, strict=True):
                layer.replace_static(transaction, entries)
            self._put_facts(transaction, facts, has_ranges=True)

        facts = self.facts()
        facts = msgspec.structs.replace(facts, zones=[zone for zone in facts.zones if not zone.is_static])
        self._static_zones = zones
        self._reserve(sum([len(key) + len(value) for entries in contents for key, value in entries.items()]))
        self._transact(apply)

    def _put_facts(
        self, transaction: "Transaction", facts: Facts, *, has_ranges: bool = False, has_clients: bool = False
    ) -> None:
        """Store facts.

        `has_ranges` means that the commit may change ranges of client classes, and `has_clients` that it may change
        client names.
        """
        if has_ranges:
            self._classes_commit = transaction.id()
        if has_clients:
            self._clients_commit = transaction.id()
        zones = with_static_zones(facts.zones, self._static_zones)
        facts = msgspec.structs.replace(
            facts, zones=zones, classes_commit=self._classes_commit, clients_commit=self._clients_commit
        )
        transaction.put(FACTS_KEY, encode_facts(facts), db=self._facts_db)

    def put_status(self, status: bytes) -> None:
        """Store the controller's status as JSON."""
        self._transact(lambda transaction: transaction.put(STATUS_KEY, status, db=self._facts_db))

    def put_config(self, config: bytes, accepted: bytes = b"") -> None:
        """Store the configuration in force, and the accepted configuration without the upstreams that pydns added."""

        def apply(transaction: "Transaction") -> None:
            transaction.put(CONFIG_KEY, config, db=self._facts_db)
            transaction.put(ACCEPTED_KEY, accepted, db=self._facts_db)

        self._transact(apply)

    def config(self) -> bytes:
        """Return the configuration in force. Before the first configuration, the result is empty."""
        with self._environment.begin() as transaction:
            return transaction.get(CONFIG_KEY, b"", db=self._facts_db)

    def is_whole(self) -> bool:
        """Return whether the table has ever contained the whole cluster, even before a restart."""
        with self._environment.begin() as transaction:
            return transaction.get(WHOLE_KEY, db=self._facts_db) is not None

    def client_entries(self, first: bytes, most: int) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return some entries of client names, and the first key for the next call (`client_names.entries_from`)."""
        with self._environment.begin() as transaction:
            return entries_from(transaction, self._layers[1].database, first, most)

    def figures(self) -> dict[str, int]:
        """Return the table's size in octets, and how many answers, reading processes and commits it has."""
        info, stat = self._environment.info(), self._environment.stat()
        # This line comes first, so that the transaction below doesn't count as a reader.
        slots = self._environment.readers().splitlines()[1:]
        with self._environment.begin() as transaction:
            answers = transaction.stat(self._answers.database)["entries"]
        return {
            "bytes": (info["last_pgno"] + 1) * stat["psize"],
            "answers": answers,
            "readers": len({slot.split()[0] for slot in slots}),
            "commits": info["last_txnid"],
        }

    def accepted_config(self) -> bytes:
        """Return the accepted configuration without the upstreams that pydns has filled in.

        Before the first configuration, the result is empty.
        """
        with self._environment.begin() as transaction:
            return transaction.get(ACCEPTED_KEY, b"", db=self._facts_db)

    def facts(self) -> Facts:
        """Return the facts in force."""
        with self._environment.begin() as transaction:
            return decode_facts(transaction.get(FACTS_KEY, b"", db=self._facts_db))

    def free_dead_readers(self) -> int:
        """Remove killed readers from the file of readers, and return their number.

        Such readers would block the reuse of old pages.
        """
        return self._environment.reader_check()

    def close(self) -> None:
        """Close the file, and release the lock so that another writer can open the file."""
        self._environment.close()
        os.close(self._lock)

    def _transact(self, apply: Callable[["Transaction"], object], growth: float = _GROWTH) -> None:
        """Commit the changes that `apply` makes. Raises `DiskFullError` if the disk has no room for the commit."""
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    apply(transaction)
                    return
            except lmdb.MapFullError:
                self._grow(growth)

    def _reserve(self, octets: int) -> None:
        """Enlarge the map for new entries with `octets` octets, so that their commit need not be repeated.

        If the disk has no room, the map keeps its size: the commit may need less space than estimated.
        """
        used = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        growth = (used + _PAGES_PER_ENTRIES * octets) / self._environment.info()["map_size"]
        if growth > 1:
            with suppress(DiskFullError):
                self._grow(growth)

    def _grow(self, growth: float) -> None:
        before = self._environment.info()["map_size"]
        for factor in (growth, _LEAST_GROWTH):
            size = _whole_pages(before * factor)
            try:
                directory.allocate(self._path, size)
            except OSError as error:
                if not directory.is_full(error):
                    raise
            else:
                self._environment.set_mapsize(size)
                return
        more = (size - before) >> 10
        raise DiskFullError(f"--state-dir {self._path.parent}: the disk has no room for another {more} KiB") from None


def _chunks(contents: Iterable[Contents]) -> Iterator[tuple[dict[bytes, bytes], dict[bytes, bytes]]]:
    answers: dict[bytes, bytes] = {}
    names: dict[bytes, bytes] = {}
    octets = 0
    for piece in contents:
        answers |= piece.answers
        names |= piece.names
        octets += sum([len(value) for entries in piece for value in entries.values()])
        if len(answers) + len(names) >= _CHUNK or octets >= _CHUNK_OCTETS:
            yield answers, names
            answers.clear()
            names.clear()
            octets = 0
    yield answers, names


def _whole_pages(octets: float) -> int:
    return -(-int(octets) // mmap.PAGESIZE) * mmap.PAGESIZE


def _facts_or_none(raw: bytes | None) -> Facts | None:
    try:
        return None if raw is None else decode_facts(raw)
    except ValueError:  # the stored facts have another format
        return None


def _unsynced(facts: Facts) -> Facts:
    return msgspec.structs.replace(facts, synced=False)


def _cluster(facts: Facts) -> tuple[bytes, bool]:
    """Return the cluster domain of the facts, and whether the facts have a zone for it."""
    return facts.domain, any(zone.apex == facts.domain for zone in facts.zones)
