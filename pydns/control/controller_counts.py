"""The controller's counts, in a block that outlives it. Counts of sources begin at zero when these are opened anew."""

from hashlib import sha512

from pydns.kube.events import Apply, ChangeTime, Event
from pydns.kube.kinds import Kind
from pydns.kube.objects import EndpointSlice, Ref, Service
from pydns.kube.zone import Zone
from pydns.metrics.totals import PROGRAMMING_S, Follower, Key, decode
from pydns.process.block import Block
from pydns.table.status import KindStatus, Status


class ControllerCounts:
    """The controller's counts."""

    def __init__(self, block: Block) -> None:
        self._composed = b""  # the configuration in force
        self._block = block
        self._totals = decode(block.load())
        self._follower = Follower(self._totals)
        self._began: list[tuple[str, float]] = []  # service kind and Unix time of changes that aren't served yet

    def follow(self, status: Status) -> None:
        """Add what has been counted since the last status, and store the counts."""
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
        """Set the configuration in force, as the table has it: its hash is a label."""
        if composed != self._composed:
            self._composed = composed
            self._totals.gauges = {("reload_version_info", "sha512", sha512(composed).hexdigest()): 1}

    def changed(self, event: Event, zone: Zone) -> None:
        """Remember when the change that an event reports began. The next commit serves it."""
        if isinstance(event, Apply) and event.changed is not None:
            service_kind = _service_kind(event.observed.value, event.changed, zone)
            if service_kind is not None:
                self._began.append((service_kind, event.changed.at))

    def committed(self, now: float) -> None:
        """Observe how long changes took to be served. `now` is Unix time."""
        for service_kind, at in self._began:
            key = ("kubernetes_dns_programming_duration_seconds", service_kind)
            self._totals.observe(key, PROGRAMMING_S, max(0.0, now - at))
        self._began.clear()


def _service_kind(value: object, changed: ChangeTime, zone: Zone) -> str | None:
    """Return CoreDNS's name for the kind of Service whose records an object changed. None: not measured."""
    if isinstance(value, Service):
        return "cluster_ip" if value.cluster_ips else None
    if isinstance(value, EndpointSlice):
        service = zone.object(Ref(Kind.SERVICE, *value.key))
        if isinstance(service, Service) and service.headless:
            return "headless_with_selector" if changed.by_controller else "headless_without_selector"
    return None


def _counts(kind: KindStatus) -> dict[str, int | None]:
    return {"relists_total": kind.relists, "audits_total": kind.audits, "repaired_objects_total": kind.repaired}
