"""The supervisor process: opens sockets, starts the controller and the workers, and starts again what dies.

It imports nothing heavy, holds no state but process ids, and keeps every socket open: what arrives while a worker
starts again waits in the kernel for its successor. It is fit to be PID 1: it reaps whatever dies. When it is told to
stop, it lets clients go elsewhere first (`serve.pulse` says so to the others, and tells it when they have gone).
"""

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from pydns.config.settings import Settings
from pydns.log import Level, Log
from pydns.process import listeners
from pydns.process.block import Block, share
from pydns.process.pulse import DRAIN, STUCK_S, ProcessRow, Pulse
from pydns.process.slots import Slot

_FIRST_DELAY_S, _LAST_DELAY_S, _CALM_S = 0.1, 5.0, 10.0  # before a start after a death; after calm from the first
_STOP_S = 10.0  # for a process to end after SIGTERM
_LOOK_S = 1.0  # how often it looks whether workers are well
_START_S = 30.0  # for a worker to answer itself once it is started: imports take that long on a tenth of a CPU
_FILES = 16384  # a worker needs 1,000 for TCP clients and 1,024 for upstreams, this process a few for each worker
_GRACE_S = 2.0  # for a stuck worker to end after SIGTERM


class StartError(Exception):
    """A child can't start, and why. Raised by its program, before it serves anything."""


class Programs(NamedTuple):
    """What the children run after the fork. A program imports what it needs itself."""

    controller: Callable[[Settings, Log, int, int, Pulse, Mapping[str, socket.socket], Sequence[Block]], None]
    worker: Callable[[Slot, Path, Log, int, ProcessRow, Block], None]


def serve(settings: Settings, log: Log, programs: Programs) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status."""
    # Blocked here and taken with sigtimedwait: no handler runs at a moment that it wasn't made for.
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, DRAIN})
    _allow_files()
    try:
        slots = listeners.open_slots(settings.listen, settings.workers, log)
        endpoints = {"--health": settings.health, "--ready": settings.ready, "--metrics": settings.metrics}
        http = listeners.open_http(endpoints, log)
    except listeners.ListenError as error:
        sys.stderr.write(f"pydns serve: {error}\n")
        return 1
    settings = settings._replace(listen=tuple(listeners.addresses(slots[0])))  # with ports, where any would do
    return _Supervisor(settings, log, programs, slots, http, signals).run()


def _allow_files() -> None:
    """Raise the soft limit of open files, often 1,024, for this process and its children, as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Child:
    def __init__(self, row: ProcessRow, start: Callable[[], None]) -> None:
        self.title = row.title
        self.row = row
        self.start = start
        self.pid = 0
        self.started = 0.0
        self.due = 0.0  # when to start it again
        self.delay_s = _FIRST_DELAY_S
        self.suspicions = 0  # how often in a row it was found silent
        self.kill_at: float | None = None  # when to lose patience with it


class _Supervisor:
    def __init__(
        self,
        settings: Settings,
        log: Log,
        programs: Programs,
        slots: list[Slot],
        http: dict[str, socket.socket],
        signals: set[signal.Signals],
    ) -> None:
        self._settings = settings
        self._log = log
        self._programs = programs
        self._slots = slots
        self._http = http
        self._signals = signals
        self._blocks = share(1 + len(slots))  # the controller's, then the workers'
        # Children read one end: it closes when this process ends, however it does, and they end with it.
        self._lifeline, self._held = os.pipe()
        self._pulse = Pulse(len(slots), time.monotonic_ns())
        self._pulse.supervisor.pid = os.getpid()
        self._controller = _Child(self._pulse.controller, self._run_controller)
        self._workers = [
            _Child(row, partial(self._run_worker, slot, row, block))
            for slot, row, block in zip(slots, self._pulse.workers, self._blocks[1:], strict=True)
        ]
        self._children = [self._controller, *self._workers]
        self._ready = -1
        self._looked = 0.0
        self._drain_began = 0.0

    def run(self) -> int:
        for address in listeners.addresses(self._slots[0]):
            self._log("listening", address=address, workers=len(self._slots))
        for flag, sock in self._http.items():
            self._log("listening for HTTP", flag=flag, address=listeners.address(sock))
        if (status := self._start_controller(self._controller)) is not None:
            return status
        for worker in self._workers:
            self._start(worker)
        while True:
            received = signal.sigtimedwait(self._signals, self._pause_s())
            self._log.summarize()
            if received is not None and received.si_signo != signal.SIGCHLD:
                if self._pulse.is_draining:
                    return self._stop()  # told twice
                self._begin_to_drain(signal.Signals(received.si_signo))
            if self._pulse.is_draining and self._drain_ends() <= time.monotonic():
                return self._stop()
            self._reap()
            for child in self._children:
                if not child.pid and child.due <= time.monotonic():
                    child.row.restarts += 1
                    self._start(child)
            if time.monotonic() - self._looked >= _LOOK_S:
                self._looked = time.monotonic()
                self._replace_stuck()

    def _pause_s(self) -> float:
        due = [child.due for child in self._children if not child.pid]
        ends = [self._drain_ends()] if self._pulse.is_draining else []
        return max(0.0, min([*due, *ends, self._looked + _LOOK_S]) - time.monotonic())

    def _begin_to_drain(self, why: signal.Signals) -> None:
        """Let clients go elsewhere, and answer those that still come."""
        self._log("stopping", signal=why.name)
        self._pulse.drain()
        self._drain_began = time.monotonic()
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, DRAIN)

    def _drain_ends(self) -> float:
        """Return when the drain is over, if no worker is asked any more: together, for each has clients of its own."""
        last_asked = max(row.asked_ns for row in self._pulse.workers) / 1e9
        quiet_since = max(self._drain_began, last_asked)
        return min(quiet_since + self._settings.drain_quiet_s, self._drain_began + self._settings.drain_max_s)

    def _replace_stuck(self) -> None:
        """End workers that don't answer themselves; they are started again as any that dies."""
        now = time.monotonic()
        silent = self._pulse.silent(time.monotonic_ns())
        for worker in self._workers:
            if worker.kill_at is not None:
                if now >= worker.kill_at:
                    os.kill(worker.pid, signal.SIGKILL)
                continue
            limit_s = STUCK_S if worker.row.answered_ns > worker.started * 1e9 else _START_S
            is_silent = worker.pid and worker.row in silent and now - worker.started > limit_s
            # Twice, for after a pause of the whole machine all are silent until they run again.
            worker.suspicions = worker.suspicions + 1 if is_silent else 0
            if worker.suspicions >= 2:
                silence_s = round(worker.row.silence_s(time.monotonic_ns()), 1)
                self._log("worker stuck", level=Level.ERROR, process=worker.title, silence_s=silence_s)
                worker.row.stuck += 1
                worker.kill_at = now + _GRACE_S
                os.kill(worker.pid, signal.SIGTERM)

    def _start_controller(self, controller: _Child) -> int | None:
        """Start the controller and wait until there is a table. Returns an exit status if there won't be one."""
        has_table, self._ready = os.pipe()
        self._start(controller)
        os.close(self._ready)
        self._ready = -1
        began = os.read(has_table, 1)  # empty if the controller has ended
        os.close(has_table)
        if began:
            return None
        _, status = os.waitpid(controller.pid, 0)
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1

    def _start(self, child: _Child) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(child)
        child.pid = child.row.pid = pid
        child.started = time.monotonic()
        child.suspicions, child.kill_at = 0, None
        if self._pulse.is_draining and child is not self._controller:
            os.kill(pid, DRAIN)

    def _become(self, child: _Child) -> NoReturn:
        status = 1
        try:
            os.close(self._held)
            self._log.forget()
            # Ctrl-C reaches the whole process group; the supervisor says when to stop.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
            child.start()
            status = 0
        except BaseException as error:
            self._log(
                "process failed", level=Level.ERROR, process=child.title, error=f"{type(error).__name__}: {error}"
            )
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = next((each for each in self._children if each.pid == pid), None)
            if child is None:
                continue  # an orphan, handed to PID 1
            now = time.monotonic()
            child.delay_s = min(child.delay_s * 2, _LAST_DELAY_S) if now - child.started < _CALM_S else _FIRST_DELAY_S
            child.pid = child.row.pid = 0
            child.kill_at, child.due = None, now + child.delay_s
            code = os.waitstatus_to_exitcode(status)
            self._log("process died", level=Level.ERROR, process=child.title, status=code, again_in_s=child.delay_s)

    def _stop(self) -> int:
        """Let the workers answer what has arrived, then end the controller."""
        ended = [self._end(group) for group in (self._workers, [self._controller])]
        self._log("stopped", late_queries=sum(row.late_queries for row in self._pulse.workers))
        return 0 if all(ended) else 1

    def _end(self, children: list[_Child]) -> bool:
        running = {child.pid for child in children if child.pid}
        for pid in running:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while running and time.monotonic() < deadline:
            for pid in list(running):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    running.discard(pid)
            if running:
                signal.sigtimedwait({signal.SIGCHLD}, 0.1)
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        return not running

    def _run_controller(self) -> None:
        try:
            self._programs.controller(
                self._settings, self._log, self._ready, self._lifeline, self._pulse, self._http, self._blocks
            )
        except StartError as error:
            if self._ready < 0:  # not the first start: the workers go on with the table as it is
                raise
            sys.stderr.write(f"pydns serve: {error}\n")
            sys.stderr.flush()
            os._exit(1)

    def _run_worker(self, slot: Slot, row: ProcessRow, block: Block) -> None:
        self._programs.worker(slot, self._settings.state_dir, self._log, self._lifeline, row, block)
