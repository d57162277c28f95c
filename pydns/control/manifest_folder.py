"""Reads the cluster state from a folder of manifests. This module watches the folder, and delivers `kube.events`.

This module knows files. `kube.workloads` knows what manifests mean, and `control.file_watch` decides when a change
takes effect. Rules:

1. Files are `*.yaml`, `*.yml` and `*.json`, also in sub-folders. Hidden files are ignored. Files are processed in the
   order in which `kubectl apply -R -f` visits them.
2. A file takes effect as a whole. If a file has a mistake, its last state without a mistake stays in force. If there is
   no such state, the file is left out. A mistake in a file doesn't affect other files. Each mistake is logged once.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from pydns.config.selector import Selector
from pydns.control.clock import Clock
from pydns.control.file_watch import (
    LOOK_S,
    UNSETTLED,
    FileWatch,
    FolderLook,
    Mistakes,
    Progress,
    Signature,
    States,
    cannot_be_read,
    check_folder,
)
from pydns.kube import documents, objects, workloads
from pydns.kube.documents import DocumentMistake
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import NAMING_KINDS, RECORD_KINDS, Kind
from pydns.kube.objects import Observed, Ref
from pydns.log import Log
from pydns.process.sources import MANIFESTS


class SourceStatus(NamedTuple):
    """The status of one kind."""

    synced: bool
    objects: int
    # The first current mistake in the folder. Every kind has this problem, because a file may contain all kinds.
    problem: str | None
    # when an object of the kind last changed, by the clock that was passed in
    last_event: float | None
    last_heard: float | None  # when the last look at the folder ended, by the same clock

    @property
    def is_served(self) -> bool:
        """Return True, because a folder may contain objects of any kind."""
        return True


class Near(NamedTuple):
    """A namespace whose Services and EndpointSlices are delivered regardless of their labels.

    `deliver` receives the events of these objects.
    """

    namespace: str
    deliver: Callable[[list[Event]], None]


class ManifestFolder:
    """Delivers all objects of a folder after the first reading, and then delivers each change.

    The folder's own thread calls `deliver`, once for all events of one look. An edit that changes no object delivers
    nothing.
    """

    def __init__(
        self,
        directory: Path,
        deliver: Callable[[list[Event]], None],
        log: Log,
        kinds: tuple[Kind, ...] = RECORD_KINDS,
        *,
        label_selector: Selector | None = None,
        namespace_selector: Selector | None = None,
        options: objects.Options = objects.DEFAULTS,
        near: Near | None = None,
        look_s: float = LOOK_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._deliver = deliver
        self._log = log
        self._kinds = kinds
        self._label_selector = label_selector
        self._namespace_selector = namespace_selector
        self._options = options
        self._near = near
        self._clock = clock
        self._contents: dict[Path, _Contents] = {}  # file -> its last contents without a mistake
        self._contents_changed = False
        self._mistakes = Mistakes("manifest", log, self._is_kept)
        self._objects: dict[Ref, Observed] = {}
        self._memory = workloads.Memory()
        self._changed_s: dict[Kind, float] = {}
        self._synced = False
        self._looked_s: float | None = None
        self.watch = FileWatch[Signature](
            FolderLook(directory, _ENDINGS, self._mistakes),
            self._read,
            forget=self._forget,
            after_look=self._after_look,
            thread="manifests",
            look_s=look_s,
        )

    def start(self) -> None:
        """Start a thread that delivers all objects and then watches the folder.

        Raises `SourceError` if the folder can't be listed.
        """
        check_folder(self._directory, *MANIFESTS)
        self.watch.start(self.read)

    def read(self) -> None:
        """Read the folder and deliver all objects. The thread calls this method first."""
        if not self.watch.read_all(Progress(self._directory, self._log, Clock())):
            return
        self._objects = self._build(self._label_selector)
        self._contents_changed = False
        self._log(
            "manifests read",
            directory=str(self._directory),
            files=len(self._contents),
            objects=len(self._objects),
            ignored=sum(contents.ignored for contents in self._contents.values()),
        )
        events: list[Event] = []
        for kind in self._kinds:
            listed = [InitApply(observed) for ref, observed in self._objects.items() if ref.kind is kind]
            events += [Init(kind), *listed, InitDone(kind)]
        self._looked_s = self._clock()
        self._changed_s = dict.fromkeys(self._kinds, self._looked_s)
        self._synced = True
        self._deliver_near()
        self._deliver(events)

    def stop(self) -> None:
        """Stop watching. Nothing is delivered after this method has returned."""
        self.watch.stop()

    def status(self) -> dict[Kind, SourceStatus]:
        """Return the status of each kind. Any thread may call this method: it reads values that are never modified."""
        counts = Counter(ref.kind for ref in self._objects)
        # Report no problem before the first reading ends, because the controller doesn't wait for a kind with a
        # problem.
        found = self._mistakes.found if self._synced else {}
        problem = found[min(found)][0] if found else None
        changed_s = self._changed_s
        return {
            kind: SourceStatus(self._synced, counts[kind], problem, changed_s.get(kind), self._looked_s)
            for kind in self._kinds
        }

    def warnings(self) -> tuple[str, ...]:
        """Return a warning, with file and line, for each part of a file that is left out.

        Any thread may call this method.
        """
        return tuple([each for _, found in sorted(self._mistakes.warnings.items()) for each in found])

    def _read(self, path: Path) -> States[Signature]:
        try:
            contents, mistakes = _read(path, self._kinds)
        except OSError as error:
            self._mistakes.report(path, [cannot_be_read(path, error)])
            return {path: UNSETTLED}
        self._mistakes.report(path, mistakes, contents.warnings)
        if not mistakes:
            self._contents[path] = contents
            self._contents_changed = True
        return {path: self.watch.looked[path]}

    def _forget(self, path: Path) -> None:
        self._mistakes.forget(path)
        if self._contents.pop(path, None) is not None:
            self._contents_changed = True

    def _is_kept(self, path: Path) -> bool:
        """Return whether an earlier state of a file is still in force.

        If `path` is a folder, return whether an earlier state of any file in the folder is still in force.
        """
        if path in self.watch.looked:
            return path in self._contents
        return any(path in each.parents for each in self._contents)

    def _after_look(self) -> None:
        if self._contents_changed:
            self._contents_changed = False
            self._deliver_changes()
        self._looked_s = self._clock()

    def _deliver_near(self) -> None:
        if self._near is None:
            return
        namespace, deliver = self._near
        objects = self._build(None)
        events: list[Event] = []
        for kind in NAMING_KINDS:
            found = [InitApply(each) for ref, each in objects.items() if (ref.kind, ref.namespace) == (kind, namespace)]
            events += [Init(kind), *found, InitDone(kind)]
        deliver(events)

    def _build(self, selector: Selector | None) -> dict[Ref, Observed]:
        manifests = [each for _, contents in sorted(self._contents.items()) for each in contents.manifests]
        return workloads.build(manifests, self._options, selector, self._memory, self._namespace_selector)

    def _deliver_changes(self) -> None:
        self._deliver_near()
        before, after = self._objects, self._build(self._label_selector)
        applied = [observed for ref, observed in after.items() if before.get(ref) != observed]
        deleted = [ref for ref in before if ref not in after]
        if applied or deleted:
            self._objects = after
            kinds = {each.kind for each in (*(observed.ref for observed in applied), *deleted)}
            self._changed_s = self._changed_s | dict.fromkeys(kinds, self._clock())
            self._log("manifests changed", applied=len(applied), deleted=len(deleted))
            self._deliver([*map(Apply, applied), *map(Delete, deleted)])


_ENDINGS = (".yaml", ".yml", ".json")
# The maximum size of a file in octets. A file of this size can have 80,000 minimal Services. Reading it takes 19 s and
# 1 GB of memory.
_MAX_FILE = 16 << 20


class _Contents(NamedTuple):
    manifests: list[workloads.Manifest]
    ignored: int  # the number of objects that DNS doesn't need
    warnings: tuple[str, ...] = ()


def _read(path: Path, kinds: Collection[Kind]) -> tuple[_Contents, list[str]]:
    """Return the contents of a file, and its mistakes as text."""
    with path.open("rb") as file:
        raw = file.read(_MAX_FILE + 1)
    if len(raw) > _MAX_FILE:
        return _NOTHING, [_text(path, DocumentMistake(0, 0, f"has more than {_MAX_FILE >> 20} MiB"))]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _NOTHING, [_text(path, DocumentMistake(1, raw.count(b"\n", 0, error.start) + 1, "is not UTF-8"))]
    manifests: list[workloads.Manifest] = []
    mistakes: list[DocumentMistake] = []
    warnings: list[DocumentMistake] = []
    ignored = 0
    for document in documents.read(text):
        if isinstance(document, DocumentMistake):
            mistakes.append(document)
            continue
        warnings += document.warnings
        for item in workloads.read(document.value, kinds):
            if isinstance(item, workloads.Fault):
                mistakes.append(DocumentMistake(document.number, document.line_of(item.path), item.reason))
            elif isinstance(item, workloads.Ignored):
                ignored += 1
            else:
                manifests.append(item)
    return _Contents(manifests, ignored, tuple([_text(path, each) for each in warnings])), [
        _text(path, each) for each in mistakes
    ]


_NOTHING = _Contents([], 0)


def _text(path: Path, mistake: DocumentMistake) -> str:
    where = f": document {mistake.document}, line {mistake.line}" if mistake.document else ""
    return f"{path}{where}: {mistake.reason}"
