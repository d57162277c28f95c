"""Runs the controller's process: starts its threads, opens the inputs that the flags choose, and runs its loop.

Threads of sources post calls to a queue. The loop runs the calls in the queue, and then calls the controller's `turn`.
"""

import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, NamedTuple

from pydns.config.model import Config
from pydns.config.settings import Settings
from pydns.control import http, source_choice
from pydns.control.clock import Clock
from pydns.control.cluster import Cluster
from pydns.control.configuration import Configuration
from pydns.control.controller import LOOK_S, Controller, Inputs
from pydns.control.feed import Call
from pydns.control.options import ClusterOptions, cluster_options
from pydns.control.peer_pages import PeerPages, TokenReviews
from pydns.control.reporter import Reporter, Shared
from pydns.control.resolv_conf import ResolvConf
from pydns.control.source import SourceError
from pydns.control.static_records import StaticRecords
from pydns.control.unknown_clients import SAMPLE_OCTETS, SAMPLE_S, UnknownClients
from pydns.control.zone_folder import ZoneFolder
from pydns.kube.zone import facts
from pydns.log import Level, Log
from pydns.process.pulse import NEWS, STOP
from pydns.process.ring_files import RingError, Rings
from pydns.process.supervisor import StartError
from pydns.table.state_dir import WHOLE_CHECK_S
from pydns.table.writer import Writer, WriterError

if TYPE_CHECKING:
    from pydns.control.api_client import ApiClient

# The loop must end within this time after the supervisor has exited. A large commit may be in progress then.
_END_S = 2.0
# With this interval, a turn takes 4 ms at p99 while another thread parses 20,000 ports. With Python's default interval,
# a turn takes 12 ms.
_SWITCH_S = 0.0002
# Workers answer no query before the first check of the table ends. A check of 580,000 entries takes 0.1 to 0.2 s. The
# check stops after this time, so a part of the table may stay unread. If a process crashes because the unread part is
# damaged, the next controller checks the whole table while the workers answer.
_FIRST_CHECK_S = 0.1


class Parent(NamedTuple):
    """The resources that the supervisor passes to the controller."""

    lifeline: int  # a file descriptor whose other end closes when the supervisor exits
    shared: Shared
    http_sockets: Mapping[str, socket]  # flag -> the listening socket that the flag configures


def run(settings: Settings, log: Log, parent: Parent) -> None:
    """Keep the table current and serve the pages for probes and metrics.

    Returns after the signal `STOP`, or after the supervisor has exited. Raises `StartError` if the controller can't
    start. In this case, the supervisor is never told that the controller is ready.
    """
    end_with_threads(log)
    # Each time the loop calls into the table, a thread that parses a large object can delay the loop by this interval.
    sys.setswitchinterval(_SWITCH_S)
    calls = Calls()
    signal.signal(STOP, lambda *_: calls.stop())
    threading.Thread(target=_stop_with_supervisor, args=(parent.lifeline, calls), daemon=True).start()
    clock = Clock()
    reporter = Reporter(parent.shared, settings.listen[0].port, clock, _peer_pages(settings, clock))
    pages = reporter.pages()
    http.start([(sock, pages[flag]) for flag, sock in parent.http_sockets.items()], log)
    try:
        controller = _controller(settings, log, calls, reporter, clock, is_restart=parent.shared.pulse.tables > 0)
        controller.start()
        # The call applies the configuration file that `start` has read. The call raises `SourceError` if the feed can't
        # be opened.
        calls.make()
    except (WriterError, SourceError) as error:
        raise StartError(str(error)) from None
    controller.publish()  # static records are published at once, because they need no data of the cluster
    controller.publish_status()
    pulse = parent.shared.pulse
    if not pulse.tables or controller.is_table_new:
        pulse.tables += 1
        os.kill(pulse.supervisor.pid, NEWS)
    while not calls.stopping:
        calls.make(0.0 if controller.is_behind else LOOK_S)
        controller.turn()
        log.summarize()
    # The threads of the sources are not joined, because a thread may still be reading a folder. The threads end with
    # the process.
    controller.close()


def _controller(
    settings: Settings, log: Log, calls: "Calls", reporter: Reporter, clock: Clock, *, is_restart: bool
) -> Controller:
    """Return a controller with its table and the inputs that the flags choose.

    Raises `WriterError` or `SourceError`.
    """
    own_addresses = source_choice.own_addresses(settings)
    options = partial(
        cluster_options, settings, own_addresses=own_addresses, server_namespace=source_choice.own_namespace()
    )
    zone = options(Config()).zone
    check_s = WHOLE_CHECK_S if is_restart else _FIRST_CHECK_S
    writer = Writer(settings.state_dir, facts(zone, serial=0, synced=False), check_s)
    if writer.thrown_away:
        log("table thrown away", level=Level.WARNING, reason=writer.thrown_away, action="list everything again")
    folder = ZoneFolder(settings.zones, calls.wake, log) if settings.zones else None
    chosen = source_choice.choose(settings, log, lambda seen: calls.post(partial(controller.take_configuration, seen)))

    def open_feed(options: ClusterOptions) -> Cluster:
        return Cluster(options, chosen.objects, calls.post, reporter.counts, log, clock)

    inputs = Inputs(
        configuration=Configuration(
            chosen.config,
            writer,
            ResolvConf(settings.resolv_conf, log),
            log,
            clock.wall,
            source_choice.usable_families,
            is_external_alone=zone.external_alone,
        ),
        statics=StaticRecords(
            writer, [zone.domain], zone.reverse_zones, log, folder, external_alone=zone.external_alone
        ),
        options=options,
        open_feed=open_feed,
        source_name=chosen.objects.name,
        own_addresses=own_addresses,
        health=chosen.health,
        unknown_clients=UnknownClients(partial(_recent_clients, settings.state_dir), writer.client_entries, clock),
    )
    controller = Controller(inputs, writer, reporter, log, clock)
    return controller


def _recent_clients(state_dir: Path) -> list[bytes]:
    """Take a sample of the last queries, and return the address of the client for each query."""
    try:
        recent = Rings(state_dir).new(time.time() - SAMPLE_S, SAMPLE_OCTETS)
    except RingError:
        return []
    return [query.client for query in recent]


def _peer_pages(settings: Settings, clock: Clock) -> PeerPages | None:
    if settings.peers is None:
        return None

    def client() -> "ApiClient":
        from pydns.control.api_client import connect  # imported here for the same reason as in `source_choice.choose`

        return connect(settings.kubeconfig, settings.context)

    return PeerPages(TokenReviews(settings.peers, client, clock), settings.state_dir)


class Calls:
    """A queue of calls. Other threads post calls, and the controller's thread runs them."""

    def __init__(self) -> None:
        self.stopping = False
        self._queue: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self.post = self._queue.put

    def stop(self) -> None:
        """End the loop. A signal handler may call this method."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """If `make` is waiting for a call, make it return."""
        self.post(_nothing)

    def make(self, wait_s: float = 0.0) -> None:
        """Run the calls in the queue. If the queue is empty, wait for a call for at most `wait_s`."""
        try:
            self._queue.get(timeout=wait_s)()
            while not self._queue.empty() and not self.stopping:
                self._queue.get_nowait()()
        except queue.Empty:
            pass


def _nothing() -> None:
    pass


def _stop_with_supervisor(lifeline: int, calls: Calls) -> None:
    # `select` waits. A read of the pipe wouldn't wait, because workers share the pipe and have made it non-blocking.
    select.select([lifeline], [], [])
    calls.stop()
    time.sleep(_END_S)
    os._exit(1)


def end_with_threads(log: Log) -> None:
    """Exit this process when one of its threads fails. The supervisor then restarts the process."""

    def end(failed: threading.ExceptHookArgs) -> None:
        thread = failed.thread.name if failed.thread is not None else "?"
        error = f"{failed.exc_type.__name__}: {failed.exc_value}"
        log("thread failed", level=Level.ERROR, thread=thread, error=error, action="end this process")
        os._exit(1)

    threading.excepthook = end
