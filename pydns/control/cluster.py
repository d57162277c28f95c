"""The feed of one or several clusters: the sources of objects, and the zone that is built from these objects.

The sources' threads post their events to the controller's thread. Only the controller's thread uses the zone.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice

from pydns.control.clock import Clock
from pydns.control.controller_counts import ControllerCounts
from pydns.control.feed import Call, Feed, FeedStatus
from pydns.control.options import ClusterOptions
from pydns.control.source import SourceChoice, SourceKindStatus, SourceOptions
from pydns.dns import name
from pydns.kube import reflector
from pydns.kube.events import Apply, Event, InitApply
from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref, Skipped
from pydns.kube.producer import FIRST, ZoneOptions
from pydns.kube.zone import Cut, ForeignRef, Zone, in_cluster
from pydns.log import Level, Log
from pydns.table.layout import Changes, Contents, Facts
from pydns.table.status import MAX_LISTED, ExternalStatus, Filter, KindStatus, SourceStatus

_MAX_LOGGED = 120  # the maximum length of an object's name in the log, in characters
_MAX_TEXT = 200  # the maximum length of a text about an object in the status, in characters
_MOST = 250  # the maximum number of records, names and addresses in one commit: they take a few milliseconds


class Cluster:
    """The feed of one or several clusters. This class implements the protocol `Feed` of `control.feed`.

    Each source has its own state. No source waits for another source that is still listing or that can't be reached.
    """

    def __init__(
        self,
        options: ClusterOptions,
        source: SourceChoice,
        post: Callable[[Call], None],
        counts: ControllerCounts,
        log: Log,
        clock: Clock,
    ) -> None:
        """Create the feed. `post` makes the controller's thread run a call."""
        self.options = options
        self._serial = 0  # the serial of the last commit
        self._least_version = 0
        self._zone = Zone(options.zone)
        self._cut: Mapping[Ref | ForeignRef, Cut] = {}  # the Services with incomplete answers, as they were logged last
        # the optional kinds that were not listed yet when `facts` was last called
        self._unlisted: frozenset[Kind] = frozenset()
        self._away: frozenset[str] = frozenset()  # sources that had not been listed completely at the last `contents`
        self._left_out: frozenset[str] = frozenset()  # the sources of `_away` that have no records in the table
        self._whole: set[str] = set()  # sources that had been listed completely at an earlier `contents`
        self._name = source.name
        self._sources = {
            each.name: source.open(
                each,
                lambda events, name=each.name: post(partial(self._apply, name, events)),  # type: ignore[misc]
                lambda events: post(partial(self._apply_near, events)),
            )
            for each in options.sources
        }
        self._counts = counts
        self._log = log
        self._clock = clock

    def start(self) -> None:
        """Start the sources."""
        for each in self._sources.values():
            each.start()

    def stop(self) -> None:
        """Stop the sources."""
        for each in self._sources.values():
            each.stop()

    def missing(self) -> dict[str, str | None]:
        """Return the kinds that have not been listed completely since the start.

        The values are the current problems of the kinds. An optional kind that can't be listed is left out, because the
        controller doesn't wait for such a kind.
        """
        return {
            f"{kind}{_of_source(each)}": problem
            for each in self.options.sources
            for kind, problem in self._missing(each).items()
        }

    def _missing(self, options: SourceOptions) -> dict[str, str | None]:
        """Return the result of `missing` for one source."""
        synced, optional = self._zone.synced(options.name), options.optional
        unawaited = {Kind.POD} if options.client_pods and not options.pods else set()
        missing = {
            kind.value: each.problem
            for kind, each in self._sources[options.name].status().items()
            if kind not in synced | unawaited and not (kind in optional and (each.problem or not each.is_served))
        }
        if options.near is not None and not self._zone.near_synced:
            missing[f"Service in {options.near}"] = None
        return missing

    @property
    def has_whole_cluster(self) -> bool:
        """Return whether a source has been listed completely."""
        return any(not self._missing(each) for each in self.options.sources)

    @property
    def has_new_cluster(self) -> bool:
        """Return whether the next call of `contents` returns more records of a source than the last call."""
        return bool(self._away) and (self._away, self._left_out) != self._incomplete()

    def _incomplete(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return the sources that have not been listed completely, and the sources that have no records yet.

        A source is served in part if its missing kinds can't be listed. If there is only one source, it is always
        served. A source that is served once is served from then on, even if a kind is missing later. A kind is missing
        later if the API server has added it, or can list it again.
        """
        if len(self._sources) == 1:
            return frozenset(), frozenset()
        missing = {each.name: self._missing(each) for each in self.options.sources if each.name not in self._whole}
        away = frozenset([source for source, kinds in missing.items() if kinds])
        can_be_served = [each for each in away if self._zone.synced(each) and all(missing[each].values())]
        return away, away.difference(can_be_served, self._away - self._left_out)

    def contents(self) -> Iterable[Contents]:
        """Return all records of the sources that can be served."""
        self._away, self._left_out = self._incomplete()
        self._whole.update(self._sources.keys() - self._away)
        return self._zone.contents(self._left_out)

    def absent(self) -> tuple[bytes, ...]:
        """Return the zones of the sources that had not been listed completely at the last `contents`."""
        zone = self.options.zone
        found = [each.domain for each in zone.domains if each.source in self._away]
        if FIRST in self._away:
            found += zone.multicluster
        if not self._away.isdisjoint(zone.exposed):
            found += [each.apex for each in zone.external]
        return tuple(found)

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
        """Return the facts of the zone.

        The serial is the highest resourceVersion, so all replicas have the same serial. Manifests have no
        resourceVersion. For a folder of manifests, the serial comes from the clock and always grows.
        """
        self._serial = self._version() or max(int(self._clock.wall()), self._serial + 1)
        self._unlisted = self._unlisted_now()
        return self._zone.facts(serial=self._serial, synced=synced, unlisted=self._unlisted, away=self._away)

    @property
    def has_new_facts(self) -> bool:
        """Return whether the set of unlisted optional kinds changed since `facts` was last called.

        The set changes when a kind has been listed, or when the source no longer serves the kind.
        """
        return any(each.optional for each in self.options.sources) and self._unlisted_now() != self._unlisted

    def _unlisted_now(self) -> frozenset[Kind]:
        """Return the optional kinds that the source serves but that have not been listed yet."""
        found: set[Kind] = set()
        for source, optional in ((each.name, each.optional) for each in self.options.sources):
            if missing := [kind for kind in optional if kind not in self._zone.synced(source)]:
                status = self._sources[source].status()
                found.update(kind for kind in missing if kind in status and status[kind].is_served)
        return frozenset(found)

    def follow(self, before: Feed) -> None:
        """Continue the serials of the feed `before`. The feed `before` may have seen newer objects."""
        if isinstance(before, Cluster):
            self._serial, self._least_version = before._serial, before._version()

    def change_zone(self, options: ZoneOptions) -> None:
        """Build a new zone with other options from the same objects."""
        self.options = self.options._replace(zone=options)
        self._zone = self._zone.with_options(options)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Change the TTL of the zone's records. Return a function that changes the TTL of a published answer."""
        self.options = self.options._replace(zone=self.options.zone._replace(ttl_s=ttl_s))
        return self._zone.change_ttl(ttl_s)

    def server_addresses(self) -> tuple[bytes, ...]:
        """Return the addresses of the published Services that have this server as an endpoint."""
        return self._zone.service_addresses()

    def status(self) -> FeedStatus:
        """Return the status of the source and the objects."""
        namespaces, skipped = self.options.zone.namespaces, self._skipped()
        first, *further = self.options.sources
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
            kinds=self._kind_statuses(first.name),
            warnings=[text for each in self._sources.values() for text in each.warnings()],
            external=self._external_status(),
            is_whole=not self._away,
            sources={each.name: self._source_status(each) for each in further},
        )

    def _source_status(self, options: SourceOptions) -> SourceStatus:
        missing = self._missing(options)
        domains = [name.to_text(each.domain) for each in self.options.zone.domains if each.source == options.name]
        return SourceStatus(
            cluster=options.cluster,
            labels=options.labels,
            domains=tuple(domains),
            synced=not missing,
            kinds=self._kind_statuses(options.name),
        )

    def _skipped(self) -> Mapping[Ref | ForeignRef, str]:
        return {
            in_cluster(ref, each.cluster): reason
            for each in self.options.sources
            for ref, reason in self._zone.skipped(each.name).items()
        }

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

    def _apply(self, source: str, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Apply | InitApply):
                self._report(event.observed, source)
            if self._zone.apply(event, source):
                self._counts.changed(event, self._zone, source)

    def _apply_near(self, events: list[Event]) -> None:
        for event in events:
            self._zone.apply_near(event)

    def _report(self, observed: Observed, source: str) -> None:
        """Log that an object can't be used, once for each reason. Also log when the object can be used again."""
        known = self._zone.skipped(source).get(observed.ref)
        reason = observed.value.reason if isinstance(observed.value, Skipped) else None
        if reason == known:
            return
        cluster = next(each.cluster for each in self.options.sources if each.name == source)
        text = str(in_cluster(observed.ref, cluster))[:_MAX_LOGGED]
        if reason is not None:
            self._log("object skipped", level=Level.WARNING, object=text, reason=reason)
        else:
            self._log("object accepted again", object=text)

    def _report_cut(self) -> None:
        """Log each Service whose answers are too large to be complete.

        The same Service is logged again only after its answers were complete.
        """
        now = self._zone.cut
        if now is self._cut:
            return
        for ref in now.keys() - self._cut.keys():
            what = str(now[ref])
            self._log("answers cut", level=Level.WARNING, object=str(ref)[:_MAX_LOGGED], reason=f"too large: {what}")
        self._cut = now

    def _report_external(self) -> None:
        """Log each object that an external zone doesn't serve completely.

        The same object is logged again only after it was served completely.
        """
        for each, problem in self._zone.external.take_news().items():
            if problem:
                self._log("not served", level=Level.WARNING, object=each[:_MAX_LOGGED], problem=problem[:_MAX_TEXT])
            else:
                self._log("all names and records are served again", object=each[:_MAX_LOGGED])

    def _kind_statuses(self, source: str) -> dict[str, KindStatus]:
        status = self._sources[source].status()
        return {kind.value: self._kind_status(kind, each, source) for kind, each in status.items()}

    def _kind_status(self, kind: Kind, source: SourceKindStatus, source_name: str) -> KindStatus:
        now = self._clock.monotonic()
        watched = source if isinstance(source, reflector.Status) else None
        version = watched.resource_version if watched else ""
        return KindStatus(
            synced=kind in self._zone.synced(source_name),
            objects=self._zone.count(kind, source_name),
            skipped=sum(ref.kind is kind for ref in self._zone.skipped(source_name)),
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


def _of_source(options: SourceOptions) -> str:
    """Return the name of the source as a text to append to a kind. The text is empty for the first source."""
    return f" of {options.name}" if options.name else ""


def _age_s(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)
