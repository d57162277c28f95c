"""pydns handles bad disks and bad state directories.

A damaged table is deleted once. A full disk doesn't damage the table. A directory of another user is refused.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pydns.table.layout import FORMAT, Changes, Contents, Facts, ZoneFacts, file_in
from pydns.table.state_dir import damage
from pydns.table.writer import Writer, WriterError
from tests.small_disk import on_a_small_disk

_FACTS = Facts(FORMAT, b"\1c\0", [ZoneFacts(b"\1c\0", b"\0", b"\0", 5, 5)], 1, True, 5)
_ENTRIES = {b"key %d" % number: b"value %d" % number * 20 for number in range(2000)}


def _overwrite(octets: bytes) -> Callable[[Path], None]:
    def overwrite(table: Path) -> None:
        with table.open("r+b") as file:
            file.seek(8192)
            file.write(octets)

    return overwrite


def _replace_by_link(table: Path) -> None:
    table.unlink()
    table.symlink_to("/dev/zero")


def _replace_by_folder(table: Path) -> None:
    table.unlink()
    table.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: os.truncate(table, 8192),
        lambda table: os.truncate(table, 20480),
        lambda table: table.write_bytes(bytes(100_000)),
        lambda table: table.write_bytes(os.urandom(100_000)),
        lambda table: table.write_bytes(b"\xff" * 5),
        _overwrite(b"\xff" * 65536),
        _overwrite(bytes(65536)),
        _overwrite(os.urandom(65536)),
        _replace_by_link,
        _replace_by_folder,
    ],
)
def test_a_damaged_table_is_deleted_once(damage: Callable[[Path], None], tmp_path: Path) -> None:
    writer = Writer(tmp_path, _FACTS)
    assert writer.thrown_away == ""
    writer.replace(lambda: [Contents(_ENTRIES, {})], _FACTS)
    writer.close()
    damage(file_in(tmp_path))

    writer = Writer(tmp_path, _FACTS)
    assert writer.thrown_away
    assert not writer.is_whole()
    writer.replace(lambda: [Contents(_ENTRIES, {})], _FACTS)
    writer.close()

    writer = Writer(tmp_path, _FACTS)
    assert writer.thrown_away == ""
    assert writer.figures()["answers"] == len(_ENTRIES)
    writer.close()


def test_a_short_check_reads_the_beginning_of_a_large_table(tmp_path: Path) -> None:
    writer = Writer(tmp_path, _FACTS)
    many = {b"key %d" % number: b"value" for number in range(50_000)}
    writer.replace(lambda: [Contents(many, {b"name 1": b"", b"name 2": b""})], _FACTS)
    writer.close()
    table = file_in(tmp_path)
    assert (damage(table), damage(table, 0.0)) == ("", "")
    table.write_bytes(table.read_bytes().replace(b"name 2", b"name 0"))
    assert damage(table, 0.0) == ""
    assert damage(table) == "the keys of names are out of order"


def test_an_empty_file_is_no_table_yet(tmp_path: Path) -> None:
    file_in(tmp_path).touch()
    writer = Writer(tmp_path, _FACTS)
    assert writer.thrown_away == ""
    writer.close()


@pytest.mark.parametrize("content", [b"another boot", b"\xff\xfe", None])
def test_a_table_without_the_mark_of_this_boot_is_not_used(content: bytes | None, tmp_path: Path) -> None:
    writer = Writer(tmp_path, _FACTS)
    writer.replace(lambda: [Contents(_ENTRIES, {})], _FACTS)
    writer.close()
    mark = tmp_path / "boot_id"
    mark.unlink()
    if content is None:
        mark.mkdir()
    else:
        mark.write_bytes(content)
    writer = Writer(tmp_path, _FACTS)
    assert not writer.is_whole()
    writer.close()


@pytest.mark.parametrize("name", ["boot_id", "lock", "table.mdb", "table.mdb-lock"])
def test_links_in_the_directory_are_not_followed(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("keep")
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    (state_dir / name).symlink_to(secret)
    Writer(state_dir, _FACTS).close()
    assert secret.read_text() == "keep"
    assert not (state_dir / name).is_symlink()


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(WriterError, match=f"--state-dir {tmp_path}: other users can write to it; wanted "):
        Writer(tmp_path, _FACTS)
    Writer(tmp_path / "made", _FACTS).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, -1)
    with pytest.raises(WriterError, match="belongs to user 12345; wanted user 0 or root"):
        Writer(tmp_path, _FACTS)


def test_replacing_the_contents_frees_the_extra_disk_space(tmp_path: Path) -> None:
    writer = Writer(tmp_path, _FACTS)
    large = {b"key %d" % number: bytes(2000) for number in range(20_000)}
    writer.replace(lambda: [Contents(large, {})], _FACTS)
    status = file_in(tmp_path).stat()
    assert writer.figures()["bytes"] > 40 << 20
    assert status.st_size <= writer.figures()["bytes"] * 1.3
    assert status.st_blocks * 512 >= status.st_size  # every block of the file is allocated
    writer.commit(Changes({b"another": bytes(30 << 20)}, {}), _FACTS)
    assert file_in(tmp_path).stat().st_size > status.st_size
    writer.close()


def test_an_error_of_a_full_disk_does_not_change_the_table() -> None:
    """Earlier, a full disk killed the process by SIGBUS."""
    said = on_a_small_disk(
        40,
        """
from pathlib import Path
from pydns.table.writer import DiskFullError
from tests.table.test_state_dir import *
from tests.table.test_state_dir import _FACTS, _ENTRIES
writer = Writer(Path("/mnt/state"), _FACTS)
writer.replace(lambda: [Contents(_ENTRIES, {})], _FACTS)
Path("/mnt/other").write_bytes(bytes(20 << 20))
large = {b"large %d" % number: bytes(2000) for number in range(8000)}
for _ in range(2):
    for write in (lambda: writer.replace(lambda: [Contents(_ENTRIES | large, {})], _FACTS),
                  lambda: writer.commit(Changes({**large}, {}), _FACTS)):
        try:
            write()
        except DiskFullError as error:
            print(error)
    writer.put_status(b"{}")
    print(writer.figures()["answers"])
    Path("/mnt/other").unlink(missing_ok=True)
""",
    )
    lines = said.splitlines()
    reason = "--state-dir /mnt/state: the disk has no room for another 2304 KiB"
    assert lines[:3] == [reason, reason, str(len(_ENTRIES))]
    assert lines[-1] == str(len(_ENTRIES) + 8000)


def test_a_reader_follows_a_table_that_grows(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from pydns.table.reader import Reader
reader = Reader(Path(sys.argv[1]))
for _ in sys.stdin:
    with reader.transaction() as transaction:
        print(len(transaction.get(b"grown")), flush=True)
"""
    writer = Writer(tmp_path, _FACTS)
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for size in range(1, 60, 10):
            writer.commit(Changes({b"grown": bytes(size << 20)}, {}), _FACTS)
            print("read", file=reader.stdin, flush=True)
            assert int(reader.stdout.readline()) == size << 20
        writer.replace(lambda: [Contents({b"grown": b"small"}, {})], _FACTS)
        print("read", file=reader.stdin, flush=True)
        assert int(reader.stdout.readline()) == 5
        reader.stdin.close()
    writer.close()
