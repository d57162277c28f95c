"""Reads the answer table, for workers on each query and for tools. Opens the file read-only, once per process.

An environment must not be used across a fork: open it in the process that reads.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb

from pydns.table.layout import (
    ANSWERS,
    BARE,
    CONFIG_KEY,
    FACTS,
    FACTS_KEY,
    FORMAT,
    MAX_READERS,
    NAMES,
    STATIC_ANSWERS,
    STATUS_KEY,
    Facts,
    decode_facts,
    file_in,
)

if TYPE_CHECKING:
    Transaction = lmdb.Transaction[bytes]
    Cursor = lmdb.Cursor[bytes]


class TableError(Exception):
    """The table can't be read. The message is the reason."""


class Reader:
    """The table, for reading."""

    def __init__(self, state_dir: Path) -> None:
        """Open the table in `state_dir`. Raises `TableError` if there is none or its format is different."""
        path = file_in(state_dir)
        if not path.exists():
            raise TableError(f"{path}: no such file; is pydns running with this --state-dir?")
        try:
            self._environment = lmdb.open(
                str(path), subdir=False, readonly=True, max_dbs=4, max_readers=MAX_READERS, readahead=False
            )
            self.answers = self._open_db(ANSWERS)
            self.names = self._open_db(NAMES)
            self._facts_db = self._open_db(FACTS)
            with self.transaction() as transaction:
                found = self.facts(transaction).format
        except lmdb.Error as error:
            raise TableError(f"{path}: {error}") from None
        if found != FORMAT:
            raise TableError(f"{path}: has format {found}; wanted {FORMAT}")

    def _open_db(self, name: bytes) -> Any:
        try:
            return self._environment.open_db(name)
        except lmdb.MapResizedError:
            self._environment.set_mapsize(0)  # the writer has enlarged the file since it was opened here
            return self._environment.open_db(name)

    def transaction(self) -> "Transaction":
        """Begin a read transaction, for use with `with`. Keep it short: it keeps the pages of its commit from reuse."""
        try:
            return self._environment.begin(db=self.answers)
        except lmdb.MapResizedError:
            self._environment.set_mapsize(0)  # the writer has enlarged the file: use the new size
            return self._environment.begin(db=self.answers)

    def facts(self, transaction: "Transaction") -> Facts:
        """Return the facts of the transaction's commit."""
        return decode_facts(transaction.get(FACTS_KEY, b"", db=self._facts_db))

    def status(self, transaction: "Transaction") -> bytes:
        """Return the controller's last status, as JSON."""
        return transaction.get(STATUS_KEY, b"{}", db=self._facts_db)

    def config(self, transaction: "Transaction") -> bytes:
        """Return the configuration in force, as it was written, or no bytes before the first."""
        return transaction.get(CONFIG_KEY, b"", db=self._facts_db)

    def is_static(self, key: bytes, transaction: "Transaction") -> bool:
        """Return whether an answer comes from a zone file or a host, not from the cluster. For tools."""
        database = self._environment.open_db(STATIC_ANSWERS, txn=transaction)  # workers don't need it
        return transaction.get(key, b"", db=database).startswith(BARE)

    def items(self, transaction: "Transaction") -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all questions and their compiled answers, in no useful order."""
        return iter(transaction.cursor())

    def nodes(self, transaction: "Transaction") -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the tree keys and node kinds of all names, as paths from the root."""
        return iter(transaction.cursor(db=self.names))

    def counts(self, transaction: "Transaction") -> tuple[int, int]:
        """Return how many answers and how many names the table has."""
        return transaction.stat(self.answers)["entries"], transaction.stat(self.names)["entries"]

    def close(self) -> None:
        """Close the file."""
        self._environment.close()
