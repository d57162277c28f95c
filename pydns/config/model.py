"""The live configuration as a value: what an operator can change without a restart, with its defaults.

Whatever is here has been checked: names are wire names in lower case, addresses are addresses, numbers are in range.
How it is written is in `keys`. The controller makes it and stores it in the answer table (`dump`), workers `load` it
from there; hence msgspec structs: `ServerSpec | NamedUpstream` comes back from bytes as what it was.
"""

from enum import Enum

import msgspec
from msgspec import Struct

from pydns.config.settings import PodsMode
from pydns.dns import name


class Transport(Enum):
    """How an upstream is asked. UDP falls back to TCP for a truncated answer."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"  # RFC 7858


class Choice(Enum):
    """Which of several upstreams is asked first."""

    FASTEST = "fastest"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    IN_ORDER = "in_order"


class OnNxdomain(Enum):
    """What an NXDOMAIN from a route's servers means."""

    ANSWER = "answer"
    NEXT = "next"  # ask who would be asked without this route: split horizon


class MetricNames(Enum):
    """Under which names metrics are exposed."""

    COREDNS = "coredns"
    PYDNS = "pydns"


class RcodeClass(Enum):
    """Kinds of replies, as CoreDNS's log plugin has them."""

    SUCCESS = "success"  # NOERROR with an answer
    DENIAL = "denial"  # NXDOMAIN and NODATA
    ERROR = "error"  # every other rcode


class ServerSpec(Struct, frozen=True, gc=False, tag="ip"):
    """A server that answers for names which aren't ours."""

    ip: str  # canonical text
    port: int = 53
    transport: Transport = Transport.UDP
    server_name: str | None = None  # for TLS: what the certificate must be for; the address if None
    packets_per_second: int | None = None  # None: no bound


class NamedUpstream(Struct, frozen=True, gc=False, tag="name"):
    """A server known by its DNS name, to be resolved again when the TTL runs out."""

    qname: bytes
    port: int = 53
    transport: Transport = Transport.UDP
    server_name: str | None = None  # for TLS: what the certificate must be for; `qname` if None
    packets_per_second: int | None = None


class Route(Struct, frozen=True, gc=False):
    """Who is asked for the names at or below a domain."""

    domain: bytes
    servers: tuple[ServerSpec | NamedUpstream, ...]
    except_: tuple[bytes, ...] = ()  # domains below, asked as if there were no such route
    on_nxdomain: OnNxdomain = OnNxdomain.ANSWER
    choice: Choice | None = None  # None: as `Config.choice`


class CacheOptions(Struct, frozen=True, gc=False):
    """Bounds of one worker's cache of upstreams' answers. Names of the cluster are never cached."""

    entries: int = 10_000
    bytes: int = 8 * 1024 * 1024
    min_ttl_s: int = 0
    max_ttl_s: int = 3600
    min_negative_ttl_s: int = 0
    max_negative_ttl_s: int = 1800
    serve_stale_s: int = 3600  # how long after expiry (RFC 8767); 0: never
    prefetch: bool = True


class Host(Struct, frozen=True, gc=False):
    """Address records outside the cluster's objects, and their PTR records."""

    qname: bytes
    addresses: tuple[bytes, ...]  # 4 or 16 octets each
    ttl_s: int = 60  # CoreDNS's hosts says 3600; an edit of a live configuration should be seen sooner
    ptr: bool = True


class MetricsOptions(Struct, frozen=True, gc=False):
    """How metrics are exposed."""

    names: MetricNames = MetricNames.COREDNS


class QueryLogOptions(Struct, frozen=True, gc=False):
    """Which queries get a line in the log."""

    zones: tuple[bytes, ...] = (name.ROOT,)
    classes: tuple[RcodeClass, ...] = tuple(RcodeClass)
    share: float = 1.0  # of those that match, more than 0


class LogOptions(Struct, frozen=True, gc=False):
    """What is logged beyond changes of state."""

    queries: QueryLogOptions | None = None  # None: no queries


class Config(Struct, frozen=True, gc=False):
    """Everything that can change while the server runs. `Config()` is what an empty ConfigMap means."""

    upstreams: tuple[ServerSpec, ...] | None = None  # None: the nameservers of /etc/resolv.conf
    choice: Choice = Choice.FASTEST
    routes: tuple[Route, ...] = ()  # at most one per domain
    max_in_flight: int = 1000  # queries that wait for upstreams, per worker
    cache: CacheOptions = CacheOptions()
    # The options of the cluster (`flags.CLUSTER`). None: the value of the flag counts.
    ttl_s: int | None = None
    pods: PodsMode | None = None
    namespaces: tuple[str, ...] | None = None
    labels: str | None = None
    endpoint_pod_names: bool | None = None
    reverse_zones: tuple[bytes, ...] | None = None
    hosts: tuple[Host, ...] = ()  # at most one per name
    metrics: MetricsOptions = MetricsOptions()
    log: LogOptions = LogOptions()


def dump(config: Config) -> bytes:
    """Compose the form in which a configuration lies in the answer table."""
    return _ENCODER.encode(config)


def load(data: bytes) -> Config:
    """Parse what `dump` composed. Raises `msgspec.DecodeError` for what another version's `dump` may have composed."""
    return _DECODER.decode(data)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Config)
