"""Chooses the route for a name.

A route applies to the names in its domain that it doesn't except. Of the routes that apply to a name, the one with the
longest domain is chosen.

After an outcome in `next`, such as NXDOMAIN, another route is used. This module finds this route, too. The module knows
names and the indices of pools, but not the pools.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from pydns.config.model import Outcome
from pydns.dns import name


class RouteSpec(NamedTuple):
    """A route: names at or below `domain` go to a pool, unless they are at or below one of `except_domains`."""

    domain: bytes  # a wire name; its letters may be upper or lower case
    pool: int
    except_domains: Sequence[bytes] = ()
    next: frozenset[Outcome] = frozenset()  # the outcomes after which the next route is used
    failover: frozenset[Outcome] = frozenset()  # the outcomes after which the next server of the pool is asked
    refuses: bool = False  # whether names at or below `except_domains` have no route at all

    @property
    def policy(self) -> tuple[frozenset[Outcome], frozenset[Outcome], bool]:
        """Return the fields that affect answers, besides the domains and the pool."""
        return self.next, self.failover, self.refuses


class Routes:
    """All routes, compiled.

    Finding a route takes a look-up for each label, or no look-up if the only route is for the root.
    """

    def __init__(self, specs: Sequence[RouteSpec]) -> None:
        """Compile the routes. If several routes have the same domain, the last route wins.

        The domain of the default route is the root.
        """
        self._by_domain = {spec.domain.lower(): spec for spec in specs}
        self._excepted: dict[bytes, set[bytes]] = {}
        for domain, spec in self._by_domain.items():
            for excepted in spec.except_domains:
                self._excepted.setdefault(excepted.lower(), set()).add(domain)
        only = len(self._by_domain) == 1 and not self._excepted
        # The route of every name if only the root has a route, else None.
        self._only = self._by_domain.get(name.ROOT) if only else None

    @property
    def domains(self) -> set[bytes]:
        """Return the domains of all routes, and their `except_domains`."""
        return self._by_domain.keys() | self._excepted.keys()

    def find(self, qname: bytes, after: RouteSpec | None = None) -> RouteSpec | None:
        """Return the route for a wire name in lower case.

        With `after`, return the route that would apply without the route `after` and all routes with longer domains.
        """
        if self._only is not None:
            return self._only if after is None else None
        longest = len(qname) if after is None else len(after.domain) - 1
        excluded: set[bytes] = set()
        for suffix in chain((qname,), name.ancestors(qname)):
            if suffix in self._excepted:
                excluded |= self._excepted[suffix]
            route = self._by_domain.get(suffix)
            if route is None or len(suffix) > longest:
                continue
            if suffix not in excluded:
                return route
            if route.refuses:
                return None
        return None
