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
from pydns.config.corefile.zones import is_within, zones_of
from pydns.config.mistakes import Wanted, quote
from pydns.config.node import Node, Scalar, Sequence

_TTL_S, _MAX_TTL_S = 5, 3600  # the plugin's default TTL and largest TTL
_PODS = ("disabled", "insecure", "verified")
_CONNECTION = "no effect: --kubeconfig and --context name the API server"
_NO_EFFECT = {
    "apiserver_burst": "no effect: there is one list and one watch for each kind",
    "apiserver_max_inflight": "no effect: there is one list and one watch for each kind",
    "apiserver_qps": "no effect: there is one list and one watch for each kind",
    "endpoint": _CONNECTION,
    "kubeconfig": _CONNECTION,
    "resyncperiod": "no effect: CoreDNS ignores it, too",
    "startup_timeout": "no effect: after a restart, pydns answers at once from its last table",
    "tls": _CONNECTION,
    "upstream": "no effect: CoreDNS ignores it, too",
}


def read_kubernetes(line: Line, server: Server, draft: Draft) -> None:
    """Read domains and options of the cluster. All domains of a directive have the same options.

    PTR records point to names of the first domain.
    """
    at = line.words[0]
    if any(directive.name == "kubernetes" for directive in server.block.directives if directive is not line):
        raise BadCorefile(at, "a second kubernetes in a block", "allowed")
    zones = _zones(line) or list(server.zones)
    reverse = [zone for zone in zones if not isinstance(texts.parse_reverse_zone(zone.name), Wanted)]
    # CoreDNS requires that the plugin's zones include the zones of ServiceImports. But the zones of ServiceImports
    # aren't domains of the cluster.
    others = {zone.name for each in line.lines if each.name == "multicluster" for zone in _zones(each)}
    others |= {zone.name for zone in reverse}
    forward = [zone for zone in zones if zone.name not in others]
    if not forward or forward[0].is_root:
        raise BadCorefile(at, "kubernetes without a domain", "allowed: name the domain of the cluster")
    forward = list({zone.name: zone for zone in reversed(forward)}.values())[::-1]  # RKE2 writes the domain twice
    keys: dict[str, Node] = {
        "ttl": number(at, _TTL_S),
        "pods": word(at, "disabled"),
        "fallthrough": sequence([], at.line),
    }
    server.has_answers = True
    draft.read_each(line.lines, lambda each: _read_option(each, zones, keys, draft))
    if "namespaces" in keys and "namespace_labels" in keys:
        raise BadCorefile(at, "namespaces and namespace_labels", "allowed together")
    if _names(keys["fallthrough"]) == sorted(each.name for each in reverse):
        del keys["fallthrough"]  # the default
    known = {domain.text for domain, _ in draft.domains}
    for zone in forward:
        if zone.name in known:
            raise BadCorefile(zone.token, f"a second kubernetes for {zone.name}", "allowed")
        own = reverse if zone is forward[0] else []
        reverse_zones = sequence([text(each.name_token) for each in own], at.line)
        draft.domains.append((zone.name_token, {**keys, "reverse_zones": reverse_zones}))


def _names(zones: Node) -> list[str]:
    assert isinstance(zones, Sequence)
    return sorted(each.text for each in zones.items if isinstance(each, Scalar))


def _read_option(line: Line, zones: list[Zone], keys: dict[str, Node], draft: Draft) -> None:
    at = line.words[0]
    match line.name:
        case "pods":
            mode = only(line, 1)[0]
            keys["pods"] = word(mode, one_of(mode, _PODS))
        case "ttl":
            ttl = only(line, 1)[0]
            keys["ttl"] = number(ttl, whole(ttl, 0, _MAX_TTL_S))
        case "namespaces":
            for each in (found := only(line, 1, 10_000)):
                checked(each, texts.parse_namespace)
            keys["namespaces"] = sequence(map(text, found), at.line)
        case "labels" | "namespace_labels":
            found = only(line, 1, 1000)
            selector = found[0]._replace(text=" ".join([each.text for each in found]))
            checked(selector, texts.parse_selector)
            keys[line.name] = text(selector)
        case "endpoint_pod_names":
            only(line, 0)
            keys["endpoint_pod_names"] = switch(at, value=True)
        case "multicluster":
            found_zones = _zones(line)
            for zone in found_zones:
                checked(zone.name_token, texts.parse_external_zone)
            draft.imports.append((at, found_zones))
        case "zonal":
            only(line, 0)
            draft.keys["zonal"] = mapping({"names": switch(at, value=True)}, at.line)
        case "noendpoints":
            only(line, 0)
            keys["endpoints"] = switch(at, value=False)
        case "ignore":
            what = only(line, 1)[0]
            one_of(what, ("empty_service",))
            keys["hide_empty_services"] = switch(what, value=True)
        case "fallthrough":
            keys["fallthrough"] = _fallthrough(line, zones)
        case name if name in _NO_EFFECT:
            draft.note(at, _NO_EFFECT[name])
        case _:
            raise BadCorefile(at, quote(line.name), "a property of kubernetes")


def _zones(line: Line) -> list[Zone]:
    """Return the zones in the arguments of a line."""
    return [zone for token in line.arguments for zone in zones_of(token)]


def _fallthrough(line: Line, zones: list[Zone]) -> Node:
    """Return the zones in which the next plugins are asked for missing names.

    If `fallthrough` has no arguments, return all zones.
    """
    found = _zones(line)
    for zone in found:
        is_whole = any(is_within(each.name, zone.name) for each in zones)
        if not is_whole and any(is_within(zone.name, each.name) for each in zones):
            wanted = "carried out: a zone falls through as a whole"
            raise NotCarriedOut(zone.token, f"fallthrough for {zone.name}", wanted)
    named = [text(each.name_token) for each in found]
    return sequence(named or [word(line.words[0], ".")], line.words[0].line)
