"""Runs dnsperf and parses its output."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.bench import tools

OUTSTANDING = 100  # dnsperf's default: deep enough that a server is never idle
MOST_OUTSTANDING = 200_000
PATIENCE_S = 1.0
_MARGIN_S = 30  # past the run's own time, after which dnsperf hangs


class Run(NamedTuple):
    """One run's statistics."""

    sent: int
    completed: int
    lost: int
    run_time_s: float
    latency_s: float  # average
    response_octets: int  # average
    rcodes: dict[str, int]

    @property
    def qps(self) -> float:
        """Queries completed per second."""
        return self.completed / self.run_time_s

    def wrong_rcodes(self, shares: dict[str, float], tolerance: float) -> str:
        """Describe the rcode whose share is off by more than `tolerance`; empty if none is.

        A run rarely ends where its input does, so shares of a mixed input differ a little. An rcode that isn't
        wanted at all must not come once.
        """
        for rcode in sorted(shares.keys() | self.rcodes.keys()):
            wanted = shares.get(rcode, 0.0)
            found = self.rcodes.get(rcode, 0) / max(self.completed, 1)
            if abs(found - wanted) > (tolerance if wanted else 0):
                return f"{found:.2%} of the answers are {rcode}, wanted {wanted:.2%}"
        return ""


def parse(output: str) -> Run:
    """Parse dnsperf's statistics. Raises `ValueError` that quotes an output without them."""

    def field(pattern: str) -> str:
        match = re.search(rf"^  {pattern}", output, re.MULTILINE)
        if not match:
            raise ValueError(f"dnsperf printed no {pattern.split(':')[0]!r}:\n{output}")
        return match[1]

    rcodes = re.findall(r"([A-Z0-9]+) (\d+) \(", field(r"Response codes: *(.*)"))
    return Run(
        sent=int(field(r"Queries sent: *(\d+)")),
        completed=int(field(r"Queries completed: *(\d+)")),
        lost=int(field(r"Queries lost: *(\d+)")),
        run_time_s=float(field(r"Run time \(s\): *([\d.]+)")),
        latency_s=float(field(r"Average Latency \(s\): *([\d.]+)")),
        response_octets=int(field(r"Average packet size: *request \d+, response (\d+)")),
        rcodes={rcode: int(count) for rcode, count in rcodes},
    )


def flood(
    port: int, data: Path, seconds: float, core: int, outstanding: int = OUTSTANDING, *, repeat: bool = True
) -> Run:
    """Ask as fast as the server answers, for `seconds`, from one thread on `core`.

    Without `repeat`, the end of `data` ends the run too: nothing is asked twice.
    """
    options = ["-l", str(seconds), "-q", str(outstanding), *([] if repeat else ["-n", "1"])]
    return _run(port, data, options, core, seconds + _MARGIN_S)


def overload(port: int, data: Path, seconds: float, core: int, rate: int) -> Run:
    """Send `rate` queries per second, however few are answered. A reply counts within `PATIENCE_S`."""
    options = ["-l", str(seconds), "-Q", str(rate), "-q", str(MOST_OUTSTANDING), "-c", "16", "-t", str(PATIENCE_S)]
    return _run(port, data, options, core, seconds + _MARGIN_S)


def ask_once(port: int, data: Path, clients: int) -> Run:
    """Ask everything in `data` once, from as many sockets as there are `clients`."""
    return _run(port, data, ["-n", "1", "-c", str(clients), "-q", str(OUTSTANDING)], None, 2 * _MARGIN_S)


def _run(port: int, data: Path, options: list[str], core: int | None, timeout_s: float) -> Run:
    command = [tools.find("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", str(data), *options]
    done = subprocess.run(tools.pinned(command, core), capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"dnsperf exited with {done.returncode}: {done.stderr.strip()}")
    return parse(done.stdout)
