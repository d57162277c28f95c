"""pydns itself answers names that must not be sent to an upstream."""

from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from pydns.config.model import Blocked, Denial
from pydns.dns import name
from pydns.zones.compile import combine
from pydns.zones.special import SPECIAL_NAMES, blocked_zones, special_zones
from tests.subject import InProcess, load


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    blocked = [Blocked(name.from_text(f"{each.value}.example"), each) for each in (Denial.NXDOMAIN, Denial.NODATA)]
    zones = blocked_zones(blocked) | special_zones()
    statics = combine(zones, (), [name.from_text("cluster.local")], ())
    made = InProcess(tmp_path_factory.mktemp("state"), load([]), statics=statics)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("qname", "rtype", "rcode"),
    [
        ("resolver.arpa", "A", "NOERROR"),
        ("_dns.resolver.arpa", "SVCB", "NOERROR"),
        ("a.b.resolver.arpa", "A", "NOERROR"),
        ("use-application-dns.net", "A", "NXDOMAIN"),
        ("use-application-dns.net", "AAAA", "NXDOMAIN"),
        ("a.use-application-dns.net", "A", "NXDOMAIN"),
        ("nxdomain.example", "A", "NXDOMAIN"),
        ("a.b.nxdomain.example", "TXT", "NXDOMAIN"),
        ("nodata.example", "A", "NOERROR"),
        ("a.b.nodata.example", "AAAA", "NOERROR"),
    ],
)
def test_a_special_or_blocked_name_is_denied_with_its_soa(
    qname: str, rtype: str, rcode: str, subject: InProcess
) -> None:
    reply = subject.ask(dns.message.make_query(qname, rtype).to_wire(), tcp=False)
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert (dns.rcode.to_text(message.rcode()), message.answer) == (rcode, [])
    assert [rrset.name.to_text().rstrip(".") for rrset in message.authority] == [
        each for each in (*SPECIAL_NAMES, "nxdomain.example", "nodata.example") if qname.endswith(each)
    ]


def test_special_name_can_be_left_out() -> None:
    (zone,) = special_zones(["resolver.arpa"]).values()
    assert name.to_text(zone.facts.apex) == "resolver.arpa."
