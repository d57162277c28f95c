"""The feed of one cluster: a source of objects, and the zone that is built from these objects.

The source's threads post their events to the controller's thread. Only the controller's thread uses the zone.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice

from pydns.control.clock import Clock
from pydns.control.controller_counts import ControllerCounts
from pydns.control.feed import Call, Feed, FeedStatus
from pydns.control.options import ClusterOptions
from pydns.control.source import SourceChoice, SourceKindStatus
from pydns.dns import name
from pydns.kube import reflector
from pydns.kube.events import Apply, Event, InitApply
from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref, Skipped
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Cut, Zone
from pydns.log import Level, Log
from pydns.table.layout import Changes, Contents, Facts
from pydns.table.status import MAX_LISTED, ExternalStatus, Filter, KindStatus

_MAX_TEXT = 200  # the longest text about an object in the status, in characters
_MOST = 250  # records, names and addresses to process for one commit; they take a few milliseconds


class Cluster:
    """The feed of a cluster. It implements the protocol in `control.feed`."""

    def __init__(
        self,
        options: ClusterOptions,
        source: SourceChoice,
        post: Callable[[Call], None],
        counts: ControllerCounts,
        log: Log,
        clock: Clock,
    ) -> None:
        """Create a cluster. `post` makes the controller's thread run a call."""
        self.options = options
        self._serial = 0  # the serial of the last commit
        self._least_version = 0
        self._zone = Zone(options.zone)
        self._cut: Mapping[Ref, Cut] = {}  # the cut Services that were logged
        self._unlisted: frozenset[Kind] = frozenset()  # the unlisted kinds in the last facts
        self._name = source.name
        self._source = source.open(
            options.source,
            lambda events: post(partial(self._apply, events)),
            lambda events: post(partial(self._apply_near, events)),
        )
        self._counts = counts
        self._log = log
        self._clock = clock

    def start(self) -> None:
        """Start the source."""
        self._source.start()

    def stop(self) -> None:
        """Stop the source."""
        self._source.stop()

    def missing(self) -> dict[str, str | None]:
        """Return the kinds that have not been listed completely since the start. The values are their current problems.

        An optional kind is left out if it can't be listed. The controller doesn't wait for it.
        """
        synced, optional = self._zone.synced, self.options.source.optional
        missing = {
            kind.value: each.problem
            for kind, each in self._source.status().items()
            if kind not in synced and not (kind in optional and (each.problem or not each.is_served))
        }
        near = self.options.source.near
        if near is not None and not self._zone.near_synced:
            missing[f"Service in {near}"] = None
        return missing

    def contents(self) -> Iterable[Contents]:
        """Return all records of the zone."""
        return self._zone.contents()

    def changes(self) -> Changes:
        """Return the changes of the zone, at most as many as one commit takes."""
        changes = self._zone.flush(_MOST, self._clock.monotonic())
        self._report_cut()
        self._report_external()
        return changes

    @property
    def is_behind(self) -> bool:
        """Return whether the zone has more changes that are due now."""
        return self._zone.is_due(self._clock.monotonic())

    def facts(self, *, synced: bool) -> Facts:
        """Return the facts of the zone. The serial is the highest resourceVersion, so all replicas have the same one.

        Manifests have no resourceVersion. For a folder of manifests, the serial comes from the clock and always grows.
        """
        self._serial = self._version() or max(int(self._clock.wall()), self._serial + 1)
        self._unlisted = self._unlisted_now()
        return self._zone.facts(serial=self._serial, synced=synced, unlisted=self._unlisted)

    @property
    def has_new_facts(self) -> bool:
        """Return whether the set of unlisted optional kinds changed since the last facts.

        It changes when one of these kinds has been listed, or when the source no longer serves the kind.
        """
        return bool(self.options.source.optional) and self._unlisted_now() != self._unlisted

    def _unlisted_now(self) -> frozenset[Kind]:
        """Return the optional kinds that the source serves but that have not been listed yet."""
        optional = [kind for kind in self.options.source.optional if kind not in self._zone.synced]
        if not optional:
            return frozenset()
        status = self._source.status()
        return frozenset(kind for kind in optional if status[kind].is_served)

    def follow(self, before: Feed) -> None:
        """Continue the serials of the feed `before`. It may have seen newer objects than this feed has listed."""
        if isinstance(before, Cluster):
            self._serial, self._least_version = before._serial, before._version()

    def change_zone(self, options: ZoneOptions) -> None:
        """Build a new zone with other options from the same objects."""
        self.options = self.options._replace(zone=options)
        self._zone = self._zone.with_options(options)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Change the TTL of the zone's records. Returns a function that changes the TTL of a published answer."""
        self.options = self.options._replace(zone=self.options.zone._replace(ttl_s=ttl_s))
        return self._zone.change_ttl(ttl_s)

    def server_addresses(self) -> tuple[bytes, ...]:
        """Return the addresses of the published Services that lead to this server."""
        return self._zone.service_addresses()

    def status(self) -> FeedStatus:
        """Return the status of the source and the objects."""
        namespaces, skipped = self.options.zone.namespaces, self._zone.skipped
        return FeedStatus(
            source=self._name,
            only=Filter(
                namespaces=None if namespaces is None else tuple(sorted(namespaces)), labels=self.options.source.labels
            ),
            skipped={str(ref)[:_MAX_TEXT]: skipped[ref][:_MAX_TEXT] for ref in islice(skipped, MAX_LISTED)},
            cut={str(ref)[:_MAX_TEXT]: str(cut) for ref, cut in islice(self._zone.cut.items(), MAX_LISTED)},
            without_endpoints={
                str(ref)[:_MAX_TEXT]: str(each) for ref, each in islice(self._zone.without_endpoints(), MAX_LISTED)
            },
            kinds={kind.value: self._kind_status(kind, each) for kind, each in self._source.status().items()},
            warnings=self._source.warnings(),
            external=self._external_status(),
        )

    def _external_status(self) -> ExternalStatus | None:
        zones, external = self.options.zone.external, self._zone.external
        if not zones:
            return None
        conflicts = external.conflicts()
        return ExternalStatus(
            zones={name.to_text(zone.apex): external.count(zone.apex) for zone in zones},
            problems={name.to_text(zone.apex): text for zone in zones if (text := external.problem(zone))},
            losers=conflicts.losers,
            conflicts={owner: text[:_MAX_TEXT] for owner, text in conflicts.names.items()},
            notices={each[:_MAX_TEXT]: text[:_MAX_TEXT] for each, text in conflicts.notices.items()},
        )

    def _version(self) -> int:
        return max(self._zone.resource_version, self._least_version)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Apply | InitApply):
                self._report(event.observed)
            if self._zone.apply(event):
                self._counts.changed(event, self._zone)

    def _apply_near(self, events: list[Event]) -> None:
        for event in events:
            self._zone.apply_near(event)

    def _report(self, observed: Observed) -> None:
        """Log that an object can't be used, once for each reason. Log when the object becomes usable again."""
        known = self._zone.skipped.get(observed.ref)
        if isinstance(observed.value, Skipped):
            if known != observed.value.reason:
                reason = observed.value.reason
                self._log("object skipped", level=Level.WARNING, object=str(observed.ref)[:120], reason=reason)
        elif known is not None:
            self._log("object accepted again", object=str(observed.ref)[:120])

    def _report_cut(self) -> None:
        """Log each Service whose answers are too large to be complete. Log the Service once, until it is complete."""
        now = self._zone.cut
        if now is self._cut:
            return
        for ref in now.keys() - self._cut.keys():
            what = str(now[ref])
            self._log("answers cut", level=Level.WARNING, object=str(ref)[:120], reason=f"too large: {what}")
        self._cut = now

    def _report_external(self) -> None:
        """Log each object that an external zone doesn't serve completely. Log it once, until it is complete again."""
        for each, problem in self._zone.external.take_news().items():
            if problem:
                self._log("not served", level=Level.WARNING, object=each[:120], problem=problem[:_MAX_TEXT])
            else:
                self._log("served as a whole again", object=each[:120])

    def _kind_status(self, kind: Kind, source: SourceKindStatus) -> KindStatus:
        now = self._clock.monotonic()
        watched = source if isinstance(source, reflector.Status) else None
        version = watched.resource_version if watched else ""
        return KindStatus(
            synced=kind in self._zone.synced,
            objects=self._zone.count(kind),
            skipped=sum(ref.kind is kind for ref in self._zone.skipped),
            served=source.is_served,
            problem=source.problem,
            last_event_age_s=_age_s(source.last_event, now),
            data_age_s=_age_s(source.last_heard, now),
            resource_version=int(version) if version.isdecimal() else None,
            last_bookmark_age_s=_age_s(watched.last_bookmark, now) if watched else None,
            last_audit_age_s=_age_s(watched.last_audit, now) if watched else None,
            audits=watched.audits if watched else None,
            repaired=watched.repaired if watched else None,
            relists=watched.relists if watched else None,
            errors=watched.errors if watched else None,
        )


def _age_s(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)
