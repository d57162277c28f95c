"""Reporting: completes the controller's status with that of the other processes, and serves it.

The controller calls `report` once a second. From then on the HTTP thread answers probes, `/status` and `/metrics` from
that status, and counts that belong to it outlive the controller.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from pydns.config.model import MetricNames
from pydns.control.clock import Clock
from pydns.control.controller_counts import ControllerCounts
from pydns.control.http import Pages, kept
from pydns.control.latencies import Latencies
from pydns.control.metrics_page import MetricsPage, queries, upstreams
from pydns.control.probe_pages import ProbePages, process_statuses
from pydns.metrics.totals import decode
from pydns.process.block import Block
from pydns.process.pulse import Pulse
from pydns.table.status import Status

_KEPT_S = 1.0  # pages that cost milliseconds are made once in this time, however often clients ask


class Shared(NamedTuple):
    """The memory that all processes share."""

    blocks: Sequence[Block]  # counts: the controller's, then one block for each worker
    pulse: Pulse


class Reporter:
    """The pages for probes and metrics, and the controller's counts."""

    def __init__(self, shared: Shared, port: int, clock: Clock) -> None:
        """Queries are counted for `port`."""
        self.counts = ControllerCounts(shared.blocks[0])
        self._shared = shared
        self._clock = clock
        self._latencies = Latencies()
        self._probes = ProbePages(shared.pulse)
        self._metrics = MetricsPage(shared.blocks, shared.pulse, port)

    def pages(self) -> dict[str, Pages]:
        """Return the pages by the flag that says where they are served."""
        return {
            "--health": {"/health": self._probes.health},
            "--ready": {"/ready": self._probes.ready, "/status": kept(self._probes.whole_status, _KEPT_S, self._clock)},
            "--metrics": {"/metrics": kept(self._metrics.page, _KEPT_S, self._clock)},
        }

    def set_configuration(self, names: MetricNames, composed: bytes) -> None:
        """Expose metrics by these names, and the hash of the configuration in force as one of them."""
        self._metrics.names = names
        self.counts.set_configuration(composed)

    def report(self, status: Status) -> Status:
        """Serve a status from now on. Returns it with what is known of the other processes."""
        workers = [decode(block.load()) for block in self._shared.blocks[1:]]
        whole = replace(
            status,
            time=self._clock.wall(),
            queries=tuple(map(queries, workers)),
            upstreams=upstreams(workers, self._latencies.measure(workers, self._clock.monotonic())),
            processes=process_statuses(self._shared.pulse),
            draining=self._shared.pulse.is_draining,
        )
        self._probes.status = self._metrics.status = whole
        self.counts.follow(whole)
        return whole
