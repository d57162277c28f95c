"""Collects the rules of `rewrite` and `template` while a Corefile is read, and writes them as keys of `config.yaml`.

In CoreDNS a rule applies only to the names of its server block. In `config.yaml` a rule applies to all names, unless
`within` limits it to the zones of its block. If another block has a zone below these zones, the rule's
`except` contains that zone. So the rules are written after all blocks have been read.
"""

from collections.abc import Iterable, Sequence

from pydns.config.corefile.draft import Draft, RewriteDraft, TemplateDraft, Zone, mapping, sequence, text, word
from pydns.config.corefile.template import DENIALS
from pydns.config.corefile.tokens import Token
from pydns.config.corefile.zones import is_within
from pydns.config.node import Node


def add_rules(draft: Draft, served: Sequence[str]) -> None:
    """Add the keys `rewrites`, `templates` and `blocked`. `served` contains the zones of all server blocks."""
    rewrites = [_rewrite(each, draft, served) for each in draft.rewrites]
    if rewrites:
        draft.keys["rewrites"] = sequence(rewrites, rewrites[0].line)
    templates = []
    for each in draft.templates:
        if _is_blocked(each, draft, served) and each.denial is not None:
            for zone in each.zones:
                draft.blocked.setdefault(zone.name[:-1], word(each.denial, DENIALS[each.denial.text]))
        else:
            templates.append(template_node(each, served))
    if templates:
        draft.keys["templates"] = sequence(templates, templates[0].line)


def _rewrite(rule: RewriteDraft, draft: Draft, served: Sequence[str]) -> Node:
    keys: dict[str, Node] = {"rule": rule.rule}
    names = [zone.name for zone in rule.zones]
    if not any(_ends(rule.old_end, each) or each == "." for each in names):
        keys["within"] = _domains(rule.at, names)
    others = _below(rule.zones, rule.zones, served)
    others = [each for each in others if f".{each}".endswith(rule.old_end) or rule.old_end.endswith(f".{each}")]
    if others:
        keys["except"] = _domains(rule.at, others)
    block = max([each for each in served if _ends(rule.new_end, each)], key=len, default="")
    if block and block not in names:
        draft.note(rule.at, f"the new name is answered by the rules of block {block}; CoreDNS stays in this block")
    return mapping(keys, rule.at.line) if len(keys) > 1 else rule.rule


def _ends(end: str, zone: str) -> bool:
    """Return whether all names with this end are in a zone. If `end` has no dot in front, the result is False."""
    return end.startswith(".") and is_within(end[1:], zone)


def template_node(template: TemplateDraft, served: Sequence[str]) -> Node:
    """Return a template in the form of `config.yaml`."""
    keys = {}
    if not any(zone.is_root for zone in template.zones):
        keys["zones"] = _domains(template.at, [zone.name for zone in template.zones])
    keys |= template.keys
    blocks = [zone.name for zone in template.block]
    if not all(any(is_within(zone.name, each) for each in blocks) for zone in template.zones):
        keys["within"] = _domains(template.at, blocks)
    others = _below(template.zones, template.block, served)
    if others:
        keys["except"] = _domains(template.at, others)
    return mapping(keys, template.at.line)


def _below(zones: Iterable[Zone], block: Iterable[Zone], served: Sequence[str]) -> list[str]:
    """Return those zones of other blocks that are below `zones`.

    The other blocks serve the names in the returned zones.
    """
    own = {zone.name for zone in block}
    names = [zone.name for zone in zones]
    return [each for each in served if each not in own and any(is_within(each, zone) for zone in names)]


def _domains(at: Token, names: Iterable[str]) -> Node:
    return sequence([text(at._replace(text=each)) for each in names], at.line)


def _is_blocked(template: TemplateDraft, draft: Draft, served: Sequence[str]) -> bool:
    """Return whether a template can become an entry of `blocked`.

    For this, nothing else may answer names in the template's zones.
    """
    names = [zone.name for zone in template.zones]
    if template.denial is None or draft.hosts_files or any(zone.is_root for zone in template.zones):
        return False
    if not all(any(is_within(name, zone.name) for zone in template.block) for name in names):
        return False
    domains = [f"{domain}." for domain in (*draft.hosts, *draft.routes) if f"{domain}." not in served]
    domains += [zone.name for other in draft.templates if other is not template for zone in other.zones]
    domains += [f"{domain.text.removesuffix('.')}." for domain, _ in draft.domains]
    return not any(is_within(domain, name) or is_within(name, domain) for domain in domains for name in names)
