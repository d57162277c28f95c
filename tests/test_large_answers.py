"""Answers that are too large for a message, and answers that just fit."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from pydns.kube import zone
from tests.fakes.manifests import Manifest, endpoint_slice, external_name, service
from tests.running import query
from tests.subject import InProcess, load

_PORTS = [{"name": "http", "port": 80}]
_OPT = bytes.fromhex("00 0029 1000 00000000 0000")
Ask = Callable[..., tuple[dns.message.Message, int]]


def _headless(name: str, addresses: list[str]) -> Iterator[Manifest]:
    yield service(name, "None", ports=_PORTS)
    # The EndpointSlice controller also puts at most 100 endpoints into a slice.
    for at in range(0, len(addresses), 100):
        yield endpoint_slice(name, *addresses[at : at + 100], number=at, ports=_PORTS)


def _addresses(count: int) -> list[str]:
    return [f"10.{9 + (number >> 16)}.{number >> 8 & 255}.{number & 255}" for number in range(count)]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    counts = (28, 29, 30, 73, 200, 400, 5000)
    cluster = [each for count in counts for each in _headless(f"of-{count}", _addresses(count))]
    cluster += [
        external_name("alias-5000", "of-5000.shop.svc.cluster.local"),
        external_name("alias-srv", "_http._tcp.of-5000.shop.svc.cluster.local"),
    ]
    subject = InProcess(tmp_path_factory.mktemp("state"), load(cluster))

    def found(qname: str, rtype: str, *, tcp: bool = False, edns: bool = False) -> tuple[dns.message.Message, int]:
        message = query(f"{qname}.shop.svc.cluster.local", dns.rdatatype.from_text(rtype))
        if edns:
            message = message[:11] + b"\1" + message[12:] + _OPT
        reply = subject.ask(message, tcp=tcp)
        assert reply is not None
        return dns.message.from_wire(reply), len(reply)

    yield found
    subject.close()


def _records(reply: dns.message.Message) -> int:
    return sum(map(len, reply.answer))


# Header and question are followed by 16 octets per record. So 512 octets have room for 29 A records of this name. 1232
# octets have room for 73 A records and an OPT record.
@pytest.mark.parametrize(
    ("service", "edns", "records", "limit", "truncated"),
    [
        pytest.param("of-29", False, 29, 512, False, id="what fits 512 octets comes whole"),
        pytest.param("of-30", False, 29, 512, True, id="one more is cut with TC"),
        pytest.param("of-30", True, 30, 1232, False, id="EDNS has room for more"),
        pytest.param("of-73", True, 73, 1232, False, id="what fits 1232 octets comes whole"),
        pytest.param("of-200", True, 200, 4096, False, id="what fits 4096 octets comes whole"),
        pytest.param("of-400", True, 252, 4096, True, id="more than was offered is cut with TC"),
    ],
)
def test_an_answer_over_udp_is_truncated_between_records(
    ask: Ask, service: str, edns: bool, records: int, limit: int, truncated: bool
) -> None:
    reply, length = ask(service, "A", edns=edns)
    assert (_records(reply), bool(reply.flags & dns.flags.TC)) == (records, truncated)
    assert length <= limit
    assert reply.edns == (0 if edns else -1)


def test_a_truncated_answer_is_complete_over_tcp(ask: Ask) -> None:
    reply, _ = ask("of-400", "A", tcp=True)
    assert (_records(reply), bool(reply.flags & dns.flags.TC)) == (400, False)


def test_srv_records_of_400_endpoints_have_the_right_names(ask: Ask) -> None:
    reply, length = ask("_http._tcp.of-400", "SRV", tcp=True)
    assert length > 0x3FFF  # a compression pointer can't reach this far
    targets = {str(record.target) for rrset in reply.answer for record in rrset}
    wanted = {f"10-9-{number >> 8}-{number & 255}.of-400.shop.svc.cluster.local." for number in range(400)}
    assert targets == wanted
    addresses = {str(rrset.name): [record.address for record in rrset] for rrset in reply.additional}
    assert addresses == {target: [target.partition(".")[0].replace("-", ".")] for target in wanted}


def test_more_addresses_than_fit_are_truncated_at_65535_octets(ask: Ask) -> None:
    reply, length = ask("of-5000", "A", tcp=True)
    assert reply.flags & dns.flags.TC
    assert 65535 - 16 < length <= 65535
    assert _records(reply) == (65535 - 12 - len("of-5000.shop.svc.cluster.local") - 2 - 4) // 16


def test_each_reply_begins_with_a_different_address(ask: Ask) -> None:
    firsts = {next(iter(ask("of-28", "A")[0].answer[0])).address for _ in range(28)}
    assert len(firsts) == 28


def test_names_of_a_giant_service_are_not_denied_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone, "_FIRST", 0)
    subject = InProcess(tmp_path, load([*_headless("giant", _addresses(300)), service("web", "10.96.0.1")]))
    for qname, rcode in {
        "web.shop.svc.cluster.local.": dns.rcode.NOERROR,
        "giant.shop.svc.cluster.local.": dns.rcode.SERVFAIL,
        "10-9-0-1.giant.shop.svc.cluster.local.": dns.rcode.SERVFAIL,
        "_http._tcp.giant.shop.svc.cluster.local.": dns.rcode.SERVFAIL,
        "a-giant.shop.svc.cluster.local.": dns.rcode.NXDOMAIN,
        "example.com.shop.svc.cluster.local.": dns.rcode.NXDOMAIN,
    }.items():
        for _ in range(2):  # the second query uses what the worker has learned about the parent name
            reply = subject.ask(query(qname, 1), tcp=False)
            assert reply is not None
            assert dns.message.from_wire(reply).rcode() == rcode, qname
    subject.close()


def test_more_endpoints_than_a_message_can_count_are_truncated(tmp_path: Path) -> None:
    subject = InProcess(tmp_path, load(_headless("vast", _addresses(66_000))))
    reply = subject.ask(query("vast.shop.svc.cluster.local", dns.rdatatype.A), tcp=True)
    subject.close()
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC
    assert _records(message) == 4093  # each record has 16 octets


@pytest.mark.parametrize(("alias", "rtype"), [("alias-5000", "A"), ("alias-srv", "SRV")])
@pytest.mark.parametrize(("tcp", "limit"), [(True, 65535), (False, 512)])
def test_an_alias_of_an_answer_above_64_kib_gets_the_records_that_fit(
    ask: Ask, alias: str, rtype: str, tcp: bool, limit: int
) -> None:
    reply, size = ask(alias, rtype, tcp=tcp)
    assert reply.rcode() == 0 and reply.flags & dns.flags.TC
    assert limit - 100 < size <= limit and _records(reply) > size // 120
