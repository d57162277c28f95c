"""A folder of manifests as the source of cluster state: reads it, watches it, tells what changed (`kube.events`).

Knows files and one thread; what the manifests mean is `kube.workloads`' business. Rules:

1. Files are `*.yaml`, `*.yml` and `*.json`, also in sub-folders, but no hidden ones. They count in the order in which
   `kubectl apply -R -f` visits them.
2. A file counts as a whole. One with a mistake stays as it last was without; before that, it is left out. The others
   go on. Each mistake is logged once, and once that the file is right again.
3. A change counts when two looks in a row agree on it, so half-written files and the moment between an editor's
   delete and rename don't flap. At two looks a quarter of a second apart it takes effect within a second.
4. Watching is by stat: the standard library has no inotify, inotify sees nothing on network file systems and in
   mounted volumes of some runtimes, and a look at 100 files costs 1.3 ms.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydns.config.selector import Selector
from pydns.control.folder import UNSETTLED, Signature, SourceError, scan
from pydns.kube import documents, objects, workloads
from pydns.kube.documents import DocumentMistake as Mistake
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.objects import RECORD_KINDS, Kind, Observed, Ref
from pydns.log import Level, Log


class SourceStatus(NamedTuple):
    """How a source does with one kind."""

    synced: bool
    objects: int
    problem: str | None  # the first mistake that is there now; files hold all kinds, so it is the same for each
    last_event: float | None  # when something of the kind last changed, by the clock that was passed in
    last_heard: float | None  # when the folder was last looked at


class ManifestFolder:
    """Delivers a folder's objects: all of them from `start`, and from then on what changed.

    `deliver` is called with the events of one look at a time, from `start` and then from the folder's own thread. A
    change of a file that changes no record delivers nothing.
    """

    def __init__(
        self,
        directory: Path,
        deliver: Callable[[list[Event]], None],
        log: Log,
        *,
        label_selector: Selector | None = None,
        options: objects.Options = objects.DEFAULTS,
        poll_s: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._deliver = deliver
        self._log = log
        self._label_selector = label_selector
        self._options = options
        self._poll_s = poll_s
        self._clock = clock
        self._last_look: dict[Path, Signature] = {}
        self._in_force: dict[Path, Signature] = {}  # the state of each file that was read
        self._contents: dict[Path, _Contents] = {}  # as of when the file was last without mistakes
        self._mistakes: dict[Path, list[Mistake]] = {}  # by file, and by folder that can't be listed
        self._failed: frozenset[Path] = frozenset()  # those folders
        self._objects: dict[Ref, Observed] = {}
        self._memory = workloads.Memory()
        self._changed_s: dict[Kind, float] = {}
        self._synced = False
        self._looked_s: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="manifests", daemon=True)

    def start(self) -> None:
        """Deliver what is there, then watch. Raises `SourceError` if the folder can't be listed."""
        try:
            os.scandir(self._directory).close()
        except OSError as error:
            wanted = "wanted a folder with *.yaml, *.yml or *.json files"
            raise SourceError(f"--manifests {self._directory}: {error.strerror}; {wanted}") from None
        self._last_look = self._look()
        for path in sorted(self._last_look):
            self._read(path, UNSETTLED)
        self._objects = self._build()
        self._log(
            "manifests read",
            directory=str(self._directory),
            files=len(self._contents),
            objects=len(self._objects),
            ignored=sum(contents.ignored for contents in self._contents.values()),
        )
        events: list[Event] = []
        for kind in RECORD_KINDS:
            listed = [InitApply(observed) for ref, observed in self._objects.items() if ref.kind is kind]
            events += [Init(kind), *listed, InitDone(kind)]
        self._looked_s = self._clock()
        self._changed_s = dict.fromkeys(RECORD_KINDS, self._looked_s)
        self._synced = True
        self._deliver(events)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. Nothing is delivered after this has returned."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def status(self) -> dict[Kind, SourceStatus]:
        """Return how things stand, by kind. Any thread may ask: what is read here is replaced, never changed."""
        counts = Counter(ref.kind for ref in self._objects)
        problems = [_place(path, mistakes[0]) for path, mistakes in sorted(self._mistakes.items())]
        problem = problems[0] if problems else None
        changed_s = self._changed_s
        return {
            kind: SourceStatus(self._synced, counts[kind], problem, changed_s.get(kind), self._looked_s)
            for kind in RECORD_KINDS
        }

    def poll(self) -> None:
        """Look once, and deliver what that settles. The folder's thread does this every `poll_s`."""
        previous, self._last_look = self._last_look, self._look()
        changed = False
        for path in sorted(self._last_look.keys() | self._in_force.keys()):
            signature = self._last_look.get(path)
            if signature == self._in_force.get(path) or signature != previous.get(path):
                continue  # nothing new, or rule 3
            if signature is not None:
                changed |= self._read(path, signature)
            else:
                del self._in_force[path]
                changed |= self._contents.pop(path, None) is not None
                self._mistakes = {key: each for key, each in self._mistakes.items() if key != path}
        if changed:
            self._publish()

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            self.poll()
            self._looked_s = self._clock()

    def _look(self) -> dict[Path, Signature]:
        """Return the files that are there. What lies below a folder that can't be listed is as it was."""
        found: dict[Path, Signature] = {}
        failed = {folder: _cannot_be_read(error) for folder, error in scan(self._directory, _ENDINGS, found)}
        for path, signature in self._last_look.items():
            if not failed.keys().isdisjoint(path.parents):
                found.setdefault(path, signature)
        for folder in sorted(failed.keys() | self._failed):
            self._report(folder, [failed[folder]] if folder in failed else [])
        self._failed = frozenset(failed)
        return found

    def _read(self, path: Path, signature: Signature) -> bool:
        """Read a file in the state that `signature` tells of; tell whether it has new contents."""
        try:
            contents, mistakes = _read(path)
        except OSError as error:
            # This may pass without a trace in the signature, so it is tried again at every look.
            contents, mistakes, signature = _NOTHING, [_cannot_be_read(error)], UNSETTLED
        self._in_force[path] = signature
        self._report(path, mistakes)
        if mistakes:
            return False
        self._contents[path] = contents
        return True

    def _report(self, path: Path, mistakes: list[Mistake]) -> None:
        before = self._mistakes.get(path, [])
        new = [mistake for mistake in mistakes if mistake not in before]
        kept = any(path == each or path in each.parents for each in self._contents)
        action = "keeping its last good state" if kept else "left out until it is right"
        for mistake in new[:_MOST_LOGGED]:
            self._log("manifest has a mistake", level=Level.WARNING, problem=_place(path, mistake), action=action)
        if len(new) > _MOST_LOGGED:
            more = len(new) - _MOST_LOGGED
            self._log("manifest has more mistakes", level=Level.WARNING, file=str(path), more=more)
        if before and not mistakes:
            self._log("manifest is right again", file=str(path))
        others = {key: each for key, each in self._mistakes.items() if key != path}
        self._mistakes = {**others, path: mistakes} if mistakes else others

    def _build(self) -> dict[Ref, Observed]:
        manifests = [each for _, contents in sorted(self._contents.items()) for each in contents.manifests]
        return workloads.build(manifests, self._options, self._label_selector, self._memory)

    def _publish(self) -> None:
        before, after = self._objects, self._build()
        applied = [observed for ref, observed in after.items() if before.get(ref) != observed]
        deleted = [ref for ref in before if ref not in after]
        if applied or deleted:
            self._objects = after
            kinds = {each.kind for each in (*(observed.ref for observed in applied), *deleted)}
            self._changed_s = self._changed_s | dict.fromkeys(kinds, self._clock())
            self._log("manifests changed", applied=len(applied), deleted=len(deleted))
            self._deliver([*map(Apply, applied), *map(Delete, deleted)])


_ENDINGS = (".yaml", ".yml", ".json")
_MAX_FILE = 16 << 20  # octets; 80,000 bare Services, which take 19 s and 1 GB to read
_MOST_LOGGED = 20  # mistakes of one file


class _Contents(NamedTuple):
    manifests: list[workloads.Manifest]
    ignored: int  # objects that DNS doesn't need


def _read(path: Path) -> tuple[_Contents, list[Mistake]]:
    with path.open("rb") as file:
        raw = file.read(_MAX_FILE + 1)
    if len(raw) > _MAX_FILE:
        return _NOTHING, [Mistake(0, 0, f"has more than {_MAX_FILE >> 20} MiB")]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _NOTHING, [Mistake(1, raw.count(b"\n", 0, error.start) + 1, "is not UTF-8")]
    if path.suffix == ".json":
        text = text.replace("\t", " ")  # JSON allows a tab between tokens only, and there YAML doesn't
    manifests: list[workloads.Manifest] = []
    mistakes: list[Mistake] = []
    ignored = 0
    for document in documents.read(text):
        if isinstance(document, Mistake):
            mistakes.append(document)
            continue
        for item in workloads.read(document.value):
            if isinstance(item, workloads.Fault):
                mistakes.append(Mistake(document.number, document.line_of(item.path), item.reason))
            elif isinstance(item, workloads.Ignored):
                ignored += 1
            else:
                manifests.append(item)
    return _Contents(manifests, ignored), mistakes


_NOTHING = _Contents([], 0)


def _cannot_be_read(error: OSError) -> Mistake:
    return Mistake(0, 0, f"can't be read: {error.strerror}")


def _place(path: Path, mistake: Mistake) -> str:
    where = f": document {mistake.document}, line {mistake.line}" if mistake.document else ""
    return f"{path}{where}: {mistake.reason}"
