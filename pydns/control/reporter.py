"""The reporter adds the status of the other processes to the controller's status, and serves the result.

The controller calls `report` once a second. The HTTP thread answers probes, `/status` and `/metrics` from the last
reported status. The counts in a reported status survive a restart of the controller.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from pydns.config.model import MetricNames
from pydns.control.clock import Clock
from pydns.control.controller_counts import ControllerCounts
from pydns.control.http import Pages, kept
from pydns.control.latencies import Latencies
from pydns.control.metrics_page import MetricsPage, queries, routes, upstreams
from pydns.control.peer_pages import PeerPages
from pydns.control.probe_pages import ProbePages, process_statuses
from pydns.metrics.objectives import Windows
from pydns.metrics.totals import decode
from pydns.process.block import Block
from pydns.process.build import BUILD
from pydns.process.pulse import Pulse
from pydns.table.status import Status

_KEPT_S = 1.0  # the time for which a page is kept for further requests, because making it takes milliseconds


class Shared(NamedTuple):
    """The memory that all processes share."""

    blocks: Sequence[Block]  # blocks of counts: the first is the controller's, the others are the workers'
    pulse: Pulse


class Reporter:
    """The pages for probes and metrics, and the controller's counts."""

    def __init__(self, shared: Shared, port: int, clock: Clock, peers: PeerPages | None = None) -> None:
        """Create the pages. `port` is the DNS port in the label `server` of the metrics.

        If `peers` is None, no pages are served to other replicas.
        """
        self.counts = ControllerCounts(shared.blocks[0])
        self._shared = shared
        self._clock = clock
        self._peers = peers
        self._latencies = Latencies()
        self._windows = Windows()
        self._probes = ProbePages(shared.pulse)
        self._metrics = MetricsPage(shared.blocks, shared.pulse, port)

    def pages(self) -> dict[str, Pages]:
        """Return the pages of each flag. The flag sets the address at which its pages are served."""
        status = kept(self._probes.whole_status, _KEPT_S, self._clock)
        for_peers = {} if self._peers is None else self._peers.pages(status)
        return {
            "--health": {"/health": lambda _: self._probes.health()},
            "--ready": {
                "/ready": lambda _: self._probes.ready(),
                "/status": status,
            },
            "--metrics": {"/metrics": kept(self._metrics.page, _KEPT_S, self._clock), **for_peers},
        }

    def set_configuration(self, names: MetricNames, composed: bytes) -> None:
        """Set the naming scheme of the metrics, and the configuration in force.

        A metric shows the hash of the configuration.
        """
        self._metrics.names = names
        self.counts.set_configuration(composed)

    def report(self, status: Status) -> Status:
        """Serve this status from now on. Return the status with the status of all processes added."""
        controller, *workers = [decode(block.load()) for block in self._shared.blocks]
        now = self._clock.monotonic()
        whole = replace(
            status,
            time=self._clock.wall(),
            build=BUILD,
            queries=tuple(map(queries, workers)),
            upstreams=upstreams(workers, self._latencies.measure(workers, now)),
            routes=routes(workers),
            indicators=self._windows.measure([controller, *workers], now),
            processes=process_statuses(self._shared.pulse),
            draining=self._shared.pulse.is_draining,
        )
        self._probes.status = self._metrics.status = whole
        self.counts.follow(whole)
        return whole
