"""Lets tools read the table as if it had other static records and another configuration. Nothing is written.

The cluster's entries come from the table. They hide static entries with the same key, as in `pydns.table.layer`. The
overlay may show another TTL for the cluster's entries. The static entries come from the caller. Nothing is copied,
because a table may have hundreds of megabytes.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from pydns.dns.compiled import with_ttl
from pydns.table.layout import (
    BARE,
    MAX_DENIAL_S,
    STATIC_ANSWERS,
    STATIC_NAMES,
    Contents,
    Facts,
    ZoneFacts,
    with_static_zones,
)
from pydns.table.reader import Reader

if TYPE_CHECKING:
    import lmdb

    from pydns.table.reader import Cursor, Transaction


class _Layer:
    """One database of the table, and the static entries that the overlay shows instead of those in the table."""

    def __init__(
        self,
        database: Any,
        static: Any,
        entries: Mapping[bytes, bytes],
        revised: Callable[[bytes], bytes] = lambda value: value,
    ) -> None:
        """`revised(value)` returns the value that the overlay shows instead of a value of the cluster."""
        self.revised = revised
        self.database = database
        self.static = static
        self.entries = entries
        self.keys = sorted(entries)
        self.skips: dict[bytes, bytes] = {}  # hidden key -> the next key that isn't hidden, or empty


class Overlay(Reader):
    """A reader whose transactions show other static entries. Its cursors have only the methods of `_Cursor`."""

    def __init__(
        self,
        reader: Reader,
        contents: Contents,
        zones: Sequence[ZoneFacts],
        config: bytes,
        ttls: tuple[int, int] | None = None,
    ) -> None:
        """`zones` are the zones of the static records `contents`. `reader` must stay open.

        `ttls` contains the TTL of all records of the cluster, and then the TTL that the overlay shows instead.
        """
        self._environment = reader._environment
        self._facts_db = reader._facts_db
        self.answers, self.names = reader.answers, reader.names
        self._contents = contents
        self._zones = tuple(zones)
        self._config = config
        statics = [self._open_db(each) for each in (STATIC_ANSWERS, STATIC_NAMES)]
        databases = (self.answers, self.names)
        self._layers = [_Layer(*each) for each in zip(databases, statics, contents, strict=True)]
        self._ttls = ttls
        if ttls is not None:
            self._layers[0].revised = partial(with_ttl, before_s=ttls[0], ttl_s=ttls[1])
        self._commit = -1

    def transaction(self) -> "Transaction":
        """Begin a read transaction, for use with `with`."""
        return self.over(super().transaction())

    def over(self, transaction: "Transaction") -> "Transaction":
        """Return the overlay's transaction for a transaction of the reader."""
        if transaction.id() != self._commit:
            self._commit = transaction.id()
            for layer in self._layers:
                layer.skips.clear()
        return cast("Transaction", _Transaction(transaction, self._layers))

    def facts(self, transaction: "Transaction") -> Facts:
        """Return the facts in the transaction's commit, with the overlay's static zones."""
        facts = super().facts(transaction)
        of_cluster = [zone for zone in facts.zones if not zone.is_static]
        if self._ttls is not None:
            ttl_s = self._ttls[1]
            # `pydns.kube.zone.facts` computes the same TTLs.
            of_cluster = [
                msgspec.structs.replace(zone, ttl_s=min(ttl_s, MAX_DENIAL_S), minimum_s=ttl_s) for zone in of_cluster
            ]
            facts = msgspec.structs.replace(facts, ttl_s=ttl_s)
        return msgspec.structs.replace(facts, zones=with_static_zones(of_cluster, self._zones))

    def config(self, transaction: "Transaction") -> bytes:
        """Return the configuration of the overlay."""
        return self._config

    def is_static(self, key: bytes, transaction: "Transaction") -> bool:
        """Return whether the answer with this key is a static entry of the overlay, not an entry of the cluster."""
        return key in self._contents.answers and cast("_Transaction", transaction).of_cluster(key) is None


class _Transaction:
    """A transaction, as the overlay shows it."""

    def __init__(self, base: "Transaction", layers: Sequence[_Layer]) -> None:
        self._base = base
        self._layers = layers

    def __enter__(self) -> Self:
        self._base.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.__exit__(kind, error, trace)

    def id(self) -> int:
        return self._base.id()

    def get(self, key: bytes, default: bytes | None = None, db: Any = None) -> bytes | None:
        layer = self._layer(db)
        if layer is None:  # the facts
            return self._base.get(key, default, db=db)
        value = self.of_cluster(key, layer)
        return layer.entries.get(key, default) if value is None else value

    def of_cluster(self, key: bytes, layer: _Layer | None = None) -> bytes | None:
        """Return the cluster's value for a key, or None. Without `layer`, the key is that of an answer."""
        layer = layer or self._layers[0]
        value = self._base.get(key, db=layer.database)
        is_hidden = value is not None and _is_bare(self._base, layer, key)
        return None if is_hidden or value is None else layer.revised(value)

    def cursor(self, db: Any = None) -> "Cursor":
        layer = self._layer(db)
        assert layer is not None
        return cast("Cursor", _Cursor(self._base, layer))

    def _layer(self, db: Any) -> _Layer | None:
        if db is None:
            return self._layers[0]
        return next((each for each in self._layers if each.database is db), None)


class _Cursor:
    """A cursor on the entries of the cluster and the static entries."""

    def __init__(self, base: "lmdb.Transaction[bytes]", layer: _Layer) -> None:
        self._base = base
        self._layer = layer
        self._cursor = base.cursor(db=layer.database)
        self._item = b"", b""

    def set_range(self, key: bytes) -> bool:
        """Go to the first entry whose key is `key` or greater. Return whether there is one."""
        layer = self._layer
        at = bisect_left(layer.keys, key)
        static = layer.keys[at] if at < len(layer.keys) else b""
        found = self._of_cluster_from(key)
        if found and (not static or found <= static):
            self._item = found, layer.revised(self._cursor.value())
        else:
            self._item = static, layer.entries.get(static, b"")
        return bool(self._item[0])

    def _of_cluster_from(self, key: bytes) -> bytes:
        """Go to the cluster's first entry whose key is `key` or greater. Return its key, or an empty one.

        The result is also empty if a static entry of the table comes first and the overlay has a static entry with the
        same key. Then the caller uses the overlay's entry.
        """
        cursor, layer = self._cursor, self._layer
        found = cursor.key() if cursor.set_range(key) else b""
        passed = []
        while found and _is_bare(self._base, layer, found) and found not in layer.entries:
            after = layer.skips.get(found)
            if after is not None:
                found = after
                break
            passed.append(found)
            found = cursor.key() if cursor.next() else b""
        if found and cursor.key() != found:
            cursor.set_key(found)
        # After a file of hosts is removed, 100,000 hidden entries may be in a row. `skips` lets cursors jump over them.
        layer.skips.update(dict.fromkeys(passed, found))
        if found and found in layer.entries and _is_bare(self._base, layer, found):
            return b""
        return found

    def set_key(self, key: bytes) -> bool:
        """Go to the entry with this key. Return whether there is one."""
        return self.set_range(key) and self._item[0] == key

    def next(self) -> bool:
        """Go to the next entry. Return whether there is one."""
        return self.set_range(self._item[0] + b"\0")

    def key(self) -> bytes:
        return self._item[0]

    def value(self) -> bytes:
        return self._item[1]

    def item(self) -> tuple[bytes, bytes]:
        return self._item


def _is_bare(transaction: "lmdb.Transaction[bytes]", layer: _Layer, key: bytes) -> bool:
    """Return whether an entry of the table is a static one."""
    return transaction.get(key, b"", db=layer.static)[:1] == BARE
