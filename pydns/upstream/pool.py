"""The servers of a route: the state of each server, and the choice of the server to ask next.

This module knows no packets, sockets or questions. The caller passes in the time, and bits of the packet's random
number.

Rules of the circuit breaker
1. The owner of a domain can make a healthy server silent, slow or wrong for names of this domain. There can be any
   number of such names. So what happens to a client's question never opens a breaker. Instead, the server gets a probe
   if a client's question got no reply or a slow reply. The server also gets a probe if it sent an error and another
   server answered the question. A server gets at most one such probe in `PROBE_EVERY_S`. The probe asks about the root.
2. The breaker opens after `PROBES_TO_OPEN` probes in a row without a reply. More than one probe is necessary, because
   the network may lose one packet. If the reason for the probe was an error, a SERVFAIL doesn't count as a reply. The
   breaker also opens after `FAILURES_TO_OPEN` network errors in a row.
3. A server is called open or closed, like its breaker. The pool chooses an open server only if no server is closed. An
   open server then gets questions of clients, because a reply is worth more than a saved packet. While all servers of a
   route are open, the forwarder asks several servers at once. The forwarder waits only a short time for their replies.
4. The pool avoids a silent server long before its breaker opens, unless all servers are silent. A server is silent if
   several of its replies are overdue and no reply has come since. A reply is overdue if it takes longer than the 95th
   percentile of the server's reply times. After any reply, the server isn't silent any more.
5. An open server gets a probe when the probe is due. Any answer closes the breaker. If no answer comes, the pause until
   the next probe doubles. The pause is 1 s at first, and 30 s at most.
6. A reply is slow if it takes longer than the 95th percentile and longer than `QUICK_S`. Its time is added to the
   server's reply times only under two conditions. The reply must come before the timeout. And its zone must not be
   among the last `SLOW_ZONES` zones whose slow replies were added. The reply time of a probe is always added.
"""

from bisect import bisect_left
from collections.abc import Sequence
from enum import Enum
from math import inf
from typing import Final, NamedTuple

from pydns.config.model import Case, Choice, Edns, Transport
from pydns.metrics.totals import DURATIONS_S
from pydns.upstream.packet import EXPLORE_BITS

FAILURES_TO_OPEN: Final = 5
PROBES_TO_OPEN: Final = 2
PROBE_EVERY_S: Final = 1.0  # shortest time between probes while the breaker is closed
SLOW_ZONES: Final = 8
QUICK_S: Final = 0.1  # a reply is never slow if it takes at most this time
OVERDUE_TO_AVOID: Final = 5
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
# How long pydns sends no OPT record to a server that doesn't support OPT. Unbound uses the same time.
EDNS_PAUSE_S: Final = 900.0
# pydns stops sending OPT after this many probes without OPT have got an answer. Before each of these probes, a probe
# with OPT got no answer.
EDNS_DOUBTS: Final = 2
TCP_PAUSE_S: Final = 30.0  # how long pydns doesn't use TCP for truncated answers after TCP to the server failed
CASE_PAUSE_S: Final = 3600.0  # how long pydns sends names in lower case to a server that changes or denies mixed case
# How long pydns trusts denials of names in mixed case after the server has sent records for a name in mixed case.
CASE_CHECK_S: Final = 60.0
# Shortest and longest pause between two checks, after the server has given the same denial in lower case.
CASE_CHECKS_S = 1.0, 900.0
CASE_DENIALS: Final = 3  # how many denials in a row pydns trusts before it checks one, because most denials are true
# If a server denies names of this many owners only in mixed case, pydns assumes that it denies all names in mixed case.
CASE_OWNERS: Final = 3
# After this many replies in a row with a changed case, pydns assumes that the server changes the case. Each reply must
# come on a different socket: an attacker who can forge one reply can't forge all of them.
CASE_CHANGES: Final = 4
# Limits of the timeout, which is three times the 95th percentile of the reply times.
SHORTEST_TIMEOUT_S, LONGEST_TIMEOUT_S = 0.4, 1.2
# How many reply times are kept, and after how many replies the 95th percentile is computed again.
P95_SAMPLES, P95_EVERY = 64, 16
P95_UNKNOWN_S: Final = 0.3
# The lowest bits of a packet's random number. If all of them are 0, the query goes to a random server, because this
# server may have become fast. This happens for one query in 32.
EXPLORE_MASK: Final = (1 << EXPLORE_BITS) - 1


class UpstreamSpec(NamedTuple):
    """The settings for a server: how to reach and ask it. `name` stands for the server in logs and metrics."""

    name: str
    transport: Transport = Transport.UDP
    packets_per_second: int | None = None
    case: Case = Case.LEARN
    edns: Edns = Edns.LEARN
    trusts_ad: bool = False  # whether clients get the AD bit that this server sets


class Change(Enum):
    """A change of the breaker of a server."""

    OPENED = "opened"
    CLOSED = "closed"


class Upstream:
    """A server and its state. `index` is unique among all servers that a forwarder has ever had."""

    __slots__ = (
        "_case_check_pause_s",
        "_case_denials",
        "_case_denied_of",
        "_failures",
        "_heard_at",
        "_pause_s",
        "_samples",
        "_silent_probes",
        "_slow_zones",
        "_tokens",
        "_tokens_at",
        "case_changed_on",
        "case_check_at",
        "case_lost_until",
        "denies_case",
        "edns_answered",
        "edns_doubts",
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
        "tcp_lost_until",
        "timeout_s",
        "trouble",
        "trusts_ad",
    )

    def __init__(self, index: int, spec: UpstreamSpec) -> None:
        self.index = index
        self.spec = spec
        self.is_limited = spec.packets_per_second is not None
        self.trusts_ad = spec.trusts_ad
        self.is_stream = spec.transport is not Transport.UDP
        self.srtt_s = 0.0  # smoothed reply time; 0 until the first reply, so that a new server is the first choice
        self.p95_s = P95_UNKNOWN_S
        self.timeout_s = _timeout_s(P95_UNKNOWN_S)
        self.is_open = False
        self.probe_at = 0.0
        self.probing = False
        self.case_lost_until = inf if spec.case is Case.LOWER else 0.0
        self.case_changed_on: set[int] = set()  # the sockets of the last replies in a row that changed the case
        self.denies_case = False  # True if `case_lost_until` was set because the server denied names in mixed case
        # From this time on, pydns checks a denial by asking for the name in lower case.
        self.case_check_at = 0.0 if spec.case is Case.LEARN else inf
        self._case_check_pause_s = CASE_CHECKS_S[0]
        self._case_denials = 0
        self._case_denied_of: set[bytes] = set()
        self.edns_lost_until = inf if spec.edns is Edns.NEVER else 0.0
        self.edns_answered = False  # True after the server has answered a query with OPT
        self.edns_doubts = 0
        self.tcp_lost_until = 0.0
        self.trouble = ""  # the reason why connections to the server fail; empty if they don't
        self.loops = False  # True if the server sends queries of pydns back to pydns, so that it isn't asked any more
        self.observed: dict[int, list[float]] = {}  # rcode -> histogram of reply times (`metrics.totals`)
        self.overdue = 0  # how many replies are overdue since the server's last reply
        self._heard_at = 0.0  # when the last reply to a question came
        self._failures = 0
        self._pause_s = FIRST_PAUSE_S
        self._samples: list[float] = []
        self._silent_probes = 0  # how many probes in a row got no reply
        self._slow_zones: list[bytes] = []  # the zones of the last slow replies that counted for the reply times
        self._tokens = float(spec.packets_per_second or 0)
        self._tokens_at = 0.0

    def heard(self, rcode: int, rtt_s: float, now: float) -> None:
        """Count a reply, whatever its rcode."""
        self._heard_at = now
        self.overdue = 0
        histogram = self.observed.get(rcode)
        if histogram is None:
            histogram = self.observed[rcode] = [0] * (len(DURATIONS_S) + 2)
        histogram[bisect_left(DURATIONS_S, rtt_s)] += 1
        histogram[-1] += rtt_s

    def replied(self, rtt_s: float) -> Change | None:
        """Update the state after a reply that took `rtt_s`. Return `Change.CLOSED` if the breaker closed, else None."""
        self.srtt_s += (rtt_s - self.srtt_s) / 8 if self.srtt_s else rtt_s
        samples = self._samples
        samples.append(rtt_s)
        count = len(samples)
        # The 95th percentile is computed after every 16 replies, by sorting 64 numbers. This adds 0.03 µs to each
        # reply. If reply times change, the percentile reaches the new level within 64 replies.
        if count < P95_EVERY or count % P95_EVERY == 0:
            self.p95_s = min(sorted(samples)[count * 95 // 100], LONGEST_TIMEOUT_S)
            self.timeout_s = _timeout_s(self.p95_s)
            if count == P95_SAMPLES:
                del samples[:P95_EVERY]
        if self._failures or self._silent_probes or self.probing or self.is_open:
            return self.lives()
        return None

    def lives(self) -> Change | None:
        """Update the state after a reply whose time doesn't count.

        Return `Change.CLOSED` if the breaker closed, else None.
        """
        self._failures = self._silent_probes = 0
        self.probing = False
        if not self.is_open or self.loops:
            return None
        self.is_open = False
        return Change.CLOSED

    def changed_case(self, socket_index: int, now: float) -> bool:
        """Note a reply that changed the case of the name.

        Return whether pydns now assumes that the server changes the case.
        """
        self.case_changed_on.add(socket_index)
        if len(self.case_changed_on) < CASE_CHANGES:
            return False
        self.case_changed_on.clear()
        self._lose_case(now, denies=False)
        return True

    def knows_mixed_case(self, now: float) -> None:
        """Note that the server sent records for a name in mixed case.

        For `CASE_CHECK_S`, its denials aren't checked.
        """
        self.case_check_at = now + CASE_CHECK_S
        self._case_check_pause_s = CASE_CHECKS_S[0]
        self._case_denials = 0
        self._case_denied_of.clear()

    def wants_case_check(self) -> bool:
        """Note that the server denied a name in mixed case.

        Return whether pydns should ask for the name in lower case, too.
        """
        self._case_denials += 1
        return self._case_denials > CASE_DENIALS

    def denied_truly(self, now: float) -> None:
        """Note that the server also denied the name in lower case. The checks pause, each time for twice as long."""
        if not self._case_denied_of:
            self.case_check_at = now + self._case_check_pause_s
            self._case_check_pause_s = min(2 * self._case_check_pause_s, CASE_CHECKS_S[1])

    def denied_case(self, owner: bytes, now: float) -> bool:
        """Note that the server denied a name only in mixed case.

        Return whether pydns now assumes that the server denies all names in mixed case. The owner of one domain can't
        cause this, because the server must deny names of several owners.
        """
        self._case_denied_of.add(owner)
        if len(self._case_denied_of) < CASE_OWNERS:
            return False
        self._lose_case(now, denies=True)
        return True

    def _lose_case(self, now: float, *, denies: bool) -> None:
        self.denies_case = denies
        self.case_lost_until = now + CASE_PAUSE_S
        self._case_denied_of.clear()

    @property
    def is_plain_probe(self) -> bool:
        """Return whether the next probe must have no OPT.

        OPT may be the reason why a server is silent or sends errors.
        """
        return self._silent_probes % 2 == 1 and self.spec.edns is Edns.LEARN

    def answered_plainly(self, is_probe: bool, now: float) -> bool:
        """Note an answer to a question without OPT. Return whether pydns now assumes that the server doesn't know OPT.

        One such answer is enough if the server sent an error to the same question with OPT. But if a probe with OPT got
        no reply, the network may have lost a packet. So `EDNS_DOUBTS` such answers to probes are necessary.
        """
        if self.spec.edns is Edns.ALWAYS:
            return False
        self.edns_doubts += 1
        if is_probe and self.edns_doubts < EDNS_DOUBTS:
            self.probe_at = now
            return False
        self.edns_doubts = 0
        self.edns_lost_until = now + EDNS_PAUSE_S
        return True

    def learned(self, now: float) -> dict[str, float]:
        """Return a dict: what pydns has learned about the server -> the seconds until pydns forgets it."""
        case = "denies names in mixed case" if self.denies_case else "does not keep the case of names"
        facts = {
            case: self.case_lost_until,
            "does not speak EDNS": self.edns_lost_until,
            "does not answer over TCP": self.tcp_lost_until,
        }
        return {what: until - now for what, until in facts.items() if now < until < inf}

    @property
    def is_silent(self) -> bool:
        """Return whether so many replies are overdue that this can't be chance."""
        return self.overdue >= OVERDUE_TO_AVOID

    def waited(self, sent_at: float) -> None:
        """Note that the reply to a packet is overdue. The packet was sent at the time `sent_at`."""
        self.overdue = self.overdue + 1 if self._heard_at < sent_at else 0

    def failed(self, now: float) -> Change | None:
        """Update the state after a network error. Return `Change.OPENED` if the breaker opened, else None."""
        self._failures += 1
        # The reply time is raised, because a server whose packets fail could otherwise seem to be the fastest server.
        self.srtt_s = min(max(self.srtt_s, 0.05) * 2, 5.0)
        if self.is_open:
            if self.probing:
                self.probing = False
                self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
                self.probe_at = now + self._pause_s
            return None
        self.probing = False
        if self._failures < FAILURES_TO_OPEN:
            return None
        return self.open(now, FIRST_PAUSE_S)

    def is_news(self, zone: bytes) -> bool:
        """Return whether the time of a slow reply for a name in `zone` counts, and remember the zone (rule 6)."""
        if zone in self._slow_zones:
            return False
        self._slow_zones = [*self._slow_zones[1 - SLOW_ZONES :], zone]
        return True

    def suspect(self, now: float) -> bool:
        """Return whether to probe the server after a client's question had a problem.

        If so, the caller must send the probe and report the result.
        """
        if self.is_open or self.probing or now < self.probe_at or not self.take(now):
            return False
        self.probing = True
        self.probe_at = now + PROBE_EVERY_S
        return True

    def probe_failed(self, now: float) -> Change | None:
        """Update the state after a probe without a reply. Return `Change.OPENED` if the breaker opened, else None."""
        if self.is_open:
            return self.failed(now)
        self.probing = False
        self.probe_at = now  # the next probe is due at once
        self._silent_probes += 1
        if self._silent_probes < PROBES_TO_OPEN:
            return None
        self._silent_probes = 0
        return self.open(now, FIRST_PAUSE_S)

    def open(self, now: float, pause_s: float) -> Change | None:
        """Open the breaker, even without failures. The first probe is due after `pause_s`."""
        changed = None if self.is_open else Change.OPENED
        self.is_open = True
        self._pause_s = pause_s
        self.probe_at = now + pause_s
        return changed

    def take(self, now: float) -> bool:
        """Take a packet from the server's budget. Return False if the budget is empty.

        The packets of a whole second may be taken at once.
        """
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
        """Return the server that `choose` would return, if no server needs attention.

        Return None if a server is open, has an overdue reply or has a budget, or if the pool has no servers.
        """
        upstreams = self.upstreams
        for upstream in upstreams:
            if upstream.is_open or upstream.overdue or upstream.is_limited:
                return None
        if len(upstreams) == 1:
            return upstreams[0]
        return self._pick(upstreams, bits) if upstreams else None

    def choose(self, tried: int, now: float, bits: int) -> Upstream | None:
        """Return the server to ask next, and take a packet from its budget. Return None if no server is left.

        `tried` is a number whose bit i is 1 if the server with index i must not be chosen. `bits` has at least 16
        random bits.
        """
        closed = [u for u in self.upstreams if not (u.is_open or tried >> u.index & 1)]
        for candidates in [u for u in closed if not u.is_silent], [u for u in closed if u.is_silent]:
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
        """Return an open server whose probe is due, or None. The caller must send the probe and report the result."""
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
        """Return how many servers are open."""
        return sum([upstream.is_open for upstream in self.upstreams])

    def has_another(self, tried: int) -> bool:
        """Return whether there is a closed server that isn't in `tried`."""
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
