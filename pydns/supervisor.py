"""The supervisor process: opens sockets, starts the controller and the workers, and starts again what dies.

It imports nothing heavy, holds no state but process ids, and keeps every socket open: what arrives while a worker
starts again waits in the kernel for its successor. It is fit to be PID 1: it reaps whatever dies.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from pydns import listeners
from pydns.log import Level, Log
from pydns.serve.sockets import Slot
from pydns.settings import Settings

_FIRST_DELAY_S, _LAST_DELAY_S, _CALM_S = 0.1, 5.0, 10.0  # before a start after a death; after calm from the first
_STOP_S = 10.0  # for a process to end after SIGTERM


def serve(settings: Settings, log: Log) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status."""
    # Blocked here and taken with sigtimedwait: no handler runs at a moment that it wasn't made for.
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        slots = listeners.open_slots(settings.listen, settings.workers, log)
    except listeners.ListenError as error:
        sys.stderr.write(f"pydns serve: {error}\n")
        return 1
    return _Supervisor(settings, log, slots, signals).run()


class _Child:
    def __init__(self, title: str, start: Callable[[], None]) -> None:
        self.title = title
        self.start = start
        self.pid = 0
        self.started = 0.0
        self.due = 0.0  # when to start it again
        self.delay_s = _FIRST_DELAY_S


class _Supervisor:
    def __init__(self, settings: Settings, log: Log, slots: list[Slot], signals: set[signal.Signals]) -> None:
        self._settings = settings
        self._log = log
        self._slots = slots
        self._signals = signals
        # Children read one end: it closes when this process ends, however it does, and they end with it.
        self._lifeline, self._held = os.pipe()
        self._children = [_Child("controller", self._run_controller)] + [
            _Child(f"worker {index}", partial(self._run_worker, slot)) for index, slot in enumerate(slots)
        ]
        self._ready = -1

    def run(self) -> int:
        for address in listeners.addresses(self._slots[0]):
            self._log("listening", address=address, workers=len(self._slots))
        controller, *workers = self._children
        if (status := self._start_controller(controller)) is not None:
            return status
        for worker in workers:
            self._start(worker)
        while True:
            due = [child.due for child in self._children if not child.pid]
            timeout_s = max(0.0, min(due) - time.monotonic()) if due else 60.0
            received = signal.sigtimedwait(self._signals, timeout_s)
            if received is not None and received.si_signo != signal.SIGCHLD:
                return self._stop(signal.Signals(received.si_signo))
            self._reap()
            for child in self._children:
                if not child.pid and child.due <= time.monotonic():
                    self._start(child)

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
        child.pid = pid
        child.started = time.monotonic()

    def _become(self, child: _Child) -> NoReturn:
        status = 1
        try:
            os.close(self._held)
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
            child.pid, child.due = 0, now + child.delay_s
            code = os.waitstatus_to_exitcode(status)
            self._log("process died", level=Level.ERROR, process=child.title, status=code, again_in_s=child.delay_s)

    def _stop(self, why: signal.Signals) -> int:
        """Let the workers answer what has arrived, then end the controller."""
        self._log("stopping", signal=why.name)
        controller, *workers = self._children
        ended = [self._end(group) for group in (workers, [controller])]
        self._log("stopped")
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
        from pydns.control import controller

        try:
            controller.run(self._settings, self._log, self._ready, self._lifeline)
        except controller.StartError as error:
            if self._ready < 0:  # not the first start: the workers go on with the table as it is
                raise
            sys.stderr.write(f"pydns serve: {error}\n")
            sys.stderr.flush()
            os._exit(1)

    def _run_worker(self, slot: Slot) -> None:
        from pydns.serve import worker

        worker.run(slot, self._settings.state_dir, self._log, self._lifeline)
