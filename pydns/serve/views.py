"""Gives some clients other answers: the templates and blocked domains of a view. In use only while there are views.

The first view whose condition is true for the question and its client counts. Its rules come before the common ones.
Names that a CNAME of an answer leads to, outside our zones, are answered as for all clients.
"""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from pydns.config.model import Config
from pydns.dns import name
from pydns.dns.expression import Asker, parse
from pydns.dns.message import Query, parse_query
from pydns.dns.rrset import type_text
from pydns.serve.access import Respond
from pydns.serve.fast import Outcome, Responder
from pydns.serve.port import Port
from pydns.serve.rules import Rules

if TYPE_CHECKING:
    from pydns.table.reader import Transaction


class Views:
    """Answers queries while there are views."""

    def __init__(self, responder: Responder, respond: Respond, config: Config) -> None:
        """`respond` answers questions that no view is for."""
        self._respond, self._respond_strictly = respond, responder.respond_strictly
        self._commit = responder.commit
        self._views = [
            (
                parse(view.when),
                Rules(replace(config, templates=(*view.templates, *config.templates)), view.blocked),
            )
            for view in config.views
        ]

    def respond(self, message: bytes, transaction: "Transaction", port: Port) -> Outcome:
        """Return a reply, an `Asked`, or None. The contract is the same as for `pydns.serve.fast.Responder.respond`."""
        query = parse_query(message)
        rules = self._rules(query, port.address) if isinstance(query, Query) else None
        if rules is None:
            return self._respond(message, transaction, port)
        common, self._commit.rules = self._commit.rules, rules
        try:
            return self._respond_strictly(message, transaction, port)
        finally:
            self._commit.rules = common

    def _rules(self, query: Query, address: bytes) -> Rules | None:
        """Return the rules for a question, if they may change its answer."""
        asker = Asker(address, name.to_text(query.qname), type_text(query.qtype))
        for holds, rules in self._views:
            if holds(asker):
                return rules if rules.touches(query.qname, query.qtype) else None
        return None
