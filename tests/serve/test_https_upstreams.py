"""DNS over HTTPS: questions to servers that answer, fail, limit requests, close connections, or use no HTTP/2."""

import ssl
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fakes import doh
from tests.fakes.doh import Conversation, Reply, replies
from tests.fakes.upstream import FakeUpstream
from tests.forwarding import Fake, answers
from tests.running import Server
from tests.upstream.world import Server as Behaviour
from tests.upstream.world import reply_to
from tests.waiting import until

_LOST = ("Connection reset by peer", "Broken pipe", "the server closed the connection without an answer")


class Doh:
    """A DoH server, and its connections."""

    def __init__(self, folder: Path, fake: Fake, script: doh.Script, *, alpn: str = "h2", **settings: int) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("dns.example").configure_cert(context)
        context.set_alpn_protocols([alpn])
        self.conversations: list[Conversation] = []
        self.fake: FakeUpstream = fake(tls=context, stream=doh.serve(script, self.conversations, **settings))
        self.config = {
            "address": f"https://127.0.0.1:{self.fake.port}/resolve",
            "server_name": "dns.example",
            "tls": {"ca": str(folder / "ca.pem")},
        }


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Server] = []

    def begin(*upstreams: Any) -> Server:
        (tmp_path / "manifests").mkdir()
        (tmp_path / "config.yaml").write_text(repr({"choice": "in_order", "upstreams": list(upstreams)}))
        source = ["--manifests", str(tmp_path / "manifests"), "--config", str(tmp_path / "config.yaml")]
        started.append(Server(source, tmp_path / "state"))
        return started[-1]

    yield begin
    for each in started:
        each.end()


def address(fake: FakeUpstream) -> str:
    return f"127.0.0.1:{fake.port}"


def test_questions_share_one_connection(start: Any, fake: Fake, tmp_path: Path) -> None:
    server_ = Doh(tmp_path, fake, replies(answers), MAX_CONCURRENT_STREAMS=3)
    server = start(server_.config)
    for i in range(30):
        assert server.ask(f"n{i}.example.com", timeout_s=60) == "1.2.3.4"
    [first, *_] = server_.conversations
    assert first.requests[0][":path"] == "/resolve"
    assert first.requests[0][":authority"] == f"dns.example:{server_.fake.port}"
    assert all(message[:2] == b"\0\0" for message in first.messages)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"status": "503"}, "HTTP status 503"),
        ({"content_type": "text/html"}, "HTTP content type 'text/html'"),
        ({"resets": True}, "the server cancelled a request: ENHANCE_YOUR_CALM"),
        ({"ends": True}, "the server ended the connection: NO_ERROR"),
        ({"closes": True}, "the server closed the connection without an answer"),
    ],
    ids=["status", "content type", "reset", "GOAWAY", "close"],
)
def test_the_next_server_answers_in_place_of_one_that_fails(
    start: Any, fake: Fake, tmp_path: Path, how: dict[str, Any], reason: str
) -> None:
    broken, good = Doh(tmp_path, fake, replies(answers, **how)), fake(says("192.0.2.9"))
    server = start(broken.config, address(good))
    names = map("n{}.example.com".format, count())
    # The failing server gets questions until pydns avoids it. Until then, the other server may be asked first.
    until(
        lambda: server.ask(next(names)) == "192.0.2.9" and server.logged("upstream does not answer"), 60, server.status
    )
    logged = server.logged("connection to upstream failed")
    # When a server closes a connection with unread questions, its last octets may be lost.
    wanted = (reason, *_LOST) if how.keys() & {"ends", "closes"} else (reason,)
    assert any(each in line for line in logged for each in wanted), logged


def test_a_server_without_http_2_is_reported(start: Any, fake: Fake, tmp_path: Path) -> None:
    old = Doh(tmp_path, fake, replies(answers), alpn="http/1.1")
    server = start(old.config, address(fake(says("192.0.2.9"))))
    assert server.ask("www.example.com", timeout_s=60) == "192.0.2.9"
    reason = "the server doesn't speak h2 (ALPN)"
    until(lambda: any(reason in line for line in server.logged("connection to upstream failed")), 60)


def test_questions_of_a_connection_that_ended_are_asked_again(start: Any, fake: Fake, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def every_third_ends(message: bytes) -> Iterator[Reply]:
        asked.append(message)
        if len(asked) % 3 == 0:
            yield Reply(b"", ends=True)
        else:
            yield from replies(answers)(message)

    server_ = Doh(tmp_path, fake, every_third_ends)
    server = start(server_.config)
    for i in range(12):
        assert server.ask(f"n{i}.example.com", timeout_s=60) == "1.2.3.4"
    assert len(server_.conversations) > 3


def test_the_name_of_a_server_is_resolved_by_the_other_upstreams(start: Any, fake: Fake, tmp_path: Path) -> None:
    server_ = Doh(tmp_path, fake, replies(says("192.0.2.2")))
    other = fake(says("127.0.0.1"))
    by_name = {**server_.config, "address": f"https://dns.example:{server_.fake.port}/dns-query"}
    del by_name["server_name"]
    server = start(by_name, address(other))
    until(lambda: server.ask("www.example.com", timeout_s=60) == "192.0.2.2", 60, server.status)


def says(ip: str) -> Any:
    """Return a script that answers every question with one address and a short TTL."""
    behaviour = Behaviour(address=bytes(map(int, ip.split("."))), ttl_s=1)
    return lambda packet, _: [reply_to(packet, behaviour)]
