"""Sends questions to upstreams, and their answers to clients. Repeats questions, and sends hedges.

This module has no sockets, no clock and no event loop. A worker calls four functions:
- `ask` for each query that an upstream must answer,
- `received` for each datagram or framed message from an upstream,
- `unreachable` when a socket reports an error,
- `tick` about every 10 ms while the forwarder is `busy`.

To send packets and replies, the forwarder calls functions that it gets at the start. Such a call takes 0.02 µs.
Returning a list with one action to the worker instead would take 0.35 µs.

Rules
1. A reply is valid if it comes on the same socket as the query and has the same id. The reply must also contain the
   question byte for byte, in the same random case (0x20). All other replies are counted, but not used.
2. If a client asks a question that is open already, the forwarder doesn't ask it again. All clients that wait get the
   answer.
3. After an error or a failed send, the forwarder asks the next upstream at once. If no reply comes, it asks the next
   upstream after a timeout. For a share of the questions, it asks a second upstream before the timeout. It sends this
   hedge when the first upstream takes longer than the 95th percentile of its reply times.
4. Every client gets an answer within `deadline_s` after the first client asked the question. The answer comes from an
   upstream if possible. Otherwise, clients get the last known answer (RFC 8767). Without a last known answer, they get
   SERVFAIL with a reason (RFC 8914).
5. Packets of the same millisecond use the same random socket, so their replies arrive together. An attacker doesn't see
   which socket this is. Guessing it is as hard as if each packet had a socket of its own.
6. A late reply answers its question if the question is still open. Otherwise, it only updates the state of the server.
7. A client that waits for an answer takes a place, and there are `max_in_flight` places. The queries of one client take
   at most a quarter of the places. The questions of a slow zone take at most a quarter of the places, too.
8. If a reply can't be sent to a client, this is counted, and all other clients still get their answers.
9. An attacker can cause missing replies, errors, and queries that look like queries of pydns. After such an event, the
   forwarder only sends a probe to the upstream. The probe asks about the root, so the owner of a domain can't affect
   the answer.
10. Some servers deny every name in mixed case. If all recent answers of a server were denials, the forwarder checks one
    of them: it asks the same question in lower case. A server that denies names of several owners only in mixed case
    gets no more names in mixed case.
11. After a reply that can't be used, the forwarder asks one other server. If the second reply can't be used, either,
    the client gets SERVFAIL. A reply that can't be used shows nothing about the server, because the owner of a domain
    may cause it.
12. After an outcome in `failover`, the forwarder asks the other servers of the route. If no server of the route has
    records, the forwarder uses the last denial. After an outcome in `next`, the forwarder uses the next route: the one
    that would apply if this route didn't exist.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from pydns.config.model import CacheOptions, Case, Config, Outcome
from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import AD, CD, EDNS_SIZE, RD, Rcode, compose_opt
from pydns.dns.reason import Reason
from pydns.dns.response import Response, Unusable, UpstreamAnswer, parse_response
from pydns.dns.rrset import CLASS_IN, NS
from pydns.upstream.cache import Cache
from pydns.upstream.key import ASK_CD, ASK_DO, FLAG_OCTETS, FLAGS, NAME_END
from pydns.upstream.packet import (
    ID_MASK,
    RANDOM_ID_AT,
    RANDOM_SOCKET_AT,
    SOCKET_AT,
    STREAM,
    UPSTREAM_AT,
    id_of,
    places_of,
    socket_of,
)
from pydns.upstream.pool import LONGEST_PAUSE_S, LONGEST_TIMEOUT_S, QUICK_S, TCP_PAUSE_S, Change, Pool, Upstream
from pydns.upstream.routes import Routes, RouteSpec

MAX_ATTEMPTS: Final = 6  # maximum packets for one question to one route, including hedges and repetitions
# A credit limits the number of hedges. Each question adds `hedge_share` to the credit, and each hedge takes 1 from it.
# The credit is at most what HEDGE_WINDOW questions add, which is also its value at the start.
HEDGE_WINDOW: Final = 100
# How long packets use the same UDP socket. With a socket for each packet, more wake-ups made a miss 1 µs longer.
SOCKET_S: Final = 0.001
# Seconds until the deadline of a question while the breakers of all servers of its route are open.
SILENT_S: Final = 0.8
SHARE: Final = 4  # one client or one slow zone takes at most 1/SHARE of the places
# A zone becomes slow if this many open questions for its names have timed out. The places for questions of a slow zone
# are limited.
SLOW_QUESTIONS: Final = 16
SLOW_ZONE_S: Final = 30.0  # how long a zone stays slow after its last timeout
# How long the forwarder waits for a better reply after an error reply that doesn't repeat the question. Such an error
# may be forged.
BARE_ERROR_S: Final = 0.1
LOST_S: Final = 1.0  # a question that is still open this long after its deadline shows a bug, and is ended
# How many times the forwarder tries to find an unused id for a packet on a socket. If all tries fail, it treats the
# socket as full. If half of the ids are in use, this happens for one of 4,000 million packets.
_ID_TRIES: Final = 32


class ForwarderLimits(NamedTuple):
    """Limits for open questions and their packets."""

    max_in_flight: int = Config().max_in_flight  # how many clients may wait for an answer at the same time
    sockets: int = 32  # how many UDP sockets each upstream has: a power of two, at most 128
    hedge_share: float = 0.1
    deadline_s: float = 4.0


class Event(Enum):
    """A change of the state of an upstream, for the log. Only LOOP_SUSPECTED is about a single query."""

    OPENED = "upstream does not answer"
    CLOSED = "upstream answers again"
    CASE_LOST = "upstream does not keep the case of names"
    CASE_DENIED = "upstream denies names in mixed case"
    EDNS_LOST = "upstream does not speak EDNS"
    TCP_LOST = "upstream does not answer over TCP"
    LOOP = "upstream sends our queries back to us"
    # This event isn't logged, because an attacker may have sent the query.
    LOOP_SUSPECTED = "a query resembles a query of pydns"


COUNTED: Final = (
    "all_open",
    "avoided",
    "case_lost",
    "errors",
    "gone",
    "hedges",
    "joined",
    "loops",
    "malformed",
    "misses",
    "overflows",
    "refreshes",
    "sent",
    "stale",
    "timeouts",
    "truncated",
    "unexpected",
    "unfair",
    "wrong_question",
)  # the names of the attributes of `Counters`


class Counters:
    """Counts of events, for metrics."""

    __slots__ = COUNTED

    def __init__(self) -> None:
        for each in COUNTED:
            setattr(self, each, 0)

    misses: int  # questions without an answer in the cache, so that upstreams were asked
    joined: int  # clients that waited for the answer to a question that was already open
    # Clients that got SERVFAIL at once, because too many clients wait or the budgets of all upstreams are used up.
    overflows: int
    stale: int  # clients that got the last known answer
    refreshes: int  # cached answers that were asked for again before they expired
    all_open: int  # questions that were sent although the breakers of all upstreams of the route were open
    sent: int
    hedges: int
    gone: int  # clients to whom a reply couldn't be sent
    unfair: int  # clients that got SERVFAIL at once, because the client or the slow zone uses its share of the places
    avoided: int  # questions for which a second upstream was asked because the first one was silent
    timeouts: int
    errors: int  # replies with SERVFAIL, REFUSED or another error
    truncated: int
    unexpected: int  # replies whose id and socket belong to no open question
    wrong_question: int
    malformed: int
    case_lost: int
    loops: int


class Forwarder:
    """Forwards questions to upstreams. Keeps the open questions, and the packets that were sent for them."""

    def __init__(
        self,
        routes: Routes,
        pools: Sequence[Pool],
        cache: Cache,
        limits: ForwarderLimits,
        *,
        random_bits: Callable[[], int],
        send_udp: Callable[[int, int, bytes], bool],
        send_tcp: Callable[[int, bytes], bool],
        reply: Callable[[object, UpstreamAnswer], None],
        notice: Callable[[Event, Upstream], None],
        source: Callable[[object], object] = lambda client: None,
        failed: Callable[[Exception], None] = lambda error: None,
        refused: Callable[[Upstream, Unusable, bytes], None] = lambda _upstream, _why, _qname: None,
    ) -> None:
        """Store the routes, the pools, the cache and the functions that the forwarder calls.

        `random_bits` returns a random number of `RANDOM_OCTETS` octets, which nobody can predict from earlier numbers.
        `send_udp(upstream index, socket index, packet)` and `send_tcp(upstream index, message)` return False if sending
        fails. The forwarder calls `reply(client, answer)` once for each `ask`, during the `ask` or later.
        `notice(event, upstream)` logs an event. `refused(upstream, why, qname)` logs a reply that can't be used.
        `source(client)` returns the key under which the client's places are counted. If it returns None, the number of
        the client's places isn't limited. `failed(error)` gets an error that `reply` raised: the client has gone, or
        there is a bug.
        """
        self.counters = Counters()
        self._routes = routes
        self._pools = pools
        self._cache = cache
        self._limit(limits)
        self._random_bits = random_bits
        self._send_udp = send_udp
        self._send_tcp = send_tcp
        self._reply = reply
        self._notice = notice
        self._source = source
        self._reply_failed = failed
        # source -> how many of its clients wait; None while few clients wait
        self._held: dict[object, int] | None = None
        self._slow_zones: dict[bytes, _SlowZone] = {}
        self._refused = refused
        self._open: dict[bytes, _Query] = {}  # key of an open question -> the open question
        self._sent: dict[int, _Sent] = {}  # place of a packet -> the packet
        self._waiting = 0
        self._hedge_credit = self._most_hedge_credit
        self._socket_index = 0
        self._socket_until = 0.0
        # During a call of `reply`, the name of the upstream that answered; empty if no upstream did.
        self.answering = ""

    def ask(self, question: bytes, query_id: bytes, flags: int, client: object, now: float) -> None:
        """Answer a client's question: at once if the cache has an answer, otherwise later.

        `question` contains the name, type and class as the client sent them, and must be valid. `query_id` is the id of
        the client's query, with which the forwarder detects loops.
        """
        key = question[:-4].lower() + question[-4:] + FLAG_OCTETS[flags]
        entry = self._cache.fresh(key, now)
        if entry is not None:
            self._answer(client, entry.answer_at(now))
            if now >= entry.refresh_at and entry.wants_refresh(now):
                self._refresh(key, now)
            self._cache.make_ready(key, entry, now)
            return
        if self._cache.serves_stale_at_once and self._serve_stale_at_once(key, client, now):
            return
        query = self._open.get(key)
        if query is not None:
            if now < query.deadline + LOST_S:
                self._join(query, question, query_id, client, now)
                return
            self._finish(query, _LATE)
        refusal = self._cache.failure(key, now)
        if refusal is None and self._waiting >= self._share and not self._has_room(client):
            refusal = _BUSY
        zone = None
        if refusal is None and self._slow_zones:
            zone = self._slow_zone(key[:NAME_END], now)
            if zone is not None and zone.held >= self._share:
                self.counters.unfair += 1
                refusal = _BUSY
        if refusal is not None:
            self._answer(client, self._stale(key, now) or refusal)
            return
        route = self._routes.find(key[:NAME_END])
        if route is None:
            self._answer(client, _REFUSED)
            return
        self.counters.misses += 1
        query = _Query(key, route, self._pools[route.pool], now + self._deadline_s)
        self._open[key] = query
        self._wait(query, client)
        if zone is not None:
            query.slow_zone = zone
            zone.held += 1
        if self._hedge_credit < self._most_hedge_credit:
            self._hedge_credit += self._limits.hedge_share
        bits = self._random_bits()
        upstream = query.pool.first(bits)
        if upstream is None:
            self._probe_open_breakers(query, now)
        if upstream is None or not self._try(query, upstream, now, bits):
            self._continue(query, now)
        if upstream is None and not query.done and query.pool.open_count() == len(query.pool.upstreams):
            # All breakers are open. Up to two more upstreams are asked now, because the deadline leaves no time to ask
            # one after another.
            for _ in query.pool.upstreams[1:3]:
                self._attempt(query, now)

    def received(self, upstream_index: int, socket_index: int, packet: bytes, now: float) -> None:
        """Process a datagram from an upstream, or a message from its connection if `socket_index` is STREAM."""
        if len(packet) < HEADER:
            self.counters.malformed += 1
            return
        place = upstream_index << UPSTREAM_AT | socket_index << SOCKET_AT | packet[0] << 8 | packet[1]
        sent = self._sent.get(place)
        if sent is None:
            self.counters.unexpected += 1
            return
        response = parse_response(packet, sent.question)
        if response is Unusable.CASE_CHANGED and not sent.cased:
            # The question wasn't sent in random case, so a reply with the question in another case is valid, too.
            response = parse_response(packet, packet[HEADER : HEADER + len(sent.question)])
        if isinstance(response, Unusable):
            self._received_unusable(sent, response, packet, now)
            return
        del self._sent[place]
        query, upstream = sent.query, sent.upstream
        if not sent.timed_out:
            query.outstanding -= 1
        if upstream.trusts_ad and packet[3] & AD:
            response = response._replace(answer=response.answer._replace(is_authentic=True))
        answer, _, _, _, truncated = response
        rcode = answer.rcode
        rtt_s = now - sent.sent_at
        upstream.heard(rcode, rtt_s, now)
        if rcode in _ANSWERS and not truncated:
            if sent.cased and upstream.case_changed_on:
                upstream.case_changed_on.clear()
            if sent.has_opt:
                upstream.edns_answered = True
                upstream.edns_doubts = 0
            elif query.is_plain and now >= upstream.edns_lost_until and self._shows_no_edns(query, upstream, now):
                self._notice(Event.EDNS_LOST, upstream)
            if rtt_s <= QUICK_S or rtt_s <= upstream.p95_s or self._is_measurement(sent, now):
                change = upstream.replied(rtt_s)
            else:
                change = upstream.lives()
            if change is not None:
                self._learn(upstream, change)
            if query.is_plain and query.is_probe and upstream.edns_doubts:
                self._suspect(upstream, now)
            if now >= upstream.case_check_at and self._checks_case(sent, response, now):
                return
            if not query.done:
                self._answered(query, upstream, response, now)
            return
        if query.is_probe:
            may_be_of_opt = sent.has_opt and not upstream.edns_answered
            fails = rcode == Rcode.SERVFAIL and (upstream.is_open or query.of_errors or may_be_of_opt)
            if fails:
                self._probe_failed(query, upstream, now)
            else:
                self._learn(upstream, upstream.replied(rtt_s))
        elif rcode in _NO_EDNS and sent.has_opt:
            self._ask_again(query, upstream, now, plainly=True)
        elif truncated and not query.done and socket_index != STREAM:
            self.counters.truncated += 1
            self._learn(upstream, upstream.lives())
            query.partial = query.partial or _partial(packet, sent.question)
            self._ask_over_stream(query, upstream, now)
        elif now < upstream.case_check_at or not self._checks_case(sent, None, now):
            self.counters.errors += 1
            if not query.done:
                query.rcode = rcode if rcode == Rcode.REFUSED else Rcode.SERVFAIL
                query.extended_error = Reason.UPSTREAM_ERROR if answer.extended_error is None else answer.extended_error
                query.gave_errors = [*query.gave_errors, upstream]
                self._failed(query, upstream, now)

    def unreachable(self, upstream_index: int, socket_index: int, now: float) -> None:
        """Give up the packets of a socket, because the server doesn't listen, or has closed the connection."""
        places = places_of(upstream_index, socket_index)
        gone = [sent for place, sent in self._sent.items() if place in places]
        for sent in gone:
            self._drop(sent)
        if gone:
            upstream = gone[0].upstream
            if socket_index == STREAM and not upstream.is_stream:
                self._lost_tcp(upstream, now)
            else:
                self._learn(upstream, upstream.failed(now))
        for sent in gone:
            query = sent.query
            if not query.done:
                query.network_error = True
                self._failed(query, sent.upstream, now)

    def tick(self, now: float) -> None:
        """Process the open packets that are due: for each packet, send a hedge, ask the next upstream, or give up."""
        # The loop looks at every open packet, which takes 0.03 µs. A timer for each packet would add 0.9 µs to a miss.
        for sent in [each for each in self._sent.values() if each.due_at <= now]:
            if self._sent.get(sent.place) is not sent:  # this packet was removed when another one failed
                continue
            query = sent.query
            if sent.timed_out:
                del self._sent[sent.place]
                if not query.done and query.outstanding == 0 and now >= query.deadline:
                    self._give_up(query, now)
                continue
            if not sent.overdue:
                sent.overdue = True
                sent.due_at = min(sent.sent_at + sent.upstream.timeout_s, query.deadline)
                sent.upstream.waited(sent.sent_at)
            if now >= sent.due_at:
                self._timed_out(sent, now)
            elif not query.done:
                self._hedge(sent, now)

    @property
    def busy(self) -> bool:
        """Return whether packets are open, so that the worker must call `tick` about every 10 ms."""
        return bool(self._sent)

    @property
    def waiting(self) -> int:
        """Return how many clients wait for an answer."""
        return self._waiting

    def probe(self, upstream: Upstream, question: bytes, client: object, now: float) -> None:
        """Ask one upstream, without routes, cache and breaker. `question` must be in lower case."""
        pool = Pool([upstream])
        query = _Query(question + FLAG_OCTETS[0], RouteSpec(name.ROOT, 0), pool, now + self._deadline_s)
        if query.key in self._open:
            return
        self._open[query.key] = query
        self._wait(query, client)
        query.checks_case = upstream  # don't check a denial: it is right, because the name doesn't exist
        query.tried = query.failed = 1 << upstream.index
        if not self._send(query, upstream, now, self._random_bits()):
            self._finish(query, _BUSY)

    def looped(self, upstream: Upstream, now: float) -> None:
        """Note that an upstream sends queries of pydns back to pydns.

        The forwarder doesn't ask this upstream again until `cleared` is called.
        """
        self.counters.loops += 1
        upstream.loops = True
        upstream.open(now, LONGEST_PAUSE_S)
        self._notice(Event.LOOP, upstream)

    def cleared(self, upstream: Upstream) -> None:
        """Note that an upstream no longer sends queries of pydns back to pydns."""
        upstream.loops = upstream.is_open = False
        self._notice(Event.CLOSED, upstream)

    def configure(
        self, routes: Routes, pools: Sequence[Pool], limits: ForwarderLimits, cache_limits: CacheOptions, now: float
    ) -> None:
        """Apply routes and limits. A cached answer is kept if its name still goes to the same servers.

        Open questions continue with the old routes. If a server was in the old pools, the new pools must contain the
        same `Upstream`. A new server must have an index that no other server ever had.
        """
        for key in self._cache.questions():
            before, after = self._routes.find(key[:NAME_END]), routes.find(key[:NAME_END])
            kept = before is not None and after is not None and before.policy == after.policy
            if not kept or _servers(self._pools, before) != _servers(pools, after):
                self._cache.forget(key)
        self._routes, self._pools = routes, pools
        self._limit(limits)
        self._cache.limit(cache_limits)

    def _limit(self, limits: ForwarderLimits) -> None:
        self._limits = limits
        # These values are copied to the forwarder, because each look-up in a NamedTuple adds 0.03 µs to a miss.
        self._deadline_s, self._socket_mask = limits.deadline_s, limits.sockets - 1
        self._most_hedge_credit = HEDGE_WINDOW * limits.hedge_share
        # The maximum number of places for one client or one slow zone.
        self._share = max(limits.max_in_flight // SHARE, 1)

    def _join(self, query: "_Query", question: bytes, query_id: bytes, client: object, now: float) -> None:
        """Let a client wait for the answer to an open question.

        If the client's query looks like a query of pydns, report a possible loop.
        """
        for sent in query.sents:
            if sent.cased and sent.question == question and id_of(sent.place) == int.from_bytes(query_id):
                # Any client can send a query that looks like one of pydns: its name may have no letters, and a client
                # can try many ids. So a probe, which nobody can forge, must confirm the loop.
                self._notice(Event.LOOP_SUSPECTED, sent.upstream)
        if query.stale is not None:
            self.counters.stale += 1
            self._answer(client, query.stale)
        elif self._waiting >= self._share and not self._has_room(client):
            self._answer(client, self._stale(query.key, now) or _BUSY)
        else:
            self.counters.joined += 1
            self._wait(query, client)

    # Places and clients

    def _has_room(self, client: object) -> bool:
        """Return whether one more client may wait. A client that may not wait is counted.

        The caller must first check that at least one share of the places is in use.
        """
        if self._waiting >= self._limits.max_in_flight:
            self.counters.overflows += 1
            return False
        # As long as the waiting clients don't fill one share, no source can exceed its share. So counting by source
        # begins only here.
        if self._held is None:
            self._held = Counter([self._source(each) for query in self._open.values() for each in query.clients])
        source = self._source(client)
        if source is not None and self._held.get(source, 0) >= self._share:
            self.counters.unfair += 1
            return False
        return True

    def _wait(self, query: "_Query", client: object) -> None:
        self._waiting += 1
        query.clients.append(client)
        if self._held is not None:
            source = self._source(client)
            self._held[source] = self._held.get(source, 0) + 1

    def _answer_all(self, query: "_Query", answer: UpstreamAnswer) -> None:
        """Answer all clients that wait for a question. Their places are free before the first reply is sent."""
        clients, query.clients = query.clients, []
        self._waiting -= len(clients)
        if self._held is not None:
            self._count_gone(self._held, clients)
        for client in clients:
            try:  # calling `_answer` for each client would take 0.1 µs more
                self._reply(client, answer)
            except Exception as error:
                self.counters.gone += 1
                self._reply_failed(error)

    def _count_gone(self, held: dict[object, int], clients: Iterable[object]) -> None:
        """Lower the counts of sources, because these clients no longer wait.

        If less than half a share of the places is in use, counting by source ends.
        """
        if self._waiting < self._share // 2:
            self._held = None
            return
        for source in map(self._source, clients):
            left = held.get(source, 0) - 1
            if left > 0:
                held[source] = left
            else:
                held.pop(source, None)

    def _answer(self, client: object, answer: UpstreamAnswer) -> None:
        """Answer a client. If the reply can't be sent, the client is counted as gone."""
        try:
            self._reply(client, answer)
        except Exception as error:
            self.counters.gone += 1
            self._reply_failed(error)

    def _slow_zone(self, qname: bytes, now: float) -> "_SlowZone | None":
        """Return the slow zone to which a name belongs, or None if its zone isn't slow."""
        zone = zone_of(qname)
        known = self._slow_zones.get(zone)
        if known is not None and now >= known.until and not known.held:
            del self._slow_zones[zone]
            return None
        return known if known is not None and known.questions >= SLOW_QUESTIONS else None

    def _note_slow(self, query: "_Query", now: float) -> None:
        """Note that a packet for an open question timed out."""
        if query.is_slow:
            return
        query.is_slow = True
        zone = zone_of(query.qname)
        known = self._slow_zones.get(zone)
        if known is None:
            if len(self._slow_zones) >= _MAX_SLOW_ZONES:
                known_ones = self._slow_zones.items()
                self._slow_zones = {key: each for key, each in known_ones if each.held or each.until > now}
            if len(self._slow_zones) >= _MAX_SLOW_ZONES:
                return
            known = self._slow_zones[zone] = _SlowZone()
        elif now >= known.until:
            known.questions = 0
        known.until = now + SLOW_ZONE_S
        known.questions += 1

    def _refresh(self, key: bytes, now: float) -> None:
        """Ask upstreams again for an answer that is in the cache. No client waits for the new answer."""
        route = self._routes.find(key[:NAME_END])
        if route is None or key in self._open or len(self._open) >= self._limits.max_in_flight:
            return
        self.counters.refreshes += 1
        query = _Query(key, route, self._pools[route.pool], now + self._deadline_s)
        self._open[key] = query
        self._continue(query, now)

    def _probe_open_breakers(self, query: "_Query", now: float) -> None:
        """If an upstream of the question's pool has an open breaker and its probe is due, send the probe.

        If the breakers of all upstreams are open, shorten the deadline of the question.
        """
        if query.pool.open_count() == len(query.pool.upstreams):
            query.deadline = min(query.deadline, now + SILENT_S)
            self._answer_stale(query, now)
        probed = query.pool.probe(now)
        if probed is not None:
            self._probe(probed, now)

    # Probes

    def _suspect(self, upstream: Upstream, now: float, *, of_errors: bool = False) -> None:
        """After a client's question got no reply or an error, probe the server, unless it was just probed."""
        if upstream.suspect(now):
            self._probe(upstream, now, of_errors=of_errors)

    def _probe(self, upstream: Upstream, now: float, *, of_errors: bool = False) -> None:
        query = _Query(_PROBE, _PROBE_ROUTE, Pool([upstream]), now + LONGEST_TIMEOUT_S)
        query.done = query.is_probe = True  # no client waits for a probe
        query.of_errors = of_errors
        query.is_plain = upstream.is_plain_probe
        if not self._send(query, upstream, now, self._random_bits()):
            self._learn(upstream, upstream.failed(now))
        query.sents = ()

    def _probe_failed(self, query: "_Query", upstream: Upstream, now: float) -> None:
        self._learn(upstream, upstream.probe_failed(now))
        self._suspect(upstream, now, of_errors=query.of_errors)

    def _is_measurement(self, sent: "_Sent", now: float) -> bool:
        """Return whether the time of a slow reply is added to the server's reply times.

        If the reply may be slow only because of the domain, its time isn't added, and the server is probed.
        """
        query, upstream = sent.query, sent.upstream
        if query.is_probe or (not sent.timed_out and upstream.is_news(zone_of(query.qname))):
            return True
        self._suspect(upstream, now)
        return False

    def _continue(self, query: "_Query", now: float) -> None:
        """Ask the next upstream. If no upstream is left, and no open packet can still get a reply, give up."""
        if not self._attempt(query, now) and query.outstanding == 0:
            self._give_up(query, now)

    def _attempt(self, query: "_Query", now: float) -> bool:
        """Ask the next upstream. Return False if no upstream is left, or if `MAX_ATTEMPTS` packets were sent."""
        while query.attempts < MAX_ATTEMPTS:
            bits = self._random_bits()
            upstream = query.pool.choose(query.tried, now, bits)
            if upstream is None:
                if query.tried == query.failed:
                    return False
                # All upstreams were asked. Upstreams that sent no reply are asked again, because a packet may be lost.
                # Upstreams that sent an error aren't asked again, because they would send the same error.
                query.tried = query.failed
                self._answer_stale(query, now)
                continue
            if upstream.is_open and not query.attempts and not query.pool.has_another(0):
                self.counters.all_open += 1
            if self._try(query, upstream, now, bits):
                return True
        return False

    def _try(self, query: "_Query", upstream: Upstream, now: float, bits: int) -> bool:
        """Ask an upstream. Return False if the packet can't be sent."""
        query.attempts += 1
        query.tried |= 1 << upstream.index
        if self._send(query, upstream, now, bits):
            return True
        query.failed |= 1 << upstream.index
        query.network_error = True
        self._learn(upstream, upstream.failed(now))
        return False

    def _send(self, query: "_Query", upstream: Upstream, now: float, bits: int, over_stream: bool = False) -> bool:
        """Send a question to an upstream, from a random socket, with a random id and in random case."""
        key = query.key
        question = key[:FLAGS]
        cased = False
        if over_stream or upstream.is_stream:
            socket_index = STREAM
        else:
            if now >= upstream.case_lost_until and not query.is_lower:
                cased = True
                qname = query.qname
                flipped = bits & int.from_bytes(qname.translate(_LETTERS))
                question = (int.from_bytes(qname) ^ flipped).to_bytes(len(qname)) + key[NAME_END:FLAGS]
            if now >= self._socket_until:
                self._socket_until = now + SOCKET_S
                self._socket_index = bits >> RANDOM_SOCKET_AT & self._socket_mask
            socket_index = self._socket_index
        query_id = bits >> RANDOM_ID_AT
        socket_place = upstream.index << UPSTREAM_AT | socket_index << SOCKET_AT
        place = socket_place | query_id
        if place in self._sent:
            for _ in range(_ID_TRIES):
                query_id = self._random_bits() & ID_MASK
                place = socket_place | query_id
                if place not in self._sent:
                    break
            else:
                return False
        has_opt = now >= upstream.edns_lost_until and not query.is_plain
        head, opt = _FRAMES[upstream.trusts_ad][has_opt][key[FLAGS]]
        packet = query_id.to_bytes(2) + head + question + opt
        self.counters.sent += 1
        if socket_index == STREAM:
            if not self._send_tcp(upstream.index, packet):
                return False
        elif not self._send_udp(upstream.index, socket_index, packet):
            return False
        due_at = now + upstream.p95_s
        if due_at > query.deadline:
            due_at = query.deadline
        sent = _Sent(place, query, query.attempts, upstream, question, cased, has_opt, now, due_at)
        self._sent[place] = sent
        query.sents += (sent,)
        query.outstanding += 1
        return True

    def _hedge(self, sent: "_Sent", now: float) -> None:
        """Ask a second upstream before the timeout of the first upstream.

        Only a share of the questions is hedged. But if the first upstream is silent, all questions are.
        """
        query = sent.query
        if not sent.attempt == query.attempts == 1 or not query.pool.has_another(query.tried):
            return
        if sent.upstream.is_silent:
            if self._attempt(query, now):
                self.counters.avoided += 1
        elif self._hedge_credit >= 1 and self._attempt(query, now):
            self._hedge_credit -= 1
            self.counters.hedges += 1

    def _timed_out(self, sent: "_Sent", now: float) -> None:
        sent.timed_out = True
        query = sent.query
        query.outstanding -= 1
        self.counters.timeouts += 1
        if not query.done:
            self._note_slow(query, now)
        if query.is_probe:
            del self._sent[sent.place]
            self._probe_failed(query, sent.upstream, now)
            return
        if sent.is_bare_error:
            del self._sent[sent.place]
            if not query.done:
                query.rcode = Rcode.SERVFAIL
                self._failed(query, sent.upstream, now)
            return
        self._suspect(sent.upstream, now)
        if query.done:
            del self._sent[sent.place]
        elif now >= query.deadline or query.can_end_with_denial:
            del self._sent[sent.place]
            if query.outstanding == 0:
                self._give_up(query, now)
        else:
            sent.due_at = query.deadline
            if not self._attempt(query, now):
                self._answer_stale(query, now)

    def _ask_again(self, query: "_Query", upstream: Upstream, now: float, *, plainly: bool = False) -> None:
        """Ask the same upstream again, because it may not support OPT or random case.

        With `plainly`, the question is sent without OPT. The caller decides whether it is in lower case.
        """
        if query.done:
            return
        query.is_plain |= plainly
        query.attempts += 1
        if query.attempts > MAX_ATTEMPTS or not self._send(query, upstream, now, self._random_bits()):
            self._failed(query, upstream, now)

    def _shows_no_edns(self, query: "_Query", upstream: Upstream, now: float) -> bool:
        # If the question was also asked in lower case, the mixed case may have been the problem, and not OPT.
        return query.checks_case is None and upstream.answered_plainly(query.is_probe, now)

    def _checks_case(self, sent: "_Sent", response: Response | None, now: float) -> bool:
        """Find out whether a server denies names in mixed case. `response` is None if the reply was an error.

        Return True if the question is asked again in lower case. Then the caller must not use this reply.
        """
        query, upstream = sent.query, sent.upstream
        has_records = response is not None and response.answer.counts[:2] != b"\0\0"
        if query.checks_case is upstream and not sent.cased:
            if response is not None:
                query.denial = None
            if not has_records:
                upstream.denied_truly(now)
            elif upstream.denied_case(_owner(query), now):
                self._notice(Event.CASE_DENIED, upstream)
            return False
        if not sent.cased or sent.question[:-4] == query.qname:
            return False
        if has_records:
            upstream.knows_mixed_case(now)
            return False
        if query.done or query.checks_case is not None or not upstream.wants_case_check():
            return False
        query.checks_case, query.denial, query.is_lower = upstream, response, True
        self._ask_again(query, upstream, now)
        return True

    def _ask_over_stream(self, query: "_Query", upstream: Upstream, now: float) -> None:
        """Ask the same upstream over TCP, or the next upstream if TCP to this one failed a short time ago."""
        if now >= upstream.tcp_lost_until:
            if self._send(query, upstream, now, self._random_bits(), over_stream=True):
                return
            self._lost_tcp(upstream, now)
        self._failed(query, upstream, now)

    def _lost_tcp(self, upstream: Upstream, now: float) -> None:
        if now >= upstream.tcp_lost_until:
            self._notice(Event.TCP_LOST, upstream)
        upstream.tcp_lost_until = now + TCP_PAUSE_S

    def _received_unusable(self, sent: "_Sent", why: Unusable, packet: bytes, now: float) -> None:
        query, upstream = sent.query, sent.upstream
        if query.is_probe and why is not Unusable.WRONG_QUESTION:
            self._drop(sent)
            self._learn(upstream, upstream.lives())
            return
        over_stream = socket_of(sent.place) == STREAM
        if why is Unusable.CASE_CHANGED and not over_stream and upstream.spec.case is not Case.RANDOM:
            # The reply isn't used, but the question is asked again in lower case. An attacker who guesses only the id
            # can't cause more than this.
            self.counters.case_lost += 1
            if now >= upstream.case_lost_until and upstream.changed_case(socket_of(sent.place), now):
                self._notice(Event.CASE_LOST, upstream)
            self._drop(sent)
            query.is_lower = True
            self._ask_again(query, upstream, now)
            return
        if packet[2] & 0x80 and packet[4:6] == b"\0\0" and packet[3] & 15:
            # The reply is an error without the question, so it may come from an attacker who guessed only the id. So
            # the forwarder waits for `BARE_ERROR_S`, and a reply with the question still counts.
            if sent.has_opt and packet[3] & 15 in _NO_EDNS:
                self._drop(sent)
                self._ask_again(query, upstream, now, plainly=True)
            elif not sent.is_bare_error:
                self.counters.errors += 1
                sent.is_bare_error = sent.overdue = True
                sent.due_at = min(now + BARE_ERROR_S, query.deadline)
                if not query.done and query.pool.has_another(query.tried):
                    self._attempt(query, now)
            return
        if why in _CUT and len(packet) > EDNS_SIZE and not over_stream:
            # The reply is longer than the size in the query's OPT, but has no TC bit. So the buffer has cut it off. The
            # forwarder asks over TCP, but still accepts a usable reply over UDP.
            if not sent.is_cut and not query.done:
                self.counters.truncated += 1
                sent.is_cut = True
                self._ask_over_stream(query, upstream, now)
            return
        if why in _UNUSABLE_ANSWERS and packet[2] & 0x80:
            self.counters.malformed += 1
            self._refused(upstream, why, query.qname)
            self._drop(sent)
            self._answered_unusably(query, upstream, packet[3] & 15, now - sent.sent_at, now)
            return
        if why in _UNUSABLE_ANSWERS:
            self.counters.malformed += 1
        else:
            self.counters.wrong_question += 1
        if over_stream:
            # Nobody can forge a message on a connection, so this is the server's reply, and no other one will come.
            self._drop(sent)
            if not query.done:
                self._failed(query, upstream, now)

    def _answered_unusably(self, query: "_Query", upstream: Upstream, rcode: int, rtt_s: float, now: float) -> None:
        """Ask one other server after a reply that can't be used.

        The first server counts as healthy, but the time of its reply doesn't count.
        """
        upstream.heard(rcode, rtt_s, now)
        self._learn(upstream, upstream.lives())
        if query.done:
            return
        query.rcode = query.rcode or Rcode.SERVFAIL
        query.extended_error = Reason.UPSTREAM_REPLY
        query.failed |= 1 << upstream.index
        query.tried |= 1 << upstream.index
        if query.is_unusable:
            self._give_up(query, now)
            return
        query.is_unusable = True
        self._continue(query, now)

    def _drop(self, sent: "_Sent") -> None:
        del self._sent[sent.place]
        if not sent.timed_out:
            sent.query.outstanding -= 1

    def _failed(self, query: "_Query", upstream: Upstream, now: float) -> None:
        """Ask the next upstream, and don't ask `upstream` this question again."""
        query.failed |= 1 << upstream.index
        query.tried |= 1 << upstream.index
        self._continue(query, now)

    def _answered(self, query: "_Query", upstream: Upstream, response: Response, now: float) -> None:
        if query.route.failover and _outcome(response.answer) in query.route.failover:
            query.failed |= 1 << upstream.index
            query.tried |= query.failed
            query.last_denial = response
            if query.pool.has_another(query.tried):
                self._continue(query, now)
                return
            if query.outstanding:
                return
        self.answering = upstream.spec.name
        self._settle(query, response, now)
        self.answering = ""

    def _settle(self, query: "_Query", response: Response, now: float) -> None:
        """Answer a question with the final reply from the servers of its route.

        If the outcome of the reply leads to another route, the servers of that route are asked instead.
        """
        if query.route.next and self._goes_on(query, _outcome(response.answer), now):
            return
        for upstream in query.gave_errors:
            # This upstream gave an error, but another upstream answered the same question.
            self._suspect(upstream, now, of_errors=True)
        self._finish(query, self._cache.store(query.key, response, now))

    def _goes_on(self, query: "_Query", outcome: Outcome | None, now: float) -> bool:
        """Ask the servers of the next route. Return False if this outcome leads to no other route."""
        following = self._routes.find(query.qname, query.route) if outcome in query.route.next else None
        if following is None:
            return False
        query.go_on(following, self._pools[following.pool])
        self._continue(query, now)
        return True

    def _give_up(self, query: "_Query", now: float) -> None:
        """Answer a question for which no upstream has given a usable answer."""
        denial = query.denial or query.last_denial
        if denial is not None:  # a server has denied the name, and no other question or server has led to an answer
            query.denial = query.last_denial = None
            self._settle(query, denial, now)
            return
        if query.rcode and query.route.next:
            outcome = Outcome.REFUSED if query.rcode == Rcode.REFUSED else Outcome.SERVFAIL
            if self._goes_on(query, outcome, now):
                return
        if query.attempts == 0 and not query.failed:
            # No upstream was asked, so the failure isn't stored: it says nothing about the question.
            if all(upstream.loops for upstream in query.pool.upstreams):
                failure = _LOOPING if query.pool.upstreams else _UNREACHABLE
            else:  # the budgets of all servers are used up
                self.counters.overflows += query.clients != []
                failure = _BUSY
        else:
            if query.partial is not None:
                failure = query.partial
            elif query.rcode:
                failure = UpstreamAnswer(query.rcode, _NO_RECORDS, b"", query.extended_error)
            else:
                reason = Reason.UPSTREAM_UNREACHABLE if query.network_error else Reason.UPSTREAM_TIMEOUT
                failure = UpstreamAnswer(Rcode.SERVFAIL, _NO_RECORDS, b"", reason)
            self._cache.store_failure(query.key, failure, now)
        for upstream in query.gave_errors:
            if not upstream.edns_answered:  # OPT may be the reason for the error
                self._suspect(upstream, now)
        if query.partial is None:
            self._answer_stale(query, now)
        self.answering = query.gave_errors[-1].spec.name if query.gave_errors else ""
        self._finish(query, failure)
        self.answering = ""

    def _finish(self, query: "_Query", answer: UpstreamAnswer) -> None:
        query.done = True
        # The query and its packets refer to each other; without this, only the garbage collector would free them.
        query.sents = ()
        del self._open[query.key]
        if query.slow_zone is not None:
            query.slow_zone.held -= 1
        self._answer_all(query, answer)

    def _answer_stale(self, query: "_Query", now: float) -> None:
        """Send the last known answer to the waiting clients, if the cache has one.

        The question stays open, so that a later reply still gets into the cache.
        """
        if query.stale is None:
            query.stale = self._cache.stale(query.key, now)
        if query.stale is not None:
            self.counters.stale += len(query.clients)
            self._answer_all(query, query.stale)

    def _serve_stale_at_once(self, key: bytes, client: object, now: float) -> bool:
        """Send the last known answer, and ask upstreams for a new one. Return False if the cache has no such answer."""
        stale = self._cache.stale_at_once(key, now)
        if stale is None:
            return False
        self.counters.stale += 1
        self._answer(client, stale)
        if self._cache.failure(key, now) is None:
            self._refresh(key, now)
        return True

    def _stale(self, key: bytes, now: float) -> UpstreamAnswer | None:
        stale = self._cache.stale(key, now)
        if stale is not None:
            self.counters.stale += 1
        return stale

    def _learn(self, upstream: Upstream, change: Change | None) -> None:
        if change is not None:
            self._notice(Event.OPENED if change is Change.OPENED else Event.CLOSED, upstream)


class _Query:
    """An open question, and what has happened to it so far."""

    __slots__ = (
        "attempts",
        "checks_case",
        "clients",
        "deadline",
        "denial",
        "done",
        "extended_error",
        "failed",
        "gave_errors",
        "is_lower",
        "is_plain",
        "is_probe",
        "is_slow",
        "is_unusable",
        "key",
        "last_denial",
        "network_error",
        "of_errors",
        "outstanding",
        "partial",
        "pool",
        "qname",
        "rcode",
        "route",
        "sents",
        "slow_zone",
        "stale",
        "tried",
    )

    def __init__(self, key: bytes, route: RouteSpec, pool: Pool, deadline: float) -> None:
        self.key = key
        self.qname = key[:NAME_END]  # the name in lower case
        self.route = route
        self.pool = pool
        self.clients: list[object] = []
        self.deadline = deadline
        self.sents: tuple[_Sent, ...] = ()
        self.outstanding = 0  # how many packets have neither got a reply nor timed out
        self.attempts = 0
        self.tried = 0  # bit i is 1 if the upstream with index i was asked in this round
        self.failed = 0  # bit i is 1 if the upstream with index i must not be asked again
        self.gave_errors: Sequence[Upstream] = ()
        self.rcode = 0  # the rcode of the last error
        self.extended_error: Reason | int | None = None  # the extended error of the last error
        self.is_unusable = False  # True after a first reply that can't be used
        self.partial: UpstreamAnswer | None = None  # a truncated answer, which is used if TCP fails
        self.network_error = False
        self.stale: UpstreamAnswer | None = None  # the stale answer that waiting clients have already got
        self.is_plain = False  # True: the question is sent without OPT, because a server didn't understand OPT
        # True: the question is sent in lower case, because of an earlier reply to the name in mixed case.
        self.is_lower = False
        # The upstream that is asked in lower case, to find out whether it denies names in mixed case.
        self.checks_case: Upstream | None = None
        self.denial: Response | None = None  # the denial that `checks_case` sent for the name in mixed case
        # The last denial after which another server of the route was asked (`failover`).
        self.last_denial: Response | None = None
        self.is_slow = False  # True after a packet for the question has timed out
        self.slow_zone: _SlowZone | None = None  # the slow zone whose `held` includes this question
        self.is_probe = False
        self.of_errors = False  # True for a probe whose reason was an error
        self.done = False

    @property
    def can_end_with_denial(self) -> bool:
        """Return whether a server has denied the name, and there is no other server to ask."""
        return self.denial is not None or (self.last_denial is not None and not self.pool.has_another(self.tried))

    def go_on(self, route: RouteSpec, pool: Pool) -> None:
        """Start again with the servers of another route. The deadline doesn't change."""
        self.route = route
        self.pool = pool
        self.attempts = self.tried = self.failed = self.rcode = 0
        self.gave_errors = ()
        self.extended_error = None
        self.network_error = self.is_unusable = False
        self.partial = self.denial = self.last_denial = None


class _SlowZone:
    """A zone for whose names packets have timed out. After the time `until`, the zone isn't slow any more."""

    __slots__ = ("held", "questions", "until")

    def __init__(self) -> None:
        self.held = 0  # how many open questions came after the zone became slow
        self.questions = 0  # how many questions have recently timed out
        self.until = 0.0


class _Sent:
    """A packet that was sent to an upstream and may still get a reply."""

    __slots__ = (
        "attempt",
        "cased",
        "due_at",
        "has_opt",
        "is_bare_error",
        "is_cut",
        "overdue",
        "place",
        "query",
        "question",
        "sent_at",
        "timed_out",
        "upstream",
    )

    def __init__(
        self,
        place: int,
        query: _Query,
        attempt: int,
        upstream: Upstream,
        question: bytes,
        cased: bool,
        has_opt: bool,
        sent_at: float,
        due_at: float,
    ) -> None:
        self.place = place
        self.query = query
        self.attempt = attempt  # the number of the attempt; 0 for a probe
        self.upstream = upstream
        self.question = question
        self.cased = cased
        self.has_opt = has_opt
        self.sent_at = sent_at
        self.due_at = due_at  # when the forwarder must hedge, ask another server, or forget the packet
        self.is_cut = False  # True after a reply that was longer than the size in the query's OPT
        self.is_bare_error = False  # True after an error that came without the question
        self.overdue = False
        self.timed_out = False


def _partial(packet: bytes, question: bytes) -> UpstreamAnswer | None:
    """Return the answer that a truncated reply contains.

    Return None if the reply has no answer records, or if a record is incomplete.
    """
    response = parse_response(packet[:2] + bytes([packet[2] & ~2]) + packet[3:], question)
    if isinstance(response, Unusable) or response.answer.rcode or response.answer.counts[:2] == b"\0\0":
        return None
    return response.answer


def _outcome(answer: UpstreamAnswer) -> Outcome | None:
    """Return the outcome of an answer: NXDOMAIN or NODATA. Return None if the answer isn't a denial."""
    if answer.rcode == Rcode.NXDOMAIN:
        return Outcome.NXDOMAIN
    return Outcome.NODATA if answer.rcode == Rcode.NOERROR and answer.counts[:2] == b"\0\0" else None


def _owner(query: _Query) -> bytes:
    """Return a text that stands for the owner of the name's domain. `Upstream.denied_case` counts different owners.

    On the default route, the text is the domain of the name. On any other route, it is the whole name, as if each name
    had another owner.
    """
    return zone_of(query.qname) if query.route.domain == name.ROOT else query.qname


def zone_of(qname: bytes) -> bytes:
    """Return the last two labels of a wire name in lower case.

    These two labels are treated as a domain with one owner.
    """
    suffixes = [qname, *name.ancestors(qname)]
    return suffixes[-3] if len(suffixes) > 2 else qname


def _servers(pools: Sequence[Pool], route: RouteSpec | None) -> list[tuple[str, bool]]:
    """Return the servers of a route: the name of each, and whether clients get its AD bit.

    A cached answer depends on both.
    """
    return [] if route is None else sorted([(each.spec.name, each.trusts_ad) for each in pools[route.pool].upstreams])


_UNUSABLE_ANSWERS: Final = (Unusable.MALFORMED, Unusable.TOO_MUCH, Unusable.LONG_CHAIN)
_ANSWERS: Final = frozenset([int(each) for each in (Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.YXDOMAIN)])
_MAX_SLOW_ZONES: Final = 1000
_CUT: Final = frozenset(Unusable) - {Unusable.WRONG_QUESTION, Unusable.CASE_CHANGED}
# The question of a probe; CoreDNS asks the same.
_PROBE: Final = name.ROOT + NS.to_bytes(2) + CLASS_IN.to_bytes(2) + FLAG_OCTETS[0]
_PROBE_ROUTE: Final = RouteSpec(name.ROOT, 0)
_NO_RECORDS = bytes(4)
_BUSY, _LATE, _LOOPING, _UNREACHABLE = (
    UpstreamAnswer(Rcode.SERVFAIL, _NO_RECORDS, b"", reason)
    for reason in (Reason.TOO_BUSY, Reason.UPSTREAM_TIMEOUT, Reason.UPSTREAM_LOOP, Reason.UPSTREAM_UNREACHABLE)
)
_REFUSED: Final = UpstreamAnswer(Rcode.REFUSED, _NO_RECORDS, b"", Reason.NOT_OURS)
# The rcodes with which a server that doesn't know OPT answers a query with OPT (RFC 6891 section 7).
_NO_EDNS: Final = (Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS)
# The parts of a query before and after the question: the header without the id, and the OPT record. The indices are
# whether AD is wanted, whether OPT is sent, and the flags of the question.
_FRAMES: Final = [
    [
        [
            (
                (RD | (AD if wants_ad else 0) | (CD if flags & ASK_CD else 0)).to_bytes(2)
                + b"\0\1\0\0\0\0\0"
                + bytes([has_opt]),
                compose_opt(bool(flags & ASK_DO)) if has_opt else b"",
            )
            for flags in range(4)
        ]
        for has_opt in (False, True)
    ]
    for wants_ad in (False, True)
]
# For a wire name in lower case: maps a letter to 0x20 and any other octet to 0. Length octets are at most 63, so no
# length octet is mapped like a letter.
_LETTERS: Final = bytes([0x20 if 97 <= octet <= 122 else 0 for octet in range(256)])
