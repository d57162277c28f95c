"""Derives answers from other answers: for address families that clients don't use, and for DNS64.

`FamilyRules.ask` takes the same questions as `Forwarder.ask`. If a rule applies, `FamilyRules` asks the forwarder
another question on behalf of the client, and derives the client's answer. So both questions use the same entry of the
cache. In a cluster that only uses IPv4, a question for AAAA needs no extra query to upstreams, because clients also ask
for A.

This module applies the rules to one name. If the answer ends with a CNAME, the caller asks again for the target.
"""

from collections.abc import Callable
from typing import Any

from pydns.config.model import Config, Families
from pydns.dns import name
from pydns.dns.address import parse_range
from pydns.dns.derived import IPV4_HINT, IPV6_HINT, without_addresses, without_hint
from pydns.dns.dns64 import IPV4ONLY_ARPA, Dns64
from pydns.dns.networks import Networks
from pydns.dns.response import UpstreamAnswer
from pydns.dns.rrset import AAAA, CLASS_IN, HTTPS, PTR, SVCB, A
from pydns.upstream.cache import Cache
from pydns.upstream.key import ASK_CD, ASK_DO

Ask = Callable[[bytes, bytes, int, Any, float], None]  # question, id, flags, client, time
_CLASS_IN = CLASS_IN.to_bytes(2)
_VALIDATES = ASK_DO | ASK_CD  # the flags of clients that check signatures; these clients get unchanged answers
# Configured family -> the type of its addresses, the type of the other family's addresses, and the key of the other
# family's hint.
_FAMILIES = {Families.IPV4: (A, AAAA, IPV6_HINT), Families.IPV6: (AAAA, A, IPV4_HINT)}


def _end(rtype: int) -> bytes:
    return rtype.to_bytes(2) + _CLASS_IN


class FamilyRules:
    """The rules on families and DNS64 in one configuration."""

    def __init__(
        self,
        config: Config,
        ask: Ask,
        cache: Cache,
        reply: Callable[[Any, UpstreamAnswer], None],
        source: Callable[[Any], bytes | None],
        clock: Callable[[], float],
    ) -> None:
        """Take the functions of the caller.

        `ask` and `cache` belong to the forwarder. `reply(client, answer)` sends an answer to a client. `source(client)`
        returns the address of a client, or None for a question of pydns itself.
        """
        self._forward, self._reply, self.source, self._clock = ask, reply, source, clock
        self._cache = cache
        self._except = frozenset(config.families.except_)
        self._wanted = b""  # the type and the class in questions for the family that clients use
        self._hint = 0
        self._dns64: Dns64 | None = None
        self._clients = Networks(())
        # Type and class of a question -> the function that answers the question, or returns False if no rule applies.
        self._rules: dict[bytes, Callable[[bytes, bytes, int, Any, float], bool]] = {}
        # The types to which a rule may apply. An upstream's answer for such a type must not be sent before the rules
        # are applied.
        self.derived_types: frozenset[int] = frozenset()
        self._sends_reasons = config.edns.ede
        self._take_families(config)
        self._take_dns64(config)

    def __bool__(self) -> bool:
        """Return whether the configuration has rules."""
        return bool(self._rules)

    def _take_families(self, config: Config) -> None:
        if config.families.which in _FAMILIES:
            wanted, other, self._hint = _FAMILIES[config.families.which]
            self._wanted = _end(wanted)
            self._rules = {_end(other): self._filter, _end(HTTPS): self._strip, _end(SVCB): self._strip}
            self.derived_types |= {other, HTTPS, SVCB}

    def _take_dns64(self, config: Config) -> None:
        dns64 = config.dns64
        if dns64 is not None:
            prefixes, exclude = (tuple(map(parse_range, each)) for each in (dns64.prefixes, dns64.exclude))
            self._dns64 = Dns64(prefixes, exclude, dns64.translate_all, dns64.map_private)
            self._clients = Networks(map(parse_range, dns64.clients))
            self._rules = {_end(A): self._ipv4only, **self._rules, _end(AAAA): self._map, _end(PTR): self._reverse}
            self.derived_types |= {AAAA}

    def ask(self, question: bytes, query_id: bytes, flags: int, client: Any, now: float) -> None:
        """Answer a question at once or later, as `Forwarder.ask` does."""
        rule = None if flags & _VALIDATES else self._rules.get(question[-4:])
        if rule is None or not rule(question, query_id, flags, client, now):
            self._forward(question, query_id, flags, client, now)

    def _filter(self, question: bytes, query_id: bytes, flags: int, client: Any, now: float) -> bool:
        if self._is_excepted(question):
            return False

        derived: UpstreamAnswer | None = None

        def answered(answer: UpstreamAnswer) -> None:
            nonlocal derived
            derived = without_addresses(question, answer)
            self._reply(client, derived)

        self._forward(question[:-4] + self._wanted, query_id, flags, _Derived(self, client, answered), now)
        if derived is not None:  # `answered` was called at once, because the answer was in the cache
            qname = question[:-4].lower()
            self._cache.make_derived_ready(
                qname + question[-4:], qname + self._wanted, derived, now, shows_error=self._sends_reasons
            )
        return True

    def _strip(self, question: bytes, query_id: bytes, flags: int, client: Any, now: float) -> bool:
        if self._is_excepted(question):
            return False

        def answered(answer: UpstreamAnswer) -> None:
            self._reply(client, without_hint(question, answer, self._hint))

        self._forward(question, query_id, flags, _Derived(self, client, answered), now)
        return True

    def _map(self, question: bytes, query_id: bytes, flags: int, client: Any, now: float) -> bool:
        dns64, address = self._dns64, self.source(client)
        if dns64 is None or not address or address not in self._clients:
            return False
        if question[:-4].lower() == IPV4ONLY_ARPA:
            self._reply(client, dns64.ipv4only(AAAA))
            return True

        def answered(answer: UpstreamAnswer) -> None:
            usable = dns64.usable(question, answer)
            if usable is not None:
                self._reply(client, usable)
                return

            def found(addresses: UpstreamAnswer) -> None:
                self._reply(client, dns64.synthesised(question, answer, addresses))

            self._forward(question[:-4] + _end(A), query_id, flags, _Derived(self, client, found), self._clock())

        self._forward(question, query_id, flags, _Derived(self, client, answered), now)
        return True

    def _ipv4only(self, question: bytes, _query_id: bytes, _flags: int, client: Any, _now: float) -> bool:
        if self._dns64 is None or question[:-4].lower() != IPV4ONLY_ARPA:
            return False
        self._reply(client, self._dns64.ipv4only(A))
        return True

    def _reverse(self, question: bytes, _query_id: bytes, _flags: int, client: Any, _now: float) -> bool:
        found = self._dns64.reverse(question[:-4].lower()) if self._dns64 is not None else None
        if found is None:
            return False
        self._reply(client, found)
        return True

    def _is_excepted(self, question: bytes) -> bool:
        if not self._except:
            return False
        qname = question[:-4].lower()
        return qname in self._except or any(each in self._except for each in name.ancestors(qname))


class _Derived:
    """Takes the place of the client in a question to the forwarder.

    `answered` derives the client's answer from the forwarder's answer.
    """

    __slots__ = ("_client", "_rules", "answered")

    def __init__(self, rules: FamilyRules, client: Any, answered: Callable[[UpstreamAnswer], None]) -> None:
        self._rules = rules
        self._client = client
        self.answered = answered

    @property
    def source(self) -> bytes | None:
        """The address of the client.

        The forwarder counts the client's places under this address, as for the client itself.
        """
        return self._rules.source(self._client)
