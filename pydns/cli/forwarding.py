"""Explains how a name is forwarded: its routes and servers, their health, and the changes to the answer.

`upstream.families` decides which question goes to the upstreams on behalf of a client. `upstream.families` answers some
questions itself.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydns.config.model import AnyServer, Choice, Config, Excepted, Families, Outcome, ServerSpec
from pydns.config.summary import server_text
from pydns.dns import name
from pydns.dns.address import parse_range
from pydns.dns.derived import records_of
from pydns.dns.networks import Networks
from pydns.dns.response import UpstreamAnswer
from pydns.dns.rrset import AAAA, CLASS_IN, HTTPS, SVCB, A, RRset, type_text
from pydns.table.status import Status
from pydns.upstream.cache import Cache
from pydns.upstream.families import FamilyRules
from pydns.upstream.routes import Routes
from pydns.upstream.servers import title


class OwnAnswer(NamedTuple):
    """An answer that the rules of `families` or `dns64` give without an upstream."""

    answers: tuple[RRset, ...]
    onward: bytes  # the target of the last CNAME, if `answers` lacks the target's records


class Step(NamedTuple):
    """A route that may be asked for a name."""

    servers: tuple[AnyServer, ...]
    is_in_order: bool  # whether the servers are asked in the given order
    next: frozenset[Outcome]  # after these outcomes, the next step follows
    failover: frozenset[Outcome]  # after these outcomes, the next server follows


class Forwarding:
    """The routes of a configuration, and the health of their servers as the status reports it."""

    def __init__(self, config: Config, routes: Routes, status: Status) -> None:
        self._config = config
        self._routes = routes
        self._status = status
        self._asked: list[bytes] = []
        self._answered: list[UpstreamAnswer] = []
        self._rules = FamilyRules(
            config, self._note_asked, Cache(config.cache), self._note_answered, lambda client: client, lambda: 0.0
        )
        self._mapped = Networks(map(parse_range, config.dns64.clients if config.dns64 is not None else ()))

    def _note_asked(self, question: bytes, _id: bytes, _flags: int, _client: Any, _now: float) -> None:
        self._asked.append(question)

    def _note_answered(self, _client: Any, answer: UpstreamAnswer) -> None:
        self._answered.append(answer)

    def asked_type(self, qname: bytes, qtype: int, client: bytes) -> int:
        """Return the type for which upstreams are asked first, if the client's query sets neither DO nor CD.

        `client` has the octets of the client's address.
        """
        self._ask(qname, qtype, client)
        return int.from_bytes(self._asked[0][-4:-2]) if self._asked else qtype

    def own_answer(self, qname: bytes, qtype: int, client: bytes) -> OwnAnswer | None:
        """Return the answer that `dns64` gives without an upstream. Return None if upstreams must be asked."""
        self._ask(qname, qtype, client)
        if not self._answered:
            return None
        answer = self._answered[0]
        records, _ = records_of(_question(qname, qtype), answer)
        answers = tuple([RRset(qname, each.rtype, each.ttl_s, (each.rdata,)) for each in records])
        return OwnAnswer(answers, answer.onward)

    def _ask(self, qname: bytes, qtype: int, client: bytes) -> None:
        self._asked.clear()
        self._answered.clear()
        self._rules.ask(_question(qname, qtype), bytes(2), 0, client, 0.0)

    def steps(self, qname: bytes) -> Iterator[Step]:
        """Yield the routes of a name, in the order in which pydns tries the routes."""
        routes = {route.domain: route for route in self._config.routes}
        spec = self._routes.find(qname)
        while spec is not None:
            route = routes.get(spec.domain)
            servers = route.servers if route else self._config.upstreams or ()
            choice = (route and route.choice) or self._config.choice
            yield Step(servers, choice is Choice.IN_ORDER, spec.next, spec.failover)
            spec = self._routes.find(qname, spec) if spec.next else None

    def title_and_steps(self, qname: bytes) -> tuple[str, list[str]]:
        """Return a text about the servers that are asked first for a name, and texts about all routes of the name."""
        routes = {route.domain: route for route in self._config.routes}
        spec = self._routes.find(qname)
        longest = -1 if spec is None else len(spec.domain)
        steps = [
            f"route {name.to_text(domain)} excludes the name"
            f"{' and refuses the query' if route.excepted is Excepted.REFUSED else ''}"
            for domain, route in routes.items()
            if name.is_at_or_below(qname, domain) and len(domain) > longest
        ]
        asked: list[str] = []
        dead: list[str] = []
        outcomes = ""
        while spec is not None:
            route = routes.get(spec.domain)
            servers = ", ".join(map(server_text, route.servers if route else self._config.upstreams or ()))
            dead += self._dead(route.servers if route else self._config.upstreams or ())
            step = f"route {name.to_text(spec.domain)} to {servers}" if route else f"upstreams {servers}"
            asked.append(f"after {outcomes} from there: {step}" if asked else step)
            outcomes = " or ".join(sorted(each.value for each in spec.next))
            spec = self._routes.find(qname, spec) if spec.next else None
        if not asked and self._config.upstreams:
            is_refused = any(name.is_at_or_below(qname, each) for each in self._config.except_)
            return "", [*steps, *(["the key `except` excludes the name from the upstreams"] if is_refused else [])]
        if not asked:
            return "", [*steps, "no route contains the name, and there are no upstreams"]
        return asked[0], [*steps, *asked, *dead]

    def servers(self, qname: bytes) -> Iterator[AnyServer]:
        """Yield the servers of all routes of a name, in the order in which pydns asks the servers."""
        for step in self.steps(qname):
            yield from step.servers

    def derivation(self, qname: bytes, qtype: int, client: bytes = b"") -> Iterator[str]:
        """Yield lines that tell how the keys `families` and `dns64` change the upstreams' answer.

        `client` has the octets of the client's address. `client` is empty if no client is given.
        """
        families, dns64 = self._config.families, self._config.dns64
        other = {Families.IPV4: AAAA, Families.IPV6: A}.get(families.which)
        is_excepted = any(name.is_at_or_below(qname, each) for each in families.except_)
        if qtype == AAAA and dns64 is not None:
            if not client or client in self._mapped:
                prefixes, clients = ", ".join(dns64.prefixes), ", ".join(dns64.clients)
                limit = "" if dns64.translate_all else ", if the name has no IPv6 addresses"
                yield f"`dns64` maps the name's IPv4 addresses into {prefixes} for clients in {clients}{limit}"
        elif other is not None and not is_excepted and qtype == other:
            yield f"`families: {families.which.value}` leaves out {type_text(qtype)} of names outside the cluster"
        elif other is not None and not is_excepted and qtype in (HTTPS, SVCB):
            yield f"`families: {families.which.value}` leaves out hints with addresses of the other family"

    def _dead(self, servers: Iterable[AnyServer]) -> Iterator[str]:
        """Yield lines for each server that workers regard as dead."""
        titles = [title(each) for each in servers if isinstance(each, ServerSpec)]
        for each in self._status.upstreams:
            if each.breakers_open and each.upstream in titles:
                yield f"{each.upstream} is regarded as dead by {each.breakers_open} of {each.workers} workers"
                yield from (f"{each.upstream}: {fact}" for fact, seconds in each.learned_s.items() if not seconds)

    def dead(self, servers: Iterable[AnyServer]) -> tuple[str, ...]:
        """Return the servers that all workers regard as dead."""
        titles = {title(each) for each in servers if isinstance(each, ServerSpec)}
        known = [each for each in self._status.upstreams if each.upstream in titles]
        return tuple([each.upstream for each in known if each.is_down])


def _question(qname: bytes, qtype: int) -> bytes:
    return qname + qtype.to_bytes(2) + CLASS_IN.to_bytes(2)
