"""Reads the answer table. Workers use this module for each query, and tools use it too.

Each process opens the file once, and only for reading. A process must not use an environment of LMDB that was opened
before a fork. So each process opens the table itself.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import lmdb
import msgspec

from pydns.table.layout import (
    ACCEPTED_KEY,
    ANSWERS,
    BARE,
    CONFIG_KEY,
    FACTS,
    FACTS_KEY,
    FORMAT,
    MAX_READERS,
    NAMES,
    STATIC_ANSWERS,
    STATIC_NAMES,
    STATUS_KEY,
    Contents,
    Facts,
    decode_facts,
    file_in,
)

if TYPE_CHECKING:
    Transaction = lmdb.Transaction[bytes]
    Cursor = lmdb.Cursor[bytes]


_Result = TypeVar("_Result")
_MOST_GROWTHS = 20  # how many times a call tries again after the writer has enlarged the file


class TableError(Exception):
    """The table can't be read. The message is the reason."""


class Reader:
    """The table, opened for reading."""

    def __init__(self, state_dir: Path) -> None:
        """Open the table in `state_dir`. Raises `TableError` if no table exists, or if the table has another format."""
        path = file_in(state_dir)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise TableError(f"{path}: no such file; is pydns running with this --state-dir?") from None
        except OSError as error:
            raise TableError(f"{path}: {error.strerror}") from None
        try:
            self._environment = _open(path)
            self.answers = self._open_db(ANSWERS)
            self.names = self._open_db(NAMES)
            self._facts_db = self._open_db(FACTS)
            with self.transaction() as transaction:
                found = self.facts(transaction).format
        except lmdb.Error as error:
            raise TableError(f"{path}: {error}") from None
        except msgspec.DecodeError as error:
            raise TableError(
                f"{path}: has facts in an unknown form ({error}); another version of pydns wrote the file"
            ) from None
        if found != FORMAT:
            raise TableError(f"{path}: has the format {found}; wanted {FORMAT}")

    def _open_db(self, name: bytes) -> Any:
        try:
            return self._environment.open_db(name)
        except lmdb.MapResizedError:
            return self._with_new_size(lambda: self._environment.open_db(name))

    def _with_new_size(self, act: Callable[[], _Result]) -> _Result:
        """Call `act` after the writer has enlarged the file, and return its result.

        If the writer enlarges the file again during the call, `act` is called again. The file grows by an eighth or
        more each time, so this doesn't happen often.
        """
        for _ in range(_MOST_GROWTHS):
            self._environment.set_mapsize(0)
            with suppress(lmdb.MapResizedError):
                return act()
        self._environment.set_mapsize(0)
        return act()

    def transaction(self) -> "Transaction":
        """Begin a read transaction, for use with `with`.

        A transaction should be short, because the writer can't reuse old pages before the transaction ends.
        """
        try:
            return self._environment.begin(db=self.answers)
        except lmdb.MapResizedError:
            return self._with_new_size(lambda: self._environment.begin(db=self.answers))

    def facts(self, transaction: "Transaction") -> Facts:
        """Return the facts in the commit that the transaction sees."""
        return decode_facts(transaction.get(FACTS_KEY, b"", db=self._facts_db))

    def status(self, transaction: "Transaction") -> bytes:
        """Return the controller's last status, as JSON."""
        return transaction.get(STATUS_KEY, b"{}", db=self._facts_db)

    def config(self, transaction: "Transaction") -> bytes:
        """Return the configuration in force, as the writer stored it.

        Before the first configuration, the result is empty.
        """
        return transaction.get(CONFIG_KEY, b"", db=self._facts_db)

    def accepted_config(self, transaction: "Transaction") -> bytes:
        """Return the accepted configuration without added upstreams. Empty before the first configuration."""
        return transaction.get(ACCEPTED_KEY, b"", db=self._facts_db)

    def static_contents(self, transaction: "Transaction") -> Contents:
        """Return all static entries, also those that the cluster's entries hide. For tools."""
        databases = [self._environment.open_db(each, txn=transaction) for each in (STATIC_ANSWERS, STATIC_NAMES)]
        return Contents(*[{key: entry[1:] for key, entry in transaction.cursor(db=each)} for each in databases])

    def is_static(self, key: bytes, transaction: "Transaction") -> bool:
        """Return whether an answer comes from a zone file or a configured host, not from the cluster.

        Only tools need this.
        """
        # The database is opened only here, because workers don't need it.
        database = self._environment.open_db(STATIC_ANSWERS, txn=transaction)
        return transaction.get(key, b"", db=database).startswith(BARE)

    def items(self, transaction: "Transaction") -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all entries of `answers`: questions with their compiled answers."""
        return iter(transaction.cursor())

    def nodes(self, transaction: "Transaction") -> Iterator[tuple[bytes, bytes]]:
        """Iterate over all entries of `names`: tree keys with node kinds, and all other keys with their values."""
        return iter(transaction.cursor(db=self.names))

    def counts(self, transaction: "Transaction") -> tuple[int, int]:
        """Return the number of entries of `answers` and the number of entries of `names`."""
        return transaction.stat(self.answers)["entries"], transaction.stat(self.names)["entries"]

    def close(self) -> None:
        """Close the file."""
        self._environment.close()


def _open(path: Path) -> lmdb.Environment:
    """Open the file. If the writer enlarges the file at this moment, opening fails and is repeated."""
    for _ in range(_MOST_GROWTHS):
        with suppress(lmdb.MapResizedError):
            return lmdb.open(
                str(path), subdir=False, readonly=True, max_dbs=5, max_readers=MAX_READERS, readahead=False
            )
    raise lmdb.MapResizedError("the file grows too fast")
