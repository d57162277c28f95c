"""Find the Debian programs that benchmarks and tests need, and choose the core that a program runs on."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Program -> Debian package. Servers are in sbin, which isn't in every PATH.
_PACKAGES = {
    "dnsmasq": "dnsmasq-base",
    "dnsperf": "dnsperf",
    "knotd": "knot",
    "taskset": "util-linux",
    "unbound": "unbound",
}
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


class Missing(Exception):
    """Programs that aren't installed. The message contains the command that installs them."""


def find(program: str) -> str:
    """Return the program's path. Raises `Missing`."""
    path = shutil.which(program) or shutil.which(program, path=_PLACES)
    if path is None:
        package = _PACKAGES[program]
        raise Missing(f"{program} is not installed; it is in the Debian package {package}: apt-get install {package}")
    return path


def require(*programs: str) -> None:
    """Raise `Missing` with the names of all programs that aren't installed."""
    problems = []
    for program in programs:
        try:
            find(program)
        except Missing as missing:
            problems.append(str(missing))
    if problems:
        raise Missing("\n".join(problems))


def pinned(command: list[str], core: int | None) -> list[str]:
    """Return a command that runs `command` and its children on `core`, or on any core if `core` is None."""
    return command if core is None else [find("taskset"), "--cpu-list", str(core), *command]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run this thread on `core`."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(pid: int, core: int) -> None:
    """Move every thread of a process to `core`. Some servers choose a core themselves when they start."""
    for thread in (Path("/proc") / str(pid) / "task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
