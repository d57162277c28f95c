"""A folder of manifests delivers its objects, and later changes within a second."""

import os
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pydns.config import selector
from pydns.control import file_watch, manifest_folder
from pydns.control.manifest_folder import ManifestFolder
from pydns.control.source import SourceError
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import RECORD_KINDS, Kind
from pydns.kube.objects import Ref, Service
from pydns.log import Level
from tests.fakes.log import RecordedLog
from tests.waiting import PATIENCE_S


class Told:
    """The events that a folder delivered and logged, and the Services that result from them."""

    def __init__(self) -> None:
        self.deliveries: list[list[Event]] = []
        self.log = RecordedLog()
        self.changed = threading.Event()

    def deliver(self, events: list[Event]) -> None:
        self.deliveries.append(events)
        self.changed.set()

    def services(self) -> dict[str, str]:
        """Return the Services after all deliveries, each with the last octet of its first ClusterIP."""
        known: dict[Ref, Any] = {}
        for event in [event for events in self.deliveries for event in events]:
            if isinstance(event, InitApply | Apply):
                known[event.observed.ref] = event.observed.value
            elif isinstance(event, Delete):
                del known[event.ref]
        return {each.name: f".{each.cluster_ips[0][3]}" for each in known.values() if isinstance(each, Service)}

    def mistakes(self) -> list[str]:
        return self.log.lines("manifest has", "manifest accepted")


class Folder(ManifestFolder):
    """A folder whose thread never runs, so that the test decides when the folder is read."""

    def __init__(self, directory: Path, told: Told, **options: Any) -> None:
        super().__init__(directory, told.deliver, told.log, look_s=3600, **options)
        self.poll = self.watch.poll

    def start(self) -> None:
        """Read the folder in the thread of the test."""
        self.read()

    def settle(self) -> None:
        """Look at the folder often enough that a change is accepted."""
        self.poll()
        self.poll()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def open_folder(tmp_path: Path, told: Told) -> Iterator[Callable[..., Folder]]:
    opened: list[Folder] = []

    def start(**options: Any) -> Folder:
        folder = Folder(tmp_path, told, **options)
        opened.append(folder)
        folder.start()
        return folder

    yield start
    for folder in opened:
        folder.stop()


def service(name: str, octet: int, labels: str = "{}") -> str:
    return f"""apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {labels}}}
spec:
  clusterIP: 10.96.1.{octet}
---
"""


BROKEN = service("ok", 9) + service("broken", 1).replace("10.96.1.1", "10.96.1.300")
BROKEN_REASON = "shop.yaml: document 2, line 7: Service default/broken: '10.96.1.300' is not an IP address"


def test_start_delivers_each_kind_in_full(tmp_path: Path, told: Told, open_folder: Callable[..., Folder]) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))
    folder = open_folder(clock=lambda: 12.5)
    (events,) = told.deliveries
    assert [event for event in events if not isinstance(event, InitApply)] == [
        event for kind in RECORD_KINDS for event in (Init(kind), InitDone(kind))
    ]
    assert [str(event.observed.ref) for event in events if isinstance(event, InitApply)] == [
        "Namespace default",
        "Service default/web",
    ]
    assert folder.status()[Kind.SERVICE] == (True, 1, None, 12.5, 12.5)
    assert folder.status()[Kind.POD] == (True, 0, None, 12.5, 12.5)


def test_nothing_is_synced_before_start(tmp_path: Path, told: Told) -> None:
    assert ManifestFolder(tmp_path, told.deliver, told.log).status()[Kind.SERVICE] == (False, 0, None, None, None)


def test_yaml_and_json_files_are_read_in_sub_folders_too_and_nothing_else(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a.yaml").write_text(service("a", 1))
    (tmp_path / "deep" / "b.yml").write_text(service("b", 2))
    (tmp_path / "deep" / "er" / "c.json").write_text(
        '\t{\n\t"apiVersion": "v1", "kind": "Service",\n\t"metadata": {"name": "c"}, "spec": {"clusterIP":"10.96.1.3"}}'
    )
    for other in ("notes.txt", "a.yaml~", ".a.yaml.swp", ".hidden.yaml", ".git/x.yaml"):
        (tmp_path / other).write_text(service("other", 4))
    open_folder()
    assert told.services() == {"a": ".1", "b": ".2", "c": ".3"}
    assert told.mistakes() == []


def test_the_last_file_wins_for_an_object_in_two_files(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "a.yaml").write_text(service("web", 1))
    (tmp_path / "b.yaml").write_text(service("web", 3) + service("web", 2))
    folder = open_folder()
    assert told.services() == {"web": ".2"}
    (tmp_path / "b.yaml").unlink()
    folder.settle()
    assert told.services() == {"web": ".1"}


def edit(path: Path) -> None:
    path.write_text(service("web", 2))


def edit_keeping_size_and_time(path: Path) -> None:
    times = path.stat()
    path.write_text(service("web", 2))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def rename_over(path: Path) -> None:
    path.with_name("new").write_text(service("web", 2))
    path.with_name("new").replace(path)


def delete_and_write_anew(path: Path) -> None:
    path.unlink()
    path.write_text(service("web", 2))


@pytest.mark.parametrize("change", [edit, edit_keeping_size_and_time, rename_over, delete_and_write_anew])
def test_edits_of_any_editor_take_effect(
    change: Callable[[Path], None], tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))
    (tmp_path / "other.yaml").write_text(service("other", 9))
    folder = open_folder()
    folder.settle()
    change(tmp_path / "shop.yaml")
    folder.settle()
    assert told.services() == {"web": ".2", "other": ".9"}
    (applied,) = told.deliveries[1]  # the delivery has only the change
    assert isinstance(applied, Apply)
    assert applied.observed.ref == Ref(Kind.SERVICE, "default", "web")


def test_edit_right_after_start_is_noticed_even_if_the_file_looks_the_same(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(service("web", 1))

    def same_tick(folder: Path, endings: tuple[str, ...], found: dict[Path, Any], _: object) -> Iterator[Any]:
        found[path] = (1, 2, 3, 4)
        yield from ()

    monkeypatch.setattr(file_watch, "scan", same_tick)
    folder = open_folder()
    path.write_text(service("web", 2))
    folder.settle()
    assert told.services() == {"web": ".2"}


def test_new_and_deleted_files_take_effect(tmp_path: Path, told: Told, open_folder: Callable[..., Folder]) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))
    folder = open_folder()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "new.yaml").write_text(service("new", 2))
    folder.settle()
    assert told.services() == {"web": ".1", "new": ".2"}
    (tmp_path / "shop.yaml").unlink()
    folder.settle()
    assert told.services() == {"new": ".2"}
    assert told.deliveries[-1] == [Delete(Ref(Kind.SERVICE, "default", "web"))]
    assert "manifests changed applied=0 deleted=1" in told.log.lines()


def test_a_mounted_configmap_changes_when_its_link_is_swapped(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    for version, octet in (("..v1", 1), ("..v2", 2)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "shop.yaml").write_text(service("web", octet))
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "shop.yaml").symlink_to("..data/shop.yaml")
    folder = open_folder()
    assert told.services() == {"web": ".1"}
    (tmp_path / "..next").symlink_to("..v2")
    (tmp_path / "..next").replace(tmp_path / "..data")
    folder.settle()
    assert told.services() == {"web": ".2"}


def test_an_edit_that_changes_no_object_delivers_nothing(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))
    folder = open_folder(clock=count(1.0).__next__)
    (tmp_path / "shop.yaml").write_text("# A comment.\n" + service("web", 1, "{more: labels}"))
    folder.settle()
    assert len(told.deliveries) == 1
    assert folder.status()[Kind.SERVICE].last_event == 1.0


def test_a_change_is_delivered_only_when_two_looks_in_a_row_see_it(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(service("web", 1))
    folder = open_folder()
    for half_done in (path.unlink, lambda: path.write_text(""), lambda: path.write_text("kind: Serv")):
        half_done()
        folder.poll()
    path.write_text(service("web", 2))
    folder.settle()
    assert [len(events) for events in told.deliveries[1:]] == [1]
    assert told.services() == {"web": ".2"}
    assert told.mistakes() == []


def test_a_mistake_is_logged_once_and_the_last_good_state_is_kept(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))
    (tmp_path / "other.yaml").write_text(service("other", 2))
    folder = open_folder()
    (tmp_path / "shop.yaml").write_text(BROKEN)
    (tmp_path / "other.yaml").write_text(service("other", 3))
    folder.settle()
    folder.settle()
    told_once = f"manifest has a mistake problem={tmp_path}/{BROKEN_REASON} action=keeping the last good state"
    assert told.mistakes() == [told_once]
    assert told.services() == {"web": ".1", "other": ".3"}
    assert folder.status()[Kind.SERVICE].problem == f"{tmp_path}/{BROKEN_REASON}"

    (tmp_path / "shop.yaml").write_text(BROKEN + "# still\n")
    folder.settle()
    assert told.mistakes() == [told_once]

    (tmp_path / "shop.yaml").write_text(service("web", 4))
    folder.settle()
    assert told.mistakes() == [told_once, f"manifest accepted again file={tmp_path}/shop.yaml"]
    assert told.services() == {"web": ".4", "other": ".3"}
    assert folder.status()[Kind.SERVICE].problem is None


def test_file_with_a_mistake_at_start_is_left_out_and_the_others_are_served(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "shop.yaml").write_text(BROKEN)
    (tmp_path / "other.yaml").write_text(service("other", 2))
    folder = open_folder()
    folder.settle()
    assert told.services() == {"other": ".2"}
    assert told.mistakes() == [
        f"manifest has a mistake problem={tmp_path}/{BROKEN_REASON} action=left out until corrected"
    ]
    (tmp_path / "shop.yaml").unlink()
    folder.settle()
    assert folder.status()[Kind.SERVICE].problem is None


def test_all_mistakes_of_a_file_are_logged_up_to_a_limit(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "shop.yaml").write_text("kind: Service\n---\n" * 2 + "a: 1\n[b]: 2\n---\n" + "[\n")
    (tmp_path / "wild.yaml").write_text("- no object\n---\n" * 25)
    open_folder()
    of_shop = [line.partition("shop.yaml: ")[2] for line in told.mistakes() if "shop.yaml" in line]
    assert [line.partition(":")[0] for line in of_shop] == [
        "document 1, line 1",
        "document 2, line 3",
        "document 3, line 6",
        "document 4, line 9",
    ]
    assert len([line for line in told.mistakes() if "wild.yaml" in line]) == 21
    assert told.mistakes()[-1] == f"manifest has more mistakes file={tmp_path}/wild.yaml more=5"


def test_a_file_without_a_mistake_is_reported_without_checking_the_others(told: Told) -> None:
    """Checking all other files for each file took more than 11 minutes for 4,500 files."""

    def look_at_all(path: Path) -> bool:
        raise AssertionError

    mistakes = file_watch.Mistakes("manifest", told.log, look_at_all)
    mistakes.report(Path("shop.yaml"), [])
    assert mistakes.found == {}


def test_mistakes_are_logged_as_warnings(tmp_path: Path, told: Told, open_folder: Callable[..., Folder]) -> None:
    (tmp_path / "wild.yaml").write_text("- no object\n---\n" * 25)
    folder = open_folder()
    (tmp_path / "wild.yaml").write_text(service("web", 1))
    folder.settle()
    levels = {each.event: each.level for each in told.log.logged if each.event.startswith("manifest ")}
    assert levels == {
        "manifest has a mistake": Level.WARNING,
        "manifest has more mistakes": Level.WARNING,
        "manifest accepted again": Level.INFO,
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: 1\nb: \xff\n", "document 1, line 2: is not UTF-8"),
        (b"a: [\n", "document 1, line 2: is not YAML"),
        (b"#" * 2049, "shop.yaml: has more than 0 MiB"),
    ],
)
def test_a_file_that_is_not_text_is_a_mistake(
    content: bytes,
    reason: str,
    tmp_path: Path,
    told: Told,
    open_folder: Callable[..., Folder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(manifest_folder, "_MAX_FILE", 2048)
    (tmp_path / "shop.yaml").write_bytes(content)
    open_folder()
    (mistake,) = told.mistakes()
    assert reason in mistake


def test_an_unreadable_folder_keeps_its_objects(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(service("a", 1))
    (tmp_path / "b.yaml").write_text(service("b", 2))
    folder = open_folder()
    folder.settle()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if path == tmp_path / "sub":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, who is not stopped by file permissions
    folder.settle()
    folder.settle()
    assert told.services() == {"a": ".1", "b": ".2"}
    problem = f"{tmp_path}/sub: can't be read: Permission denied"
    assert told.mistakes() == [f"manifest has a mistake problem={problem} action=keeping the last good state"]
    assert folder.status()[Kind.POD].problem == problem
    monkeypatch.undo()
    (tmp_path / "sub" / "a.yaml").unlink()
    folder.settle()
    assert told.mistakes()[1:] == [f"manifest accepted again file={tmp_path}/sub"]
    assert told.services() == {"b": ".2"}


def test_links_to_folders_are_followed_as_in_a_mounted_configmap(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    data = tmp_path / "..2026_11_28" / "team"
    data.mkdir(parents=True)
    (data / "a.yaml").write_text(service("a", 1))
    (data / "up").symlink_to(tmp_path)
    (tmp_path / "..data").symlink_to("..2026_11_28")
    (tmp_path / "team").symlink_to("..data/team")
    (tmp_path / "twice").symlink_to("..data/team")
    folder = open_folder()
    assert (told.services(), told.mistakes()) == ({"a": ".1"}, [])
    later = tmp_path / "..2026_11_29" / "team"
    later.mkdir(parents=True)
    (later / "a.yaml").write_text(service("a", 2))
    (tmp_path / "..data_tmp").symlink_to("..2026_11_29")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    folder.settle()
    assert told.services() == {"a": ".2"}


def test_link_to_a_folder_outside_is_not_followed(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder], tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.yaml").write_text(service("a", 1))
    (tmp_path / "link").symlink_to(outside)
    open_folder()
    assert told.services() == {}


def test_a_folder_that_disappears_keeps_its_objects(tmp_path: Path, told: Told) -> None:
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "a.yaml").write_text(service("a", 1))
    folder = Folder(directory, told)
    folder.start()
    folder.settle()
    directory.rename(tmp_path / "away")
    folder.settle()
    assert told.services() == {"a": ".1"}
    assert folder.status()[Kind.SERVICE].problem == f"{directory}: can't be read: No such file or directory"
    (tmp_path / "away").rename(directory)
    folder.settle()
    assert folder.status()[Kind.SERVICE].problem is None
    folder.stop()


def test_label_selector_filters_delivered_objects(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder]
) -> None:
    (tmp_path / "shop.yaml").write_text(service("in", 1, "{team: shop}") + service("out", 2, "{team: other}"))
    open_folder(label_selector=selector.parse("team=shop"))
    assert told.services() == {"in": ".1"}


def test_an_unreadable_file_is_read_as_soon_as_possible(
    tmp_path: Path, told: Told, open_folder: Callable[..., Folder], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))

    def refuse(path: Path, mode: str) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        folder = open_folder()
        folder.settle()
    problem = f"{tmp_path}/shop.yaml: can't be read: Input/output error"
    assert told.mistakes() == [f"manifest has a mistake problem={problem} action=left out until corrected"]
    assert told.services() == {}
    folder.poll()
    assert told.services() == {"web": ".1"}


@pytest.mark.parametrize("kind_of_path", ["missing", "a file"])
def test_a_path_that_is_no_folder_is_refused_with_one_line(kind_of_path: str, tmp_path: Path, told: Told) -> None:
    path = tmp_path / "x"
    if kind_of_path == "a file":
        path.write_text("")
    with pytest.raises(SourceError) as refused:
        ManifestFolder(path, told.deliver, told.log).start()
    reason = "No such file or directory" if kind_of_path == "missing" else "Not a directory"
    assert str(refused.value) == f"--manifests {path}: {reason}; wanted a folder with *.yaml, *.yml or *.json files"


def test_watching_thread_notices_an_edit(tmp_path: Path, told: Told) -> None:
    (tmp_path / "shop.yaml").write_text(service("web", 1))
    folder = ManifestFolder(tmp_path, told.deliver, told.log, look_s=0.02)
    folder.start()
    assert told.changed.wait(PATIENCE_S)
    told.changed.clear()
    # The file has the same size, and its time may fall in the same tick of the clock.
    (tmp_path / "shop.yaml").write_text(service("web", 2))
    assert told.changed.wait(PATIENCE_S)
    assert told.services()["web"] == ".2"
    folder.stop()
    (tmp_path / "shop.yaml").write_text(service("web", 3))
    assert len(told.deliveries) == 2
