"""Reads the directive `forward FROM TO… { … }`, which defines upstreams and routes."""

from typing import NamedTuple

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line
from pydns.config.corefile.draft import Draft, Zone, checked, mapping, number, one_of, only, sequence, text, whole, word
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import zones_of
from pydns.config.mistakes import quote
from pydns.config.node import Node, Scalar

_MAX_SERVERS = 15  # the plugin's limit
_MAX_IN_FLIGHT = 100_000
_CHOICES = {"random": "random", "round_robin": "round_robin", "sequential": "in_order"}
_BREAKER = "no effect: a server that fails is left out and probed until it answers"
_NO_EFFECT = {
    "expire": "no effect: connections are closed when they have been idle",
    "failfast_all_unhealthy_upstreams": _BREAKER,
    "health_check": _BREAKER,
    "max_age": "no effect: connections are closed when they have been idle",
    "max_connect_attempts": _BREAKER,
    "max_fails": _BREAKER,
    "max_idle_conns": "no effect: a connection carries many queries at once",
    "prefer_udp": "no effect: questions go over UDP first",
    "read_timeout": "no effect: waiting is adapted to each server",
}


class _Options:
    """The properties of a `forward` directive."""

    def __init__(self) -> None:
        self.choice: Node | None = None
        self.transport: Token | None = None  # `force_tcp`
        self.server_name: Token | None = None
        self.tls: dict[str, Node] = {}
        self.excepted: list[Zone] = []
        self.on_nxdomain: Node | None = None
        self.max_in_flight: Token | None = None


class _Server(NamedTuple):
    address: Token
    is_tls: bool
    server_name: Token | None


def read_forward(line: Line, server: Server, draft: Draft) -> None:
    """Read the servers of a zone. Servers of the root zone become upstreams. Servers of another zone become a route."""
    if len(line.arguments) < 2:
        raise BadCorefile(line.words[0], "forward", "complete: it needs a zone and a server")
    if len(line.arguments) > _MAX_SERVERS + 1:
        raise BadCorefile(line.words[0], f"{len(line.arguments) - 1} servers", f"allowed: {_MAX_SERVERS} at most")
    zone = zones_of(line.arguments[0])[0]  # CoreDNS also takes the first zone
    domains = list(server.zones) if zone.is_root else [zone]
    options = _options(line, draft)
    for domain in domains:
        if any(domain.name == each.name for each in server.forwards):
            raise BadCorefile(line.words[0], f"a second forward for {domain.name}", "allowed in a block")
        server.forwards.append(domain)
        if domain.is_root:
            _take_upstreams(line, options, draft)
        else:
            _take_route(line, domain, options, draft)
    if options.max_in_flight is not None:
        limit = whole(options.max_in_flight, 0, 1 << 31)
        known = draft.keys.get("max_in_flight")
        least = known.value if isinstance(known, Scalar) and isinstance(known.value, int) else 0
        if limit:
            draft.keys["max_in_flight"] = number(options.max_in_flight, min(max(limit, least), _MAX_IN_FLIGHT))
            draft.note(options.max_in_flight, "max_concurrent is the limit of each worker here, for all servers")


def _take_upstreams(line: Line, options: _Options, draft: Draft) -> None:
    if options.excepted:
        raise BadCorefile(line.words[0], "except of the zone .", "carried out here; a route can have one")
    if options.on_nxdomain is not None:
        raise BadCorefile(line.words[0], "next for the zone .", "carried out here: nobody comes next")
    draft.keys["choice"] = options.choice or word(line.words[0], "random")
    servers = line.arguments[1:]
    files = [each for each in servers if each.text.startswith("/")]
    if not files:
        draft.keys["upstreams"] = sequence([_node(each, options, names=False) for each in servers], servers[0].line)
    elif len(servers) > 1:
        raise BadCorefile(files[0], quote(files[0].text), "carried out together with other servers")
    elif files[0].text != "/etc/resolv.conf":
        draft.note(files[0], "read if --resolv-conf names it")


def _take_route(line: Line, zone: Zone, options: _Options, draft: Draft) -> None:
    servers = line.arguments[1:]
    for each in servers:
        if each.text.startswith("/"):
            raise BadCorefile(each, quote(each.text), "the server of a route: an address or a name is")
    if zone.name[:-1] in draft.routes:
        raise BadCorefile(line.words[0], f"a second forward for {zone.name}", "allowed")
    found = [_node(each, options, names=True) for each in servers]
    keys: dict[str, Node] = {"servers": sequence(found, servers[0].line)}
    below = [each for each in options.excepted if each.name.endswith(f".{zone.name}")]  # other zones have no effect
    if below:
        keys["except"] = sequence([text(each.name_token) for each in below], below[0].token.line)
    if options.on_nxdomain is not None:
        keys["on_nxdomain"] = options.on_nxdomain
    keys["choice"] = options.choice or word(line.words[0], "random")
    draft.routes[zone.name[:-1]] = mapping(keys, line.words[0].line)


def _node(token: Token, options: _Options, *, names: bool) -> Node:
    """Return a server in the form of `config.yaml`: only its address, or a mapping."""
    server = _parse(token)
    checked(server.address, texts.parse_server if names else texts.parse_ip_server)
    if not server.is_tls:
        if options.transport is None:
            return text(server.address)
        return mapping({"address": text(server.address), "transport": word(options.transport, "tcp")}, token.line)
    keys: dict[str, Node] = {"address": text(server.address), "transport": word(token, "tls")}
    server_name = server.server_name or options.server_name
    if server_name is not None:
        checked(server_name, texts.parse_server_name)
        keys["server_name"] = text(server_name)
    if options.tls:
        keys["tls"] = mapping(options.tls, token.line)
    return mapping(keys, token.line)


def _parse(token: Token) -> _Server:
    scheme, separator, rest = token.text.rpartition("://")
    if separator and scheme not in ("dns", "tls"):
        raise BadCorefile(token, quote(f"{scheme}://"), "a way to a server here: dns:// and tls:// are")
    address, percent, server_name = rest.partition("%")
    if scheme != "tls" or not percent:  # the zone of a link-local address stays in the address
        return _Server(token._replace(text=rest), scheme == "tls", None)
    return _Server(token._replace(text=address), True, token._replace(text=server_name))


def _options(line: Line, draft: Draft) -> _Options:
    options = _Options()
    draft.read_each(line.lines, lambda each: _read_property(each, options, draft))
    return options


def _read_property(line: Line, options: _Options, draft: Draft) -> None:
    at = line.words[0]
    match line.name:
        case "policy":
            policy = only(line, 1)[0]
            options.choice = word(policy, _CHOICES[one_of(policy, _CHOICES)])
        case "force_tcp":
            only(line, 0)
            options.transport = at
        case "tls_servername":
            options.server_name = only(line, 1)[0]
        case "tls":
            options.tls = _tls(only(line, 0, 3))
        case "except":
            options.excepted += [zone for token in only(line, 1, 1000) for zone in zones_of(token)]
        case "next" | "failover":
            _take_rcodes(line, options, draft)
        case "max_concurrent":
            options.max_in_flight = only(line, 1)[0]
        case name if name in _NO_EFFECT:
            draft.note(at, _NO_EFFECT[name])
        case _:
            raise BadCorefile(at, quote(line.name), "a property of forward that is known here")


def _tls(files: tuple[Token, ...]) -> dict[str, Node]:
    """Return the TLS keys. One file: the CA. Two files: certificate and key. Three files: certificate, key and CA."""
    names = {1: ("ca",), 2: ("certificate", "key"), 3: ("certificate", "key", "ca")}.get(len(files), ())
    for each in files:
        checked(each, texts.parse_path)
    return {name: text(each) for name, each in zip(names, files, strict=True)}


def _take_rcodes(line: Line, options: _Options, draft: Draft) -> None:
    for token in only(line, 1, 30):
        rcode = token.text.upper()
        if rcode in ("SERVFAIL", "REFUSED"):
            draft.note(token, "no effect: the next server is always asked then")
        elif rcode == "NXDOMAIN" and line.name == "next":
            options.on_nxdomain = word(token, "next")
        else:
            raise BadCorefile(token, f"{line.name} {token.text}", "carried out here; `next NXDOMAIN` of a route is")
