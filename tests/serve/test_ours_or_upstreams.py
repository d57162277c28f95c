"""Recursion is offered: pydns answers names of zone files and hosts itself, and asks upstreams for other names."""

from collections.abc import Iterator

import dns.message
import pytest

from pydns.config.model import Host
from pydns.dns.name import from_text
from pydns.serve.deferred import Asked
from pydns.serve.extras import Extras
from pydns.upstream.routes import Routes, RouteSpec
from tests.subject import InProcess, load, load_static

_ZONE = """
@ 60 SOA @ nobody.invalid. 1 7200 1800 86400 60
@ 60 NS @
www 60 A 192.0.2.1
sub 60 NS ns.sub
ns.sub 60 A 192.0.2.2
to-sub 60 CNAME x.sub
to-host 60 CNAME db.corp.example.
out 60 CNAME www.elsewhere.net.
"""
_ROUTES = ("my.cluster.local", "route.example.org", "www.example.org", "cluster.local", "8.10.in-addr.arpa")
_HOSTS = [Host(from_text("db.corp.example"), (bytes([10, 9, 0, 5]),))]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    files = {"example.org.zone": _ZONE, "9.10.in-addr.arpa.zone": _ZONE}
    started = InProcess(tmp_path_factory.mktemp("state"), load([]), statics=load_static(files, _HOSTS))
    started.responder.configure(True, Extras())
    started.responder.commit.set_routes(Routes([RouteSpec(from_text(each), 0) for each in _ROUTES]))
    yield started
    started.close()


@pytest.mark.parametrize(
    ("asked", "onward"),
    [
        ("www.example.org. A", None),
        ("none.example.org. A", None),
        ("www.example.org. HTTPS", None),
        ("x.sub.example.org. A", ""),
        ("sub.example.org. A", ""),
        ("sub.example.org. DS", None),
        ("to-sub.example.org. A", "x.sub.example.org"),
        ("out.example.org. A", "www.elsewhere.net"),
        ("to-host.example.org. AAAA", None),
        ("db.corp.example. A", None),
        ("db.corp.example. AAAA", None),
        ("db.corp.example. HTTPS", None),
        ("x.db.corp.example. A", ""),
        ("other.corp.example. A", ""),
        ("5.0.9.10.in-addr.arpa. PTR", None),
        ("1.1.9.10.in-addr.arpa. PTR", None),
        ("1.1.8.10.in-addr.arpa. PTR", ""),
        ("www.elsewhere.net. A", ""),
        # A route inside a local zone gets all names of its domain, except names for which pydns has records.
        ("my.cluster.local. A", ""),
        ("x.my.cluster.local. A", ""),
        ("x.y.my.cluster.local. HTTPS", ""),
        ("mine.cluster.local. A", None),
        ("x.mine.cluster.local. A", None),
        ("x.route.example.org. A", ""),
        ("www.example.org. AAAA", None),
        ("x.www.example.org. A", ""),
        ("1.1.8.10.in-addr.arpa. NS", ""),
    ],
)
@pytest.mark.parametrize("times", [1, 2], ids=["first", "again"])
def test_pydns_answers_local_names_and_forwards_others(
    asked: str, onward: str | None, times: int, subject: InProcess
) -> None:
    """The second query is sent when the worker already knows the parent names."""
    qname, qtype = asked.split()
    for _ in range(times):
        reply = subject.respond(dns.message.make_query(qname, qtype).to_wire(), tcp=False)
    if onward is None:
        assert isinstance(reply, bytes)
    else:
        assert isinstance(reply, Asked)
        assert reply.onward == (from_text(onward) if onward else b"")
