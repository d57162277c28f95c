"""The reasons of replies that aren't a success follow each commit, and never make a reply too long."""

from functools import partial
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from pydns.dns import name
from pydns.dns.message import Query, Rcode, compose_reply, parse_query
from pydns.dns.reason import Reason
from pydns.dns.rrset import TXT, RRset, txt
from pydns.kube.events import Apply
from pydns.kube.kinds import Kind
from pydns.kube.objects import Endpoint, EndpointSlice, Namespace, Observed, Ref, Service
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.fast import Responder
from pydns.serve.port import UDP_LIMIT
from pydns.table.layout import Changes, Facts
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.serve.test_client_classes import in_fork
from tests.subject import LOOPBACK, ClientPort, InProcess, load, load_static


def errors(reply: bytes | None) -> list[str | None]:
    assert reply is not None
    options = dns.message.from_wire(reply).options
    return [option.text for option in options if isinstance(option, dns.edns.EDEOption)]


def test_codes_are_different_and_short() -> None:
    codes = [each.code for each in Reason]
    assert len(set(codes)) == len(codes)
    assert [each for each in codes if not 0 < len(each.encode()) <= 24] == []


def test_reason_of_a_service_follows_its_endpoints(tmp_path: Path) -> None:
    zone = Zone(ZoneOptions())
    writer = Writer(tmp_path, zone.facts(serial=1, synced=True))
    writer.replace(zone.contents, zone.facts(serial=1, synced=True))
    writer.close()
    none, unready = ["no-service"], ["no-ready-endpoint"]
    ready = (Endpoint(bytes([10, 1, 0, 1]), "db-1"),)
    steps: list[tuple[Kind, Any, list[str], list[str]]] = [  # an object, and the reasons for two names
        (Kind.NAMESPACE, Namespace("shop"), none, none),
        (Kind.SERVICE, Service("shop", "db", (), True, None, ()), unready, unready),
        (Kind.ENDPOINT_SLICE, EndpointSlice("shop", "db-1", "db", (), ready), [], ["no-endpoint"]),
        (
            Kind.ENDPOINT_SLICE,
            EndpointSlice("shop", "db-1", "db", (), ()),
            ["no-ready-endpoint"],
            ["no-ready-endpoint"],
        ),
        (Kind.SERVICE, Service("shop", "db", (bytes([10, 96, 0, 1]),), False, None, ()), [], ["no-endpoint"]),
    ]
    commits = []
    for kind, value, _, _ in steps:
        zone.apply(Apply(Observed(Ref(kind, getattr(value, "namespace", ""), value.name), "", value)))
        changes, facts = zone.flush(), zone.facts(serial=2, synced=True)
        commits.append(in_fork(partial(_commit, tmp_path, changes, facts)))
    reader = Reader(tmp_path)
    responder = Responder(reader)
    port = ClientPort("udp", UDP_LIMIT, Meter(share(1)[0]).tallies[0])
    port.ip = LOOPBACK

    def reason(qname: str) -> list[str | None]:
        with reader.transaction() as transaction:
            query = dns.message.make_query(qname, "A", use_edns=0).to_wire()
            reply = responder.respond(query, transaction, port)
            assert isinstance(reply, bytes)
            return errors(reply)

    db, endpoint = "db.shop.svc.cluster.local.", "db-0.db.shop.svc.cluster.local."
    assert reason(db) == reason(endpoint) == ["no-namespace"]
    for commit, (_, value, of_service, of_endpoint) in zip(commits, steps, strict=True):
        commit()
        assert (reason(db), reason(endpoint)) == (of_service, of_endpoint), value
        assert reason("web.shop.svc.cluster.local.") == ["no-service"]
    reader.close()


def _commit(state_dir: Path, changes: Changes, facts: Facts) -> None:
    Writer(state_dir, facts).commit(changes, facts)


@pytest.mark.parametrize("edns", [False, 512, 4096])
def test_long_names_in_a_soa_record_make_no_denial_too_long(tmp_path: Path, edns: bool | int) -> None:
    far = ".".join(["x" * 60] * 4)
    statics = load_static({"example.org.zone": f"@ 60 SOA {far}. y.{far}. 1 2 3 4 30\n@ 60 NS ns.example.org.\n"})
    subject = InProcess(tmp_path, load([]), statics=statics)
    for label in ("a", "a" * 63):
        qname = ".".join([label, *["b" * 50] * 3, "example.org."])
        query = dns.message.make_query(qname, "A", use_edns=edns and 0, payload=edns or None)
        wire = subject.ask(query.to_wire(), tcp=False)
        assert wire is not None
        reply = dns.message.from_wire(wire)
        assert len(wire) <= max(512, edns)
        assert reply.rcode() == dns.rcode.NXDOMAIN
        assert bool(reply.flags & dns.flags.TC) == (not reply.authority)
    subject.close()


def test_a_reason_is_left_out_before_a_record() -> None:
    query = parse_query(dns.message.make_query("a.example.", "TXT", use_edns=0).to_wire())
    assert isinstance(query, Query)
    rrset = RRset(name.from_text("a.example."), TXT, 5, (txt(b"x" * 200),))
    whole = compose_reply(query, Rcode.NOERROR, [rrset], error=Reason.CNAME_CHAIN)
    assert errors(whole) == ["cname-chain"]
    shorter = compose_reply(query, Rcode.NOERROR, [rrset], error=Reason.CNAME_CHAIN, limit=len(whole) - 1)
    assert errors(shorter) == []
    assert not dns.message.from_wire(shorter).flags & dns.flags.TC
