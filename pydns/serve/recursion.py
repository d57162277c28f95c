"""What isn't ours: from a question that the responder set aside to its client's reply, by way of the upstreams.

It connects the forwarder, which knows no sockets, to the sockets of upstreams and clients, to the clock, to randomness
and to the log; it puts configurations in force, and goes on where an answer leads to another name.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from struct import Struct
from time import monotonic
from typing import Any

import msgspec

from pydns.config import model
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.compiled import HEADER
from pydns.dns.message import PLAIN_SIZE, Ede, Rcode, compose_opt, rcode_text
from pydns.dns.response import UpstreamAnswer, uncompressed
from pydns.dns.rrset import AAAA, CLASS_IN, TXT, A, RRset
from pydns.log import Level, Log
from pydns.metrics.meter import Meter
from pydns.metrics.totals import Key
from pydns.process.slots import LOOP_MARK
from pydns.serve.context import Batch
from pydns.serve.respond import ASK_CD, ASK_DO, MAX_CHASE, Asked, Ready
from pydns.serve.upstream_sockets import Upstreams
from pydns.upstream import servers
from pydns.upstream.cache import Cache, CacheLimits, Entry
from pydns.upstream.forwarder import RANDOM_OCTETS, Event, Forwarder, ForwarderLimits
from pydns.upstream.pool import Upstream
from pydns.upstream.routes import Routes

TICK_S = 0.01  # while questions are open
CONFIG_S = 0.25  # how often to look for another configuration
PROBE_S = 30.0  # how often to ask an upstream that leads back to us whether it still does
_SHORTEST_S, _LONGEST_S, _FAILED_S = 5.0, 3600.0, 5.0  # until a server's name is resolved again
_CLASS_IN = CLASS_IN.to_bytes(2)
_LETTERED = b"\0\x41"  # types from here on may be letters, which lower case would change
_READY_SIZE = PLAIN_SIZE - HEADER - 11  # fits into any reply, with OPT
_MAX_READY = 4096
_MAX_SOCKETS = 1024  # to all upstreams: few files may be open in some places

Send = Callable[[bytes, Any], object]  # a reply, to where its query came from
_Client = tuple[Asked, Send, object, float]  # how to send to where, and when its query came


class Recursion:
    """The upstreams of a worker, what they said, and the clients that wait for them."""

    def __init__(self, batch: Batch, log: Log, loop: asyncio.AbstractEventLoop) -> None:
        self._batch = batch
        self._responder = batch.responder
        self._responder.loop_mark = LOOP_MARK
        self._log = log
        self._loop = loop
        self._cache = Cache(CacheLimits())
        self._sockets = Upstreams(loop, self._received, self._unreachable)
        self._servers = servers.Servers()
        self._upstreams: dict[int, Upstream] = {}
        self._raw = b""  # the configuration in force
        self._config = model.Config(upstreams=())
        self._addresses: dict[bytes, _ServerName] = {}
        self._looping: dict[int, float] = {}  # upstreams that lead back to us, and when to ask them again
        self._ticking = False
        self._swept_at = 0.0
        self._at_once = False  # a reply now comes from the cache: its time is in the run of queries that it belongs to
        self.forwarder = Forwarder(
            Routes(()),
            (),
            self._cache,
            ForwarderLimits(),
            random_bits=_random_bits().__next__,
            send_udp=self._sockets.send_udp,
            send_tcp=self._sockets.send_stream,
            reply=self._reply,
            notice=self._notice,
        )

    def ask(self, send: Send, where: object) -> None:
        """Take the question that the responder has set aside, and `send(reply, where)`, now or later."""
        asked = self._responder.asked
        assert asked is not None
        self._responder.asked = None
        now = monotonic()
        client = asked, send, where, now
        self._at_once = True
        if asked.chain:
            self.go_on(self._chain(client, asked.chain), asked.onward)
        else:
            query_id, question, bits = asked[:3]
            entry = self.forwarder.ask(question, query_id, bits, client, now)
            if entry is not None and not bits and question[-4:] < _LETTERED:
                self._make_ready(question, entry, now)
        self._at_once = False
        if not self._ticking and self.forwarder.busy:
            self._tick_later()

    def _make_ready(self, question: bytes, entry: Entry, now: float) -> None:
        """Let the responder give an answer by itself until its TTLs must count down, or it is to be fetched anew."""
        answer = entry.answer_at(now)
        if answer.onward or len(question) + len(answer.records) > _READY_SIZE:
            return
        ready = self._responder.ready
        if len(ready) >= _MAX_READY:
            ready.clear()
        last = entry.refresh_at if now < entry.refresh_at else entry.expires
        until = min(entry.stored + int(now - entry.stored) + 1, last)
        head = _FLAGS[0][answer.rcode] + answer.counts
        counted = question[-4:-2], answer.rcode
        ready[question.lower()] = Ready(until, head, answer.records, counted, entry.is_denial)

    def _reply(self, client: Any, answer: UpstreamAnswer) -> None:
        """Take an answer from the forwarder. A client is what `ask` made, a `_Chain` or a `_Probe`.

        Compose the reply to one that `ask` made and send it. What is too long for UDP is to be asked for by TCP, whole.
        """
        if type(client) is not tuple:
            client.answered(answer)
            return
        rcode, counts, records, extended_error, onward = answer
        if onward:
            self._chain(client, ()).answered(answer)
            return
        asked, send, where, received = client
        query_id, question, bits, opt, limit, query_octets, tally, zone, chain, _ = asked
        if opt and extended_error is not None:
            opt = compose_opt(bool(bits & ASK_DO), 0, extended_error)
        flags = _FLAGS[bits & ASK_CD | (1 if chain else 0)][rcode]
        additionals = b"\0\1" if opt else b"\0\0"
        reply = _join((query_id, flags, counts, additionals, question, records, opt))
        if len(reply) > limit:
            flags = bytes([flags[0] | _TC]) + flags[1:]
            reply = _join((query_id, flags, b"\0\0\0\0", additionals, question, opt))
        send(reply, where)
        dnssec_ok = opt != b"" and bits & ASK_DO != 0
        if self._at_once and not chain:
            tally.count_cached(question[-4:-2], rcode, query_octets, reply, dnssec_ok)
        else:
            tally.count_waited(zone, question[-4:-2], rcode, query_octets, reply, dnssec_ok, monotonic() - received)

    def _chain(self, client: _Client, answers: Iterable[RRset]) -> "_Chain":
        asked = client[0]
        seen = (asked.question[:-4].lower(),)
        return _Chain(self, asked.question, asked.bits, answers, seen, partial(self._reply, client))

    # Names that lead to other names

    def go_on(self, chain: "_Chain", target: bytes) -> None:
        """Ask for what a chain of CNAMEs leads to: the table where it is ours, upstreams where it isn't."""
        if not chain.visit(target):
            chain.end(Rcode.NOERROR)
            return
        with self._batch.transaction() as transaction:
            found = self._responder.follow(target, chain.qtype, transaction)
        chain.add(found.answers)
        if not found.onward:
            chain.end(found.rcode, found.authorities, found.error)
        elif found.onward == target or chain.visit(found.onward):
            self.forwarder.ask(chain.question, bytes(2), chain.bits, chain, monotonic())
            self._tick_later()
        else:
            chain.end(Rcode.NOERROR)

    def _look_up(self, qname: bytes, qtype: int, finish: Callable[[UpstreamAnswer], None]) -> None:
        """Ask for ourselves, as a client would."""
        self.go_on(_Chain(self, qname + qtype.to_bytes(2) + _CLASS_IN, 0, (), (), finish), qname)

    # What upstreams say

    def _received(self, index: int, socket_index: int, packets: list[bytes]) -> None:
        now = monotonic()
        for packet in packets:
            try:
                self.forwarder.received(index, socket_index, packet, now)
            except Exception as error:
                self._batch.report(packet, error)

    def _unreachable(self, index: int, socket_index: int) -> None:
        self.forwarder.unreachable(index, socket_index, monotonic())

    def _tick_later(self) -> None:
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        try:
            self.forwarder.tick(monotonic())
        except Exception as error:
            self._batch.report(b"", error)
        if self.forwarder.busy:
            self._tick_later()

    def _notice(self, event: Event, upstream: Upstream) -> None:
        if event is Event.LOOP:
            known = upstream.index in self._looping
            self._looping[upstream.index] = monotonic() + PROBE_S
            if known:
                return
        level = Level.INFO if event is Event.CLOSED else Level.WARNING
        self._log(event.value, level=level, upstream=upstream.spec.name)

    def report(self, meter: Meter) -> None:
        """Bring what was counted here into the worker's counts."""
        counters = self.forwarder.counters
        counts: dict[Key, float] = {
            ("forward_events_total", each): getattr(counters, each) for each in counters.__slots__
        }
        counts |= {
            ("cache_hits_total", ".", "success"): counters.hits - counters.denial_hits,
            ("cache_hits_total", ".", "denial"): counters.denial_hits,
            ("cache_misses_total", "."): counters.misses + counters.joined,
            ("cache_requests_total", "."): counters.hits + counters.misses + counters.joined,
            ("cache_evictions_total", ".", "all"): self._cache.evictions,
            ("cache_prefetch_total", "."): counters.refreshes,
            ("cache_served_stale_total", "."): counters.stale,
            ("forward_healthcheck_broken_total",): counters.all_open,
            ("forward_max_concurrent_rejects_total",): counters.overflows,
        }
        meter.follow(counts)
        gauges: dict[Key, float] = {("cache_entries", ".", "all"): len(self._cache)}
        gauges["cache_bytes",] = self._cache.size_bytes
        for upstream in self._upstreams.values():
            gauges["upstream_open_breakers", upstream.spec.name] = int(upstream.is_open)
            gauges["upstream_latency_seconds", upstream.spec.name] = upstream.srtt_s
            observed, upstream.observed = upstream.observed, {}
            for rcode, histogram in observed.items():
                key = ("proxy_request_duration_seconds", "forward", upstream.spec.name, rcode_text(rcode))
                meter.totals.add_histogram(key, histogram)
        meter.totals.gauges = gauges

    # Configuration

    def poll(self) -> None:
        """Do what doesn't wait for a query. To be called every `CONFIG_S`."""
        with self._batch.transaction() as transaction:
            raw = self._batch.table.config(transaction)
        self.forwarder.counters.hits += self._responder.ready_hits
        self.forwarder.counters.denial_hits += self._responder.ready_denials
        self._responder.ready_hits = self._responder.ready_denials = 0
        if raw != self._raw:
            self._raw = raw
            try:
                self._config = model.load(raw)
            except msgspec.DecodeError as error:
                self._log("configuration can't be read", level=Level.ERROR, error=error, action="keep the one before")
            else:
                self._configure()
        now = monotonic()
        for qname, known in self._addresses.items():
            if known.due <= now:
                known.due = now + _FAILED_S
                for qtype in (A, AAAA):
                    self._look_up(qname, qtype, partial(self._resolved, qname, qtype))
        for index, due in self._looping.items():
            if due <= now:
                self._looping[index] = now + PROBE_S
                self._probe(self._upstreams[index])
        if now - self._swept_at >= 1:
            self._swept_at = now
            self._sockets.sweep(now)

    def _configure(self) -> None:
        config = self._config
        wanted = servers.names(config)
        for gone in self._addresses.keys() - wanted:
            del self._addresses[gone]
        for qname in wanted - self._addresses.keys():
            self._addresses[qname] = _ServerName()
        plan = self._servers.plan(config, {qname: known.addresses() for qname, known in self._addresses.items()})
        for old in self._upstreams.keys() - plan.upstreams.keys():
            self._sockets.remove(old)
            self._looping.pop(old, None)
        new = plan.upstreams.keys() - self._upstreams.keys()
        for index in new:
            self._sockets.add(index, plan.upstreams[index][1])
        self._upstreams = {index: upstream for index, (upstream, _) in plan.upstreams.items()}
        sockets = 32
        while sockets > 4 and sockets * len(self._upstreams) > _MAX_SOCKETS:
            sockets //= 2
        limits = ForwarderLimits(max_in_flight=config.max_in_flight, sockets=sockets)
        self.forwarder.configure(plan.routes, plan.pools, limits, _cache_limits(config.cache), monotonic())
        self._responder.ready.clear()
        self._responder.offer_recursion(bool(config.upstreams or config.routes))
        for index in new:
            self._probe(self._upstreams[index])

    def _resolved(self, qname: bytes, qtype: int, answer: UpstreamAnswer) -> None:
        """Take what was found of a server's name. If that is nothing for now, the addresses known before stay."""
        known = self._addresses.get(qname)
        if known is None or answer.rcode != Rcode.NOERROR:
            return
        before = known.addresses()
        found = list(_addresses(answer, qtype))
        known.found[qtype] = tuple(ip for ip, _ in found)
        if found:
            ttl_s = min(ttl_s for _, ttl_s in found)
            known.due = monotonic() + min(max(ttl_s, _SHORTEST_S), _LONGEST_S)
        if known.addresses() != before:
            self._log("upstream resolved", name=name.to_text(qname), addresses=" ".join(known.addresses()))
            self._configure()

    def _probe(self, upstream: Upstream) -> None:
        """Ask an upstream for a name that nobody else knows: if we are asked for it, it leads back to us."""
        label = LOOP_MARK + b"-%d" % upstream.index
        question = name.from_labels(label) + TXT.to_bytes(2) + _CLASS_IN
        self.forwarder.probe(upstream, question, _Probe(self, upstream), monotonic())
        self._tick_later()

    def probed(self, upstream: Upstream, answer: UpstreamAnswer) -> None:
        """Take the answer to a probe. Servers that have one for any name have another than we."""
        now = monotonic()
        if LOOP_MARK[::-1] in answer.records:
            self.forwarder.looped(upstream, now)
        elif self._looping.pop(upstream.index, None) is not None:
            self.forwarder.cleared(upstream)

    @property
    def config(self) -> model.Config:
        """The configuration in force."""
        return self._config

    @property
    def waiting(self) -> int:
        """How many clients wait for an answer."""
        return self.forwarder.waiting

    def close(self) -> None:
        """Close the sockets to upstreams."""
        self._sockets.close()


class _Probe:
    """Who waits for what a probe finds."""

    def __init__(self, recursion: Recursion, upstream: Upstream) -> None:
        self._recursion = recursion
        self._upstream = upstream

    def answered(self, answer: UpstreamAnswer) -> None:
        self._recursion.probed(self._upstream, answer)


class _Chain:
    """A question that is followed from name to name, and the records on the way, without compression."""

    def __init__(
        self,
        recursion: Recursion,
        question: bytes,
        bits: int,
        answers: Iterable[RRset],
        seen: Iterable[bytes],
        finish: Callable[[UpstreamAnswer], None],
    ) -> None:
        self._recursion = recursion
        self.question = question  # the one that is open
        self.qtype = int.from_bytes(question[-4:-2])
        self.bits = bits
        self._finish = finish
        self._seen = set(seen)
        self._records = b""
        self._count = 0
        self.add(answers)

    def add(self, rrsets: Iterable[RRset]) -> None:
        """Add to the answer what the table has."""
        for rrset in rrsets:
            self._records += _wire(rrset)
            self._count += len(rrset.rdatas)

    def visit(self, qname: bytes) -> bool:
        """Have `qname` be the name that is asked for. False if it was before, or the chain is too long."""
        if qname in self._seen or len(self._seen) > MAX_CHASE:
            return False
        self._seen.add(qname)
        self.question = qname + self.question[-4:]
        return True

    def answered(self, answer: UpstreamAnswer) -> None:
        """Take the answer to the open question."""
        records = self._records + uncompressed(self.question, answer)
        count = self._count + int.from_bytes(answer.counts[:2])
        if answer.onward:
            self._records, self._count = records, count
            self._recursion.go_on(self, answer.onward)
        else:
            counts = count.to_bytes(2) + answer.counts[2:]
            self._finish(UpstreamAnswer(answer.rcode, counts, records, answer.extended_error))

    def end(self, rcode: Rcode, authorities: Iterable[RRset] = (), error: Ede | None = None) -> None:
        """Say that the table, or the length of the chain, has the last word."""
        authority = b"".join([_wire(rrset) for rrset in authorities])
        counts = self._count.to_bytes(2) + sum(len(rrset.rdatas) for rrset in authorities).to_bytes(2)
        self._finish(UpstreamAnswer(rcode, counts, self._records + authority, error))


class _ServerName:
    """What is known of a server that is configured by its name."""

    def __init__(self) -> None:
        self.due = 0.0  # when to resolve it
        self.found: dict[int, tuple[str, ...]] = {}  # by record type

    def addresses(self) -> tuple[str, ...]:
        return self.found.get(A, ()) + self.found.get(AAAA, ())


def _random_bits() -> Iterator[int]:
    """Yield random numbers of `RANDOM_OCTETS`, from the kernel by the hundred: a system call each would cost 0.5 µs."""
    numbers = Struct(f"{RANDOM_OCTETS}s").iter_unpack
    while True:
        for (octets,) in numbers(os.urandom(256 * RANDOM_OCTETS)):
            yield int.from_bytes(octets)


def _cache_limits(cache: model.CacheOptions) -> CacheLimits:
    return CacheLimits(
        entries=cache.entries,
        size_bytes=cache.bytes,
        positive_floor_s=cache.min_ttl_s,
        positive_cap_s=cache.max_ttl_s,
        negative_floor_s=cache.min_negative_ttl_s,
        negative_cap_s=cache.max_negative_ttl_s,
        stale_s=cache.serve_stale_s,
        prefetch=cache.prefetch,
    )


def _wire(rrset: RRset) -> bytes:
    fixed = rrset.owner + rrset.rtype.to_bytes(2) + _CLASS_IN + rrset.ttl_s.to_bytes(4)
    return b"".join([fixed + len(rdata).to_bytes(2) + rdata for rdata in rrset.rdatas])


def _addresses(answer: UpstreamAnswer, qtype: int) -> Iterator[tuple[str, int]]:
    """Yield the addresses in an answer that a chain has made, with their TTLs."""
    records, position = answer.records, 0
    for _ in range(int.from_bytes(answer.counts[:2])):
        while records[position]:
            position += 1 + records[position]
        rtype = int.from_bytes(records[position + 1 : position + 3])
        ttl_s = int.from_bytes(records[position + 5 : position + 9])
        begin = position + 11
        position = begin + int.from_bytes(records[begin - 2 : begin])
        if rtype == qtype:
            yield address_text(records[begin:position]), ttl_s


_join = b"".join
# QR, RD, RA, by CD and whether the first record is ours (AA), then by rcode; and QDCOUNT.
_AA, _TC = 0x04, 0x02
_FLAGS = {
    cd | aa: [bytes([0x81 | (_AA if aa else 0), 0x80 | (0x10 if cd else 0) | rcode, 0, 1]) for rcode in range(16)]
    for cd in (0, ASK_CD)
    for aa in (False, True)
}
