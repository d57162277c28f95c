"""Puts the cluster's entries over the static entries. The writer has one layer for answers and one layer for names."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from pydns.table.layout import BARE, COVERED

if TYPE_CHECKING:
    import lmdb

    Environment = lmdb.Environment
    Transaction = lmdb.Transaction[bytes]
    Cursor = lmdb.Cursor[bytes]


class Layer:
    """A database for readers, in which the cluster's entries hide static entries with the same key.

    Static entries come from zone files and hosts. A second database contains all static entries. A static entry has the
    flag `COVERED` if the cluster has an entry with the same key. Otherwise it has the flag `BARE`. The database for
    readers contains the cluster's entries and the bare static entries.
    """

    def __init__(self, environment: "Environment", name: bytes, static_name: bytes) -> None:
        self.database = environment.open_db(name)
        self.static = environment.open_db(static_name)

    def change(self, transaction: "Transaction", entries: Mapping[bytes, bytes | None]) -> None:
        """Store entries of the cluster. An entry whose value is None is deleted.

        If a static entry has the key of a deleted entry, readers see the static entry again.
        """
        for key, value in entries.items():
            now = value
            static = transaction.get(key, db=self.static)
            if static is not None:
                now = static[1:] if value is None else value
                transaction.put(key, (BARE if value is None else COVERED) + static[1:], db=self.static)
            if now is None:
                transaction.delete(key, db=self.database)
            else:
                transaction.put(key, now, db=self.database)

    def revise(self, transaction: "Transaction", revised: Callable[[bytes], bytes]) -> None:
        """Replace each value of the cluster by the result of `revised`. The result must have the same length."""
        bare = {key for key, entry in transaction.cursor(db=self.static) if entry[:1] == BARE}
        cursor = transaction.cursor(db=self.database)
        found = cursor.first()
        while found:
            key, old = cursor.item()
            if key not in bare and (new := revised(old)) != old:
                cursor.put(key, new)
            found = cursor.next()

    def replace_static(self, transaction: "Transaction", entries: Mapping[bytes, bytes]) -> None:
        """Replace all static entries by `entries`. The cluster's entries don't change."""
        for key, entry in list(transaction.cursor(db=self.static)):
            if key not in entries:
                transaction.delete(key, db=self.static)
                if entry[:1] == BARE:
                    transaction.delete(key, db=self.database)
        items = sorted(entries.items())
        if not any(transaction.stat(each)["entries"] for each in (self.static, self.database)):
            # The layer is empty, so no entry has to be compared. For 200,000 entries, this takes a fifth of the time.
            transaction.cursor(db=self.static).putmulti([(key, BARE + value) for key, value in items])
            transaction.cursor(db=self.database).putmulti(items)
            return
        for key, value in items:
            old = transaction.get(key, db=self.static)
            if old is not None:
                flag = old[:1]
            else:
                flag = BARE if transaction.get(key, db=self.database) is None else COVERED
            if old != flag + value:
                transaction.put(key, flag + value, db=self.static)
                if flag == BARE:
                    transaction.put(key, value, db=self.database)

    def clear(self, transaction: "Transaction") -> None:
        """Delete all entries, including static entries."""
        transaction.drop(self.database, delete=False)
        transaction.drop(self.static, delete=False)


class Replacement:
    """Replaces all the cluster's entries in one layer, piece by piece within one transaction.

    Only values that differ are written, because every written page costs memory and time.
    """

    def __init__(self, layer: Layer, transaction: "Transaction") -> None:
        self._layer = layer
        self._transaction = transaction
        self._static = set(transaction.cursor(db=layer.static).iternext(values=False))
        # True if the layer has only static entries, as at the first start. Then the cluster has no old entries, so no
        # entry must be compared or deleted.
        self._is_first = self._count() == len(self._static)
        # Keys of the new entries. If `_is_first` is true, only the keys that static entries have, too.
        self._keys: set[bytes] = set()

    def put(self, entries: dict[bytes, bytes]) -> None:
        """Put some of the new entries into the layer."""
        covering = entries.keys() & self._static
        cursor = self._transaction.cursor(db=self._layer.database)
        changed: Iterable[bytes] = entries
        if not self._is_first:
            changed = [key for key, value in entries.items() if cursor.get(key) != value]
        cursor.putmulti([(key, entries[key]) for key in sorted(changed)])
        self._layer.change(self._transaction, {key: entries[key] for key in covering})
        self._keys.update(covering if self._is_first else entries)

    def finish(self, keeps: Callable[[bytes, bytes], bool] | None = None) -> None:
        """Delete the cluster's old entries whose keys the new entries don't have.

        An old entry stays if `keeps` returns True for it.
        """
        self._layer.change(self._transaction, dict.fromkeys(self._static - self._keys))
        self._keys |= self._static
        if not self._is_first and self._count() > len(self._keys):
            _delete_others(self._transaction.cursor(db=self._layer.database), self._keys, keeps)

    def _count(self) -> int:
        return self._transaction.stat(self._layer.database)["entries"]


def _delete_others(cursor: "Cursor", keep: set[bytes], keeps: Callable[[bytes, bytes], bool] | None) -> None:
    found = cursor.first()
    while found:
        stays = cursor.key() in keep or (keeps is not None and keeps(*cursor.item()))
        # `delete` also moves the cursor to the next entry.
        found = cursor.next() if stays else cursor.delete() and bool(cursor.key())
