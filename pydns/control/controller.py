"""The controller process: keeps the answer table as the cluster and the configuration are. The table's only writer.

Threads of sources post calls on a queue; this thread makes those that are there, compiles what changed and commits it,
so a burst of events is one commit and a single one waits for nobody.
"""

import gc
import json
import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from pydns.config.model import Config
from pydns.config.selector import parse as parse_selector
from pydns.config.settings import Settings
from pydns.control import http
from pydns.control.cluster import Call, Cluster, ClusterOptions, OpenSource, Source, SourceOptions, cluster_options
from pydns.control.config_file import ConfigFile
from pydns.control.config_source import ConfigSource, Seen
from pydns.control.configuration import Configuration
from pydns.control.controller_counts import Ledger
from pydns.control.manifest_folder import ManifestFolder
from pydns.control.metrics_page import Metrics, queries, upstreams
from pydns.control.probe_pages import Probes, describe
from pydns.control.resolv_conf import ResolvConf
from pydns.control.source import SourceError
from pydns.control.static_records import StaticRecords
from pydns.control.status import describe_kind
from pydns.control.zone_folder import ZoneFolder
from pydns.dns.address import address_text, parse_address
from pydns.dns.name import to_text
from pydns.kube.events import Event
from pydns.kube.objects import RECORD_KINDS, Kind, Options
from pydns.kube.zone import ZoneOptions
from pydns.kube.zone import facts as zone_facts
from pydns.log import Level, Log
from pydns.metrics.totals import decode
from pydns.process.block import Block
from pydns.process.pulse import Pulse
from pydns.process.supervisor import StartError
from pydns.table.layout import Changes, Facts
from pydns.table.writer import Writer, WriterError

_STATUS_S = 1.0  # how often it says how it is
_LOOK_S = 0.5  # how often it looks at what nobody tells it: nameservers, problems
_MAX_SKIPPED, _MAX_TEXT = 100, 200  # objects that it says are skipped, and characters about one
_READER_CHECK_S = 30.0  # how soon the slot of a killed worker is given back

Post = Callable[[Call], None]


def run(
    settings: Settings,
    log: Log,
    ready: int,
    lifeline: int,
    pulse: Pulse,
    http_sockets: Mapping[str, socket.socket],
    blocks: Sequence[Block],
) -> None:
    """Keep the table until SIGTERM, or until the other end of `lifeline` is closed, and answer HTTP at `http_sockets`.

    Writes an octet to `ready`, if it is one, when there is a table to read. Raises `StartError` before that if it
    can't begin.
    """
    end_with_threads(log)
    stopping = threading.Event()
    calls: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def stop(*_: object) -> None:
        stopping.set()
        calls.put(_nothing)

    signal.signal(signal.SIGTERM, stop)

    def stop_with_supervisor() -> None:
        select.select([lifeline], [], [])  # not read: workers have set the pipe that they share to not blocking
        stop()

    threading.Thread(target=stop_with_supervisor, daemon=True).start()
    probes = Probes(pulse)
    ledger = Ledger(blocks[0])
    metrics = Metrics(blocks, pulse, lambda: probes.status, lambda: ledger.names, settings.listen[0].port)
    pages: dict[str, http.Pages] = {
        "--health": {"/health": probes.health},
        "--ready": {"/ready": probes.ready, "/status": probes.whole_status},
        "--metrics": {"/metrics": metrics.page},
    }
    http.start([(sock, pages[flag]) for flag, sock in http_sockets.items()], log)
    options = cluster_options(settings, Config(), _own_addresses(settings))
    try:
        writer = Writer(settings.state_dir, zone_facts(options.zone, serial=0, synced=False))
        zone_folder = ZoneFolder(settings.zones, lambda: calls.put(_nothing), log) if settings.zones else None
        statics = StaticRecords(writer, options.zone.domain, options.zone.reverse_zones, log, zone_folder)
        if zone_folder:
            zone_folder.start()
        gc.disable()  # until the cluster is loaded: what is loaded is kept
        controller = Controller(settings, writer, calls.put, log, probes, pulse, statics, ledger, blocks)
        controller.start()
        while not calls.empty():  # what a file says is known at once, and so is whether the cluster can be had
            calls.get_nowait()()
        statics.publish()  # they are complete, whenever the cluster is
    except (WriterError, SourceError) as error:
        raise StartError(str(error)) from None
    controller.say()
    if ready >= 0:
        os.write(ready, b"1")
        os.close(ready)
    controller.run(calls, stopping)
    controller.stop()
    if zone_folder:
        zone_folder.stop()
    writer.close()


def end_with_threads(log: Log) -> None:
    """Have a thread that fails take this process with it: the supervisor starts it again, and nothing stands still."""

    def end(failed: threading.ExceptHookArgs) -> None:
        thread = failed.thread.name if failed.thread is not None else "?"
        error = f"{failed.exc_type.__name__}: {failed.exc_value}"
        log("thread failed", level=Level.ERROR, thread=thread, error=error, action="end this process")
        os._exit(1)

    threading.excepthook = end


class Controller:
    """Brings what sources tell of the cluster, and of the configuration, into the table."""

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        post: Post,
        log: Log,
        probes: Probes,
        pulse: Pulse,
        statics: StaticRecords,
        ledger: Ledger,
        blocks: Sequence[Block],
    ) -> None:
        self._settings = settings
        self._own_addresses = _own_addresses(settings)
        self._writer = writer
        self._post = post
        self._log = log
        self._probes = probes
        self._pulse = pulse
        self._statics = statics
        self._ledger = ledger
        self._blocks = blocks
        self._restored = writer.is_whole()  # answers come from a table from before the restart, until synced
        self._open_source, self._source_name, config_source = _sources(settings, log, self._on_config)
        self._config_source = config_source
        self._configuration = Configuration(config_source, writer, ResolvConf(settings.resolv_conf, log), log)
        self._configured: Config | None = None  # what was handed out
        self._wanted: ClusterOptions | None = None
        self._cluster: Cluster | None = None  # from when the configuration is known
        self._next: Cluster | None = None  # with the wanted options; takes over when it has been listed
        self._trouble = ""  # why what is wanted can't be opened
        self._published = False
        self._synced = False
        self._serial = 0

    def start(self) -> None:
        """Begin to listen to the sources."""
        if self._config_source is not None:
            self._config_source.start()
        self.configure()

    def stop(self) -> None:
        """Stop listening."""
        for each in (self._config_source, self._cluster, self._next):
            if each is not None:
                each.stop()

    def run(self, calls: "queue.SimpleQueue[Call]", stopping: threading.Event) -> None:
        """Work until `stopping` is set."""
        said = checked = looked = time.monotonic()
        self.publish()  # a folder has been read by now
        while not stopping.is_set():
            try:
                calls.get(timeout=_LOOK_S)()
                while not calls.empty():
                    calls.get_nowait()()
            except queue.Empty:
                pass
            now = time.monotonic()
            if now - looked >= _LOOK_S:
                looked = now
                self.configure()
            self._log.summarize()
            self._statics.publish()
            self.publish()
            if now - said >= _STATUS_S:
                said = now
                self.say()
            if now - checked >= _READER_CHECK_S:
                checked = now
                self._writer.free_dead_readers()

    def configure(self) -> None:
        """Hand out the configuration that is in force, if it is another one now. Here is who is interested in it."""
        self._configuration.poll(self._own_texts())
        config = self._configuration.config
        if config is not None and config is not self._configured:
            self._configured = config
            self._wanted = cluster_options(self._settings, config, self._own_addresses)
            self._statics.set_hosts(config.hosts)
            self._statics.set_reverse_zones(self._wanted.zone.reverse_zones)
        self._serve_wanted()

    def publish(self) -> None:
        """Bring what has changed into the table.

        The first time is when every kind has been listed: Services without their slices would make headless names
        NXDOMAIN. A kind that can't be had doesn't hold up the others, but the table is not synced then.
        """
        if self._next is not None and not self._next.missing():
            self._take_over(self._next)
        cluster = self._cluster
        if cluster is None:
            return
        if self._synced:
            self._commit_changes(cluster)
            return
        missing = cluster.missing()
        if missing and not all(missing.values()):
            return
        if missing and self._published:
            self._commit_changes(cluster)
            return
        if missing:
            facts = self._facts(cluster, synced=False)
            for piece in cluster.zone.contents():
                self._writer.commit(Changes({**piece.answers}, {**piece.names}), facts)
        else:
            self._replace(cluster)
        self._published, self._synced = True, not missing
        gc.enable()
        _keep_for_good()
        self.say()
        counts = " ".join(f"{kind.value}:{cluster.zone.store.count(kind)}" for kind in cluster.source.status())
        if missing:
            names = ",".join(kind.value for kind in missing)
            self._log("serving in part", level=Level.WARNING, missing=names, objects=counts)
        else:
            self._log("synced", source=self._source_name, objects=counts)

    def say(self) -> None:
        """Say how it is, to the probes and in the table."""
        status = self._probes.status = self._status()
        self._ledger.configured(self._writer.config())
        self._ledger.follow(status)
        self._writer.put_status(json.dumps(status | {"processes": describe(self._pulse)}).encode())

    def _on_config(self, seen: Seen) -> None:
        def take() -> None:
            self._configuration.take(seen)
            self.configure()

        self._post(take)

    def _serve_wanted(self) -> None:
        """Come closer to what is wanted.

        Another zone of the same objects is one commit. Another source has to list everything first, and until it has,
        the table follows the one before: nobody sees a half-listed cluster.
        """
        wanted = self._wanted
        coming = self._next or self._cluster
        if wanted is None or (coming is not None and coming.options == wanted):
            return
        if self._next is not None:
            self._next.stop()
            self._next = None
        cluster = self._cluster
        if cluster is not None and cluster.options.source == wanted.source:
            if cluster.options != wanted:
                self._change_zone(cluster, wanted.zone)
            return
        opened = self._open(wanted)
        if opened is not None and self._synced:
            self._next = opened
        elif opened is not None:
            if cluster is not None:
                cluster.stop()
            self._cluster, self._published = opened, False

    def _change_zone(self, cluster: Cluster, wanted: ZoneOptions) -> None:
        if self._published and cluster.options.zone._replace(ttl_s=wanted.ttl_s) == wanted:
            revise = cluster.change_ttl(wanted.ttl_s)
            self._writer.revise(revise, self._facts(cluster, synced=self._synced))
            return
        cluster.change_zone(wanted)
        self._published = False
        if self._synced:
            self._replace(cluster)

    def _open(self, wanted: ClusterOptions) -> Cluster | None:
        cluster = Cluster(wanted, self._open_source, self._post, self._log, self._ledger)
        try:
            cluster.source.start()
        except SourceError as error:
            if self._cluster is None:
                raise
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._log("options not in force", level=Level.WARNING, problem=error, action="retry")
            return None
        self._trouble = ""
        return cluster

    def _take_over(self, following: Cluster) -> None:
        before, self._cluster, self._next = self._cluster, following, None
        if before is not None:  # serials don't go back because what is listed now is older
            version = before.zone.store.resource_version
            following.zone.store.resource_version = max(following.zone.store.resource_version, version)
        self._replace(following)
        if before is not None:
            before.stop()
        _keep_for_good()
        self._log("options in force", source=self._source_name)

    def _replace(self, cluster: Cluster) -> None:
        self._writer.replace(cluster.zone.contents, self._facts(cluster, synced=True))

    def _commit_changes(self, cluster: Cluster) -> None:
        changes = cluster.zone.flush()
        if changes:
            self._writer.commit(changes, self._facts(cluster, synced=self._synced))
        self._ledger.committed(time.time())

    def _own_texts(self) -> frozenset[str]:
        """Return what we are reached at: our own addresses and those of the Services that lead here."""
        services = self._cluster.zone.service_addresses() if self._cluster is not None else ()
        return frozenset(map(address_text, (*self._own_addresses, *services)))

    def _facts(self, cluster: Cluster, *, synced: bool) -> Facts:
        # Manifests have no resourceVersion; the clock keeps the serial growing there.
        self._serial = cluster.zone.store.resource_version or max(int(time.time()), self._serial + 1)
        return cluster.zone.facts(serial=self._serial, synced=synced)

    def _status(self) -> dict[str, Any]:
        waiting = self._next.missing() if self._next is not None else {}
        config = {
            **self._configuration.status(),
            "waiting_for": {kind.value: problem for kind, problem in waiting.items()},
        }
        facts = self._writer.facts()
        workers = [decode(block.load()) for block in self._blocks[1:]]
        return {
            "time": time.time(),
            "domain": to_text(facts.domain),
            "source": self._source_name,
            "synced": facts.synced,
            "restored": self._restored and not self._synced,
            "ready": self._restored or self._synced,
            "serial": facts.serial,
            "config": config,
            "only": _only(self._cluster.options) if self._cluster is not None else {},
            "skipped": _skipped(self._cluster) if self._cluster is not None else {},
            "kinds": _kinds(self._cluster) if self._cluster is not None else {},
            "zones": self._statics.status(),
            "table": self._writer.figures(),
            "queries": [queries(each) for each in workers],
            "upstreams": upstreams(workers),
        }


def _only(options: ClusterOptions) -> dict[str, Any]:
    """Return what leaves out objects of the cluster."""
    namespaces = options.zone.namespaces
    return {"namespaces": None if namespaces is None else sorted(namespaces), "labels": options.source.labels}


def _skipped(cluster: Cluster) -> dict[str, str]:
    """Return objects that can't be used, and why."""
    skipped = cluster.zone.store.skipped
    return {str(ref)[:_MAX_TEXT]: skipped[ref][:_MAX_TEXT] for ref in islice(skipped, _MAX_SKIPPED)}


def _kinds(cluster: Cluster) -> dict[str, Any]:
    now = time.monotonic()
    return {
        kind.value: describe_kind(kind, cluster.zone.store, status, now)
        for kind, status in cluster.source.status().items()
    }


def _sources(
    settings: Settings, log: Log, deliver: Callable[[Seen], None]
) -> tuple[OpenSource, str, ConfigSource | None]:
    """Return how to open a source of cluster state, its name, and the source of the configuration, if there is one."""
    config = ConfigFile(settings.config, deliver) if settings.config else None
    if (directory := settings.manifests) is not None:

        def open_folder(options: SourceOptions, deliver: Callable[[list[Event]], None]) -> Source:
            selector = parse_selector(options.labels) if options.labels else None
            reading = Options(endpoint_pod_names=options.endpoint_pod_names)
            return ManifestFolder(directory, deliver, log, label_selector=selector, options=reading)

        return open_folder, str(directory), config
    # Imported here: 31 MB and 0.2 s, which a folder of manifests does without.
    from pydns.control.apiserver import ApiServer, ConnectError, connect
    from pydns.control.config_map import ConfigMapWatch

    try:
        connection = connect(settings.kubeconfig, settings.context)
    except ConnectError as error:
        raise SourceError(str(error)) from None

    def open_server(options: SourceOptions, deliver: Callable[[list[Event]], None]) -> Source:
        kinds = [kind for kind in RECORD_KINDS if kind is not Kind.POD or options.pods]
        reading = Options(endpoint_pod_names=options.endpoint_pod_names)
        return ApiServer(connection, kinds, deliver, log, label_selector=options.labels, options=reading)

    watch = ConfigMapWatch(connection, *settings.configmap, deliver, log) if settings.configmap else None
    return open_server, connection.configuration.host, config or watch


def _own_addresses(settings: Settings) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(address for each in settings.listen if (address := _reached_at(each.host))))


def _reached_at(host: str) -> bytes | None:
    """Return the address that clients reach us at: the one we listen at, or the one that a route would leave from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if host in ("0.0.0.0", "::"):
        # Connecting a UDP socket sends nothing; the addresses are for documentation (RFC 5737, RFC 3849).
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1" if family == socket.AF_INET else "2001:db8::1", 53))
            except OSError:  # no route, so no address of this family
                return None
            host = probe.getsockname()[0]
    return parse_address(host)


def _keep_for_good() -> None:
    """Spare the collector what was just loaded, and what a cluster before it left behind."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _nothing() -> None:
    """Wake the one who waits for a call."""
