"""The command `pydns`: the table of verbs, and the command line that is built from it.

Every verb has a row in `VERBS`, and a module with the same name in this folder. The module's `run(options)` returns the
exit status. The row of a verb describes the meaning of each exit status. For every verb, status 2 means an invalid
command line. For `diff`, status 2 also means other failures, as for diff(1).

The module of a verb is imported only when the verb runs. So `serve` can fork before large modules are imported.
"""

import os
import sys
from argparse import Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from textwrap import fill
from typing import NamedTuple, NoReturn

from pydns import __version__
from pydns.config import flags
from pydns.config.flags import Flag, FlagGroup, FromVariable
from pydns.config.shapes import suggestion
from pydns.process.build import BUILD


class Argument(NamedTuple):
    """An argument of a verb that isn't a flag."""

    name: str
    purpose: str
    default: str | None = None  # None: required


class Verb(NamedTuple):
    """A verb of the command `pydns`, with its flags, arguments and help texts."""

    name: str
    purpose: str  # the line about the verb in the list of verbs
    description: str  # the sentences above the flags in `--help`
    examples: Sequence[str]
    statuses: Mapping[int, str]  # exit status -> meaning; 2 is left out if it only means an invalid command line
    flag_groups: Sequence[FlagGroup] = ()
    arguments: Sequence[Argument] = ()

    @property
    def flags(self) -> list[Flag]:
        """All flags of the verb."""
        return [flag for group in self.flag_groups for flag in group.flags]


_CONFIGURATION = (
    "a config.yaml, a Corefile, the manifest of a ConfigMap (also in a List), or the folder of a mounted ConfigMap"
)
_INVALID = {2: "the command line is invalid"}
_LEFT_OUT = "there are no mistakes, but --lenient leaves a part of the file out"
_NO_TABLE = "there is no answer table that can be read"
_SILENT = "with --all, a replica doesn't answer; the answers of the other replicas are printed"
_NO_RING = "there are no recent queries that can be read"

_EXPLAIN = (
    flags.STATE_DIR,
    flags.POD,
    flags.CLIENT,
    flags.NAMESPACE,
    flags.RESOLVER,
    flags.POD_RESOLV_CONF,
    flags.ASK,
    flags.OUTPUT,
)

VERBS = (
    Verb(
        "serve",
        "answer queries",
        "Answer DNS queries for the names of a cluster or of a folder of manifests, until SIGTERM or Ctrl-C. "
        "A flag wins over its environment variable. The name of the variable is in brackets.",
        [
            "pydns serve --kubeconfig ~/.kube/config --listen 127.0.0.1:1053 --state-dir /tmp/pydns",
            "pydns serve --manifests manifests/demo --listen 127.0.0.1:1053 --state-dir /tmp/pydns",
        ],
        {0: "ended after SIGTERM or Ctrl-C", 1: "failed at run time"},
        flags.GROUPS,
    ),
    Verb(
        "status",
        "print whether pydns runs, sync state, age of data and counts",
        "Print the status of a running pydns, or the last status of a pydns that has ended: sync state, age of data, "
        "mistakes in files and configuration, upstreams, processes and memory.",
        ["pydns status --state-dir /tmp/pydns", "pydns status -o json", "pydns status --all"],
        {0: "pydns is running", 1: f"pydns isn't running, or {_NO_TABLE}", 3: _SILENT},
        [FlagGroup("", (flags.STATE_DIR, flags.ALL, flags.OUTPUT))],
    ),
    Verb(
        "explain",
        "print the answer for a name, its source and the reasons",
        "Print the answer that a client gets for a name, the source of the answer, and the reasons. A name without a "
        "final dot is looked up as in a pod, with the search list of its namespace, unless it ends in the cluster "
        "domain. With --pod, --resolver, --pod-resolv-conf, or the --client of a known pod, every name that the pod's "
        "resolver asks for is printed, with hints. No query is sent, unless --ask is given.",
        [
            "pydns explain web.shop",
            "pydns explain web --namespace shop",
            "pydns explain www.example.com. --ask",
            "pydns explain 10.96.0.10",
            "pydns explain _http._tcp.web.shop.svc.cluster.local. SRV",
            "pydns explain db.shop --client 10.1.2.3",
            "pydns explain --pod shop/web-0 db.payments",
            "pydns explain --pod shop/web-0 --pod-resolv-conf resolv.conf --resolver musl db",
        ],
        {
            0: "the table or an upstream has an answer of the type",
            1: f"neither the table nor an upstream has an answer of the type, or {_NO_TABLE}",
        },
        [FlagGroup("", _EXPLAIN)],
        [
            Argument("name", "a name as an application uses it, an address or a URL; a final dot means no search list"),
            Argument("type", "type of records (default A, for an address PTR)", ""),
        ],
    ),
    Verb(
        "slo",
        "print how well pydns does its work, next to its objectives",
        "Print the service level indicators of the last 5 minutes and the last hour, next to the objectives: how long "
        "changes in the cluster and lookups take, the share of SERVFAIL, and the age of the data.",
        ["pydns slo --state-dir /tmp/pydns", "pydns slo -o json"],
        {
            0: "pydns is running, and meets every objective",
            1: f"pydns isn't running, an objective is missed, or {_NO_TABLE}",
            3: _SILENT,
        },
        [FlagGroup("", (flags.STATE_DIR, flags.ALL, flags.OUTPUT))],
    ),
    Verb(
        "tail",
        "print recent queries: who asked what, and the result",
        "Print the last queries of all workers: the time, the client, the result, the source of the answer, the time "
        "until the reply, and the question. Nothing needs to be switched on first.",
        [
            "pydns tail",
            "pydns tail --follow --rcode SERVFAIL",
            "pydns tail --client 10.1.2.3 --since 5m",
            "pydns tail --name '*.shop.svc.cluster.local' --slow 100ms",
        ],
        {0: "printed", 1: _NO_RING, 3: _SILENT},
        [FlagGroup("", (flags.STATE_DIR, *flags.QUERY_FILTERS, flags.SINCE, flags.FOLLOW, flags.ALL, flags.OUTPUT))],
    ),
    Verb(
        "top",
        "print the busiest clients and names, and wasted queries",
        "Count the recent queries of all workers by name, client, namespace, result, source, duration or upstream. "
        "With --by wasted, find queries that search lists waste. On a terminal, the table is renewed until Ctrl-C.",
        [
            "pydns top",
            "pydns top --by client --since 5m",
            "pydns top --by upstream --rcode SERVFAIL",
            "pydns top --by wasted -o json",
            "pydns top --all",
        ],
        {0: "printed", 1: _NO_RING, 3: _SILENT},
        [FlagGroup("", (flags.STATE_DIR, flags.BY, *flags.QUERY_FILTERS, flags.SINCE, flags.ALL, flags.OUTPUT))],
    ),
    Verb(
        "dump",
        "print the answer table as zone-file text",
        "Print every record of the answer table as zone-file text, sorted by owner from the root down.",
        ["pydns dump --state-dir /tmp/pydns"],
        {0: "printed", 1: _NO_TABLE},
        [FlagGroup("", (flags.STATE_DIR,))],
    ),
    Verb(
        "check",
        "print every mistake in a live configuration, or the changes that it makes",
        f"Read a live configuration as pydns serve would, and print every mistake in it, or the changes that it makes. "
        f"FILE is {_CONFIGURATION}.",
        ["pydns check config.yaml", "pydns check Corefile --domain corp.local"],
        {0: "no mistakes", 1: "the configuration has mistakes or can't be read", 3: _LEFT_OUT},
        [FlagGroup("", (flags.CONFIG, flags.LENIENT, flags.DOMAIN, flags.ZONES, flags.OUTPUT))],
        [Argument("file", f"{_CONFIGURATION}; the same as --config", "")],
    ),
    Verb(
        "diff",
        "print the answers that another configuration would change",
        "Answer the recent queries of all workers again, with the configuration in force and with FILE, and print the "
        "answers that differ, the most frequent question first. Nothing changes, and no upstream is asked. The names "
        f"of the cluster are those in the answer table. FILE is {_CONFIGURATION}; or - for standard input.",
        ["pydns diff --live config.yaml", "pydns diff --live Corefile --since 5m -o json"],
        {
            0: "no answer would change",
            1: "some answers would change",
            2: "the command line is invalid, FILE has mistakes, or there is no table or no recent query to read",
            3: "no answer would change, but not everything could be compared",
        },
        [
            FlagGroup(
                "",
                (
                    flags.STATE_DIR,
                    flags.LIVE,
                    flags.SINCE_ALL,
                    *flags.QUERY_FILTERS,
                    flags.RESOLV_CONF,
                    flags.LENIENT,
                    flags.OUTPUT,
                ),
            )
        ],
        [Argument("file", f"{_CONFIGURATION}; or - for standard input")],
    ),
    Verb(
        "migrate",
        "print a Corefile as a config.yaml with the same meaning",
        "Print a Corefile as a config.yaml with the same meaning. Each key has the line of the Corefile that it comes "
        "from. Notes are printed on standard error.",
        ["pydns migrate Corefile > config.yaml"],
        {0: "printed", 1: "the Corefile has mistakes, or can't be read", 3: _LEFT_OUT},
        [FlagGroup("", (flags.LENIENT,))],
        arguments=[Argument("file", _CONFIGURATION)],
    ),
    Verb(
        "completion",
        "print a script that completes verbs and flags in a shell",
        "Print a script that completes verbs, flags and paths in a shell. This verb needs shtab: "
        "pip install 'pydns-kubernetes[completion]'.",
        ["pydns completion bash > ~/.local/share/bash-completion/completions/pydns"],
        {0: "printed", 1: "shtab isn't installed"},
        arguments=[Argument("shell", "bash, zsh, fish, tcsh or another shell that shtab knows")],
    ),
)
_NAMES = [verb.name for verb in VERBS]
_WIDTH = 80
_NO_PATHS: Mapping[str, object] = {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    if isinstance(sys.stdout, TextIOWrapper):  # the name of a file may have octets that the terminal can't show
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["help"]:  # `help VERB` means `VERB --help`
        arguments = [*arguments[1:], "--help"]
    if arguments and not arguments[0].startswith("-") and arguments[0] not in _NAMES:
        return _refuse("pydns", [f"{arguments[0]} is not a verb{suggestion(arguments[0], _NAMES)}"])
    top = parser(os.environ)
    options, unknown = top.parse_known_args(arguments)
    verb = next((each for each in VERBS if each.name == options.verb), None)
    if unknown:
        prog, known = (f"pydns {verb.name}", verb.flags) if verb else ("pydns", ())
        return _refuse(prog, _unknown(unknown, known))
    if verb is None:
        top.print_help(sys.stderr)
        return 2
    status: int = import_module(f"pydns.cli.{verb.name}").run(options)
    return status


def parser(environment: Mapping[str, str], paths: Mapping[str, object] = _NO_PATHS) -> ArgumentParser:
    """Return the parser of the whole command line.

    Environment variables set the defaults, so flags take precedence over them. `paths` maps a metavar, such as FILE, to
    the value that tells shtab how to complete paths.
    """
    top = _Parser(
        prog="pydns",
        description="Service-aware cluster DNS server for Kubernetes.",
        epilog="pydns help VERB describes a verb, with its flags, examples and exit statuses.",
    )
    top.add_argument("-V", "--version", action="version", version=f"pydns {__version__} ({BUILD})")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb in VERBS:
        verb_parser = verbs.add_parser(
            verb.name,
            help=verb.purpose,
            description=fill(verb.description, _WIDTH),
            epilog="\n".join(_epilog(verb)),
            formatter_class=RawDescriptionHelpFormatter,
        )
        for argument in verb.arguments:
            _complete(_add_argument(verb_parser, argument), paths)
        for group in verb.flag_groups:
            add = (verb_parser.add_argument_group(group.title) if group.title else verb_parser).add_argument
            for flag in group.flags:
                _complete(_add_flag(add, flag, environment), paths)
    return top


def _epilog(verb: Verb) -> Iterator[str]:
    yield "examples:"
    yield from (f"  {example}" for example in verb.examples)
    yield "\nexit status:"
    yield from (f"  {status}  {meaning}" for status, meaning in sorted({**_INVALID, **verb.statuses}.items()))


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Report an invalid command line in one line, without the usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def _complete(action: Action, paths: Mapping[str, object]) -> None:
    if isinstance(action.metavar, str) and action.metavar in paths:
        action.complete = paths[action.metavar]  # type: ignore[attr-defined]


def _add_argument(verb_parser: ArgumentParser, argument: Argument) -> Action:
    text = argument.purpose + (f" (default {argument.default})" if argument.default else "")
    nargs = None if argument.default is None else "?"
    return verb_parser.add_argument(
        argument.name, metavar=argument.name.upper(), nargs=nargs, default=argument.default, help=text
    )


def _add_flag(add: Callable[..., Action], flag: Flag, environment: Mapping[str, str]) -> Action:
    text = f"{flag.purpose} Default: {flag.default or flag.absent_text}. [{flag.variable}]".replace("%", "%%")
    typed = filter(None, [flag.short, flag.option])
    given = environment.get(flag.variable)
    default = flag.default if given is None else FromVariable(given)
    if flag.is_switch:
        return add(*typed, action="store_const", const="true", default=default, help=text)
    action = _Repeat if flag.may_repeat else "store"
    return add(*typed, action=action, metavar=flag.metavar, default=default, help=text)


class _Repeat(Action):
    """Joins all values of a repeated flag to one text, with a value on each line."""

    def __call__(self, _parser: object, found: Namespace, values: object, _option: object = None) -> None:
        before = getattr(found, self.dest)
        setattr(found, self.dest, values if before is self.default else f"{before}\n{values}")


def _unknown(words: Sequence[str], known: Sequence[Flag]) -> list[str]:
    """Return a line for each unknown flag of a command line, with the most similar known flag."""
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not options:  # if there is an unknown flag, the other words may be its values
        return [f"unexpected {' '.join(words)}"]
    return [f"{option} is not a flag{suggestion(option, [flag.option for flag in known])}" for option in options]


def _refuse(prog: str, lines: Sequence[str]) -> int:
    sys.stderr.write("".join(f"{prog}: {line}\n" for line in lines))
    return 2
