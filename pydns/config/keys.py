"""The table of all keys of the live configuration. The reader, JSON Schema and documentation come from this table.

There are two sets of keys: the keys of `config.yaml` (`ROOT`) and the keys of kube-dns's ConfigMap (`KUBE_DNS`).
`model` defines the defaults for `ROOT`. The rows of cluster options are in `flags`, because these options are flags
too.

No library is suitable. pydantic costs every process 0.21 s and 20 MB. msgspec stops at the first error. jsonschema
costs 10 MB and has worse messages. None of these libraries knows the line of a value.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from pydns.config import flags, texts
from pydns.config.mistakes import Wanted, quote
from pydns.config.model import (
    DOH_PATH,
    AclAction,
    AclRule,
    Alias,
    AnyQueries,
    AnyServer,
    Blocked,
    CacheOptions,
    CacheZone,
    Case,
    ChaosName,
    ChaosOptions,
    Choice,
    Cluster,
    Config,
    Denial,
    Dns64Options,
    DnssecOptions,
    Domain,
    Edns,
    EdnsOptions,
    Excepted,
    ExternalSource,
    ExternalZone,
    Families,
    FamilyOptions,
    HairpinMode,
    Host,
    HostsFile,
    ListenerHostnames,
    LogOptions,
    MetricNames,
    MetricsOptions,
    MulticlusterOptions,
    NamedUpstream,
    Nameserver,
    Nearness,
    NsidOptions,
    OnNxdomain,
    Outcome,
    PlainZonal,
    QueryLogOptions,
    RcodeClass,
    RcodeName,
    Rewrite,
    Route,
    Scope,
    ServersFile,
    ServerSpec,
    SpecialName,
    StaleMode,
    Template,
    TlsFiles,
    Transport,
    Unmatched,
    View,
    ZonalOptions,
    ZoneText,
)
from pydns.config.shapes import (
    Conflict,
    Key,
    ListOf,
    MapOf,
    OneOf,
    Record,
    Share,
    Switch,
    Text,
    TextOrRecord,
    Whole,
)
from pydns.dns import alias, name
from pydns.dns.pattern import Pattern
from pydns.dns.template import Text as TemplateText

MAX_TTL_S = 7 * 24 * 3600  # RFC 8767 section 4: cap TTLs at a week or so

_DEFAULT_PORTS = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853, Transport.HTTPS: 443}
_ENCRYPTED = (Transport.TLS, Transport.HTTPS)
_DEFAULT_CACHE = CacheOptions()
_NO_FILES = TlsFiles()
_CHOICE = OneOf(Choice)
_DOMAIN = Text(texts.DOMAIN, texts.parse_domain)
_TTL = Whole(0, MAX_TTL_S)


def _server(
    address: texts.Address,
    transport: Transport = Transport.UDP,
    server_name: str | None = None,
    packets_per_second: int | None = None,
    case: Case = Case.LEARN,
    edns: Edns = Edns.LEARN,
    tls: TlsFiles = _NO_FILES,
    source: str | None = None,
) -> AnyServer:
    if address.file is not None:
        return ServersFile(address.file, transport, packets_per_second, case, edns, source)
    if address.url_path is not None:
        transport = Transport.HTTPS
    port = address.port or _DEFAULT_PORTS[transport]
    how = transport, server_name, packets_per_second, case, edns, tls, source, address.url_path or DOH_PATH
    if address.qname is not None:
        return NamedUpstream(address.qname, port, *how)
    assert address.ip is not None
    return ServerSpec(address.ip, port, *how)


def _check_server(address: texts.Address | None = None, **written: Any) -> Iterator[Conflict]:
    is_url = address is not None and address.url_path is not None
    transport = written.get("transport", Transport.HTTPS if is_url else Transport.UDP)
    if address is not None and address.file is not None and transport in _ENCRYPTED:
        wanted = f"udp or tcp, the ways to the nameservers of {address.file}"
        yield Conflict("transport", quote(transport.value), wanted)
    elif is_url and transport not in (Transport.HTTPS, None):
        yield Conflict("transport", quote(transport.value), "https, as in the address")
    for key, found in (("tls", "files"), ("server_name", quote(written.get("server_name") or ""))):
        if written.get(key) is not None and transport not in (*_ENCRYPTED, None):
            yield Conflict(key, found, 'used without "transport: tls" or https')
    source = written.get("source")
    if address is not None and address.ip is not None and source is not None and (":" in address.ip) != (":" in source):
        yield Conflict("source", quote(source), f"of the family of {address.ip}")


def _server_shape(address: Text) -> TextOrRecord:
    """Return the shape of a server. The value is only an address, or a mapping."""

    def parse(text: str) -> AnyServer | Wanted:
        parsed = address.parse(text)
        return parsed if isinstance(parsed, Wanted) else _server(parsed)

    address_key = Key(
        "address",
        address,
        "Address of the server. If there is no other key, the address can be written without the mapping.",
        "10.0.0.2:5353",
        "10.0.0.300",
        required=True,
    )
    return TextOrRecord(
        Text(address.wanted, parse), Record(_server, (address_key, *_SERVER_KEYS), "a server", _check_server)
    )


_FILE = Text("an absolute path", texts.parse_path)


def _check_tls(certificate: str | None = None, key: str | None = None, **_: Any) -> Iterator[Conflict]:
    if key is not None and certificate is None:
        yield Conflict("key", f'"{key}"', 'used without "certificate"')


_TLS = Record(
    TlsFiles,
    (
        Key(
            "ca",
            _FILE,
            "File with the certificates of the authorities that the server's certificate may be from, in PEM.",
            "/etc/pydns/ca.pem",
            "ca.pem",
            default="the system's",
        ),
        Key(
            "certificate",
            _FILE,
            "File with our certificate and its chain, for servers that want one.",
            "/etc/pydns/tls.crt",
            "tls.crt",
            default="none",
        ),
        Key(
            "key",
            _FILE,
            "File with the key of our certificate.",
            "/etc/pydns/tls.key",
            "tls.key",
            default="the file of the certificate",
        ),
    ),
    "a mapping of files",
    _check_tls,
)
_SERVER_KEYS = (
    Key(
        "transport",
        OneOf(Transport),
        "Protocol. With udp, a truncated answer is fetched again over TCP. tls is DNS over TLS, port 853. https is DNS "
        "over HTTPS with HTTP/2, port 443; an address like https://dns.example/dns-query means it, too.",
        "tls",
        "quic",
    ),
    Key(
        "server_name",
        Text("a host name or IP address", texts.parse_server_name),
        "With tls and https: the name or address that the server's certificate must be for.",
        "dns.example.net",
        "'*'",
        default="the address",
    ),
    Key(
        "packets_per_second",
        Whole(1, 1_000_000),
        "Limit of what one worker sends to the server. Cloud resolvers drop packets beyond a rate (AWS: 1,024 a "
        "second).",
        "500",
        "0",
        default="no limit",
    ),
    Key(
        "case",
        OneOf(Case),
        "Case of the letters in questions over UDP. random: it protects from forged replies (0x20). lower: for servers "
        "that answer names in mixed case wrongly. learn: random, and lower for an hour after replies in another case "
        "or denials of names that the server has in lower case.",
        "lower",
        "upper",
    ),
    Key(
        "edns",
        OneOf(Edns),
        "Whether questions have EDNS. learn: they do, but not for 15 minutes after the server has shown that it "
        "doesn't understand it.",
        "never",
        "'off'",
    ),
    Key("tls", _TLS, "With tls and https: files for the connection.", default="those of the system"),
    Key(
        "source",
        Text("an IP address", texts.parse_source),
        "Address of this host that questions are sent from. Servers of the other family are left out.",
        "10.0.0.5",
        "eth0",
        default="chosen by the kernel",
    ),
)
_SERVER = _server_shape(Text(texts.UPSTREAM, texts.parse_upstream))
_OUTCOMES = ListOf(OneOf(Outcome), "outcomes")


def _route(
    domain: bytes,
    servers: tuple[AnyServer, ...],
    except_: tuple[bytes, ...] = (),
    excepted: Excepted = Excepted.NEXT,
    next_: tuple[Outcome, ...] = (),
    on_nxdomain: OnNxdomain = OnNxdomain.ANSWER,
    failover: tuple[Outcome, ...] = (),
    choice: Choice | None = None,
) -> Route:
    if on_nxdomain is OnNxdomain.NEXT:
        next_ = (Outcome.NXDOMAIN,)
    return Route(domain, servers, except_, excepted, next_, failover, choice)


def _check_route(
    domain: bytes | None = None,
    except_: tuple[bytes, ...] | None = None,
    next_: tuple[Outcome, ...] | None = None,
    on_nxdomain: OnNxdomain | None = None,
    **_: Any,
) -> Iterator[Conflict]:
    for each in except_ or ():
        if domain is not None and (not name.is_at_or_below(each, domain) or each == domain):
            yield Conflict("except", f'"{name.to_text(each)}"', f'below "{name.to_text(domain)}"')
    if next_ is not None and on_nxdomain is not None:
        yield Conflict("on_nxdomain", f'"{on_nxdomain.value}"', 'used together with "next"')


_FAILOVER = "Outcomes after which the next server is asked before the client gets the answer. Errors always lead to it."
_ROUTE = Record(
    _route,
    (
        Key(
            "servers",
            ListOf(_SERVER, "servers"),
            "Servers for the domain, as in `upstreams`.",
            "[10.1.0.53, ns.acme.example]",
            "10.1.0.53",
            required=True,
        ),
        Key(
            "except",
            ListOf(_DOMAIN, "domain names"),
            "Domains below this one that these servers aren't asked about.",
            "[www.acme.local]",
            "[www..acme.local]",
            default="none",
            field="except_",
        ),
        Key(
            "excepted",
            OneOf(Excepted),
            "What happens to the names in `except`. next: they are resolved as if the route didn't exist.",
            "refused",
            "'off'",
        ),
        Key(
            "next",
            _OUTCOMES,
            "Outcomes after which the servers are asked that would be asked without this route (split horizon).",
            "[NXDOMAIN, NODATA]",
            "[nxdomain]",
            default="none",
            field="next_",
        ),
        Key("on_nxdomain", OneOf(OnNxdomain), "next: the same as `next: [NXDOMAIN]`.", "next", "fallthrough"),
        Key("failover", _OUTCOMES, _FAILOVER, "[NXDOMAIN]", "NXDOMAIN", default="none"),
        Key(
            "choice",
            _CHOICE,
            "Which of the servers is asked first.",
            "in_order",
            "sequential",
            default="the value of the key `choice` for upstreams",
        ),
    ),
    'a route: a mapping with "servers"',
    _check_route,
    identity="domain",
)


def _check_cache(**written: Any) -> Iterator[Conflict]:
    for low_key, high_key in (("min_ttl", "max_ttl"), ("min_negative_ttl", "max_negative_ttl")):
        low, high = (written.get(f"{key}_s", getattr(_DEFAULT_CACHE, f"{key}_s")) for key in (low_key, high_key))
        if low is not None and high is not None and low > high:
            at = low_key if f"{low_key}_s" in written else high_key
            yield Conflict(at, f"{low_key} {low}", f"at most {high_key}, which is {high}")


_CACHE_KEYS = (
    Key("success", Switch(), "Whether answers with records are kept.", "false", "'no'"),
    Key("denial", Switch(), "Whether NXDOMAIN and answers without records are kept.", "false", "'no'"),
    Key("max_ttl", _TTL, "Longest time to keep an answer, in seconds.", "600", "10m", field="max_ttl_s"),
    Key("min_ttl", _TTL, "Shortest time to keep an answer, in seconds.", "5", "-5", field="min_ttl_s"),
    Key(
        "max_negative_ttl",
        _TTL,
        "Longest time to keep NXDOMAIN and answers without records, in seconds.",
        "30",
        "1000000",
        field="max_negative_ttl_s",
    ),
    Key(
        "min_negative_ttl",
        _TTL,
        "Shortest time to keep NXDOMAIN and answers without records, in seconds.",
        "1",
        "one",
        field="min_negative_ttl_s",
    ),
    Key("servfail_s", Whole(1, 300), "For how many seconds failures are kept (RFC 9520).", "30", "0"),
    Key(
        "serve_stale_s",
        _TTL,
        "For how many seconds after its expiry an answer is still used if upstreams fail. 0 means never.",
        "86400",
        "false",
    ),
    Key(
        "stale_mode",
        OneOf(StaleMode),
        "verify: an expired answer is used after upstreams have failed. immediate: it is used at once, and upstreams "
        "are asked for a new one.",
        "immediate",
        "'on'",
    ),
    Key("prefetch", Switch(), "Refresh popular answers before they expire.", "false", "'no'"),
    Key("keep_ttl", Switch(), "Cached answers keep their TTLs instead of counting them down.", "true", "'no'"),
)
_CACHE = Record(
    CacheOptions,
    (
        Key("entries", Whole(0, 10_000_000), "Limit of the answers in one worker's cache.", "50000", "-1"),
        Key("bytes", Whole(0, 1 << 40), "Limit of the memory for one worker's answers.", "33554432", "32Mi"),
        *_CACHE_KEYS,
        Key(
            "zones",
            MapOf(
                Text(texts.DOMAIN, texts.parse_route_domain),
                Record(CacheZone, _CACHE_KEYS, "a mapping of limits", identity="domain"),
                "a mapping of domains to limits",
            ),
            "Domains with values of their own, but for `entries` and `bytes`. For a name, the longest domain counts. "
            "Values that it leaves out are those above.",
            "{corp.example: {max_ttl: 30, denial: false}}",
            "{corp.example: 30}",
            default="none",
        ),
    ),
    "a mapping of limits",
    _check_cache,
)

_HOST = Record(
    Host,
    (
        Key(
            "addresses",
            ListOf(Text("an IP address", texts.parse_ip), "IP addresses"),
            "IPv4 and IPv6 addresses of the name.",
            "[10.9.0.5, 'fd00::5']",
            "[10.9.0]",
            required=True,
        ),
        Key("ttl", _TTL, "TTL of the records in seconds.", "300", "-1", field="ttl_s"),
        Key("ptr", Switch(), "Whether the addresses have PTR records with the name.", "false", "'off'"),
    ),
    'a host: a mapping with "addresses"',
    identity="qname",
)


_FILE_NAME = Text(texts.FILE, texts.parse_file)


def _made(make: Callable[[str], Any], text: str) -> Any:
    """Return what `make` makes of the name of a file, or the `Wanted` for a wrong name."""
    file = texts.parse_file(text)
    return file if isinstance(file, Wanted) else make(file)


_HOSTS_FILES = TextOrRecord(
    Text(texts.FILE, partial(_made, HostsFile)),
    Record(
        HostsFile,
        (
            Key(
                "file",
                _FILE_NAME,
                "The file. If there is no other key, it can be written without the mapping.",
                "NodeHosts",
                "custom/hosts",
                required=True,
            ),
            Key("ttl", _TTL, "TTL of the records in seconds.", "300", "-1", field="ttl_s"),
            Key("ptr", Switch(), "Whether the addresses have PTR records with their names.", "false", "'off'"),
            Key(
                "zones",
                ListOf(_DOMAIN, "domain names"),
                "Only names at or below these domains count.",
                "[corp.example]",
                "['']",
                default="all",
            ),
        ),
        'a hosts file: a mapping with "file"',
    ),
)


_ZONE_FILES = TextOrRecord(
    Text(texts.FILE, partial(_made, ZoneText)),
    Record(
        ZoneText,
        (
            Key(
                "file",
                _FILE_NAME,
                "The zone file. If there is no other key, it can be written without the mapping.",
                "db.example.org",
                "custom/db.example.org",
                required=True,
            ),
            Key(
                "zone",
                _DOMAIN,
                "The zone that the file must have. Names in it are relative to the zone.",
                "example.org",
                "example..org",
                default="the name of the file without .zone",
            ),
            Key(
                "fallthrough",
                Switch(),
                "Whether upstreams are asked for names that the zone lacks.",
                "true",
                "'yes'",
            ),
        ),
        'a zone file: a mapping with "file"',
    ),
)


def _nameserver(label: str | None, service: tuple[str, str] | None) -> Nameserver | None:
    return None if label is None or service is None else Nameserver(label, *service)


_EXTERNAL = Record(
    ExternalZone,
    (
        Key(
            "sources",
            ListOf(OneOf(ExternalSource), "sources"),
            "Objects that give names to the zone. routes are those of the Gateway API. nodes are the addresses of "
            "Services of type NodePort.",
            "[services, routes]",
            "[pods]",
        ),
        Key(
            "service_names",
            Switch(),
            "Whether each Service with external addresses is called SERVICE.NAMESPACE in the zone.",
            "false",
            "'no'",
        ),
        Key(
            "annotations",
            ListOf(Text(texts.ANNOTATION_PREFIX, texts.parse_annotation_prefix), "prefixes"),
            "Prefixes of the annotations hostname, target, ttl and the like. The first one that an object has counts.",
            "[external-dns.kubernetes.io/]",
            "[external-dns]",
        ),
        Key(
            "ingress_classes",
            ListOf(Text(texts.CLASS_NAME, texts.parse_class_name), "names of classes"),
            "Only Ingresses of these classes have names. One that names no class has the default class.",
            "[public]",
            "[Public]",
            default="all",
        ),
        Key(
            "gateway_classes",
            ListOf(Text(texts.CLASS_NAME, texts.parse_class_name), "names of classes"),
            "Only routes of Gateways of these classes have names.",
            "[public]",
            "[Public]",
            default="all",
        ),
        Key(
            "listener_hostnames",
            OneOf(ListenerHostnames),
            "routes: a route without hostnames has that of its listener, unless that is a wildcard. always: all "
            "hostnames of listeners are names, also wildcards, and without a route. never: they are no names.",
            "never",
            "attached",
        ),
        Key(
            "headless",
            Switch(),
            "Whether headless Services and their endpoints have names, as in the cluster domain.",
            "true",
            "all",
        ),
        Key("ttl", Whole(1, MAX_TTL_S), "TTL of the records in seconds.", "300", "0", field="ttl_s"),
        Key(
            "nameservers",
            MapOf(
                Text(texts.LABEL, texts.parse_label),
                Text(texts.SERVICE_REFERENCE, texts.parse_service_reference),
                "a mapping of labels to Services",
                _nameserver,
            ),
            "NS records: names below the zone, each with the Service that has its external addresses.",
            "{ns1: kube-system/pydns-external}",
            "{ns1: pydns}",
            default="none",
        ),
        Key(
            "hairpin",
            OneOf(HairpinMode),
            "service: clients in the cluster get the ClusterIPs of the Service that has a name's public addresses. "
            "only: the same, and upstreams answer all other names and types of the zone, and all other clients.",
            "service",
            "'on'",
        ),
    ),
    "an external zone: a mapping of keys",
    identity="apex",
)

_MULTICLUSTER = Record(
    MulticlusterOptions,
    (
        Key(
            "zones",
            ListOf(Text(texts.DOMAIN, texts.parse_external_zone), "domain names", may_be_empty=True),
            "Zones in which ServiceImports have names, if the API server has ServiceImports. None: they have no names.",
            "[]",
            "[10.in-addr.arpa]",
            default="[clusterset.local]",
        ),
    ),
    "a mapping of options",
)

_ZONAL = Record(
    ZonalOptions,
    (
        Key(
            "names",
            Switch(),
            "Whether ZONE.pin._zone.SERVICE.NAMESPACE.svc and ZONE.prefer._zone.SERVICE.NAMESPACE.svc exist for "
            "headless Services: their endpoints in a zone, as CoreDNS's option zonal.",
            "true",
            "'no'",
        ),
        Key(
            "plain",
            OneOf(PlainZonal),
            "headless: headless Services with trafficDistribution have the endpoints that are meant for the client's "
            "zone or node.",
            "headless",
            "all",
        ),
        Key(
            "prefer",
            OneOf(Nearness),
            "What tells for which clients an endpoint is meant, for plain: its hints in EndpointSlices, or its zone.",
            "zone",
            "node",
        ),
    ),
    "a mapping of options",
)

_EDNS = Record(
    EdnsOptions,
    (
        Key(
            "max_udp_size",
            Whole(512, 4096),
            "Limit of a reply over UDP in octets, to a client that takes as many. Above 1232, they may be fragmented.",
            "1232",
            "511",
        ),
    ),
    "a mapping of options",
)

_DNSSEC = Record(
    DnssecOptions,
    (
        Key(
            "trust_ad",
            ListOf(Text(texts.SERVER_HOST, texts.parse_server_host), "servers"),
            "Servers, as in `upstreams` and `routes`, that validate DNSSEC and are reached over a secure path. Clients "
            "that send AD or DO see their AD bit. AD is 0 in all other replies.",
            "[10.0.0.2, ns.acme.example]",
            "['10.0.0.2:53']",
            default="none",
        ),
    ),
    "a mapping of options",
)

_RANGES = ListOf(Text("a range of addresses", texts.parse_ptr_range), "ranges")


def _parse_families(text: str) -> FamilyOptions | Wanted:
    try:
        return FamilyOptions(Families(text))
    except ValueError:
        return Wanted(OneOf(Families).wanted)


_FAMILIES = TextOrRecord(
    Text(OneOf(Families).wanted, _parse_families),
    Record(
        FamilyOptions,
        (
            Key(
                "which",
                OneOf(Families),
                "The families. If there is no other key, the value can be written without the mapping.",
                "auto",
                "ipv5",
            ),
            Key(
                "except",
                ListOf(_DOMAIN, "domain names"),
                "Domains whose names keep the addresses of both families.",
                "[corp.example]",
                "[corp..example]",
                default="none",
                field="except_",
            ),
        ),
        "auto, ipv4, ipv6, all or a mapping",
    ),
)

_DNS64 = Record(
    Dns64Options,
    (
        Key(
            "prefixes",
            ListOf(Text(texts.DNS64_PREFIX, texts.parse_dns64_prefix), "prefixes"),
            "Prefixes that lead to the NAT64. Each address is mapped into each of them.",
            "['2001:db8:64::/96']",
            "['2001:db8:64::/72']",
        ),
        Key(
            "clients",
            _RANGES,
            "Clients that get mapped addresses.",
            "['fd00::/8', 10.0.0.0/8]",
            "['fd00::/200']",
            default="clients that ask over IPv6",
        ),
        Key(
            "exclude",
            _RANGES,
            "IPv6 addresses that count as missing.",
            "['::ffff:0:0/96', '2001:db8:bad::/48']",
            "['::ffff']",
        ),
        Key("translate_all", Switch(), "Whether names that have IPv6 addresses are mapped too.", "true", "all"),
        Key(
            "map_private",
            Switch(),
            "Whether private addresses are mapped into 64:ff9b::/96 too, which RFC 6052 forbids. Into other prefixes "
            "they always are.",
            "true",
            "10.0.0.0/8",
        ),
    ),
    "a mapping of options",
)

_CHAOS = Record(
    ChaosOptions,
    (
        Key(
            "version",
            Text(texts.SHORT_TEXT, texts.parse_short_text),
            "The text of version.bind and version.server.",
            "dns 1",
            "''",
            default="name and version of pydns",
        ),
        Key(
            "authors",
            ListOf(Text(texts.SHORT_TEXT, texts.parse_short_text), "texts"),
            "The texts of authors.bind. Without authors, the name is refused.",
            "[the platform team]",
            "['']",
            default="none",
        ),
        Key(
            "names",
            ListOf(OneOf(ChaosName), "names"),
            "The names that are answered. hostname.bind and id.server have the name of the host.",
            "[hostname.bind]",
            "[hostname]",
            default="all",
        ),
    ),
    "a mapping of options",
)

_NSID = Record(
    NsidOptions,
    (
        Key(
            "data",
            Text(texts.SHORT_TEXT, texts.parse_short_text),
            "The identifier.",
            "eu-1a",
            "''",
            default="the name of the host, which is the name of the pod",
        ),
    ),
    "a mapping of options",
)

_METRICS = Record(
    MetricsOptions,
    (
        Key(
            "names",
            OneOf(MetricNames),
            "coredns: names that CoreDNS's dashboards and alerts know. pydns: the same with the prefix pydns_.",
            "pydns",
            "prometheus",
        ),
    ),
    "a mapping of options",
)

_QUERY_LOG = Record(
    QueryLogOptions,
    (
        Key(
            "zones",
            ListOf(_DOMAIN, "domain names"),
            "Log only queries for names at or below these domains.",
            "[cluster.local, acme.local]",
            "['']",
            default="all",
        ),
        Key(
            "classes",
            ListOf(OneOf(RcodeClass), "classes"),
            "Log only queries with such a reply: success (records), denial (no such name or record), error (the rest).",
            "[denial, error]",
            "[all]",
            default="all",
        ),
        Key("share", Share(), "Share of these queries to log, chosen at random.", "0.01", "1%"),
    ),
    "a mapping of options",
)

_LOG = Record(
    LogOptions,
    (
        Key(
            "queries",
            _QUERY_LOG,
            "Log queries, one line each. An empty mapping logs all of them.",
            "{share: 0.01}",
            "true",
            default="no queries are logged",
        ),
    ),
    "a mapping of options",
)


def _types(purpose: str) -> Key:
    shape = ListOf(Text(texts.TYPE, texts.parse_type), "types of records")
    return Key("types", shape, purpose, "[AAAA, HTTPS]", "[ALL]", default="all")


class _Denied(NamedTuple):
    """The value of a blocked domain."""

    answer: Denial
    types: tuple[int, ...] = ()
    min_labels: int = 0


def _parse_denial(text: str) -> _Denied | Wanted:
    found = next((each for each in Denial if each.value == text), None)
    return _Denied(found) if found is not None else Wanted(OneOf(Denial).wanted)


_BLOCKED = TextOrRecord(
    Text(OneOf(Denial).wanted, _parse_denial),
    Record(
        _Denied,
        (
            Key("answer", OneOf(Denial), "nxdomain, nodata or refused.", "nxdomain", "drop", required=True),
            _types("Only questions for these types of records."),
            Key(
                "min_labels",
                Whole(0, 127),
                "Only names with at least so many labels. The domain's own labels count.",
                "7",
                "'7'",
            ),
        ),
        'a denial: a mapping with "answer"',
    ),
)


def _blocked(domain: bytes | None, denied: _Denied | None) -> Blocked | None:
    return None if domain is None or denied is None else Blocked(domain, *denied)


def _scope(what: str) -> tuple[Key, Key]:
    domains = ListOf(_DOMAIN, "domain names")
    within = f"The {what} is only for names at or below these domains."
    excepted = f"The {what} isn't for names at or below these domains."
    return (
        Key("within", domains, within, "[corp.example]", "[corp..example]", default="all"),
        Key("except", domains, excepted, "[db.corp.example]", "[db..corp.example]", default="none", field="except_"),
    )


def _rewrite(
    rule: tuple[str, ...], within: tuple[bytes, ...] = (name.ROOT,), except_: tuple[bytes, ...] = ()
) -> Rewrite:
    return Rewrite(rule, Scope(within, except_))


def _acl_rule(
    action: AclAction,
    clients: tuple[str, ...] = (),
    types: tuple[int, ...] = (),
    within: tuple[bytes, ...] = (name.ROOT,),
    except_: tuple[bytes, ...] = (),
) -> AclRule:
    return AclRule(action, clients, types, Scope(within, except_))


_CLIENTS = Key(
    "clients",
    ListOf(Text(texts.CLIENTS, texts.parse_clients), "addresses and networks"),
    "Only questions of clients with these addresses, or in these networks.",
    "[10.20.0.0/16, 'fd00::5']",
    "[10.20.0.1/16]",
    default="all",
)
_ACL_RULE = Record(
    _acl_rule,
    (
        Key(
            "action",
            OneOf(AclAction),
            "allow: answer. block: REFUSED. filter: no records. drop: no reply.",
            "filter",
            "deny",
            required=True,
        ),
        _CLIENTS,
        Key(
            "types",
            ListOf(Text(texts.TYPE, texts.parse_question_type), "types of records"),
            "Only questions for these types of records. ANY is a type, too.",
            "[AAAA, ANY]",
            "[ALL]",
            default="all",
        ),
        *_scope("decision"),
    ),
    'a rule: a mapping with "action"',
)


def _parse_rewrite(text: str) -> Rewrite | Wanted:
    words = texts.parse_rewrite(text)
    return words if isinstance(words, Wanted) else Rewrite(words)


_REWRITE = TextOrRecord(
    Text(texts.REWRITE, _parse_rewrite),
    Record(
        _rewrite,
        (
            Key(
                "rule",
                Text(texts.REWRITE, texts.parse_rewrite),
                "The rule. If there is no other key, it can be written without the mapping.",
                "name exact a.corp.example b.corp.example",
                "class IN CH",
                required=True,
            ),
            *_scope("rule"),
        ),
        "a rule of rewrite",
    ),
)


_DEFAULT_TEMPLATE = Template()


def _template(
    zones: tuple[bytes, ...] = _DEFAULT_TEMPLATE.zones,
    types: tuple[int, ...] = (),
    match: tuple[str, ...] = _DEFAULT_TEMPLATE.match,
    answer: tuple[str, ...] = (),
    authority: tuple[str, ...] = (),
    additional: tuple[str, ...] = (),
    rcode: RcodeName = _DEFAULT_TEMPLATE.rcode,
    unmatched: Unmatched = _DEFAULT_TEMPLATE.unmatched,
    within: tuple[bytes, ...] = (name.ROOT,),
    except_: tuple[bytes, ...] = (),
) -> Template:
    scope = Scope(within, except_)
    return Template(zones, types, match, answer, authority, additional, rcode, unmatched, scope)


def _check_template(match: tuple[str, ...] | None = (".*",), **values: Any) -> Iterator[Conflict]:
    """Find fields for groups that a pattern doesn't have."""
    for pattern in map(Pattern, match or ()):
        known = {*filter(None, pattern.groups), *map(str, range(len(pattern.groups)))}
        for section in ("answer", "authority", "additional"):
            for group in {each for text in values.get(section) or () for each in TemplateText(text).groups} - known:
                yield Conflict(section, f'the group "{group}"', f'in the pattern "{pattern.text}"')


_RECORDS = ListOf(Text(texts.RECORD, texts.parse_record), "records")
_TEMPLATE = Record(
    _template,
    (
        Key(
            "zones",
            ListOf(_DOMAIN, "domain names"),
            "Domains of the names. `.Zone` is the longest one that contains the name.",
            "[ip.example]",
            "[ip..example]",
            default="all",
        ),
        _types("Only questions for these types of records, and for ANY."),
        Key(
            "match",
            ListOf(Text(texts.PATTERN, texts.parse_pattern), "patterns"),
            "Patterns (RE2) for the name in lower case with a final dot. The first one that matches counts.",
            r"['^(?P<last>[0-9]+)[.]ip[.]example[.]$']",
            "['(']",
            default="every name",
        ),
        Key(
            "answer",
            _RECORDS,
            "Records of the answer section. Fields: .Name, .Zone, .Type, .Class, .Group.NAME, index .Match N, "
            "parseInt TEXT BASE BITS. Types: A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT.",
            "['{{ .Name }} 60 IN A 10.0.0.1']",
            "['{{ .Remote }} 60 IN A 10.0.0.1']",
            default="none",
        ),
        Key(
            "authority",
            _RECORDS,
            "Records of the authority section. A denial without them gets a SOA record.",
            "['{{ .Zone }} 60 IN NS ns.{{ .Zone }}']",
            "['{{ .Zone }} 60 IN HINFO a b']",
            default="none",
        ),
        Key(
            "additional",
            _RECORDS,
            "Records of the additional section.",
            "['ns.{{ .Zone }} 60 IN A 10.0.0.53']",
            "['{{ .Zone']",
            default="none",
        ),
        Key("rcode", OneOf(RcodeName), "Rcode of the answer.", "NXDOMAIN", "NXRRSET"),
        Key(
            "unmatched",
            OneOf(Unmatched),
            "What a name in the zones gets that no pattern matches. next: the answer that it has without the template.",
            "servfail",
            "fallthrough",
        ),
        *_scope("template"),
    ),
    "a template: a mapping of keys",
    _check_template,
)


def _check_rules(
    aliases: tuple[Alias, ...] | None = None, blocked: tuple[Blocked, ...] | None = None, **_: Any
) -> Iterator[Conflict]:
    for each in aliases or ():
        wanted = alias.problem(each.pattern, each.target) if each.pattern and each.target else None
        if wanted is not None:
            yield Conflict("aliases", quote(each.target), f"{wanted} ({each.pattern})")
    for domain in blocked or ():
        if domain is not None and domain.domain == name.ROOT and not (domain.types or domain.min_labels):
            yield Conflict("blocked", '"."', 'a domain that can be blocked without "types" or "min_labels"')


_UPSTREAMS = "Servers for names outside the cluster."
_NO_UPSTREAMS = "the nameservers of /etc/resolv.conf"


def _check_families(
    families: FamilyOptions | None = None, dns64: Dns64Options | None = None, **_: Any
) -> Iterator[Conflict]:
    if dns64 is not None and families is not None and families.which is Families.IPV4:
        yield Conflict("dns64", "a mapping", 'used together with "families: ipv4"')


_TEMPLATES = ListOf(_TEMPLATE, "templates")
_BLOCKED_DOMAINS = MapOf(_DOMAIN, _BLOCKED, "a mapping of domains to nxdomain, nodata or refused", _blocked)
_VIEW = Record(
    View,
    (
        Key(
            "when",
            Text(texts.EXPRESSION, texts.parse_expression),
            "Condition on client_ip(), name() and type(), as in CoreDNS's plugin view: incidr, and, or, not, ==, !=, "
            "in, startsWith, endsWith, contains, matches.",
            "incidr(client_ip(), '10.20.0.0/16') and type() == 'A'",
            "client_ip()",
            required=True,
        ),
        Key(
            "templates",
            _TEMPLATES,
            "Templates that come before those for all clients.",
            "[{types: [AAAA]}]",
            "[{rcode: NXRRSET}]",
            default="none",
        ),
        Key(
            "blocked",
            _BLOCKED_DOMAINS,
            "Domains that upstreams aren't asked about, in addition to those for all clients.",
            "{games.example: nxdomain}",
            "{games.example: drop}",
            default="none",
        ),
    ),
    'a view: a mapping with "when"',
)


def _check_root(**values: Any) -> Iterator[Conflict]:
    yield from _check_domains(**values)
    yield from _check_rules(**values)
    yield from _check_families(**values)


def _cluster_key(flag: flags.Flag) -> Key:
    """Return the key of a cluster option. The key is built from the row of the flag."""
    example, wrong = flag.example, flag.wrong
    if isinstance(flag.shape, ListOf):
        example, wrong = f"[{example}]", f"[{wrong}]"
    default = f"the value of `{flag.option}`"
    return Key(flag.attribute, flag.shape, flag.purpose, example, wrong, default, field=flag.in_settings)


_CLUSTER_KEYS = {flag.attribute: flag for flag in flags.CLUSTER}
_SELECTING = (
    Key(
        "namespace_labels",
        Text(texts.SELECTOR, texts.parse_selector),
        "Names of these namespaces only: a label selector for Namespaces (as `kubectl get ns -l`).",
        "team=shop",
        "team is shop",
        default="all",
    ),
    Key(
        "endpoints",
        Switch(),
        "Whether endpoints have names. Without them, headless Services have none either.",
        "false",
        "'no'",
    ),
    Key(
        "hide_empty_services",
        Switch(),
        "Whether a Service with a ClusterIP has a name only while an endpoint is ready.",
        "true",
        "'yes'",
    ),
    Key(
        "fallthrough",
        ListOf(_DOMAIN, "zones", may_be_empty=True),
        "Zones at or below these fall through: zone files and upstreams are asked for the names that the cluster "
        "lacks. For the domain itself, read docs/clusters.md first.",
        "[in-addr.arpa, ip6.arpa]",
        "['']",
        default="the reverse zones",
    ),
)


def _of_domain(attribute: str, default: str) -> Key:
    """Return the key of a cluster option for one domain."""
    return _cluster_key(_CLUSTER_KEYS[attribute])._replace(default=default)


_FURTHER_DOMAIN = Record(
    Domain,
    (
        *(_of_domain(each, "that of the first domain") for each in ("ttl", "pods", "endpoint_pod_names")),
        *(_of_domain(each, "all") for each in ("namespaces", "labels")),
        _of_domain("reverse_zones", "for the first domain of a further cluster as for the first cluster, else none"),
        *_SELECTING,
    ),
    "a domain: a mapping of keys",
    identity="domain",
)
_FURTHER_DOMAINS = MapOf(flags.DOMAIN_SHAPE, _FURTHER_DOMAIN, "a mapping of domains")
_CLUSTER = Record(
    Cluster,
    (
        Key(
            "kubeconfig",
            _FILE,
            "File that says how to reach the cluster's API server.",
            "/etc/pydns/clusters/east.yaml",
            "east.yaml",
            required=True,
        ),
        Key(
            "context",
            Text("the name of a context", flags.parse_text),
            "Context of the file.",
            "east",
            "7",
            default="its current context",
        ),
        Key(
            "domains",
            _FURTHER_DOMAINS,
            "Domains with the names of the cluster's objects.",
            "{east.example: {}}",
            "[east.example]",
            default="none: its objects have names in external zones only",
        ),
    ),
    'a cluster: a mapping with "kubeconfig"',
    identity="name",
)


def _check_domains(
    domains: tuple[Domain, ...] | None = (), clusters: tuple[Cluster, ...] | None = (), **_: Any
) -> Iterator[Conflict]:
    seen = {each.domain for each in domains or ()}
    for cluster in clusters or ():
        for each in cluster.domains:
            if each.domain in seen:
                yield Conflict("clusters", f'"{name.to_text(each.domain)}"', "a domain that no other cluster has")
            seen.add(each.domain)


ROOT = Record(
    Config,
    (
        Key(
            "upstreams",
            ListOf(_SERVER, "servers"),
            f"{_UPSTREAMS} A name is looked up like the names of clients, again when its TTL ends. A path is a file "
            "like resolv.conf, whose nameservers are asked.",
            "[10.0.0.2, {address: 9.9.9.9, transport: tls, server_name: dns.quad9.net}]",
            "[10.0.0.300]",
            default=_NO_UPSTREAMS,
        ),
        Key(
            "except",
            ListOf(_DOMAIN, "domain names"),
            "Domains that the upstreams aren't asked about. Without a route, their names are refused.",
            "[corp.example]",
            "[corp..example]",
            default="none",
            field="except_",
        ),
        Key("failover", _OUTCOMES, _FAILOVER, "[NXDOMAIN]", "[YES]", default="none"),
        Key("choice", _CHOICE, "Which of the upstreams is asked first.", "in_order", "quickest"),
        Key(
            "routes",
            MapOf(Text(texts.DOMAIN, texts.parse_route_domain), _ROUTE, "a mapping of domains to routes"),
            "Domains with servers of their own. For a name, the longest domain that contains it counts, "
            "zones of ours included, but what these have records of is answered here.",
            "{acme.local: {servers: [1.2.3.4]}}",
            "{acme.local: [1.2.3.4]}",
            default="none",
        ),
        Key(
            "max_in_flight",
            Whole(1, 100_000),
            "Limit of one worker's queries that wait for upstreams. Further ones get SERVFAIL at once.",
            "5000",
            "0",
        ),
        Key("cache", _CACHE, "The cache of upstreams' answers. Names of the cluster are never cached."),
        *map(_cluster_key, flags.CLUSTER),
        *_SELECTING,
        Key(
            "domains",
            _FURTHER_DOMAINS,
            "Further domains with names of the cluster's objects: docs/clusters.md explains them.",
            "{k8s.example: {namespaces: [shop]}}",
            "[k8s.example]",
            default="none",
        ),
        Key(
            "clusters",
            MapOf(Text("a name of letters, digits and hyphens", texts.parse_label), _CLUSTER, "a mapping of clusters"),
            "Further clusters, each with domains of its own: docs/clusters.md explains them.",
            "{east: {kubeconfig: /etc/pydns/clusters/east.yaml, domains: {east.example: {}}}}",
            "{east: /etc/pydns/clusters/east.yaml}",
            default="those of `--kubeconfig`",
        ),
        Key(
            "hosts",
            MapOf(Text(texts.DOMAIN, texts.parse_host), _HOST, "a mapping of names to hosts"),
            "Names with fixed addresses.",
            "{db.corp.example: {addresses: [10.9.0.5]}}",
            "{db.corp.example: 10.9.0.5}",
            default="none",
        ),
        Key(
            "hosts_files",
            ListOf(_HOSTS_FILES, "files"),
            "Files in the form of /etc/hosts: keys of the same ConfigMap (files beside this one), or absolute paths. "
            "Their names add to `hosts`. Upstreams are asked for other names, unless `blocked` denies their domain.",
            "[NodeHosts, {file: /etc/hosts, ttl: 300}]",
            "[custom/hosts]",
            default="none",
        ),
        Key(
            "zone_files",
            ListOf(_ZONE_FILES, "files"),
            "Zone files in addition to those of `--zones`: keys of the same ConfigMap (files beside this one), or "
            "absolute paths. Keys like example.org.zone needn't be named here.",
            "[{file: db.example.org, zone: example.org}]",
            "[custom/db.example.org]",
            default="none",
        ),
        Key(
            "blocked",
            _BLOCKED_DOMAINS,
            "Domains that upstreams aren't asked about. nxdomain: no name at or below exists. nodata: all of them do, "
            "without records. refused: REFUSED. Routes, hosts and zone files below such a domain come before it. With "
            "`answer`, `types` and `min_labels`, only some questions are denied.",
            "{ads.example: nxdomain, internal.example: {answer: nodata, types: [AAAA]}}",
            "{ads.example: drop}",
            default="none",
        ),
        Key(
            "aliases",
            MapOf(
                Text(texts.ALIAS, texts.parse_alias),
                Text(texts.TARGET, texts.parse_target),
                "a mapping of names to targets",
                Alias,
            ),
            "Names that get the records of other names: NAME, `*.DOMAIN` for all names below, or `~PATTERN` (RE2, the "
            "whole name without the final dot). A target `*.DOMAIN` keeps what the star stands for; `{1}` is the first "
            "group of a pattern. A name that the cluster, a host or a zone file has is no alias.",
            "{api.corp.example: web.shop.svc.cluster.local, '*.corp.example': '*.shop.svc.cluster.local'}",
            "{api.corp.example: web..shop}",
            default="none",
        ),
        Key(
            "acl",
            ListOf(_ACL_RULE, "rules"),
            "Which clients get answers to which questions. The first rule that is for a question decides. A question "
            "without one is answered.",
            "[{action: filter, types: [AAAA], clients: [10.20.0.0/16]}]",
            "[{action: deny}]",
            default="none",
        ),
        Key(
            "rewrites",
            ListOf(_REWRITE, "rules"),
            "Rules of CoreDNS's rewrite, in order: name, ttl, rcode, type and cname. They come before everything else, "
            "the names of the cluster included.",
            "[name suffix .corp.example .svc.cluster.local answer auto]",
            "[class IN CH]",
            default="none",
        ),
        Key(
            "templates",
            _TEMPLATES,
            "Answers that are made from the name of the question, in order. They come after `rewrites` and before "
            "everything else.",
            "[{zones: [dev.example], types: [A], answer: ['{{ .Name }} 60 IN A 10.0.0.1']}]",
            "[{rcode: NXRRSET}]",
            default="none",
        ),
        Key(
            "views",
            ListOf(_VIEW, "views"),
            "Clients and questions with other answers. The first view that is for a question counts.",
            "[{when: \"incidr(client_ip(), '10.20.0.0/16')\", blocked: {games.example: nxdomain}}]",
            "[{when: 'client_ip()'}]",
            default="none",
        ),
        Key(
            "external",
            MapOf(Text(texts.DOMAIN, texts.parse_external_zone), _EXTERNAL, "a mapping of zones"),
            "Zones with names for what leads into the cluster: docs/external.md explains them. For a name, the longest "
            "zone counts.",
            "{k8s.example.com: {sources: [services, ingresses]}}",
            "{k8s.example.com: [services]}",
            default="none",
        ),
        Key(
            "multicluster",
            _MULTICLUSTER,
            "Names of Services that other clusters export: docs/multicluster.md explains them.",
        ),
        Key(
            "forwarded_special_names",
            ListOf(OneOf(SpecialName), "special names"),
            "Special names that upstreams answer. The others are answered here, so that clients stay with this server: "
            "resolver.arpa has no records (RFC 9462), use-application-dns.net doesn't exist (Firefox).",
            "[use-application-dns.net]",
            "[localhost]",
            default="none",
        ),
        Key(
            "families",
            _FAMILIES,
            "The address families that names outside the cluster have. ipv4: AAAA is answered from the answer to A, "
            "without a query, as a name without IPv6 addresses. ipv6: the same for A. auto: the families with which "
            "this server reaches the Internet.",
            "ipv4",
            "ipv5",
            default="`all`",
        ),
        Key("dns64", _DNS64, "IPv6 addresses for names outside the cluster that have IPv4 addresses alone (RFC 6147)."),
        Key(
            "responses_per_second",
            Whole(0, 1_000_000),
            "Limit of one worker's equal replies over UDP to one network (IPv4 /24, IPv6 /56): for clients whose "
            "addresses may be forged. 0: no limit. Half of the replies beyond it are sent truncated, so that clients "
            "ask over TCP, the others are dropped.",
            "50",
            "-1",
            default="no limit, and 20 with `--answer external`",
        ),
        Key("zonal", _ZONAL, "Answers with endpoints of one zone: docs/zonal.md explains them."),
        Key(
            "cluster_ranges",
            ListOf(Text("a range of addresses", texts.parse_ptr_range), "ranges of addresses"),
            "Ranges of clients in the cluster, for hairpin, besides the addresses of Nodes, of their podCIDRs and of "
            "endpoints.",
            "[10.128.0.0/14]",
            "[10.128.0.1/14]",
            default="none",
        ),
        Key(
            "local_names",
            Switch(),
            "Whether localhost and the names of 127.0.0.0/8, 0.0.0.0/8 and 255.0.0.0/8 are answered here (RFC 6761).",
            "true",
            "localhost",
        ),
        Key(
            "any",
            OneOf(AnyQueries),
            "The answer to queries of type ANY (RFC 8482). records: one RRset of the name. hinfo: a made-up HINFO "
            "record for every name.",
            "hinfo",
            "refused",
        ),
        Key("chaos", _CHAOS, "What clients learn about the server in class CH. Without this key, they are refused."),
        Key("nsid", _NSID, "The server's identifier for clients that ask for it with EDNS option 3 (RFC 5001)."),
        Key("edns", _EDNS, "How EDNS is used with clients."),
        Key("dnssec", _DNSSEC, "What is made of upstreams' validation."),
        Key("metrics", _METRICS, "How metrics are exposed."),
        Key("log", _LOG, "What is logged in addition to changes of state."),
    ),
    "a mapping of keys",
    _check_root,
)


def _stub(domain: bytes, servers: tuple[AnyServer, ...]) -> Route:
    return Route(domain, servers)


STUB_DOMAINS = Key(
    "stubDomains",
    MapOf(
        Text(texts.KUBE_DNS_DOMAIN, texts.parse_kube_dns_domain),
        ListOf(_server_shape(Text(texts.SERVER, texts.parse_server)).text, "servers"),
        "an object of domains and lists of servers",
        _stub,
    ),
    "Domains with servers of their own.",
    '{"acme.local": ["1.2.3.4"]}',
    '{"acme.local": ["1.2.3.4", "10.0.0.300"]}',
    default="none",
)
UPSTREAM_NAMESERVERS = Key(
    "upstreamNameservers",
    ListOf(_server_shape(Text(texts.IP_SERVER, texts.parse_ip_server)).text, "servers"),
    _UPSTREAMS,
    '["8.8.8.8", "8.8.4.4"]',
    '["dns.google"]',
    default=_NO_UPSTREAMS,
)
KUBE_DNS = (STUB_DOMAINS, UPSTREAM_NAMESERVERS)
