"""Log lines for queries: which queries are logged, the fields, changes at run time, and a log that nobody reads."""

import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import dns.rdatatype
import pytest
import yaml

from pydns.config import model
from pydns.config.model import Config
from pydns.dns import name
from pydns.dns.address import address_text
from pydns.dns.message import Rcode
from pydns.log import Log
from pydns.metrics.meter import Tally
from pydns.metrics.totals import Totals
from pydns.ring.layout import Origin
from pydns.serve.client_lookup import ClientLookup
from pydns.serve.port import UDP_LIMIT, Client, Port
from pydns.serve.query_log import QueryLog
from tests.bench.servers import free_port
from tests.fakes.upstream import FakeUpstream
from tests.running import COMMAND, WEB, Server, query
from tests.subject import Address
from tests.upstream import world
from tests.waiting import PATIENCE_S, until

A, TXT, AAAA = 1, 16, 28
FIELDS = re.compile(
    r"time=\S+ level=info event=query client=(\S+) proto=(\w+) "
    r'name=("(?:[^"\\]|\\.)*"|\S+) type=(\S+) rcode=(\S+) id=(?:\d+) flags=(?:"[a-z ]+"|\S+) '
    r"(?:upstream=\S+ )?(?:reason=\S+ )?size=(\d+) duration_s=(\S+)\n"
)
WEB_A = query(WEB + ".", A)
LATER = 0.0, 0.001, Origin.UPSTREAM, "", None  # facts of a deferred reply that the query log doesn't need


def say(packet: bytes, _: str) -> list[bytes]:
    return [world.reply_to(packet, world.Server(rcode=3 if packet[13:15].lower() == b"nx" else 0))]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    server = FakeUpstream(say)
    yield server
    server.close()


class Configured:
    """A server whose configuration can be changed."""

    def __init__(
        self,
        start: Callable[..., Server],
        folder: Path,
        upstream: FakeUpstream,
        queries: dict[str, Any] | None,
        workers: int = 1,
        listen: str = "127.0.0.1:0",
        host: str = "127.0.0.1",
    ) -> None:
        self._path = folder / "other" / "config.yaml"
        self._upstream = upstream
        self.write(queries)
        self.server = start(flags=["--config", str(self._path)], workers=workers, listen=listen)
        until(
            lambda: self.ask("ready.example.com.", host=host) == Rcode.NOERROR, 5
        )  # the query would be refused without the configuration

    def write(self, queries: dict[str, Any] | None) -> None:
        config = {"upstreams": [{"address": f"127.0.0.1:{self._upstream.port}"}]}
        changed = self._path.with_suffix(".new")
        changed.write_text(yaml.safe_dump(config | ({} if queries is None else {"log": {"queries": queries}})))
        changed.rename(self._path)

    def ask(self, qname: str, qtype: int = A, *, tcp: bool = False, host: str = "127.0.0.1") -> int:
        """Send a query and return the rcode."""
        reply = Address(host, self.server.port, silent=False).ask(query(qname, qtype), tcp=tcp)
        assert reply is not None
        return reply[3] & 15

    def lines(self) -> list[tuple[str, ...]]:
        found = [FIELDS.fullmatch(line) for line in self.server.logged("query")]
        assert all(found), self.server.logged("query")
        return [each.groups() for each in found if each and each[3] not in (".", "ready.example.com.")]

    def are_logged(self, wanted: bool) -> bool:
        """Send queries from sixteen sockets, so that both workers get some. Return whether all or none are logged."""
        before = len(self.lines())
        for _ in range(16):
            self.ask(WEB + ".")
        with suppress(AssertionError):
            # A worker writes its lines after at most 0.05 s.
            until(lambda: len(self.lines()) - before >= 16, 2.0 if wanted else 0.15)
        return len(self.lines()) - before == (16 if wanted else 0)


Start = Callable[..., Configured]


@pytest.fixture
def configured(start: Callable[..., Server], tmp_path: Path, upstream: FakeUpstream) -> Start:
    return partial(Configured, start, tmp_path, upstream)


def test_a_change_takes_effect_on_every_worker(configured: Start) -> None:
    server = configured(None, workers=2)
    assert server.are_logged(False)
    server.write({})
    until(lambda: server.are_logged(True))
    server.write(None)
    until(lambda: server.are_logged(False))


# Each row has a name, a type, and whether TCP is used. Then come the rcode and the class that filters use.
ASKED = [
    (WEB + ".", A, False, "NOERROR", "success"),
    (WEB + ".", A, True, "NOERROR", "success"),
    (WEB + ".", AAAA, False, "NOERROR", "denial"),
    ("no.shop.svc.cluster.local.", A, False, "NXDOMAIN", "denial"),
    # The wire name ends with the octets of b.svc.cluster.local.
    ("x\\001b.svc.cluster.local.", A, False, "NXDOMAIN", "denial"),
    ("www.example.com.", A, False, "NOERROR", "success"),
    ("www.example.com.", A, True, "NOERROR", "success"),  # the cache answers this query
    ("nx.example.com.", TXT, True, "NXDOMAIN", "denial"),
    ("WEB.shop.svc.cluster.local.", 251, False, "REFUSED", "error"),
]
TYPES = {A: "A", TXT: "TXT", AAAA: "AAAA", 251: "IXFR"}
CHOSEN: list[tuple[dict[str, Any], Callable[[str, str], bool]]] = [
    ({}, lambda *_: True),
    ({"classes": ["denial"]}, lambda _, kind: kind == "denial"),
    ({"classes": ["error", "success"]}, lambda _, kind: kind != "denial"),
    ({"zones": ["example.com"]}, lambda qname, _: qname.endswith("example.com.")),
    ({"zones": ["b.svc.cluster.local", "web.shop.svc.cluster.local"]}, lambda q, _: q.lower().startswith("web.")),
]


def test_a_line_has_id_and_flags_and_upstream_and_reason(configured: Start, upstream: FakeUpstream) -> None:
    server = configured({})
    address = Address("127.0.0.1", server.server.port, silent=False)
    for qname, message_id in (
        (WEB + ".", 4660),
        ("asked.example.com.", 4661),
        ("asked.example.com.", 4662),
        ("wbe" + WEB[3:] + ".", 4663),
    ):
        assert address.ask(query(qname, A, message_id), tcp=False)
    wanted = [
        (4660, '"aa rd ra"', ""),
        (4661, '"rd ra"', f"upstream=127.0.0.1:{upstream.port} "),
        (4662, '"rd ra"', ""),  # the answer comes from the cache
        (4663, '"aa rd ra"', "reason=no-service "),
    ]
    shown = [f" id={message_id} flags={flags} {asked}size=" for message_id, flags, asked in wanted]

    def are_logged() -> bool:
        lines = "".join(server.server.logged("query"))
        return all(each in lines for each in shown)

    until(are_logged, found=lambda: server.server.logged("query"))


@pytest.mark.parametrize(("chosen", "is_wanted"), CHOSEN)
def test_chosen_replies_are_logged(
    chosen: dict[str, Any], is_wanted: Callable[[str, str], bool], configured: Start
) -> None:
    server = configured(chosen)
    for qname, qtype, tcp, *_ in ASKED:
        server.ask(qname, qtype, tcp=tcp)
    wanted = [
        ("tcp" if tcp else "udp", qname, TYPES[qtype], rcode)
        for qname, qtype, tcp, rcode, kind in ASKED
        if is_wanted(qname, kind)
    ]
    until(lambda: len(server.lines()) >= len(wanted))
    time.sleep(0.15)
    found = server.lines()
    assert sorted(each[1:5] for each in found) == sorted(wanted)
    for client, *_, size, duration_s in found:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", client)
        assert int(size) > 12
        assert 0 < float(duration_s) < PATIENCE_S


@pytest.mark.parametrize("queries", [None, {}])
@pytest.mark.parametrize(
    ("listen", "host"), [("[::]:0", "::1"), ("0.0.0.0:0", "127.0.0.2"), ("0.0.0.0:0", "127.0.0.1")]
)
def test_the_log_does_not_change_the_source_address_of_replies(
    queries: dict[str, Any] | None,
    listen: str,
    host: str,
    upstream: FakeUpstream,
    start: Callable[..., Server],
    tmp_path: Path,
) -> None:
    # 127.0.0.2 has no separate socket: the socket for all addresses answers.
    server = Configured(start, tmp_path, upstream, queries, listen=listen, host=host)
    for qname in WEB, "www.example.com", "www.example.com", "other.example.com":
        assert server.ask(qname + ".", host=host) == Rcode.NOERROR
    assert server.ask("no.shop.svc.cluster.local.", host=host) == Rcode.NXDOMAIN
    wanted = 0 if queries is None else 5
    until(lambda: len(server.lines()) >= wanted)
    client = "[::1]:" if ":" in host else "127.0.0.1:"
    assert [each[0].startswith(client) for each in server.lines()] == [True] * wanted


def test_a_share_of_the_queries_is_logged_at_random(configured: Start) -> None:
    server = configured({"share": 0.3})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", server.server.port))
        for _ in range(1000):
            sock.send(WEB_A)
            sock.recv(512)
    until(lambda: len(server.lines()) > 200)
    time.sleep(0.15)
    assert 200 < len(server.lines()) < 400  # the expected value is 300; the limits are 6.9 standard deviations away


def test_a_name_cannot_forge_a_log_line(configured: Start) -> None:
    server = configured({})
    forged = name.from_labels(b'a\nb event=synced"', b"c\x85 d", b"default", b"svc", b"cluster", b"local")
    message = b"\0\1\1\0\0\1" + bytes(6) + forged + b"\0\1\0\1"
    Address("127.0.0.1", server.server.port).ask(message, tcp=False)
    until(lambda: bool(server.lines()))
    escaped = r'"a\\010b\\032event=synced\\\".c\\133\\032d.default.svc.cluster.local."'
    assert [each[2] for each in server.lines()] == [escaped]


class Outlet:
    """Accepts all lines until it is full."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.tries = 0
        self.is_full = False

    def write(self, lines: bytes, patience_s: float = 0.0) -> bool:
        self.tries += 1
        if not self.is_full:
            self.pieces.append(lines)
        return not self.is_full


class OneClient(Port):
    """A port that has one client."""

    def __init__(self) -> None:
        super().__init__("udp", UDP_LIMIT, Tally(Totals(), 0))

    def client_at(self, peer: None) -> Client:
        return Client("192.0.2.1", 53)


@pytest.mark.parametrize("rtype", ["CAA", "SVCB", "HTTPS", "NAPTR", "SSHFP", "TLSA", "DS", "DNSKEY", "LOC", "URI"])
def test_a_log_line_has_the_name_of_the_type(rtype: str) -> None:
    outlet = Outlet()
    queries = QueryLog(Log(outlet=outlet), lambda *_: None)
    queries.configure(Config(log=model.LogOptions(model.QueryLogOptions())))
    question = query(WEB + ".", dns.rdatatype.from_text(rtype))
    queries.replied_later(OneClient(), None, question[:2] + b"\x84\0" + question[4:], *LATER)
    queries.write()
    assert f" type={rtype} ".encode() in b"".join(outlet.pieces)


class _Clients(ClientLookup):
    """Names of clients without a table."""

    def __init__(self, names: dict[str, tuple[str, str]]) -> None:
        self._by_text = names

    def want(self, *, is_wanted: bool) -> None:
        pass

    def texts_of(self, address: bytes) -> tuple[str, str]:
        return self._by_text.get(address_text(address), ("", ""))


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        ({"192.0.2.1": ("shop/web-0", "")}, "client=192.0.2.1:53 client_name=shop/web-0 proto=udp"),
        ({"192.0.2.1": ("shop/web-0", "app=web")}, ' client_name=shop/web-0 client_labels="app=web" proto=udp'),
        ({}, ":53 proto=udp"),
    ],
)
def test_a_log_line_has_the_name_of_a_known_client(names: dict[str, tuple[str, str]], fields: str) -> None:
    outlet = Outlet()
    queries = QueryLog(Log(outlet=outlet), lambda *_: None, _Clients(names))
    queries.configure(Config(log=model.LogOptions(model.QueryLogOptions())))
    queries.replied_later(OneClient(), None, WEB_A[:2] + b"\x84\0" + WEB_A[4:], *LATER)
    queries.write()
    assert fields.encode() in b"".join(outlet.pieces)


def test_many_lines_are_written_together() -> None:
    outlet = Outlet()
    queries = QueryLog(Log(outlet=outlet), lambda *_: None)  # no time passes on this clock
    queries.configure(Config(log=model.LogOptions(model.QueryLogOptions())))
    port = OneClient()
    reply = WEB_A[:2] + b"\x84\0" + WEB_A[4:]
    for _ in range(100):
        queries.replied_later(port, None, reply, *LATER)
    assert sum(piece.count(b"\n") for piece in outlet.pieces) > 70
    assert max(map(len, outlet.pieces)) <= select.PIPE_BUF
    outlet.is_full, outlet.tries = True, 0
    for _ in range(3000):
        queries.replied_later(port, None, reply, *LATER)
    assert outlet.tries == 1  # the log tries again only after some time
    outlet.is_full = False
    queries.write()
    queries.write()  # this writes the number of lost lines
    written = b"".join(outlet.pieces)
    lost = int(written.partition(b'event="query lines lost" number=')[2].split()[0])
    assert written.count(b" event=query ") + lost == 3100
    assert 256 << 10 < len(written) < 300 << 10


def test_a_blocked_log_delays_no_query_and_reports_lost_lines_later(manifests: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("log: {queries: {}}")
    # The port must be free for UDP and TCP. pydns would log a port that it chose itself, but this test doesn't read the
    # log.
    port = free_port()
    arguments = ["--workers", "1", "--state-dir", str(tmp_path / "state"), "--listen", f"127.0.0.1:{port}"]
    arguments += ["--manifests", str(manifests), "--config", str(config)]
    reading, writing = os.pipe()
    process = subprocess.Popen([*COMMAND, "serve", *arguments], stderr=writing)
    os.close(writing)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(("127.0.0.1", port))
            until(lambda: _answers(sock) or process.poll() is not None)
            assert process.poll() is None, os.read(reading, 4096)
            for number in range(4000):  # 640 KB of lines: the pipe holds 64 KB, and the buffer 256 KB
                assert _answers(sock), number
            for number in range(50):  # these lines of the controller are longer than the pipe's buffer
                (manifests / f"bad{number}.yaml").write_text("kind: [")
            (manifests / "other.yaml").write_text((manifests / "web.yaml").read_text().replace("web", "other"))
            until(lambda: _answers(sock, WEB.replace("web", "other")))
            os.set_blocking(reading, False)
            said = b""

            def is_told() -> bool:
                nonlocal said
                with suppress(BlockingIOError):
                    said += os.read(reading, 1 << 20)
                return b'event="query lines lost" number=' in said and b'event="log lines lost" number=' in said

            until(lambda: _answers(sock) and is_told())
            lost = int(said.partition(b'event="query lines lost" number=')[2].split()[0])
            assert 1000 < lost < 4000
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)


def _answers(sock: socket.socket, qname: str = WEB) -> bool:
    try:
        sock.send(query(qname + ".", A))
        return sock.recv(512)[7] == 1
    except OSError:
        return False
