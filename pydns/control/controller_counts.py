"""Keeps the controller's counts in a block of shared memory that outlives the controller's process.

A source that is opened again counts from zero. This module adds the counts of the source to the earlier totals.
"""

from hashlib import sha512

from pydns.kube.events import Apply, ChangeTime, Event
from pydns.kube.kinds import Kind
from pydns.kube.objects import EndpointSlice, Ref, Service
from pydns.kube.producer import FIRST
from pydns.kube.zone import Zone
from pydns.metrics.totals import PROGRAMMING_S, Follower, Key, decode
from pydns.process.block import Block
from pydns.table.status import KindStatus, Status


class ControllerCounts:
    """Collects the counts of the controller, and stores them in its block."""

    def __init__(self, block: Block) -> None:
        self._composed = b""  # the configuration in force, as bytes
        self._block = block
        self._totals = decode(block.load())
        self._follower = Follower(self._totals)
        self._began: list[tuple[str, float]] = []  # service kind and Unix time of each change that isn't served yet

    def follow(self, status: Status) -> None:
        """Add the counts since the last status to the totals, and store the totals in the block."""
        current: dict[Key, float] = {}
        if (config := status.config) is not None:
            current["reload_failed_total",] = config.refused
            current["accepted_configurations_total",] = config.accepted
        for kind, each in status.kinds.items():
            for name, number in _counts(each).items():
                if number is not None:
                    current[name, kind] = number
            for reason, number in (each.errors or {}).items():
                current["watch_errors_total", kind, reason] = number
        self._follower.follow(current)
        self._block.store(self._totals.encode())

    def set_configuration(self, composed: bytes) -> None:
        """Set the configuration in force. `composed` has the form in which the table stores it.

        The hash of the configuration is a label of a metric.
        """
        if composed != self._composed:
            self._composed = composed
            self._totals.gauges = {("reload_version_info", "sha512", sha512(composed).hexdigest()): 1}

    def changed(self, event: Event, zone: Zone, source: str = FIRST) -> None:
        """Remember when the change that an event reports began. The next commit publishes the change."""
        if isinstance(event, Apply) and event.changed is not None:
            service_kind = _service_kind(event.observed.value, event.changed, zone, source)
            if service_kind is not None:
                self._began.append((service_kind, event.changed.at))

    def committed(self, now: float) -> None:
        """Measure how long the changes took until they were served. `now` is Unix time."""
        for service_kind, at in self._began:
            key = ("kubernetes_dns_programming_duration_seconds", service_kind)
            self._totals.observe(key, PROGRAMMING_S, max(0.0, now - at))
        self._began.clear()


def _service_kind(value: object, changed: ChangeTime, zone: Zone, source: str) -> str | None:
    """Return CoreDNS's name for a kind of Service: the kind whose records changed with the object `value`.

    Return None if CoreDNS doesn't measure this kind of Service.
    """
    if isinstance(value, Service):
        return "cluster_ip" if value.cluster_ips else None
    if isinstance(value, EndpointSlice):
        service = zone.object(Ref(Kind.SERVICE, *value.key), source)
        if isinstance(service, Service) and service.headless:
            return "headless_with_selector" if changed.by_controller else "headless_without_selector"
    return None


def _counts(kind: KindStatus) -> dict[str, int | None]:
    return {"relists_total": kind.relists, "audits_total": kind.audits, "repaired_objects_total": kind.repaired}
