"""An upstream at a link-local address with a zone, reached over a pair of interfaces in a network namespace."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.clients.namespace import Namespace, Unavailable
from tests.fakes.upstream import FakeUpstream
from tests.forwarding import answers
from tests.running import COMMAND, Server

_LINK = "ip link add veth0 type veth peer name veth1 && ip link set veth0 up && ip link set veth1 up"
_ADDRESSES = "ip -6 address add fe80::2/64 dev veth0 nodad && ip -6 address add fe80::1/64 dev veth1 nodad"


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    try:
        made = Namespace("10.96.0.10")
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        linked = subprocess.run(made.command(["sh", "-c", f"{_LINK} && {_ADDRESSES}"]), capture_output=True, text=True)
        if linked.returncode:
            pytest.skip(f"no pair of interfaces can be made: {linked.stderr.strip()}")
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_link_local_upstream_is_reached_through_its_zone(
    namespace: Namespace, tmp_path: Path, transport: str
) -> None:
    context = None
    if transport == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority = trustme.CA()
        authority.issue_cert("dns.example").configure_cert(context)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with namespace.entered():
        upstream = FakeUpstream(answers, tls=context, host="fe80::1%veth1")
    (tmp_path / "manifests").mkdir()
    how: dict[str, object] = {"transport": transport}
    if transport == "tls":
        how |= {"server_name": "dns.example", "tls": {"ca": str(tmp_path / "ca.pem")}}
    config = {"upstreams": [{"address": f"[fe80::1%veth0]:{upstream.port}", **how}]}
    (tmp_path / "config.yaml").write_text(repr(config))
    flags = ["--config", str(tmp_path / "config.yaml")]
    server = None
    try:
        server = Server(
            ["--manifests", str(tmp_path / "manifests")],
            tmp_path / "state",
            flags=flags,
            command=namespace.command(COMMAND),
        )
        with namespace.entered():
            assert server.ask("www.example.com", timeout_s=30) == "1.2.3.4", server.status()
    finally:
        if server is not None:
            server.end()
        upstream.close()
