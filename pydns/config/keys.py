"""The table of everything that can be configured: reader, JSON Schema and documentation are all made from it.

Two vocabularies: the keys of `config.yaml` (`ROOT`), whose defaults are those of `model`, and kube-dns's ConfigMap keys
(`KUBE_DNS`), which are read as kube-dns reads them, but for its limit of three upstreams.
"""

from collections.abc import Iterator
from typing import Any

from pydns.config import flags, texts
from pydns.config.mistakes import Wanted
from pydns.config.model import (
    CacheOptions,
    Choice,
    Config,
    Host,
    LogOptions,
    MetricNames,
    MetricsOptions,
    NamedUpstream,
    OnNxdomain,
    QueryLogOptions,
    RcodeClass,
    Route,
    ServerSpec,
    Transport,
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
from pydns.dns import name

MAX_TTL_S = 7 * 24 * 3600  # RFC 8767 section 4: cap TTLs at a week or so

_DEFAULT_PORTS = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853}


def _server(
    address: texts.Address,
    transport: Transport = Transport.UDP,
    server_name: str | None = None,
    packets_per_second: int | None = None,
) -> ServerSpec | NamedUpstream:
    port = address.port or _DEFAULT_PORTS[transport]
    if address.qname is not None:
        return NamedUpstream(address.qname, port, transport, server_name, packets_per_second)
    assert address.ip is not None
    return ServerSpec(address.ip, port, transport, server_name, packets_per_second)


def _check_server(
    transport: Transport | None = Transport.UDP, server_name: str | None = None, **_: Any
) -> Iterator[Conflict]:
    if server_name is not None and transport not in (Transport.TLS, None):
        yield Conflict("server_name", f'"{server_name}"', 'used without "transport: tls"')


def _check_route(domain: bytes | None = None, except_: tuple[bytes, ...] | None = None, **_: Any) -> Iterator[Conflict]:
    for each in except_ or ():
        if domain is not None and (not name.is_at_or_below(each, domain) or each == domain):
            yield Conflict("except", f'"{name.to_text(each)}"', f'below "{name.to_text(domain)}"')


def _check_cache(**written: int | None) -> Iterator[Conflict]:
    for low_key, high_key in (("min_ttl", "max_ttl"), ("min_negative_ttl", "max_negative_ttl")):
        low, high = (written.get(f"{key}_s", getattr(_DEFAULT_CACHE, f"{key}_s")) for key in (low_key, high_key))
        if low is not None and high is not None and low > high:
            at = low_key if f"{low_key}_s" in written else high_key
            yield Conflict(at, f"{low_key} {low}", f"at most {high_key}, which is {high}")


_DEFAULT_CACHE = CacheOptions()


def _server_shape(address: Text) -> TextOrRecord:
    def parse(text: str) -> ServerSpec | NamedUpstream | Wanted:
        parsed = address.parse(text)
        return parsed if isinstance(parsed, Wanted) else _server(parsed)

    return TextOrRecord(
        Text(address.wanted, parse), Record(_server, (_address_key(address), *_SERVER_KEYS), "a server", _check_server)
    )


def _address_key(address: Text) -> Key:
    return Key(
        "address",
        address,
        "Where the server is. An address alone, instead of the mapping, means this key alone.",
        example="10.0.0.2:5353",
        wrong="10.0.0.300",
        required=True,
    )


_SERVER_KEYS = (
    Key(
        "transport",
        OneOf(Transport),
        "How it is asked. With udp, a truncated answer is asked for again over TCP; tls is DNS over TLS, port 853.",
        example="tls",
        wrong="https",
    ),
    Key(
        "server_name",
        Text("a host name or IP address", texts.parse_server_name),
        "With tls: the name or address that the server's certificate must be for.",
        example="dns.example.net",
        wrong="'*'",
        default="the address",
    ),
    Key(
        "packets_per_second",
        Whole(1, 1_000_000),
        "The most that one worker sends to it. Cloud resolvers drop what goes beyond a rate (AWS: 1,024 a second).",
        example="500",
        wrong="0",
        default="no bound",
    ),
)

_IP_SERVER = _server_shape(Text(texts.IP_SERVER, texts.parse_ip_server))
_ANY_SERVER = _server_shape(Text(texts.SERVER, texts.parse_server))
_CHOICE = OneOf(Choice)
_DOMAIN = Text(texts.DOMAIN, texts.parse_domain)
_TTL = Whole(0, MAX_TTL_S)

_ROUTE = Record(
    Route,
    (
        Key(
            "servers",
            ListOf(_ANY_SERVER, "servers"),
            "Who is asked for it, as in `upstreams`, or by DNS name, which is resolved again when its TTL runs out.",
            example="[10.1.0.53, ns.acme.example]",
            wrong="10.1.0.53",
            required=True,
        ),
        Key(
            "except",
            ListOf(_DOMAIN, "domain names"),
            "Domains below this one that are resolved as if there were no such route.",
            example="[www.acme.local]",
            wrong="[www..acme.local]",
            field="except_",
            default="none",
        ),
        Key(
            "on_nxdomain",
            OneOf(OnNxdomain),
            "Whether NXDOMAIN from these servers is the answer, or whoever comes next is asked: split horizon.",
            example="next",
            wrong="fallthrough",
        ),
        Key(
            "choice",
            _CHOICE,
            "Which of the servers is asked first.",
            example="in_order",
            wrong="sequential",
            default="the choice of the whole configuration",
        ),
    ),
    'a route: a mapping with "servers"',
    _check_route,
    identity="domain",
)

_CACHE = Record(
    CacheOptions,
    (
        Key("entries", Whole(0, 10_000_000), "The most answers that one worker keeps.", "50000", "-1"),
        Key("bytes", Whole(0, 1 << 40), "The most memory that one worker's answers take.", "33554432", "32Mi"),
        Key("max_ttl", _TTL, "Seconds for which an answer is kept at most.", "600", "10m", field="max_ttl_s"),
        Key("min_ttl", _TTL, "Seconds for which an answer is kept at least.", "5", "-5", field="min_ttl_s"),
        Key(
            "max_negative_ttl",
            _TTL,
            "The same for NXDOMAIN and for answers without records: at most.",
            "30",
            "1000000",
            field="max_negative_ttl_s",
        ),
        Key(
            "min_negative_ttl",
            _TTL,
            "The same for NXDOMAIN and for answers without records: at least.",
            "1",
            "one",
            field="min_negative_ttl_s",
        ),
        Key(
            "serve_stale_s",
            _TTL,
            "Seconds after its expiry for which an answer is still given when upstreams fail; 0: never.",
            "86400",
            "false",
        ),
        Key("prefetch", Switch(), "Refresh answers that are asked for often before they expire.", "false", "'no'"),
    ),
    "a mapping of bounds",
    _check_cache,
)

_HOST = Record(
    Host,
    (
        Key(
            "addresses",
            ListOf(Text("an IP address", texts.parse_ip), "IP addresses"),
            "The name's addresses, of both families.",
            "[10.9.0.5, 'fd00::5']",
            "[10.9.0]",
            required=True,
        ),
        Key("ttl", _TTL, "TTL of the records in seconds.", "300", "-1", field="ttl_s"),
        Key("ptr", Switch(), "Whether the addresses have PTR records that point back to the name.", "false", "'off'"),
    ),
    'a host: a mapping with "addresses"',
    identity="qname",
)

_METRICS = Record(
    MetricsOptions,
    (
        Key(
            "names",
            OneOf(MetricNames),
            "The names that CoreDNS's dashboards and alerts know, or the same under our own prefix.",
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
            "Only queries for names at or below these.",
            "[cluster.local, acme.local]",
            "['']",
            default="all",
        ),
        Key(
            "classes",
            ListOf(OneOf(RcodeClass), "classes"),
            "Only queries whose reply was such: success (records), denial (no such name or record), error (the rest).",
            "[denial, error]",
            "[all]",
            default="all",
        ),
        Key("share", Share(), "Which part of those gets a line, chosen at random.", "0.01", "1%"),
    ),
    "a mapping of options",
)

_LOG = Record(
    LogOptions,
    (
        Key(
            "queries",
            _QUERY_LOG,
            "Log queries, one line each. With an empty mapping: all of them.",
            example="{share: 0.01}",
            wrong="true",
            default="none are logged",
        ),
    ),
    "a mapping of options",
)


def _cluster_key(flag: flags.Flag) -> Key:
    """Return the key of an option of the cluster, whose row is a flag's."""
    example, wrong = flag.example, flag.wrong
    if isinstance(flag.shape, ListOf):
        example, wrong = f"[{example}]", f"[{wrong}]"
    default = f"the value of `{flag.option}`"
    return Key(flag.attribute, flag.shape, flag.purpose, example, wrong, default, field=flag.in_settings)


ROOT = Record(
    Config,
    (
        Key(
            "upstreams",
            ListOf(_IP_SERVER, "servers"),
            "Who is asked for names outside the cluster.",
            example="[10.0.0.2, {address: 9.9.9.9, transport: tls, server_name: dns.quad9.net}]",
            wrong="[dns.quad9.net]",
            default="the nameservers of /etc/resolv.conf",
        ),
        Key("choice", _CHOICE, "Which of the upstreams is asked first.", "in_order", "quickest"),
        Key(
            "routes",
            MapOf(Text(texts.DOMAIN, texts.parse_route_domain), _ROUTE, "a mapping of domains to routes"),
            "Domains that have servers of their own. The longest domain that a name lies in counts.",
            example="{acme.local: {servers: [1.2.3.4]}}",
            wrong="{acme.local: [1.2.3.4]}",
            default="none",
        ),
        Key(
            "max_in_flight",
            Whole(1, 100_000),
            "The most queries of one worker that wait for upstreams; further ones get SERVFAIL at once.",
            "5000",
            "0",
        ),
        Key("cache", _CACHE, "The cache of upstreams' answers. Names of the cluster are never cached."),
        *map(_cluster_key, flags.CLUSTER),
        Key(
            "hosts",
            MapOf(Text(texts.DOMAIN, texts.parse_host), _HOST, "a mapping of names to hosts"),
            "Names with fixed addresses.",
            example="{db.corp.example: {addresses: [10.9.0.5]}}",
            wrong="{db.corp.example: 10.9.0.5}",
            default="none",
        ),
        Key("metrics", _METRICS, "How metrics are exposed."),
        Key("log", _LOG, "What is logged beyond changes of state."),
    ),
    "a mapping of keys",
)


def _stub(domain: bytes, servers: tuple[ServerSpec | NamedUpstream, ...]) -> Route:
    return Route(domain, servers)


STUB_DOMAINS = Key(
    "stubDomains",
    MapOf(
        Text(texts.KUBE_DNS_DOMAIN, texts.parse_kube_dns_domain),
        ListOf(_ANY_SERVER.text, "servers"),
        "an object of domains and lists of servers",
        _stub,
    ),
    "Domains that have servers of their own.",
    example='{"acme.local": ["1.2.3.4"]}',
    wrong='{"acme.local": ["1.2.3.4", "10.0.0.300"]}',
    default="none",
)
UPSTREAM_NAMESERVERS = Key(
    "upstreamNameservers",
    ListOf(_IP_SERVER.text, "servers"),
    "Who is asked for names outside the cluster.",
    example='["8.8.8.8", "8.8.4.4"]',
    wrong='["dns.google"]',
    default="the nameservers of /etc/resolv.conf",
)
KUBE_DNS = (STUB_DOMAINS, UPSTREAM_NAMESERVERS)
