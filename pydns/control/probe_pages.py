"""What /health, /ready and /status say. Knows what the processes show of themselves, and what the controller last said.

/health is about the processes alone and never about the API server, for a restart can't help there. /ready is about the
data, and about whether new clients are welcome.
"""

import json
import time
from http import HTTPStatus
from typing import Any

from pydns.control.http import Page
from pydns.process import memory
from pydns.process.pulse import Pulse


class Probes:
    """The pages. The controller's thread sets `status`, another one asks for pages."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self.status: dict[str, Any] = {"ready": False, "kinds": {}}  # replaced as a whole

    def health(self) -> Page:
        """200 while every worker answers itself; else 503 and which ones don't."""
        now_ns = time.monotonic_ns()
        silent = [f"{row.title}: no answer for {row.silence_s(now_ns):.0f} s" for row in self._pulse.silent(now_ns)]
        return _verdict(silent)

    def ready(self) -> Page:
        """200 once everything has been listed, or was before a restart; else 503 and what is missing."""
        if self._pulse.is_draining:
            return _verdict(["draining"])
        status = self.status
        if status["ready"]:
            return _verdict([])
        missing = [
            f"{kind}: {about['problem'] or 'not yet listed'}"
            for kind, about in status["kinds"].items()
            if not about["synced"]
        ]
        return _verdict(missing or ["starting"])

    def whole_status(self) -> Page:
        """All that is known, as JSON."""
        pids = [row.pid for row in self._pulse.rows if row.pid]
        said = {
            **self.status,
            "draining": self._pulse.is_draining,
            "processes": describe(self._pulse),
            "memory": memory.shared_memory(pids),
        }
        return Page(json.dumps(said, indent=1).encode() + b"\n", content_type="application/json")


def describe(pulse: Pulse) -> list[dict[str, Any]]:
    """Return what each process shows of itself, as JSON has it."""
    now_ns = time.monotonic_ns()
    return [
        {
            "process": row.title,
            "pid": row.pid,
            "restarts": row.restarts,
            "stuck": row.stuck,
            "answered_itself_s_ago": round(row.silence_s(now_ns), 1) if row in pulse.workers else None,
            "late_queries": row.late_queries,
        }
        for row in pulse.rows
    ]


def _verdict(problems: list[str]) -> Page:
    if not problems:
        return Page(b"OK\n")
    return Page("".join(f"{each}\n" for each in problems).encode(), HTTPStatus.SERVICE_UNAVAILABLE)
