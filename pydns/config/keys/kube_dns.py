"""Defines the keys of kube-dns's ConfigMap. The values of these keys are in JSON."""

from pydns.config import texts
from pydns.config.keys.servers import NO_UPSTREAMS, UPSTREAMS, server_shape
from pydns.config.model import AnyServer, Route
from pydns.config.shapes import Key, ListOf, MapOf, Text


def _stub(domain: bytes, servers: tuple[AnyServer, ...]) -> Route:
    return Route(domain, servers)


STUB_DOMAINS = Key(
    "stubDomains",
    MapOf(
        Text(texts.KUBE_DNS_DOMAIN, texts.parse_kube_dns_domain),
        ListOf(server_shape(Text(texts.SERVER, texts.parse_server)).text, "servers"),
        "a JSON object that maps domains to lists of servers",
        _stub,
    ),
    "Domains with servers of their own.",
    '{"acme.local": ["1.2.3.4"]}',
    '{"acme.local": ["1.2.3.4", "10.0.0.300"]}',
    default="none",
)
UPSTREAM_NAMESERVERS = Key(
    "upstreamNameservers",
    ListOf(server_shape(Text(texts.IP_SERVER, texts.parse_ip_server)).text, "servers"),
    UPSTREAMS,
    '["8.8.8.8", "8.8.4.4"]',
    '["dns.google"]',
    default=NO_UPSTREAMS,
)
KUBE_DNS = (STUB_DOMAINS, UPSTREAM_NAMESERVERS)
