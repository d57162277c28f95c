"""Tables of the figures for readers, with the machine and the command that produced the figures."""

import os
import platform
import shlex
import subprocess
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.bench import tools


class Table(NamedTuple):
    """A title, a header and rows of text."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def text(self) -> str:
        """Return the table in Markdown. Its columns are also aligned in a terminal."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = [self.header, ["-" * width for width in widths], *self.rows]
        cells = (" | ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join([f"{self.title}\n", *(f"| {line} |" for line in cells)])


def machine() -> dict[str, str]:
    """Return the versions and the machine that the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next(
        (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?"
    )
    facts = {
        "CPU": f"{model}, {len(os.sched_getaffinity(0))} cores usable of {os.cpu_count()}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }
    for library in "lmdb", "uvloop", "msgspec", "kubernetes":
        facts[library] = metadata.version(library)
    for program, option in _PROGRAMS.items():
        facts[program] = _version(program, option)
    return facts


_PROGRAMS = {"knotd": "--version", "unbound": "-V", "dnsmasq": "--version", "dnsperf": "-h"}


def _version(program: str, option: str) -> str:
    try:
        done = subprocess.run([tools.find(program), option], capture_output=True, text=True, check=False)
    except tools.Missing:
        return "not installed"
    words = (done.stdout + done.stderr).split()
    # The programs print, for example, "knotd (Knot DNS), version 3.2.6" and "… Version 2.10.0".
    return next((after for word, after in pairwise(words) if word.lower() == "version"), "?")


def head(facts: dict[str, str], arguments: list[str]) -> str:
    """Return the lines above the tables: the facts about the machine, and the command."""
    command = shlex.join(["python", "-m", "tests.bench", *arguments])
    return "\n".join(f"{key}: {value}" for key, value in {"command": command, **facts}.items())
