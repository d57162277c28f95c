"""Explains where a name is forwarded: the routes and servers, their health, and how the answer is changed."""

from collections.abc import Iterable, Iterator

from pydns.config.model import AnyServer, Config, Excepted, Families, ServerSpec
from pydns.config.summary import server_text
from pydns.dns import name
from pydns.dns.rrset import AAAA, A, type_text
from pydns.table.status import Status
from pydns.upstream.routes import Routes
from pydns.upstream.servers import title


class Forwarding:
    """The routes of a configuration, and the health of their servers as the status reports it."""

    def __init__(self, config: Config, routes: Routes, status: Status) -> None:
        self._config = config
        self._routes = routes
        self._status = status

    def title_and_steps(self, qname: bytes) -> tuple[str, list[str]]:
        """Return the servers to which a name is forwarded, and the routes that apply to the name."""
        routes = {route.domain: route for route in self._config.routes}
        spec = self._routes.find(qname)
        longest = -1 if spec is None else len(spec.domain)
        steps = [
            f"route {name.to_text(domain)} excludes it{' and refuses it' if route.excepted is Excepted.REFUSED else ''}"
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
            return "", [*steps, *(["the key `except` keeps it from the upstreams"] if is_refused else [])]
        if not asked:
            return "", [*steps, "no route contains it, and there are no upstreams"]
        return asked[0], [*steps, *asked, *dead]

    def servers(self, qname: bytes) -> Iterator[AnyServer]:
        """Yield the servers of a name's route. Then yield the servers to ask after certain answers of these servers."""
        routes = {route.domain: route for route in self._config.routes}
        spec = self._routes.find(qname)
        while spec is not None:
            route = routes.get(spec.domain)
            yield from route.servers if route else self._config.upstreams or ()
            spec = self._routes.find(qname, spec) if spec.next else None

    def derivation(self, qname: bytes, qtype: int) -> Iterator[str]:
        """Yield lines that tell how the keys `families` and `dns64` change the upstreams' answer."""
        families, dns64 = self._config.families, self._config.dns64
        is_filtered = qtype == {Families.IPV4: AAAA, Families.IPV6: A}.get(families.which)
        if is_filtered and not any(name.is_at_or_below(qname, each) for each in families.except_):
            yield f"`families: {families.which.value}` leaves out {type_text(qtype)} of names outside the cluster"
        elif qtype == AAAA and dns64 is not None:
            prefixes, clients = ", ".join(dns64.prefixes), ", ".join(dns64.clients)
            limit = "" if dns64.translate_all else ", if it has no others"
            yield f"`dns64` maps its IPv4 addresses into {prefixes} for clients in {clients}{limit}"

    def _dead(self, servers: Iterable[AnyServer]) -> Iterator[str]:
        """Yield lines for each server that workers regard as dead."""
        titles = [title(each) for each in servers if isinstance(each, ServerSpec)]
        for each in self._status.upstreams:
            if each.breakers_open and each.upstream in titles:
                yield f"{each.upstream} is taken for dead by {each.breakers_open} of {each.workers} workers"
                yield from (f"{each.upstream}: {fact}" for fact, seconds in each.learned_s.items() if not seconds)

    def dead(self, servers: Iterable[AnyServer]) -> tuple[str, ...]:
        """Return the servers that all workers regard as dead."""
        titles = {title(each) for each in servers if isinstance(each, ServerSpec)}
        known = [each for each in self._status.upstreams if each.upstream in titles]
        return tuple([each.upstream for each in known if each.workers and each.breakers_open >= each.workers])
