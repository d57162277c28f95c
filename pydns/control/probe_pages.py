"""Makes the pages /health, /ready and /status.

The pages are made from the memory that the processes share, and from the controller's status. /health checks only the
processes. /health never checks the API server, because a restart of pydns doesn't repair the API server. /ready checks
whether the data of the cluster is complete, and whether the server takes new clients.
"""

import time
from http import HTTPStatus

from msgspec.structs import replace

from pydns.control.http import Page
from pydns.process import memory
from pydns.process.pulse import Pulse
from pydns.table.status import UNKNOWN, ProcessStatus, Status, encode_lines


class ProbePages:
    """Makes the pages. The controller's thread sets `status`. The HTTP thread asks for the pages."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.status: Status = UNKNOWN  # replaced as a whole, never modified

    def health(self) -> Page:
        """Return 200 while every worker answers its self-checks.

        While a worker is silent, return 503 and the names of the silent workers.
        """
        now_ns = time.monotonic_ns()
        silent = [f"{row.title}: no answer for {row.silence_s(now_ns):.0f} s" for row in self._pulse.silent(now_ns)]
        return _verdict(silent)

    def ready(self) -> Page:
        """Return 200 if the server is ready, otherwise 503 and the list of what is missing.

        The server is ready when every kind has been listed and every worker has answered a self-check. Kinds that were
        listed before a restart are treated as listed. A worker that is restarted later doesn't make the server unready.
        """
        if self._pulse.is_draining:
            return _verdict(["draining"])
        status = self.status
        if status.ready:
            return _verdict([f"{row.title}: starting" for row in self._pulse.unanswered()])
        missing = [f"{kind}: {problem or 'not yet listed'}" for kind, problem in status.missing.items()]
        return _verdict(missing or ["starting"])

    def whole_status(self) -> Page:
        """Return the status as JSON, with the current state of the processes."""
        status = replace(
            self.status,
            draining=self._pulse.is_draining,
            processes=process_statuses(self._pulse),
            memory=memory.shared_memory([row.pid for row in self._pulse.rows if row.pid]),
        )
        return Page(encode_lines(status), content_type="application/json")


def process_statuses(pulse: Pulse) -> tuple[ProcessStatus, ...]:
    """Return the status of each process. The first status is that of the supervisor."""
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
