"""Answers with several addresses begin with a different address each time, because most clients use the first."""

from collections.abc import Iterator

import dns.message
import dns.rdatatype
import pytest

from tests.fakes.manifests import endpoint_slice, external_name, service
from tests.running import query
from tests.subject import InProcess, load, load_static

PORTS = [{"name": "http", "port": 80}]
ZONE = """
$TTL 60
@ SOA ns host 1 2 3 4 5
@ NS ns
ns A 192.0.2.1
w A 192.0.2.1
w A 192.0.2.2
w A 192.0.2.3
c CNAME w
*.wild A 192.0.2.7
*.wild A 192.0.2.8
*.wild AAAA 2001:db8::7
*.wild AAAA 2001:db8::8
_a._tcp SRV 0 0 80 one
_a._tcp SRV 0 0 80 twenty
_a._tcp SRV 0 0 80 three-hundred.example.net.
twenty A 192.0.2.20
d DNAME wild
mx MX 10 one
mx MX 20 twenty
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    pods = [f"10.1.{number}.1" for number in (1, 22, 133)]
    cluster = [
        service("db", "None", ports=PORTS),
        endpoint_slice("db", *pods, ports=PORTS),
        external_name("en", "db.shop.svc.cluster.local"),
    ]
    statics = load_static({"z.example.zone": ZONE})
    subject = InProcess(tmp_path_factory.mktemp("state"), load(cluster), statics=statics)
    yield subject
    subject.close()


@pytest.mark.parametrize(
    ("qname", "rtype", "different"),
    [
        ("db.shop.svc.cluster.local", "A", 3),
        ("_http._tcp.db.shop.svc.cluster.local", "SRV", 3),
        ("en.shop.svc.cluster.local", "A", 3),
        ("w.z.example", "A", 3),
        ("c.z.example", "A", 3),
        ("q.wild.z.example", "A", 2),
        ("q.wild.z.example", "AAAA", 2),
        ("q.d.z.example", "A", 1),
        ("_a._tcp.z.example", "SRV", 3),
        ("mx.z.example", "MX", 1),  # these records aren't rotated, because clients sort them by preference
    ],
)
@pytest.mark.parametrize("tcp", [False, True])
def test_each_answer_begins_with_another_address(
    server: InProcess, qname: str, rtype: str, different: int, tcp: bool
) -> None:
    firsts, contents = [], set()
    for _ in range(3 * different):
        reply = server.ask(query(qname, dns.rdatatype.from_text(rtype)), tcp=tcp)
        assert reply is not None
        message = dns.message.from_wire(reply, one_rr_per_rrset=True)
        found = [str(each[0]) for each in message.answer if each.rdtype == dns.rdatatype.from_text(rtype)]
        firsts.append(found[0] if found else "")
        contents.add(tuple(sorted(each.to_text() for each in [*message.answer, *message.additional])))
    assert len(contents) == 1  # the answers differ only in their order
    assert all(len(set(firsts[at : at + different])) == different for at in range(0, len(firsts), different))
