"""The supervisor process.

The supervisor opens sockets, starts the controller and the workers, restarts them, and handles drains. Rules:

1. The supervisor runs no heavy code, and process ids are its only state. So the supervisor rarely fails. The supervisor
   imports the workers' modules while the controller starts. So workers start at once, and share the memory of these
   modules.
2. The supervisor keeps every socket open. While a worker restarts, new queries wait in the kernel for the new worker.
3. The supervisor handles signals only where its loop waits for them. Children wait for their own signals.
4. The supervisor can be PID 1. As PID 1, it also reaps orphans of other processes.
5. When the supervisor exits for any reason, a pipe closes. When this pipe closes, the children exit, too.
6. The supervisor waits for a child only in the loop of rule 3. So it reacts to signals from the start.
7. Children ignore SIGTERM and SIGINT, because these signals may be sent to the whole process group. Only the supervisor
   decides when to stop. The supervisor ends children with `STOP`.

The first SIGTERM or SIGINT begins a drain. During a drain, `/ready` returns 503, and workers count queries as late. The
drain ends when no query has arrived for the time of `--drain-quiet`. A second signal ends the drain immediately.
"""

import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from pydns.config.settings import Settings
from pydns.log import Level, Log
from pydns.process import listeners
from pydns.process.block import Block, share
from pydns.process.pulse import DRAIN, NEWS, STOP, STUCK_S, ProcessRow, Pulse
from pydns.process.slots import Slot
from pydns.ring.layout import FILES, file_name

# The delay before a restart. The delay doubles if the process ran for less than `_CALM_S`. If it ran longer, the next
# delay is `_FIRST_DELAY_S`.
_FIRST_DELAY_S, _LAST_DELAY_S, _CALM_S = 0.1, 5.0, 10.0
_STOP_S = 10.0  # how long a process may take to exit after `STOP`
_CHECK_S = 1.0  # the interval between checks for stuck workers
_START_S = 30.0  # the time limit for a new worker's first self-check; on a tenth of a CPU, imports take so long
_FILES = 16384  # the limit of open files; a worker needs 1,000 for TCP clients and 1,024 for upstreams
_DAMAGED = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT)  # signals that may kill a process that reads a damaged table
_CONSOLE = "--console"
_GRACE_S = 2.0  # how long a stuck worker may take to exit after `STOP`


class StartError(Exception):
    """A child can't start, for the reason in the message.

    The child's program raises this error before it serves anything.
    """


class Programs(NamedTuple):
    """The programs of the children, which run after the fork. Each program imports the modules that it needs.

    `load_worker` imports the modules of `worker` before the fork. `load_worker` must not start a thread or open a file.
    """

    controller: Callable[[Settings, Log, int, Pulse, Mapping[str, socket.socket], Sequence[Block]], None]
    worker: Callable[[Slot, Path, Log, int, ProcessRow, Block], None]
    load_worker: Callable[[], None]
    console: Callable[[Settings, Log, int, socket.socket, Sequence[Block]], None]


def serve(settings: Settings, log: Log, programs: Programs) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    # The signals in `signals` are blocked, and the loop receives them with sigtimedwait (rule 3). So no handler of a
    # signal interrupts other code.
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, NEWS}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, DRAIN})
    _allow_files()
    try:
        slots = listeners.open_slots(settings.listen, settings.workers, log)
        # The rings are in memory, because a worker that writes to a mapped file may wait for the disk.
        slots = [slot._replace(queries=os.memfd_create(f"queries-{number}")) for number, slot in enumerate(slots)]
        endpoints = {
            "--health": settings.health,
            "--ready": settings.ready,
            "--metrics": settings.metrics,
            _CONSOLE: settings.console,
        }
        http = listeners.open_http(endpoints, log)
    except listeners.ListenError as error:
        sys.stderr.write(f"pydns serve: {error}\n")
        return 1
    settings = settings._replace(listen=tuple(listeners.addresses(slots[0])))  # port 0 is replaced by the real port
    return _Supervisor(settings, log, programs, slots, http, signals).run()


def _allow_files() -> None:
    """Raise the soft limit of open files for this process and its children. The soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Child:
    """The controller, a worker or the console. One object covers all restarts of the process."""

    def __init__(self, row: ProcessRow, program: Callable[[], None]) -> None:
        self.title = row.title
        self.row = row
        self.program = program
        self.pid = 0  # 0 if the process isn't running
        self.started = 0.0  # the monotonic time of the start
        self.restart_at = 0.0
        self.kill_at: float | None = None  # when to kill a stuck worker that got `STOP`
        self.delay_s = _FIRST_DELAY_S
        self.silent_checks = 0  # the number of consecutive checks that found the worker silent


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
        self._console_socket = http.get(_CONSOLE)
        self._signals = signals
        self._blocks = share(1 + len(slots))  # the controller's block, then the workers' blocks
        # Children read from one end of the pipe. The pipe closes when this process exits for any reason (rule 5).
        self._lifeline, self._held = os.pipe()
        self._pulse = Pulse(len(slots), time.monotonic_ns(), has_console=self._console_socket is not None)
        self._pulse.supervisor.pid = os.getpid()
        self._controller = _Child(self._pulse.controller, self._run_controller)
        self._workers = [
            _Child(row, partial(self._run_worker, slot, row, block))
            for slot, row, block in zip(slots, self._pulse.workers, self._blocks[1:], strict=True)
        ]
        # The children that read the table. Readers start after the controller has opened the first table.
        self._readers = [*self._workers]
        if self._pulse.console is not None:
            self._readers.append(_Child(self._pulse.console, self._run_console))
        self._children = [self._controller, *self._readers]
        self._tables = 0  # `Pulse.tables` when the workers were started; 0 if no table exists yet
        self._checked = 0.0
        self._drain_began = 0.0

    def run(self) -> int:
        self._log_addresses()
        self._start(self._controller)
        self._load_worker()
        while True:
            received = signal.sigtimedwait(self._signals, self._pause_s())
            self._log.summarize()
            if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                if self._pulse.is_draining or not self._tables:
                    return self._stop()
                self._begin_to_drain(signal.Signals(received.si_signo))
            if self._pulse.is_draining and self._drain_ends() <= time.monotonic():
                return self._stop()
            self._start_readers()
            if (status := self._reap()) is not None:
                return status
            self._restart()
            if time.monotonic() - self._checked >= _CHECK_S:
                self._checked = time.monotonic()
                self._end_stuck_workers()

    def _log_addresses(self) -> None:
        for address in listeners.addresses(self._slots[0]):
            self._log("listening", address=address, workers=len(self._slots))
        for flag, sock in self._http.items():
            self._log("listening for HTTP", flag=flag, address=listeners.address(sock))

    def _pause_s(self) -> float:
        """Return how long the loop may wait for a signal."""
        started = self._children if self._tables else [self._controller]
        restarts = [child.restart_at for child in started if not child.pid]
        ends = [self._drain_ends()] if self._pulse.is_draining else []
        return max(0.0, min([*restarts, *ends, self._checked + _CHECK_S]) - time.monotonic())

    # Start and restart.

    def _load_worker(self) -> None:
        """Import the workers' modules, while the controller imports its modules.

        After that, a worker starts with 0.01 s of CPU time instead of 0.2 s, and takes 8 MB less memory.
        """
        with suppress(Exception):  # after a failure, each worker imports the modules again and logs the error
            self._programs.load_worker()
        # A garbage collection in a child would write to the headers of the imported objects, and so copy shared pages.
        gc.freeze()

    def _start_readers(self) -> None:
        """Start the workers and the console after the controller has opened the first table.

        If a new table has replaced the old one, end the workers and the console. After their restart, they read the new
        table.
        """
        if self._tables == self._pulse.tables:
            return
        is_first, self._tables = not self._tables, self._pulse.tables
        if is_first:  # by now, the controller has checked the state directory
            self._publish_rings()
        for reader in self._readers:
            if is_first:
                self._start(reader)
            elif reader.pid:
                os.kill(reader.pid, STOP)

    def _publish_rings(self) -> None:
        """Make a link to the memory of each worker's recent queries, and remove the links of an earlier run."""
        state_dir = self._settings.state_dir
        try:
            for old in state_dir.glob(FILES):
                old.unlink()
            for number, slot in enumerate(self._slots):
                (state_dir / file_name(number)).symlink_to(f"/proc/{os.getpid()}/fd/{slot.queries}")
        except OSError as error:
            self._log("recent queries can't be read", level=Level.WARNING, error=error, action="answer as before")

    def _restart(self) -> None:
        if not self._tables:
            return
        for child in self._children:
            if not child.pid and child.restart_at <= time.monotonic():
                child.row.restarts += 1
                self._start(child)

    def _start(self, child: _Child) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(child)
        child.pid = child.row.pid = pid
        child.started = time.monotonic()
        child.silent_checks, child.kill_at = 0, None

    def _become(self, child: _Child) -> NoReturn:
        """Run a child's program in this process, which has just been forked."""
        status = 1
        try:
            os.close(self._held)
            self._log.forget()
            for ignored in (signal.SIGTERM, signal.SIGINT):  # rule 7: only the supervisor decides when to stop
                signal.signal(ignored, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
            child.program()
            status = 0
        except BaseException as error:
            self._log(
                "process failed", level=Level.ERROR, process=child.title, error=f"{type(error).__name__}: {error}"
            )
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _run_controller(self) -> None:
        try:
            pages = {flag: sock for flag, sock in self._http.items() if flag != _CONSOLE}
            self._programs.controller(self._settings, self._log, self._lifeline, self._pulse, pages, self._blocks)
        except StartError as error:
            if self._pulse.tables:  # after a restart of the controller, workers continue with the existing table
                raise
            sys.stderr.write(f"pydns serve: {error}\n")
            sys.stderr.flush()
            os._exit(1)

    def _run_console(self) -> None:
        assert self._console_socket is not None
        self._programs.console(self._settings, self._log, self._lifeline, self._console_socket, self._blocks)

    def _run_worker(self, slot: Slot, row: ProcessRow, block: Block) -> None:
        if self._pulse.is_draining:
            signal.raise_signal(DRAIN)  # the signal is blocked until the worker handles it, before the first query
        self._programs.worker(slot, self._settings.state_dir, self._log, self._lifeline, row, block)

    # Children that have exited or are stuck.

    def _reap(self) -> int | None:
        """Reap every child that has exited, and schedule its restart.

        Return an exit status if the controller has exited before it opened a table.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if not pid:
                return None
            child = next((each for each in self._children if each.pid == pid), None)
            if child is None:
                continue  # this process isn't a child: it is an orphan that PID 1 inherited (rule 4)
            now = time.monotonic()
            child.delay_s = min(child.delay_s * 2, _LAST_DELAY_S) if now - child.started < _CALM_S else _FIRST_DELAY_S
            child.pid = child.row.pid = 0
            child.kill_at, child.restart_at = None, now + child.delay_s
            code = os.waitstatus_to_exitcode(status)
            if not self._pulse.tables:
                return code if code >= 0 else 1
            self._log("process died", level=Level.ERROR, process=child.title, status=code, again_in_s=child.delay_s)
            if -code in _DAMAGED and child is not self._controller and self._controller.pid:
                os.kill(self._controller.pid, STOP)  # the next controller checks the table, and replaces a damaged one

    def _end_stuck_workers(self) -> None:
        """End workers whose self-checks are overdue. A stuck worker is restarted like any other worker that exits."""
        now = time.monotonic()
        silent = self._pulse.silent(time.monotonic_ns())
        for worker in self._workers:
            if worker.kill_at is not None:
                if now >= worker.kill_at:
                    os.kill(worker.pid, signal.SIGKILL)
                continue
            has_answered = worker.row.answered_ns > worker.started * 1e9
            limit_s = STUCK_S if has_answered else _START_S
            is_silent = worker.pid and worker.row in silent and now - worker.started > limit_s
            # After a pause of the whole machine, the first check finds every worker silent. So a worker is ended only
            # after two consecutive checks have found it silent.
            worker.silent_checks = worker.silent_checks + 1 if is_silent else 0
            if worker.silent_checks >= 2:
                silence_s = round(worker.row.silence_s(time.monotonic_ns()), 1)
                self._log("worker stuck", level=Level.ERROR, process=worker.title, silence_s=silence_s)
                worker.row.stuck += 1
                worker.kill_at = now + _GRACE_S
                os.kill(worker.pid, STOP)

    # Drain and stop.

    def _begin_to_drain(self, why: signal.Signals) -> None:
        """Begin a drain: new clients should use other servers, but queries are still answered."""
        self._log("stopping", signal=why.name)
        self._pulse.drain()
        self._drain_began = time.monotonic()
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, DRAIN)

    def _drain_ends(self) -> float:
        """Return the time at which the drain ends if no worker receives another query.

        Each worker has clients of its own, so the last query of any worker counts.
        """
        last_asked = max(row.asked_ns for row in self._pulse.workers) / 1e9
        quiet_since = max(self._drain_began, last_asked)
        return min(quiet_since + self._settings.drain_quiet_s, self._drain_began + self._settings.drain_max_s)

    def _stop(self) -> int:
        """End the workers and the console, then the controller. Return the exit status.

        Before a worker exits, it answers the queries that have arrived.
        """
        ended = [self._end(group) for group in (self._readers, [self._controller])]
        self._log("stopped", late_queries=sum(row.late_queries for row in self._pulse.workers))
        return 0 if all(ended) else 1

    def _end(self, children: list[_Child]) -> bool:
        """End processes with `STOP`. Return False if a process had to be killed."""
        running = {child.pid for child in children if child.pid}
        for pid in running:
            os.kill(pid, STOP)
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
