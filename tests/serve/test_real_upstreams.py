"""Real upstreams: Unbound, dnsmasq and Knot DNS serve the same names, and a running pydns forwards to them."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
import trustme

from tests.bench.servers import free_port, knot_configuration
from tests.daemons import serving
from tests.fakes.manifests import external_name
from tests.subject import Server

_HOSTS = {"www": ["192.0.2.1"], "big": [f"10.1.{i // 250}.{i % 250 + 1}" for i in range(300)]}
_ZONE = "\n".join(
    [
        "example.com. 300 SOA ns.example.com. hostmaster.example.com. 7 7200 1800 86400 60",
        "example.com. 300 NS ns.example.com.",
        "ns.example.com. 300 A 192.0.2.53",
        "alias.example.com. 300 CNAME www.example.com.",
        *(f"{first}.example.com. 300 A {each}" for first, addresses in _HOSTS.items() for each in addresses),
        "",
    ]
)
_CLUSTER = [external_name("ext", "alias.example.com")]


def _unbound(directory: Path, port: int, more: str = "") -> list[str]:
    """Answer from a zone of Unbound's own, and deny other names: otherwise Unbound would ask root servers."""
    (directory / "example.zone").write_text(_ZONE)
    (directory / "unbound.conf").write_text(f"""\
server:
    interface: 127.0.0.1@{port}
    directory: "{directory}"
    username: ""
    chroot: ""
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    module-config: "iterator"
    num-threads: 1
    edns-buffer-size: 1232
    max-udp-size: 1232
    local-zone: "." static
    local-zone: "example.com." transparent
{more}
auth-zone:
    name: "example.com."
    zonefile: "example.zone"
    for-upstream: yes
    for-downstream: no
    fallback-enabled: no
remote-control:
    control-enable: no
""")
    return ["-d", "-c", str(directory / "unbound.conf")]


def _dnsmasq(directory: Path, port: int) -> list[str]:
    hosts = directory / "hosts"
    hosts.write_text("".join(f"{ip} {first}.example.com\n" for first, ips in _HOSTS.items() for ip in ips))
    return [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        f"--user={getpass.getuser()}",
        f"--port={port}",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        f"--addn-hosts={hosts}",
        "--cname=alias.example.com,www.example.com",
        "--local=/example.com/",
        "--local-ttl=300",
    ]


def _knot(directory: Path, port: int) -> list[str]:
    (directory / "example.zone").write_text(_ZONE)
    configuration = knot_configuration(directory, port, {"example.com": directory / "example.zone"})
    (directory / "knot.conf").write_text(configuration)
    return ["--config", str(directory / "knot.conf")]


_READY = [("www.example.com", "A")]
_SERVERS = {"unbound": _unbound, "dnsmasq": _dnsmasq, "knotd": _knot}


@pytest.fixture(scope="module", params=_SERVERS)
def upstream(request: pytest.FixtureRequest) -> Iterator[int]:
    with serving(request.param, _SERVERS[request.param], _READY) as port:
        yield port


def _ask(server: Server, qname: str, rtype: str = "A", *, tcp: bool = False, edns: int = -1) -> dns.message.Message:
    query = dns.message.make_query(qname, rtype, use_edns=edns)
    reply = server.address._replace(silent=False).ask(query.to_wire(), tcp=tcp)
    assert reply is not None
    return dns.message.from_wire(reply)


def _answers(reply: dns.message.Message) -> set[tuple[str, str, str]]:
    """Return owner, type and data of the records. The upstream chooses the TTLs, so they are left out."""
    return {
        (str(rrset.name), dns.rdatatype.to_text(rrset.rdtype), str(rdata)) for rrset in reply.answer for rdata in rrset
    }


WWW = ("www.example.com.", "A", "192.0.2.1")
ALIAS = ("alias.example.com.", "CNAME", "www.example.com.")
EXT = ("ext.shop.svc.cluster.local.", "CNAME", "alias.example.com.")
BIG = {("big.example.com.", "A", each) for each in _HOSTS["big"]}


def _check(server: Server) -> None:
    for tcp in (False, True):
        for edns in (-1, 0):  # the first answer comes from the upstream, the second from the cache
            assert _answers(_ask(server, "www.example.com", tcp=tcp, edns=edns)) == {WWW}
            assert _answers(_ask(server, "alias.example.com", tcp=tcp, edns=edns)) == {ALIAS, WWW}
            assert _answers(_ask(server, "ext.shop.svc.cluster.local", tcp=tcp, edns=edns)) == {EXT, ALIAS, WWW}
            denied = _ask(server, "none.example.com", tcp=tcp, edns=edns)
            assert (denied.rcode(), denied.answer) == (dns.rcode.NXDOMAIN, [])
            empty = _ask(server, "www.example.com", "AAAA", tcp=tcp, edns=edns)
            assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])
    assert _ask(server, "big.example.com", edns=0).flags & dns.flags.TC
    assert _answers(_ask(server, "big.example.com", tcp=True)) == BIG


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_the_answers_of_a_real_server_are_passed_on(upstream: int, transport: str) -> None:
    server = Server(_CLUSTER, config={"upstreams": [{"address": f"127.0.0.1:{upstream}", "transport": transport}]})
    try:
        _check(server)
    finally:
        log = server.stop()
        server.close()
    assert "level=error" not in log and "level=warning" not in log, log


def test_unbound_is_asked_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("dns.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls_port = 0

    def configure(directory: Path, port: int) -> list[str]:
        nonlocal tls_port
        tls_port = free_port()
        more = f"""\
    interface: 127.0.0.1@{tls_port}
    tls-port: {tls_port}
    tls-service-key: "{tmp_path}/server.pem"
    tls-service-pem: "{tmp_path}/server.pem"
"""
        return _unbound(directory, port, more)

    with serving("unbound", configure, _READY):
        one = {"address": f"127.0.0.1:{tls_port}", "transport": "tls", "server_name": "dns.example"}
        server = Server(_CLUSTER, config={"upstreams": [one]})
        try:
            _check(server)
        finally:
            server.close()
