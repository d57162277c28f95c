"""A worker knows the names of clients while its query log is on, and reads them without delaying queries."""

from collections.abc import Callable
from pathlib import Path

from pydns.dns.address import parse_address
from pydns.serve import client_lookup
from pydns.serve.client_lookup import ClientLookup
from pydns.table.client_names import PodAddress, compose_slice, slice_key
from pydns.table.layout import FORMAT, Changes, Facts
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.serve.test_client_classes import in_fork

_FACTS = Facts(FORMAT, b"\1c\0", [], 1, True, 5)
_ADDRESS = parse_address("10.1.0.1")


class Loop:
    """An event loop that makes a due call only when the test calls `turn`."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def turn(self) -> float:
        """Make the next call. Return the delay that was asked for."""
        (seconds, call), *self.due = self.due
        call()
        return seconds


def _entries(count: int, pod: str) -> dict[bytes, bytes | None]:
    entries: dict[bytes, bytes | None] = {
        slice_key("a", f"s{number:04d}"): compose_slice([PodAddress(number.to_bytes(4), "p", "", "")])
        for number in range(count)
    }
    return entries | {slice_key("shop", "s"): compose_slice([PodAddress(_ADDRESS, pod, "n1", "")])}


def _commit(state_dir: Path, names: dict[bytes, bytes | None]) -> None:
    writer = Writer(state_dir, _FACTS)
    writer.commit(Changes({}, names), _FACTS)
    writer.close()


def _until_settled(loop: Loop) -> int:
    """Make calls until the lookup has nothing to read. Return the number of calls."""
    calls = 1
    loop.turn()
    while loop.due[0][0] < client_lookup._LOOK_S:
        loop.turn()
        calls += 1
    return calls


def test_names_are_read_in_pieces_and_again_after_a_change(tmp_path: Path) -> None:
    _commit(tmp_path, _entries(99, "web-0"))
    change = in_fork(lambda: _commit(tmp_path, _entries(99, "web-1")))
    loop = Loop()
    reader = Reader(tmp_path)
    lookup = ClientLookup(reader, loop.call_later)
    lookup.want(is_wanted=True)
    assert lookup.texts_of(_ADDRESS)[0] == "", "one piece has been read"
    assert _until_settled(loop) > 100 / client_lookup._PIECE
    assert lookup.texts_of(_ADDRESS)[0] == "shop/web-0"
    change()
    loop.turn()
    assert lookup.texts_of(_ADDRESS)[0] == "shop/web-0", "the new names have not been read completely"
    _until_settled(loop)
    assert lookup.texts_of(_ADDRESS)[0] == "shop/web-1"
    reader.close()


def test_without_a_change_nothing_is_read_again(tmp_path: Path) -> None:
    _commit(tmp_path, _entries(20, "web-0"))
    change = in_fork(lambda: _commit(tmp_path, {b"\1a": b""}))
    loop = Loop()
    reader = Reader(tmp_path)
    lookup = ClientLookup(reader, loop.call_later)
    lookup.want(is_wanted=True)
    _until_settled(loop)
    change()
    assert _until_settled(loop) == 1
    reader.close()


def test_a_log_that_is_turned_off_keeps_no_names(tmp_path: Path) -> None:
    _commit(tmp_path, _entries(20, "web-0"))
    loop = Loop()
    reader = Reader(tmp_path)
    lookup = ClientLookup(reader, loop.call_later)
    lookup.want(is_wanted=True)
    _until_settled(loop)
    lookup.want(is_wanted=False)
    assert lookup.texts_of(_ADDRESS)[0] == ""
    loop.turn()
    assert not loop.due
    lookup.want(is_wanted=True)
    _until_settled(loop)
    assert lookup.texts_of(_ADDRESS)[0] == "shop/web-0"
    reader.close()
