"""The gate sends each question to a path that answers it correctly, and never fails."""

from collections.abc import Iterator
from contextlib import closing

import dns.message
import dns.rdatatype
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pydns.config.read import Accepted, read_text
from pydns.dns.message import parse_query
from pydns.serve.gate import Gate
from pydns.serve.rules import Rules
from tests.subject import LOOPBACK, InProcess, Server, load
from tests.waiting import until

_CONFIG = r"""
aliases:
  a.example: web.shop.svc.cluster.local
  "*.b.example": "*.shop.svc.cluster.local"
  '~(.)(.*)\.p\.example': "{2}.{1}.example"
rewrites:
  - continue ttl suffix .example 7
  - 'name regex (.*)\.r\.example\.$ {1}'
  - name substring loop pool
  - rcode suffix .c.example NXDOMAIN NOERROR
templates: [{zones: [t.example], types: [A], answer: ["{{ .Name }} 60 IN A 10.0.0.1"]}]
blocked: {d.example: {answer: nodata, types: [HTTPS]}, e.example: refused}
"""
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {"clusterIP": "10.96.0.10", "ports": [{"name": "http", "port": 80}]},
}


class Gated(InProcess):
    """A responder with rules, and without upstreams."""

    gate: Gate

    def respond(self, message: bytes, *, tcp: bool = False, client: str = LOOPBACK) -> bytes | None:
        with self.reader.transaction() as transaction:
            reply = self.gate.respond(message, transaction, self.tcp if tcp else self.udp)
        assert reply is None or isinstance(reply, bytes)
        return reply

    def respond_strictly(self, message: bytes) -> bytes | None:
        with self.reader.transaction() as transaction:
            reply = self.responder.respond_strictly(message, transaction, self.udp)
        assert reply is None or isinstance(reply, bytes)
        return reply


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    made = Gated(tmp_path_factory.mktemp("state"), load([_SERVICE]))
    read = read_text("config.yaml", _CONFIG)
    assert isinstance(read, Accepted), read
    made.responder.commit.rules = Rules(read.config)
    made.gate = Gate(made.responder, made.responder.commit.rules)
    yield made
    made.close()


LABELS = st.sampled_from(["a", "b", "p", "r", "t", "c", "d", "e", "web", "shop", "svc", "xloop", "é", "\0", "."])
ENDS = st.sampled_from(["example.", "web.shop.svc.cluster.local.", "cluster.local.", "."])
NAMES = st.tuples(st.lists(LABELS, max_size=6), ENDS)
TYPES = st.sampled_from(["A", "AAAA", "SRV", "HTTPS", "TYPE97", "ANY", "SOA", "CNAME", "TXT"])


def query(labels: list[str], end: str, rtype: str, edns: bool) -> bytes:
    """Return a query. Labels may contain any octets."""
    wire = b"".join([bytes([len(each.encode())]) + each.encode() for each in labels])
    base = dns.message.make_query(end, rtype, id=1, use_edns=edns).to_wire()
    return base[:12] + wire + base[12:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, TYPES, st.booleans())
def test_the_owners_in_an_answer_lead_from_the_question_to_the_records(
    gated: Gated, qname: tuple[list[str], str], rtype: str, edns: bool
) -> None:
    message = query(*qname, rtype, edns)
    for _ in range(2):  # the second time, the gate knows the question
        reply = gated.respond(message)
        assert reply is not None
        parsed = dns.message.from_wire(reply)
        assert parsed.question == dns.message.from_wire(message).question
        known = {parsed.question[0].name}
        for rrset in parsed.answer:
            assert rrset.name in known
            if rrset.rdtype == dns.rdatatype.CNAME:
                known.add(rrset[0].target)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NAMES, TYPES, st.booleans())
def test_both_paths_give_the_same_answer(gated: Gated, qname: tuple[list[str], str], rtype: str, edns: bool) -> None:
    message = query(*qname, rtype, edns)
    strict = gated.respond_strictly(message)
    assert strict is not None
    for _ in range(3):  # the gate learns from the first reply
        reply = gated.respond(message)
        assert reply is not None
        assert sections(reply) == sections(strict)


def sections(reply: bytes) -> tuple[object, ...]:
    """Return the content of a reply without the order of its records."""
    parsed = dns.message.from_wire(reply)
    return parsed.rcode(), parsed.flags, *(sorted(map(str, each)) for each in parsed.sections)


_HEADER = bytes(5) + b"\1" + bytes(6)
MESSAGES = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=40).map(lambda rest: _HEADER[:-1] + rest),
    # a question of type A, whose name may be malformed
    st.binary(max_size=40).map(lambda name: _HEADER + name + b"\0\1\0\1"),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES)
def test_any_message_gets_the_reply_of_the_strict_path(gated: Gated, message: bytes) -> None:
    reply = gated.respond(message)
    assert (reply is None) == (parse_query(message) is None)
    if isinstance(parsed := parse_query(message), bytes):
        assert reply == parsed
        assert reply[:2] == message[:2]


@pytest.mark.processes
def test_an_alias_is_removed_when_a_service_gets_its_name() -> None:
    with closing(
        Server([_SERVICE], config={"aliases": {"api.shop.svc.cluster.local": "web.shop.svc.cluster.local"}})
    ) as server:
        message = dns.message.make_query("api.shop.svc.cluster.local", "A").to_wire()

        def addresses() -> list[str]:
            reply = server.ask(message, tcp=False)
            assert reply is not None
            return [str(each) for rrset in dns.message.from_wire(reply).answer for each in rrset]

        for _ in range(5):
            assert addresses() == ["10.96.0.10"]
        metadata = {"name": "api", "namespace": "shop"}
        service = {**_SERVICE, "metadata": metadata, "spec": {"clusterIP": "10.96.0.11", "ports": [{"port": 80}]}}
        server.add_manifest("api.yaml", service)
        until(lambda: addresses() == ["10.96.0.11"])
