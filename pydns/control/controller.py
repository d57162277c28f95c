"""The controller process: keeps the answer table as the cluster is. The table's only writer.

Threads of the source put events on a queue; this thread takes what is there, compiles what changed and commits it,
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
from typing import Any, Protocol

from pydns.config.model import PodsMode
from pydns.control import http
from pydns.control.ledger import Ledger
from pydns.control.manifests import ManifestFolder, SourceError
from pydns.control.metrics import Metrics, queries
from pydns.control.probes import Probes, describe
from pydns.control.status import describe_kind
from pydns.dns.name import to_text
from pydns.kube.events import Apply, Event, InitApply
from pydns.kube.objects import Kind, Observed, Options, Skipped
from pydns.kube.selector import parse as parse_selector
from pydns.kube.zone import Zone, ZoneOptions
from pydns.kube.zone import facts as zone_facts
from pydns.log import Level, Log
from pydns.metrics.block import Block
from pydns.metrics.totals import decode
from pydns.serve.pulse import Pulse
from pydns.settings import Settings
from pydns.table.layout import Changes
from pydns.table.writer import Writer, WriterError

_STATUS_S = 1.0  # how often it says how it is
_READER_CHECK_S = 30.0  # how soon the slot of a killed worker is given back


class StartError(Exception):
    """The controller can't start; one line for the one who started it."""


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
    stopping = threading.Event()
    events: queue.SimpleQueue[list[Event]] = queue.SimpleQueue()

    def stop(*_: object) -> None:
        stopping.set()
        events.put([])

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
    options = _zone_options(settings)
    try:
        writer = Writer(settings.state_dir, zone_facts(options, serial=0, synced=False))
        source, name = _source(settings, log, events.put)
        gc.disable()  # until the cluster is loaded: what is loaded is kept
        source.start()
    except (WriterError, SourceError) as error:
        raise StartError(str(error)) from None
    controller = Controller(Zone(options), writer, source, name, log, probes, pulse, ledger, blocks)
    controller.say()
    if ready >= 0:
        os.write(ready, b"1")
        os.close(ready)
    controller.run(events, stopping)
    source.stop()
    writer.close()


class Controller:
    """Applies events to a zone, and what comes of them to the table."""

    def __init__(
        self,
        zone: Zone,
        writer: Writer,
        source: "Source",
        source_name: str,
        log: Log,
        probes: Probes,
        pulse: Pulse,
        ledger: Ledger,
        blocks: Sequence[Block],
    ) -> None:
        self._zone = zone
        self._writer = writer
        self._source = source
        self._source_name = source_name
        self._log = log
        self._probes = probes
        self._pulse = pulse
        self._ledger = ledger
        self._blocks = blocks
        self._restored = writer.is_whole()  # answers come from a table from before the restart, until synced
        self._published = False
        self._synced = False
        self._serial = 0

    def run(self, events: "queue.SimpleQueue[list[Event]]", stopping: threading.Event) -> None:
        """Work until `stopping` is set."""
        said = checked = time.monotonic()
        while not stopping.is_set():
            try:
                self._apply(events.get(timeout=_STATUS_S))
                while not events.empty():
                    self._apply(events.get_nowait())
            except queue.Empty:
                pass
            self.publish()
            now = time.monotonic()
            if now - said >= _STATUS_S:
                said = now
                self.say()
            if now - checked >= _READER_CHECK_S:
                checked = now
                self._writer.free_dead_readers()

    def publish(self) -> None:
        """Bring what has changed into the table.

        The first time is when every kind has been listed: Services without their slices would make headless names
        NXDOMAIN. A kind that can't be had doesn't hold up the others, but the table is not synced then.
        """
        if self._synced:
            self._commit_changes()
            return
        statuses = self._source.status()
        missing = [kind for kind, status in statuses.items() if kind not in self._zone.store.synced]
        if missing and not all(statuses[kind].problem for kind in missing):
            return
        if missing and self._published:
            self._commit_changes()
            return
        facts = self._zone.facts(serial=self._next_serial(), synced=not missing)
        if missing:
            for piece in self._zone.contents():
                self._writer.commit(Changes({**piece.answers}, {**piece.names}), facts)
        else:
            self._writer.replace(self._zone.contents, facts)
        self._published, self._synced = True, not missing
        gc.enable()
        gc.collect()
        gc.freeze()
        self.say()
        counts = " ".join(f"{kind.value}:{self._zone.store.count(kind)}" for kind in statuses)
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

    def _commit_changes(self) -> None:
        changes = self._zone.flush()
        if changes:
            self._writer.commit(changes, self._zone.facts(serial=self._next_serial(), synced=self._synced))
        self._ledger.committed(time.time())

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Apply | InitApply):
                self._report(event.observed)
            if self._zone.apply(event) and self._synced:
                self._ledger.changed(event, self._zone.store)

    def _report(self, observed: Observed) -> None:
        """Log an object that can't be used, once for each reason."""
        known = self._zone.store.skipped.get(observed.ref)
        if isinstance(observed.value, Skipped):
            if known != observed.value.reason:
                reason = observed.value.reason
                self._log("object skipped", level=Level.WARNING, object=str(observed.ref)[:120], reason=reason)
        elif known is not None:
            self._log("object is right again", object=str(observed.ref)[:120])

    def _next_serial(self) -> int:
        # Manifests have no resourceVersion; the clock keeps the serial growing there.
        self._serial = self._zone.store.resource_version or max(int(time.time()), self._serial + 1)
        return self._serial

    def _status(self) -> dict[str, Any]:
        now = time.monotonic()
        kinds = {
            kind.value: describe_kind(kind, self._zone.store, status, now)
            for kind, status in self._source.status().items()
        }
        facts = self._writer.facts()
        return {
            "time": time.time(),
            "domain": to_text(facts.domain),
            "source": self._source_name,
            "synced": facts.synced,
            "restored": self._restored and not self._synced,
            "ready": self._restored or self._synced,
            "serial": facts.serial,
            "kinds": kinds,
            "table": self._writer.figures(),
            "queries": [queries(decode(block.load())) for block in self._blocks[1:]],
        }


def _source(settings: Settings, log: Log, deliver: Callable[[list[Event]], None]) -> tuple[Source, str]:
    options = Options(endpoint_pod_names=settings.endpoint_pod_names)
    if settings.manifests:
        selector = parse_selector(settings.labels) if settings.labels else None
        folder = ManifestFolder(settings.manifests, deliver, log, label_selector=selector, options=options)
        return folder, str(settings.manifests)
    # Imported here: 31 MB and 0.2 s, which a folder of manifests does without.
    from pydns.control.apiserver import ApiServer, ConnectError, connect

    kinds = [Kind.NAMESPACE, Kind.SERVICE, Kind.ENDPOINT_SLICE]
    if settings.pods is PodsMode.VERIFIED:
        kinds.append(Kind.POD)
    try:
        connection = connect(settings.kubeconfig, settings.context)
    except ConnectError as error:
        raise SourceError(str(error)) from None
    server = ApiServer(connection, kinds, deliver, log, label_selector=settings.labels, options=options)
    return server, connection.configuration.host


def _zone_options(settings: Settings) -> ZoneOptions:
    return ZoneOptions(
        domain=settings.domain,
        reverse_zones=settings.reverse_zones,
        ttl_s=settings.ttl_s,
        pods=settings.pods,
        namespaces=settings.namespaces,
        own_addresses=tuple(dict.fromkeys(a for each in settings.listen if (a := _reached_at(each.host)))),
    )


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
    return socket.inet_pton(family, host)
