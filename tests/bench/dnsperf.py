"""Run dnsperf and parse its output."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.bench import tools

OUTSTANDING = 100  # the default of dnsperf. With so many queries in flight, a server is never idle
MOST_OUTSTANDING = 200_000
PATIENCE_S = 1.0
_MARGIN_S = 30  # a dnsperf that runs this much longer than it should is treated as hanging


class Run(NamedTuple):
    """The statistics of one run."""

    sent: int
    completed: int
    lost: int
    run_time_s: float
    latency_s: float  # the average for a query
    response_octets: int  # the average for a response
    rcodes: dict[str, int]
    reconnections: int = 0  # connections that the server closed

    @property
    def qps(self) -> float:
        """Queries completed per second."""
        return self.completed / self.run_time_s

    def wrong_rcodes(self, shares: dict[str, float], tolerance: float) -> str:
        """Describe the rcode whose share differs by more than `tolerance`. Return an empty text if there is none.

        A run rarely stops exactly at the end of its input, so the shares of a mixed input differ a little. An rcode
        that isn't expected at all must not occur even once.
        """
        for rcode in sorted(shares.keys() | self.rcodes.keys()):
            wanted = shares.get(rcode, 0.0)
            found = self.rcodes.get(rcode, 0) / max(self.completed, 1)
            if abs(found - wanted) > (tolerance if wanted else 0):
                return f"{found:.2%} of the answers are {rcode}, wanted {wanted:.2%}"
        return ""


def parse(output: str) -> Run:
    """Parse dnsperf's statistics. Raises `ValueError` with the output if the output has no statistics."""

    def field(pattern: str) -> str:
        match = re.search(rf"^  {pattern}", output, re.MULTILINE)
        if not match:
            raise ValueError(f"dnsperf printed no {pattern.split(':')[0]!r}:\n{output}")
        return match[1]

    reconnections = re.search(r"^  Reconnections: *(\d+)", output, re.MULTILINE)  # only with TCP
    rcodes = re.findall(r"([A-Z0-9]+) (\d+) \(", field(r"Response codes: *(.*)"))
    return Run(
        sent=int(field(r"Queries sent: *(\d+)")),
        completed=int(field(r"Queries completed: *(\d+)")),
        lost=int(field(r"Queries lost: *(\d+)")),
        run_time_s=float(field(r"Run time \(s\): *([\d.]+)")),
        latency_s=float(field(r"Average Latency \(s\): *([\d.]+)")),
        response_octets=int(field(r"Average packet size: *request \d+, response (\d+)")),
        rcodes={rcode: int(count) for rcode, count in rcodes},
        reconnections=int(reconnections[1]) if reconnections else 0,
    )


def flood(
    port: int, data: Path, seconds: float, core: int, outstanding: int = OUTSTANDING, *, repeat: bool = True
) -> Run:
    """Send queries as fast as the server answers, for `seconds`, from one thread on `core`.

    Without `repeat`, the run also stops at the end of `data`, and no query is sent twice.
    """
    options = ["-l", str(seconds), "-q", str(outstanding), *([] if repeat else ["-n", "1"])]
    return _run(port, data, options, core, seconds + _MARGIN_S)


def flood_tcp(port: int, data: Path, seconds: float, core: int, connections: int, outstanding: int) -> Run:
    """Send queries over TCP connections that stay open, in turn, with `outstanding` queries on all of them together."""
    options = ["-m", "tcp", "-c", str(connections), "-q", str(outstanding), "-l", str(seconds)]
    return _run(port, data, options, core, seconds + _MARGIN_S)


def overload(port: int, data: Path, seconds: float, core: int, rate: int) -> Run:
    """Send `rate` queries per second, even if few are answered. Only replies within `PATIENCE_S` are counted."""
    options = ["-l", str(seconds), "-Q", str(rate), "-q", str(MOST_OUTSTANDING), "-c", "16", "-t", str(PATIENCE_S)]
    return _run(port, data, options, core, seconds + _MARGIN_S)


def ask_once(port: int, data: Path, clients: int) -> Run:
    """Send every query in `data` once. The number of sockets is `clients`."""
    return _run(port, data, ["-n", "1", "-c", str(clients), "-q", str(OUTSTANDING)], None, 2 * _MARGIN_S)


def _run(port: int, data: Path, options: list[str], core: int | None, timeout_s: float) -> Run:
    command = [tools.find("dnsperf"), "-s", "127.0.0.1", "-p", str(port), "-d", str(data), *options]
    done = subprocess.run(tools.pinned(command, core), capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"dnsperf exited with {done.returncode}: {done.stderr.strip()}")
    return parse(done.stdout)
