"""Read the CPU time and memory of a server. A server is a process with all its descendants.

Functions named `parse_*` are pure. The other functions read /proc and clocks of the kernel, and store nothing.
"""

import ctypes
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_libc = ctypes.CDLL(None)


class Stat(NamedTuple):
    """The process ids in /proc/PID/stat."""

    pid: int
    parent: int


class Changed(Exception):
    """A process was started or has exited during the measurement, so the figures would be too low."""


def parse_stat(text: str) -> Stat:
    """Parse a /proc/PID/stat. The command's name is in parentheses, and may itself contain spaces and parentheses."""
    before, _, after = text.rpartition(")")
    fields = after.split()  # the first item is field 3 of proc(5)
    return Stat(int(before.split(" ", 1)[0]), int(fields[1]))


def parse_pss_kib(smaps_rollup: str) -> int:
    """Return the proportional set size in KiB from a /proc/PID/smaps_rollup."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("smaps_rollup without a Pss line")


def descendants(root: int, stats: Iterable[Stat]) -> list[int]:
    """Return `root` and the pids of all its descendants in `stats`, parents before children."""
    children: dict[int, list[int]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat.pid)
    tree = [root]
    for pid in tree:
        tree += sorted(children.get(pid, []))
    return tree


def tree(root: int) -> list[int]:
    """Return the process ids of `root` and all its descendants that still exist."""
    stats = []
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            stats.append(parse_stat(path.read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process exited in the meantime
    return descendants(root, stats)


def is_alive(pid: int) -> bool:
    """Return whether the process exists and isn't a zombie."""
    try:
        return ") Z " not in (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_s(root: int) -> dict[int, float]:
    """Return the CPU seconds that each process of the tree has used so far: user plus system time of all threads.

    The kernel counts nanoseconds (clock_getcpuclockid(3)). Time of ended child processes isn't included.
    """
    return {pid: _cpu_ns(pid) / 1e9 for pid in tree(root)}


def _cpu_ns(pid: int) -> int:
    clock = ctypes.c_int()
    if error := _libc.clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error), f"the CPU clock of process {pid}")
    return time.clock_gettime_ns(clock.value)


def used_s(before: dict[int, float], after: dict[int, float]) -> float:
    """Return the CPU seconds used between two calls of `cpu_s`. Raises `Changed` if the processes differ."""
    if before.keys() != after.keys():
        raise Changed(f"the server's processes were {sorted(before)} and became {sorted(after)} during the measurement")
    return sum(after.values()) - sum(before.values())


def wake_ups(root: int) -> dict[int, int]:
    """Return how often each process of the tree has slept so far: voluntary context switches of all its threads.

    Switches of threads that have ended aren't included.
    """
    return {pid: sum(map(_slept, (_PROC / str(pid) / "task").iterdir())) for pid in tree(root)}


def _slept(thread: Path) -> int:
    return parse_voluntary_switches((thread / "status").read_text())


def parse_voluntary_switches(status: str) -> int:
    """Return the number of voluntary context switches from a /proc/PID/status."""
    for line in status.splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise ValueError("status without voluntary_ctxt_switches")


def pss_kib(root: int) -> dict[int, int]:
    """Return the proportional set size of each process of the tree. The sum of the sizes counts a shared page once."""
    return {pid: parse_pss_kib((_PROC / str(pid) / "smaps_rollup").read_text()) for pid in tree(root)}


def parse_pss_below_kib(smaps: str, directory: str) -> int:
    """Return the proportional set size in KiB of mapped files below a directory, from a /proc/PID/smaps."""
    found, within = 0, False
    for line in smaps.splitlines():
        words = line.split(maxsplit=5)  # a line for a mapping has range, permissions, offset, device, inode and path
        if not words[0].endswith(":"):
            within = len(words) == 6 and words[5].startswith(directory + "/")
        elif within and words[0] == "Pss:":
            found += int(words[1])
    return found


def pss_below_kib(pid: int, directory: str) -> int:
    """Return the part of a process's proportional set size that belongs to files below a directory."""
    return parse_pss_below_kib((_PROC / str(pid) / "smaps").read_text(), directory)
