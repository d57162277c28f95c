"""Sends questions that a rule touches to the strict path, and all others to the fast path. The gate is the last guard.

`pydns.serve.context` defines the order of the guards. The gate is in use only if the configuration has rules
(`pydns.serve.rules`). Clients ask for the same names again and again, so the gate remembers two kinds of questions:

1. Questions that no rule touches, in a set. A look-up in the set takes 0.3 µs.
2. Questions for addresses whose lead has a plain answer in the table. The lead is the question by which a rule replaces
   the client's question. For example, a rule replaces a name by the name of an Ingress controller's Service. The fast
   path answers the lead, and the gate puts the client's question into the reply. Each record begins with a
   pointer to the question, not with a written name. So the name in the client's question becomes the owner. Such a
   reply takes 2 µs. On the strict path, it would take 57 µs.
"""

from typing import TYPE_CHECKING

from pydns.dns import name
from pydns.dns.compiled import HEADER, RECORDS, TO_QUESTION, is_lettered
from pydns.dns.message import OPT_SIZE, PLAIN_SIZE
from pydns.dns.rrset import AAAA, CLASS_IN, A
from pydns.serve.fast import Outcome, Responder
from pydns.serve.port import Mark, Port
from pydns.serve.rules import Rules

if TYPE_CHECKING:
    from pydns.table.reader import Transaction

_MOST = 16_384  # maximum number of questions of each kind that are remembered; each takes at most half a kilobyte
_CLASS_IN = CLASS_IN.to_bytes(2)
_MOST_OCTETS = PLAIN_SIZE - OPT_SIZE  # maximum octets of a reply that fits into any datagram, even with an OPT record
# Type and class of a question for addresses -> number of octets of a record in its answer.
_ADDRESSES = {rtype.to_bytes(2) + _CLASS_IN: size for rtype, size in ((A, 16), (AAAA, 28))}


class Gate:
    """Chooses the path of each query, and remembers the two kinds of questions."""

    def __init__(self, responder: Responder, rules: Rules) -> None:
        self._respond, self._respond_strictly = responder.respond, responder.respond_strictly
        self._rules = rules
        self._touches = rules.touches
        self._untouched: set[bytes] = set()
        self._leads: dict[bytes, bytes] = {}  # question -> its lead; valid for one commit
        self._commit_id = -1

    def respond(self, message: bytes, transaction: "Transaction", port: Port) -> Outcome:
        """Return a reply, an `Asked`, or None, like `pydns.serve.fast.Responder.respond`."""
        # These octets are the question only if nothing follows the question, or only an OPT record without options. For
        # any other message, each branch of this function calls the strict path, which handles any message.
        question = (message[HEADER:-OPT_SIZE] if message[11:12] == b"\1" else message[HEADER:]).lower()
        if question in self._untouched:
            return self._respond(message, transaction, port)
        lead = self._leads.get(question)
        if lead is not None and transaction.id() == self._commit_id:
            end = HEADER + len(question)
            reply = self._respond(message[:HEADER] + lead + message[end:], transaction, port)
            if isinstance(reply, bytes):
                port.mark(Mark.RULED)
                return reply[:HEADER] + message[HEADER:end] + reply[HEADER + len(lead) :]
        if self._is_untouched(question):
            return self._respond(message, transaction, port)
        port.mark(Mark.RULED)
        strict = self._respond_strictly(message, transaction, port)
        if question[-4:] in _ADDRESSES and isinstance(strict, bytes) and _is_name(question[:-4]):
            self._learn_lead(question, strict, transaction)
        return strict

    def _learn_lead(self, question: bytes, reply: bytes, transaction: "Transaction") -> None:
        """Remember the lead of a question if the reply has exactly the records that the table has for the lead."""
        lead = self._rules.plain_lead(question[:-4], int.from_bytes(question[-4:-2]))
        if lead is None:
            return
        key = lead + question[-4:]
        if len(reply) + max(len(key) - len(question), 0) > _MOST_OCTETS:
            return
        compiled = transaction.get(key, b"")
        if not compiled or compiled[0] > 1 or _addresses(compiled[RECORDS:], question) is None:
            return  # the records are from upstreams, or client classes have other records
        opts = reply[11] * OPT_SIZE
        records = reply[HEADER + len(question) : len(reply) - opts]
        if reply[3] & 15 or _addresses(records, question) != _addresses(compiled[RECORDS:], question):
            return
        if transaction.id() != self._commit_id or len(self._leads) >= _MOST:
            self._commit_id = transaction.id()
            self._leads.clear()
        self._leads[question] = key

    def _is_untouched(self, question: bytes) -> bool:
        """Return whether no rule touches a question. `question` may be any octets in lower case."""
        qname, qtype = question[:-4], int.from_bytes(question[-4:-2])
        if question[-2:] != _CLASS_IN or not _is_name(qname):
            return False
        # The conversion to lower case may have changed the type: 65 (HTTPS) is the letter "A".
        if any(self._touches(qname, each) for each in ((qtype, qtype - 32) if is_lettered(qtype) else (qtype,))):
            return False
        if len(self._untouched) >= _MOST:
            self._untouched.clear()
        self._untouched.add(question)
        return True


def _addresses(records: bytes, question: bytes) -> list[bytes] | None:
    """Return the octets of each record in the answer to a question for addresses, sorted.

    Return None if a record isn't an address, or doesn't begin with a pointer to the question.
    """
    size, head = _ADDRESSES[question[-4:]], TO_QUESTION + question[-4:]
    found = sorted([records[at : at + size] for at in range(0, len(records), size)])
    return found if found and all(each[:6] == head and len(each) == size for each in found) else None


def _is_name(octets: bytes) -> bool:
    """Return whether octets are one name in wire form."""
    position, last = 0, len(octets) - 1
    while 0 <= position < last and 0 < octets[position] <= name.MAX_LABEL:
        position += 1 + octets[position]
    return position == last <= name.MAX_NAME - 1 and octets[position] == 0
