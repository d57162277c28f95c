"""Defines keys for the servers for names outside the cluster: upstreams and routes."""

from collections.abc import Iterator
from typing import Any

from pydns.config import texts
from pydns.config.keys.values import DOMAIN, PATH
from pydns.config.mistakes import Wanted, quote
from pydns.config.model import (
    DOH_PATH,
    AnyServer,
    Case,
    Choice,
    Edns,
    Excepted,
    NamedUpstream,
    OnNxdomain,
    Outcome,
    Route,
    ServersFile,
    ServerSpec,
    TlsFiles,
    Transport,
)
from pydns.config.shapes import Conflict, Key, ListOf, MapOf, OneOf, Record, Text, TextOrRecord, Whole
from pydns.dns import name

UPSTREAMS = "Servers for names outside the cluster."
NO_UPSTREAMS = "the nameservers of /etc/resolv.conf"

_DEFAULT_PORTS = {Transport.UDP: 53, Transport.TCP: 53, Transport.TLS: 853, Transport.HTTPS: 443}
_ENCRYPTED = (Transport.TLS, Transport.HTTPS)
_NO_FILES = TlsFiles()
_CHOICE = OneOf(Choice)


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
        wanted = f"udp or tcp, the protocols for the nameservers of {address.file}"
        yield Conflict("transport", quote(transport.value), wanted)
    elif is_url and transport not in (Transport.HTTPS, None):
        yield Conflict("transport", quote(transport.value), "https, as in the address")
    for key, found in (("tls", "files"), ("server_name", quote(written.get("server_name") or ""))):
        if written.get(key) is not None and transport not in (*_ENCRYPTED, None):
            yield Conflict(key, found, 'used without "transport: tls" or https')
    source = written.get("source")
    if address is not None and address.ip is not None and source is not None and (":" in address.ip) != (":" in source):
        yield Conflict("source", quote(source), f"of the family of {address.ip}")


def server_shape(address: Text) -> TextOrRecord:
    """Return the shape of a server in the configuration.

    The value is an address, or a mapping that contains an address.
    """

    def parse(text: str) -> AnyServer | Wanted:
        parsed = address.parse(text)
        return parsed if isinstance(parsed, Wanted) else _server(parsed)

    address_key = Key(
        "address",
        address,
        "Address of the server. If this is the only key, you can write the address without the mapping.",
        "10.0.0.2:5353",
        "10.0.0.300",
        required=True,
    )
    return TextOrRecord(
        Text(address.wanted, parse), Record(_server, (address_key, *_SERVER_KEYS), "a server", _check_server)
    )


def _check_tls(certificate: str | None = None, key: str | None = None, **_: Any) -> Iterator[Conflict]:
    if key is not None and certificate is None:
        yield Conflict("key", f'"{key}"', 'used without "certificate"')


_TLS = Record(
    TlsFiles,
    (
        Key(
            "ca",
            PATH,
            "File with the certificates (PEM) of the authorities that may have issued the server's certificate.",
            "/etc/pydns/ca.pem",
            "ca.pem",
            default="the system's",
        ),
        Key(
            "certificate",
            PATH,
            "File with the certificate of pydns and its chain, for servers that ask for a certificate of the client.",
            "/etc/pydns/tls.crt",
            "tls.crt",
            default="none",
        ),
        Key(
            "key",
            PATH,
            "File with the private key of the certificate of pydns.",
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
        "Protocol. udp: UDP, and TCP for truncated answers. tls: DNS over TLS, port 853. https: DNS over HTTPS with "
        "HTTP/2, port 443. An address like https://dns.example/dns-query has https by itself.",
        "tls",
        "quic",
    ),
    Key(
        "server_name",
        Text("a host name or IP address", texts.parse_server_name),
        "The name or address that the server's certificate must have, with tls and https.",
        "dns.example.net",
        "'*'",
        default="the address",
    ),
    Key(
        "packets_per_second",
        Whole(1, 1_000_000),
        "How many packets a second one worker may send to the server. Cloud resolvers drop further packets "
        "(AWS: above 1,024 a second).",
        "500",
        "0",
        default="no limit",
    ),
    Key(
        "case",
        OneOf(Case),
        "Case of the letters in questions over UDP. random: random case, which protects from forged replies (0x20). "
        "lower: lower case, for servers that answer names in mixed case wrongly. learn: random case, but lower case "
        "for an hour after the server has answered a name in mixed case wrongly.",
        "lower",
        "upper",
    ),
    Key(
        "edns",
        OneOf(Edns),
        "Whether questions have EDNS. learn: questions have EDNS, except for 15 minutes after the server has shown "
        "that it doesn't understand EDNS.",
        "never",
        "'off'",
    ),
    Key("tls", _TLS, "Files for the connection, with tls and https.", default="those of the system"),
    Key(
        "source",
        Text("an IP address", texts.parse_source),
        "Address of this host from which questions are sent. Servers with an address of the other family (IPv4 or "
        "IPv6) are left out.",
        "10.0.0.5",
        "eth0",
        default="chosen by the kernel",
    ),
)
_SERVER = server_shape(Text(texts.UPSTREAM, texts.parse_upstream))
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


_FAILOVER = (
    "After these outcomes, pydns asks the next server before it answers the client. After errors, such as SERVFAIL, "
    "pydns always asks the next server."
)
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
            ListOf(DOMAIN, "domain names"),
            "Domains below this domain for whose names the servers aren't asked.",
            "[www.acme.local]",
            "[www..acme.local]",
            default="none",
            field="except_",
        ),
        Key(
            "excepted",
            OneOf(Excepted),
            "What happens to names in `except`. next: the names are resolved as if the route didn't exist. refused: "
            "queries for them get REFUSED.",
            "refused",
            "'off'",
        ),
        Key(
            "next",
            _OUTCOMES,
            "After these outcomes, pydns asks the servers that it would ask without this route (split horizon).",
            "[NXDOMAIN, NODATA]",
            "[nxdomain]",
            default="none",
            field="next_",
        ),
        Key(
            "on_nxdomain",
            OneOf(OnNxdomain),
            "The value next means the same as `next: [NXDOMAIN]`.",
            "next",
            "fallthrough",
        ),
        Key("failover", _OUTCOMES, _FAILOVER, "[NXDOMAIN]", "NXDOMAIN", default="none"),
        Key(
            "choice",
            _CHOICE,
            "Which server is asked first.",
            "in_order",
            "sequential",
            default="the value of the key `choice` for upstreams",
        ),
    ),
    'a route: a mapping with "servers"',
    _check_route,
    identity="domain",
)


KEYS = (
    Key(
        "upstreams",
        ListOf(_SERVER, "servers"),
        f"{UPSTREAMS} A server may be an address, a name or the path of a file like resolv.conf. pydns looks a name up "
        "again when its TTL ends. If the path of a file is given, pydns asks the nameservers in the file.",
        "[10.0.0.2, {address: 9.9.9.9, transport: tls, server_name: dns.quad9.net}]",
        "[10.0.0.300]",
        default=NO_UPSTREAMS,
    ),
    Key(
        "except",
        ListOf(DOMAIN, "domain names"),
        "The upstreams aren't asked for names in these domains. Such a name gets REFUSED if no route contains it.",
        "[corp.example]",
        "[corp..example]",
        default="none",
        field="except_",
    ),
    Key("failover", _OUTCOMES, _FAILOVER, "[NXDOMAIN]", "[YES]", default="none"),
    Key("choice", _CHOICE, "Which upstream is asked first.", "in_order", "quickest"),
    Key(
        "routes",
        MapOf(Text(texts.DOMAIN, texts.parse_route_domain), _ROUTE, "a mapping of domains to routes"),
        "Domains with servers of their own. The longest domain that contains a name counts. A route may be inside a "
        "zone that pydns serves. If so, names with records in this zone are still answered from the zone.",
        "{acme.local: {servers: [1.2.3.4]}}",
        "{acme.local: [1.2.3.4]}",
        default="none",
    ),
    Key(
        "max_in_flight",
        Whole(1, 100_000),
        "How many queries of one worker may wait for upstreams. Further queries get SERVFAIL at once.",
        "5000",
        "0",
    ),
)
