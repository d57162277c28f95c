"""Watches files. This module detects changed files, decides when a change takes effect, and reports mistakes in files.

This module knows files and one thread. This module doesn't know the contents of files. Manifests, zone files, the
configuration and resolv.conf are watched with this module. Rules:

1. A change takes effect when two looks in a row find the same state. So a half-written file has no effect. An editor
   may delete a file and then rename a new one. While the file is missing between these two steps, nothing changes. The
   thread looks twice a second, and 0.25 s after a look that found a change. So a change takes effect within a second.
2. A look uses stat, not inotify. The standard library doesn't support inotify, and inotify reports nothing on network
   file systems and in the mounted volumes of some runtimes. A look at 100 files takes 0.8 ms.
3. A file that could not be read is read again at every look. The cause of the failure may disappear without a change
   in the state of the file.
4. The files that were read at the start are read once more at the next look. A tick of the file system's clock takes
   milliseconds. The second of two changes within one tick may not change the state of the file.
"""

import os
import stat
import threading
import time
from bisect import insort
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar

from pydns.control.clock import Clock, Every
from pydns.control.source import SourceError
from pydns.log import Level, Log
from pydns.process.sources import folder_problem

LOOK_S = 0.25  # the time between two looks while a change waits for the second one
_QUIET = 2  # while no change waits, the time between two looks is `_QUIET` times as long
PROGRESS_S = 2.0  # the time between two lines of the log while a folder is first read
_MOST_LOGGED = 20  # the maximum number of new mistakes of one file that are logged at once


class Unsettled(Enum):
    """The state of a file that must be read again at the next look."""

    UNSETTLED = "unsettled"


UNSETTLED: Literal[Unsettled.UNSETTLED] = Unsettled.UNSETTLED
State = TypeVar("State", bound=Hashable)  # the state of a file; two states differ if the file changed
States = dict[Path, State | Unsettled | None]  # file -> its state when it was read, or None if the file didn't exist


class FileWatch(Generic[State]):
    """Reads files again after they have changed.

    `look` gets the result of the last look and returns the state of every file that exists now. `read` reads one file.
    `read` returns the states of the file and of the files that it includes. `forget` is called for a file that was
    deleted. `after_look` is called at the end of a look. These four functions run in the thread of this watch, or in
    the thread that calls `read_all` or `poll`.
    """

    def __init__(
        self,
        look: Callable[[Mapping[Path, State]], dict[Path, State]],
        read: Callable[[Path], States[State]],
        *,
        forget: Callable[[Path], object] = lambda path: None,
        after_look: Callable[[], object] = lambda: None,
        is_read: Callable[[Path], bool] = lambda path: True,
        thread: str = "",
        look_s: float = LOOK_S,
    ) -> None:
        """Create a watch, without starting its thread.

        `is_read` returns False for a file that is only read when another file includes it. `thread` is the name of the
        thread.
        """
        self.looked: dict[Path, State] = {}  # the result of the last look
        self._look = look
        self._read = read
        self._forget = forget
        self._after_look = after_look
        self._is_read = is_read
        self._in_force: dict[Path, States[State]] = {}  # file -> the states that its last `read` returned
        self._look_s = look_s
        self._stopping = threading.Event()
        self._first: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    @property
    def is_started(self) -> bool:
        """Return whether the thread was started."""
        return self._thread.ident is not None

    def read_all(self, progress: Callable[[int, int], object] = lambda done, files: None) -> bool:
        """Read every file that exists. Returns False if `stop` was called before the last file was read.

        `progress` gets the number of files that were read, and the number of all files.
        """
        self.looked = self._look(self.looked)
        files = sorted(filter(self._is_read, self.looked))
        for done, path in enumerate(files, start=1):
            if self._stopping.is_set():
                return False
            # The next look reads the file once more (rule 4 of this module).
            self._in_force[path] = dict.fromkeys(self._read(path), UNSETTLED)
            progress(done, len(files))
        return True

    def start(self, first: Callable[[], object] | None = None) -> None:
        """Start the thread. The thread calls `first`, and then looks every `look_s` seconds.

        While no change waits, the pause is `_QUIET` times as long.
        """
        self._first = first
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. The thread first finishes the file that it is reading.

        After this method has returned, the thread calls none of the functions.
        """
        self._stopping.set()
        if self.is_started:
            self._thread.join()

    def poll(self) -> bool:
        """Look once, and read the files whose changes take effect by rule 1 of this module.

        Return whether the look found a change. If it did, the next look should come soon.
        """
        before, self.looked = self.looked, self._look(self.looked)
        new = [path for path in self.looked if path not in self._in_force and self._is_read(path)]
        changed = [path for path, known in self._in_force.items() if known != self._states(known)]
        for path in sorted([*new, *changed]):
            known = self._in_force.get(path, {path: None})
            if self._states(known) != {each: before.get(each) for each in known}:
                continue  # wait until a second look finds the same state (rule 1 of this module)
            if self.looked.get(path) is None:
                del self._in_force[path]
                self._forget(path)
            else:
                self._in_force[path] = self._read(path)
        self._after_look()
        return bool(new or changed)

    def _run(self) -> None:
        pause_s = self._look_s
        if self._first is not None:
            began = time.monotonic()
            self._first()
            # The next look reads all files again (rule 4). The pause gives the controller time to publish first.
            pause_s = max(pause_s, time.monotonic() - began)
        while not self._stopping.wait(pause_s):
            pause_s = self._look_s if self.poll() else self._look_s * _QUIET

    def _states(self, paths: Iterable[Path]) -> States[State]:
        return {path: self.looked.get(path) for path in paths}


class Signature(NamedTuple):
    """The state of a file. Two signatures differ if the file changed.

    `changed_ns` detects a change by a program that restores the modification time, as `cp -p` does.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def signature(status: os.stat_result) -> Signature:
    """Return the signature of a file with this status."""
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class Progress:
    """Logs how much of a folder has been read, at most once every `PROGRESS_S` seconds."""

    def __init__(self, folder: Path, log: Log, clock: Clock) -> None:
        self._folder = folder
        self._log = log
        self._is_due = Every(PROGRESS_S, clock).is_due

    def __call__(self, done: int, files: int) -> None:
        """Log that `done` of `files` files have been read, at most once every `PROGRESS_S`."""
        if done < files and self._is_due():
            self._log("reading folder", directory=str(self._folder), files_read=done, files=files)


class Mistakes:
    """The current mistakes and warnings of files. Each mistake or warning is logged once.

    The correction of a file is logged, too. A file with a mistake is not in force. A file with warnings is in force,
    without the parts that the warnings name.
    """

    def __init__(self, noun: str, log: Log, is_kept: Callable[[Path], bool]) -> None:
        """Create an empty collection of mistakes.

        `noun` is the word for a file in the log. `is_kept` returns whether an earlier state of a file is in force.
        """
        # file -> its mistakes, or its warnings. The dicts are replaced, never changed, so any thread may read them.
        self.found: dict[Path, tuple[str, ...]] = {}
        self.warnings: dict[Path, tuple[str, ...]] = {}
        self._noun = noun
        self._log = log
        self._is_kept = is_kept

    def report(self, path: Path, mistakes: Sequence[str], warnings: Sequence[str] = ()) -> None:
        """Set the mistakes and warnings of a file, or the mistakes of a folder that can't be listed."""
        before, warned = self.found.get(path, ()), self.warnings.get(path, ())
        if mistakes:
            action = "keeping the last good state" if self._is_kept(path) else "left out until corrected"
            self._log_new("mistake", path, mistakes, before, action)
        elif before:
            self._log(f"{self._noun} accepted again", file=str(path))
        self._log_new("warning", path, warnings, warned, "using the rest of the file")
        self.forget(path)
        if mistakes:
            self.found = {**self.found, path: tuple(mistakes)}
        if warnings:
            self.warnings = {**self.warnings, path: tuple(warnings)}

    def forget(self, path: Path) -> None:
        """Forget the mistakes and warnings of a deleted file."""
        if path in self.found:
            self.found = {key: each for key, each in self.found.items() if key != path}
        if path in self.warnings:
            self.warnings = {key: each for key, each in self.warnings.items() if key != path}

    def _log_new(self, what: str, path: Path, found: Sequence[str], before: Collection[str], action: str) -> None:
        new = [each for each in found if each not in before]
        for each in new[:_MOST_LOGGED]:
            self._log(f"{self._noun} has a {what}", level=Level.WARNING, problem=each, action=action)
        if len(new) > _MOST_LOGGED:
            more = len(new) - _MOST_LOGGED
            self._log(f"{self._noun} has more {what}s", level=Level.WARNING, file=str(path), more=more)


class FolderLook:
    """Looks at the files in a folder and its sub-folders. A folder that can't be listed is reported to `mistakes`."""

    def __init__(self, folder: Path, endings: tuple[str, ...], mistakes: Mistakes) -> None:
        self._folder = folder
        self._endings = endings
        self._mistakes = mistakes
        self._failed: frozenset[Path] = frozenset()
        self._paths: dict[str, Path] = {}

    def __call__(self, before: Mapping[Path, Signature]) -> dict[Path, Signature]:
        """Return the state of each file that exists.

        The files in a folder that can't be listed keep their states from `before`.
        """
        found: dict[Path, Signature] = {}
        scanned = scan(self._folder, self._endings, found, self._paths)
        failed = {folder: cannot_be_read(folder, error) for folder, error in scanned}
        for path, state in before.items() if failed else ():
            if not failed.keys().isdisjoint(path.parents):
                found.setdefault(path, state)
        if len(self._paths) > 2 * len(found):
            self._paths = {str(path): path for path in found}
        for folder in sorted(failed.keys() | self._failed):
            self._mistakes.report(folder, [failed[folder]] if folder in failed else [])
        self._failed = frozenset(failed)
        return found


def check_folder(folder: Path, flag: str, wanted: str) -> None:
    """Raise `SourceError` if a folder that a flag chose can't be listed."""
    if problem := folder_problem(folder, flag, wanted):
        raise SourceError(problem)


def cannot_be_read(path: Path, error: OSError) -> str:
    """Return the text of the mistake for a file or folder that could not be read."""
    return f"{path}: can't be read: {error.strerror}"


def scan(
    root: Path, endings: tuple[str, ...], found: dict[Path, Signature], paths: dict[str, Path]
) -> Iterator[tuple[Path, OSError]]:
    """Put the files in `root` and its sub-folders into `found`. Yield each folder that can't be read, with the error.

    Names that begin with a dot are left out. Editors give such names to their temporary files, and a mounted ConfigMap
    has `..data`. The files of a mounted ConfigMap are found by their plain names, which are links. A link to a folder
    is followed if the folder is below `root` and has not been scanned under another name. `paths` keeps the `Path`
    objects from one scan to the next, because making and hashing them would take most of the time.
    """
    real_root = os.path.realpath(root)
    folders, links = [root], list[Path]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)  # links come last, so a folder is found by its own name
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        if not entry.is_symlink():
                            folders.append(Path(entry.path))
                        elif os.path.realpath(entry.path).startswith(real_root + os.sep):
                            insort(links, Path(entry.path))
                    elif entry.name.endswith(endings):
                        _add_file(entry, found, paths)
        except OSError as error:
            yield folder, error


def _add_file(entry: "os.DirEntry[str]", found: dict[Path, Signature], paths: dict[str, Path]) -> None:
    try:
        status = entry.stat()
    except FileNotFoundError:
        return  # the file was deleted meanwhile, or it is a link to a missing file
    if stat.S_ISREG(status.st_mode):
        path = paths.get(entry.path)
        if path is None:
            path = paths[entry.path] = Path(entry.path)
        found[path] = signature(status)
