"""A reader of a table that grows."""

from pathlib import Path
from typing import Any

import lmdb
import pytest

from pydns.table.layout import Facts
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.subject import load


class Growing:
    """An LMDB environment whose file grows `times` times.

    It grows after its size was read and before the next transaction.
    """

    def __init__(self, environment: Any, times: int) -> None:
        self._environment = environment
        self._left = times

    def begin(self, db: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            raise lmdb.MapResizedError("the file has grown")
        return self._environment.begin(db=db)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._environment, attribute)


@pytest.mark.parametrize("times", [0, 1, 2, 7])
def test_a_reader_follows_a_file_that_grows_again_meanwhile(times: int, tmp_path: Path) -> None:
    facts: Facts = load([]).facts(serial=7, synced=True)
    Writer(tmp_path, facts).close()
    reader = Reader(tmp_path)
    environment: Any = Growing(reader._environment, times)
    reader._environment = environment
    with reader.transaction() as transaction:
        assert reader.facts(transaction).serial == 7
    reader.close()


def test_a_file_may_grow_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Writer(tmp_path, load([]).facts(serial=7, synced=True)).close()
    grown = iter([True, True, False])
    really_open = lmdb.open

    def opened(*arguments: Any, **options: Any) -> lmdb.Environment:
        if next(grown):
            raise lmdb.MapResizedError("the file has grown")
        return really_open(*arguments, **options)

    monkeypatch.setattr(lmdb, "open", opened)
    reader = Reader(tmp_path)
    with reader.transaction() as transaction:
        assert reader.facts(transaction).serial == 7
    reader.close()
