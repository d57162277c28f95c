"""Reads the directive `kubernetes [ZONES…] { … }`: the options for the cluster's zones."""

from pydns.config import texts
from pydns.config.corefile.blocks import BadCorefile, Line, NotCarriedOut
from pydns.config.corefile.draft import (
    Draft,
    Zone,
    checked,
    mapping,
    number,
    one_of,
    only,
    sequence,
    switch,
    text,
    whole,
    word,
)
from pydns.config.corefile.server import Server
from pydns.config.corefile.zones import zones_of
from pydns.config.mistakes import Wanted, quote

_TTL_S, _MAX_TTL_S = 5, 3600  # the plugin's default and limit
_PODS = ("disabled", "insecure", "verified")
_CONNECTION = "no effect: --kubeconfig and --context name the API server"
_NO_EFFECT = {
    "apiserver_burst": "no effect: there is one list and one watch for each kind",
    "apiserver_max_inflight": "no effect: there is one list and one watch for each kind",
    "apiserver_qps": "no effect: there is one list and one watch for each kind",
    "endpoint": _CONNECTION,
    "kubeconfig": _CONNECTION,
    "resyncperiod": "no effect: CoreDNS ignores it, too",
    "startup_timeout": "no effect: what was known before a restart is answered at once",
    "tls": _CONNECTION,
    "upstream": "no effect: CoreDNS ignores it, too",
}
_NOT_HERE = ("ignore", "namespace_labels", "noendpoints")


def read_kubernetes(line: Line, server: Server, draft: Draft) -> None:
    """Read the cluster's zones and options."""
    at = line.words[0]
    if draft.domain is not None:
        raise BadCorefile(at, "a second kubernetes", "allowed; there is one cluster")
    zones = _zones(line) or list(server.zones)
    reverse = [zone for zone in zones if not isinstance(texts.parse_reverse_zone(zone.name), Wanted)]
    # The plugin must have the zones of ServiceImports among its own; they are no domain of the cluster.
    of_imports = [zone.name for each in line.lines if each.name == "multicluster" for zone in _zones(each)]
    forward = [zone for zone in zones if zone not in reverse and zone.name not in of_imports]
    if not forward or forward[0].is_root:
        raise BadCorefile(at, "kubernetes without a domain", "allowed: name the domain of the cluster")
    others = [zone for zone in forward if zone.name != forward[0].name]  # RKE2 writes the domain twice
    if others:
        raise NotCarriedOut(others[0].token, quote(others[0].name), "carried out: the cluster has one domain")
    server.has_answers = True
    draft.domain = forward[0].name_token
    draft.keys["ttl"] = number(at, _TTL_S)
    draft.keys["pods"] = word(at, "disabled")
    if reverse:
        draft.keys["reverse_zones"] = sequence([text(each.name_token) for each in reverse], at.line)
    draft.read_each(line.lines, lambda each: _read_option(each, forward[0], draft))


def _read_option(line: Line, domain: Zone, draft: Draft) -> None:
    at = line.words[0]
    match line.name:
        case "pods":
            mode = only(line, 1)[0]
            draft.keys["pods"] = word(mode, one_of(mode, _PODS))
        case "ttl":
            ttl = only(line, 1)[0]
            draft.keys["ttl"] = number(ttl, whole(ttl, 0, _MAX_TTL_S))
        case "namespaces":
            for each in (found := only(line, 1, 10_000)):
                checked(each, texts.parse_namespace)
            draft.keys["namespaces"] = sequence(map(text, found), at.line)
        case "labels":
            found = only(line, 1, 1000)
            selector = found[0]._replace(text=" ".join([each.text for each in found]))
            checked(selector, texts.parse_selector)
            draft.keys["labels"] = text(selector)
        case "endpoint_pod_names":
            only(line, 0)
            draft.keys["endpoint_pod_names"] = switch(at, value=True)
        case "multicluster":
            names = [zone.name_token for zone in _zones(line)]
            for each in names:
                checked(each, texts.parse_external_zone)
            draft.keys["multicluster"] = mapping({"zones": sequence(map(text, names), at.line)}, at.line)
        case "zonal":
            only(line, 0)
            draft.keys["zonal"] = mapping({"names": switch(at, value=True)}, at.line)
        case "fallthrough":
            zones = _zones(line)
            inside = [zone for zone in zones if zone.name == domain.name or zone.name.endswith(f".{domain.name}")]
            if inside or not zones or any(zone.is_root for zone in zones):
                wanted = f"carried out for {domain.name}: what the cluster doesn't have doesn't exist"
                raise NotCarriedOut(at, "fallthrough", wanted)
            draft.note(at, "no effect: reverse names that the cluster doesn't have always go to the upstreams")
        case name if name in _NO_EFFECT:
            draft.note(at, _NO_EFFECT[name])
        case name if name in _NOT_HERE:
            raise NotCarriedOut(at, quote(name), "carried out here")
        case _:
            raise NotCarriedOut(at, quote(line.name), "a property of kubernetes that is known here")


def _zones(line: Line) -> list[Zone]:
    """Return the zones that the arguments of a line name."""
    return [zone for token in line.arguments for zone in zones_of(token)]
