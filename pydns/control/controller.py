"""The controller updates the answer table when the feed or the configuration changes.

The controller is the only writer of the table. Other threads post calls. `control.program` runs these calls in the
controller's thread and then calls `turn`. `turn` compiles the changes and commits them. So the changes of many calls
become one commit, and a single event is committed without a delay. A turn has these steps, in this order:

1. `configure` writes the configuration in force to the table, and passes it to all objects that depend on it.
2. `_choose_feed` reacts to changed cluster options: it makes a new zone, or opens a second feed that takes over later.
3. `publish` writes static records and the changes of the feed to the table.
4. `publish_status` writes the status to the table, and passes it to the probes and the metrics.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pydns.config.model import Config
from pydns.config.summary import external_problem, multicluster_problem
from pydns.control import collector
from pydns.control.clock import Clock, Every
from pydns.control.config_source import Seen
from pydns.control.configuration import Configuration
from pydns.control.feed import Feed, FeedStatus
from pydns.control.options import ClusterOptions
from pydns.control.reporter import Reporter
from pydns.control.source import SourceError
from pydns.control.static_records import StaticRecords
from pydns.dns.address import address_text
from pydns.dns.name import to_text
from pydns.kube.producer import ZoneOptions
from pydns.log import Level, Log
from pydns.table.layout import Changes
from pydns.table.status import Status, TableStatus, encode
from pydns.table.writer import DiskFullError, Writer

if TYPE_CHECKING:
    from pydns.control.health_events import HealthEvents
    from pydns.control.unknown_clients import UnknownClients

LOOK_S = 0.5  # the time between two looks at values that must be polled: nameservers, problems of sources
_STATUS_S = 1.0  # the time between two publications of the status
_MAX_WARNINGS = 100  # the maximum number of warnings in the status
_RETRY_S = 5.0  # the time between two attempts to write to a full disk
_CONFIGURATION, _RECORDS = "configuration", "records"
_READER_CHECK_S = 30.0  # the time between two checks that free the reader slots of killed workers


class Inputs(NamedTuple):
    """The inputs from which the controller builds the table."""

    configuration: Configuration
    statics: StaticRecords
    options: Callable[[Config], ClusterOptions]  # returns the cluster options of a configuration
    open_feed: Callable[[ClusterOptions], Feed]
    source_name: str  # the name of the source of the feeds' objects
    own_addresses: tuple[bytes, ...]  # the addresses at which this server listens
    unknown_clients: "UnknownClients | None" = None
    health: "HealthEvents | None" = None  # None if no Events about this server are posted


class Controller:
    """Publishes the contents of its inputs to the table. One thread calls all methods."""

    def __init__(self, inputs: Inputs, writer: Writer, reporter: Reporter, log: Log, clock: Clock) -> None:
        self._inputs = inputs
        self._writer = writer
        self._reporter = reporter
        self._log = log
        self._clock = clock
        self._look = Every(LOOK_S, clock)
        self._status = Every(_STATUS_S, clock)
        self._reader_check = Every(_READER_CHECK_S, clock)
        self.is_table_new = bool(writer.thrown_away)  # True: the old table is discarded, but workers still have it open
        self._restored = writer.is_whole()  # True: until `_synced`, the table has records from before the start
        self._configured: Config | None = None  # the configuration that was applied last
        self._wanted: ClusterOptions | None = None  # the options of `_configured`; None until a configuration is known
        self._feed: Feed | None = None  # the feed in force: the table has its records
        self._next: Feed | None = None  # the feed that takes over when it has listed all kinds
        self._problem = ""  # why the feed with the wanted options couldn't be opened
        self._published = False  # whether the table has records of `_feed`
        self._synced = False  # whether the table has all records of `_feed`
        self._unwritten: set[str] = set()  # the parts that didn't fit on the disk: `_CONFIGURATION`, `_RECORDS`
        self._retry = Every(_RETRY_S, clock)

    def start(self) -> None:
        """Start to follow the inputs. Raises `SourceError` if an input can't be used at all."""
        self._inputs.statics.start()
        collector.pause()
        self._inputs.configuration.start()
        self.configure()

    def close(self) -> None:
        """Close the table. Threads of the inputs may still post calls after that.

        The caller must not run calls that are posted after `close`.
        """
        self._writer.close()

    def take_configuration(self, seen: Seen) -> None:
        """Take the current contents of the configuration's source, and apply the configuration."""
        self._inputs.configuration.take(seen)
        self.configure()

    @property
    def is_behind(self) -> bool:
        """Return whether the last turn published only a part of the changes.

        If so, the next turn should come at once.
        """
        return self._synced and self._feed is not None and self._feed.is_behind and _RECORDS not in self._unwritten

    def turn(self) -> None:
        """Publish the changes, and do the periodic tasks that are due.

        The loop runs a turn after the posted calls, and at least every `LOOK_S`.
        """
        if self._look.is_due():
            self.configure()
        self.publish()
        if self._status.is_due():
            self.publish_status()
        if self._inputs.unknown_clients is not None:
            self._inputs.unknown_clients.look()
        if self._reader_check.is_due():
            self._writer.free_dead_readers()

    def configure(self) -> None:
        """Apply the configuration if it changed.

        All objects that depend on the configuration get the new configuration.
        """
        configuration, statics = self._inputs.configuration, self._inputs.statics
        try:
            configuration.update_table(self._own_addresses())
            self._has_fit(_CONFIGURATION)
        except DiskFullError as error:
            self._has_not_fit(_CONFIGURATION, error)
        self._reporter.set_configuration(configuration.metric_names, configuration.composed)
        config = configuration.config
        if config is not None and config is not self._configured:
            self._configured = config
            self._wanted = self._inputs.options(config)
            statics.configure(config)
            statics.set_domains([each.domain for each in self._wanted.zone.domains])
            statics.set_reverse_zones(self._wanted.zone.reverse_apexes)
            statics.set_shared_zones(self._wanted.zone.shared_apexes)
            for domain in self._wanted.doubled:
                action = "using the cluster that comes first in the configuration"
                self._log("several clusters have a domain", level=Level.WARNING, domain=to_text(domain), action=action)
            self._report_external(config, [each.domain for each in self._wanted.zone.domains])
        statics.look()
        if self._wanted is not None:
            try:
                self._choose_feed(self._wanted)
            except DiskFullError as error:
                self._fall_behind(error)

    def _report_external(self, config: Config, domains: Sequence[bytes]) -> None:
        for zone in config.external:
            if (problem := external_problem(zone, domains)) is not None:
                self._log("external zone", level=Level.WARNING, zone=to_text(zone.apex), problem=problem)
        for apex in config.multicluster.zones:
            if (problem := multicluster_problem(apex, config, domains)) is not None:
                self._log("zone of ServiceImports", zone=to_text(apex), problem=problem)

    def publish(self) -> None:
        """Write the changes to the table. While the disk is full, try again every `_RETRY_S`."""
        lacks_records = _RECORDS in self._unwritten
        if lacks_records and not self._retry.is_due():
            return
        try:
            if self._configured is not None:  # until the configuration is known, keep the old hosts and zones
                self._inputs.statics.publish()
            if self._next is not None and _is_settled(self._next):
                self._take_over(self._next)
            if self._feed is not None:
                if lacks_records and self._synced:  # the failed commit lost its changes, so write all records
                    self._replace(self._feed)
                self._publish_feed(self._feed)
            self._has_fit(_RECORDS)
        except DiskFullError as error:
            self._fall_behind(error)

    def _fall_behind(self, error: DiskFullError) -> None:
        """Remember that the table lacks records. `publish` writes all records when the disk has space again."""
        self._has_not_fit(_RECORDS, error)
        self._published = self._synced

    def _has_not_fit(self, what: str, error: DiskFullError) -> None:
        """Log once that the disk is full, and remember the part that could not be written.

        `publish` tries the write again later.
        """
        if not self._unwritten:
            action = f"keep answering from the table as it is, and try to write again every {_RETRY_S:.0f} s"
            self._log("disk full", level=Level.ERROR, problem=error, action=action)
        self._unwritten.add(what)

    def _has_fit(self, what: str) -> None:
        """Note that a part has been written to the table.

        If all other parts have been written, too, log that the disk is no longer full.
        """
        if what in self._unwritten:
            self._unwritten.discard(what)
            if not self._unwritten:
                self._log("disk no longer full", action="the table is current again")

    def publish_status(self) -> None:
        """Publish the status to the probes, the metrics and the table."""
        whole = self._reporter.report(self.status())
        if self._inputs.health is not None:
            self._inputs.health.take(whole)
        status = encode(whole)
        with suppress(DiskFullError):  # the next status may fit into the table, and the probes already have this status
            self._writer.put_status(status)

    def status(self) -> Status:
        """Return the part of the status that the controller itself knows."""
        feed = self._feed.status() if self._feed is not None else FeedStatus(self._inputs.source_name)
        is_settled = feed.is_whole or (self._feed is not None and _is_settled(self._feed))
        facts = self._writer.facts()
        warnings = (*feed.warnings, *self._inputs.statics.warnings())
        return Status(
            domain=to_text(facts.domain),
            source=feed.source,
            synced=facts.synced and feed.is_whole,
            restored=self._restored and not self._synced,
            ready=self._restored or (self._synced and self._inputs.statics.is_known and is_settled),
            serial=facts.serial,
            config=self._inputs.configuration.status(self._next.missing() if self._next is not None else {}),
            only=feed.only,
            skipped=dict(feed.skipped),
            cut=dict(feed.cut),
            without_endpoints=dict(feed.without_endpoints),
            kinds=dict(feed.kinds),
            sources=dict(feed.sources),
            zones=self._inputs.statics.status(),
            external=feed.external,
            left_out=len(warnings),
            warnings=warnings[:_MAX_WARNINGS],
            unknown_clients=None if self._inputs.unknown_clients is None else self._inputs.unknown_clients.share,
            table=TableStatus(**self._writer.figures()),
        )

    # How the controller chooses a feed.

    def _choose_feed(self, wanted: ClusterOptions) -> None:
        """Make sure that the feed in force has the wanted options, or that a feed with these options takes over later.

        If only the zone changes, the new zone is published in one commit. A new source must list all objects first.
        Until the new source has done so, the table follows the feed in force. So no client sees a half-listed cluster.
        """
        coming = self._next or self._feed
        if coming is not None and coming.options == wanted:
            return
        if self._next is not None:
            self._next.stop()
            self._next = None
        if self._feed is None or self._feed.options.sources != wanted.sources:
            self._open(wanted)
        elif self._feed.options != wanted:
            self._change_zone(self._feed, wanted.zone)

    def _open(self, wanted: ClusterOptions) -> None:
        """Open a feed. If opening fails, the next `configure` tries again.

        Raises `SourceError` if opening fails and no other feed is in force.
        """
        feed = self._inputs.open_feed(wanted)
        try:
            feed.start()
        except SourceError as error:
            if self._feed is None:
                raise
            if str(error) != self._problem:
                self._problem = str(error)
                self._log("options not in force", level=Level.WARNING, problem=error, action="retry")
            return
        self._problem = ""
        if self._synced:
            self._next = feed
            return
        if self._feed is not None:
            feed.follow(self._feed)
            self._feed.stop()
        self._feed, self._published = feed, False

    def _change_zone(self, feed: Feed, wanted: ZoneOptions) -> None:
        is_ttl_alone = feed.options.zone._replace(ttl_s=wanted.ttl_s) == wanted
        # With external zones, the TTLs in published answers can't be rewritten. A record of an external zone has its
        # own TTL, which must not change. If it is equal to the cluster's old TTL, the two can't be told apart.
        has_own_ttls = bool(wanted.external or wanted.further) or wanted.has_client_classes
        if self._published and is_ttl_alone and not has_own_ttls:
            # Rewriting the TTL in the answers of the table takes a quarter of the time of compiling them.
            revised = feed.change_ttl(wanted.ttl_s)
            self._writer.revise(revised, feed.facts(synced=self._synced))
            return
        feed.change_zone(wanted)
        self._published = False
        if self._synced:
            self._replace(feed)

    def _take_over(self, feed: Feed) -> None:
        """Put the next feed in force: stop the previous feed, and write all records of the new feed."""
        before, self._feed, self._next = self._feed, feed, None
        if before is not None:
            feed.follow(before)
            before.stop()
        self._replace(feed)
        collector.keep()
        self._log("options in force", source=feed.status().source)

    # How the controller writes the table.

    def _publish_feed(self, feed: Feed) -> None:
        """Write all records of a feed when every kind has been listed. In later calls, write only the changes.

        Before that, nothing is written: if EndpointSlices were missing, names of headless Services would be NXDOMAIN.
        If a kind can't be listed, the records of the other kinds are written, but the table is not marked as synced. If
        there are several clusters, a cluster's records are written when that cluster has been listed completely.
        """
        missing = {} if self._synced or feed.has_whole_cluster else feed.missing()
        if missing and not all(missing.values()):
            return
        if self._synced and feed.has_new_cluster:
            self._replace(feed)
            self.publish_status()
            self._log("cluster synced", missing=",".join(feed.missing()) or "none")
        elif self._synced or (missing and self._published):
            self._commit(feed, feed.changes())
            self._reporter.counts.committed(self._clock.wall())
        elif missing:
            for piece in feed.contents():
                self._commit(feed, Changes({**piece.answers}, {**piece.names}))
            self._first_published(feed, missing)
        else:
            self._replace(feed)
            self._first_published(feed, missing)

    def _first_published(self, feed: Feed, missing: Mapping[str, str | None]) -> None:
        self._published, self._synced = True, not missing
        collector.resume()
        self.publish_status()
        status = feed.status()
        counts = " ".join(f"{kind}:{each.objects}" for kind, each in status.kinds.items())
        if missing:
            self._log("serving in part", level=Level.WARNING, missing=",".join(missing), objects=counts)
        else:
            self._log("synced", source=status.source, objects=counts)

    def _replace(self, feed: Feed) -> None:
        self._writer.replace(feed.contents, partial(feed.facts, synced=True), feed.absent)

    def _commit(self, feed: Feed, changes: Changes) -> None:
        if changes or feed.has_new_facts:
            self._writer.commit(changes, feed.facts(synced=self._synced))

    def _own_addresses(self) -> frozenset[str]:
        """Return the addresses of this server: its listen addresses, and the addresses of Services that lead to it."""
        services = self._feed.server_addresses() if self._feed is not None else ()
        return frozenset(map(address_text, (*self._inputs.own_addresses, *services)))


def _is_settled(feed: Feed) -> bool:
    """Return whether a cluster has been listed, and each kind that is still missing has a problem."""
    missing = feed.missing()
    return not missing or (feed.has_whole_cluster and all(missing.values()))
