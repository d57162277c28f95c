"""The live configuration as a value: what an operator can change without a restart, with its defaults.

Every value has been checked: names are wire names in lower case, addresses are valid, numbers are in range. How
values are written is in `keys`. The controller stores a configuration in the answer table (`dump`) and workers `load`
it. They are msgspec structs because those keep the type of a `ServerSpec | NamedUpstream` over this way.

The defaults here are the only ones: rooms that are configured take their limits from these values.
"""

from enum import Enum

import msgspec
from msgspec import Struct

from pydns.config.settings import PodsMode
from pydns.dns import name


class Transport(Enum):
    """The protocol for an upstream. UDP falls back to TCP for a truncated answer."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"  # RFC 7858


class Case(Enum):
    """The case of the letters in a question to an upstream."""

    LEARN = "learn"  # random, unless replies show that the server doesn't keep it
    RANDOM = "random"
    LOWER = "lower"


class Edns(Enum):
    """Whether questions to an upstream have EDNS."""

    LEARN = "learn"  # unless the server shows that it doesn't understand it
    ALWAYS = "always"
    NEVER = "never"


class Choice(Enum):
    """Which of several upstreams is asked first."""

    FASTEST = "fastest"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    IN_ORDER = "in_order"


class OnNxdomain(Enum):
    """What happens after an NXDOMAIN from a route's servers."""

    ANSWER = "answer"
    NEXT = "next"  # ask the servers that would be asked without this route: split horizon


class MetricNames(Enum):
    """The names of metrics."""

    COREDNS = "coredns"
    PYDNS = "pydns"


class RcodeClass(Enum):
    """Classes of replies, as in CoreDNS's log plugin."""

    SUCCESS = "success"  # NOERROR with an answer
    DENIAL = "denial"  # NXDOMAIN and NODATA
    ERROR = "error"  # every other rcode


class TlsFiles(Struct, frozen=True, gc=False):
    """Files for connections over TLS, in PEM. They are read when a connection is opened."""

    ca: str | None = None  # certificates of the authorities that are trusted; None: the system's
    certificate: str | None = None  # ours, for servers that want one, with its chain
    key: str | None = None  # of our certificate; None: in the same file


class SpecialName(Enum):
    """Names that a resolver must answer itself: `pydns.zones.special`."""

    RESOLVER_ARPA = "resolver.arpa"
    USE_APPLICATION_DNS_NET = "use-application-dns.net"


class Denial(Enum):
    """How a name is denied."""

    NXDOMAIN = "nxdomain"
    NODATA = "nodata"


class Blocked(Struct, frozen=True, gc=False):
    """A domain whose names are denied here and asked nowhere."""

    domain: bytes
    denial: Denial


class ServerSpec(Struct, frozen=True, gc=False, tag="ip"):
    """An upstream with a fixed address."""

    ip: str  # canonical text
    port: int = 53
    transport: Transport = Transport.UDP
    server_name: str | None = None  # for TLS: what the certificate must be for; the address if None
    packets_per_second: int | None = None  # None: no limit
    case: Case = Case.LEARN
    edns: Edns = Edns.LEARN
    tls: TlsFiles = TlsFiles()


class NamedUpstream(Struct, frozen=True, gc=False, tag="name"):
    """An upstream with a DNS name, which is resolved again when its TTL ends."""

    qname: bytes
    port: int = 53
    transport: Transport = Transport.UDP
    server_name: str | None = None  # for TLS: what the certificate must be for; `qname` if None
    packets_per_second: int | None = None
    case: Case = Case.LEARN
    edns: Edns = Edns.LEARN
    tls: TlsFiles = TlsFiles()


class Route(Struct, frozen=True, gc=False):
    """The servers for names at or below a domain."""

    domain: bytes
    servers: tuple[ServerSpec | NamedUpstream, ...]
    except_: tuple[bytes, ...] = ()  # domains below `domain` that the route doesn't apply to
    on_nxdomain: OnNxdomain = OnNxdomain.ANSWER
    choice: Choice | None = None  # None: `Config.choice` counts


class CacheOptions(Struct, frozen=True, gc=False):
    """Limits of one worker's cache of upstreams' answers. Names of the cluster are never cached."""

    entries: int = 10_000
    bytes: int = 8 * 1024 * 1024
    min_ttl_s: int = 0
    max_ttl_s: int = 3600
    min_negative_ttl_s: int = 0
    max_negative_ttl_s: int = 1800
    serve_stale_s: int = 3600  # how long after expiry an answer is still used (RFC 8767); 0: never
    prefetch: bool = True


class Host(Struct, frozen=True, gc=False):
    """A name with fixed addresses, and their PTR records."""

    qname: bytes
    addresses: tuple[bytes, ...]  # 4 or 16 octets each
    ttl_s: int = 60  # CoreDNS's hosts plugin has 3600, but an edit here should be seen sooner
    ptr: bool = True


class MetricsOptions(Struct, frozen=True, gc=False):
    """How metrics are exposed."""

    names: MetricNames = MetricNames.COREDNS


class QueryLogOptions(Struct, frozen=True, gc=False):
    """Which queries are logged."""

    zones: tuple[bytes, ...] = (name.ROOT,)
    classes: tuple[RcodeClass, ...] = tuple(RcodeClass)
    share: float = 1.0  # of the queries that match; above 0


class LogOptions(Struct, frozen=True, gc=False):
    """What is logged in addition to changes of state."""

    queries: QueryLogOptions | None = None  # None: no queries


class EdnsOptions(Struct, frozen=True, gc=False):
    """How EDNS is used with clients (RFC 6891)."""

    max_udp_size: int = 4096  # octets of a reply over UDP to a client that takes as many


class DnssecOptions(Struct, frozen=True, gc=False):
    """What is made of the work of upstreams that validate (RFC 4035)."""

    trust_ad: tuple[str, ...] = ()  # addresses, or names with a final dot, of servers whose AD bit is passed on


class ExternalSource(Enum):
    """Objects that give names to external zones."""

    SERVICES = "services"
    INGRESSES = "ingresses"
    ROUTES = "routes"  # of the Gateway API
    DNSENDPOINTS = "dnsendpoints"
    NODES = "nodes"


class Nameserver(Struct, frozen=True, gc=False):
    """A name server of an external zone: the Service that clients reach it by."""

    label: str
    namespace: str
    service: str

    def owner(self, apex: bytes) -> bytes:
        """Return its name, in lower case."""
        return name.from_labels(self.label.encode())[:-1] + apex


class ExternalZone(Struct, frozen=True, gc=False):
    """A zone with names for what leads into the cluster."""

    apex: bytes
    sources: tuple[ExternalSource, ...] = (ExternalSource.SERVICES, ExternalSource.INGRESSES)
    service_names: bool = True  # SERVICE.NAMESPACE for each Service with external addresses
    # Prefixes of annotations, the first one that an object has counts. external-dns 0.22 changed its own.
    annotations: tuple[str, ...] = (
        "external-dns.kubernetes.io/",
        "external-dns.alpha.kubernetes.io/",
        "coredns.io/",
    )
    ingress_classes: tuple[str, ...] = ()  # empty: all
    gateway_classes: tuple[str, ...] = ()  # likewise
    headless: bool = False  # headless Services have names too, and their endpoints
    ttl_s: int = 60
    nameservers: tuple[Nameserver, ...] = ()


class Config(Struct, frozen=True, gc=False):
    """Everything that can change while the server runs. An empty ConfigMap means `Config()`."""

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
    ptr_ranges: tuple[str, ...] | None = None
    hosts: tuple[Host, ...] = ()  # at most one per name
    blocked: tuple[Blocked, ...] = ()  # at most one per domain
    external: tuple[ExternalZone, ...] = ()  # at most one per apex
    forwarded_special_names: tuple[SpecialName, ...] = ()  # upstreams answer these
    edns: EdnsOptions = EdnsOptions()
    dnssec: DnssecOptions = DnssecOptions()
    metrics: MetricsOptions = MetricsOptions()
    log: LogOptions = LogOptions()


def dump(config: Config) -> bytes:
    """Compose the octets of a configuration in the answer table."""
    return _ENCODER.encode(config)


def load(data: bytes) -> Config:
    """Parse the octets that `dump` composed. Raises `msgspec.DecodeError` for those of another version of pydns."""
    return _DECODER.decode(data)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Config)
