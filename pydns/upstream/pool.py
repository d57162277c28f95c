"""The servers that one kind of question may go to: how each is doing, and which is asked next.

Knows no packets, sockets or questions. The clock is passed in; so is randomness, as bits of one draw per query.

Rules of the breaker
1. It opens after `FAILURES_TO_OPEN` failures in a row: silence, or an error to a question that another server answered.
   An error to a question that nobody answers says nothing about the server.
2. Open means: not chosen while there is another choice. With no other it is asked as if it were closed: a reply is
   worth more than a saved packet, and a resolver that is silent about one broken name isn't down.
3. Long before that, a server that everything is overdue from, by its own 95th percentile, and that has said nothing
   since, is not chosen while there is another choice either: until it says anything.
4. Now and then one query goes to an open one as well as to another server: the probe. No client waits for it. A reply
   closes the breaker; silence doubles the pause, from 1 s to 30 s.
"""

from bisect import bisect_left
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from pydns.config.model import Choice, Transport
from pydns.metrics.totals import DURATIONS_S
from pydns.upstream.packet import EXPLORE_BITS

FAILURES_TO_OPEN = 5
OVERDUE_TO_AVOID = 5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
EDNS_PAUSE_S = 900.0  # then EDNS is tried again; as Unbound
CASE_PAUSE_S = 3600.0  # then 0x20 is tried again: a spoofed reply must not turn it off for good
SHORTEST_TIMEOUT_S, LONGEST_TIMEOUT_S = 0.4, 1.2  # three times the 95th percentile within these
P95_SAMPLES, P95_EVERY = 64, 16  # replies: of the last ones, and how often it is worked out
P95_UNKNOWN_S = 0.3
EXPLORE_MASK = (1 << EXPLORE_BITS) - 1  # one query in 32 goes to a random server: it may have become fast


class UpstreamSpec(NamedTuple):
    """A server. `name` is what logs and metrics call it."""

    name: str
    transport: Transport = Transport.UDP
    packets_per_second: int | None = None


class Change(Enum):
    """What a reply or a failure changed about a server."""

    OPENED = "opened"
    CLOSED = "closed"


class Upstream:
    """A server and what is known of it. `index` is its place among all servers of a forwarder."""

    __slots__ = (
        "_failures",
        "_heard_at",
        "_pause_s",
        "_samples",
        "_tokens",
        "_tokens_at",
        "case_lost_until",
        "edns_lost_until",
        "index",
        "is_limited",
        "is_open",
        "is_stream",
        "loops",
        "observed",
        "overdue",
        "p95_s",
        "probe_at",
        "probing",
        "spec",
        "srtt_s",
        "timeout_s",
    )

    def __init__(self, index: int, spec: UpstreamSpec) -> None:
        self.index = index
        self.spec = spec
        self.is_limited = spec.packets_per_second is not None
        self.is_stream = spec.transport is not Transport.UDP
        self.srtt_s = 0.0  # 0 until the first reply: a server that nobody knows is asked first
        self.p95_s = P95_UNKNOWN_S
        self.timeout_s = _timeout_s(P95_UNKNOWN_S)
        self.is_open = False
        self.probe_at = 0.0
        self.probing = False
        self.case_lost_until = 0.0
        self.edns_lost_until = 0.0
        self.loops = False  # leads back to us: not asked at all
        self.observed: dict[int, list[float]] = {}  # by rcode: replies by time, as a histogram of `metrics.totals`
        self.overdue = 0  # questions of which none has been answered, nor any other since they were sent
        self._heard_at = 0.0  # when it last sent anything that belongs to a question
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._samples: list[float] = []
        self._tokens = float(spec.packets_per_second or 0)
        self._tokens_at = 0.0

    def heard(self, rcode: int, rtt_s: float, now: float) -> None:
        """Count a reply, whatever it says."""
        self._heard_at = now
        self.overdue = 0
        histogram = self.observed.get(rcode)
        if histogram is None:
            histogram = self.observed[rcode] = [0] * (len(DURATIONS_S) + 2)
        histogram[bisect_left(DURATIONS_S, rtt_s)] += 1
        histogram[-1] += rtt_s

    def replied(self, rtt_s: float) -> Change | None:
        """Learn from a reply that came after `rtt_s`."""
        self._failures = 0
        self.probing = False
        self.srtt_s += (rtt_s - self.srtt_s) / 8 if self.srtt_s else rtt_s
        samples = self._samples
        samples.append(rtt_s)
        count = len(samples)
        # Sorting 64 numbers every 16 replies adds 0.03 µs a reply, and finds a new level within 64 of them.
        if count < P95_EVERY or count % P95_EVERY == 0:
            self.p95_s = min(sorted(samples)[count * 95 // 100], LONGEST_TIMEOUT_S)
            self.timeout_s = _timeout_s(self.p95_s)
            if count == P95_SAMPLES:
                del samples[:P95_EVERY]
        if not self.is_open or self.loops:
            return None
        self.is_open = False
        return Change.CLOSED

    @property
    def is_silent(self) -> bool:
        """Whether so much is overdue that it can't be chance."""
        return self.overdue >= OVERDUE_TO_AVOID

    def waited(self, sent_at: float) -> None:
        """Take note that a question which was sent then is overdue."""
        self.overdue = self.overdue + 1 if self._heard_at < sent_at else 0

    def failed(self, now: float) -> Change | None:
        """Learn from silence or an error."""
        self._failures += 1
        # So that a bad server isn't the fastest until its breaker opens.
        self.srtt_s = min(max(self.srtt_s, 0.05) * 2, 5.0)
        if self.is_open:
            if self.probing:
                self.probing = False
                self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
                self.probe_at = now + self._pause_s
            return None
        if self._failures < FAILURES_TO_OPEN:
            return None
        return self.open(now, FIRST_PAUSE_S)

    def open(self, now: float, pause_s: float) -> Change | None:
        """Open the breaker for at least `pause_s`, whatever was counted."""
        changed = None if self.is_open else Change.OPENED
        self.is_open = True
        self._pause_s = pause_s
        self.probe_at = now + pause_s
        return changed

    def take(self, now: float) -> bool:
        """Take a packet from the budget; False if there is none left. One second's worth may be sent at once."""
        rate = self.spec.packets_per_second
        if rate is None:
            return True
        self._tokens = min(rate, self._tokens + (now - self._tokens_at) * rate) if self._tokens_at else float(rate)
        self._tokens_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Pool:
    """The servers for one route."""

    def __init__(self, upstreams: Sequence[Upstream], choice: Choice = Choice.FASTEST) -> None:
        self.upstreams = tuple(upstreams)
        self._choice = choice
        self._next = 0

    def first(self, bits: int) -> Upstream | None:
        """Return the server to ask first while all are well, as `choose` would; None if one isn't, or there is none."""
        upstreams = self.upstreams
        for upstream in upstreams:
            if upstream.is_open or upstream.overdue or upstream.is_limited:
                return None
        if len(upstreams) == 1:
            return upstreams[0]
        return self._pick(upstreams, bits) if upstreams else None

    def choose(self, tried: int, now: float, bits: int) -> Upstream | None:
        """Return the server to ask, its packet taken from its budget; None if there is none left.

        `tried` has a bit for the index of each server that isn't to be chosen; `bits` are at least 16 random ones.
        """
        closed = [u for u in self.upstreams if not (u.is_open or tried >> u.index & 1)]
        talking = [u for u in closed if not u.is_silent]
        candidates = talking or closed
        while candidates:
            upstream = self._pick(candidates, bits)
            if upstream.take(now):
                return upstream
            candidates.remove(upstream)
        opened = [u for u in self.upstreams if u.is_open and not (u.loops or tried >> u.index & 1)]
        for upstream in sorted(opened, key=_probe_at):
            if upstream.take(now):
                return upstream
        return None

    def probe(self, now: float) -> Upstream | None:
        """Return an open server that is due to be tried, if there is one: by one query, whose fate is told it."""
        for upstream in self.upstreams:
            if (
                upstream.is_open
                and not (upstream.probing or upstream.loops)
                and now >= upstream.probe_at
                and upstream.take(now)
            ):
                upstream.probing = True
                return upstream
        return None

    def open_count(self) -> int:
        """Return how many servers haven't been answering of late."""
        return sum([upstream.is_open for upstream in self.upstreams])

    def has_another(self, tried: int) -> bool:
        """Tell whether a server that answers is not among those tried."""
        return not all(upstream.is_open or tried >> upstream.index & 1 for upstream in self.upstreams)

    def _pick(self, candidates: Sequence[Upstream], bits: int) -> Upstream:
        if self._choice is Choice.FASTEST:
            if bits & EXPLORE_MASK == 0:
                return candidates[(bits >> EXPLORE_BITS) % len(candidates)]
            return min(candidates, key=_srtt_s)
        if self._choice is Choice.RANDOM:
            return candidates[bits % len(candidates)]
        if self._choice is Choice.ROUND_ROBIN:
            self._next += 1
            return candidates[self._next % len(candidates)]
        return candidates[0]


def _timeout_s(p95_s: float) -> float:
    return min(max(p95_s * 3, SHORTEST_TIMEOUT_S), LONGEST_TIMEOUT_S)


def _srtt_s(upstream: Upstream) -> float:
    return upstream.srtt_s


def _probe_at(upstream: Upstream) -> float:
    return upstream.probe_at
