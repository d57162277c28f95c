"""Each name is forwarded through the route that matches it best."""

import pytest

from pydns.config.model import Outcome
from pydns.dns import name
from pydns.upstream.routes import Routes, RouteSpec

ROUTES = [
    (".", []),
    ("acme.local", ["www.acme.local", "x.corp.acme.local"]),
    ("Corp.ACME.local", []),
    ("local", ["corp.acme.local"]),
]
NAMES = [  # each row has a name, and its possible routes in the order of preference
    ("example.com", ["."]),
    (".", ["."]),
    ("local", ["local", "."]),
    ("acme.local", ["acme.local", "local", "."]),
    ("a.b.acme.local", ["acme.local", "local", "."]),
    ("notacme.local", ["local", "."]),
    ("acme.local.example", ["."]),
    ("www.acme.local", ["local", "."]),
    ("a.www.acme.local", ["local", "."]),
    ("corp.acme.local", ["corp.acme.local", "acme.local", "."]),
    ("x.corp.acme.local", ["corp.acme.local", "."]),
]


@pytest.mark.parametrize(("qname_text", "wanted"), NAMES)
def test_the_longest_domain_without_an_exception_wins(qname_text: str, wanted: list[str]) -> None:
    routes = Routes(
        [
            RouteSpec(
                name.from_text(domain), i, [name.from_text(each) for each in excepted], frozenset([Outcome.NXDOMAIN])
            )
            for i, (domain, excepted) in enumerate(ROUTES)
        ]
    )
    found = []
    route = None
    while (route := routes.find(name.from_text(qname_text), route)) is not None:
        found.append(ROUTES[route.pool][0].lower())
    assert found == wanted


def test_a_single_default_route_takes_all_names_and_has_no_next_route() -> None:
    routes = Routes([RouteSpec(name.ROOT, 3)])
    route = routes.find(name.from_text("www.example"))
    assert route is not None and route.pool == 3
    assert routes.find(name.from_text("www.example"), route) is None


def test_a_name_without_a_matching_route_has_no_route() -> None:
    assert Routes([]).find(name.from_text("www.example")) is None
    assert Routes([RouteSpec(name.from_text("local"), 0)]).find(name.from_text("www.example")) is None


def test_a_refused_exception_has_a_route_only_if_a_longer_domain_matches() -> None:
    corp, www, deep = (name.from_text(each) for each in ("corp.example", "www.corp.example", "a.www.corp.example"))
    specs = [RouteSpec(name.ROOT, 0), RouteSpec(corp, 1, [www], refuses=True), RouteSpec(deep, 2)]
    routes = Routes(specs)
    found = {
        each: routes.find(name.from_text(each))
        for each in ("x.corp.example", "www.corp.example", "b.a.www.corp.example")
    }
    assert found == {"x.corp.example": specs[1], "www.corp.example": None, "b.a.www.corp.example": specs[2]}
    assert routes.find(name.from_text("b.a.www.corp.example"), specs[2]) is None
