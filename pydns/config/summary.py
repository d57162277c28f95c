"""Describes the changes that a configuration makes, as lines for `pydns check`.

A new key needs no code here to be included.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec

from pydns.config.keys import ROOT
from pydns.config.model import (
    AclRule,
    Alias,
    AnyServer,
    Blocked,
    Config,
    Excepted,
    ExternalZone,
    HairpinMode,
    Host,
    NamedUpstream,
    Rewrite,
    Route,
    Scope,
    ServersFile,
    ServerSpec,
    Template,
    Transport,
    View,
    ZoneText,
)
from pydns.config.shapes import field_of
from pydns.dns import name
from pydns.dns.address import address_text, endpoint_text
from pydns.dns.rrset import type_text


def lines(config: Config) -> Iterator[str]:
    """Yield a line for each key whose value differs from the default. The line for `upstreams` is always included."""
    defaults = Config()
    for key in ROOT.keys:
        value, default = getattr(config, field_of(key)), getattr(defaults, field_of(key))
        if isinstance(value, tuple) and value and type(value[0]) in _ENTRIES:
            owner, text = _ENTRIES[type(value[0])]
            for place, each in enumerate(value):
                yield f"{key.name}[{place if owner is None else _text(getattr(each, owner))}]: {text(each)}"
                if isinstance(each, View):
                    yield from _rules(each)
        elif key.name == "upstreams" and value is None:
            yield f"{key.name}: {key.default}"
        elif value != default:
            yield f"{key.name}: {_text(value)}"


def covered(config: Config, zones: Iterable[tuple[bytes, str]]) -> Iterator[str]:
    """Yield a line for each route that overlaps with a zone.

    The line says which names the route's servers are asked for. `zones` contains each apex that pydns serves, with the
    source of the zone's answers, such as "the cluster" or "zone file example.org.zone".
    """
    served = list(zones)
    for route in config.routes:
        key = f"routes[{name.to_text(route.domain)}]"
        for apex, who in served:
            zone = name.to_text(apex)
            if route.domain == apex:
                yield f"{key}: is never asked: {who} answers all names of {zone}"
            elif name.is_at_or_below(route.domain, apex):
                yield f"{key}: is within {zone}: its servers are asked for all names there that {who} doesn't have"
            elif name.is_at_or_below(apex, route.domain) and route.domain != name.ROOT:
                yield f"{key}: isn't asked for names of {zone}: {who} answers them"


def external_problem(zone: ExternalZone, domains: Iterable[bytes]) -> str | None:
    """Return why an external zone can't be served together with cluster domains, or None if there is no problem."""
    around = next((domain for domain in domains if name.is_at_or_below(zone.apex, domain)), None)
    return None if around is None else f"is not served: it is in the cluster domain {name.to_text(around)}"


def multicluster_problem(apex: bytes, config: Config, domains: Iterable[bytes]) -> str | None:
    """Return why a zone of ServiceImports can't be served together with cluster domains.

    Return None if there is no problem.
    """
    around = next((domain for domain in domains if name.is_at_or_below(apex, domain)), None)
    if around is not None:
        return f"is not served: it is in the cluster domain {name.to_text(around)}"
    if any(apex == zone.apex for zone in config.external):
        return "is not served: it is an external zone"
    if any(apex == route.domain for route in config.routes):
        return "is not served: a route has its names"
    return None


def server_text(server: AnyServer) -> str:
    """Return one text that describes a server."""
    if isinstance(server, ServersFile):
        parts = [server.path]
    else:
        host = server.ip if isinstance(server, ServerSpec) else name.to_text(server.qname)
        parts = [endpoint_text(host, server.port)]
        if server.transport is Transport.HTTPS:
            parts[0] += server.path
    if server.transport is not Transport.UDP:
        parts.append(server.transport.value)
    if not isinstance(server, ServersFile) and server.server_name is not None:
        parts.append(server.server_name)
    if server.packets_per_second is not None:
        parts.append(f"{server.packets_per_second}/s")
    if server.source is not None:
        parts.append(f"from {server.source}")
    return " ".join(parts)


def _route(route: Route) -> str:
    parts = [_text(route.servers)]
    if route.except_:
        refused = " (refused)" if route.excepted is Excepted.REFUSED else ""
        parts.append(f"except {_text(route.except_)}{refused}")
    if route.choice is not None:
        parts.append(f"choice {route.choice.value}")
    if route.next_:
        parts.append(f"next after {_text(route.next_)}")
    if route.failover:
        parts.append(f"failover after {_text(route.failover)}")
    return "; ".join(parts)


def _host(host: Host) -> str:
    addresses = ", ".join(address_text(each) for each in host.addresses)
    return f"{addresses}; ttl {host.ttl_s}{'' if host.ptr else '; no PTR'}"


def _denial(blocked: Blocked) -> str:
    parts = [blocked.denial.value]
    if blocked.types:
        parts.append(f"types {', '.join(map(type_text, blocked.types))}")
    if blocked.min_labels:
        parts.append(f"min_labels {blocked.min_labels}")
    return "; ".join(parts)


def rule_text(rule: AclRule | Rewrite | Template) -> str:
    """Return a rule as one line."""
    if isinstance(rule, AclRule):
        parts = list(_acl_rule(rule))
    else:
        parts = [" ".join(rule.rule)] if isinstance(rule, Rewrite) else list(_template(rule))
    if rule.scope.within != Scope().within:
        parts.append(f"within {_text(rule.scope.within)}")
    if rule.scope.except_:
        parts.append(f"except {_text(rule.scope.except_)}")
    return "; ".join(parts)


def _acl_rule(rule: AclRule) -> Iterator[str]:
    yield f"{rule.action.value} {', '.join(map(type_text, rule.types)) or 'all types'}"
    yield f"clients {', '.join(rule.clients) or 'all'}"


def _template(template: Template) -> Iterator[str]:
    yield f"{_text(template.zones)} {', '.join(map(type_text, template.types)) or 'all types'}"
    if template.match != Template().match:
        yield f"match {' '.join(template.match)}"
    records = (*template.answer, *template.authority, *template.additional)
    yield f"{template.rcode.value}, records: {' / '.join(records) or 'none'}"
    if template.unmatched is not Template().unmatched:
        yield f"unmatched {template.unmatched.value}"


def _external(zone: ExternalZone) -> str:
    parts = [_text(zone.sources), f"ttl {zone.ttl_s}"]
    if not zone.service_names:
        parts.append("no names of Services by themselves")
    if zone.headless:
        parts.append("headless Services too")
    if zone.ingress_classes:
        parts.append(f"ingress_classes {_text(zone.ingress_classes)}")
    if zone.gateway_classes:
        parts.append(f"gateway_classes {_text(zone.gateway_classes)}")
    if zone.listener_hostnames is not ExternalZone(b"").listener_hostnames:
        parts.append(f"listener_hostnames {zone.listener_hostnames.value}")
    if zone.annotations != ExternalZone(b"").annotations:
        parts.append(f"annotations {_text(zone.annotations)}")
    if zone.hairpin is not HairpinMode.OFF:
        parts.append(f"hairpin {zone.hairpin.value}")
    servers = [f"{each.label} at {each.namespace}/{each.service}" for each in zone.nameservers]
    parts.append(f"nameservers {_text(tuple(servers))}" if servers else "no nameservers")
    return "; ".join(parts)


def _rules(view: View) -> Iterator[str]:
    yield from (f"  template {rule_text(each)}" for each in view.templates)
    yield from (f"  blocked {_text(each.domain)}: {_denial(each)}" for each in view.blocked)


# The types of entries that get a line each. Each type has the field with the entry's name, and a function that returns
# the rest of the line. If the field is None, the line has the entry's place in the list.
_ENTRIES: Mapping[type, tuple[str | None, Callable[[Any], str]]] = {
    Route: ("domain", _route),
    Host: ("qname", _host),
    Blocked: ("domain", _denial),
    Alias: ("pattern", lambda alias: alias.target),
    ExternalZone: ("apex", _external),
    AclRule: (None, rule_text),
    Rewrite: (None, rule_text),
    Template: (None, rule_text),
    View: (None, lambda view: f"when {view.when}"),
}


def _text(value: Any) -> str:
    if isinstance(value, ServerSpec | NamedUpstream | ServersFile):
        return server_text(value)
    if isinstance(value, ZoneText):
        return value.title
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        shown = [(each.name, getattr(value, each.name), each.default) for each in fields]
        return ", ".join(f"{field} {_text(found)}" for field, found, default in shown if found != default) or "all"
    if isinstance(value, tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bytes):
        return name.to_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.value if isinstance(value, Enum) else value)
