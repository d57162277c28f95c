"""Questions to upstreams and their answers back: transactions, retries, hedging. No sockets, no clock, no event loop.

A worker calls `ask` for each query that upstreams are to answer, `received` for each datagram or framed message from an
upstream, `unreachable` when a socket reports an error, and `tick` about every 10 ms while `busy`. The forwarder acts
through callables given at the start: a call takes 0.02 µs, returning a list with one action 0.35 µs.

Rules
1. A reply counts if it comes on the socket that the query left by, with its id, and repeats the question byte for byte,
   in the random case that it was sent in (0x20). Others are counted and change nothing.
2. Equal questions in flight are asked once; each client gets the answer.
3. After an error or a failed send the next upstream is asked at once, after silence when a timeout has passed. For a
   share of the questions a second upstream is asked in parallel, after the first one's own 95th percentile.
4. A client has its answer within `deadline_s` of the first client that asked. It is an upstream's answer, else the last
   known one (RFC 8767), else SERVFAIL with a reason (RFC 8914).
5. Packets of the same millisecond leave by one random socket, so that their replies come together. Guessing the socket
   is no easier than if each packet had its own, because an attacker doesn't see it.
6. A late reply answers its question while that is open. After that it only updates the state of the server.
7. One client holds at most a quarter of the places, and so do the questions of a zone that upstreams are slow about.
8. A client that can't be answered any more is counted and costs no other client anything.
9. What anyone could forge or bring about only makes us ask our own probe: a query that resembles one of ours, silence,
   errors. The probe's question is about the root, so no owner of a domain has a part in its answer.
10. Where names in mixed case have only been denied of late, a denial is checked by the same question in lower case. It
   takes such names of several owners to believe that a server denies mixed case.
11. A reply that can't be used is an answer too: another server is asked, once, then the client gets SERVFAIL. It tells
   nothing about the server, because the owner of a domain may cause it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from pydns.config.model import CacheOptions, Case, Config, OnNxdomain
from pydns.dns import name
from pydns.dns.compiled import HEADER
from pydns.dns.message import AD, CD, EDNS_SIZE, RD, Ede, Rcode, compose_opt
from pydns.dns.response import Response, Unusable, UpstreamAnswer, parse_response
from pydns.dns.rrset import CLASS_IN, NS
from pydns.upstream.cache import Cache
from pydns.upstream.key import ASK_CD, ASK_DO, FLAG_OCTETS, FLAGS, QNAME, QUESTION, TYPE_AND_CLASS
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

MAX_ATTEMPTS = 6  # packets for one question to one route, hedges and repetitions included
HEDGE_WINDOW = 100  # questions whose share of hedges is saved up; at the start as if they had been asked
SOCKET_S = 0.001  # how long one UDP socket is used: waking up for the replies of many cost a miss 1 µs
SILENT_S = 0.8  # deadline of a question while all servers of its route are known to be silent
SHARE = 4  # one client, or one slow zone, holds at most this part of the places
SLOW_QUESTIONS = 16  # of one zone that are open and have met a timeout: from then on the zone's questions are counted
SLOW_ZONE_S = 30.0  # how long they are counted
BARE_ERROR_S = 0.1  # how long after an error without the question a reply with it still counts
LOST_S = 1.0  # a question that is open so long past its deadline has met a bug
_ID_TRIES = 32  # then a socket counts as full: with half of its ids in use, a chance of one in 4,000 million


class ForwarderLimits(NamedTuple):
    """Bounds on what is in flight."""

    max_in_flight: int = Config().max_in_flight  # clients that wait
    sockets: int = 32  # UDP sockets for each upstream: a power of two, at most 128
    hedge_share: float = 0.1
    deadline_s: float = 4.0


class Event(Enum):
    """Changes of state that are logged. Never about single queries."""

    OPENED = "upstream does not answer"
    CLOSED = "upstream answers again"
    CASE_LOST = "upstream does not keep the case of names"
    CASE_DENIED = "upstream denies names in mixed case"
    EDNS_LOST = "upstream does not speak EDNS"
    TCP_LOST = "upstream does not answer over TCP"
    LOOP = "upstream sends our queries back to us"
    LOOP_SUSPECTED = "a query resembles one of ours"  # not logged: it may be forged


class Counters:
    """Counts of events, for metrics."""

    __slots__ = (
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
    )

    def __init__(self) -> None:
        for each in self.__slots__:
            setattr(self, each, 0)

    misses: int  # asked upstream
    joined: int  # waited for an equal question
    overflows: int  # SERVFAIL at once: too many in flight, or no upstream had a packet left in its budget
    stale: int  # last known answers given
    refreshes: int  # asked for again before expiry
    all_open: int  # asked although every breaker was open
    sent: int
    hedges: int
    gone: int  # clients that could not be answered any more
    unfair: int  # SERVFAIL at once: the client or the zone had its share of the places
    avoided: int  # asked a second upstream because the first one had gone silent
    timeouts: int
    errors: int  # SERVFAIL, REFUSED and other errors
    truncated: int
    unexpected: int  # no question is open with this id on this socket
    wrong_question: int
    malformed: int
    case_lost: int
    loops: int


class Forwarder:
    """Every question that is open, and the packets sent for it."""

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
        """Connect the parts. `random_bits` returns a number of `RANDOM_OCTETS` that earlier ones don't predict.

        `send_udp(upstream index, socket index, packet)` and `send_tcp(upstream index, message)` return False if it
        can't be sent. `reply(client, answer)` is called once for each `ask`, from within it or later. `notice(event,
        upstream)` is for the log, and `refused(upstream, why, qname)` too, for a reply that can't be used.
        `source(client)` returns what the client's share is counted by; None: not at all. `failed(error)` is for an
        error of `reply`: its client is gone, or has met a bug.
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
        self._held: dict[object, int] | None = None  # source -> how many of its clients wait; None: not crowded
        self._slow_zones: dict[bytes, _SlowZone] = {}
        self._refused = refused
        self._open: dict[bytes, _Query] = {}  # key -> open question
        self._sent: dict[int, _Sent] = {}  # place -> packet
        self._waiting = 0
        self._hedge_credit = self._most_hedge_credit
        self._socket_index = 0
        self._socket_until = 0.0

    def ask(self, question: bytes, query_id: bytes, flags: int, client: object, now: float) -> None:
        """Answer a client's question, at once from the cache or later.

        `question` is name, type and class as the client sent them, valid; `query_id` its id, for noticing loops.
        """
        key = question[:-4].lower() + question[-4:] + FLAG_OCTETS[flags]
        entry = self._cache.fresh(key, now)
        if entry is not None:
            self._answer(client, entry.answer_at(now))
            if now >= entry.refresh_at and entry.wants_refresh(now):
                self._refresh(key, now)
            self._cache.make_ready(key, entry, now)
            return
        query = self._open.get(key)
        if query is not None:
            if now < query.deadline + LOST_S:
                self._join(query, question, query_id, client, now)
                return
            self._finish(query, _SERVFAIL)
        refusal = self._cache.failure(key, now)
        if refusal is None and self._waiting >= self._share and not self._has_room(client):
            refusal = _SERVFAIL
        zone = None
        if refusal is None and self._slow_zones:
            zone = self._slow_zone(key[QNAME], now)
            if zone is not None and zone.held >= self._share:
                self.counters.unfair += 1
                refusal = _SERVFAIL
        if refusal is not None:
            self._answer(client, self._stale(key, now) or refusal)
            return
        route = self._routes.find(key[QNAME])
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
            # There is no time to ask one after another.
            for _ in query.pool.upstreams[1:3]:
                self._attempt(query, now)

    def received(self, upstream_index: int, socket_index: int, packet: bytes, now: float) -> None:
        """Take in a datagram, or a message from the upstream's connection if `socket_index` is STREAM."""
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
            # The server is known not to keep the case, so its own spelling of the question is accepted.
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
                self._answered(query, response, now)
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
                query.extended_error = answer.extended_error
                query.gave_errors = [*query.gave_errors, upstream]
                self._failed(query, upstream, now)

    def unreachable(self, upstream_index: int, socket_index: int, now: float) -> None:
        """Give up the packets of a socket: nobody listens there, or the connection was closed."""
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
        """Hedge, try the next upstream or give up, where it is time."""
        # All open packets are looked at, 0.03 µs each. A timer for each would cost a miss 0.9 µs.
        for sent in [each for each in self._sent.values() if each.due_at <= now]:
            if self._sent.get(sent.place) is not sent:  # the failure of another packet has ended it
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
        """Whether `tick` must be called."""
        return bool(self._sent)

    @property
    def waiting(self) -> int:
        """Return how many clients wait for an answer."""
        return self._waiting

    def probe(self, upstream: Upstream, question: bytes, client: object, now: float) -> None:
        """Ask one upstream, regardless of routes, cache and breaker. `question` is in lower case."""
        pool = Pool([upstream])
        query = _Query(question + FLAG_OCTETS[0], RouteSpec(name.ROOT, 0), pool, now + self._deadline_s)
        if query.key in self._open:
            return
        self._open[query.key] = query
        self._wait(query, client)
        query.checks_case = upstream  # its name doesn't exist, so a denial of it is true
        query.tried = query.failed = 1 << upstream.index
        if not self._send(query, upstream, now, self._random_bits()):
            self._finish(query, _SERVFAIL)

    def looped(self, upstream: Upstream, now: float) -> None:
        """Note that an upstream sends our queries back to us. It isn't asked until it is `cleared`."""
        self.counters.loops += 1
        upstream.loops = True
        upstream.open(now, LONGEST_PAUSE_S)
        self._notice(Event.LOOP, upstream)

    def cleared(self, upstream: Upstream) -> None:
        """Note that an upstream doesn't send our queries back to us any more."""
        upstream.loops = upstream.is_open = False
        self._notice(Event.CLOSED, upstream)

    def configure(
        self, routes: Routes, pools: Sequence[Pool], limits: ForwarderLimits, cache_limits: CacheOptions, now: float
    ) -> None:
        """Apply routes and limits. Answers stay cached if their names go to the same servers as before.

        Questions in flight end with the routes they began with. An `Upstream` index always means the same server. Pools
        share the `Upstream` of a server that stays, and a new one gets an index that was never used.
        """
        for key in self._cache.questions():
            before, after = self._routes.find(key[QNAME]), routes.find(key[QNAME])
            kept = before is not None and after is not None and before.on_nxdomain is after.on_nxdomain
            if not kept or _servers(self._pools, before) != _servers(pools, after):
                self._cache.forget(key)
        self._routes, self._pools = routes, pools
        self._limit(limits)
        self._cache.limit(cache_limits)

    def _limit(self, limits: ForwarderLimits) -> None:
        self._limits = limits
        # Kept, because each look-up in a NamedTuple costs a miss 0.03 µs.
        self._deadline_s, self._socket_mask = limits.deadline_s, limits.sockets - 1
        self._most_hedge_credit = HEDGE_WINDOW * limits.hedge_share
        self._share = max(limits.max_in_flight // SHARE, 1)  # places that one client or one slow zone may hold

    def _join(self, query: "_Query", question: bytes, query_id: bytes, client: object, now: float) -> None:
        """Let a client wait for an open question. If the query may be our own that came back, have that looked into."""
        for sent in query.sents:
            if sent.cased and sent.question == question and id_of(sent.place) == int.from_bytes(query_id):
                # Anyone can send this: a name may have no letters, and ids can be tried out. A probe can't be forged.
                self._notice(Event.LOOP_SUSPECTED, sent.upstream)
        if query.stale is not None:
            self.counters.stale += 1
            self._answer(client, query.stale)
        elif self._waiting >= self._share and not self._has_room(client):
            self._answer(client, self._stale(query.key, now) or _SERVFAIL)
        else:
            self.counters.joined += 1
            self._wait(query, client)

    # Places and clients

    def _has_room(self, client: object) -> bool:
        """Return whether one more client may wait, where as many as a share wait already. Count it if not."""
        if self._waiting >= self._limits.max_in_flight:
            self.counters.overflows += 1
            return False
        # While fewer than a share wait in all, no client can exceed its share. So clients are counted only above that.
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
        """Answer everyone who waits for a question. Their places are free before the first one is answered."""
        clients, query.clients = query.clients, []
        self._waiting -= len(clients)
        if self._held is not None:
            self._count_gone(self._held, clients)
        for client in clients:
            try:  # `_answer` for each takes 0.1 µs more
                self._reply(client, answer)
            except Exception as error:
                self.counters.gone += 1
                self._reply_failed(error)

    def _count_gone(self, held: dict[object, int], clients: Iterable[object]) -> None:
        """Take clients off their sources' counts. Don't count any more when the crowd is half gone."""
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
        """Answer a client. Its fate changes nothing for others."""
        try:
            self._reply(client, answer)
        except Exception as error:
            self.counters.gone += 1
            self._reply_failed(error)

    def _slow_zone(self, qname: bytes, now: float) -> "_SlowZone | None":
        """Return the zone of a name if upstreams are slow about it."""
        zone = zone_of(qname)
        known = self._slow_zones.get(zone)
        if known is not None and now >= known.until and not known.held:
            del self._slow_zones[zone]
            return None
        return known if known is not None and known.questions >= SLOW_QUESTIONS else None

    def _note_slow(self, query: "_Query", now: float) -> None:
        """Note that an open question has met a timeout."""
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
        """Fetch a cached answer anew. No client waits for it."""
        route = self._routes.find(key[QNAME])
        if route is None or key in self._open or len(self._open) >= self._limits.max_in_flight:
            return
        self.counters.refreshes += 1
        query = _Query(key, route, self._pools[route.pool], now + self._deadline_s)
        self._open[key] = query
        self._continue(query, now)

    def _probe_open_breakers(self, query: "_Query", now: float) -> None:
        """Send a probe to an open upstream of a question's pool if one is due. Don't wait long if all are open."""
        if query.pool.open_count() == len(query.pool.upstreams):
            query.deadline = min(query.deadline, now + SILENT_S)
            self._answer_stale(query, now)
        probed = query.pool.probe(now)
        if probed is not None:
            self._probe(probed, now)

    # Our own probes

    def _suspect(self, upstream: Upstream, now: float, *, of_errors: bool = False) -> None:
        """Probe a server, if a probe is due, after a client's question got no reply or an error from it."""
        if upstream.suspect(now):
            self._probe(upstream, now, of_errors=of_errors)

    def _probe(self, upstream: Upstream, now: float, *, of_errors: bool = False) -> None:
        query = _Query(_PROBE, _PROBE_ROUTE, Pool([upstream]), now + LONGEST_TIMEOUT_S)
        query.done = query.is_probe = True  # nobody waits for it
        query.of_errors = of_errors
        query.is_plain = upstream.is_plain_probe
        if not self._send(query, upstream, now, self._random_bits()):
            self._learn(upstream, upstream.failed(now))
        query.sents = ()

    def _probe_failed(self, query: "_Query", upstream: Upstream, now: float) -> None:
        self._learn(upstream, upstream.probe_failed(now))
        self._suspect(upstream, now, of_errors=query.of_errors)

    def _is_measurement(self, sent: "_Sent", now: float) -> bool:
        """Return whether the time of a slow reply tells of the server rather than of a domain. Probe it if not."""
        query, upstream = sent.query, sent.upstream
        if query.is_probe or (not sent.timed_out and upstream.is_news(zone_of(query.qname))):
            return True
        self._suspect(upstream, now)
        return False

    def _continue(self, query: "_Query", now: float) -> None:
        """Ask the next upstream. Give up if there is none and no reply is expected."""
        if not self._attempt(query, now) and query.outstanding == 0:
            self._give_up(query, now)

    def _attempt(self, query: "_Query", now: float) -> bool:
        """Ask the next upstream. Return False if there is none, or if enough packets were sent."""
        while query.attempts < MAX_ATTEMPTS:
            bits = self._random_bits()
            upstream = query.pool.choose(query.tried, now, bits)
            if upstream is None:
                if query.tried == query.failed:
                    return False
                # All were asked. A silent one may have lost a packet. One that gave an error would give it again.
                query.tried = query.failed
                self._answer_stale(query, now)
                continue
            if upstream.is_open and not query.attempts and not query.pool.has_another(0):
                self.counters.all_open += 1
            if self._try(query, upstream, now, bits):
                return True
        return False

    def _try(self, query: "_Query", upstream: Upstream, now: float, bits: int) -> bool:
        """Ask an upstream. Return False if nothing can be sent to it."""
        query.attempts += 1
        query.tried |= 1 << upstream.index
        if self._send(query, upstream, now, bits):
            return True
        query.failed |= 1 << upstream.index
        query.network_error = True
        self._learn(upstream, upstream.failed(now))
        return False

    def _send(self, query: "_Query", upstream: Upstream, now: float, bits: int, over_stream: bool = False) -> bool:
        """Send a question to an upstream, by a random socket, with a random id and in random case."""
        key = query.key
        question = key[QUESTION]
        cased = False
        if over_stream or upstream.is_stream:
            socket_index = STREAM
        else:
            if now >= upstream.case_lost_until and not query.is_lower:
                cased = True
                qname = query.qname
                flipped = bits & int.from_bytes(qname.translate(_LETTERS))
                question = (int.from_bytes(qname) ^ flipped).to_bytes(len(qname)) + key[TYPE_AND_CLASS]
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
        """Ask a second upstream before the first one's timeout.

        This is done for a share of the questions, or for all of them if the first upstream has gone silent.
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
        elif now >= query.deadline or query.denial is not None:
            del self._sent[sent.place]
            if query.outstanding == 0:
                self._give_up(query, now)
        else:
            sent.due_at = query.deadline
            if not self._attempt(query, now):
                self._answer_stale(query, now)

    def _ask_again(self, query: "_Query", upstream: Upstream, now: float, *, plainly: bool = False) -> None:
        """Ask the same upstream without random case, which it doesn't keep, or without OPT, which it may not know."""
        if query.done:
            return
        query.is_plain |= plainly
        query.attempts += 1
        if query.attempts > MAX_ATTEMPTS or not self._send(query, upstream, now, self._random_bits()):
            self._failed(query, upstream, now)

    def _shows_no_edns(self, query: "_Query", upstream: Upstream, now: float) -> bool:
        # Of a question that was then asked in lower case too, the case may have been the obstacle.
        return query.checks_case is None and upstream.answered_plainly(query.is_probe, now)

    def _checks_case(self, sent: "_Sent", response: Response | None, now: float) -> bool:
        """Learn whether a server knows names in mixed case. Return True if this one is asked for again in lower case.

        `response` is None for an error.
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
        """Ask the same upstream over TCP, unless its TCP is known to be dead."""
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
            # The reply isn't used. This question is asked again in lower case. A guess of the id alone gains no more.
            self.counters.case_lost += 1
            if now >= upstream.case_lost_until and upstream.changed_case(socket_of(sent.place), now):
                self._notice(Event.CASE_LOST, upstream)
            self._drop(sent)
            query.is_lower = True
            self._ask_again(query, upstream, now)
            return
        if packet[2] & 0x80 and packet[4:6] == b"\0\0" and packet[3] & 15:
            # An error without the question. It may be a guess of the id alone: a real reply counts for a while.
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
            # More octets than we had offered, cut off by our buffer, and without TC. A usable reply still counts.
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
            # Nobody can forge a message within the connection: it is the server's reply, and no other will come.
            self._drop(sent)
            if not query.done:
                self._failed(query, upstream, now)

    def _answered_unusably(self, query: "_Query", upstream: Upstream, rcode: int, rtt_s: float, now: float) -> None:
        """Ask another server once. The one that answered so is well, but its time isn't measured by this."""
        upstream.heard(rcode, rtt_s, now)
        self._learn(upstream, upstream.lives())
        if query.done:
            return
        query.rcode = query.rcode or Rcode.SERVFAIL
        query.extended_error = Ede.INVALID_DATA
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
        """Go on with the next upstream. This one isn't asked the question again."""
        query.failed |= 1 << upstream.index
        query.tried |= 1 << upstream.index
        self._continue(query, now)

    def _answered(self, query: "_Query", response: Response, now: float) -> None:
        if response.answer.rcode == Rcode.NXDOMAIN and query.route.on_nxdomain is OnNxdomain.NEXT:
            following = self._routes.find(query.qname, query.route)
            if following is not None:
                query.go_on(following, self._pools[following.pool])
                self._continue(query, now)
                return
        for upstream in query.gave_errors:
            # These gave errors to a question that can be answered.
            self._suspect(upstream, now, of_errors=True)
        self._finish(query, self._cache.store(query.key, response, now))

    def _give_up(self, query: "_Query", now: float) -> None:
        """Answer a question that no upstream answers."""
        if query.denial is not None:  # what was denied couldn't be asked for in lower case
            denial, query.denial = query.denial, None
            self._answered(query, denial, now)
            return
        if query.attempts == 0 and not query.failed:
            # No upstream was asked, so nothing is known about the question.
            if all(upstream.loops for upstream in query.pool.upstreams):
                failure = _NOBODY
            else:  # every server's budget of packets is spent
                self.counters.overflows += query.clients != []
                failure = _SERVFAIL
        else:
            if query.partial is not None:
                failure = query.partial
            elif query.rcode:
                failure = UpstreamAnswer(query.rcode, _NO_RECORDS, b"", query.extended_error)
            else:
                reason = Ede.NETWORK_ERROR if query.network_error else Ede.NO_REACHABLE_AUTHORITY
                failure = UpstreamAnswer(Rcode.SERVFAIL, _NO_RECORDS, b"", reason)
            self._cache.store_failure(query.key, failure, now)
        for upstream in query.gave_errors:
            if not upstream.edns_answered:  # it may be the OPT that it gives errors to
                self._suspect(upstream, now)
        if query.partial is None:
            self._answer_stale(query, now)
        self._finish(query, failure)

    def _finish(self, query: "_Query", answer: UpstreamAnswer) -> None:
        query.done = True
        query.sents = ()  # they refer to the query: this leaves no cycle for the garbage collector
        del self._open[query.key]
        if query.slow_zone is not None:
            query.slow_zone.held -= 1
        self._answer_all(query, answer)

    def _answer_stale(self, query: "_Query", now: float) -> None:
        """Answer with the last known answer, if there is one. The question stays open, so that its answer is cached."""
        if query.stale is None:
            query.stale = self._cache.stale(query.key, now)
        if query.stale is not None:
            self.counters.stale += len(query.clients)
            self._answer_all(query, query.stale)

    def _stale(self, key: bytes, now: float) -> UpstreamAnswer | None:
        stale = self._cache.stale(key, now)
        if stale is not None:
            self.counters.stale += 1
        return stale

    def _learn(self, upstream: Upstream, change: Change | None) -> None:
        if change is not None:
            self._notice(Event.OPENED if change is Change.OPENED else Event.CLOSED, upstream)


class _Query:
    """A question that is open."""

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
        self.qname = key[QNAME]  # lower case
        self.route = route
        self.pool = pool
        self.clients: list[object] = []
        self.deadline = deadline
        self.sents: tuple[_Sent, ...] = ()
        self.outstanding = 0  # packets that haven't timed out and have no reply
        self.attempts = 0
        self.tried = 0  # a bit for each upstream's index that was asked in this round
        self.failed = 0  # a bit for each upstream's index that isn't to be asked again
        self.gave_errors: Sequence[Upstream] = ()
        self.rcode = 0  # of the last error
        self.extended_error: int | None = None  # likewise
        self.is_unusable = False  # whether a reply came that can't be used
        self.partial: UpstreamAnswer | None = None  # a truncated answer: better than none if TCP fails
        self.network_error = False
        self.stale: UpstreamAnswer | None = None  # the stale answer that clients have got meanwhile
        self.is_plain = False  # asked without OPT, because a server didn't understand OPT
        self.is_lower = False  # asked in lower case, because a reply had the name in another case
        self.checks_case: Upstream | None = None  # asked in lower case to see whether this one denies mixed case
        self.denial: Response | None = None  # its answer in mixed case
        self.is_slow = False  # a packet of it has met a timeout
        self.slow_zone: _SlowZone | None = None  # where it is counted
        self.is_probe = False
        self.of_errors = False  # the reason for the probe: the server gave an error where another one answered
        self.done = False

    def go_on(self, route: RouteSpec, pool: Pool) -> None:
        """Start again with another route's servers, within the same deadline."""
        self.route = route
        self.pool = pool
        self.attempts = self.tried = self.failed = self.rcode = 0
        self.gave_errors = ()
        self.extended_error = None
        self.network_error = self.is_unusable = False
        self.partial = self.denial = None


class _SlowZone:
    """A zone whose questions upstreams don't answer in time."""

    __slots__ = ("held", "questions", "until")

    def __init__(self) -> None:
        self.held = 0  # open questions, of those that came after it was known to be slow
        self.questions = 0  # that have met a timeout lately
        self.until = 0.0


class _Sent:
    """A packet that may get a reply."""

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
        self.attempt = attempt  # number of the attempt; 0 for a probe
        self.upstream = upstream
        self.question = question
        self.cased = cased
        self.has_opt = has_opt
        self.sent_at = sent_at
        self.due_at = due_at  # when to hedge, to try another server, or to forget it
        self.is_cut = False  # a reply that was longer than offered has come
        self.is_bare_error = False  # an error without the question has come
        self.overdue = False
        self.timed_out = False


def _partial(packet: bytes, question: bytes) -> UpstreamAnswer | None:
    """Return the answer in a truncated reply. None if it has no records, or not whole ones."""
    response = parse_response(packet[:2] + bytes([packet[2] & ~2]) + packet[3:], question)
    if isinstance(response, Unusable) or response.answer.rcode or response.answer.counts[:2] == b"\0\0":
        return None
    return response.answer


def _owner(query: _Query) -> bytes:
    """Return what stands for the owner of a name, as those see it who would make its server look broken.

    The names of a route of its own are all its servers'.
    """
    return zone_of(query.qname) if query.route.domain == name.ROOT else query.qname


def zone_of(qname: bytes) -> bytes:
    """Return what is taken for the domain of one owner: the last two labels of a wire name in lower case."""
    suffixes = [qname, *name.ancestors(qname)]
    return suffixes[-3] if len(suffixes) > 2 else qname


def _servers(pools: Sequence[Pool], route: RouteSpec | None) -> list[tuple[str, bool]]:
    """Return the servers of a route, as far as answers depend on them."""
    return [] if route is None else sorted([(each.spec.name, each.trusts_ad) for each in pools[route.pool].upstreams])


_UNUSABLE_ANSWERS = (Unusable.MALFORMED, Unusable.TOO_MUCH, Unusable.LONG_CHAIN)
_ANSWERS = frozenset([int(each) for each in (Rcode.NOERROR, Rcode.NXDOMAIN, Rcode.YXDOMAIN)])
_MAX_SLOW_ZONES = 1000
_CUT = frozenset(Unusable) - {Unusable.WRONG_QUESTION, Unusable.CASE_CHANGED}
_PROBE = name.ROOT + NS.to_bytes(2) + CLASS_IN.to_bytes(2) + FLAG_OCTETS[0]  # as CoreDNS asks
_PROBE_ROUTE = RouteSpec(name.ROOT, 0)
_NO_RECORDS = bytes(4)
_SERVFAIL = UpstreamAnswer(Rcode.SERVFAIL, _NO_RECORDS, b"")
_REFUSED = UpstreamAnswer(Rcode.REFUSED, _NO_RECORDS, b"", Ede.NOT_AUTHORITATIVE)
_NOBODY = UpstreamAnswer(Rcode.SERVFAIL, _NO_RECORDS, b"", Ede.NO_REACHABLE_AUTHORITY)
_NO_EDNS = (Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS)  # from servers that don't know OPT (RFC 6891 section 7)
# Header after the id, and OPT: by whether AD is wanted, whether OPT is sent, and the question's flags.
_FRAMES = [
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
# 0x20 where a wire name in lower case has a letter. Length octets are at most 63, below the letters.
_LETTERS = bytes([0x20 if 97 <= octet <= 122 else 0 for octet in range(256)])
