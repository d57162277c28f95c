"""What servers do while nobody asks: wake-ups and CPU time of each process. The servers are those of `rates`."""

import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.bench import compared, procfs, servers
from tests.bench.report import Table

LIMIT = 2  # the target for wake-ups of a process per second
_SETTLE_S = 3.0  # after the start and the first queries, servers still have work to do
_PROCESSES = ("supervisor", "controller", "worker")  # of pydns, in the order of their start


class Idle(NamedTuple):
    """One process in one round. A wake-up ends a sleep of one of its threads."""

    process: str
    wake_ups: float  # per second
    cpu_ms: float  # per second


def run(command: str, coredns: Path | None, seconds: float, rounds: int, cores: tuple[int, int]) -> list[Idle]:
    """Return the figures of all processes, measured for `seconds` in each round. The servers share a core."""
    with compared.serving(command, coredns, cores[0]) as found:
        time.sleep(_SETTLE_S)
        return [each for _ in range(rounds) for each in _round(found.servers, seconds)]


def _round(running: list[servers.Server], seconds: float) -> list[Idle]:
    began = time.monotonic()
    before = [(procfs.wake_ups(server.pid), procfs.cpu_s(server.pid)) for server in running]
    time.sleep(seconds)
    after = [(procfs.wake_ups(server.pid), procfs.cpu_s(server.pid)) for server in running]
    passed_s = time.monotonic() - began
    rows = []
    for server, (woken, used), (woken_now, used_now) in zip(running, before, after, strict=True):
        if used.keys() != used_now.keys():
            raise procfs.Changed(f"processes of {server.name} have started or ended")
        for place, pid in enumerate(used):
            name = f"{server.name}, {_PROCESSES[place]}" if server.name == "pydns" else server.name
            wake_ups = woken_now[pid] - woken[pid]
            rows.append(Idle(name, wake_ups / passed_s, (used_now[pid] - used[pid]) / passed_s * 1000))
    return rows


def table(found: list[Idle]) -> Table:
    """Return the medians over the rounds."""
    rows = []
    for name in dict.fromkeys(each.process for each in found):
        same = [each for each in found if each.process == name]
        wake_ups, cpu_ms = median(each.wake_ups for each in same), median(each.cpu_ms for each in same)
        rows.append([name, f"{wake_ups:.1f}", f"≤ {LIMIT}", f"{cpu_ms:.2f}"])
    title = f"Idle servers, {compared.SERVICES:,} Services, one worker"
    return Table(title, ["process", "wake-ups/s", "wanted", "CPU, ms/s"], rows)
