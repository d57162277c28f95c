"""The strict path, for every query that isn't ordinary. It takes longer than the fast path, but its time is limited.

The strict path parses the whole message, rejects queries that pydns doesn't answer, and composes replies from the
records that `pydns.serve.follow` finds.
"""

from typing import TYPE_CHECKING, Final

from pydns.dns.compiled import HEADER, RECORDS, fit, question, rotate_anew
from pydns.dns.message import (
    AA,
    AD,
    CD,
    RA,
    RD,
    TC,
    Query,
    Rcode,
    compose_opt,
    compose_reply,
    parse_query,
    reply_flags,
    with_flags,
)
from pydns.dns.reason import Reason
from pydns.dns.rrset import AXFR, CLASS_IN, IXFR, OPT
from pydns.serve.commit import Commit, Once
from pydns.serve.deferred import Asked
from pydns.serve.extras import Extras
from pydns.serve.follow import Follower, Found
from pydns.serve.port import Port
from pydns.table.client_classes import is_plain_answer, question_of
from pydns.upstream.key import ASK_AD, ASK_CD, ASK_DO

if TYPE_CHECKING:
    from pydns.table.reader import Transaction

_TURNS: Final = 1024  # the number of counters; questions whose hashes are equal modulo this number share a counter
# Maximum number of kept rotations of one answer. Composing a rotation takes 2 µs per record.
_MOST_VARIANTS: Final = 8
# The maximum octets of an answer whose records are composed in another order. 150 SRV records and their addresses fit.
_LONGEST_ANEW: Final = 16 * 1024
_ROOM: Final = 8 * 1024 * 1024  # maximum octets of all kept rotations
_NOTHING: tuple[bytes, list[bytes]] = (b"", [])


class Rotation:
    """Counts the answers to each question, so that each reply begins with a different address."""

    def __init__(self) -> None:
        self._turns = [0] * _TURNS
        # Key -> compiled answer, and those of its rotations that were used. Only answers whose records differ in length
        # are in this dict.
        self._variants: dict[bytes, tuple[bytes, list[bytes]]] = {}
        self._room = _ROOM

    def turn(self, key: bytes) -> int:
        """Count a use of the answer to a question, and return how often it was used."""
        slot = hash(key) % _TURNS
        turn = self._turns[slot] = self._turns[slot] + 1
        return turn

    def records(self, key: bytes, compiled: bytes) -> bytes:
        """Return the records of a compiled answer, in the next rotation.

        `key` may be the key of an answer for a client class.
        """
        slot = hash(key) % _TURNS
        turn = self._turns[slot] = self._turns[slot] + 1
        length = compiled[1]
        if length:
            cut = RECORDS + turn % int.from_bytes(compiled[4:6]) * length
            return compiled[cut:] + compiled[RECORDS:cut]
        before, variants = self._variants.get(key, _NOTHING)
        if before == compiled:
            records = variants[turn % len(variants)]
            if records:
                return records
        return self._anew(key, compiled, turn)

    def _anew(self, key: bytes, compiled: bytes, turn: int) -> bytes:
        """Return the records of an answer, composed in another order. The result is kept."""
        if len(compiled) > _LONGEST_ANEW:
            return compiled[RECORDS:]
        count = int.from_bytes(compiled[4:6])
        before, variants = self._variants.get(key, _NOTHING)
        if before != compiled:
            variants = [b""] * min(count, _MOST_VARIANTS)
            self._variants[key] = compiled, variants
        place = turn % len(variants)
        records = variants[place] = rotate_anew(question_of(key) or key, compiled, place * count // len(variants))
        self._room -= len(records)
        if self._room < 0:
            self._variants.clear()
            self._room = _ROOM
        return records


class StrictResponder:
    """Answers any message, whatever bytes it contains."""

    def __init__(self, commit: Commit, follower: Follower, rotation: Rotation) -> None:
        self.configure(False, Extras())
        self._commit = commit
        self._follower = follower
        self._rotation = rotation

    def configure(self, offers_recursion: bool, extras: Extras) -> None:
        """Set whether pydns offers recursion, and the answers that the operator has switched on."""
        self.offers_recursion = offers_recursion
        self.max_udp_size = extras.max_udp_size
        self._extras = extras

    def respond(self, message: bytes, transaction: "Transaction", port: Port) -> bytes | Asked | None:
        """Return a reply, an `Asked`, or None, like `pydns.serve.fast.Responder.respond`."""
        reply = self._respond(message, transaction, port)
        if reply is None:
            port.tally.ignored()
            return None
        if isinstance(reply, Asked):
            return reply
        if self.offers_recursion:
            reply = with_flags(reply, RA)
        self._commit.begin(transaction)
        port.tally.count(self._commit.zone_text(reply), len(message), reply)
        return reply

    def _respond(self, message: bytes, transaction: "Transaction", port: Port) -> bytes | Asked | None:
        query = parse_query(message)
        if not isinstance(query, Query):
            return query
        query = self._extras.identified(query)
        limit = port.reply_limit(query.edns, self.max_udp_size)
        if (reply := self._extras.reply(query, limit)) is not None:
            return reply
        if query.qclass != CLASS_IN or query.qtype in (IXFR, AXFR):
            return self._refuse(query, port, Rcode.REFUSED, Reason.NOT_SUPPORTED)
        if query.qtype == OPT:
            return self._refuse(query, port, Rcode.FORMERR, Reason.INVALID_TYPE)
        key, sender = question(query.qname, query.qtype), Once(port)
        compiled = transaction.get(key)
        if compiled is not None and not self._commit.rules.precede(query.qname, query.qtype):
            if compiled[0] > 1:
                self._commit.begin(transaction)
                key, compiled = self._commit.class_answer(key, compiled, sender.address)
            if is_plain_answer(compiled):
                return self._compose_compiled(query, key, compiled, limit)
        found = self._follower.follow(query.qname, query.qtype, transaction, sender)
        if found.onward and self.offers_recursion and int.from_bytes(query.flags) & RD:
            return self._ask_others(query, found, limit, len(message))
        if found.reason is not None:
            port.note_reason(found.reason)
        return _compose_found(query, found, limit, found.reason if self._commit.sends_reasons else None)

    def _refuse(self, query: Query, port: Port, rcode: Rcode, reason: Reason) -> bytes:
        port.note_reason(reason)
        shown = reason if self._commit.sends_reasons else None
        return compose_reply(query, rcode, authoritative=False, error=shown)

    def _ask_others(self, query: Query, found: Found, limit: int, query_octets: int) -> Asked:
        zone = self._commit.zone_of(query.qname)
        flags = int.from_bytes(query.flags)
        return Asked(
            query.id,
            query.question,
            (ASK_DO if _wants_dnssec(query) else 0) | (ASK_CD if flags & CD else 0) | (ASK_AD if flags & AD else 0),
            _opt(query),
            limit,
            query_octets,
            "." if zone is None else zone.text,
            () if found.lead else found.answers,
            found.onward if found.answers or found.lead else b"",
        )

    def _compose_compiled(self, query: Query, key: bytes, compiled: bytes, limit: int) -> bytes:
        """Compose the reply to a hit from the compiled octets. Decompiling thousands of records would take too long."""
        opt = _opt(query)
        octets = self._rotation.records(key, compiled) if compiled[0] & 1 else compiled[RECORDS:]
        wanted = int.from_bytes(compiled[4:6])
        answers, additionals, end = fit(wanted, octets, limit - HEADER - len(query.question) - len(opt))
        truncated = answers < wanted
        flags = reply_flags(query.flags, Rcode.NOERROR, AA, TC if truncated else 0)
        counts = b"\0\1" + answers.to_bytes(2) + b"\0\0" + (additionals + bool(opt)).to_bytes(2)
        return query.id + flags + counts + query.question + octets[:end] + opt


def _compose_found(query: Query, found: Found, limit: int, reason: Reason | None) -> bytes:
    reply = compose_reply(
        query,
        found.rcode,
        found.answers,
        found.authorities,
        found.additionals,
        authoritative=found.authoritative,
        limit=limit,
        error=reason,
    )
    if found.is_referral:
        wanted = sum(len(each.rdatas) for each in found.additionals) + (query.edns is not None)
        if int.from_bytes(reply[10:HEADER]) < wanted:
            return with_flags(reply, TC)  # a resolver can't follow a referral without its glue (RFC 9471 section 2)
    return reply


def _wants_dnssec(query: Query) -> bool:
    return query.edns is not None and query.edns.dnssec_ok


def _opt(query: Query) -> bytes:
    return b"" if query.edns is None else compose_opt(_wants_dnssec(query), options=query.reply_options)
