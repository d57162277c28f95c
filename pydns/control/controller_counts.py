"""What the controller counts, in a block that outlives it: sources begin at zero when they are made anew."""

from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha512
from typing import Any

import msgspec

from pydns.config.model import MetricNames, load
from pydns.kube.events import Apply, Cause, Event
from pydns.kube.objects import EndpointSlice, Service
from pydns.kube.store import Store
from pydns.metrics.totals import PROGRAMMING_S, Follower, Key, decode
from pydns.process.block import Block


class Ledger:
    """The controller's counts."""

    def __init__(self, block: Block) -> None:
        self.names = MetricNames.COREDNS
        self._config = b""
        self._block = block
        self._totals = decode(block.load())
        self._follower = Follower(self._totals)
        self._began: list[tuple[str, float]] = []  # service kind and Unix time of changes that aren't served yet

    def follow(self, status: Mapping[str, Any]) -> None:
        """Take over what the sources of cluster state and configuration have counted, and store it."""
        current: dict[Key, float] = {}
        if (config := status.get("config")) is not None:
            current["reload_failed_total",] = config["refused"]
            current["accepted_configurations_total",] = config["accepted"]
        for kind, about in status["kinds"].items():
            for key, name in _COUNTS.items():
                if key in about:
                    current[name, kind] = about[key]
            for reason, number in about.get("errors", {}).items():
                current["watch_errors_total", kind, reason] = number
        self._follower.follow(current)
        self._block.store(self._totals.encode())

    def configured(self, config: bytes) -> None:
        """Take note of the configuration that is in force, as it lies in the table."""
        if config == self._config:
            return
        self._config = config
        with suppress(msgspec.DecodeError):  # another version's: the names stay
            self.names = load(config).metrics.names
        self._totals.gauges = {("reload_version_info", "sha512", sha512(config).hexdigest()): 1}

    def changed(self, event: Event, store: Store) -> None:
        """Note when what an event changed, and the next commit serves, began."""
        if isinstance(event, Apply) and event.cause is not None:
            service_kind = _service_kind(event.observed.value, event.cause, store)
            if service_kind is not None:
                self._began.append((service_kind, event.cause.at))

    def committed(self, now: float) -> None:
        """Count how long the changes took that are served from now on, by the clock of the wall."""
        for service_kind, at in self._began:
            key = ("kubernetes_dns_programming_duration_seconds", service_kind)
            self._totals.observe(key, PROGRAMMING_S, max(0.0, now - at))
        self._began.clear()


def _service_kind(value: object, cause: Cause, store: Store) -> str | None:
    """Return CoreDNS's name for the kind of Service whose records an object changed. None: its are not measured."""
    if isinstance(value, Service):
        return "cluster_ip" if value.cluster_ips else None
    if isinstance(value, EndpointSlice):
        service = store.service((value.namespace, value.service))
        if service is not None and service.headless:
            return "headless_with_selector" if cause.by_controller else "headless_without_selector"
    return None


_COUNTS = {"relists": "relists_total", "audits": "audits_total", "repaired": "repaired_objects_total"}
