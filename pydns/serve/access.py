"""Decides whether a client gets an answer, as CoreDNS's plugin `acl` does. The access list is the first guard.

The key `acl` contains rules. pydns applies the first rule that matches the client, the type and the name. If no rule
matches, the question is answered. `pydns.serve.context` defines the order of the guards. The access list is in use only
if the configuration has the key `acl`.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydns.config.model import AclAction, AclRule, Config
from pydns.dns import name
from pydns.dns.address import parse_range
from pydns.dns.message import RA, Query, Rcode, compose_reply, parse_query, with_flags
from pydns.dns.networks import Networks
from pydns.dns.reason import Reason
from pydns.serve.fast import Outcome
from pydns.serve.port import Mark, Port

if TYPE_CHECKING:
    from pydns.table.reader import Transaction

Respond = Callable[[bytes, "Transaction", Port], Outcome]
_MOST_CLIENTS = 16_384  # maximum number of clients for which the worker remembers the rules
# Action of a rule -> rcode and reason. CoreDNS sends the same INFO-CODEs (RFC 8914 sections 4.16 and 4.18).
_REPLIES = {
    AclAction.BLOCK: (Rcode.REFUSED, Reason.ACL_BLOCK),
    AclAction.FILTER: (Rcode.NOERROR, Reason.ACL_FILTER),
}


class Rule:
    """A rule of `acl`, in a form that is checked quickly."""

    def __init__(self, rule: AclRule) -> None:
        self.action = rule.action
        self._networks = Networks(map(parse_range, rule.clients)) if rule.clients else None
        self._types = frozenset(rule.types)
        self._within, self._except = rule.scope.within, rule.scope.except_
        self._has_all_names = name.ROOT in self._within and not self._except
        self.is_for_all_questions = self._has_all_names and not self._types

    def is_for_client(self, address: bytes) -> bool:
        """Return whether the rule is for the client with this address."""
        return self._networks is None or address in self._networks

    def is_for(self, qname: bytes, qtype: int) -> bool:
        """Return whether the rule is for a question. The client isn't checked here."""
        if self._types and qtype not in self._types:
            return False
        return self._has_all_names or (
            any(name.is_at_or_below(qname, each) for each in self._within)
            and not any(name.is_at_or_below(qname, each) for each in self._except)
        )


class AccessList:
    """Refuses or drops the questions that a rule forbids, or answers them without records.

    Passes all other messages to `respond`.
    """

    def __init__(self, respond: Respond, config: Config) -> None:
        """`respond` answers the questions that the rules allow."""
        self._respond = respond
        self._sends_reasons = config.edns.ede
        self._flags = RA if config.upstreams or config.routes else 0
        self._rules = rules_of(config)
        self._of_clients: dict[bytes, list[Rule]] = {}  # address of a client -> the rules that are for this client

    def respond(self, message: bytes, transaction: "Transaction", port: Port) -> Outcome:
        """Return a reply, an `Asked`, or None, like `pydns.serve.fast.Responder.respond`."""
        address = port.address
        rules = self._of_clients.get(address)
        if rules is None:
            rules = self._learn(address)  # the worker's self-check has no address, so no rule applies to it
        if not rules:
            return self._respond(message, transaction, port)
        query = parse_query(message)
        action = _decide(rules, query) if isinstance(query, Query) else AclAction.ALLOW
        if action is AclAction.ALLOW:
            return self._respond(message, transaction, port)
        port.mark(Mark.RULED)
        if action is AclAction.DROP:
            port.tally.ignored()
            return None
        assert isinstance(query, Query)
        rcode, reason = _REPLIES[action]
        port.note_reason(reason)
        shown = reason if self._sends_reasons else None
        reply = with_flags(compose_reply(query, rcode, authoritative=False, error=shown), self._flags)
        port.tally.count(".", len(message), reply)
        return reply

    def _learn(self, address: bytes) -> list[Rule]:
        """Return the rules that are for a client, and keep them in `_of_clients`."""
        if len(self._of_clients) >= _MOST_CLIENTS:
            self._of_clients.clear()
        found = [rule for rule in self._rules if address and rule.is_for_client(address)]
        last = next((at for at, rule in enumerate(found) if rule.is_for_all_questions), len(found))
        del found[last + 1 :]
        while found and found[-1].action is AclAction.ALLOW:
            found.pop()
        self._of_clients[address] = found
        return found


def rules_of(config: Config) -> list[Rule]:
    """Return the rules of a configuration, in their order."""
    return [Rule(each) for each in config.acl]


def deciding(rules: Sequence[Rule], asker: bytes, qname: bytes, qtype: int) -> int | None:
    """Return the index of the first rule that applies to a question, or None if no rule applies.

    `asker` is the client's address.
    """
    checked = enumerate(rules)
    return next((at for at, rule in checked if rule.is_for_client(asker) and rule.is_for(qname, qtype)), None)


def _decide(rules: Sequence[Rule], query: Query) -> AclAction:
    return next((rule.action for rule in rules if rule.is_for(query.qname, query.qtype)), AclAction.ALLOW)
