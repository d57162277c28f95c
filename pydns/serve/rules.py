"""The rules of the live configuration that change answers: rewrites, templates, aliases, blocked domains.

The steps of `pydns.serve.follow` apply the rules. `Rules.touches` decides whether a question needs these steps. This
module knows neither the table nor upstreams.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pydns.config.model import Blocked, Config, Denial, Scope
from pydns.config.model import Template as TemplateSpec
from pydns.dns import name
from pydns.dns.alias import Aliases
from pydns.dns.denial import denial_soa
from pydns.dns.message import Rcode
from pydns.dns.pattern import Pattern
from pydns.dns.rewrite import (
    Answer,
    AnswerChange,
    OwnerChange,
    Question,
    Rewriting,
    Rule,
    ValueChange,
    parse,
    revert,
    rewritten,
    wire,
)
from pydns.dns.template import Match, Template, Text, is_within, make

MAX_LEADS = 8  # maximum number of rules that are applied to a question, one after the other
_MOST_LEADS = 16_384  # maximum number of leads that are kept
_MADE_TTL_S = 60  # the TTL of the SOA record in a denial that a template makes
_BLOCKED_TTL_S = 3600  # the TTL of the denial of a blocked name, as in `pydns.zones.special`
_EVERYWHERE = Scope()


class Lead(NamedTuple):
    """A question that a rule makes of another question.

    The answer to the lead becomes the answer to the other question.
    """

    qname: bytes  # in lower case
    qtype: int
    is_rewritten: bool  # True if a rule of `rewrites` made the lead, so that `rewrites` must not apply again
    changes: tuple[AnswerChange, ...] = ()

    def revert(self, asked: bytes, answer: Answer) -> Answer:
        """Return the answer for the name `asked`. It is made from `answer`, the answer to this lead."""
        return revert(self.changes, asked, self.qname, answer)


class Rules:
    """The rules of one configuration, for all clients or for those of a view."""

    def __init__(self, config: Config | None = None, of_view: Sequence[Blocked] = ()) -> None:
        """`of_view` contains the blocked domains of a view.

        A domain that is blocked for all clients and questions isn't a rule, but a zone of the table.
        """
        config = config or Config()
        self._rewrites = [(_Names(each.scope), parse(each.rule)) for each in config.rewrites]
        self._templates = [(_Names(each.scope), _template(each)) for each in config.templates]
        self._aliases = Aliases([(each.pattern, each.target) for each in config.aliases])
        self._blocked = {each.domain: each for each in config.blocked if not each.is_whole}
        self._blocked |= {each.domain: each for each in of_view}
        self._leads: dict[tuple[bytes, int], Lead | None] = {}

    def __bool__(self) -> bool:
        return bool(self._rewrites or self._templates or self._aliases or self._blocked)

    def touches(self, qname: bytes, qtype: int) -> bool:
        """Return whether a rule may change the answer to a question. `qname` is in lower case."""
        return (
            self.precede(qname, qtype)
            or bool(self._aliases and self._aliases.find(qname) is not None)
            or bool(self._blocked and self.blocked(qname, qtype) is not None)
        )

    def precede(self, qname: bytes, qtype: int) -> bool:
        """Return whether a rule takes precedence over the records that the table has for a question."""
        if not self._rewrites and not self._templates:
            return False
        return self.rewriting(qname, qtype) is not None or self._matching(qname, qtype) is not None

    def rewriting(self, qname: bytes, qtype: int) -> Lead | None:
        """Return the question that the rules of `rewrites` make of a question, or None if no rule applies.

        If the name in the new question is invalid, the result has an empty name.
        """
        if not self._rewrites:
            return None
        key = qname, qtype
        if key not in self._leads:
            if len(self._leads) >= _MOST_LEADS:
                self._leads.clear()
            self._leads[key] = self._rewriting(Question(name.to_text(qname), qtype))
        return self._leads[key]

    def _rewriting(self, question: Question) -> Lead | None:
        rules: list[Rule] = [rule for names, rule in self._rewrites if names.contain(question.qname)]
        found: Rewriting | None = rewritten(rules, question) if rules else None
        if found is None:
            return None
        qname = wire(found.question.qname)
        return Lead((qname or b"").lower(), found.question.qtype, True, found.changes)

    def plain_lead(self, qname: bytes, qtype: int) -> bytes | None:
        """Return the name by which a single rule replaces the name of a question.

        Return None if no rule applies, if a second rule might apply, or if the rule also changes the addresses. The
        caller must look into the table, because the table may have records for a name with an alias.
        """
        lead = self.rewriting(qname, qtype)
        if lead is None and self._matching(qname, qtype) is None:
            lead = self.alias(qname, qtype)
        if lead is None or lead.qtype != qtype or not lead.qname or self.touches(lead.qname, qtype):
            return None
        if any(not isinstance(each, OwnerChange | ValueChange) for each in lead.changes):
            return None
        return lead.qname

    def synthesis(self, qname: bytes, qtype: int) -> Answer | None:
        """Return the answer that a template makes for a question, or None if no template applies."""
        found = self._matching(qname, qtype)
        if found is None:
            return None
        template, match = found
        made = make(template, match, qname) if match is not None and template.rcode != Rcode.SERVFAIL else None
        if match is None or made is None:
            return Answer(Rcode.SERVFAIL)
        authorities = made.authorities
        if not made.answers and not authorities and template.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
            authorities = (denial_soa(wire(match.zone) or name.ROOT, _MADE_TTL_S),)
        return Answer(template.rcode, made.answers, authorities, made.additionals)

    def _matching(self, qname: bytes, qtype: int) -> tuple[Template, Match | None] | None:
        """Return the first template that applies to a question, and the match.

        A match of None means that the answer is SERVFAIL. Return None if no template applies.
        """
        if not self._templates:
            return None
        text = name.to_text(qname)
        for names, template in self._templates:
            if names.contain(text) and (match := template.match(text, qtype)) is not False:
                return template, None if match is True else match
        return None

    def alias(self, qname: bytes, qtype: int) -> Lead | None:
        """Return the question for the target of an alias, or None if the name has no alias.

        The caller must check that the name isn't in the table.
        """
        target = self._aliases.find(qname) if self._aliases else None
        return None if target is None else Lead(target, qtype, False)

    def blocked(self, qname: bytes, qtype: int) -> Blocked | None:
        """Return the innermost blocked domain that denies a question, or None if no blocked domain does."""
        for domain in (qname, *name.ancestors(qname)) if self._blocked else ():
            found = self._blocked.get(domain)
            if found is not None and _denies(found, qname, qtype):
                return found
        return None


def _denies(blocked: Blocked, qname: bytes, qtype: int) -> bool:
    is_deep = not blocked.min_labels or len(name.labels_of(qname)) >= blocked.min_labels
    return is_deep and (not blocked.types or qtype in blocked.types)


def denied(blocked: Blocked) -> Answer:
    """Return the answer to a question that a blocked domain denies."""
    if blocked.denial is Denial.REFUSED:
        return Answer(Rcode.REFUSED)
    rcode = Rcode.NXDOMAIN if blocked.denial is Denial.NXDOMAIN else Rcode.NOERROR
    return Answer(rcode, (), (denial_soa(blocked.domain, _BLOCKED_TTL_S),))


class _Names:
    """The names to which a rule applies."""

    def __init__(self, scope: Scope) -> None:
        self._is_all = scope == _EVERYWHERE
        self._within = [name.to_text(each) for each in scope.within]
        self._except = [name.to_text(each) for each in scope.except_]

    def contain(self, qname: str) -> bool:
        if self._is_all:
            return True
        return any(is_within(qname, each) for each in self._within) and not any(
            is_within(qname, each) for each in self._except
        )


def _template(spec: TemplateSpec) -> Template:
    return Template(
        zones=tuple(map(name.to_text, spec.zones)),
        qtypes=frozenset(spec.types) or None,
        patterns=tuple(map(Pattern, spec.match)),
        answers=tuple(map(Text, spec.answer)),
        authorities=tuple(map(Text, spec.authority)),
        additionals=tuple(map(Text, spec.additional)),
        rcode=Rcode[spec.rcode.value],
        ends=spec.unmatched.value == "servfail",
    )
