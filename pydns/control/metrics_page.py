"""What /metrics says: the counts of all processes, what the controller last said, and what /proc says of the processes.

Called in the thread that serves HTTP; reads what others have written, and holds up none of them.
"""

import os
import platform
import resource
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from pydns import __version__
from pydns.config.model import MetricNames
from pydns.control.http import Page
from pydns.metrics import exposition
from pydns.metrics.totals import Totals, decode, total
from pydns.process import memory
from pydns.process.block import Block
from pydns.process.pulse import Pulse

_TICKS = os.sysconf("SC_CLK_TCK")
# What `_status` says of a kind, and the metric that it is.
_OF_KINDS = {
    "synced": "synced",
    "objects": "objects",
    "skipped": "skipped_objects",
    "resource_version": "resource_version",
    "data_age_s": "data_age_seconds",
    "last_event_age_s": "last_event_age_seconds",
    "last_bookmark_age_s": "last_bookmark_age_seconds",
    "last_audit_age_s": "last_audit_age_seconds",
}
_OF_TABLE = {
    "bytes": "table_bytes",
    "answers": "table_answers",
    "readers": "table_readers",
    "commits": "table_commits_total",
}


class Metrics:
    """The page."""

    def __init__(
        self,
        blocks: Sequence[Block],
        pulse: Pulse,
        status: Callable[[], dict[str, Any]],
        names: Callable[[], MetricNames],
        port: int,
    ) -> None:
        """`status` returns what the controller last said, `names` the names in force; queries are for `port`."""
        self._blocks = blocks
        self._pulse = pulse
        self._status = status
        self._names = names
        self._server = f"dns://:{port}"

    def page(self) -> Page:
        """Return all metrics."""
        return Page(self.render(), content_type=exposition.CONTENT_TYPE)

    def render(self) -> bytes:
        """Return all metrics as text."""
        counted = [decode(block.load()) for block in self._blocks]
        totals = total(counted)
        gauges = totals.gauges
        gauges["build_info", __version__, "", f"python{platform.python_version()}"] = 1
        for row, each in zip(self._pulse.workers, counted[1:], strict=True):
            gauges["worker_queries_total", row.title] = queries(each)
        for row in self._pulse.rows:
            gauges["restarts_total", row.title] = row.restarts
            gauges["stuck_processes_total", row.title] = row.stuck
        gauges[("late_queries_total",)] = sum(row.late_queries for row in self._pulse.workers)
        self._add_status(gauges)
        pids = {row.title: row.pid for row in self._pulse.rows if row.pid}
        for title, pid in pids.items():
            gauges["memory_bytes", title] = memory.shared_memory([pid])
        gauges[("process_resident_memory_bytes",)] = sum(gauges["memory_bytes", title] for title in pids)
        gauges[("process_cpu_seconds_total",)] = _cpu_s(self._pulse.supervisor.pid, pids.values())
        gauges[("process_open_fds",)] = sum(_open_files(pid) for pid in pids.values())
        gauges[("process_max_fds",)] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        gauges[("process_start_time_seconds",)] = _began(self._pulse.supervisor.pid)
        return exposition.compose(totals, self._names(), self._server)

    def _add_status(self, gauges: dict[tuple[str, ...], float]) -> None:
        status = self._status()
        gauges[("ready",)] = bool(status["ready"] and not self._pulse.is_draining)
        late_s = max(0.0, time() - status.get("time", time()))  # ages grow on while the controller says nothing
        for kind, about in status["kinds"].items():
            for key, name in _OF_KINDS.items():
                if about.get(key) is not None:
                    gauges[name, kind] = float(about[key]) + (late_s if key.endswith("age_s") else 0)
        for key, value in status.get("table", {}).items():
            gauges[(_OF_TABLE[key],)] = value


def queries(totals: Totals) -> int:
    """Return how many queries a worker has answered."""
    return int(sum(number for key, number in totals.counts.items() if key[0] == "dns_responses_total"))


def upstreams(workers: Sequence[Totals]) -> list[dict[str, Any]]:
    """Return how each upstream does, as JSON has it: what workers think of it, and how long its replies take."""
    said = []
    for name in dict.fromkeys(key[1] for each in workers for key in each.gauges if key[0] == "upstream_open_breakers"):
        broken = [each.gauges.get(("upstream_open_breakers", name)) for each in workers]
        latencies_s = [each.gauges.get(("upstream_latency_seconds", name)) for each in workers]
        known = [latency_s for latency_s in latencies_s if latency_s]
        said.append(
            {
                "upstream": name,
                "breakers_open": sum(map(bool, broken)),
                "workers": len(workers),
                "latency_s": sum(known) / len(known) if known else None,  # smoothed; the workers' mean
            }
        )
    return said


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: what has a number of N in proc(5) is at N - 3."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _cpu_s(supervisor: int, pids: Iterable[int]) -> float:
    """Return the CPU time of these processes, and of those that the supervisor has outlived."""
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            ticks += sum(map(int, _stat(pid)[11:15] if pid == supervisor else _stat(pid)[11:13]))
    return ticks / _TICKS


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 (a Path for each would cost more)
    except OSError:
        return 0


def _began(pid: int) -> float:
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    return time() - up_s + int(_stat(pid)[19]) / _TICKS
