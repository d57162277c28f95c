"""The verb `serve`: checks the flags and runs the supervisor, which runs the controller, the workers and the console.

No other file knows the programs of all processes. The supervisor imports the worker's program before it forks, so
workers share the memory of this program. The programs of the controller and the console are imported after the fork.
"""

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import socket

from pydns.cli.output import fail
from pydns.config import flags
from pydns.config.flags import InvalidFlags
from pydns.config.settings import LogFormat, Settings
from pydns.log import Level, Log
from pydns.process import sources, supervisor
from pydns.process.block import Block
from pydns.process.cpus import usable_cpus
from pydns.process.pulse import ProcessRow, Pulse
from pydns.process.slots import Slot


def run(options: Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Return 2 if a flag is invalid, and 1 if a source of objects is missing."""
    try:
        chosen = settings_of(options)
    except InvalidFlags as error:
        for line in str(error).splitlines():
            fail("serve", line)
        return 2
    log = Log(as_json=chosen.log_format is LogFormat.JSON, lowest=chosen.log_level)
    # Unknown variables are reported first, because a mistyped variable may be the reason why a source is missing.
    for variable, meant in flags.unknown_variables(os.environ):
        log("unknown variable", level=Level.WARNING, variable=variable, **({"did_you_mean": meant} if meant else {}))
    if missing := list(sources.problems(chosen, os.environ)):
        for line in missing:
            fail("serve", line)
        return 1
    programs = supervisor.Programs(_run_controller, _run_worker, _load_worker, _run_console)
    return supervisor.serve(chosen, log, programs)


def settings_of(options: Namespace) -> Settings:
    """Return the settings of a parsed command line. Raises `InvalidFlags`."""
    return flags.read(vars(options), usable_cpus())


def _run_controller(
    chosen: Settings,
    log: Log,
    lifeline: int,
    pulse: Pulse,
    http: Mapping[str, socket],
    blocks: Sequence[Block],
) -> None:
    from pydns.control import program
    from pydns.control.reporter import Shared

    program.run(chosen, log, program.Parent(lifeline, Shared(blocks, pulse), http))


def _run_worker(slot: Slot, state_dir: Path, log: Log, lifeline: int, row: ProcessRow, block: Block) -> None:
    from pydns.serve import worker

    worker.run(slot, state_dir, log, lifeline, row, block)


def _load_worker() -> None:
    from pydns.serve import worker  # noqa: F401


def _run_console(chosen: Settings, log: Log, lifeline: int, listening: socket, blocks: Sequence[Block]) -> None:
    from pydns.cli.explain import explain_pasted
    from pydns.console import program
    from pydns.process.ring_files import RingError, Rings
    from pydns.ring.queries import Query

    rings = Rings(chosen.state_dir)

    def new_queries(since: float) -> list[Query] | str:
        try:
            return rings.new(since)
        except RingError as error:
            return str(error)

    program.run(chosen.state_dir, log, lifeline, listening, blocks, program.Tools(explain_pasted, new_queries))
