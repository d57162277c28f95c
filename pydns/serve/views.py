"""Gives some clients other answers, from the templates and blocked domains of a view. The views are the second guard.

`pydns.serve.context` defines the order of the guards. This guard is in use only if the configuration has views. The
first view whose condition is true for the question and its client applies. The rules of this view come before the rules
for all clients. If upstreams answer with a CNAME, the rules of the view don't apply to its target.
"""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from pydns.config.model import Config
from pydns.dns import name
from pydns.dns.expression import Asker, Condition, parse
from pydns.dns.message import Query, parse_query
from pydns.dns.rrset import type_text
from pydns.serve.access import Respond
from pydns.serve.fast import Outcome, Responder
from pydns.serve.port import Mark, Port
from pydns.serve.rules import Rules

if TYPE_CHECKING:
    from pydns.table.reader import Transaction


_MOST, _LONGEST = 16_384, 128  # how many questions are remembered at most, and the maximum octets of their messages


def views_of(config: Config) -> list[tuple[Condition, Rules]]:
    """Return two values for each view of a configuration: its condition, and the rules that then apply."""
    return [
        (parse(view.when), Rules(replace(config, templates=(*view.templates, *config.templates)), view.blocked))
        for view in config.views
    ]


class Views:
    """Answers the questions that the rules of a view touch. Passes all other messages to `respond`."""

    def __init__(self, responder: Responder, respond: Respond, config: Config) -> None:
        """`respond` answers the questions that no rule of a view touches."""
        self._respond, self._respond_strictly = respond, responder.respond_strictly
        self._commit = responder.commit
        self._views = views_of(config)
        # (address of a client, message without its id) -> the rules that answer the message, or None. A known message
        # takes 8 µs less.
        self._known: dict[tuple[bytes, bytes], Rules | None] = {}

    def respond(self, message: bytes, transaction: "Transaction", port: Port) -> Outcome:
        """Return a reply, an `Asked`, or None, like `pydns.serve.fast.Responder.respond`."""
        address = port.address
        key = address, message[2:]
        rules = self._known[key] if key in self._known else self._learn(key, address, message)
        if rules is None:
            return self._respond(message, transaction, port)
        port.mark(Mark.RULED)
        common, self._commit.rules = self._commit.rules, rules
        try:
            return self._respond_strictly(message, transaction, port)
        finally:
            self._commit.rules = common

    def _learn(self, key: tuple[bytes, bytes], address: bytes, message: bytes) -> Rules | None:
        query = parse_query(message)
        # The worker's self-check has no address, so no view applies to it.
        rules = self._rules(query, address) if address and isinstance(query, Query) else None
        if len(message) <= _LONGEST:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = rules
        return rules

    def _rules(self, query: Query, address: bytes) -> Rules | None:
        """Return the rules of the view that applies to a question, or None if they don't touch the question."""
        asker = Asker(address, name.to_text(query.qname), type_text(query.qtype))
        for holds, rules in self._views:
            if holds(asker):
                return rules if rules.touches(query.qname, query.qtype) else None
        return None
