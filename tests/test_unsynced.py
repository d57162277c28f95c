"""Before the cluster has been listed: what is known is answered, and nothing is denied that may be on its way."""

from pathlib import Path

import dns.message
import dns.rcode
import pytest

from tests.subject import InProcess, load, query

_CLUSTER = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.10"},
    }
]


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
