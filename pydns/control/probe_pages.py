"""The pages /health, /ready and /status. Knows the memory that processes share and the controller's last status.

/health is about the processes alone and never about the API server, for a restart can't help there. /ready is about the
data, and about whether new clients are welcome.
"""

import time
from http import HTTPStatus

from msgspec.structs import replace

from pydns.control.http import Page
from pydns.process import memory
from pydns.process.pulse import Pulse
from pydns.table.status import UNKNOWN, ProcessStatus, Status, encode_lines


class ProbePages:
    """The pages. The controller's thread sets `status`, the HTTP thread asks for pages."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.status: Status = UNKNOWN  # replaced as a whole

    def health(self) -> Page:
        """Return 200 while every worker answers itself; else 503 and the workers that don't."""
        now_ns = time.monotonic_ns()
        silent = [f"{row.title}: no answer for {row.silence_s(now_ns):.0f} s" for row in self._pulse.silent(now_ns)]
        return _verdict(silent)

    def ready(self) -> Page:
        """Return 200 once every kind has been listed, or was before a restart, and every worker has answered itself.

        Else return 503 and what is missing. A worker that starts again later doesn't count.
        """
        if self._pulse.is_draining:
            return _verdict(["draining"])
        status = self.status
        if status.ready:
            return _verdict([f"{row.title}: starting" for row in self._pulse.unanswered()])
        missing = [f"{kind}: {problem or 'not yet listed'}" for kind, problem in status.missing.items()]
        return _verdict(missing or ["starting"])

    def whole_status(self) -> Page:
        """Return the status as JSON, with the processes as they are now."""
        status = replace(
            self.status,
            draining=self._pulse.is_draining,
            processes=process_statuses(self._pulse),
            memory=memory.shared_memory([row.pid for row in self._pulse.rows if row.pid]),
        )
        return Page(encode_lines(status), content_type="application/json")


def process_statuses(pulse: Pulse) -> tuple[ProcessStatus, ...]:
    """Return the status of each process, the supervisor's first."""
    now_ns = time.monotonic_ns()
    return tuple(
        ProcessStatus(
            process=row.title,
            pid=row.pid,
            restarts=row.restarts,
            stuck=row.stuck,
            answered_itself_s_ago=round(row.silence_s(now_ns), 1) if row in pulse.workers else None,
            late_queries=row.late_queries,
        )
        for row in pulse.rows
    )


def _verdict(problems: list[str]) -> Page:
    if not problems:
        return Page(b"OK\n")
    return Page("".join(f"{each}\n" for each in problems).encode(), HTTPStatus.SERVICE_UNAVAILABLE)
