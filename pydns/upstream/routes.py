"""The upstreams for a name: stub domains by longest suffix, with exceptions, and the next route after an NXDOMAIN.

Knows names and the indices of pools, not pools.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from pydns.config.model import OnNxdomain
from pydns.dns import name


class RouteSpec(NamedTuple):
    """Names at or below `domain` go to a pool, unless they are at or below one of `except_domains`."""

    domain: bytes  # wire form, any case
    pool: int
    except_domains: Sequence[bytes] = ()
    on_nxdomain: OnNxdomain = OnNxdomain.ANSWER


class Routes:
    """Routes compiled so that a choice costs one look-up per label, and none if the root has the only route."""

    def __init__(self, specs: Sequence[RouteSpec]) -> None:
        """Of several routes with one domain the last one wins. The default route's domain is the root."""
        self._by_domain = {spec.domain.lower(): spec for spec in specs}
        self._excepted: dict[bytes, set[bytes]] = {}
        for domain, spec in self._by_domain.items():
            for excepted in spec.except_domains:
                self._excepted.setdefault(excepted.lower(), set()).add(domain)
        only = len(self._by_domain) == 1 and not self._excepted
        self._only = self._by_domain.get(name.ROOT) if only else None  # the route of every name

    @property
    def domains(self) -> set[bytes]:
        """Return the domains of routes, and those that are excepted from one."""
        return self._by_domain.keys() | self._excepted.keys()

    def find(self, qname: bytes, after: RouteSpec | None = None) -> RouteSpec | None:
        """Return the route for a wire name in lower case, or the next one with a shorter suffix than `after`."""
        if self._only is not None:
            return self._only if after is None else None
        longest = len(qname) if after is None else len(after.domain) - 1
        excluded: set[bytes] = set()
        for suffix in chain((qname,), name.ancestors(qname)):
            if suffix in self._excepted:
                excluded |= self._excepted[suffix]
            route = self._by_domain.get(suffix)
            if route is not None and len(suffix) <= longest and suffix not in excluded:
                return route
        return None
