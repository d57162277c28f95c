"""The command `pydns`: the table of verbs, and the command line that it makes.

Every verb has a row in `VERBS` and a module of its name here, whose `run(options)` returns the exit status:

| status | meaning |
| --- | --- |
| 0 | done. `serve`: ended after SIGTERM or Ctrl-C. `check`: no mistakes. `explain`: there is an answer of that type |
| 1 | failed at run time. `check`, `migrate`: the configuration has mistakes. `explain`: no answer of that type |
| 2 | the command line is invalid |

A module is imported when its verb runs: `serve` forks before anything heavy is imported.
"""

import os
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

from pydns import __version__
from pydns.config import flags
from pydns.config.flags import Flag


class Argument(NamedTuple):
    """A positional argument."""

    name: str
    purpose: str
    default: str | None = None  # None: required


class Verb(NamedTuple):
    """What `pydns VERB` does and takes."""

    name: str
    purpose: str
    flags: Sequence[Flag]
    arguments: Sequence[Argument] = ()


_CONFIGURATION = "a config.yaml, a Corefile, the manifest of a ConfigMap, or the folder of a mounted one"

VERBS = (
    Verb("serve", "answer queries", flags.SERVE),
    Verb("dump", "print the answer table as zone-file text", [flags.STATE_DIR]),
    Verb("status", "print sync state, age of data and counts", [flags.STATE_DIR]),
    Verb(
        "explain",
        "print the answer for a name, where it comes from and why",
        [flags.STATE_DIR, flags.NAMESPACE],
        [
            Argument("name", "a name as an application uses it; with a final dot it is taken as it is"),
            Argument("type", "type of records", "A"),
        ],
    ),
    Verb(
        "check",
        "print every mistake in a live configuration, or what it changes",
        [flags.CONFIG, flags.DOMAIN, flags.ZONES],
        [Argument("file", f"{_CONFIGURATION}; the same as --config", "")],
    ),
    Verb("migrate", "print a Corefile as a config.yaml that means the same", [], [Argument("file", _CONFIGURATION)]),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = parser(os.environ).parse_args(arguments)
    status: int = import_module(f"pydns.cli.{options.verb}").run(options)
    return status


def parser(environment: Mapping[str, str]) -> ArgumentParser:
    """Return the parser of the whole command line. Environment variables give defaults, so flags win over them."""
    top = _Parser(prog="pydns", description="Service-aware cluster DNS server for Kubernetes.")
    top.add_argument("--version", action="version", version=f"pydns {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    for verb in VERBS:
        verb_parser = verbs.add_parser(verb.name, help=verb.purpose)
        for argument in verb.arguments:
            _add_argument(verb_parser, argument)
        for flag in verb.flags:
            _add_flag(verb_parser, flag, environment)
    return top


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report an invalid command line in one line, without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def _add_argument(verb_parser: ArgumentParser, argument: Argument) -> None:
    text = argument.purpose + (f" (default {argument.default})" if argument.default else "")
    nargs = None if argument.default is None else "?"
    verb_parser.add_argument(
        argument.name, metavar=argument.name.upper(), nargs=nargs, default=argument.default, help=text
    )


def _add_flag(verb_parser: ArgumentParser, flag: Flag, environment: Mapping[str, str]) -> None:
    text = f"{flag.purpose} Default: {flag.default or flag.absent_text}. [{flag.variable}]".replace("%", "%%")
    default = environment.get(flag.variable, flag.default)
    if flag.is_switch:
        verb_parser.add_argument(flag.option, action="store_const", const="true", default=default, help=text)
    else:
        verb_parser.add_argument(flag.option, metavar=flag.metavar, default=default, help=text)
