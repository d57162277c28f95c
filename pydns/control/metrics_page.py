"""Makes the page /metrics from the counts of all processes, the controller's last status, and figures from /proc.

The HTTP thread makes this page. The HTTP thread reads values that other threads and processes have written. Other
threads and processes never wait for the page.
"""

import os
import platform
import resource
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import time

from pydns import __version__
from pydns.config.model import MetricNames
from pydns.control.http import Page
from pydns.metrics import exposition
from pydns.metrics.objectives import ERRORS, PROGRAMMING
from pydns.metrics.totals import Key, Totals, decode, total
from pydns.process import memory
from pydns.process.block import Block
from pydns.process.build import BUILD
from pydns.process.pulse import Pulse
from pydns.table.status import UNKNOWN, IndicatorStatus, KindStatus, RouteStatus, Status, UpstreamStatus

_TICKS = os.sysconf("SC_CLK_TCK")


class MetricsPage:
    """Makes the page /metrics. The controller's thread sets `status` and `names`. The HTTP thread calls `page`."""

    def __init__(self, blocks: Sequence[Block], pulse: Pulse, port: int) -> None:
        """Create the page without a status. `port` is the DNS port for the label `server` of the metrics."""
        self.status: Status = UNKNOWN  # replaced as a whole, never modified
        self.names = MetricNames.COREDNS
        self._blocks = blocks
        self._pulse = pulse
        self._server = f"dns://:{port}"

    def page(self) -> Page:
        """Return all metrics."""
        return Page(self.render(), content_type=exposition.CONTENT_TYPE)

    def render(self) -> bytes:
        """Return all metrics as text."""
        counted = [decode(block.load()) for block in self._blocks]
        totals = total(counted)
        gauges = totals.gauges
        gauges["build_info", __version__, "", f"python{platform.python_version()} {BUILD}"] = 1
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
        return exposition.compose(totals, self.names, self._server)

    def _add_status(self, gauges: dict[Key, float]) -> None:
        status = self.status
        gauges[("ready",)] = bool(status.ready and not self._pulse.is_draining and not self._pulse.unanswered())
        late_s = max(0.0, time() - status.time)  # ages keep growing while the controller reports no new status
        for kind, each in status.kinds.items():
            for name, value in _values(each).items():
                if value is not None:
                    gauges[name, kind] = value
            for name, age_s in _ages_s(each).items():
                if age_s is not None:
                    gauges[name, kind] = age_s + late_s
        if (config := status.config) is not None:
            gauges[("configuration_left_out",)] = len(config.left_out)
        for source, further in status.sources.items():
            for kind, each in further.kinds.items():
                gauges["source_synced", source, kind] = each.synced
                gauges["source_objects", source, kind] = each.objects
                if each.data_age_s is not None:
                    gauges["source_data_age_seconds", source, kind] = each.data_age_s + late_s
        if (external := status.external) is not None:
            gauges[("external_conflicts",)] = external.losers
            for zone, names in external.zones.items():
                gauges["external_names", zone] = names
        if status.unknown_clients is not None:
            gauges[("clients_unknown_ratio",)] = status.unknown_clients
        for row in status.indicators:
            for (metric, *percentile), value in _figures(row).items():
                if value is not None:
                    gauges[metric, row.group, row.window, *percentile] = value
        if (table := status.table) is not None:
            gauges[("table_bytes",)] = table.bytes
            gauges[("table_answers",)] = table.answers
            gauges[("table_readers",)] = table.readers
            gauges[("table_commits_total",)] = table.commits


def _figures(row: IndicatorStatus) -> dict[Key, float | None]:
    if row.indicator == ERRORS:
        return {("slo_error_ratio",): None if row.good is None else 1 - row.good}
    name = "slo_programming_seconds" if row.indicator == PROGRAMMING else "slo_lookup_seconds"
    return {(name, "50"): row.p50_s, (name, "99"): row.p99_s}


def _values(kind: KindStatus) -> dict[str, float | None]:
    return {
        "synced": kind.synced,
        "objects": kind.objects,
        "skipped_objects": kind.skipped,
        "resource_version": kind.resource_version,
    }


def _ages_s(kind: KindStatus) -> dict[str, float | None]:
    return {
        "data_age_seconds": kind.data_age_s,
        "last_event_age_seconds": kind.last_event_age_s,
        "last_bookmark_age_seconds": kind.last_bookmark_age_s,
        "last_audit_age_seconds": kind.last_audit_age_s,
    }


def queries(totals: Totals) -> int:
    """Return how many queries a worker has answered."""
    return int(sum(number for key, number in totals.counts.items() if key[0] == "dns_responses_total"))


def upstreams(workers: Sequence[Totals], latencies_s: Mapping[str, float]) -> tuple[UpstreamStatus, ...]:
    """Return the status of each upstream, from the gauges of the workers and from `latencies_s`."""
    names = dict.fromkeys(key[1] for each in workers for key in each.gauges if key[0] == "upstream_open_breakers")
    return tuple(_upstream(name, workers, latencies_s.get(name)) for name in names)


def _upstream(name: str, workers: Sequence[Totals], latency_s: float | None) -> UpstreamStatus:
    broken = [each.gauges.get(("upstream_open_breakers", name)) for each in workers]
    facts = [key[2] for each in workers for key in each.gauges if key[:2] == ("upstream_learned_seconds", name)]
    learned_s = {
        fact: max(each.gauges.get(("upstream_learned_seconds", name, fact), 0.0) for each in workers) for fact in facts
    }
    return UpstreamStatus(
        upstream=name,
        learned_s=learned_s,
        breakers_open=sum(map(bool, broken)),
        workers=len(workers),
        latency_s=latency_s,
    )


def routes(workers: Sequence[Totals]) -> tuple[RouteStatus, ...]:
    """Return the status of each route, from the gauges of the workers."""
    keys = dict.fromkeys(key for each in workers for key in each.gauges if key[0] == "route_open_breakers")
    open_in = {key: sum(bool(each.gauges.get(key)) for each in workers) for key in keys}
    return tuple(
        [RouteStatus(route=key[1], breakers_open=number, workers=len(workers)) for key, number in open_in.items()]
    )


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat that follow the process name. Field N of proc(5) has the index N - 3."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _cpu_s(supervisor: int, pids: Iterable[int]) -> float:
    """Return the total CPU time of these processes and of all children of the supervisor that have exited."""
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
