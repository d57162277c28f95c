"""Flags and environment → Settings, fixed at start. Every flag has an environment variable; a flag wins over it."""

import argparse
import os
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from pydns import __version__
from pydns.config.model import PodsMode
from pydns.config.selector import parse as parse_selector
from pydns.dns import name
from pydns.log import Level

T = TypeVar("T")


class Listen(NamedTuple):
    """An address and a port to answer at, over UDP and TCP. Port 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Endpoint(NamedTuple):
    """An address and a port to answer HTTP at. One that wasn't chosen may be taken: we go on without it."""

    listen: Listen
    chosen: bool


class Settings(NamedTuple):
    """What `pydns serve` was asked for."""

    listen: tuple[Listen, ...]
    workers: int
    state_dir: Path
    domain: bytes
    reverse_zones: tuple[bytes, ...]
    kubeconfig: Path | None
    context: str | None
    manifests: Path | None
    pods: PodsMode
    ttl_s: int
    namespaces: frozenset[str] | None
    labels: str | None
    endpoint_pod_names: bool
    config: Path | None
    configmap: tuple[str, str] | None  # namespace and name
    resolv_conf: Path
    zones: Path | None
    health: Endpoint | None
    ready: Endpoint | None
    metrics: Endpoint | None
    drain_quiet_s: float  # after SIGTERM: how long no query must come
    drain_max_s: float  # and when to end although they do
    log_json: bool
    log_level: Level


# The longest names below a domain take 202 octets of the 255 that a name may have.
_MAX_DOMAIN = 53


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser of the whole command line, with defaults from environment variables."""
    top = _Parser(prog="pydns", description="Service-aware cluster DNS server for Kubernetes.")
    top.add_argument("--version", action="version", version=f"pydns {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    serve = verbs.add_parser("serve", help="answer queries")
    dump = verbs.add_parser("dump", help="print the answer table as zone-file text")
    status = verbs.add_parser("status", help="print sync state, age of data and counts")
    explain = verbs.add_parser("explain", help="say what a name is answered with, by whom and why")
    check = verbs.add_parser("check", help="print every mistake in a live configuration, or what it says")

    def flag(verb: argparse.ArgumentParser, flag_name: str, default: str | None, text: str, metavar: str) -> None:
        variable = "PYDNS_" + flag_name[2:].replace("-", "_").upper()
        shown = f" (default {default})" if default else ""
        verb.add_argument(
            flag_name, default=environment.get(variable, default), metavar=metavar, help=f"{text}{shown} [{variable}]"
        )

    explain.add_argument("name", metavar="NAME", help="as an application has it, or whole, with a final dot")
    explain.add_argument("type", metavar="TYPE", nargs="?", default="A", help="type of records (default A)")
    flag(explain, "--namespace", "default", "of the pod whose search list a name without final dot gets", "NAME")
    for verb in (serve, dump, status, explain):
        flag(verb, "--state-dir", "/var/lib/pydns", "directory of the answer table", "DIR")
    for verb in (serve, check):
        flag(verb, "--config", None, "live configuration: a file, or a folder where a ConfigMap is mounted", "PATH")
    flag(serve, "--listen", "0.0.0.0:53,[::]:53", "addresses to answer at, over UDP and TCP", "HOST:PORT,…")
    flag(serve, "--workers", None, "worker processes (default: the CPUs this process may use)", "N")
    flag(serve, "--domain", "cluster.local", "the cluster domain", "NAME")
    flag(serve, "--reverse-zones", "in-addr.arpa,ip6.arpa", "zones of addresses to answer for", "NAME,…")
    flag(serve, "--kubeconfig", None, "how to reach the API server (default: as a pod of the cluster)", "FILE")
    flag(serve, "--context", None, "context of the kubeconfig (default: its current one)", "NAME")
    flag(serve, "--manifests", None, "serve a folder of manifests instead of a cluster", "DIR")
    flag(serve, "--configmap", None, "live configuration: a ConfigMap to watch", "NAMESPACE/NAME")
    flag(serve, "--resolv-conf", "/etc/resolv.conf", "whose nameservers are asked if none are configured", "FILE")
    flag(serve, "--zones", None, "folder of zone files to serve: *.zone", "DIR")
    flag(serve, "--pods", "insecure", "which pod names to answer: disabled, insecure or verified", "MODE")
    flag(serve, "--ttl", "5", "TTL of cluster records, 0 to 3600", "SECONDS")
    flag(serve, "--namespaces", None, "serve these namespaces only", "A,B")
    flag(serve, "--labels", None, "serve objects with these labels only, as kubectl -l", "SELECTOR")
    flag(serve, "--health", None, "where to answer /health, or off (default [::]:8080)", "HOST:PORT")
    flag(serve, "--ready", None, "where to answer /ready and /status, or off (default [::]:8181)", "HOST:PORT")
    flag(serve, "--metrics", None, "where to answer /metrics, or off (default [::]:9153)", "HOST:PORT")
    flag(serve, "--drain-quiet", "3", "after SIGTERM, answer until no query has come for so long", "SECONDS")
    flag(serve, "--drain-max", "30", "after SIGTERM, answer no longer than this", "SECONDS")
    flag(serve, "--log-format", "text", "text or json", "FORMAT")
    flag(serve, "--log-level", "info", "debug, info, warning or error", "LEVEL")
    serve.add_argument(
        "--endpoint-pod-names",
        action="store_true",
        default=environment.get("PYDNS_ENDPOINT_POD_NAMES", "").lower() in ("1", "true", "yes"),
        help="name endpoints without a hostname by their pod [PYDNS_ENDPOINT_POD_NAMES]",
    )
    return top


class SettingsError(Exception):
    """Flags that can't be meant; one line for each."""


def read(options: argparse.Namespace) -> Settings:
    """Check what `serve` was given. Raises `SettingsError` with every mistake that there is."""
    mistakes: list[str] = []

    def checked(flag_name: str, check: Callable[[str], T], default: T) -> T:
        text = getattr(options, flag_name[2:].replace("-", "_"))
        if text is None:
            return default
        try:
            return check(text)
        except ValueError as error:
            mistakes.append(f"{flag_name} {text}: {error}")
            return default

    settings = Settings(
        listen=checked("--listen", _listen, ()),
        workers=checked("--workers", _workers, _usable_cpus()),
        state_dir=Path(options.state_dir),
        domain=checked("--domain", _domain, name.ROOT),
        reverse_zones=checked("--reverse-zones", _zones, ()),
        kubeconfig=checked("--kubeconfig", Path, None),
        context=options.context,
        manifests=checked("--manifests", Path, None),
        pods=checked("--pods", _pods, PodsMode.INSECURE),
        ttl_s=checked("--ttl", _ttl, 5),
        namespaces=checked("--namespaces", _namespaces, None),
        labels=checked("--labels", _labels, None),
        endpoint_pod_names=options.endpoint_pod_names,
        config=checked("--config", Path, None),
        configmap=checked("--configmap", _configmap, None),
        resolv_conf=Path(options.resolv_conf),
        zones=checked("--zones", Path, None),
        health=checked("--health", _endpoint, _default_endpoint(8080)),
        ready=checked("--ready", _endpoint, _default_endpoint(8181)),
        metrics=checked("--metrics", _endpoint, _default_endpoint(9153)),
        drain_quiet_s=checked("--drain-quiet", _seconds, 3.0),
        drain_max_s=checked("--drain-max", _seconds, 30.0),
        log_json=checked("--log-format", _log_format, False),
        log_level=checked("--log-level", _log_level, Level.INFO),
    )
    if settings.manifests and settings.kubeconfig:
        mistakes.append("--manifests and --kubeconfig: give one of them")
    if settings.config and settings.configmap:
        mistakes.append("--config and --configmap: give one of them")
    if settings.manifests and settings.configmap:
        mistakes.append("--configmap needs an API server, and --manifests means that there is none: give --config")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return settings


def _listen(text: str) -> tuple[Listen, ...]:
    found = []
    for each in text.split(","):
        host, colon, port = each.strip().rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"{each!r} is not HOST:PORT")
        try:
            found.append(Listen(str(ip_address(host.removeprefix("[").removesuffix("]"))), int(port)))
        except ValueError:
            raise ValueError(f"{host!r} is not an IP address; wanted 0.0.0.0:53 or [::]:53") from None
    return tuple(found)


def _endpoint(text: str) -> Endpoint | None:
    if text == "off":
        return None
    listen, *more = _listen(text)
    if more:
        raise ValueError("must be one address")
    return Endpoint(listen, chosen=True)


def _default_endpoint(port: int) -> Endpoint | None:
    return Endpoint(Listen("::", port), chosen=False)


def _configmap(text: str) -> tuple[str, str]:
    namespace, slash, configmap = text.partition("/")
    if not (namespace and slash and configmap) or "/" in configmap:
        raise ValueError("is not NAMESPACE/NAME; wanted for example kube-system/kube-dns")
    return namespace, configmap


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 3600:
        raise ValueError("must be 0 to 3600")
    return seconds


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise ValueError("must be 1 to 256")
    return int(text)


def _usable_cpus() -> int:
    """Return how many CPUs this process may use, by its affinity and by the limit of its cgroup (version 2)."""
    cpus = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no limit, or no cgroup of this kind
        return cpus


def _domain(text: str) -> bytes:
    domain = name.from_text(text.lower())
    if len(domain) > _MAX_DOMAIN or domain == name.ROOT:
        raise ValueError(f"must have 1 to {_MAX_DOMAIN - 2} octets, so that the names below it fit")
    return domain


def _zones(text: str) -> tuple[bytes, ...]:
    return tuple([name.from_text(each.strip().lower()) for each in text.split(",") if each.strip()])


def _pods(text: str) -> PodsMode:
    try:
        return PodsMode(text)
    except ValueError:
        raise ValueError("must be disabled, insecure or verified") from None


def _ttl(text: str) -> int:
    if not text.isdecimal() or int(text) > 3600:
        raise ValueError("must be 0 to 3600")
    return int(text)


def _namespaces(text: str) -> frozenset[str]:
    return frozenset(each.strip() for each in text.split(",") if each.strip())


def _labels(text: str) -> str:
    parse_selector(text)
    return text


def _log_format(text: str) -> bool:
    if text not in ("text", "json"):
        raise ValueError("must be text or json")
    return text == "json"


def _log_level(text: str) -> Level:
    try:
        return Level[text.upper()]
    except KeyError:
        raise ValueError("must be debug, info, warning or error") from None
