"""From a query to its reply: the hot path of a worker.

The only file that gives up simplicity for speed. What it does is said plainly in tests/reference.py, and the two must
agree on everything. How it is fast (CPU per query in tests/bench/README.md):

1. A header is compared whole: the ten octets after the id of an ordinary query are one of sixteen values, and a dict
   gives the flags of its reply. Anything else goes to the strict parser.
2. The question is looked up as it came in, its name in lower case. What is found was put there by us, so a hit proves
   that the name is well formed; nobody has to walk over its labels.
3. For that the whole question is put in lower case, which is wrong for types 65 to 90 (HTTPS is 65, an "A", and becomes
   97). The table has these and 97 to 122 under keys that are no question, so such a question is a miss here, and the
   strict parser's.
4. A name that isn't ours is set aside as the octets that came in: `Asked`, a tuple, is all that is made of it here.
5. A name that doesn't exist costs one more lookup and one seek: with ndots:5 a pod asks for three such names
   before one that does.
6. Zone and type, under which queries are counted, are told by a question's last octets: a slice and a lookup.
"""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from pydns.dns import name
from pydns.dns.compiled import HEADER, RECORDS, decompile, fit, is_lettered, question, rotate
from pydns.dns.dashed import pod_rrsets, undashed
from pydns.dns.message import (
    EDNS_SIZE,
    OPT_HEAD,
    OPT_SIZE,
    PLAIN_SIZE,
    TCP_SIZE,
    Ede,
    Query,
    Rcode,
    compose_opt,
    compose_reply,
    parse_query,
    question_end,
)
from pydns.dns.rrset import AXFR, CLASS_IN, CNAME, DNAME, DS, IXFR, NS, OPT, SOA, TXT, RRset, Soa, txt
from pydns.metrics.meter import TRANSPORTS, Lists, Tally
from pydns.serve.descent import Delegation, Renamed, Wildcard, descend
from pydns.table.layout import FORMAT, Facts, NodeKind, ZoneFacts

if TYPE_CHECKING:
    from pydns.table.reader import Cursor, Reader, Transaction

MAX_CHASE = 10  # CNAMEs that are followed, as CoreDNS does

_REFRESH_S, _RETRY_S, _EXPIRE_S = 7200, 1800, 86400  # for secondaries, as CoreDNS says
_RD, _CD, _AD, _RA = 0x01, 0x10, 0x20, 0x80
ASK_DO, ASK_CD = 1, 2  # bits of `Asked.bits`, as the forwarder wants them
_LAST_END = HEADER + name.MAX_NAME + 4  # where a question ends at the latest
_TURNS = 1024  # questions share counters of turns by their hash
_MAX_PARENTS = 16_384  # half a kilobyte each; a search list makes some for each namespace that is asked from
_MAX_ROWS = 1024
_join = b"".join  # 0.05 µs less than adding five pieces one by one
# Types and classes of questions whose denial is simple; SOA, OPT and transfers are not among them. Zones of files may
# have types that rule 3 misses.
_ORDINARY = frozenset(rtype.to_bytes(2) + b"\0\1" for rtype in range(1, 256) if rtype not in (SOA, OPT, IXFR, AXFR))
_ORDINARY_IN_FILES = frozenset(each for each in _ORDINARY if not is_lettered(int.from_bytes(each[:2])))


# What the hot path takes apart are plain tuples: a NamedTuple costs 0.02 µs more each time.
# What follows from the header of an ordinary query: flags of the reply to a hit, flags of an NXDOMAIN, whether there is
# an OPT, whether it may be forwarded, whether checking is disabled.
_Shape = tuple[bytes, bytes, bool, bool, bool]


def _shapes(ra: int) -> dict[bytes, _Shape]:
    return {
        bytes([rd, bits]) + b"\0\1\0\0\0\0\0" + bytes([opt]): (
            bytes([0x84 | rd, ra | bits & _CD]),
            bytes([0x84 | rd, ra | bits & _CD | Rcode.NXDOMAIN]),
            bool(opt),
            bool(ra and rd),
            bool(bits & _CD),
        )
        for rd in (0, _RD)
        for bits in (0, _CD, _AD, _CD | _AD)
        for opt in (0, 1)
    }


_SHAPES, _SHAPES_WITH_RECURSION = _shapes(0), _shapes(_RA)
_OPT_WITH_DO = compose_opt(True)
# Extended rcode, version, flags and length of an OPT without options → the OPT of the reply.
_PLAIN_OPTS = {b"\0\0\0\0\0\0": compose_opt(False), b"\0\0\x80\0\0\0": _OPT_WITH_DO}


class Asked(NamedTuple):
    """A question that is for upstreams, and what a reply to its client needs."""

    id: bytes
    question: bytes  # as sent
    bits: int  # of ASK_DO and ASK_CD
    opt: bytes  # of the reply; empty if the query had none
    limit: int  # octets of the reply
    query_octets: int
    tally: Tally  # where it is to be counted, when it has its reply
    zone: str  # under which, as text: a dot if its name is in none of ours
    chain: Sequence[RRset] = ()  # CNAMEs of ours that lead out of our zones
    onward: bytes = b""  # where they lead: what upstreams are asked instead of the question's name


class Ready(NamedTuple):
    """A cached answer of upstreams as octets, 512 at most with question and OPT."""

    until: float  # then its TTLs must count down
    head: bytes  # what is between id and ARCOUNT
    records: bytes
    counted: tuple[bytes, int]  # what `Tally.cached` has it under
    is_denial: bool


class Found(NamedTuple):
    """What our zones have to say about a name."""

    rcode: Rcode
    answers: Sequence[RRset] = ()
    authorities: Sequence[RRset] = ()
    additionals: Sequence[RRset] = ()
    authoritative: bool = True
    error: Ede | None = None
    is_referral: bool = False
    onward: bytes = b""  # the name, lower case, that upstreams know more about; the rest is for who may not ask them


# Not NXDOMAIN, which would be cached: the name may be on its way (RFC 8914 section 4.15).
_NOT_READY = Found(Rcode.SERVFAIL, authoritative=False, error=Ede.NOT_READY)


class _Zone(NamedTuple):
    """A zone of the commit that is being read."""

    tree: bytes  # tree key of the apex
    facts: ZoneFacts
    text: str  # of the apex
    apex_length: int
    authorities: dict[int, bytes]  # the SOA record of a denial, by where the apex lies in the message
    denials: tuple[dict[bytes, "_Denials"], ...]  # by transport, then type and class: where they are counted
    is_complete: bool  # what isn't in the table isn't on its way either


_Denials = tuple[Lists, Lists]  # where denials of a type are counted: of names that exist, and of others
# A name of which all but one label of a denied name may consist: its tree key, its zone, whether what isn't in the
# table below it doesn't exist, and types and classes of questions whose denial is simple.
_Parent = tuple[bytes, _Zone, bool, frozenset[bytes]]


class Responder:
    """Answers queries from one table, for one worker. Not for use by several threads."""

    def __init__(self, table: "Reader", tally: Tally) -> None:
        self.tally = tally  # of the transport that messages come by: set it to another's before those
        self._table = table
        self._tail = 0
        self._zone_texts: dict[bytes, str] = {}  # by name
        self._turns = [0] * _TURNS
        self._transaction: Transaction | None = None
        self._names: Cursor  # of that transaction
        self._commit = -1  # the one that the following belongs to
        self._facts = Facts(FORMAT, name.ROOT, [], 0, False, 0)
        self._zones: dict[bytes, _Zone] = {}  # by apex
        self._above: set[bytes] = set()  # the names above them
        self._pod_tree = b""
        self._parents: dict[bytes, _Parent] = {}  # by wire name
        self._foreign: set[bytes] = set()  # wire names below which nothing is ours
        self._shapes = _SHAPES
        self.asked: Asked | None = None
        self.ready: dict[bytes, Ready] = {}  # by question in lower case; only types that lower case leaves alone
        self.ready_hits = 0
        self.ready_denials = 0  # of them, those without records
        self.loop_mark = b""  # begins the names of probes, which only we ask for

    def offer_recursion(self, offered: bool) -> None:
        """Say whether there are upstreams. If so, what is theirs to answer is set aside in `asked`."""
        self._shapes = _SHAPES_WITH_RECURSION if offered else _SHAPES

    def respond(self, message: bytes, transaction: "Transaction", tcp: bool = False) -> bytes | None:
        """Return the reply to a message, or None where silence is right. Never raises, whatever the bytes.

        Where recursion is offered, None may also mean that the question lies in `asked`, for who calls to take away.
        `transaction` is a read transaction of the table; one serves a batch of messages. Address records begin with
        another one each time that a question is asked.
        """
        shape = self._shapes.get(message[2:12])
        if shape is None:
            return self._respond_strictly(message, transaction, tcp)
        found, denied, has_opt, may_be_forwarded, checking_disabled = shape
        end = len(message)
        opt: bytes | None = b""
        if has_opt:
            end -= OPT_SIZE
            opt = _PLAIN_OPTS.get(message[end + 5 :])
            if opt is None or message[end : end + 3] != OPT_HEAD:
                return self._respond_strictly(message, transaction, tcp)
        if not 17 <= end <= _LAST_END:
            return self._respond_strictly(message, transaction, tcp)
        asked = message[12:end]
        key = asked.lower()
        compiled = transaction.get(key)
        if compiled is not None:  # and what was looked up is a whole question, as the table has no others
            records = self._turn(key, compiled) if compiled[0] else compiled[10:]
            if not opt:
                reply = _join((message[:2], found, compiled[2:10], asked, records))
            else:
                counts = compiled[2:8] + _one_more(compiled[8:10])
                reply = _join((message[:2], found, counts, asked, records, opt))
            try:  # costs nothing where it doesn't fail; where the lists end, the reply is longer than PLAIN_SIZE
                queries, replies, dnssec_ok = self.tally.rows[key[self._tail :]]
                replies[len(reply)] += 1
            except (KeyError, IndexError):
                return self._finish_hit(message, reply, end, transaction, tcp)
            queries[len(message)] += 1
            if opt is _OPT_WITH_DO:
                dnssec_ok[0] += 1
            return reply

        # A name that doesn't exist, or not with this type. All but its first label is a name that was asked about
        # before, mostly: a namespace's. 1.2 µs less than walking over its labels.
        if transaction is not self._transaction:
            self._begin(transaction)
        first = 1 + key[0]
        if not 1 < first <= 64:
            return self._respond_strictly(message, transaction, tcp)
        rest = key[first:-4]
        parent = self._parents.get(rest)
        if parent is None:
            is_foreign = rest in self._foreign
            if not is_foreign:
                parent = self._learn(rest)
                is_foreign = parent is None and rest in self._foreign
            if is_foreign and may_be_forwarded:
                with_do = opt is _OPT_WITH_DO
                ready = None if with_do or checking_disabled else self.ready.get(key)
                if ready is not None and ready.until > monotonic():
                    _, head, records, counted, is_denial = ready
                    self.ready_hits += 1
                    self.ready_denials += is_denial
                    reply = _join((message[:2], head, b"\0\1" if opt else b"\0\0", asked, records, opt or b""))
                    queries, replies, _ = self.tally.cached.get(counted) or self.tally.cached_row(counted)
                    queries[len(message)] += 1
                    replies[len(reply)] += 1
                    return reply
                if asked[-4:] in _ORDINARY:
                    bits = (ASK_DO if with_do else 0) | (ASK_CD if checking_disabled else 0)
                    if tcp:
                        limit = TCP_SIZE
                    else:
                        limit = _udp_limit(int.from_bytes(message[end + 3 : end + 5])) if opt else PLAIN_SIZE
                    self.asked = _new(
                        Asked, (message[:2], asked, bits, opt, limit, len(message), self.tally, ".", (), b"")
                    )
                    return None
        if parent is None:
            return self._respond_strictly(message, transaction, tcp)
        parent_tree, zone, is_closed, ordinary = parent
        rows = zone.denials[self.tally.transport].get(asked[-4:]) or self._learn_denials(zone, asked[-4:], ordinary)
        if rows is None:
            return self._respond_strictly(message, transaction, tcp)
        tree = parent_tree + key[:first]
        names = self._names
        if names.set_range(tree) and (below := names.key()).startswith(tree):
            if below == tree and names.value():  # an alias, a delegation: not PLAIN
                return self._respond_strictly(message, transaction, tcp)
            flags = found
            queries, replies, dnssec_ok = rows[0]
        elif is_closed:
            flags = denied
            queries, replies, dnssec_ok = rows[1]
        else:
            return self._respond_strictly(message, transaction, tcp)
        apex_at = end - 4 - zone.apex_length
        authority = zone.authorities.get(apex_at)
        if authority is None:
            authority = zone.authorities[apex_at] = self._compose_authority(zone.facts, apex_at)
        if not opt:
            reply = _join((message[:2], flags, b"\0\1\0\0\0\1\0\0", asked, authority))
        else:
            reply = _join((message[:2], flags, b"\0\1\0\0\0\1\0\1", asked, authority, opt))
            if opt is _OPT_WITH_DO:
                dnssec_ok[0] += 1
        queries[len(message)] += 1
        replies[len(reply)] += 1
        return reply

    def _finish_hit(
        self, message: bytes, reply: bytes, end: int, transaction: "Transaction", tcp: bool
    ) -> bytes | None:
        """Count a hit that has no row yet, or that is long: if it is too long, the strict path cuts it."""
        if len(reply) > PLAIN_SIZE:
            size = TCP_SIZE if tcp else min(int.from_bytes(message[end + 3 : end + 5]), EDNS_SIZE)  # 0 without OPT
            if len(reply) > size:
                return self._respond_strictly(message, transaction, tcp)
        self._count(len(message), reply, transaction)
        self._learn_row(message[HEADER:end].lower(), transaction)
        return reply

    def _zone_text(self, reply: bytes) -> str:
        """Return the zone that a reply of ours is counted under: a dot if its question is in none of ours."""
        qname = reply[HEADER : question_end(reply) - 4].lower()
        text = self._zone_texts.get(qname)
        if text is None:
            zone = self._zone_of(qname) if qname else None
            text = "." if zone is None else zone.text
            if len(self._zone_texts) >= _MAX_PARENTS:
                self._zone_texts.clear()
            self._zone_texts[qname] = text
        return text

    def _count(self, query_octets: int, reply: bytes, transaction: "Transaction") -> None:
        if transaction is not self._transaction:
            self._begin(transaction)
        self.tally.count(self._zone_text(reply), query_octets, reply)

    def _turn(self, key: bytes, compiled: bytes) -> bytes:
        slot = hash(key) % _TURNS
        turn = self._turns[slot] = self._turns[slot] + 1
        return rotate(compiled, turn)

    def _begin(self, transaction: "Transaction") -> None:
        """Take up a transaction, and the facts of its commit if it is another one."""
        self._transaction = transaction
        self._names = transaction.cursor(self._table.names)
        if transaction.id() == self._commit:
            return
        self._commit = transaction.id()
        before, self._facts = self._facts, self._table.facts(transaction)
        for known in self._zones.values():
            known.authorities.clear()  # the serial is another
        self._foreign.clear()  # there may be a new host
        if (before.zones, before.synced) != (self._facts.zones, self._facts.synced):
            self._take_zones(self._facts)
            self._parents.clear()
            self._zone_texts.clear()

    def _take_zones(self, facts: Facts) -> None:
        self._tail = -len(facts.domain) - 4
        self._pod_tree = name.tree_key(facts.domain) + b"\3pod"
        self._zones.clear()
        self._above.clear()
        of_cluster = {zone.apex for zone in facts.zones if not zone.soa_timers}
        for zone in facts.zones:
            parents = list(_parents(zone.apex))
            is_clusters = not of_cluster.isdisjoint([zone.apex, *parents])
            if is_clusters:  # in a file's zone, too, the cluster may have the name any moment
                zone = msgspec.structs.replace(zone, ttl_s=min(zone.ttl_s, facts.ttl_s))
            is_complete = facts.synced or not is_clusters
            tree, text = name.tree_key(zone.apex), name.to_text(zone.apex)
            denials: tuple[dict[bytes, _Denials], ...] = tuple({} for _ in TRANSPORTS)
            self._zones[zone.apex] = _Zone(tree, zone, text, len(zone.apex), {}, denials, is_complete)
            self._above.update(parents)

    def _zone_of(self, qname: bytes) -> _Zone | None:
        """Return the innermost zone of ours that a name in lower case lies in or at."""
        zone = self._zones.get(qname)
        return zone or next((self._zones[each] for each in _parents(qname) if each in self._zones), None)

    def _learn(self, parent: bytes) -> _Parent | None:
        """Remember the tree key and the zone of a name, if it is well formed and lies in or at a zone of ours."""
        zone = self._zones.get(parent)
        position, last = 0, len(parent) - 1
        while position < last:
            if not 0 < parent[position] <= name.MAX_LABEL:
                return None
            position += 1 + parent[position]
            if zone is None:
                zone = self._zones.get(parent[position:])
        if position != last or parent[last] or parent in self._above:  # no name; what lies below may be that zone's
            return None
        tree = name.tree_key(parent)
        if zone is not None:
            if len(self._parents) >= _MAX_PARENTS:
                self._parents.clear()
            is_open = zone.facts.falls_through or not zone.facts.is_plain or tree.startswith(self._pod_tree)
            ordinary = _ORDINARY_IN_FILES if zone.facts.soa_timers else _ORDINARY
            learned = tree, zone, zone.is_complete and not is_open, ordinary
            self._parents[parent] = learned
            return learned
        if self._names.set_range(tree) and self._names.key().startswith(tree):
            return None  # there are hosts
        if len(self._foreign) >= _MAX_PARENTS:
            self._foreign.clear()
        self._foreign.add(parent)
        return None

    def _learn_row(self, key: bytes, transaction: "Transaction") -> None:
        """Find where a hit is counted, and remember it where the end of the question tells."""
        if transaction is not self._transaction:
            self._begin(transaction)
        zone = self._zone_of(key[:-4])
        text = "." if zone is None else zone.text
        row = self.tally.row(text, int.from_bytes(key[-4:-2]), Rcode.NOERROR)
        tail = key[self._tail :]
        if not any(
            each.apex_length > len(tail) - 4 and each.facts.apex.endswith(tail[:-4]) for each in self._zones.values()
        ):
            if len(self.tally.rows) >= _MAX_ROWS:
                self.tally.rows.clear()
            self.tally.rows[tail] = row[:]

    def _learn_denials(self, zone: _Zone, type_and_class: bytes, ordinary: frozenset[bytes]) -> _Denials | None:
        """Find where denials are counted, if those of this type are simple."""
        if type_and_class not in ordinary:
            return None
        text, rtype = zone.text, int.from_bytes(type_and_class[:2])
        found, denied = (self.tally.row(text, rtype, rcode) for rcode in (Rcode.NOERROR, Rcode.NXDOMAIN))
        learned = zone.denials[self.tally.transport][type_and_class] = found[:], denied[:]
        return learned

    def _compose_authority(self, zone: ZoneFacts, apex_at: int) -> bytes:
        """Compose the SOA record that goes with a denial, for a message that has the apex at `apex_at`."""
        pointer = (0xC000 | apex_at).to_bytes(2)
        names = [
            each[: -len(zone.apex)] + pointer if name.is_at_or_below(each, zone.apex) else each
            for each in (zone.mname, zone.rname)
        ]
        rdata = b"".join(names) + self._soa_timers(zone)
        return pointer + b"\0\6\0\1" + zone.ttl_s.to_bytes(4) + len(rdata).to_bytes(2) + rdata

    def _soa_timers(self, zone: ZoneFacts) -> bytes:
        serial, minimum_s = self._facts.serial, zone.minimum_s
        of_cluster = Soa(zone.mname, zone.rname, serial, _REFRESH_S, _RETRY_S, _EXPIRE_S, minimum_s)
        return zone.soa_timers or of_cluster.timers()

    def _soa_rrset(self, zone: ZoneFacts) -> RRset:
        return RRset(zone.apex, SOA, zone.ttl_s, (zone.mname + zone.rname + self._soa_timers(zone),))

    # The strict path: everything that isn't ordinary. It may take its time, within bounds.

    def _respond_strictly(self, message: bytes, transaction: "Transaction", tcp: bool) -> bytes | None:
        reply = self._compose_strictly(message, transaction, tcp)
        if reply is not None and self._shapes is _SHAPES_WITH_RECURSION:
            reply = reply[:3] + bytes([reply[3] | _RA]) + reply[4:]
        if reply is not None:
            self._count(len(message), reply, transaction)
        elif self.asked is None:
            self.tally.ignored()
        return reply

    def _compose_strictly(self, message: bytes, transaction: "Transaction", tcp: bool) -> bytes | None:
        query = parse_query(message)
        if not isinstance(query, Query):
            return query
        limit = TCP_SIZE if tcp else query.udp_size()
        if query.qclass != CLASS_IN or query.qtype in (IXFR, AXFR):
            return compose_reply(query, Rcode.REFUSED, authoritative=False)
        if query.qtype == OPT:
            return compose_reply(query, Rcode.FORMERR, authoritative=False)
        compiled = transaction.get(question(query.qname, query.qtype))
        if compiled is not None:
            return self._compose_found(query, compiled, limit)
        found = self.follow(query.qname, query.qtype, transaction)
        if found.onward and query.flags[0] & _RD and self._shapes is _SHAPES_WITH_RECURSION:
            dnssec_ok = query.edns is not None and query.edns.dnssec_ok
            bits = (ASK_DO if dnssec_ok else 0) | (ASK_CD if query.flags[1] & _CD else 0)
            opt = b"" if query.edns is None else compose_opt(dnssec_ok)
            onward = found.onward if found.answers else b""
            octets = len(message)
            zone = self._zone_of(query.qname)
            self.asked = Asked(
                query.id,
                query.question,
                bits,
                opt,
                limit,
                octets,
                self.tally,
                "." if zone is None else zone.text,
                found.answers,
                onward,
            )
            return None
        reply = compose_reply(
            query,
            found.rcode,
            found.answers,
            found.authorities,
            found.additionals,
            authoritative=found.authoritative,
            limit=limit,
            error=found.error,
        )
        if found.is_referral:
            wanted = sum(len(each.rdatas) for each in found.additionals) + (query.edns is not None)
            if int.from_bytes(reply[10:HEADER]) < wanted:
                # Glue is needed to go on (RFC 9471 section 2).
                reply = reply[:2] + bytes([reply[2] | 0x02]) + reply[3:]
        return reply

    def _compose_found(self, query: Query, compiled: bytes, limit: int) -> bytes:
        """Compose the reply to a hit from what was compiled: decompiling thousands of records would take too long."""
        opt = b"" if query.edns is None else compose_opt(query.edns.dnssec_ok)
        octets = self._turn(question(query.qname, query.qtype), compiled) if compiled[0] else compiled[RECORDS:]
        answers, additionals, end = fit(compiled, octets, limit - HEADER - len(query.question) - len(opt))
        truncated = answers < int.from_bytes(compiled[4:6])
        flags = bytes([0x84 | query.flags[0] & _RD | (0x02 if truncated else 0), query.flags[1] & _CD])
        counts = b"\0\1" + answers.to_bytes(2) + b"\0\0" + (additionals + bool(opt)).to_bytes(2)
        return query.id + flags + counts + query.question + octets[:end] + opt

    def follow(self, qname: bytes, qtype: int, transaction: "Transaction") -> Found:
        """Say what our zones have about a name in lower case, following CNAMEs to what there is.

        The rcode is that of the last name (RFC 6604 section 2.1). A loop ends where it closes, and a chain that leaves
        our zones where it leaves: the asker is told what there is.
        """
        if transaction is not self._transaction:
            self._begin(transaction)
        chain: list[RRset] = []
        for _ in range(MAX_CHASE + 1):
            if any(qname == rrset.owner.lower() for rrset in chain):
                break
            # Where its records are: at the name, or at the wildcard that it is made from.
            source = qname
            zone = None
            compiled = transaction.get(question(qname, qtype))
            if compiled is None:
                zone = self._zone_of(qname)
                if zone is not None and not zone.facts.is_plain:
                    place = descend(self._names, zone.tree, name.tree_key(qname))
                    if place is not None and not zone.is_complete:
                        return _NOT_READY
                    if isinstance(place, Delegation) and (qtype != DS or qname != place.cut):
                        servers, glue = decompile(question(place.cut, NS), place.referral[: RECORDS + TCP_SIZE])
                        # The authority is ours for the CNAMEs that lead there (RFC 1035 section 4.1.1).
                        return Found(Rcode.NOERROR, chain, [servers], glue, bool(chain), is_referral=True, onward=qname)
                    if isinstance(place, Renamed):
                        dname = self._stored(place.owner, DNAME, transaction)
                        target = qname[: -len(place.owner)] + dname.rdatas[0].lower()
                        if len(target) > name.MAX_NAME:  # RFC 6672 section 2.2
                            return Found(Rcode.YXDOMAIN, [*chain, dname])
                        chain += [dname, RRset(qname, CNAME, dname.ttl_s, (target,))]
                        if qtype == CNAME:
                            break
                        qname = target
                        continue
                    if isinstance(place, Wildcard):
                        source = place.source
                        compiled = transaction.get(question(source, qtype))
            if compiled is not None:
                rrset, additionals = decompile(question(source, qtype), compiled[: RECORDS + TCP_SIZE])
                return Found(Rcode.NOERROR, [*chain, rrset._replace(owner=qname)], (), additionals)
            tree = name.tree_key(source)
            if zone is None:
                if tree and transaction.get(tree, db=self._table.names) == NodeKind.HOST:
                    of_cluster = self._zones[self._facts.domain].facts
                    soa = self._soa_rrset(msgspec.structs.replace(of_cluster, apex=qname))
                    return Found(Rcode.NOERROR, chain, [soa])
                if chain:
                    return Found(Rcode.NOERROR, chain, onward=qname)
                if self.loop_mark and qname[1:].startswith(self.loop_mark):
                    return Found(
                        Rcode.NOERROR, [RRset(qname, TXT, 0, (txt(self.loop_mark[::-1]),))], authoritative=False
                    )
                return Found(Rcode.REFUSED, authoritative=False, error=Ede.NOT_AUTHORITATIVE, onward=qname)
            denial = [self._soa_rrset(zone.facts)]
            if qtype == SOA and qname == zone.facts.apex:
                return Found(Rcode.NOERROR, [*chain, *denial])
            if self._names.set_range(tree) and self._names.key().startswith(tree):
                if self._names.key() == tree and self._names.value() == NodeKind.ALIAS:
                    cname = self._stored(source, CNAME, transaction)
                    chain.append(cname._replace(owner=qname))
                    qname = cname.rdatas[0].lower()
                    continue
                return Found(Rcode.NOERROR, chain, denial)
            if self._lies_in_pod_namespace(tree, transaction) and (address := undashed(name.labels_of(qname)[0])):
                for rrset in pod_rrsets(qname, address, self._facts.ttl_s):
                    if rrset.rtype == qtype:
                        return Found(Rcode.NOERROR, [*chain, rrset], (), rrset.additional)
                return Found(Rcode.NOERROR, chain, denial)
            if not zone.is_complete:
                return _NOT_READY
            return Found(Rcode.NXDOMAIN, chain, denial, onward=qname if zone.facts.falls_through else b"")
        return Found(Rcode.NOERROR, chain)

    def _stored(self, owner: bytes, rtype: int, transaction: "Transaction") -> RRset:
        key = question(owner, rtype)
        return decompile(key, transaction.get(key, b""))[0]

    def _lies_in_pod_namespace(self, tree: bytes, transaction: "Transaction") -> bool:
        """Tell whether a name is an address's below a namespace whose pods are not looked at (pods: insecure)."""
        at = len(self._pod_tree)
        if not tree.startswith(self._pod_tree) or len(tree) == at:
            return False
        namespace = tree[: at + 1 + tree[at]]
        rest = tree[len(namespace) :]
        if not rest or len(rest) != 1 + rest[0]:
            return False
        return transaction.get(namespace, db=self._table.names) == NodeKind.POD_NAMESPACE


def _parents(qname: bytes) -> Iterator[bytes]:
    """Yield the names above a name, the nearest first."""
    position = 0
    while length := qname[position]:
        position += 1 + length
        yield qname[position:]


def _udp_limit(size: int) -> int:
    return PLAIN_SIZE if size < PLAIN_SIZE else min(size, EDNS_SIZE)


_new = tuple.__new__  # half the cost of a NamedTuple's own constructor


def _one_more(count: bytes) -> bytes:
    return b"\0\1" if count == b"\0\0" else (int.from_bytes(count) + 1).to_bytes(2)
