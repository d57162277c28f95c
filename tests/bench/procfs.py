"""CPU time and memory of a server, from /proc: of a process with all its descendants.

`parse_*` are pure; the rest reads /proc and keeps nothing.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    """The figures of /proc/PID/stat: `cpu_ticks` is user plus system time of all threads, children left out."""

    pid: int
    parent: int
    cpu_ticks: int


class Changed(Exception):
    """A process was started or ended while it was measured, so its figures would be too low."""


def parse_stat(text: str) -> Stat:
    """Parse a /proc/PID/stat. The command's name, in parentheses, may hold spaces and parentheses itself."""
    before, _, after = text.rpartition(")")
    fields = after.split()  # the first one is field 3 of proc(5)
    return Stat(int(before.split(" ", 1)[0]), int(fields[1]), int(fields[11]) + int(fields[12]))


def parse_pss_kib(smaps_rollup: str) -> int:
    """Return the proportional set size that a /proc/PID/smaps_rollup gives, in KiB."""
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
    """Return the pids of `root` and all its living descendants."""
    stats = []
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            stats.append(parse_stat(path.read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return descendants(root, stats)


def is_alive(pid: int) -> bool:
    """Return whether the process exists and is no zombie."""
    try:
        return ") Z " not in (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_s(root: int) -> dict[int, float]:
    """Return the CPU seconds that each process of the tree has used so far, 10 ms fine on most kernels."""
    return {pid: parse_stat((_PROC / str(pid) / "stat").read_text()).cpu_ticks / _TICKS_PER_S for pid in tree(root)}


def used_s(before: dict[int, float], after: dict[int, float]) -> float:
    """Return the CPU seconds used between two calls of `cpu_s`. Raises `Changed` if they saw different processes."""
    if before.keys() != after.keys():
        raise Changed(f"the server's processes were {sorted(before)} and became {sorted(after)} during the measurement")
    return sum(after.values()) - sum(before.values())


def pss_kib(root: int) -> dict[int, int]:
    """Return the proportional set size of each process of the tree: their sum counts a shared page once."""
    return {pid: parse_pss_kib((_PROC / str(pid) / "smaps_rollup").read_text()) for pid in tree(root)}


def parse_pss_below_kib(smaps: str, directory: str) -> int:
    """Return the proportional set size, in KiB, of the mapped files below a directory, from a /proc/PID/smaps."""
    found, within = 0, False
    for line in smaps.splitlines():
        words = line.split(maxsplit=5)  # a mapping: range, permissions, offset, device, inode and path
        if not words[0].endswith(":"):
            within = len(words) == 6 and words[5].startswith(directory + "/")
        elif within and words[0] == "Pss:":
            found += int(words[1])
    return found


def pss_below_kib(pid: int, directory: str) -> int:
    """Return how much of a process's proportional set size is of files below a directory."""
    return parse_pss_below_kib((_PROC / str(pid) / "smaps").read_text(), directory)
