"""Reads the directive `forward FROM TO… { … }`, which defines upstreams and routes."""

from typing import NamedTuple

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.draft import Draft, Zone, checked, mapping, number, one_of, only, sequence, text, whole, word
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import zones_around, zones_of
from pydns.config.mistakes import quote
from pydns.config.node import Node, Scalar

_MAX_SERVERS = 15  # the plugin's limit of servers in a directive
_MAX_IN_FLIGHT = 100_000
_CHOICES = {"random": "random", "round_robin": "round_robin", "sequential": "in_order"}
_BREAKER = "no effect: pydns avoids a server that fails, and probes it until it answers"
# Rcode of an upstream -> the word for it in config.yaml. All error codes except REFUSED have the same word.
_OUTCOMES = {"NXDOMAIN": "NXDOMAIN", "REFUSED": "REFUSED"} | dict.fromkeys(
    ("SERVFAIL", "FORMERR", "NOTIMP"), "SERVFAIL"
)
_RCODES = frozenset(  # the rcodes that CoreDNS knows
    [
        "NOERROR",
        "FORMERR",
        "SERVFAIL",
        "NXDOMAIN",
        "NOTIMP",
        "REFUSED",
        "YXDOMAIN",
        "YXRRSET",
        "NXRRSET",
        "NOTAUTH",
        "NOTZONE",
        "BADSIG",
        "BADVERS",
        "BADKEY",
        "BADTIME",
        "BADMODE",
        "BADNAME",
        "BADALG",
        "BADTRUNC",
        "BADCOOKIE",
    ]
)
_NO_EFFECT = {
    "doh_method": "no effect: pydns always sends questions by POST",
    "expire": "no effect: pydns closes connections that are idle",
    "failfast_all_unhealthy_upstreams": _BREAKER,
    "health_check": _BREAKER,
    "max_age": "no effect: pydns closes connections that are idle",
    "max_connect_attempts": _BREAKER,
    "max_fails": _BREAKER,
    "max_idle_conns": "no effect: a connection carries many queries at once",
    "prefer_udp": "no effect: pydns always asks over UDP first",
    "read_timeout": "no effect: pydns adapts the timeout to each server",
}


class _Options:
    """The properties of a `forward` directive."""

    def __init__(self) -> None:
        self.choice: Node | None = None
        self.transport: Token | None = None  # the word `force_tcp`
        self.server_name: Token | None = None
        self.source: Token | None = None
        self.tls: dict[str, Node] = {}
        self.excepted: list[Zone] = []
        self.next: dict[str, Token] = {}  # outcome -> the word in the Corefile
        self.failover: dict[str, Token] = {}
        self.max_in_flight: Token | None = None
        self.following: frozenset[str] = frozenset()  # the zones of later `forward` directives of the block


class _Server(NamedTuple):
    address: Token
    scheme: str
    server_name: Token | None


def read_forward(line: Line, server: Server, draft: Draft) -> None:
    """Read a directive `forward` with the servers of a zone. The servers of `forward .` become `upstreams`.

    The servers of another zone become a route.
    """
    server.following.pop()  # remove the zone of this directive, so that the list has only the zones of later directives
    if len(line.arguments) < 2:
        raise BadCorefile(line.words[0], "forward", "complete: the directive needs a zone and a server")
    if len(line.arguments) > _MAX_SERVERS + 1:
        raise BadCorefile(line.words[0], f"{len(line.arguments) - 1} servers", f"allowed: {_MAX_SERVERS} at most")
    zone = zones_of(line.arguments[0])[0]  # a range may mean several zones; CoreDNS, too, takes only the first one
    domains = list(server.zones) if zone.is_root else [zone]
    options = _options(line, draft)
    options.following = frozenset(server.following)
    if options.next and not options.following:
        draft.note(next(iter(options.next.values())), "no effect: this block has no later forward")
        options.next.clear()
    for domain in domains:
        if any(domain.name == each.name for each in server.forwards):
            raise NotCarriedOut(line.words[0], f"a second forward for {domain.name}", "allowed in a block")
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
            draft.note(options.max_in_flight, "here, max_concurrent limits each worker, for all servers together")


def _take_upstreams(line: Line, options: _Options, draft: Draft) -> None:
    draft.keys["choice"] = options.choice or word(line.words[0], "random")
    servers = line.arguments[1:]
    if [each.text for each in servers] != ["/etc/resolv.conf"]:  # otherwise --resolv-conf names the file
        draft.keys["upstreams"] = sequence([_node(each, options) for each in servers], servers[0].line)
    if options.excepted:
        draft.keys["except"] = _names(options.excepted)
    if options.failover:
        draft.keys["failover"] = _outcomes(options.failover)


def _take_route(line: Line, zone: Zone, options: _Options, draft: Draft) -> None:
    servers = line.arguments[1:]
    if zone.name[:-1] in draft.routes:
        raise NotCarriedOut(line.words[0], f"a second forward for {zone.name}", "allowed")
    found = [_node(each, options) for each in servers]
    keys: dict[str, Node] = {"servers": sequence(found, servers[0].line)}
    # an excluded zone outside of the route's zone has no effect
    below = [each for each in options.excepted if each.name.endswith(f".{zone.name}")]
    if below:
        keys["except"] = _names(below)
        if not any(any(zones_around(each.name, options.following)) for each in below):
            keys["excepted"] = word(below[0].token, "refused")
    if options.next:
        keys["next"] = _outcomes(options.next)
    if options.failover:
        keys["failover"] = _outcomes(options.failover)
    keys["choice"] = options.choice or word(line.words[0], "random")
    draft.routes[zone.name[:-1]] = mapping(keys, line.words[0].line)


def _names(zones: list[Zone]) -> Node:
    return sequence([text(each.name_token) for each in zones], zones[0].token.line)


def _outcomes(words: dict[str, Token]) -> Node:
    return sequence(
        [word(token, outcome) for outcome, token in words.items()], min(each.line for each in words.values())
    )


def _node(token: Token, options: _Options) -> Node:
    """Return a server in the form of `config.yaml`: only its address, or a mapping."""
    server = _parse(token)
    checked(server.address, texts.parse_upstream)
    keys: dict[str, Node] = {"address": text(server.address)}
    if server.scheme == "tls":
        keys["transport"] = word(token, "tls")
    elif server.scheme == "dns" and options.transport is not None:
        keys["transport"] = word(options.transport, "tcp")
    if server.scheme != "dns":
        server_name = server.server_name or options.server_name
        if server_name is not None:
            checked(server_name, texts.parse_server_name)
            keys["server_name"] = text(server_name)
        if options.tls:
            keys["tls"] = mapping(options.tls, token.line)
    if options.source is not None:
        keys["source"] = text(options.source)
    return mapping(keys, token.line) if len(keys) > 1 else keys["address"]


def _parse(token: Token) -> _Server:
    scheme, separator, rest = token.text.rpartition("://")
    scheme = scheme if separator else "dns"
    one_of(token._replace(text=scheme), ("dns", "tls", "https"))
    if scheme == "https":
        return _Server(token, scheme, None)
    address, percent, server_name = rest.partition("%")
    if scheme == "dns" or not percent:  # a link-local address keeps its zone, such as %eth0
        return _Server(token._replace(text=rest), scheme, None)
    return _Server(token._replace(text=address), scheme, token._replace(text=server_name))


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
        case "source_address":
            options.source = only(line, 1)[0]
            checked(options.source, texts.parse_source)
        case "except":
            options.excepted += [zone for token in only(line, 1, 1000) for zone in zones_of(token)]
        case "next":
            _take_outcomes(line, options.next)
        case "next_on_nodata":
            only(line, 0)
            options.next.setdefault("NODATA", at)
        case "failover":
            _take_outcomes(line, options.failover)
        case "max_concurrent":
            options.max_in_flight = only(line, 1)[0]
        case "resolver":
            raise NotCarriedOut(at, quote(line.name), "carried out here")
        case name if name in _NO_EFFECT:
            draft.note(at, _NO_EFFECT[name])
        case _:
            raise BadCorefile(at, quote(line.name), "a property of forward")


def _tls(files: tuple[Token, ...]) -> dict[str, Node]:
    """Return the keys of `tls` for the files of the property `tls`. One file is the CA.

    Two files are the certificate and the key. Three files are the certificate, the key and the CA.
    """
    names = {1: ("ca",), 2: ("certificate", "key"), 3: ("certificate", "key", "ca")}.get(len(files), ())
    for each in files:
        checked(each, texts.parse_path)
    return {name: text(each) for name, each in zip(names, files, strict=True)}


def _take_outcomes(line: Line, into: dict[str, Token]) -> None:
    for token in only(line, 1, 30):
        rcode = token.text.upper()
        if rcode not in _RCODES:
            raise BadCorefile(token, quote(token.text), "an rcode")
        if rcode not in _OUTCOMES:
            raise NotCarriedOut(token, f"{line.name} {token.text}", f"carried out here; {', '.join(_OUTCOMES)} are")
        into.setdefault(_OUTCOMES[rcode], token)
