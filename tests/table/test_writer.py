"""The table's file grows while workers read it, survives restarts but not a reboot, and forgets dead readers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pydns.table import state_dir as directory_module
from pydns.table import writer as writer_module
from pydns.table.layout import FORMAT, Changes, Contents, Facts
from pydns.table.writer import Writer

_FACTS = Facts(FORMAT, b"\1c\0", [], 1, True, 5)

# A line on stdin begins a transaction. The program then prints the number of answers and the octets of their values.
# The next line ends the transaction. This is a separate process because LMDB lets a process open a table only once.
_READER = """
import sys
from pathlib import Path
from pydns.table.reader import Reader

reader = Reader(Path(sys.argv[1]))
print("open", flush=True)
for _ in sys.stdin:
    transaction = reader.transaction()
    values = [value for _, value in reader.items(transaction)]
    print(len(values), sum(map(len, values)), flush=True)
    sys.stdin.readline()
    transaction.abort()
"""


class ReaderProcess:
    """A process that reads a table, as a worker does."""

    def __init__(self, state_dir: Path) -> None:
        command = [sys.executable, "-c", _READER, str(state_dir)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "open"

    def begin(self) -> tuple[int, int]:
        """Begin a transaction. Return the number of answers and the octets of all their values."""
        self._send()
        answers, octets = self._line().split()
        return int(answers), int(octets)

    def end(self) -> None:
        """End the transaction."""
        self._send()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _send(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def reading(state_dir: Path) -> Iterator[ReaderProcess]:
    process = ReaderProcess(state_dir)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def writing(state_dir: Path) -> Iterator[Writer]:
    writer = Writer(state_dir, _FACTS)
    try:
        yield writer
    finally:
        writer.close()


def _answers(count: int, octets: int) -> dict[bytes, bytes]:
    return {b"%d" % number: bytes(octets) for number in range(count)}


def _commit(writer: Writer, answers: dict[bytes, bytes]) -> None:
    writer.commit(Changes({**answers}, {}), _FACTS)


def _replace(writer: Writer, answers: dict[bytes, bytes]) -> None:
    writer.replace(lambda: [Contents({key: value}, {}) for key, value in answers.items()], _FACTS)


@pytest.mark.parametrize("write", [_commit, _replace])
def test_a_reader_sees_all_answers_of_a_table_that_has_grown(
    write: Callable[[Writer, dict[bytes, bytes]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_FIRST_SIZE", 256 << 10)
    with writing(tmp_path) as writer:
        write(writer, _answers(10, 1000))
        with reading(tmp_path) as reader:
            assert reader.begin() == (10, 10_000)
            reader.end()
            # LMDB maps at least 10 MiB for a reader, so the table must become larger than that.
            write(writer, _answers(200, 100_000))
            assert writer.figures()["bytes"] > 20_000_000
            assert reader.begin() == (200, 20_000_000)
            reader.end()
            write(writer, _answers(400, 100_000))
            assert reader.begin() == (400, 40_000_000)


def test_a_table_keeps_its_answers_until_the_machine_reboots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot_id = tmp_path / "random_boot_id"
    monkeypatch.setattr(directory_module, "_BOOT_ID", boot_id)
    found = []
    for boot in ("first", "first", "second", "second"):
        boot_id.write_text(f"{boot}\n")
        with writing(tmp_path / "state") as writer:
            found.append((boot, writer.figures()["answers"], writer.is_whole()))
            if len(found) == 1:
                _replace(writer, _answers(3, 10))
    assert found == [("first", 0, False), ("first", 3, True), ("second", 0, False), ("second", 0, False)]


def test_readers_are_counted_by_process(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        assert writer.figures()["readers"] == 0
        with reading(tmp_path) as first, reading(tmp_path) as second:
            first.begin()
            first.end()
            second.begin()
            assert writer.figures()["readers"] == 2


def test_a_dead_reader_pins_old_pages_until_its_slot_is_freed(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, reading(tmp_path) as alive:
        _commit(writer, _answers(100, 10_000))
        with reading(tmp_path) as dead:
            dead.begin()
        alive.begin()
        alive.end()
        assert writer.figures()["readers"] == 2
        assert _growth(writer) > 5_000_000
        assert writer.free_dead_readers() == 1
        assert writer.figures()["readers"] == 1
        assert alive.begin() == (100, 1_000_000)
        alive.end()
        assert _growth(writer) < 3_000_000


def _growth(writer: Writer) -> int:
    """Return by how many octets the table grows if 1 MB is written ten times."""
    before = writer.figures()["bytes"]
    for _ in range(10):
        _commit(writer, _answers(100, 10_000))
    return writer.figures()["bytes"] - before
