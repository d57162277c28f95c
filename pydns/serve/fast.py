"""The fast path of a worker, which makes the replies to ordinary queries.

Only this file gives up simplicity for speed. tests/reference.py makes the same replies with simple code. Queries that
aren't ordinary go to `pydns.serve.strict`. The code is fast for these reasons (figures in tests/bench/README.md):

1. The code looks up the ten octets after the id in a dict. In an ordinary query, these octets have one of sixteen
   values. For each of these values, the dict contains the flags of the reply. A query with any other octets goes to the
   strict path.
2. The code looks up the question as octets, with the name in lower case. The table contains only well-formed names.
   So a hit proves that the name is well formed, and the code needn't check the labels.
3. The code converts the whole question to lower case. This changes the types 65 to 90, because these numbers are the
   codes of capital letters. For example, HTTPS is 65, the code of "A", and becomes 97, the code of "a". So the table
   stores the answers for types 65 to 90 and 97 to 122 under keys that equal no question. A question for such a type is
   a miss on the fast path, and goes to the strict path.
4. For a name outside the zones of pydns, the code only makes the tuple `Asked`, which contains the octets of the
   question.
5. A name that doesn't exist takes only one more lookup and one seek. With ndots:5, a pod often asks for three missing
   names before it asks for a name that exists.
6. The last octets of a question identify the zone and the type for the counts. So counting a query takes only a slice
   and a lookup.
"""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import AA, AD, CD, OPT_HEAD, OPT_SIZE, RA, RD, Rcode, compose_opt, one_more, reply_flags
from pydns.serve.commit import ORDINARY, Commit
from pydns.serve.deferred import Asked
from pydns.serve.extras import Extras
from pydns.serve.follow import Follower
from pydns.serve.port import Port
from pydns.serve.strict import Rotation, StrictResponder
from pydns.upstream.cache import ReadyAnswers
from pydns.upstream.key import ASK_AD, ASK_CD, ASK_DO

if TYPE_CHECKING:
    from pydns.metrics.meter import Tally
    from pydns.table.reader import Reader, Transaction

Outcome = bytes | Asked | None  # a reply, a question for upstreams, or no reply
_LAST_END: Final = HEADER + name.MAX_NAME + 4  # the largest offset at which the question of a message can end
_MAX_ROWS: Final = 1024
_join: Final = b"".join  # joining five pieces takes 0.05 µs less than adding them one by one
_new: Final = tuple.__new__  # takes 0.15 µs less than the constructor of a NamedTuple

# Five values that the header of an ordinary query determines. The first two are the flags of a reply with records, and
# the flags of an NXDOMAIN. The others are: whether the query has an OPT record, whether it may be forwarded, and its
# bits ASK_CD and ASK_AD. The values form a plain tuple, because unpacking a NamedTuple takes 0.02 µs more.
_Shape = tuple[bytes, bytes, bool, bool, int]


def _shapes(ra: int) -> dict[bytes, _Shape]:
    return {
        (rd | bits).to_bytes(2) + b"\0\1\0\0\0\0\0" + bytes([opt]): (
            reply_flags(rd | bits, Rcode.NOERROR, AA, ra),
            reply_flags(rd | bits, Rcode.NXDOMAIN, AA, ra),
            bool(opt),
            bool(ra and rd),
            (ASK_CD if bits & CD else 0) | (ASK_AD if bits & AD else 0),
        )
        for rd in (0, RD)
        for bits in (0, CD, AD, CD | AD)
        for opt in (0, 1)
    }


_SHAPES, _SHAPES_WITH_RECURSION = _shapes(0), _shapes(RA)
_OPT_WITH_DO: Final = compose_opt(True)
# The OPT record of the reply to a query whose own OPT record has no options. A key consists of these fields of the
# query's OPT record: extended rcode, version, flags, length.
_PLAIN_OPTS: Final = {b"\0\0\0\0\0\0": compose_opt(False), b"\0\0\x80\0\0\0": _OPT_WITH_DO}


class Responder:
    """Answers the queries of one worker from the table. Not safe for use by several threads."""

    def __init__(
        self,
        table: "Reader",
        ready: ReadyAnswers | None = None,
        loop_mark: bytes = b"",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`ready` contains cached answers of upstreams.

        The names of probes begin with `loop_mark`, and only pydns asks for these names.
        """
        self._commit = commit = Commit(table)
        self._parents, self._foreign, self._endings = commit.parents, commit.foreign, commit.endings
        rotation = Rotation()
        follower = Follower(commit, loop_mark, rotation.turn)
        self.follow, self.commit, self._rotated = follower.follow, commit, rotation.records
        self._strict = StrictResponder(commit, follower, rotation)
        self.respond_strictly, self._chosen, self._choose = self._strict.respond, commit.chosen, commit.choose
        self._ready = ready or ReadyAnswers()
        self._ready_answers = self._ready.answers
        self._clock, self._shapes = clock, _SHAPES

    def configure(self, offered: bool, extras: Extras) -> None:
        """Set whether pydns offers recursion. If it does, `respond` returns an `Asked` if upstreams must answer."""
        self._strict.configure(offered, extras)
        self._shapes = _SHAPES_WITH_RECURSION if offered else _SHAPES

    def respond(self, message: bytes, transaction: "Transaction", port: Port) -> Outcome:
        """Return the reply to a message, or an `Asked` if upstreams must answer, or None if there must be no reply.

        The function never raises an exception, whatever octets the message contains. `transaction` is a read
        transaction of the table. The caller uses one transaction for a batch of messages. The addresses of a name
        rotate from reply to reply.
        """
        shape = self._shapes.get(message[2:12])
        if shape is None:
            return self.respond_strictly(message, transaction, port)
        found, denied, has_opt, may_be_forwarded, bits = shape
        end = len(message)
        opt: bytes | None = b""
        if has_opt:
            end -= OPT_SIZE
            opt = _PLAIN_OPTS.get(message[end + 5 :])
            if opt is None or message[end : end + 3] != OPT_HEAD:
                return self.respond_strictly(message, transaction, port)
        if not 17 <= end <= _LAST_END:
            return self.respond_strictly(message, transaction, port)
        asked = message[12:end]
        key = asked.lower()
        compiled = transaction.get(key)
        # A hit proves that `asked` is one whole question, because the table has no key for anything else.
        if compiled is not None:
            how = compiled[0]
            if not how:
                records = compiled[10:]
            elif how == 1:
                records = self._rotated(key, compiled)
            # Some client classes have another answer to this question. If the worker has kept the client's answer, this
            # takes 0.4 µs more.
            else:
                commit = self._commit
                if transaction is not commit.transaction:
                    commit.begin(transaction)
                chosen = self._chosen.get((address := port.address) + key) or self._choose(key, compiled, address)
                if chosen is None:
                    return self.respond_strictly(message, transaction, port)
                turned, compiled = chosen
                records = self._rotated(turned, compiled) if turned else compiled[10:]
            if not opt:
                reply = _join((message[:2], found, compiled[2:10], asked, records))
            else:
                counts = compiled[2:8] + one_more(compiled[8:10])
                reply = _join((message[:2], found, counts, asked, records, opt))
            # `replies` is too short for a reply longer than PLAIN_SIZE, so there is an IndexError. If there is no
            # exception, `try` takes no time.
            try:
                queries, replies, dnssec_ok = port.tally.rows[key[self._commit.tail :]]
                replies[len(reply)] += 1
            except (KeyError, IndexError):
                return self._finish_hit(message, reply, end, transaction, port)
            queries[len(message)] += 1
            if opt is _OPT_WITH_DO:
                dnssec_ok[0] += 1
            return reply

        # The name doesn't exist, or it has no record of this type. The parent of the name, such as the name of a
        # namespace, is mostly known from an earlier query. Looking up the parent takes 1.2 µs less than reading the
        # labels.
        commit = self._commit
        if transaction is not commit.transaction:
            commit.begin(transaction)
        first = 1 + key[0]
        if not 1 < first <= 64:
            return self.respond_strictly(message, transaction, port)
        rest = key[first:-4]
        parent = self._parents.get(rest)
        if parent is None:
            is_foreign = rest in self._foreign
            if not is_foreign:
                parent = commit.learn(rest)
                is_foreign = parent is None and rest in self._foreign
            if is_foreign and may_be_forwarded:
                with_do = opt is _OPT_WITH_DO
                ready = None if with_do or bits & ASK_CD else self._ready_answers.get(key)
                store, clock = self._ready, self._clock  # local names, because calling an attribute takes 0.03 µs more
                if ready is not None and ready.until > clock():
                    _, head, records, counted, turns, own = ready
                    store.hits += 1
                    records = records if turns is None else next(turns)
                    opt = opt and (own or opt)
                    reply = _join((message[:2], head, b"\0\1" if opt else b"\0\0", asked, records, opt or b""))
                    queries, replies, _ = port.tally.cached.get(counted) or port.tally.cached_row(counted)
                    queries[len(message)] += 1
                    replies[len(reply)] += 1
                    return reply
                if asked[-4:] in ORDINARY:
                    bits |= ASK_DO if with_do else 0
                    limit = port.limit
                    if opt:
                        limit = max(limit, min(int.from_bytes(message[end + 3 : end + 5]), self._strict.max_udp_size))
                    return _new(Asked, (message[:2], asked, bits, opt, limit, len(message), ".", (), b""))
        if parent is None:
            return self.respond_strictly(message, transaction, port)
        parent_tree, zone, is_closed, ordinary = parent
        rows = zone.denials[port.tally.transport].get(asked[-4:]) or zone.learn_denials(
            port.tally, asked[-4:], ordinary
        )
        if rows is None:
            return self.respond_strictly(message, transaction, port)
        tree = parent_tree + key[:first]
        names = commit.names
        if names.set_range(tree) and (below := names.key()).startswith(tree):
            if below == tree and names.value():  # the name is an alias or a delegation, for example
                return self.respond_strictly(message, transaction, port)
            flags = found
            queries, replies, dnssec_ok = rows[0]
        elif is_closed:
            flags = denied
            queries, replies, dnssec_ok = rows[1]
        else:
            return self.respond_strictly(message, transaction, port)
        apex_at = end - 4 - zone.apex_length
        authority = zone.authorities.get(apex_at)
        if authority is None:
            authority = zone.authorities[apex_at] = commit.authority(zone.facts, apex_at)
        if not opt:
            reply = _join((message[:2], flags, b"\0\1\0\0\0\1\0\0", asked, authority))
        else:
            # The OPT record contains the reason of the denial. This takes only 0.06 µs, because such OPT records are
            # composed once for each parent and commit.
            try:
                ending, ending_with_do = commit.no_type if flags is found else self._endings[rest]
            except KeyError:
                ending, ending_with_do = commit.learn_ending(rest, key[:-4], zone)
            if opt is _OPT_WITH_DO:
                dnssec_ok[0] += 1
                ending = ending_with_do
            reply = _join((message[:2], flags, b"\0\1\0\0\0\1\0\1", asked, authority, ending))
        queries[len(message)] += 1
        replies[len(reply)] += 1
        return reply

    def _finish_hit(self, message: bytes, reply: bytes, end: int, transaction: "Transaction", port: Port) -> Outcome:
        """Finish a hit for which no row of the tally is known yet, or whose reply is long.

        If the reply is too long for the client, the strict path truncates it.
        """
        # 0 if the query has no OPT record.
        size = min(int.from_bytes(message[end + 3 : end + 5]), self._strict.max_udp_size)
        if len(reply) > max(port.limit, size):
            return self.respond_strictly(message, transaction, port)
        self._commit.begin(transaction)
        port.tally.count(self._commit.zone_text(reply), len(message), reply)
        self._learn_row(message[HEADER:end].lower(), port.tally)
        return reply

    def _learn_row(self, key: bytes, tally: "Tally") -> None:
        """Find the row of the tally that counts a hit.

        The row is kept if the end of the question identifies the zone.
        """
        zone = self._commit.zone_of(key[:-4])
        row = tally.row("." if zone is None else zone.text, int.from_bytes(key[-4:-2]), Rcode.NOERROR)
        end = key[self._commit.tail :]
        if not self._commit.has_apex_within(end[:-4]):
            if len(tally.rows) >= _MAX_ROWS:
                tally.rows.clear()
            tally.rows[end] = row[:]
