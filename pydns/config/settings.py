"""The checked settings of `pydns serve`. The settings don't change after the start. Every process gets these settings.

`flags` defines the text form. This module imports no large module, because the supervisor imports it before it forks.
"""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

from pydns.dns.address import endpoint_text
from pydns.log import Level


class PodsMode(Enum):
    """Which names of pods, such as 10-0-0-1.NAMESPACE.pod, exist. The modes are the same as in CoreDNS."""

    DISABLED = "disabled"
    INSECURE = "insecure"
    VERIFIED = "verified"


class Answered(Enum):
    """The names that pydns answers."""

    ALL = "all"
    EXTERNAL = "external"  # answer only names of external zones, for clients outside of the cluster


class LogFormat(Enum):
    """The format of log events."""

    TEXT = "text"
    JSON = "json"


class GroupedBy(Enum):
    """The property by which `pydns top` groups the queries that it counts."""

    NAME = "name"
    CLIENT = "client"
    NAMESPACE = "namespace"
    LABEL = "label"
    RCODE = "rcode"
    SOURCE = "source"
    WASTED = "wasted"
    LATENCY = "latency"
    UPSTREAM = "upstream"


class OutputFormat(Enum):
    """The format in which a verb prints its result."""

    TEXT = "text"
    JSON = "json"


class Listen(NamedTuple):
    """An address and a port at which pydns listens. Port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return endpoint_text(self.host, self.port)


class HttpEndpoint(NamedTuple):
    """An address at which pydns listens for HTTP.

    If the operator hasn't chosen the address and it is in use, pydns runs without this endpoint.
    """

    listen: Listen
    chosen: bool


class NamedCluster(NamedTuple):
    """A further cluster."""

    name: str
    kubeconfig: Path
    context: str | None
    domain: bytes


class Settings(NamedTuple):
    """The value of every flag of `pydns serve`."""

    listen: tuple[Listen, ...]  # pydns listens at each address with UDP and TCP
    answer: Answered
    workers: int
    state_dir: Path
    domain: bytes
    kubeconfig: Path | None
    context: str | None
    clusters: tuple[NamedCluster, ...]
    manifests: Path | None
    config: Path | None
    configmap: tuple[tuple[str, str], ...] | None  # (namespace, name) of each ConfigMap
    lenient: bool  # True: unsupported parts of a Corefile are left out
    resolv_conf: Path
    zones: Path | None
    health: HttpEndpoint | None
    ready: HttpEndpoint | None
    metrics: HttpEndpoint | None
    console: HttpEndpoint | None
    peers: tuple[str, str] | None  # (namespace, name) of the service account whose pods may read /status and /ring
    drain_quiet_s: float  # a drain ends after this time without a query
    drain_max_s: float  # the maximum time of a drain
    log_format: LogFormat
    log_level: Level
    # The cluster options (`flags.CLUSTER`). For each of the following fields, `Config` has a field of the same name,
    # which takes precedence.
    ttl_s: int
    pods: PodsMode
    namespaces: tuple[str, ...] | None
    labels: str | None
    endpoint_pod_names: bool
    reverse_zones: tuple[bytes, ...]
    ptr_ranges: tuple[str, ...]
