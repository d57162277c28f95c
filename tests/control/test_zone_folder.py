"""A folder of zone files delivers its zones, and later changes within a second."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pydns.control import file_watch
from pydns.control.source import SourceError
from pydns.control.zone_folder import ZoneFolder
from pydns.dns.name import to_text
from pydns.zones.compile import CompiledZone
from tests.fakes.log import RecordedLog


def zone(serial: int, more: str = "") -> str:
    return f"@ 60 SOA ns admin {serial} 2 3 4 5\n@ 60 NS ns\n{more}\n"


class Folder(ZoneFolder):
    """A folder whose thread never runs, so that the test decides when the folder is read."""

    def __init__(self, directory: Path) -> None:
        self.log = RecordedLog()
        self.changes = 0
        super().__init__(directory, self._count, self.log, look_s=3600)
        self.poll = self.watch.poll

    def start(self) -> None:
        """Read the folder in the thread of the test."""
        self.read()
        assert self.changes == 1
        self.changes = 0

    def zones(self) -> dict[str, CompiledZone]:
        found = super().zones()
        assert found is not None
        return found

    def _count(self) -> None:
        self.changes += 1

    def settle(self) -> None:
        """Look at the folder often enough that a change is accepted."""
        self.poll()
        self.poll()

    def serials(self) -> dict[str, int]:
        return {Path(file).name: each.serial for file, each in self.zones().items()}

    def mistakes(self) -> list[str]:
        return self.log.lines("zone file has", "zone file accepted")


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Callable[[], Folder]]:
    opened: list[Folder] = []

    def start() -> Folder:
        folder = Folder(tmp_path)
        opened.append(folder)
        folder.start()
        return folder

    yield start
    for folder in opened:
        folder.stop()


def test_zone_files_are_read_in_sub_folders_too_and_nothing_else(
    tmp_path: Path, open_folder: Callable[[], Folder]
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.example.zone").write_text(zone(1))
    (tmp_path / "deep" / "b.example.zone").write_text(zone(2))
    for other in ("c.example.zone~", ".d.example.zone", "e.txt"):
        (tmp_path / other).write_text(zone(3))
    assert open_folder().serials() == {"a.example.zone": 1, "b.example.zone": 2}


def test_edits_new_files_renames_and_deletions_are_noticed(tmp_path: Path, open_folder: Callable[[], Folder]) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone(1))
    folder = open_folder()
    folder.settle()
    assert folder.changes == 0
    path.write_text(zone(2))
    (tmp_path / "b.zone").write_text(zone(5))
    folder.settle()
    assert folder.serials() == {"a.zone": 2, "b.zone": 5}
    (tmp_path / "a.zone.new").write_text(zone(3))
    (tmp_path / "a.zone.new").rename(path)
    folder.settle()
    assert folder.serials() == {"a.zone": 3, "b.zone": 5}
    path.unlink()
    folder.settle()
    assert folder.serials() == {"b.zone": 5}
    assert folder.changes == 3


def test_a_change_waits_until_two_looks_in_a_row_see_it(tmp_path: Path, open_folder: Callable[[], Folder]) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone(1))
    folder = open_folder()
    folder.settle()
    path.unlink()
    folder.poll()
    path.write_text(zone(2))
    folder.poll()
    assert folder.serials() == {"a.zone": 1}
    folder.poll()
    assert folder.serials() == {"a.zone": 2}


def test_a_swap_of_a_mounted_configmap_is_noticed(tmp_path: Path, open_folder: Callable[[], Folder]) -> None:
    for serial in (1, 2):
        (tmp_path / f"..{serial}").mkdir()
        (tmp_path / f"..{serial}" / "a.zone").write_text("$INCLUDE soa.inc\n@ 60 NS ns")
        (tmp_path / f"..{serial}" / "soa.inc").write_text(f"@ 60 SOA ns admin {serial} 2 3 4 5")
    (tmp_path / "..data").symlink_to("..1")
    for file in ("a.zone", "soa.inc"):
        (tmp_path / file).symlink_to(f"..data/{file}")
    folder = open_folder()
    assert folder.serials() == {"a.zone": 1}
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    folder.settle()
    assert folder.serials() == {"a.zone": 2}


def test_a_change_of_an_included_file_reloads_the_zone(tmp_path: Path, open_folder: Callable[[], Folder]) -> None:
    (tmp_path / "a.zone").write_text(zone(1, "$INCLUDE www.inc"))
    folder = open_folder()
    assert folder.mistakes() == [
        f"zone file has a mistake problem={tmp_path}/a.zone:3: $INCLUDE www.inc: no such file "
        "action=left out until corrected"
    ]
    (tmp_path / "www.inc").write_text("www 60 A 192.0.2.1")
    folder.settle()
    assert [each.records for each in folder.zones().values()] == [3]
    (tmp_path / "www.inc").write_text("www 60 A 192.0.2.1\nwww 60 A 192.0.2.2")
    folder.settle()
    assert [each.records for each in folder.zones().values()] == [4]


@pytest.mark.parametrize("wanted", ["../secret", "/etc/hostname", "link", "{outside}"])
def test_an_included_file_must_lie_in_the_folder(wanted: str, tmp_path: Path) -> None:
    folder_path = tmp_path / "zones"
    folder_path.mkdir()
    (tmp_path / "secret").write_text("www 60 A 192.0.2.1")
    (folder_path / "link").symlink_to(tmp_path / "secret")
    (folder_path / "a.zone").write_text(zone(1, "$INCLUDE " + wanted.format(outside=tmp_path / "secret")))
    folder = Folder(folder_path)
    folder.start()
    folder.stop()
    assert folder.zones() == {}
    assert f"lies outside of {folder_path}" in folder.mistakes()[0]


def test_after_a_mistake_the_previous_zone_is_kept_and_one_line_is_logged(
    tmp_path: Path, open_folder: Callable[[], Folder]
) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone(1))
    folder = open_folder()
    path.write_text(zone(2, "www 60 A 192.0.2.300"))
    folder.settle()
    folder.settle()
    problem = f"{path}:3: www 60 A 192.0.2.300: Text input is malformed."
    assert folder.serials() == {"a.zone": 1}
    assert folder.mistakes() == [f"zone file has a mistake problem={problem} action=keeping the last good state"]
    (status,) = folder.status()
    assert [str(mistake) for mistake in status.mistakes] == [problem]
    path.write_text(zone(3))
    folder.settle()
    assert folder.serials() == {"a.zone": 3}
    assert folder.mistakes()[1:] == [f"zone file accepted again file={path}"]
    assert folder.status()[0].mistakes == ()


def test_record_outside_of_its_zone_is_a_warning_that_is_logged_once(
    tmp_path: Path, open_folder: Callable[[], Folder]
) -> None:
    path = tmp_path / "a.example.zone"
    path.write_text(zone(1, "www.b.example. 60 A 192.0.2.1"))
    folder = open_folder()
    warning = f"{path}:3: www.b.example. is not in the zone a.example.; left out"
    logged = [f"zone file has a warning problem={warning} action=using the rest of the file"]
    assert (folder.serials(), folder.warnings(), folder.mistakes()) == ({path.name: 1}, (warning,), logged)
    path.write_text(zone(2, "www.b.example. 60 A 192.0.2.1"))
    folder.settle()
    assert (folder.serials(), folder.mistakes()) == ({path.name: 2}, logged)
    path.write_text(zone(3))
    folder.settle()
    assert folder.warnings() == ()


def test_a_deleted_file_has_no_mistakes(tmp_path: Path, open_folder: Callable[[], Folder]) -> None:
    (tmp_path / "a.zone").write_text("nonsense")
    folder = open_folder()
    (tmp_path / "a.zone").unlink()
    folder.settle()
    assert folder.status() == []


def test_text_that_is_not_utf_8_is_a_mistake(tmp_path: Path, open_folder: Callable[[], Folder]) -> None:
    (tmp_path / "a.zone").write_bytes(zone(1).encode() + b"\xff")
    assert "line 4 is not UTF-8" in open_folder().mistakes()[0]


def test_a_path_that_is_no_folder_is_refused_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as refused:
        ZoneFolder(tmp_path / "x", lambda: None, RecordedLog()).start()
    assert str(refused.value) == f"--zones {tmp_path}/x: No such file or directory; wanted a folder with *.zone files"


def test_an_edit_right_after_start_is_noticed_even_if_the_file_looks_the_same(
    tmp_path: Path, open_folder: Callable[[], Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zone"
    path.write_text(zone(1))

    def same_tick(folder: Path, endings: tuple[str, ...], found: dict[Path, Any], _: object) -> Iterator[Any]:
        found[path] = (1, 2, 3, 4)
        yield from ()

    monkeypatch.setattr(file_watch, "scan", same_tick)
    folder = open_folder()
    path.write_text(zone(2))
    folder.settle()
    assert folder.serials() == {"a.zone": 2}


@pytest.mark.parametrize(
    ("refused", "problem"), [("a.zone", ": can't be read"), ("www.inc", ":3: $INCLUDE www.inc: can't be read")]
)
def test_an_unreadable_file_is_read_as_soon_as_possible(
    refused: str,
    problem: str,
    tmp_path: Path,
    open_folder: Callable[[], Folder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.zone").write_text(zone(1, "$INCLUDE www.inc"))
    (tmp_path / "www.inc").write_text("www 60 A 192.0.2.1")
    open_path = Path.open

    def refuse(path: Path, mode: str) -> Any:
        if path.name == refused:
            raise OSError(5, "Input/output error")
        return open_path(path, mode)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        folder = open_folder()
        folder.settle()
    assert folder.mistakes() == [
        f"zone file has a mistake problem={tmp_path}/a.zone{problem}: Input/output error "
        "action=left out until corrected"
    ]
    folder.settle()
    assert folder.serials() == {"a.zone": 1}


def test_the_thread_notices_an_edit(tmp_path: Path) -> None:
    changed = threading.Event()
    (tmp_path / "a.zone").write_text(zone(1))
    folder = ZoneFolder(tmp_path, changed.set, RecordedLog(), look_s=0.02)
    assert folder.zones() is None
    folder.start()
    assert changed.wait(10)
    changed.clear()
    (tmp_path / "a.zone").write_text(zone(2))
    assert changed.wait(10)
    folder.stop()
    assert [each.serial for each in (folder.zones() or {}).values()] == [2]


def test_the_zone_files_of_the_pydns_repository_have_no_mistakes() -> None:
    folder = Folder(Path(__file__).parents[2] / "zones")
    folder.start()
    folder.stop()
    assert folder.mistakes() == []
    assert len(folder.zones()) == 98  # there are 33 zones from RFC 6303, localhost, and 64 zones from RFC 7793
    assert all(Path(file).name == f"{to_text(each.facts.apex)}zone" for file, each in folder.zones().items())
