"""Hosts, and zones that conflict with other zones."""

from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from pydns.config.model import Host
from pydns.dns.name import from_text
from tests.fakes.manifests import service
from tests.subject import InProcess, load, load_static

_SOA = "@ 60 SOA @ nobody.invalid. 1 7200 1800 86400 60\n@ 60 NS @\n"
_WEB = service("web", "10.96.0.10")


def host(qname_text: str, *addresses: bytes, ttl_s: int = 60, ptr: bool = True) -> Host:
    return Host(from_text(qname_text), addresses, ttl_s, ptr)


_HOSTS = (
    host("db.corp.example", bytes([10, 9, 0, 5]), bytes([10, 9, 0, 6]), bytes(15) + b"\5"),
    host("alias.corp.example", bytes([10, 9, 0, 5]), ttl_s=30),
    host("quiet.corp.example", bytes([10, 9, 0, 7]), ptr=False),
    host("clusters.corp.example", bytes([10, 96, 0, 10])),
    host("www.example.org", bytes([10, 9, 0, 8])),
    host("extra.shop.svc.cluster.local", bytes([10, 9, 0, 9])),
    host("web.shop.svc.cluster.local", bytes([10, 9, 0, 10])),
)
_FILES = {"example.org.zone": _SOA + "www 60 A 192.0.2.1\nother 60 A 192.0.2.2\n"}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    started = InProcess(tmp_path_factory.mktemp("state"), load([_WEB]), statics=load_static(_FILES, _HOSTS))
    yield started
    started.close()


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("db.corp.example. A", "NOERROR 60 10.9.0.5 10.9.0.6"),
        ("DB.Corp.example. A", "NOERROR 60 10.9.0.5 10.9.0.6"),
        ("db.corp.example. AAAA", "NOERROR 60 ::5"),
        ("db.corp.example. TXT", "NOERROR"),
        ("quiet.corp.example. AAAA", "NOERROR"),
        ("x.db.corp.example. A", "REFUSED"),
        ("corp.example. A", "REFUSED"),
        ("5.0.9.10.in-addr.arpa. PTR", "NOERROR 30 alias.corp.example. db.corp.example."),
        ("7.0.9.10.in-addr.arpa. PTR", "NXDOMAIN"),
        ("10.0.96.10.in-addr.arpa. PTR", "NOERROR 5 web.shop.svc.cluster.local."),
        ("www.example.org. A", "NOERROR 60 10.9.0.8"),
        ("www.example.org. AAAA", "NOERROR"),
        ("none.example.org. A", "NXDOMAIN"),
        ("extra.shop.svc.cluster.local. A", "NOERROR 60 10.9.0.9"),
        ("web.shop.svc.cluster.local. A", "NOERROR 5 10.96.0.10"),
    ],
)
def test_questions_for_the_name_and_the_address_of_a_host_are_answered(
    asked: str, wanted: str, subject: InProcess
) -> None:
    assert _short(subject, asked) == wanted


def test_other_types_of_a_host_are_denied_with_authority(subject: InProcess) -> None:
    reply = subject.ask(dns.message.make_query("db.corp.example.", "TXT").to_wire(), tcp=False)
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.AA
    assert [(str(each.name), each.rdtype) for each in message.authority] == [("db.corp.example.", dns.rdatatype.SOA)]


def test_lines_for_one_host_are_merged_and_an_address_has_a_limited_number_of_names(tmp_path: Path) -> None:
    twice = [Host(from_text("a.example"), (bytes([10, 0, 0, last]),), ttl) for last, ttl in ((1, 60), (2, 30), (1, 60))]
    many = [Host(from_text(f"h{i}.example"), (bytes(4),)) for i in range(20_000)]
    subject = InProcess(tmp_path, load([]), statics=load_static({}, [*twice, *many]))
    assert _short(subject, "a.example. A") == "NOERROR 30 10.0.0.1 10.0.0.2"
    assert _short(subject, "h19999.example. A") == "NOERROR 60 0.0.0.0"
    reply = subject.ask(dns.message.make_query("0.0.0.0.in-addr.arpa.", "PTR").to_wire(), tcp=True)
    assert reply is not None and len(dns.message.from_wire(reply).answer[0]) == 100
    subject.close()


def test_hosts_need_no_reverse_zone(tmp_path: Path) -> None:
    flags = ["--reverse-zones", ""]
    subject = InProcess(tmp_path, load([], flags), statics=load_static({}, _HOSTS, flags))
    assert _short(subject, "6.0.9.10.in-addr.arpa. PTR") == "NOERROR 60 db.corp.example."
    assert _short(subject, "7.0.9.10.in-addr.arpa. PTR") == "REFUSED"
    subject.close()


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("cluster.local.zone", "cluster.local. is in the cluster domain"),
        ("x.svc.cluster.local.zone", "x.svc.cluster.local. is in the cluster domain"),
        ("in-addr.arpa.zone", "in-addr.arpa. is one of the cluster's reverse zones"),
        ("..zone", "the root zone can't be served"),
    ],
)
def test_a_zone_file_for_the_cluster_domain_is_not_served(file: str, reason: str) -> None:
    statics = load_static({file: _SOA})
    assert statics.refused == {file: reason}
    assert (statics.zones, statics.contents.answers) == ([], {})


def test_if_two_files_have_the_same_zone_the_first_is_served() -> None:
    statics = load_static({"a.zone": "$ORIGIN example.org.\n" + _SOA, "b.zone": "$ORIGIN example.org.\n" + _SOA})
    assert statics.refused == {"b.zone": "example.org. is already served from a.zone"}


def test_a_zone_above_the_cluster_domain_does_not_hide_the_clusters_names(tmp_path: Path) -> None:
    zone = _SOA + "web.shop.svc.cluster 60 TXT x\n* 60 A 192.0.2.1\n"
    subject = InProcess(tmp_path, load([_WEB]), statics=load_static({"local.zone": zone}))
    assert _short(subject, "any.local. A") == "NOERROR 60 192.0.2.1"
    assert _short(subject, "web.shop.svc.cluster.local. A") == "NOERROR 5 10.96.0.10"
    assert _short(subject, "web.shop.svc.cluster.local. TXT") == "NOERROR"
    assert _short(subject, "none.shop.svc.cluster.local. A") == "NXDOMAIN"
    subject.close()


def test_glue_that_does_not_fit_makes_a_referral_truncated(tmp_path: Path) -> None:
    zone = _SOA + "".join(f"sub 60 NS ns{i}.sub\nns{i}.sub 60 AAAA ::{i}\n" for i in range(1, 13))
    subject = InProcess(tmp_path, load([]), statics=load_static({"example.org.zone": zone}))
    query = dns.message.make_query("x.sub.example.org.", "A").to_wire()
    small, whole = subject.ask(query, tcp=False), subject.ask(query, tcp=True)
    assert small is not None and whole is not None
    message = dns.message.from_wire(small)
    assert (len(message.authority[0]), bool(message.flags & dns.flags.TC)) == (12, True)
    message = dns.message.from_wire(whole)
    assert (len(message.additional), bool(message.flags & dns.flags.TC)) == (12, False)
    subject.close()


def test_a_name_that_a_dname_makes_too_long_does_not_exist(tmp_path: Path) -> None:
    subject = InProcess(
        tmp_path, load([]), statics=load_static({"example.org.zone": _SOA + f"d 60 DNAME {'x' * 60}.{'y' * 60}\n"})
    )
    assert _short(subject, f"{'z' * 60}.{'z' * 60}.d.example.org. A").startswith("YXDOMAIN")
    subject.close()


def _short(subject: InProcess, asked: str) -> str:
    """Return the rcode, the TTL and the records of the answer."""
    qname, qtype = asked.split()
    reply = subject.ask(dns.message.make_query(qname, qtype).to_wire(), tcp=False)
    assert reply is not None
    message = dns.message.from_wire(reply)
    answers = [f"{rrset.ttl} {' '.join(sorted(map(str, rrset)))}" for rrset in message.answer]
    return " ".join([dns.rcode.to_text(message.rcode()), *answers])
