"""The command `pydns`: verbs, exit statuses. 0 after a drain, 1 for a failure at run time, 2 for usage.

`check` and `explain` end with 1 if what they were asked about is not right, or not answered.
"""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pydns.config import settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    options = settings.parser(os.environ).parse_args(arguments)
    if options.verb == "serve":
        from pydns.cli import serve

        return serve.run(options)
    if options.verb == "check":
        return _check(options.config)
    if options.verb == "explain":
        return _explain(options)
    from pydns.cli.dump import dump
    from pydns.cli.status import status

    return _print({"dump": dump, "status": status}[options.verb], Path(options.state_dir))


def _check(path: str | None) -> int:
    if path is None:
        sys.stderr.write("pydns check: --config is missing; wanted a file, or a folder as a ConfigMap is mounted\n")
        return 2
    from pydns.cli import check

    try:
        accepted, lines = check.check(Path(path))
    except OSError as error:
        sys.stderr.write(f"pydns check: {error.filename or path}: {error.strerror}\n")
        return 1
    _write(lines)
    return 0 if accepted else 1


def _explain(options: Namespace) -> int:
    from pydns.cli import explain
    from pydns.table.reader import TableError

    try:
        wish = explain.parse(options.name, options.type, options.namespace)
    except ValueError as error:
        sys.stderr.write(f"pydns explain: {error}\n")
        return 2
    try:
        has_answer, lines = explain.explain(Path(options.state_dir), wish)
    except TableError as error:
        sys.stderr.write(f"pydns: {error}\n")
        return 1
    _write(lines)
    return 0 if has_answer else 1


def _print(lines: Callable[[Path], Iterator[str]], state_dir: Path) -> int:
    from pydns.table.reader import TableError

    try:
        _write(lines(state_dir))
    except TableError as error:
        sys.stderr.write(f"pydns: {error}\n")
        return 1
    return 0


def _write(lines: Iterable[str]) -> None:
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
