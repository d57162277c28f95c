"""Defines the live configuration and its defaults. An operator can change this configuration without a restart.

Every value has been checked: names are wire names in lower case, addresses are valid, and numbers are in range. `keys`
defines the text form of the values. The controller stores the configuration in the answer table with `dump`. Workers
read the configuration with `load`. The classes are msgspec structs, because msgspec preserves the type of a `ServerSpec
| NamedUpstream` in the stored form.

All defaults are defined here and nowhere else. Other packages take their limits from these values.
"""

from enum import Enum

import msgspec
from msgspec import Struct

from pydns.config.settings import PodsMode
from pydns.dns import name

DOH_PATH = "/dns-query"  # the usual path in a URL of DNS over HTTPS


class Transport(Enum):
    """The protocol for an upstream. With UDP, a truncated answer is requested again over TCP."""

    UDP = "udp"
    TCP = "tcp"
    TLS = "tls"  # RFC 7858
    HTTPS = "https"  # RFC 8484


class Case(Enum):
    """The case of the letters in a question to an upstream."""

    LEARN = "learn"  # use random case, unless replies show that the server doesn't preserve the case
    RANDOM = "random"
    LOWER = "lower"


class Edns(Enum):
    """Whether questions to an upstream have EDNS."""

    LEARN = "learn"  # use EDNS, unless replies show that the server doesn't understand EDNS
    ALWAYS = "always"
    NEVER = "never"


class Choice(Enum):
    """Which of several upstreams is asked first."""

    FASTEST = "fastest"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    IN_ORDER = "in_order"


class OnNxdomain(Enum):
    """The values of the key `on_nxdomain`.

    The value `next` has the same effect as NXDOMAIN in the field `next_` of a route.
    """

    ANSWER = "answer"
    NEXT = "next"


class Outcome(Enum):
    """Kinds of answers after which other servers are asked."""

    NXDOMAIN = "NXDOMAIN"
    NODATA = "NODATA"
    SERVFAIL = "SERVFAIL"  # SERVFAIL, and every other error except REFUSED
    REFUSED = "REFUSED"


class Excepted(Enum):
    """What happens to the names that a route excludes."""

    NEXT = "next"  # pydns treats these names as if the route didn't exist
    REFUSED = "refused"


class MetricNames(Enum):
    """The naming scheme for metrics."""

    COREDNS = "coredns"
    PYDNS = "pydns"


class RcodeClass(Enum):
    """Classes of replies, as in CoreDNS's log plugin."""

    SUCCESS = "success"  # NOERROR with an answer
    DENIAL = "denial"  # NXDOMAIN and NODATA
    ERROR = "error"  # every other rcode


class Families(Enum):
    """The address families that clients can use outside the cluster."""

    AUTO = "auto"  # the families that this host can use; the controller replaces AUTO by IPV4, IPV6 or ALL
    IPV4 = "ipv4"
    IPV6 = "ipv6"
    ALL = "all"


class AnyQueries(Enum):
    """The answer to a query of type ANY."""

    RECORDS = "records"  # answer with one RRset of the name
    HINFO = "hinfo"  # answer with a made-up HINFO record for every name (RFC 8482 section 4.2)


class ChaosName(Enum):
    """Names in class CH with information about the server (RFC 4892)."""

    VERSION_BIND = "version.bind"
    VERSION_SERVER = "version.server"
    HOSTNAME_BIND = "hostname.bind"
    ID_SERVER = "id.server"
    AUTHORS_BIND = "authors.bind"


class TlsFiles(Struct, frozen=True, gc=False):
    """Files for connections over TLS, in PEM. pydns reads the files when it opens a connection."""

    ca: str | None = None  # file with the trusted CAs; None: the system's CAs
    certificate: str | None = None  # file with pydns's certificate and its chain, for servers that require one
    key: str | None = None  # file with the key of pydns's certificate; None: the key is in the certificate's file


class SpecialName(Enum):
    """Names that a resolver must answer itself. See `pydns.zones.special`."""

    RESOLVER_ARPA = "resolver.arpa"
    USE_APPLICATION_DNS_NET = "use-application-dns.net"


class Denial(Enum):
    """The kind of answer for a denied name."""

    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    REFUSED = "refused"


class Blocked(Struct, frozen=True, gc=False):
    """A domain whose names are denied. Questions for the denied names are not forwarded."""

    domain: bytes
    denial: Denial
    types: tuple[int, ...] = ()  # types of records; empty: all types
    min_labels: int = 0  # names with fewer labels than this are not denied

    @property
    def is_whole(self) -> bool:
        """Return whether every name of the domain is denied with a SOA record.

        Such a domain is a zone without records.
        """
        return not self.types and not self.min_labels and self.denial is not Denial.REFUSED


class Alias(Struct, frozen=True, gc=False):
    """Names that are answered with the records of other names. `pydns.dns.alias` defines the form of the texts."""

    pattern: str
    target: str


class Scope(Struct, frozen=True, gc=False):
    """The names that a rule applies to: names at or below `within` that are not at or below `except_`."""

    within: tuple[bytes, ...] = (name.ROOT,)
    except_: tuple[bytes, ...] = ()


class Rewrite(Struct, frozen=True, gc=False):
    """A rule of CoreDNS's plugin `rewrite`, split into words."""

    rule: tuple[str, ...]
    scope: Scope = Scope()


class AclAction(Enum):
    """What happens to a question that matches a rule of `acl`, as in CoreDNS's plugin `acl`."""

    ALLOW = "allow"
    BLOCK = "block"  # REFUSED, with the extended error Blocked
    FILTER = "filter"  # an answer without records, with the extended error Filtered
    DROP = "drop"  # no reply


class AclRule(Struct, frozen=True, gc=False):
    """A rule that says what happens to certain questions of certain clients."""

    action: AclAction
    clients: tuple[str, ...] = ()  # networks in canonical text; empty: all clients
    types: tuple[int, ...] = ()  # types of questions, including ANY; empty: all types
    scope: Scope = Scope()


class Unmatched(Enum):
    """What happens to a name in the zones of a template if no pattern of the template matches the name."""

    NEXT = "next"  # try the next template; after the last one, answer as if there were no templates
    SERVFAIL = "servfail"


class RcodeName(Enum):
    """The rcodes that a template may have."""

    NOERROR = "NOERROR"
    FORMERR = "FORMERR"
    SERVFAIL = "SERVFAIL"
    NXDOMAIN = "NXDOMAIN"
    NOTIMP = "NOTIMP"
    REFUSED = "REFUSED"
    YXDOMAIN = "YXDOMAIN"


class Template(Struct, frozen=True, gc=False):
    """Answers that are made from the name of a question, as CoreDNS's plugin `template` does."""

    zones: tuple[bytes, ...] = (name.ROOT,)
    types: tuple[int, ...] = ()  # empty: all types
    match: tuple[str, ...] = (".*",)
    answer: tuple[str, ...] = ()
    authority: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()
    rcode: RcodeName = RcodeName.NOERROR
    unmatched: Unmatched = Unmatched.NEXT
    scope: Scope = Scope()


class ServerSpec(Struct, frozen=True, gc=False, tag="ip"):
    """An upstream with a fixed address."""

    ip: str  # canonical text
    port: int = 53
    transport: Transport = Transport.UDP
    server_name: str | None = None  # with TLS and HTTPS, the name that the certificate must contain; None: the address
    packets_per_second: int | None = None  # how many packets a second one worker may send to the server; None: no limit
    case: Case = Case.LEARN
    edns: Edns = Edns.LEARN
    tls: TlsFiles = TlsFiles()
    source: str | None = None  # the address from which queries are sent; None: the routing table of the host decides
    path: str = DOH_PATH  # with HTTPS, the path of the URL


class NamedUpstream(Struct, frozen=True, gc=False, tag="name"):
    """An upstream with a DNS name. The name is resolved again when the TTL expires."""

    qname: bytes
    port: int = 53
    transport: Transport = Transport.UDP
    server_name: str | None = None  # with TLS and HTTPS, the name that the certificate must contain; None: `qname`
    packets_per_second: int | None = None
    case: Case = Case.LEARN
    edns: Edns = Edns.LEARN
    tls: TlsFiles = TlsFiles()
    # The address from which queries are sent. Only addresses of the server with the same family are used.
    source: str | None = None
    path: str = DOH_PATH


class ServersFile(Struct, frozen=True, gc=False, tag="file"):
    """The nameservers of a file in the form of resolv.conf.

    The controller replaces this value by the servers in the file.
    """

    path: str
    transport: Transport = Transport.UDP
    packets_per_second: int | None = None
    case: Case = Case.LEARN
    edns: Edns = Edns.LEARN
    source: str | None = None  # the address from which queries are sent; nameservers of the other family aren't used


AnyServer = ServerSpec | NamedUpstream | ServersFile


def is_reached_from(ip: str, source: str | None) -> bool:
    """Return whether a server's address can be reached from `source`: both must have the same family."""
    return source is None or (":" in ip) == (":" in source)


class Route(Struct, frozen=True, gc=False):
    """The servers for names at or below a domain."""

    domain: bytes
    servers: tuple[AnyServer, ...]
    except_: tuple[bytes, ...] = ()  # domains below `domain` that are excluded from the route
    excepted: Excepted = Excepted.NEXT
    # after these outcomes, pydns asks the servers that it would ask without this route
    next_: tuple[Outcome, ...] = ()
    failover: tuple[Outcome, ...] = ()  # after these outcomes and all errors, pydns asks the next server of the route
    choice: Choice | None = None  # which server is asked first; None: `Config.choice` decides


class StaleMode(Enum):
    """When an expired answer is used."""

    VERIFY = "verify"  # the expired answer is used after all upstreams have failed (RFC 8767)
    IMMEDIATE = "immediate"  # the expired answer is used at once, while upstreams are asked for a new one


class CacheZone(Struct, frozen=True, gc=False):
    """Options of the cache for names at or below a domain.

    A value of None means that the value in `CacheOptions` applies.
    """

    domain: bytes
    success: bool | None = None
    denial: bool | None = None
    min_ttl_s: int | None = None
    max_ttl_s: int | None = None
    min_negative_ttl_s: int | None = None
    max_negative_ttl_s: int | None = None
    servfail_s: int | None = None
    serve_stale_s: int | None = None
    stale_mode: StaleMode | None = None
    prefetch: bool | None = None
    keep_ttl: bool | None = None


class CacheOptions(Struct, frozen=True, gc=False):
    """Options of one worker's cache of upstream answers. Answers for names of the cluster are never cached."""

    entries: int = 10_000
    bytes: int = 8 * 1024 * 1024
    success: bool = True  # whether to keep answers with records
    denial: bool = True  # whether to keep NXDOMAIN and answers without records
    min_ttl_s: int = 0
    max_ttl_s: int = 3600
    min_negative_ttl_s: int = 0
    max_negative_ttl_s: int = 1800
    # How long failures are kept: RFC 9520 requires 1 s to 5 min. With 5 s, as in CoreDNS, the cache answers a client's
    # first retry, and an upstream answers the second retry.
    servfail_s: int = 5
    serve_stale_s: int = 3600  # how long an expired answer may still be used (RFC 8767). 0: never
    stale_mode: StaleMode = StaleMode.VERIFY
    prefetch: bool = True
    keep_ttl: bool = False  # whether cached answers keep their TTLs instead of counting them down
    # At most one entry per domain. If several domains contain a name, the entry of the longest domain applies.
    zones: tuple[CacheZone, ...] = ()


class Host(Struct, frozen=True, gc=False):
    """A name with fixed addresses. If `ptr` is True, the addresses have PTR records."""

    qname: bytes
    addresses: tuple[bytes, ...]  # each address has 4 or 16 octets
    ttl_s: int = 60  # CoreDNS's hosts plugin uses 3600 s; with 60 s, clients see an edit sooner
    ptr: bool = True


class HostsFile(Struct, frozen=True, gc=False):
    """A file in the form of /etc/hosts. `config.hosts_file` makes a `Host` of each name in the file."""

    file: str  # an absolute path, or a file beside the configuration (`config.read` replaces it by its hosts)
    ttl_s: int = 60
    ptr: bool = True
    zones: tuple[bytes, ...] = (name.ROOT,)  # names in the file that are outside of these zones are left out
    except_: tuple[bytes, ...] = ()  # names in the file that are in these domains are left out, too


class ZoneText(Struct, frozen=True, gc=False):
    """A zone file of the configuration: its text, or the path where the controller reads it."""

    file: str  # the name of a file, or an absolute path
    zone: bytes | None = None  # the zone of relative names in the file; None: the name of the file without `.zone`
    fallthrough: bool = False  # whether upstreams are asked for names that the zone lacks
    text: str | None = None  # the content of the file; None if the file has an absolute path

    @property
    def zone_text(self) -> str:
        """Return the zone to which names in the file are relative."""
        if self.zone is not None:
            return name.to_text(self.zone)
        return self.file.rpartition("/")[2].removesuffix(".zone")

    @property
    def title(self) -> str:
        """Return the name of this zone file in the status and the log."""
        return self.file if self.zone is None else f"{self.file} ({name.to_text(self.zone)})"


class MetricsOptions(Struct, frozen=True, gc=False):
    """Options for metrics."""

    names: MetricNames = MetricNames.COREDNS


class QueryLogOptions(Struct, frozen=True, gc=False):
    """Conditions for the queries that are logged."""

    zones: tuple[bytes, ...] = (name.ROOT,)
    classes: tuple[RcodeClass, ...] = tuple(RcodeClass)
    share: float = 1.0  # the share of matching queries that is logged, above 0 and up to 1


class LogOptions(Struct, frozen=True, gc=False):
    """What is logged in addition to changes of state."""

    queries: QueryLogOptions | None = None  # which queries are logged; None: no queries


class TapMessages(Enum):
    """A group of messages for a collector."""

    CLIENT = "client"  # queries of clients, and pydns's replies
    FORWARDER = "forwarder"  # pydns's queries to upstreams, and their replies


class Collector(Struct, frozen=True, gc=False):
    """The address of a collector: the path of a Unix socket, or an IP address and a port."""

    text: str  # the address as it is written in the configuration
    path: str | None = None
    ip: str = ""
    port: int = 0


class DnstapOptions(Struct, frozen=True, gc=False):
    """A collector for queries and replies, in the format dnstap."""

    to: Collector
    messages: tuple[TapMessages, ...] = tuple(TapMessages)
    full: bool = True  # whether the collector gets the octets of the DNS messages
    share: float = 1.0  # the share of queries that is sent, above 0 and up to 1
    identity: str | None = None  # the name of this server for the collector; None: the name of the host


class EdnsOptions(Struct, frozen=True, gc=False):
    """Options for EDNS with clients (RFC 6891)."""

    max_udp_size: int = 4096  # the most octets of a reply over UDP; a client may accept fewer
    ede: bool = True  # whether replies have extended errors (RFC 8914)


class DnssecOptions(Struct, frozen=True, gc=False):
    """Options for upstreams that validate DNSSEC (RFC 4035)."""

    trust_ad: tuple[str, ...] = ()  # servers whose AD bit is passed on: addresses, or names with a final dot


class ExternalSource(Enum):
    """Kinds of objects that external zones get their names from."""

    SERVICES = "services"
    INGRESSES = "ingresses"
    ROUTES = "routes"  # routes of the Gateway API
    DNSENDPOINTS = "dnsendpoints"
    NODES = "nodes"


class ListenerHostnames(Enum):
    """Whether the hostnames of listeners (Gateway API) are names of an external zone."""

    # A hostname is a name if a route at the listener has no hostnames. A wildcard is never a name, because it only
    # limits the hostnames of routes.
    ROUTES = "routes"
    ALWAYS = "always"  # a hostname is always a name, even if it is a wildcard or has no route
    NEVER = "never"


class HairpinMode(Enum):
    """The answers to clients in the cluster for names of load balancers."""

    OFF = "off"  # the same answers as for other clients
    SERVICE = "service"  # the ClusterIPs of the Service behind the load balancer
    # The ClusterIPs of the Service, as with `service`. But pydns doesn't serve the zone: upstreams answer all other
    # questions for names in the zone.
    ONLY = "only"


class PlainZonal(Enum):
    """The names without a `_zone` label whose answers depend on the zone of the client."""

    OFF = "off"
    HEADLESS = "headless"  # the names of headless Services with trafficDistribution


class Nearness(Enum):
    """The facts that show which clients should use an endpoint."""

    HINTS = "hints"  # the hints in EndpointSlices, as for kube-proxy
    ZONE = "zone"  # the zone of the endpoint


class ClientSource(Enum):
    """The objects from which pydns learns the names of clients."""

    ENDPOINTS = "endpoints"  # EndpointSlices, which pydns watches in any case
    PODS = "pods"  # EndpointSlices and Pods


class ZonalOptions(Struct, frozen=True, gc=False):
    """Answers with endpoints of one zone."""

    names: bool = False  # names such as ZONE.pin._zone.SERVICE.NAMESPACE.svc
    plain: PlainZonal = PlainZonal.OFF
    prefer: Nearness = Nearness.HINTS  # for `plain`


class Nameserver(Struct, frozen=True, gc=False):
    """A name server of an external zone, and the Service through which clients reach it."""

    label: str
    namespace: str
    service: str

    def owner(self, apex: bytes) -> bytes:
        """Return the DNS name of this name server, in lower case."""
        return name.from_labels(self.label.encode())[:-1] + apex


class ExternalZone(Struct, frozen=True, gc=False):
    """A zone with names for the entry points of the cluster, such as external Services and Ingresses."""

    apex: bytes
    sources: tuple[ExternalSource, ...] = (ExternalSource.SERVICES, ExternalSource.INGRESSES)
    service_names: bool = True  # each Service with external addresses has the name SERVICE.NAMESPACE
    # Prefixes of annotations. If an object uses several prefixes, the one that comes first in this tuple applies. Two
    # defaults are for external-dns, because its version 0.22 changed the prefix.
    annotations: tuple[str, ...] = (
        "external-dns.kubernetes.io/",
        "external-dns.alpha.kubernetes.io/",
        "coredns.io/",
    )
    ingress_classes: tuple[str, ...] = ()  # classes of Ingresses that have names; empty: all
    gateway_classes: tuple[str, ...] = ()  # classes of Gateways whose routes have names; empty: all
    listener_hostnames: ListenerHostnames = ListenerHostnames.ROUTES
    headless: bool = False  # True: headless Services and their endpoints also have names
    ttl_s: int = 60
    nameservers: tuple[Nameserver, ...] = ()
    hairpin: HairpinMode = HairpinMode.OFF

    @property
    def is_served(self) -> bool:
        """Whether pydns answers all names of the zone, and not only some questions of clients in the cluster."""
        return self.hairpin is not HairpinMode.ONLY


class MulticlusterOptions(Struct, frozen=True, gc=False):
    """Names of ServiceImports, the Services that other clusters export (Multi-Cluster Services API)."""

    zones: tuple[bytes, ...] = (name.from_text("clusterset.local"),)  # empty if ServiceImports have no names


class FamilyOptions(Struct, frozen=True, gc=False):
    """Which address families clients get from upstreams."""

    which: Families = Families.ALL
    except_: tuple[bytes, ...] = ()  # domains whose names may have addresses of every family


class Dns64Options(Struct, frozen=True, gc=False):
    """Options for DNS64 (RFC 6147). Ranges are texts, such as 64:ff9b::/96."""

    prefixes: tuple[str, ...] = ("64:ff9b::/96",)
    clients: tuple[str, ...] = ("::/0",)
    exclude: tuple[str, ...] = ("::ffff:0:0/96",)  # ranges of addresses that are ignored
    translate_all: bool = False
    map_private: bool = False


class View(Struct, frozen=True, gc=False):
    """Answers that differ for some clients or questions."""

    when: str  # the condition, as an expression of `pydns.dns.expression`
    templates: tuple[Template, ...] = ()  # these templates are tried before the templates for all clients
    blocked: tuple[Blocked, ...] = ()


class ChaosOptions(Struct, frozen=True, gc=False):
    """The server's answers to questions in class CH."""

    version: str | None = None  # the version in answers; None: name and version of pydns
    authors: tuple[str, ...] = ()
    names: tuple[ChaosName, ...] = tuple(ChaosName)


class NsidOptions(Struct, frozen=True, gc=False):
    """The identifier that clients get if they ask for it by EDNS (RFC 5001)."""

    data: str | None = None  # None: the name of the host


class Domain(Struct, frozen=True, gc=False):
    """A further domain with names of a cluster's objects."""

    domain: bytes
    # A value of None means that the value of the first domain applies.
    ttl_s: int | None = None
    pods: PodsMode | None = None
    endpoint_pod_names: bool | None = None
    # The next three values select the objects of this domain. None: all objects, even if the first domain selects
    # objects.
    namespaces: tuple[str, ...] | None = None
    namespace_labels: str | None = None
    labels: str | None = None
    endpoints: bool = True
    hide_empty_services: bool = False
    # None: the first domain of a further cluster has the reverse zones of the first cluster. Other domains have none.
    reverse_zones: tuple[bytes, ...] | None = None
    fallthrough: tuple[bytes, ...] | None = None  # None: reverse zones fall through


class Cluster(Struct, frozen=True, gc=False):
    """A further cluster, with its domains."""

    name: str
    kubeconfig: str
    context: str | None = None  # the context in the kubeconfig; None: the current context
    domains: tuple[Domain, ...] = ()  # at most one entry per domain


class Config(Struct, frozen=True, gc=False):
    """Everything that can change while the server runs.

    The defaults, `Config()`, are the configuration of an empty ConfigMap.
    """

    upstreams: tuple[AnyServer, ...] | None = None  # None: the nameservers of /etc/resolv.conf are the upstreams
    except_: tuple[bytes, ...] = ()  # `upstreams` are not asked for names in these domains
    failover: tuple[Outcome, ...] = ()  # after these outcomes and all errors, pydns asks the next server in `upstreams`
    choice: Choice = Choice.FASTEST
    routes: tuple[Route, ...] = ()  # at most one route per domain
    max_in_flight: int = 1000  # how many queries of one worker may wait for upstreams
    cache: CacheOptions = CacheOptions()
    # The cluster options (`flags.CLUSTER`). An option that is None has the value of the flag.
    ttl_s: int | None = None
    pods: PodsMode | None = None
    namespaces: tuple[str, ...] | None = None
    labels: str | None = None
    endpoint_pod_names: bool | None = None
    reverse_zones: tuple[bytes, ...] | None = None
    ptr_ranges: tuple[str, ...] | None = None
    namespace_labels: str | None = None
    endpoints: bool = True
    hide_empty_services: bool = False
    fallthrough: tuple[bytes, ...] | None = None  # None: reverse zones fall through
    domains: tuple[Domain, ...] = ()  # at most one entry per domain
    clusters: tuple[Cluster, ...] = ()  # at most one entry per name
    hosts: tuple[Host, ...] = ()  # a name may have several entries, whose addresses are combined
    hosts_files: tuple[HostsFile, ...] = ()
    zone_files: tuple[ZoneText, ...] = ()  # the copy in the table has no zone files, because workers don't need them
    blocked: tuple[Blocked, ...] = ()  # at most one entry per domain
    aliases: tuple[Alias, ...] = ()  # at most one entry per pattern
    acl: tuple[AclRule, ...] = ()  # the first rule that matches a question applies
    views: tuple[View, ...] = ()  # the first view that matches a question applies
    rewrites: tuple[Rewrite, ...] = ()  # the rules are applied in this order
    templates: tuple[Template, ...] = ()  # the templates are tried in this order
    external: tuple[ExternalZone, ...] = ()  # at most one zone per apex
    multicluster: MulticlusterOptions = MulticlusterOptions()
    families: FamilyOptions = FamilyOptions()
    dns64: Dns64Options | None = None
    zonal: ZonalOptions = ZonalOptions()
    clients: ClientSource = ClientSource.ENDPOINTS
    client_labels: tuple[str, ...] = ()  # the Pod labels with these keys are shown with the names of clients
    cluster_ranges: tuple[str, ...] = ()  # further addresses that count as clients in the cluster
    forwarded_special_names: tuple[SpecialName, ...] = ()  # special names that are forwarded to upstreams
    # How many equal replies a second one worker may send to one network over UDP. 0 means no limit. None means the
    # default, which depends on `--answer`.
    responses_per_second: int | None = None
    local_names: bool = False  # whether pydns answers names such as localhost
    any: AnyQueries = AnyQueries.RECORDS
    chaos: ChaosOptions | None = None
    nsid: NsidOptions | None = None
    edns: EdnsOptions = EdnsOptions()
    dnssec: DnssecOptions = DnssecOptions()
    metrics: MetricsOptions = MetricsOptions()
    log: LogOptions = LogOptions()
    dnstap: DnstapOptions | None = None
    recent_queries_mib: int = 8  # the memory in which each worker keeps its last queries; 0: no queries are kept


def dump(config: Config) -> bytes:
    """Encode a configuration for the answer table."""
    return _ENCODER.encode(config)


def load(data: bytes) -> Config:
    """Decode the octets from `dump`. Raises `msgspec.DecodeError` if another version of pydns encoded the octets."""
    return _DECODER.decode(data)


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Config)
