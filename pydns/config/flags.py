"""The table of all flags.

The parser, `--help`, environment variables, `Settings` and docs/flags.md are made from this table. A cluster option
(`CLUSTER`) is both a flag and a key of the live configuration. One row in this module defines the flag and the key.
`keys` builds the key, the JSON Schema and the documentation from this row. A new cluster option needs a row, a field of
the same name in `Settings` and in `Config`, and the code that uses it.

`pydns.cli.main` parses the command line. This module only parses the texts of the flags. It imports no large module,
because the supervisor imports it.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydns.config import texts
from pydns.config.mistakes import Wanted, quote
from pydns.config.node import Node, Scalar, Sequence
from pydns.config.settings import (
    Answered,
    GroupedBy,
    HttpEndpoint,
    Listen,
    LogFormat,
    NamedCluster,
    OutputFormat,
    PodsMode,
    Settings,
)
from pydns.config.shapes import ListOf, Mistakes, Number, OneOf, Place, Shape, Switch, Text, TooManyMistakes, Whole
from pydns.dns import name
from pydns.dns.address import BadAddress, address_text, parse_address
from pydns.dns.walk import Resolver
from pydns.log import Level

if TYPE_CHECKING:
    from pydns.config.model import Config


_PREFIX = "PYDNS_"  # prefix of the names of environment variables


class FromVariable(str):
    """The text of a flag that is set by an environment variable."""


class Flag(NamedTuple):
    """A row of the table."""

    name: str  # `ttl` for --ttl and PYDNS_TTL
    shape: Shape  # the type of the value, and the error for other values
    default: str | None  # the default value as an operator writes it; None if `absent` is the default
    metavar: str
    purpose: str
    wrong: str = ""  # an invalid value, whose error the documentation shows
    remark: str = ""  # more text about errors, for the documentation
    absent: Any = None  # the value if the flag isn't given and has no `default`
    absent_text: str = "none"  # a description of `absent`, for the documentation
    field: str = ""  # the field of `Settings`, if its name differs from the flag's name
    may_be_empty: bool = False  # True if an empty value means an empty list
    may_repeat: bool = False  # True if the flag may be given several times; each value becomes a line of the text
    short: str = ""  # a short form of the flag
    example: str = ""  # an example for the documentation of a cluster option; empty for other flags

    @property
    def option(self) -> str:
        """The flag as an operator types it on the command line."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable for this flag. The flag takes precedence over the variable."""
        return _PREFIX + self.name.replace("-", "_").upper()

    @property
    def attribute(self) -> str:
        """The attribute with the flag's text in the parsed command line.

        For a cluster option, the key of the configuration has the same name.
        """
        return self.name.replace("-", "_")

    @property
    def in_settings(self) -> str:
        """The field of `Settings` for the value of the flag.

        For a cluster option, `Config` has a field of the same name.
        """
        return self.field or self.attribute

    @property
    def is_switch(self) -> bool:
        """Return whether the flag takes no value on the command line."""
        return isinstance(self.shape, Switch)

    def read(self, text: str | None, mistakes: Mistakes) -> Any:
        """Parse a text from the command line or the environment. Return None if the text has a mistake."""
        if text == "" and self.may_be_empty:
            return ()
        text = text or self.default  # if a flag may not be empty, an empty value means that the flag isn't given
        if text is None:
            return self.absent
        return self.shape.read(_node(self.shape, text), Place("", self.written_as(text)), mistakes)

    def written_as(self, text: str | None) -> str:
        """Return where the text was given, as errors show it: the flag or the environment variable."""
        return self.variable if isinstance(text, FromVariable) else self.option


class FlagGroup(NamedTuple):
    """A group of flags that `--help` lists together."""

    title: str  # empty for the default group of argparse
    flags: tuple[Flag, ...]


def _node(shape: Shape, text: str) -> Node:
    """Return a flag's text as a node, as if the value were in a configuration file."""
    if isinstance(shape, ListOf):
        return Sequence([_node(shape.item, item.strip()) for item in text.split(",") if item.strip()], 0)
    value: Any = text
    with suppress(ValueError):
        value = _PARSERS.get(type(shape), str)(text)
    return Scalar(value, text, 0)


_SWITCH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _switch(text: str) -> bool | str:
    return _SWITCH.get(text.lower(), text)


_PARSERS: dict[type, Callable[[str], Any]] = {Whole: int, Number: float, Switch: _switch}


class InvalidFlags(Exception):
    """The command line has invalid flags. The message of this error has one line for each mistake."""


def read(given: Mapping[str, str | None], usable_cpus: int) -> Settings:
    """Parse the texts of `serve`'s flags to settings. `usable_cpus` is the default of `--workers`.

    Raises `InvalidFlags` with all mistakes, not only the first one.
    """
    mistakes = Mistakes()
    try:
        values = {flag.in_settings: flag.read(given[flag.attribute], mistakes) for flag in SERVE}
    except TooManyMistakes:
        raise InvalidFlags("\n".join(map(str, mistakes))) from None
    given_files = values.pop("kubeconfig") or ()
    values["clusters"] = tuple([each for each in given_files if isinstance(each, NamedCluster)])
    values["kubeconfig"] = next((each for each in given_files if isinstance(each, Path)), None)
    lines = [*map(str, mistakes)]
    written = {flag.attribute: flag.written_as(given[flag.attribute]) for flag in SERVE}
    for one, other, reason in _EXCLUSIVE:
        if values[one] is not None and values[other] is not None:
            lines.append(f"{written[one]}: can't be given together with {written[other]}; {reason}")
    if lines:
        raise InvalidFlags("\n".join(lines))
    if values["workers"] is None:
        values["workers"] = usable_cpus
    return Settings(**values)


def with_options_of(settings: Settings, config: "Config") -> Settings:
    """Return a copy of the settings with the cluster options of a configuration.

    Cluster options in the live configuration replace the values of the flags.
    """
    written = {flag.in_settings: getattr(config, flag.in_settings) for flag in CLUSTER}
    return settings._replace(**{field: value for field, value in written.items() if value is not None})


_EXCLUSIVE = (
    ("manifests", "kubeconfig", "give one of them"),
    ("config", "configmap", "give one of them"),
    ("manifests", "peers", "an API server must check the tokens of other replicas"),
    ("manifests", "configmap", "a ConfigMap needs an API server: give --config instead"),
)


def _parse_path(text: str) -> Path:
    return Path(text)


def parse_text(text: str) -> str:
    """Return the text unchanged."""
    return text


_CLUSTER = "FILE, or NAME=FILE[:CONTEXT],domain=DOMAIN for a further cluster"
_OTHER_KEY = re.compile(r"[^=,/]+=[^,]+,([a-z]{1,30})=.*")  # NAME=FILE with a key that isn't `domain`


def _parse_kubeconfigs(text: str) -> tuple[Path | NamedCluster, ...] | Wanted:
    """Parse the lines of `--kubeconfig`. Each line has the kubeconfig of one cluster."""
    found: list[Path | NamedCluster] = []
    for line in text.split("\n"):
        file, comma, domain_text = line.partition(",domain=")
        if not comma and (unknown := _OTHER_KEY.fullmatch(line)) is not None:
            return Wanted(f"{_CLUSTER}: {quote(unknown[1])} is unknown")
        if not comma:
            found.append(Path(line))
            continue
        label, equals, path = file.partition("=")
        path, _, context = path.partition(":")
        domain = _parse_cluster_domain(domain_text)
        if not equals or not path or isinstance(texts.parse_label(label), Wanted):
            return Wanted(_CLUSTER)
        if isinstance(domain, Wanted):
            return domain
        found.append(NamedCluster(label, Path(path), context or None, domain))
    if sum(isinstance(each, Path) for each in found) > 1:
        return Wanted("one file without a name; write each further cluster as NAME=FILE[:CONTEXT],domain=DOMAIN")
    names = [each.name for each in found if isinstance(each, NamedCluster)]
    return tuple(found) if len(set(names)) == len(names) else Wanted("clusters with different names")


_LISTEN = "HOST:PORT with an IP address, such as 0.0.0.0:53 or [::]:53"


def _parse_listen(text: str) -> Listen | Wanted:
    host, colon, port_text = text.rpartition(":")
    port = texts.port_number(port_text)
    if not colon or port is None:
        return Wanted(_LISTEN)
    try:
        return Listen(address_text(parse_address(host.removeprefix("[").removesuffix("]"))), port)
    except BadAddress:
        return Wanted(_LISTEN)


_HTTP = "off or " + _LISTEN.replace("0.0.0.0:53 or [::]:53", "[::]:8080")


def _parse_http(text: str) -> HttpEndpoint | Wanted | None:
    if text == "off":
        return None
    listen = _parse_listen(text)
    return Wanted(_HTTP) if isinstance(listen, Wanted) else HttpEndpoint(listen, chosen=True)


def _parse_configmap(text: str) -> tuple[str, str] | Wanted:
    namespace, slash, configmap = text.partition("/")
    if not (namespace and slash and configmap) or "/" in configmap:
        return Wanted("NAMESPACE/NAME, such as kube-system/kube-dns")
    return namespace, configmap


def _parse_account(text: str) -> tuple[str, str] | Wanted:
    namespace, slash, account = text.partition("/")
    if not (slash and name.is_kubernetes_label(namespace)) or not account or set(account) & {"/", ":"}:
        return Wanted("NAMESPACE/NAME of a service account, such as kube-system/pydns")
    return namespace, account


def _parse_pod(text: str) -> tuple[str, str] | Wanted:
    namespace, slash, pod = text.partition("/")
    if not (slash and name.is_kubernetes_label(namespace)) or not pod or "/" in pod:
        return Wanted("NAMESPACE/POD, such as shop/web-0")
    return namespace, pod


# A DNS name may have 255 octets. The longest names below the cluster domain need 202 octets in addition to the domain.
_MAX_DOMAIN = 53


def _parse_cluster_domain(text: str) -> bytes | Wanted:
    domain = texts.parse_domain(text)
    if isinstance(domain, bytes) and (len(domain) > _MAX_DOMAIN or domain == name.ROOT):
        return Wanted(f"a domain name of 1 to {_MAX_DOMAIN - 2} octets, so that names below the domain fit")
    return domain


def _parse_log_level(text: str) -> Level | Wanted:
    return Level[text.upper()] if text.upper() in Level.__members__ else Wanted(_LOG_LEVELS)


_LOG_LEVELS = "debug, info, warning or error"
_PATH = Text("a path", _parse_path)
_TEXT = Text("a text", parse_text)
_ENDPOINT = Text(_HTTP, _parse_http)


def _http(flag_name: str, port: int, purpose: str, remark: str) -> Flag:
    return Flag(
        flag_name,
        _ENDPOINT,
        None,
        "HOST:PORT",
        purpose,
        wrong="8080",
        remark=remark,
        absent=HttpEndpoint(Listen("::", port), chosen=False),
        absent_text=f"[::]:{port}",
    )


STATE_DIR = Flag(
    "state-dir",
    _PATH,
    "/var/lib/pydns",
    "DIR",
    "Folder of the answer table.",
    remark="Exit 1 if the folder can't be written, if others can write to it, if another user owns it, or "
    "if another pydns uses it",
)
CONFIG = Flag(
    "config",
    _PATH,
    None,
    "PATH",
    "Live configuration: a file, or the folder of a mounted ConfigMap.",
    remark="Exclusive with `--configmap`",
)
LENIENT = Flag(
    "lenient",
    Switch(),
    "false",
    "",
    "Leave out directives of a Corefile that pydns can't carry out. Without this flag, such a Corefile is refused.",
    remark="The flag takes no value. Even with the flag, a Corefile with a mistake is refused",
)
ASK = Flag(
    "ask",
    Switch(),
    "false",
    "",
    "Ask the upstreams, too, and print what each of them answers.",
    remark="The flag takes no value",
)
NAMESPACE = Flag(
    "namespace",
    Text(texts.NAMESPACE, texts.parse_namespace),
    None,
    "NAME",
    "Namespace of the pod whose search list applies to a name without a final dot.",
    wrong="Shop",
    absent_text="the namespace of --pod or --client, or default",
)
POD = Flag(
    "pod",
    Text("NAMESPACE/POD", _parse_pod),
    None,
    "NAMESPACE/POD",
    "Pod whose lookup is printed: every name that the pod's resolver asks for, with the types A and AAAA.",
    wrong="shop",
)
RESOLVER = Flag(
    "resolver",
    OneOf(Resolver),
    None,
    "NAME",
    "Resolver of the pod: glibc, musl (Alpine) or go. Prints the whole lookup.",
    wrong="bind",
    absent_text="glibc",
)
POD_RESOLV_CONF = Flag(
    "pod-resolv-conf",
    _PATH,
    None,
    "FILE",
    "The pod's resolv.conf, or - for standard input. The search list and ndots of this file apply. Prints the whole "
    "lookup.",
    absent_text="what the kubelet writes for a pod without dnsConfig",
)
CLIENT = Flag(
    "client",
    Text("an IP address", texts.parse_ip),
    None,
    "ADDRESS",
    "Address of the client that gets the answer. Without this flag, the client is outside of the cluster.",
    wrong="10.0.0",
)
SINCE = Flag(
    "since",
    Text(texts.DURATION, texts.parse_duration),
    "60s",
    "DURATION",
    "How far to look back in time.",
    wrong="soon",
)
SINCE_ALL = SINCE._replace(default=None, absent_text="all queries that workers keep")  # for `diff`
LIVE = Flag(
    "live",
    Switch(),
    "false",
    "",
    "Compare the answers to the recent queries of all workers.",
    remark="The flag takes no value",
)
FOLLOW = Flag(
    "follow",
    Switch(),
    "false",
    "",
    "Print new queries, too, until Ctrl-C.",
    remark="The flag takes no value",
    short="-f",
)
ALL = Flag(
    "all",
    Switch(),
    "false",
    "",
    "Ask every replica of pydns, instead of reading the state directory.",
    remark="The flag takes no value. The replicas need `--peers`",
)
OF_NAMESPACE = Flag(
    "namespace",
    Text(texts.NAMESPACE, texts.parse_namespace),
    None,
    "NAME",
    "Only queries of pods of this namespace.",
    wrong="Shop",
    absent_text="all namespaces",
    short="-n",
)
OF_CLIENT = Flag(
    "client", _TEXT, None, "CLIENT", "Only queries of this client: its address or its name.", absent_text="all clients"
)
OF_NAME = Flag(
    "name",
    _TEXT,
    None,
    "GLOB",
    "Only queries for names that match this pattern, such as '*.shop.svc.cluster.local'.",
    absent_text="all names",
)
OF_RCODE = Flag(
    "rcode",
    _TEXT,
    None,
    "RCODE",
    "Only queries with this result, such as NXDOMAIN, NODATA or SERVFAIL.",
    absent_text="all results",
)
BY = Flag(
    "by",
    OneOf(GroupedBy),
    "name",
    "KEY",
    "What to count: name, client, namespace, label, rcode, source, wasted, latency or upstream. See docs/observe.md.",
    wrong="pod",
)
SLOW = Flag(
    "slow",
    Text(texts.DURATION, texts.parse_duration),
    None,
    "DURATION",
    "Only queries whose reply took this long or longer.",
    wrong="slow",
    absent_text="all queries",
)
QUERY_FILTERS = (OF_NAMESPACE, OF_CLIENT, OF_NAME, OF_RCODE, SLOW)
ZONES = Flag(
    "zones",
    _PATH,
    None,
    "DIR",
    "Folder of zone files to serve (*.zone).",
    remark="Exit 1 if the path isn't a folder",
)
RESOLV_CONF = Flag(
    "resolv-conf",
    _PATH,
    "/etc/resolv.conf",
    "FILE",
    "The nameservers in this file are the upstreams if the configuration names no upstreams.",
    remark="If the file can't be read, there is a warning, and there are no upstreams",
)
OUTPUT = Flag(
    "output",
    OneOf(OutputFormat),
    "text",
    "FORMAT",
    "Format of the output: text or json.",
    wrong="yaml",
    short="-o",
)
DOMAIN_SHAPE = Text("a domain name", _parse_cluster_domain)
DOMAIN = Flag(
    "domain",
    DOMAIN_SHAPE,
    "cluster.local",
    "NAME",
    "The cluster domain.",
    wrong=".",
)

# The cluster options. Cluster options are flags and also keys of the live configuration. A key takes precedence over
# the flag.
CLUSTER = (
    Flag(
        "ttl",
        Whole(0, 3600),
        "5",
        "SECONDS",
        "TTL of the cluster's records in seconds.",
        wrong="86400",
        example="30",
        field="ttl_s",
    ),
    Flag(
        "pods",
        OneOf(PodsMode),
        "insecure",
        "MODE",
        "Which pod names exist. disabled: no names. insecure: a name for every address, in each existing namespace. "
        "verified: only the names of existing pods.",
        wrong="on",
        example="verified",
    ),
    Flag(
        "namespaces",
        ListOf(Text(texts.NAMESPACE, texts.parse_namespace), "namespaces"),
        None,
        "NAME,…",
        "Serve only these namespaces.",
        wrong="Shop",
        may_be_empty=True,
        example="shop, payments",
        absent_text="all",
    ),
    Flag(
        "labels",
        Text(texts.SELECTOR, texts.parse_selector),
        None,
        "SELECTOR",
        "Serve only objects that this label selector selects (as `kubectl -l`). Namespaces and the Service in NS "
        "records need no labels.",
        wrong="environment is production",
        example="environment in (production, staging)",
        absent_text="all",
    ),
    Flag(
        "endpoint-pod-names",
        Switch(),
        "false",
        "",
        "Name an endpoint without a hostname after its pod instead of its address.",
        wrong="pods",
        example="true",
        remark="The flag takes no value. The variable takes `true`, `yes` and `1`, `false`, `no` and `0`",
    ),
    Flag(
        "reverse-zones",
        ListOf(Text("a reverse zone", texts.parse_reverse_zone), "reverse zones", may_be_empty=True),
        "in-addr.arpa,ip6.arpa",
        "NAME,…",
        "Reverse zones that pydns answers from the cluster. Other PTR queries go to the upstreams.",
        wrong="10.0.0.0/8",
        may_be_empty=True,
        example="10.in-addr.arpa, d.f.ip6.arpa",
    ),
    Flag(
        "ptr-ranges",
        ListOf(Text("a range of addresses", texts.parse_ptr_range), "ranges of addresses"),
        "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7",
        "RANGE,…",
        "Endpoints have PTR records only for addresses in these ranges. ClusterIPs always have PTR records.",
        wrong="10.0.0.1/8",
        example="10.0.0.0/8, 203.0.113.0/24",
    ),
)

# The flags of `serve`, in the order of `--help`.
GROUPS = (
    FlagGroup(
        "queries",
        (
            STATE_DIR,
            Flag(
                "listen",
                ListOf(Text(_LISTEN, _parse_listen), "addresses"),
                "0.0.0.0:53,[::]:53",
                "HOST:PORT,…",
                "Addresses to answer queries at, over UDP and TCP. Port 0 means any free port; the log shows it.",
                wrong="localhost:53",
                remark="Exit 1 if an address is in use",
            ),
            Flag(
                "answer",
                OneOf(Answered),
                "all",
                "WHAT",
                "Which names to answer. all: all names. external: only names of external zones; all other names are "
                "refused, and upstreams are never asked.",
                wrong="internal",
            ),
            Flag(
                "workers",
                Whole(1, 256),
                None,
                "N",
                "Number of worker processes.",
                wrong="0",
                absent_text="the CPUs that pydns may use",
            ),
            DOMAIN,
        ),
    ),
    FlagGroup(
        "where the cluster is",
        (
            Flag(
                "kubeconfig",
                Text(_CLUSTER, _parse_kubeconfigs),
                None,
                "FILE",
                "Kubeconfig file, to reach the API server. Repeat the flag for further clusters, as "
                "NAME=FILE[:CONTEXT],domain=DOMAIN.",
                wrong="east=/etc/east.yaml,domain=east..example",
                may_repeat=True,
                absent=(),
                absent_text="the service account of pydns's own pod",
                remark="Exit 1 if the kubeconfig can't be used. Exclusive with `--manifests`",
            ),
            Flag(
                "context",
                _TEXT,
                None,
                "NAME",
                "Context of the kubeconfig.",
                absent_text="its current context",
                remark="Exit 1 if the kubeconfig has no such context",
            ),
            Flag(
                "manifests",
                _PATH,
                None,
                "DIR",
                "Serve a folder of manifests instead of a cluster.",
                remark="Exit 1 if the folder can't be listed. Exclusive with `--kubeconfig` and `--configmap`",
            ),
        ),
    ),
    FlagGroup(
        "configuration, zone files and upstreams",
        (
            CONFIG,
            Flag(
                "configmap",
                ListOf(Text("NAMESPACE/NAME", _parse_configmap), "ConfigMaps"),
                None,
                "NAMESPACE/NAME,…",
                "Live configuration: a ConfigMap to watch. Further ConfigMaps have files that the Corefile in the "
                "first one imports.",
                wrong="kube-dns",
                remark="Exclusive with `--config` and `--manifests`",
            ),
            LENIENT,
            RESOLV_CONF,
            ZONES,
        ),
    ),
    FlagGroup(
        "probes, metrics and stopping",
        (
            _http(
                "health",
                8080,
                "Where to answer /health, or off.",
                "Exit 1 if the address is in use. If the default address is in use, pydns warns and starts without "
                "this page. `[::]` includes IPv4",
            ),
            _http("ready", 8181, "Where to answer /ready and /status, or off.", "As `--health`"),
            _http("metrics", 9153, "Where to answer /metrics, or off.", "As `--health`"),
            Flag(
                "console",
                _ENDPOINT,
                None,
                "HOST:PORT",
                "Where to serve the console for browsers, or off. Everyone who can reach the console sees names and "
                "clients.",
                wrong="8053",
                remark="Exit 1 if the address is in use. Use 127.0.0.1 and `kubectl port-forward`",
                absent_text="off",
            ),
            Flag(
                "peers",
                Text("NAMESPACE/NAME", _parse_account),
                None,
                "NAMESPACE/NAME",
                "Service account whose pods may read /status and /ring at `--metrics`, for `--all` of the verbs.",
                wrong="pydns",
                remark="Exclusive with `--manifests`: the API server checks the tokens",
                absent_text="off",
            ),
            Flag(
                "drain-quiet",
                Number(0, 3600),
                "3",
                "SECONDS",
                "After SIGTERM, end when no query has arrived for this long.",
                wrong="soon",
                field="drain_quiet_s",
            ),
            Flag(
                "drain-max",
                Number(0, 3600),
                "30",
                "SECONDS",
                "After SIGTERM, end after this time at the latest.",
                wrong="86400",
                field="drain_max_s",
            ),
        ),
    ),
    FlagGroup("records of the cluster (keys of the live configuration win)", CLUSTER),
    FlagGroup(
        "log",
        (
            Flag("log-format", OneOf(LogFormat), "text", "FORMAT", "Format of the log: text or json.", wrong="xml"),
            Flag(
                "log-level",
                Text(_LOG_LEVELS, _parse_log_level),
                "info",
                "LEVEL",
                "The lowest level to log: debug, info, warning or error.",
                wrong="all",
            ),
        ),
    ),
)
SERVE = tuple(flag for group in GROUPS for flag in group.flags)
# The flags of all verbs except `serve`.
OTHER_VERBS = (
    NAMESPACE,
    POD,
    CLIENT,
    RESOLVER,
    POD_RESOLV_CONF,
    ASK,
    OUTPUT,
    SINCE,
    LIVE,
    FOLLOW,
    ALL,
    BY,
    *QUERY_FILTERS,
)


def unknown_variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable with the prefix `PYDNS_` that belongs to no flag.

    With each, yield the most similar known variable, or an empty text.
    """
    known = [flag.variable.removeprefix(_PREFIX) for flag in (*SERVE, *OTHER_VERBS)]
    for variable in sorted(environment):
        rest = variable.removeprefix(_PREFIX)
        if rest != variable and rest not in known and not _SERVICE_LINK.fullmatch(rest):
            yield variable, next((_PREFIX + close for close in get_close_matches(rest, known, 1)), "")


# Matches variables that the kubelet sets in a pod for a Service named pydns or pydns-….
_SERVICE_LINK = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
