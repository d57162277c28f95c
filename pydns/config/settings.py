"""The settings of `pydns serve` as a value: fixed at start, checked, handed to every process.

How they are written is in `flags`. Imports nothing heavy, because the supervisor imports it before it forks.
"""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

from pydns.dns.address import endpoint_text
from pydns.log import Level


class PodsMode(Enum):
    """Which names of the form `10-0-0-1.NAMESPACE.pod` exist, as in CoreDNS."""

    DISABLED = "disabled"
    INSECURE = "insecure"
    VERIFIED = "verified"


class LogFormat(Enum):
    """How a log event is written."""

    TEXT = "text"
    JSON = "json"


class OutputFormat(Enum):
    """How a verb prints its result."""

    TEXT = "text"
    JSON = "json"


class Listen(NamedTuple):
    """An address and a port to listen at. Port 0 means any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return endpoint_text(self.host, self.port)


class HttpEndpoint(NamedTuple):
    """Where to listen for HTTP. If the operator didn't choose it and it is taken, pydns runs without it."""

    listen: Listen
    chosen: bool


class Settings(NamedTuple):
    """The value of every flag of `pydns serve`."""

    listen: tuple[Listen, ...]  # over UDP and TCP
    workers: int
    state_dir: Path
    domain: bytes
    kubeconfig: Path | None
    context: str | None
    manifests: Path | None
    config: Path | None
    configmap: tuple[tuple[str, str], ...] | None  # namespaces and names
    resolv_conf: Path
    zones: Path | None
    health: HttpEndpoint | None
    ready: HttpEndpoint | None
    metrics: HttpEndpoint | None
    drain_quiet_s: float  # a drain ends when no query has arrived for this long
    drain_max_s: float  # a drain ends then in any case
    log_format: LogFormat
    log_level: Level
    # The options of the cluster (`flags.CLUSTER`). `Config` has fields of the same names, which win.
    ttl_s: int
    pods: PodsMode
    namespaces: tuple[str, ...] | None
    labels: str | None
    endpoint_pod_names: bool
    reverse_zones: tuple[bytes, ...]
    ptr_ranges: tuple[str, ...]
