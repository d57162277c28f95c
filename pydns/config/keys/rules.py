"""Keys with rules about names and clients: what is blocked, refused, renamed or made from a template."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydns.config import texts
from pydns.config.keys.values import DOMAIN
from pydns.config.mistakes import Wanted, quote
from pydns.config.model import (
    AclAction,
    AclRule,
    Alias,
    Blocked,
    Denial,
    RcodeName,
    Rewrite,
    Scope,
    Template,
    Unmatched,
    View,
)
from pydns.config.shapes import Conflict, Key, ListOf, MapOf, OneOf, Record, Text, TextOrRecord, Whole
from pydns.dns import alias, name
from pydns.dns.pattern import Pattern
from pydns.dns.template import Text as TemplateText


def _types(purpose: str) -> Key:
    shape = ListOf(Text(texts.TYPE, texts.parse_type), "types of records")
    return Key("types", shape, purpose, "[AAAA, HTTPS]", "[ALL]", default="all")


class _Denied(NamedTuple):
    """The value of a blocked domain."""

    answer: Denial
    types: tuple[int, ...] = ()
    min_labels: int = 0


def _parse_denial(text: str) -> _Denied | Wanted:
    found = next((each for each in Denial if each.value == text), None)
    return _Denied(found) if found is not None else Wanted(OneOf(Denial).wanted)


_BLOCKED = TextOrRecord(
    Text(OneOf(Denial).wanted, _parse_denial),
    Record(
        _Denied,
        (
            Key("answer", OneOf(Denial), "nxdomain, nodata or refused.", "nxdomain", "drop", required=True),
            _types("Only questions for these types of records."),
            Key(
                "min_labels",
                Whole(0, 127),
                "Only names with at least so many labels. The domain's own labels count.",
                "7",
                "'7'",
            ),
        ),
        'a denial: a mapping with "answer"',
    ),
)


def _blocked(domain: bytes | None, denied: _Denied | None) -> Blocked | None:
    return None if domain is None or denied is None else Blocked(domain, *denied)


def _scope(what: str) -> tuple[Key, Key]:
    domains = ListOf(DOMAIN, "domain names")
    within = f"The {what} is only for names at or below these domains."
    excepted = f"The {what} isn't for names at or below these domains."
    return (
        Key("within", domains, within, "[corp.example]", "[corp..example]", default="all"),
        Key("except", domains, excepted, "[db.corp.example]", "[db..corp.example]", default="none", field="except_"),
    )


def _rewrite(
    rule: tuple[str, ...], within: tuple[bytes, ...] = (name.ROOT,), except_: tuple[bytes, ...] = ()
) -> Rewrite:
    return Rewrite(rule, Scope(within, except_))


def _acl_rule(
    action: AclAction,
    clients: tuple[str, ...] = (),
    types: tuple[int, ...] = (),
    within: tuple[bytes, ...] = (name.ROOT,),
    except_: tuple[bytes, ...] = (),
) -> AclRule:
    return AclRule(action, clients, types, Scope(within, except_))


_CLIENTS = Key(
    "clients",
    ListOf(Text(texts.CLIENTS, texts.parse_clients), "addresses and networks"),
    "Only questions of clients with these addresses, or in these networks.",
    "[10.20.0.0/16, 'fd00::5']",
    "[10.20.0.1/16]",
    default="all",
)
_ACL_RULE = Record(
    _acl_rule,
    (
        Key(
            "action",
            OneOf(AclAction),
            "allow: answer. block: REFUSED. filter: no records. drop: no reply.",
            "filter",
            "deny",
            required=True,
        ),
        _CLIENTS,
        Key(
            "types",
            ListOf(Text(texts.TYPE, texts.parse_question_type), "types of records"),
            "Only questions for these types of records. ANY is a type, too.",
            "[AAAA, ANY]",
            "[ALL]",
            default="all",
        ),
        *_scope("decision"),
    ),
    'a rule: a mapping with "action"',
)


def _parse_rewrite(text: str) -> Rewrite | Wanted:
    words = texts.parse_rewrite(text)
    return words if isinstance(words, Wanted) else Rewrite(words)


_REWRITE = TextOrRecord(
    Text(texts.REWRITE, _parse_rewrite),
    Record(
        _rewrite,
        (
            Key(
                "rule",
                Text(texts.REWRITE, texts.parse_rewrite),
                "The rule. If there is no other key, it can be written without the mapping.",
                "name exact a.corp.example b.corp.example",
                "class IN CH",
                required=True,
            ),
            *_scope("rule"),
        ),
        "a rule of rewrite",
    ),
)


_DEFAULT_TEMPLATE = Template()


def _template(
    zones: tuple[bytes, ...] = _DEFAULT_TEMPLATE.zones,
    types: tuple[int, ...] = (),
    match: tuple[str, ...] = _DEFAULT_TEMPLATE.match,
    answer: tuple[str, ...] = (),
    authority: tuple[str, ...] = (),
    additional: tuple[str, ...] = (),
    rcode: RcodeName = _DEFAULT_TEMPLATE.rcode,
    unmatched: Unmatched = _DEFAULT_TEMPLATE.unmatched,
    within: tuple[bytes, ...] = (name.ROOT,),
    except_: tuple[bytes, ...] = (),
) -> Template:
    scope = Scope(within, except_)
    return Template(zones, types, match, answer, authority, additional, rcode, unmatched, scope)


def _check_template(match: tuple[str, ...] | None = (".*",), **values: Any) -> Iterator[Conflict]:
    """Find fields for groups that a pattern doesn't have."""
    for pattern in map(Pattern, match or ()):
        known = {*filter(None, pattern.groups), *map(str, range(len(pattern.groups)))}
        for section in ("answer", "authority", "additional"):
            for group in {each for text in values.get(section) or () for each in TemplateText(text).groups} - known:
                yield Conflict(section, f'the group "{group}"', f'in the pattern "{pattern.text}"')


_RECORDS = ListOf(Text(texts.RECORD, texts.parse_record), "records")
_TEMPLATE = Record(
    _template,
    (
        Key(
            "zones",
            ListOf(DOMAIN, "domain names"),
            "Domains of the names. `.Zone` is the longest one that contains the name.",
            "[ip.example]",
            "[ip..example]",
            default="all",
        ),
        _types("Only questions for these types of records, and for ANY."),
        Key(
            "match",
            ListOf(Text(texts.PATTERN, texts.parse_pattern), "patterns"),
            "Patterns (RE2) for the name in lower case with a final dot. The first one that matches counts.",
            r"['^(?P<last>[0-9]+)[.]ip[.]example[.]$']",
            "['(']",
            default="every name",
        ),
        Key(
            "answer",
            _RECORDS,
            "Records of the answer section. Fields: .Name, .Zone, .Type, .Class, .Group.NAME, index .Match N, "
            "parseInt TEXT BASE BITS. Types: A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT.",
            "['{{ .Name }} 60 IN A 10.0.0.1']",
            "['{{ .Remote }} 60 IN A 10.0.0.1']",
            default="none",
        ),
        Key(
            "authority",
            _RECORDS,
            "Records of the authority section. A denial without them gets a SOA record.",
            "['{{ .Zone }} 60 IN NS ns.{{ .Zone }}']",
            "['{{ .Zone }} 60 IN HINFO a b']",
            default="none",
        ),
        Key(
            "additional",
            _RECORDS,
            "Records of the additional section.",
            "['ns.{{ .Zone }} 60 IN A 10.0.0.53']",
            "['{{ .Zone']",
            default="none",
        ),
        Key("rcode", OneOf(RcodeName), "Rcode of the answer.", "NXDOMAIN", "NXRRSET"),
        Key(
            "unmatched",
            OneOf(Unmatched),
            "What a name in the zones gets that no pattern matches. next: the answer that it has without the template.",
            "servfail",
            "fallthrough",
        ),
        *_scope("template"),
    ),
    "a template: a mapping of keys",
    _check_template,
)


def check(
    aliases: tuple[Alias, ...] | None = None, blocked: tuple[Blocked, ...] | None = None, **_: Any
) -> Iterator[Conflict]:
    """Yield a mistake for each alias without a valid target, and if all names are blocked."""
    for each in aliases or ():
        wanted = alias.problem(each.pattern, each.target) if each.pattern and each.target else None
        if wanted is not None:
            yield Conflict("aliases", quote(each.target), f"{wanted} ({each.pattern})")
    for domain in blocked or ():
        if domain is not None and domain.domain == name.ROOT and not (domain.types or domain.min_labels):
            yield Conflict("blocked", '"."', 'a domain that can be blocked without "types" or "min_labels"')


_TEMPLATES = ListOf(_TEMPLATE, "templates")
_BLOCKED_DOMAINS = MapOf(DOMAIN, _BLOCKED, "a mapping of domains to nxdomain, nodata or refused", _blocked)
_VIEW = Record(
    View,
    (
        Key(
            "when",
            Text(texts.EXPRESSION, texts.parse_expression),
            "Condition on client_ip(), name() and type(), as in CoreDNS's plugin view: incidr, and, or, not, ==, !=, "
            "in, startsWith, endsWith, contains, matches.",
            "incidr(client_ip(), '10.20.0.0/16') and type() == 'A'",
            "client_ip()",
            required=True,
        ),
        Key(
            "templates",
            _TEMPLATES,
            "Templates that come before those for all clients.",
            "[{types: [AAAA]}]",
            "[{rcode: NXRRSET}]",
            default="none",
        ),
        Key(
            "blocked",
            _BLOCKED_DOMAINS,
            "Domains that upstreams aren't asked about, in addition to those for all clients.",
            "{games.example: nxdomain}",
            "{games.example: drop}",
            default="none",
        ),
    ),
    'a view: a mapping with "when"',
)


KEYS = (
    Key(
        "blocked",
        _BLOCKED_DOMAINS,
        "Domains that upstreams aren't asked about. nxdomain: no name at or below exists. nodata: all of them do, "
        "without records. refused: REFUSED. Routes, hosts and zone files below such a domain come before it. With "
        "`answer`, `types` and `min_labels`, only some questions are denied.",
        "{ads.example: nxdomain, internal.example: {answer: nodata, types: [AAAA]}}",
        "{ads.example: drop}",
        default="none",
    ),
    Key(
        "aliases",
        MapOf(
            Text(texts.ALIAS, texts.parse_alias),
            Text(texts.TARGET, texts.parse_target),
            "a mapping of names to targets",
            Alias,
        ),
        "Names that get the records of other names: NAME, `*.DOMAIN` for all names below, or `~PATTERN` (RE2, the "
        "whole name without the final dot). A target `*.DOMAIN` keeps what the star stands for; `{1}` is the first "
        "group of a pattern. A name that the cluster, a host or a zone file has is no alias.",
        "{api.corp.example: web.shop.svc.cluster.local, '*.corp.example': '*.shop.svc.cluster.local'}",
        "{api.corp.example: web..shop}",
        default="none",
    ),
    Key(
        "acl",
        ListOf(_ACL_RULE, "rules"),
        "Which clients get answers to which questions. The first rule that is for a question decides. A question "
        "without one is answered.",
        "[{action: filter, types: [AAAA], clients: [10.20.0.0/16]}]",
        "[{action: deny}]",
        default="none",
    ),
    Key(
        "rewrites",
        ListOf(_REWRITE, "rules"),
        "Rules of CoreDNS's rewrite, in order: name, ttl, rcode, type and cname. They come before everything else, "
        "the names of the cluster included.",
        "[name suffix .corp.example .svc.cluster.local answer auto]",
        "[class IN CH]",
        default="none",
    ),
    Key(
        "templates",
        _TEMPLATES,
        "Answers that are made from the name of the question, in order. They come after `rewrites` and before "
        "everything else.",
        "[{zones: [dev.example], types: [A], answer: ['{{ .Name }} 60 IN A 10.0.0.1']}]",
        "[{rcode: NXRRSET}]",
        default="none",
    ),
    Key(
        "views",
        ListOf(_VIEW, "views"),
        "Clients and questions with other answers. The first view that is for a question counts.",
        "[{when: \"incidr(client_ip(), '10.20.0.0/16')\", blocked: {games.example: nxdomain}}]",
        "[{when: 'client_ip()'}]",
        default="none",
    ),
)
