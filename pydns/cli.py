"""The command `pydns`: verbs, exit statuses. 0 after a drain, 1 for a failure at run time, 2 for usage."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydns import settings
from pydns.log import Log


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    options = settings.parser(os.environ).parse_args(arguments)
    if options.verb == "serve":
        return _serve(options)
    from pydns import tools

    return _print({"dump": tools.dump, "status": tools.status}[options.verb], Path(options.state_dir))


def _serve(options: Namespace) -> int:
    try:
        chosen = settings.read(options)
    except settings.SettingsError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"pydns serve: {line}\n")
        return 2
    from pydns import supervisor

    return supervisor.serve(chosen, Log(as_json=chosen.log_json, lowest=chosen.log_level))


def _print(lines: Callable[[Path], Iterator[str]], state_dir: Path) -> int:
    from pydns.table.reader import TableError

    try:
        for line in lines(state_dir):
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except TableError as error:
        sys.stderr.write(f"pydns: {error}\n")
        return 1
    except BrokenPipeError:  # head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
