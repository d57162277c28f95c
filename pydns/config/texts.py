"""Parsers of single texts in flags and configurations: servers, domains, addresses, namespaces.

Each `parse_…` returns the value. For a wrong text, each returns a `Wanted` that describes a correct text. This module
imports no large module.
"""

import re
from typing import NamedTuple

from pydns.config import selector
from pydns.config.corefile.tokens import tokens
from pydns.config.mistakes import Wanted
from pydns.dns import alias, expression, name, rewrite
from pydns.dns.address import BadAddress, address_text, parse_address, parse_range
from pydns.dns.pattern import BadPattern, Pattern
from pydns.dns.rrset import ANY, AXFR, IXFR, type_number
from pydns.dns.template import BadTemplate
from pydns.dns.template import Text as TemplateText

IP_SERVER = "an IP address or IP:port"
SERVER = "an IP address, IP:port or DNS name"
UPSTREAM = "an IP address, IP:port, DNS name, https:// URL or path of a file like resolv.conf"
SERVER_HOST = "the IP address or DNS name of a server, without a port"
FILE = "a key of the same ConfigMap or an absolute path"
DOMAIN = "a domain name"
NAMESPACE = "the name of a namespace"
KUBE_DNS_DOMAIN = "a domain name in lower case, without a final dot"
SELECTOR = "a label selector"
ANNOTATION_PREFIX = "a prefix of annotations with a final slash, such as external-dns.kubernetes.io/"
CLASS_NAME = "the name of a class"
LABEL = "a DNS label"
SHORT_TEXT = "a text of 1 to 255 printable ASCII characters"
DNS64_PREFIX = "an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits, such as 64:ff9b::/96"
ALIAS = "a name, *.NAME or ~PATTERN"
TARGET = "the name of a target"
TYPE = "a type of records, such as AAAA"
REWRITE = "a rule of CoreDNS's rewrite, such as name suffix .a.example .b.example answer auto"
CLIENTS = "an IP address or a network, such as 10.20.0.0/16"
EXPRESSION = "a condition, such as incidr(client_ip(), '10.20.0.0/16')"
PATTERN = "a pattern of RE2"
RECORD = "a record with fields, such as {{ .Name }} 60 IN A 10.0.0.1"
DURATION = "a duration, such as 100ms, 60s, 5m or 1h"
SERVICE_REFERENCE = "NAMESPACE/SERVICE, such as kube-system/pydns-external"


class Address(NamedTuple):
    """The address of a server. Only one of `ip`, `qname` and `file` is set."""

    ip: str | None  # a link-local address may have a zone: fe80::1%eth0
    qname: bytes | None
    port: int | None  # None for the default port of the transport
    file: str | None = None  # the path of a file with nameservers
    url_path: str | None = None  # the path of an https:// URL; empty if the URL has no path


def parse_ip_server(text: str) -> Address | Wanted:
    """Parse `IP`, `IP:port`, `[v6]` or `[v6]:port`."""
    address = parse_server(text)
    if isinstance(address, Address):
        return address if address.ip else Wanted(IP_SERVER)
    return Wanted(IP_SERVER) if address.text == SERVER else address


def parse_upstream(text: str) -> Address | Wanted:
    """Parse the forms of `parse_server`, an https:// URL, or the absolute path of a file in the form of resolv.conf."""
    if text.startswith("/"):
        file = parse_path(text)
        return file if isinstance(file, Wanted) else Address(None, None, None, file)
    if text.startswith("tls://"):
        return Wanted(f"{UPSTREAM}; for TLS, write {{address: 9.9.9.9, transport: tls}}")
    host, path = text, None
    if text.startswith("https://"):
        host, slash, rest = text.removeprefix("https://").removesuffix("{?dns}").partition("/")
        path = slash + rest
        if not _URL_PATH.fullmatch(path):
            return Wanted("an https:// URL of a host and a path")
    address = parse_server(host)
    if isinstance(address, Wanted):
        return Wanted(UPSTREAM) if address.text == SERVER else address
    return address._replace(url_path=path)


def parse_server(text: str) -> Address | Wanted:
    """Parse the forms of `parse_ip_server`, or a DNS name with or without a port."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            return Wanted("[IPv6 address]:port")
        port_text = rest[1:] if rest else None
        if ":" not in host:
            return Wanted("[IPv6 address]:port")
    elif text.count(":") == 1:
        host, port_text = text.split(":")
    else:
        host, port_text = text, None
    port = None
    ip = parse_zoned_ip(host)
    qname = None
    if isinstance(ip, Wanted):
        if "%" in host and not isinstance(parse_ip(host.partition("%")[0]), Wanted):
            return ip
        if host.rpartition(".")[2].isdecimal() or ":" in host:
            return Wanted(IP_SERVER)  # a mistyped address: a top-level domain is never a number (RFC 3696 section 2)
        host_name = parse_host_name(host)
        if isinstance(host_name, Wanted):
            return Wanted(SERVER)
        qname = host_name
    if port_text is not None and not (port := port_number(port_text)):
        return Wanted("a server with a port from 1 to 65535")
    return Address(None, qname, port) if isinstance(ip, Wanted) else Address(ip, None, port)


def port_number(text: str) -> int | None:
    """Return a port from 0 to 65535. Return None if the text isn't a port."""
    return int(text) if _PORT.fullmatch(text) and int(text) <= 65535 else None


def parse_source(text: str) -> str | Wanted:
    """Parse an address of this host. The result is the canonical text."""
    address = parse_ip(text)
    return address if isinstance(address, Wanted) else address_text(address)


def parse_server_host(text: str) -> str | Wanted:
    """Parse the address or DNS name of a server. The result is the canonical text."""
    address = parse_server(text)
    if isinstance(address, Wanted) or address.port is not None:
        return Wanted(SERVER_HOST)
    return address.ip or name.to_text(address.qname or name.ROOT)


def parse_zoned_ip(text: str) -> str | Wanted:
    """Parse an IP address to canonical text. A link-local IPv6 address may have a zone (RFC 4007 section 11)."""
    written, percent, zone = text.partition("%")
    address = parse_ip(written)
    if isinstance(address, Wanted) or not percent:
        return address if isinstance(address, Wanted) else address_text(address)
    if len(address) != 16 or address[0] != 0xFE or address[1] & 0xC0 != 0x80 or not _ZONE.fullmatch(zone):
        return Wanted("an IP address; only a link-local address has a zone, as in fe80::1%eth0")
    return f"{address_text(address)}%{zone}"


def parse_ip(text: str) -> bytes | Wanted:
    """Parse an IPv4 or IPv6 address. The result has 4 or 16 octets."""
    try:
        return parse_address(text)
    except BadAddress:
        return Wanted("an IP address")


def parse_path(text: str) -> str | Wanted:
    """Parse an absolute path of a file."""
    return text if text.startswith("/") and "\0" not in text else Wanted("an absolute path")


def parse_file(text: str) -> str | Wanted:
    """Parse the absolute path of a file, or the name of a file beside the configuration."""
    return text if is_file(text) else Wanted(FILE) if text[:1] != "/" else parse_path(text)


def is_file(text: str) -> bool:
    """Return whether a text can be the name of a file beside the configuration: a key of a ConfigMap."""
    return _CONFIG_MAP_KEY.fullmatch(text) is not None


def parse_domain(text: str) -> bytes | Wanted:
    """Parse a DNS name. The result is a wire name in lower case."""
    try:
        return name.from_text(text).lower()
    except name.BadName as error:
        return Wanted(f"{DOMAIN}: it {error}")


def parse_route_domain(text: str) -> bytes | Wanted:
    """Parse a DNS name other than the root."""
    domain = parse_domain(text)
    return (
        Wanted('a domain below the root (the servers for the root are "upstreams")') if domain == name.ROOT else domain
    )


def parse_host(text: str) -> bytes | Wanted:
    """Parse the name of a `hosts` entry."""
    found = parse_domain(text)
    if not isinstance(found, Wanted) and (found == name.ROOT or name.is_wildcard(found)):
        return Wanted("the name of a host (a wildcard can be in a zone file)")
    return found


def parse_alias(text: str) -> str | Wanted:
    """Parse the names of an alias to canonical text."""
    try:
        return alias.parse_pattern(text)
    except alias.BadAlias as error:
        return Wanted(str(error))


def parse_target(text: str) -> str | Wanted:
    """Parse the target of an alias to canonical text."""
    try:
        return alias.parse_target(text)
    except alias.BadAlias as error:
        return Wanted(str(error))


def parse_type(text: str) -> int | Wanted:
    """Parse the name of a record type."""
    found = type_number(text)
    return found if found is not None and found not in (IXFR, AXFR, ANY) else Wanted(TYPE)


def parse_question_type(text: str) -> int | Wanted:
    """Parse the type of a question: the name of a record type, or ANY."""
    return ANY if text.upper() == "ANY" else parse_type(text)


def parse_clients(text: str) -> str | Wanted:
    """Parse an address or a network of clients to canonical text: ADDRESS/BITS."""
    address, slash, bits = text.partition("/")
    try:
        octets = parse_address(address)
        if slash:
            parse_range(text)
    except BadAddress:
        return Wanted(CLIENTS)
    return f"{address_text(octets)}/{int(bits) if slash else 8 * len(octets)}"


def parse_expression(text: str) -> str | Wanted:
    """Check a condition on clients and questions, and return it as a text."""
    try:
        expression.parse(text)
    except expression.BadExpression as error:
        return Wanted(f"a usable condition: {error}")
    return text


def parse_rewrite(text: str) -> tuple[str, ...] | Wanted:
    """Parse a rule of CoreDNS's plugin `rewrite` to its words. Quotes have the same meaning as in a Corefile."""
    words = tuple([token.text for token in tokens("", text)])
    try:
        rewrite.parse(words)
    except rewrite.BadRule as error:
        return Wanted(f"a usable rule: {error}")
    return words


def parse_pattern(text: str) -> str | Wanted:
    """Check a pattern for names, and return it as a text."""
    try:
        Pattern(text)
    except BadPattern as error:
        return Wanted(f"{PATTERN}: it {error}")
    return text


def parse_record(text: str) -> str | Wanted:
    """Check a record of a template, and return it as a text."""
    try:
        TemplateText(text)
    except BadTemplate as error:
        return Wanted(f"a usable record: {error}")
    return text


def parse_external_zone(text: str) -> bytes | Wanted:
    """Parse the name of an external zone, or of a zone of ServiceImports."""
    zone = parse_domain(text)
    if isinstance(zone, Wanted):
        return zone
    if not _HOST_NAME.fullmatch(text) or len(zone) > _MAX_EXTERNAL:
        return Wanted(f"a domain name of letters, digits and hyphens with at most {_MAX_EXTERNAL - 2} characters")
    if any(name.is_at_or_below(zone, tree) for tree in REVERSE_TREES):
        return Wanted("a domain name outside of in-addr.arpa and ip6.arpa")
    return zone


def parse_annotation_prefix(text: str) -> str | Wanted:
    """Parse a prefix of annotations. The prefix consists of a DNS name and a slash."""
    host = text.removesuffix("/")
    is_prefix = text.endswith("/") and len(host) <= 253 and all(map(name.is_kubernetes_label, host.split(".")))
    return text if is_prefix else Wanted(ANNOTATION_PREFIX)


def parse_class_name(text: str) -> str | Wanted:
    """Parse the name of an IngressClass."""
    is_name = len(text) <= 253 and all(map(name.is_kubernetes_label, text.split(".")))
    return text if is_name else Wanted(CLASS_NAME)


def parse_label(text: str) -> str | Wanted:
    """Parse one label of a DNS name, in lower case."""
    return text if name.is_kubernetes_label(text) else Wanted(LABEL)


def parse_label_key(text: str) -> str | Wanted:
    """Parse the key of a label of an object."""
    return text if selector.is_label_key(text) else Wanted("the key of a label, such as app or app.kubernetes.io/name")


def parse_service_reference(text: str) -> tuple[str, str] | Wanted:
    """Parse the namespace and the name of a Service."""
    namespace, _, service = text.partition("/")
    if name.is_kubernetes_label(namespace) and name.is_kubernetes_label(service):
        return namespace, service
    return Wanted(SERVICE_REFERENCE)


_MAX_EXTERNAL = 120  # the maximum octets of an external zone's name, so that names of Services fit below it


def parse_reverse_zone(text: str) -> bytes | Wanted:
    """Parse the name of a zone for PTR records."""
    zone = parse_domain(text)
    if isinstance(zone, Wanted) or any(name.is_at_or_below(zone, tree) for tree in REVERSE_TREES):
        return zone
    return Wanted("in-addr.arpa, ip6.arpa or a domain below one of them")


def parse_ptr_range(text: str) -> str | Wanted:
    """Check a range of addresses for PTR records, and return it as a text."""
    try:
        parse_range(text)
    except BadAddress:
        return Wanted("a range of addresses, such as 10.0.0.0/8")
    return text


def parse_short_text(text: str) -> str | Wanted:
    """Parse a text that fits into a character-string (RFC 1035 section 3.3)."""
    return text if 0 < len(text) <= 255 and text.isascii() and text.isprintable() else Wanted(SHORT_TEXT)


def parse_dns64_prefix(text: str) -> str | Wanted:
    """Parse a prefix for IPv6 addresses that contain IPv4 addresses (RFC 6052 section 2.2). The result is the text."""
    address, _, bits = text.partition("/")
    octets = parse_ip(address)
    if bits not in _DNS64_BITS or isinstance(octets, Wanted) or len(octets) == 4 or octets[8]:
        return Wanted(DNS64_PREFIX)
    found = parse_ptr_range(text)
    return Wanted(DNS64_PREFIX) if isinstance(found, Wanted) else found


_DNS64_BITS = ("32", "40", "48", "56", "64", "96")


REVERSE_TREES = (name.from_labels(b"in-addr", b"arpa"), name.from_labels(b"ip6", b"arpa"))


def parse_host_name(text: str) -> bytes | Wanted:
    """Parse the DNS name of a host. Underscores are allowed, because resolvers accept them too."""
    return parse_domain(text) if _HOST_NAME.fullmatch(text) else Wanted("a host name")


def parse_kube_dns_domain(text: str) -> bytes | Wanted:
    """Parse a stub domain as kube-dns does. The domain must be an RFC 1123 subdomain, as in Kubernetes."""
    if len(text) > 253 or not all(map(name.is_kubernetes_label, text.split("."))):
        return Wanted(KUBE_DNS_DOMAIN)
    return parse_domain(text)


def parse_namespace(text: str) -> str | Wanted:
    """Parse the name of a namespace."""
    return text if name.is_kubernetes_label(text) else Wanted(NAMESPACE)


def parse_server_name(text: str) -> str | Wanted:
    """Parse the name or address that a server certificate must contain."""
    if _HOST_NAME.fullmatch(text) or not isinstance(parse_ip(text), Wanted):
        return text
    return Wanted("a host name or IP address")


def parse_duration(text: str) -> float | Wanted:
    """Parse a duration to seconds. A number without a unit is in seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return Wanted(DURATION)
    return float(found[1]) * _UNITS[found[2]]


def parse_selector(text: str) -> str | Wanted:
    """Check a label selector, and return it as a text, because the API server needs a text."""
    try:
        selector.parse(text)
    except selector.BadSelector as error:
        return Wanted(f"{SELECTOR}: {error}")
    return text if text.strip() else Wanted(SELECTOR)


_CONFIG_MAP_KEY = re.compile(r"(?!\.\.?$)[-._A-Za-z0-9]{1,253}")
_URL_PATH = re.compile(r"(/[-._~A-Za-z0-9%!$&'()*+,;=:@/]{0,500})?")
_ZONE = re.compile(r"[!-$&-.0-\\^-~]{1,15}")  # the name or number of a network interface, without %, / and ]
_PORT = re.compile("[0-9]{1,5}")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|)")
_UNITS = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9])?)*\.?")
