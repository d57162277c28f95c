"""Defines keys with rules about names and clients: what is blocked, refused, renamed or made from a template."""

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
    """How names of a blocked domain are denied: the value for a domain in `blocked`."""

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
            Key("answer", OneOf(Denial), "The answer: nxdomain, nodata or refused.", "nxdomain", "drop", required=True),
            _types("Only questions for these types are denied."),
            Key(
                "min_labels",
                Whole(0, 127),
                "Only names with at least this number of labels are denied. The labels of the domain count, too.",
                "7",
                "'7'",
            ),
        ),
        'a denial: a mapping with "answer"',
    ),
)


def _blocked(domain: bytes, denied: _Denied) -> Blocked:
    return Blocked(domain, *denied)


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
    "The rule is only for clients with these addresses, or in these networks.",
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
            "What happens to the question. allow: the question is answered. block: REFUSED. filter: an answer without "
            "records. drop: no reply.",
            "filter",
            "deny",
            required=True,
        ),
        _CLIENTS,
        Key(
            "types",
            ListOf(Text(texts.TYPE, texts.parse_question_type), "types of records"),
            "The rule is only for questions of these types. ANY is allowed as a type, too.",
            "[AAAA, ANY]",
            "[ALL]",
            default="all",
        ),
        *_scope("action"),
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
                "The rule. If this is the only key, you can write the rule without the mapping.",
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
    """Yield a mistake for each group that is used in a record but missing in a pattern."""
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
            "The template is only for names in these domains. `.Zone` is the longest domain that contains the name.",
            "[ip.example]",
            "[ip..example]",
            default="all",
        ),
        _types("The template is only for questions of these types, and of type ANY."),
        Key(
            "match",
            ListOf(Text(texts.PATTERN, texts.parse_pattern), "patterns"),
            "Patterns (RE2) for the name, which is in lower case with a final dot. The first pattern that matches "
            "counts.",
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
            "Records of the authority section. A denial without such records gets an SOA record.",
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
            "The answer to a name in the zones that matches no pattern. next: the answer that the name would get "
            "without the template. servfail: SERVFAIL.",
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
    """Yield a mistake for each alias with an invalid target, and one if the root domain is blocked completely."""
    for each in aliases or ():
        wanted = alias.problem(each.pattern, each.target)
        if wanted is not None:
            yield Conflict("aliases", quote(each.target), f"{wanted} ({each.pattern})")
    for domain in blocked or ():
        if domain.domain == name.ROOT and not (domain.types or domain.min_labels):
            yield Conflict("blocked", '"."', 'a domain that can be blocked without "types" or "min_labels"')


_TEMPLATES = ListOf(_TEMPLATE, "templates")
_BLOCKED_DOMAINS = MapOf(DOMAIN, _BLOCKED, "a mapping of domains to nxdomain, nodata or refused", _blocked)
_VIEW = Record(
    View,
    (
        Key(
            "when",
            Text(texts.EXPRESSION, texts.parse_expression),
            "Condition on client_ip(), name() and type(), as in CoreDNS's plugin view. The condition may use incidr, "
            "and, or, not, ==, !=, in, startsWith, endsWith, contains and matches.",
            "incidr(client_ip(), '10.20.0.0/16') and type() == 'A'",
            "client_ip()",
            required=True,
        ),
        Key(
            "templates",
            _TEMPLATES,
            "Templates for these questions. These templates come before the templates for all clients.",
            "[{types: [AAAA]}]",
            "[{rcode: NXRRSET}]",
            default="none",
        ),
        Key(
            "blocked",
            _BLOCKED_DOMAINS,
            "Blocked domains for these questions, in addition to the blocked domains for all clients.",
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
        "Upstreams aren't asked for names in these domains. nxdomain: the names don't exist. nodata: the names exist "
        "without records. refused: REFUSED. A route, host or zone file for a name below such a domain comes first. "
        "With `types` and `min_labels`, only some questions are denied.",
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
        "Names that get the records of other names. An alias is NAME, `*.DOMAIN` for all names below DOMAIN, or "
        "`~PATTERN` (RE2, for the whole name without the final dot). In a target, `*` is the part that the star "
        "matched, and `{1}` is the first group of the pattern. Names that exist in the cluster, in hosts or in a zone "
        "file are never aliases.",
        "{api.corp.example: web.shop.svc.cluster.local, '*.corp.example': '*.shop.svc.cluster.local'}",
        "{api.corp.example: web..shop}",
        default="none",
    ),
    Key(
        "acl",
        ListOf(_ACL_RULE, "rules"),
        "Which clients get answers to which questions. The first rule that applies to a question decides. If no rule "
        "applies, the question is answered.",
        "[{action: filter, types: [AAAA], clients: [10.20.0.0/16]}]",
        "[{action: deny}]",
        default="none",
    ),
    Key(
        "rewrites",
        ListOf(_REWRITE, "rules"),
        "Rules of CoreDNS's plugin rewrite, in order: name, ttl, rcode, type and cname. These rules come before "
        "everything else, even before the names of the cluster.",
        "[name suffix .corp.example .svc.cluster.local answer auto]",
        "[class IN CH]",
        default="none",
    ),
    Key(
        "templates",
        _TEMPLATES,
        "Templates that make an answer from the name in the question. The first template that applies counts. "
        "Templates come after `rewrites`, and before everything else.",
        "[{zones: [dev.example], types: [A], answer: ['{{ .Name }} 60 IN A 10.0.0.1']}]",
        "[{rcode: NXRRSET}]",
        default="none",
    ),
    Key(
        "views",
        ListOf(_VIEW, "views"),
        "Other answers for some clients and questions. The first view whose condition is true counts.",
        "[{when: \"incidr(client_ip(), '10.20.0.0/16')\", blocked: {games.example: nxdomain}}]",
        "[{when: 'client_ip()'}]",
        default="none",
    ),
)
