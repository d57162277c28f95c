"""A configuration's file or folder is delivered at the start, and again within a second of every change."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pydns.config import inputs
from pydns.config.model import Config
from pydns.config.read import Accepted, Refused
from pydns.control import config_file
from pydns.control.config_file import ConfigFile, read_path
from pydns.control.config_source import Seen
from tests.waiting import PATIENCE_S


class Watched(ConfigFile):
    """A path whose thread never runs, so that the test decides when the path is read."""

    def __init__(self, path: Path) -> None:
        self.told: list[Seen] = []
        super().__init__(path, self.told.append, look_s=3600)
        self.poll = self.watch.poll
        self.watch.read_all()

    def settle(self) -> None:
        """Look at the path often enough that a change is accepted."""
        self.poll()
        self.poll()

    def ttls(self) -> list[int | str | None]:
        """Return the delivered TTLs: "absent" if there was no configuration, "refused" if it had a mistake."""
        return [_short(seen) for seen in self.told]


def _short(seen: Seen) -> int | str | None:
    if isinstance(seen.result, Refused):
        return "refused"
    return seen.result.config.ttl_s if seen.exists else "absent"


class Mounted:
    """The volume of a ConfigMap, written as the kubelet writes it (pkg/volume/util/atomic_writer.go)."""

    def __init__(self, folder: Path, data: dict[str, str]) -> None:
        self._folder = folder
        self._number = 0
        folder.mkdir()
        self.update(data)

    def update(self, data: dict[str, str], between: Callable[[], None] = lambda: None) -> None:
        """Write a new folder, swap the `..data` link to it, and remove the old folder."""
        self._number += 1
        new = self._folder / f"..2026_11_24_{self._number}"
        new.mkdir()
        for key, text in data.items():
            (new / key).write_text(text)
        between()
        link = self._folder / "..data"
        before = link.readlink() if link.is_symlink() else None
        temporary = self._folder / "..data_tmp"
        temporary.symlink_to(new.name)
        temporary.rename(link)
        for key in data:
            if not (self._folder / key).is_symlink():
                (self._folder / key).symlink_to(Path("..data", key))
        for each in list(self._folder.iterdir()):
            if not each.name.startswith("..") and each.name not in data:
                each.unlink()
        if before is not None:
            old = self._folder / before
            for each in old.iterdir():
                each.unlink()
            old.rmdir()


def test_a_mounted_configmap_is_followed_through_every_swap(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "config", {"config.yaml": "ttl: 10"})
    watched = Watched(tmp_path / "config")
    mounted.update({"config.yaml": "ttl: 20"})
    watched.settle()
    mounted.update({"config.yaml": "ttl: 30", "stubDomains": "{}"})
    watched.settle()
    mounted.update({"stubDomains": "["})
    watched.settle()
    mounted.update({})
    watched.settle()

    assert watched.ttls() == [10, 20, 30, "refused", None]


def _server(ttl_s: int) -> str:
    return f"cluster.local {{\n kubernetes cluster.local {{\n  ttl {ttl_s}\n }}\n}}"


def test_imports_in_a_subfolder_with_a_second_configmap_are_followed(tmp_path: Path) -> None:
    Mounted(tmp_path / "config", {"Corefile": "import /etc/coredns/custom/*.server"})
    custom = Mounted(tmp_path / "config/custom", {"corp.server": _server(10)})
    watched = Watched(tmp_path / "config")
    custom.update({"corp.server": _server(20)})
    watched.settle()
    custom.update({"corp.server": _server(20), "Corefile": "nonsense", "config.yaml": "ttl: 5"})
    watched.settle()
    custom.update({"corp.server": "nonsense"})
    watched.settle()

    assert watched.ttls() == [10, 20, "refused"]


def test_a_file_in_the_folder_itself_wins_over_one_in_a_subfolder(tmp_path: Path) -> None:
    Mounted(tmp_path / "config", {"Corefile": "import custom/corp.server", "corp.server": _server(10)})
    Mounted(tmp_path / "config/custom", {"corp.server": _server(20)})
    assert Watched(tmp_path / "config").ttls() == [10]


def test_a_subfolder_that_is_no_mounted_configmap_is_left_out(tmp_path: Path) -> None:
    Mounted(tmp_path / "config", {"Corefile": "import corp.server"})
    for folder in ("a-large-one", "many-files", "z"):
        (tmp_path / "config" / folder).mkdir()
        (tmp_path / "config" / folder / "corp.server").write_text(_server(10 if folder == "z" else 20))
    os.truncate(tmp_path / "config/a-large-one/corp.server", inputs.MAX_OCTETS)
    for number in range(1000):
        (tmp_path / "config/many-files" / str(number)).touch()
    assert Watched(tmp_path / "config").ttls() == [10]


def test_subfolders_beside_a_config_yaml_are_not_read(tmp_path: Path) -> None:
    Mounted(tmp_path / "config", {"config.yaml": "ttl: 10\nhosts_files: [my.hosts]"})
    Mounted(tmp_path / "config/custom", {"my.hosts": "10.0.0.1 a.example"})
    assert Watched(tmp_path / "config").ttls() == ["refused"]


def test_one_file_of_a_mounted_configmap_is_followed_too(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "config", {"config.yaml": "ttl: 10"})
    watched = Watched(tmp_path / "config/config.yaml")
    mounted.update({"config.yaml": "ttl: 20"})
    watched.settle()

    assert watched.ttls() == [10, 20]


def test_a_mix_of_old_and_new_files_is_never_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "config"
    mounted = Mounted(folder, {"config.yaml": "ttl: 1", "upstreamNameservers": '["10.0.0.1"]'})
    watched = Watched(folder)
    mounted.update({"config.yaml": "ttl: 2", "upstreamNameservers": '["10.0.0.2"]'})
    watched.poll()
    read = config_file._octets

    def read_and_swap(path: Path) -> bytes:
        raw = read(path)
        if path.name == "config.yaml":
            mounted.update({"config.yaml": "ttl: 3", "upstreamNameservers": '["10.0.0.3"]'})
        return raw

    monkeypatch.setattr(config_file, "_octets", read_and_swap)
    watched.poll()
    monkeypatch.undo()
    watched.settle()

    assert watched.ttls() == [1, 3]


def test_edits_renames_and_deletions_are_delivered(tmp_path: Path) -> None:
    path = tmp_path / "dns.yaml"
    path.write_text("ttl: 10")
    watched = Watched(path)
    path.write_text("ttl: 20")
    watched.settle()
    (tmp_path / "new").write_text("ttl: 30")
    (tmp_path / "new").rename(path)
    watched.settle()
    path.unlink()
    watched.settle()
    path.write_text("ttl: x")
    watched.settle()

    assert watched.ttls() == [10, 20, 30, "absent", "refused"]


def test_a_change_is_delivered_when_two_looks_in_a_row_see_it(tmp_path: Path) -> None:
    path = tmp_path / "dns.yaml"
    path.write_text("ttl: 10")
    watched = Watched(path)
    watched.settle()
    path.unlink()  # some editors delete the file before they rename the new one
    watched.poll()
    path.write_text("ttl: 2")
    watched.poll()
    path.write_text("ttl: 20")
    watched.poll()
    assert watched.ttls() == [10]
    watched.poll()

    assert watched.ttls() == [10, 20]


def test_an_edit_that_changes_no_value_is_not_delivered(tmp_path: Path) -> None:
    path = tmp_path / "dns.yaml"
    path.write_text("ttl: 10")
    watched = Watched(path)
    watched.settle()
    path.write_text("# a comment\nttl: 10")
    watched.settle()

    assert watched.ttls() == [10]


@pytest.mark.parametrize("path", ["gone", "gone/dns.yaml", "file/dns.yaml"])
def test_a_missing_path_gives_the_defaults(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("")

    assert Watched(tmp_path / path).told == [Seen(Accepted(Config()), exists=False)]


def test_an_unreadable_path_is_a_problem_and_keeps_the_last_values(tmp_path: Path) -> None:
    path = tmp_path / "dns.yaml"
    path.write_text("ttl: 10")
    watched = Watched(path)
    path.unlink()
    os.mkfifo(path)
    watched.settle()
    assert watched.problem() == f"{path}: is neither a file nor a folder"
    path.unlink()
    path.symlink_to(path.name)
    watched.settle()
    assert watched.problem() == f"{path}: Too many levels of symbolic links"
    assert watched.ttls() == [10]

    path.unlink()
    path.write_text("ttl: 20")
    watched.settle()
    assert watched.problem() is None
    assert watched.ttls() == [10, 20]


def test_files_with_unknown_names_are_reported_but_not_read(tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_bytes(b"\xff")
    (tmp_path / "config.yaml").write_text("ttl: 10")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "folder").mkdir()
    result = read_path(tmp_path)

    assert isinstance(result, Accepted)
    assert [str(notice) for notice in result.notices] == ['"Corefile": ignored: the other keys are the configuration']


def test_a_swap_is_delivered(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "config", {"config.yaml": "ttl: 10"})
    told: list[Seen] = []
    changed = threading.Event()

    def deliver(seen: Seen) -> None:
        told.append(seen)
        if len(told) == 2:
            changed.set()

    file = ConfigFile(tmp_path / "config", deliver)
    file.start()
    try:
        mounted.update({"config.yaml": "ttl: 20"})
        assert changed.wait(PATIENCE_S)
    finally:
        file.stop()
    assert [_short(seen) for seen in told] == [10, 20]


def test_a_look_that_finds_a_change_asks_for_another_one_soon(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("ttl: 10")
    watched = Watched(path)
    watched.settle()
    assert not watched.poll()
    path.write_text("ttl: 200")
    assert watched.poll()  # another look must find the same state
    assert watched.poll()  # now the change took effect
    assert not watched.poll()
    assert watched.ttls() == [10, 200]
