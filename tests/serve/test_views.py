"""Views give other answers to some clients and questions, and don't affect the others."""

from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from pydns.config.read import Accepted, read_text
from pydns.dns.address import parse_address
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.context import Batch
from pydns.serve.deferred import Asked
from pydns.serve.extras import Extras
from pydns.serve.port import UDP_LIMIT, Port
from tests.fakes.log import RecordedLog
from tests.fakes.manifests import service
from tests.subject import InProcess, load

WEB = "web.shop.svc.cluster.local."
VIEWS = """
upstreams: [127.0.0.1]
blocked: {tracker.example: {answer: nodata, types: [A]}}
templates: [{zones: [all.example], answer: ['{{ .Name }} 60 IN A 10.0.0.1']}]
views:
- when: incidr(client_ip(), '10.1.0.0/16') and type() == 'A'
  templates:
  - {zones: [all.example, svc.cluster.local], types: [A], answer: ['{{ .Name }} 60 IN A 10.1.0.1']}
  - {zones: [alias.example], answer: ['{{ .Name }} 60 IN CNAME web.shop.svc.cluster.local.']}
- when: incidr(client_ip(), '10.0.0.0/8')
  blocked: {games.example: nxdomain}
"""


class From(Port):
    """A port whose client has an address of the test's choice."""

    __slots__ = ("address",)

    def __init__(self, address: str) -> None:
        super().__init__("udp", UDP_LIMIT, Meter(share(1)[0]).tallies[0])
        self.address = parse_address(address)  # type: ignore[misc]


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    subject = InProcess(tmp_path_factory.mktemp("state"), load([service("web", "10.96.0.10")]))
    batch = Batch(subject.reader, RecordedLog(), Meter(share(1)[0]))
    batch.responder.configure(offered=True, extras=Extras(max_udp_size=1232))
    yield batch
    subject.close()


def told(batch: Batch, views: str, client: str, qname: str, qtype: str) -> str:
    """Return the rcode and the records of the reply to a client, or a word if upstreams are asked."""
    read = read_text("config.yaml", views)
    assert isinstance(read, Accepted), read
    batch.set_guards(read.config)
    message = dns.message.make_query(qname, qtype, use_edns=0).to_wire()
    with batch.transaction() as transaction:
        reply = batch._respond(message, transaction, From(client))
    if isinstance(reply, Asked):
        return "upstreams"
    assert reply is not None
    found = dns.message.from_wire(reply)
    return " ".join([dns.rcode.to_text(found.rcode()), *(str(rdata) for rrset in found.answer for rdata in rrset)])


@pytest.mark.parametrize(
    ("client", "qname", "qtype", "outcome"),
    [
        ("192.0.2.1", WEB, "A", "NOERROR 10.96.0.10"),
        ("10.1.0.7", WEB, "A", "NOERROR 10.1.0.1"),
        ("10.1.0.7", WEB, "AAAA", "NOERROR"),  # another type is not in the view
        ("10.2.0.7", WEB, "A", "NOERROR 10.96.0.10"),
        ("192.0.2.1", "x.all.example.", "A", "NOERROR 10.0.0.1"),
        ("10.1.0.7", "x.all.example.", "A", "NOERROR 10.1.0.1"),
        ("10.2.0.7", "x.all.example.", "A", "NOERROR 10.0.0.1"),
        ("10.1.0.7", "alias.example.", "A", f"NOERROR {WEB} 10.1.0.1"),
        ("192.0.2.1", "alias.example.", "A", "upstreams"),
        ("10.1.0.7", "games.example.", "A", "upstreams"),  # only the first matching view applies
        ("10.1.0.7", "games.example.", "AAAA", "NXDOMAIN"),
        ("10.2.0.7", "a.games.example.", "A", "NXDOMAIN"),
        ("192.0.2.1", "games.example.", "A", "upstreams"),
        ("10.2.0.7", "tracker.example.", "A", "NOERROR"),
        ("192.0.2.1", "tracker.example.", "A", "NOERROR"),
        ("10.2.0.7", "tracker.example.", "AAAA", "upstreams"),
    ],
)
def test_the_first_matching_view_answers_a_question(
    batch: Batch, client: str, qname: str, qtype: str, outcome: str
) -> None:
    assert told(batch, VIEWS, client, qname, qtype) == outcome


def test_without_views_the_responder_itself_answers(batch: Batch) -> None:
    assert told(batch, "upstreams: [127.0.0.1]", "10.1.0.7", WEB, "A") == "NOERROR 10.96.0.10"
    assert batch._respond == batch.responder.respond


def test_a_view_does_not_affect_the_next_client(batch: Batch) -> None:
    common = batch.responder.commit.rules
    told(batch, VIEWS, "10.1.0.7", WEB, "A")
    assert batch.responder.commit.rules is not common
    rules = batch.responder.commit.rules
    message = dns.message.make_query(WEB, "A").to_wire()
    with batch.transaction() as transaction:
        batch._respond(message, transaction, From("10.1.0.7"))
    assert batch.responder.commit.rules is rules


def test_views_do_not_apply_to_the_self_check_of_a_worker(batch: Batch) -> None:
    told(batch, "views: [{when: client_ip() != '', blocked: {cluster.local: refused}}]", "192.0.2.1", WEB, "A")
    own = From("192.0.2.1")
    own.address = b""  # type: ignore[misc]
    with batch.transaction() as transaction:
        reply = batch._respond(dns.message.make_query(WEB, "A").to_wire(), transaction, own)
    assert isinstance(reply, bytes)
    assert dns.message.from_wire(reply).answer
