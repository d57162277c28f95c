"""Before the first listing of the cluster, known names are answered, and no name that may still appear is denied."""

from pathlib import Path

import dns.message
import dns.rcode
import pytest

from tests.fakes.manifests import service
from tests.running import query
from tests.subject import InProcess, load, load_static

_CLUSTER = [service("web", "10.96.0.10")]


@pytest.mark.parametrize(
    ("qname_text", "rcode"),
    [
        pytest.param("web.shop.svc.cluster.local", "NOERROR", id="a Service that is known"),
        pytest.param("none.shop.svc.cluster.local", "SERVFAIL", id="one that isn't known"),
        pytest.param("1.1.1.1.in-addr.arpa", "SERVFAIL", id="an address that isn't known"),
        pytest.param("cluster.local", "NOERROR", id="the apex"),
    ],
)
def test_an_unsynced_table_denies_no_name(tmp_path: Path, qname_text: str, rcode: str) -> None:
    subject = InProcess(tmp_path, load(_CLUSTER), synced=False)
    reply = subject.ask(query(qname_text, 1), tcp=False)
    assert reply is not None
    assert dns.rcode.to_text(dns.message.from_wire(reply).rcode()) == rcode
    subject.close()


_SOA = "@ 60 SOA @ nobody.invalid. 1 7200 1800 86400 60\n@ 60 NS @\n"


@pytest.mark.parametrize(
    ("qname_text", "rcode"),
    [
        pytest.param("www.example.org", "NOERROR", id="a record of a file"),
        pytest.param("none.example.org", "NXDOMAIN", id="a zone of a file is complete"),
        pytest.param("1.1.1.10.in-addr.arpa", "SERVFAIL", id="a file's zone that the cluster has names in is not"),
        pytest.param("x.9.10.in-addr.arpa", "SERVFAIL", id="nor are its wildcards"),
    ],
)
def test_a_zone_file_waits_for_the_cluster_only_if_the_cluster_has_names_in_it(
    tmp_path: Path, qname_text: str, rcode: str
) -> None:
    statics = load_static(
        {"example.org.zone": _SOA + "www 60 A 192.0.2.1", "10.in-addr.arpa.zone": _SOA + "*.9 60 A 192.0.2.1"}
    )
    subject = InProcess(tmp_path, load([]), synced=False, statics=statics)
    reply = subject.ask(query(qname_text, 1), tcp=False)
    assert reply is not None
    assert dns.rcode.to_text(dns.message.from_wire(reply).rcode()) == rcode
    subject.close()
