"""Rules of `acl`: which clients get answers to which questions."""

from collections.abc import Iterator

import dns.edns
import dns.message
import dns.rcode
import pytest

from pydns.config.read import Accepted, read_text
from pydns.dns.address import parse_address, parse_range
from pydns.dns.networks import Networks
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.access import AccessList
from pydns.serve.deferred import Asked
from pydns.serve.extras import Extras
from pydns.serve.port import UDP_LIMIT, Port
from tests.fakes.manifests import service
from tests.subject import InProcess, load

WEB = "web.shop.svc.cluster.local"
FROM_UPSTREAMS = "left to upstreams"
RULES = f"""
upstreams: [127.0.0.1]
acl:
- {{action: allow, clients: [10.1.0.0/16], types: [AAAA]}}
- {{action: filter, clients: [10.0.0.0/8, 'fd00::/8'], types: [AAAA, ANY]}}
- {{action: block, clients: [10.2.0.0/16], within: [shop.svc.cluster.local], except: [{WEB}]}}
- {{action: drop, clients: [10.3.0.1]}}
- {{action: allow, clients: [10.0.0.0/8]}}
- {{action: block, clients: [198.51.100.0/24]}}
"""


class From(Port):
    """A port whose client has an address of the test's choice."""

    __slots__ = ("address",)

    def __init__(self, address: str) -> None:
        super().__init__("udp", UDP_LIMIT, Meter(share(1)[0]).tallies[0])
        self.address = parse_address(address)  # type: ignore[misc]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    cluster = [service("web", "10.96.0.10"), service("db", "10.96.0.11")]
    subject = InProcess(tmp_path_factory.mktemp("state"), load(cluster))
    subject.responder.configure(offered=True, extras=Extras(max_udp_size=1232))
    yield subject
    subject.close()


def told(server: InProcess, client: str, qname: str, qtype: str, *, edns: bool = True) -> dns.message.Message | str:
    """Return the reply to a client, or a word if the client gets no reply at once."""
    read = read_text("config.yaml", RULES)
    assert isinstance(read, Accepted)
    access = AccessList(server.responder.respond, read.config)
    message = dns.message.make_query(qname, qtype, use_edns=0 if edns else -1).to_wire()
    with server.reader.transaction() as transaction:
        reply = access.respond(message, transaction, From(client))
    if reply is None:
        return "no reply"
    return FROM_UPSTREAMS if isinstance(reply, Asked) else dns.message.from_wire(reply)


@pytest.mark.parametrize(
    ("client", "qname", "qtype", "outcome"),
    [
        ("192.0.2.1", WEB, "A", "NOERROR"),
        ("192.0.2.1", "www.example.", "A", FROM_UPSTREAMS),
        ("10.1.2.3", "www.example.", "AAAA", FROM_UPSTREAMS),  # the first rule allows what the second one filters
        ("10.9.9.9", "www.example.", "AAAA", "NOERROR Filtered"),
        ("fd00::1", "www.example.", "AAAA", "NOERROR Filtered"),
        ("::ffff:10.9.9.9", "www.example.", "AAAA", "NOERROR Filtered"),
        ("10.9.9.9", WEB, "ANY", "NOERROR Filtered"),
        ("10.9.9.9", WEB, "AAAA", "NOERROR Filtered"),
        ("10.9.9.9", WEB, "A", "NOERROR"),
        ("10.2.0.1", "db.shop.svc.cluster.local", "A", "REFUSED Blocked"),
        ("10.2.0.1", "DB.shop.SVC.cluster.local", "A", "REFUSED Blocked"),
        ("10.2.0.1", WEB, "A", "NOERROR"),
        ("10.3.0.1", WEB, "A", "no reply"),
        ("10.3.0.2", WEB, "A", "NOERROR"),
        ("198.51.100.7", WEB, "A", "REFUSED Blocked"),
        ("198.51.100.7", "www.example.", "A", "REFUSED Blocked"),
    ],
)
def test_the_first_matching_rule_decides(server: InProcess, client: str, qname: str, qtype: str, outcome: str) -> None:
    reply = told(server, client, qname, qtype)
    if isinstance(reply, str):
        assert reply == outcome
        return
    errors = [each.code.name.capitalize() for each in reply.options if isinstance(each, dns.edns.EDEOption)]
    assert " ".join([dns.rcode.to_text(reply.rcode()), *errors]) == outcome
    if errors:
        assert not reply.answer
        assert reply.flags & dns.flags.RA


def test_a_client_without_edns_gets_no_extended_error(server: InProcess) -> None:
    reply = told(server, "198.51.100.7", WEB, "A", edns=False)
    assert isinstance(reply, dns.message.Message)
    assert (reply.rcode(), reply.edns) == (dns.rcode.REFUSED, -1)


def test_rules_do_not_change_the_reply_to_a_malformed_message(server: InProcess) -> None:
    read = read_text("config.yaml", RULES)
    assert isinstance(read, Accepted)
    access = AccessList(server.responder.respond, read.config)
    with server.reader.transaction() as transaction:
        assert access.respond(b"short", transaction, From("10.3.0.1")) is None
        reply = access.respond(
            bytes.fromhex("1234 0000 0002 0000 0000 0000 00 0006 0001"), transaction, From("10.3.0.1")
        )
    assert isinstance(reply, bytes)
    assert reply[3] & 15 == dns.rcode.FORMERR


def test_rules_do_not_block_the_self_check_of_a_worker(server: InProcess) -> None:
    read = read_text("config.yaml", "acl: [{action: drop}]")
    assert isinstance(read, Accepted)
    access = AccessList(server.responder.respond, read.config)
    message = dns.message.make_query(WEB, "A").to_wire()
    own = From("192.0.2.1")
    own.address = b""  # type: ignore[misc]
    with server.reader.transaction() as transaction:
        assert access.respond(message, transaction, From("192.0.2.1")) is None
        assert access.respond(message, transaction, own) is not None


def test_a_network_contains_the_addresses_with_its_prefix() -> None:
    networks = Networks(map(parse_range, ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "0.0.0.0/32"]))
    inside = ["10.0.0.0", "10.255.255.255", "192.0.2.7", "fd00::", "fdff::1", "::ffff:10.1.1.1", "0.0.0.0"]
    outside = ["11.0.0.0", "9.255.255.255", "192.0.2.6", "fc00::", "::ffff:11.0.0.1", "0.0.0.1"]
    assert all(parse_address(each) in networks for each in inside)
    assert not any(parse_address(each) in networks for each in outside)
    assert b"" not in networks
    everything = Networks([parse_range("0.0.0.0/0")])
    assert parse_address("203.0.113.9") in everything
    assert parse_address("::1") not in everything
