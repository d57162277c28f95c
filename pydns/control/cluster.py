"""A cluster as it is served: the options, the source that was opened by them, and the zone that it feeds.

What a live configuration changes is either the zone alone, made anew from the same objects, or all three together.
Knows no table: the controller publishes what is in the zone.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from pydns.config.flags import with_options_of
from pydns.config.model import Config
from pydns.config.settings import PodsMode, Settings
from pydns.control.controller_counts import Ledger
from pydns.kube.events import Apply, Event, InitApply
from pydns.kube.objects import Kind, Observed, Skipped
from pydns.kube.zone import Zone, ZoneOptions
from pydns.log import Level, Log

Call = Callable[[], None]


class KindStatus(Protocol):
    """What a source says of one kind."""

    @property
    def synced(self) -> bool:
        """Whether it has been listed to the end."""

    @property
    def problem(self) -> str | None:
        """What is wrong now."""

    @property
    def last_event(self) -> float | None:
        """When something of the kind last changed, by the monotonic clock."""

    @property
    def last_heard(self) -> float | None:
        """When the source last showed that what it delivered is current."""


class Source(Protocol):
    """Where cluster state comes from."""

    def start(self) -> None:
        """Begin to deliver events."""

    def stop(self) -> None:
        """End."""

    def status(self) -> Mapping[Kind, KindStatus]:
        """Say how it does."""


class SourceOptions(NamedTuple):
    """What is asked of the source. Others need another listing."""

    labels: str | None
    endpoint_pod_names: bool
    pods: bool  # whether Pods are wanted


class ClusterOptions(NamedTuple):
    """What is served of a cluster, and how."""

    zone: ZoneOptions
    source: SourceOptions


def cluster_options(settings: Settings, config: Config, own_addresses: tuple[bytes, ...]) -> ClusterOptions:
    """Return what the configuration says, and the command line where that is silent."""
    chosen = with_options_of(settings, config)
    return ClusterOptions(
        ZoneOptions(
            domain=chosen.domain,
            reverse_zones=chosen.reverse_zones,
            ttl_s=chosen.ttl_s,
            pods=chosen.pods,
            namespaces=None if chosen.namespaces is None else frozenset(chosen.namespaces),
            own_addresses=own_addresses,
        ),
        SourceOptions(chosen.labels, chosen.endpoint_pod_names, pods=chosen.pods is PodsMode.VERIFIED),
    )


OpenSource = Callable[[SourceOptions, Callable[[list[Event]], None]], Source]


class Cluster:
    """One of them. Its source's threads `post` calls for the controller's thread, which has the zone to itself."""

    def __init__(
        self, options: ClusterOptions, open_source: OpenSource, post: Callable[[Call], None], log: Log, ledger: Ledger
    ) -> None:
        self.options = options
        self.zone = Zone(options.zone)
        self.source = open_source(options.source, lambda events: post(partial(self._apply, events)))
        self._log = log
        self._ledger = ledger

    def stop(self) -> None:
        """End its source."""
        self.source.stop()

    def change_zone(self, options: ZoneOptions) -> None:
        """Go on with another zone of the same objects, of which nothing is published yet."""
        self.options = self.options._replace(zone=options)
        self.zone = self.zone.with_options(options)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Have its records have another TTL. Returns what makes a published answer one with that TTL."""
        self.options = self.options._replace(zone=self.options.zone._replace(ttl_s=ttl_s))
        return self.zone.change_ttl(ttl_s)

    def missing(self) -> dict[Kind, str | None]:
        """Return the kinds that have never been listed to the end, and what is wrong with them now."""
        statuses = self.source.status()
        return {kind: statuses[kind].problem for kind in statuses if kind not in self.zone.store.synced}

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Apply | InitApply):
                self._report(event.observed)
            if self.zone.apply(event):
                self._ledger.changed(event, self.zone.store)

    def _report(self, observed: Observed) -> None:
        """Log an object that can't be used, once for each reason."""
        known = self.zone.store.skipped.get(observed.ref)
        if isinstance(observed.value, Skipped):
            if known != observed.value.reason:
                reason = observed.value.reason
                self._log("object skipped", level=Level.WARNING, object=str(observed.ref)[:120], reason=reason)
        elif known is not None:
            self._log("object is right again", object=str(observed.ref)[:120])
