"""Translates a Corefile to the keys of `config.yaml`.

A directive that pydns supports is translated. For a directive without effect on answers, the operator gets a note. Any
other directive is refused with file and line. The result is a tree like the tree of a `config.yaml`. So `config.keys`
reads and checks both formats.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pydns.config.corefile.acl import acl_key
from pydns.config.corefile.addresses import served_blocks
from pydns.config.corefile.blocks import BadCorefile, Block, parse
from pydns.config.corefile.cache import cache_key
from pydns.config.corefile.directives import read_directive
from pydns.config.corefile.draft import Draft, mapping, sequence, text
from pydns.config.corefile.hosts import note_cluster_hosts
from pydns.config.corefile.log import log_key
from pydns.config.corefile.replies import reply_keys
from pydns.config.corefile.rules import add_rules
from pydns.config.corefile.server import Server
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.view import has_view, take_view, views_key
from pydns.config.mistakes import ConfigError, ConfigNotice
from pydns.config.node import Mapping as MappingNode
from pydns.config.node import Node
from pydns.config.node import Sequence as SequenceNode
from pydns.dns import name


class Translation(NamedTuple):
    """The configuration that a Corefile describes. Callers may use it only if `refused` is empty."""

    root: MappingNode
    domain: Token | None = None  # the first domain of the cluster, if a directive names one
    notes: tuple[ConfigNotice, ...] = ()
    refused: tuple[ConfigError, ...] = ()


def translate(
    file: str,
    text: str,
    files: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    domain: bytes | None = None,
) -> Translation:
    """Translate a Corefile to the tree of a `config.yaml`. Never raises.

    `files` has the names and texts of the files that the Corefile may import. If the Corefile has several domains of
    the cluster, `domain` becomes the first domain.
    """
    files = files or {}
    draft = Draft(files)
    try:
        parsed = parse(file, text, files, environment or {})
    except BadCorefile as error:
        return Translation(MappingNode([], 1), refused=(error.error,))
    for missing in parsed.missing:
        draft.note(missing.pattern, "nothing to import: no file beside the Corefile has such a name")
    if not parsed.blocks:
        return Translation(MappingNode([], 1), refused=(ConfigError(file, "a text without a server block", "allowed"),))
    servers = _read_blocks(parsed.blocks, draft)
    _finish(servers, draft)
    first = _take_domains(draft, domain)
    return Translation(_root(draft), first, tuple(draft.notes), tuple(draft.refused))


def _read_blocks(blocks: tuple[Block, ...], draft: Draft) -> list[Server]:
    """Read the blocks into the draft. Return the blocks that serve all clients."""
    servers = []
    served = list(served_blocks(blocks, draft))
    draft.served = frozenset([zone.name for block, zones in served if not has_view(block) for zone in zones])
    for block, zones in served:
        server = Server(zones, block)
        if has_view(block):
            inner = Draft(draft.files)
            inner.read_each(block.directives, partial(read_directive, server, inner, in_view=True))
            take_view(server, inner, draft)
        else:
            draft.read_each(block.directives, partial(read_directive, server, draft))
            server.finish(draft)
            servers.append(server)
    return servers


def _finish(servers: Sequence[Server], draft: Draft) -> None:
    """Add the keys and errors that depend on all blocks together."""
    if "upstreams" not in draft.keys and "choice" not in draft.keys:
        at = draft.domains[0][0] if draft.domains else Token("", "Corefile", 1)
        draft.note(at, "no forward for the zone .: pydns asks the servers in /etc/resolv.conf; CoreDNS refuses")
    note_cluster_hosts(draft)
    served = [zone.name for server in servers for zone in server.zones]
    add_rules(draft, served)
    for key, value in (
        ("cache", cache_key(draft)),
        ("acl", acl_key(servers)),
        ("views", views_key(draft.views, served)),
        ("log", log_key(draft.logs)),
    ):
        if value is not None:
            draft.keys[key] = value
    draft.keys |= reply_keys(servers, draft)


def _take_domains(draft: Draft, wanted: bytes | None) -> Token | None:
    """Add the keys of the domains. Return the domain `wanted` if the Corefile has it, otherwise the first domain."""
    if not draft.domains:
        return None
    found = sorted(draft.domains, key=lambda each: name.from_text(each[0].text) != wanted)
    (first, keys), *further = found
    draft.keys.update(keys)
    if further:
        lines = [domain.line for domain, _ in further]
        entries = {domain.text.removesuffix("."): _domain(domain, keys) for domain, keys in further}
        draft.keys["domains"] = mapping(entries, min(lines))
    return first


def _domain(domain: Token, keys: Mapping[str, Node]) -> Node:
    """Return the value of a further domain. An empty list of reverse zones is left out, because it is the default."""
    reverse_zones = keys["reverse_zones"]
    assert isinstance(reverse_zones, SequenceNode)
    left_out = () if reverse_zones.items else ("reverse_zones",)
    return mapping({key: value for key, value in keys.items() if key not in left_out}, domain.line)


def _root(draft: Draft) -> MappingNode:
    keys = dict(draft.keys)
    for key, entries in (("routes", draft.routes), ("hosts", draft.hosts), ("blocked", draft.blocked)):
        if entries:
            keys[key] = mapping(entries, min([each.line for each in entries.values()]))
    for key, files in (("hosts_files", draft.hosts_files), ("zone_files", draft.zone_files)):
        if files:
            keys[key] = sequence(files, files[0].line)
    if draft.imports:
        line = draft.imports[0][0].line
        zones = {zone.name: text(zone.name_token) for _, found in draft.imports for zone in found}
        keys["multicluster"] = mapping({"zones": sequence(zones.values(), line)}, line)
    return mapping(keys, 1)
