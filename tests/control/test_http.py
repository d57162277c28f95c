"""The HTTP server for probes and metrics, over real sockets, with good and bad clients."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from random import Random

import pytest

from pydns.control import http
from pydns.control.clock import Clock
from pydns.log import Log
from tests.running import PROBED, WEB, Server
from tests.waiting import PATIENCE_S, until


def _broken(_: http.Request) -> http.Page:
    raise RuntimeError("a bug")


PAGES: http.Pages = {
    "/here": lambda _: http.Page(b"it is\n"),
    "/bad": lambda _: http.Page(b"worker 1\n", HTTPStatus.SERVICE_UNAVAILABLE),
    "/broken": _broken,
    "/shown": lambda request: http.Page(repr((*request.query.items(), request.headers.get("x"))).encode()),
    "/big": lambda _: http.Page(b"x" * 50_000_000),
}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http, "PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        http.start([(listening, PAGES)], Log())
        yield listening.getsockname()


def said(connection: socket.socket) -> bytes:
    """Return all octets that arrive until the connection is closed."""
    connection.settimeout(PATIENCE_S)
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def ask(at: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(at, PATIENCE_S) as connection:
        connection.sendall(request)
        return said(connection)


HERE = b"GET /here HTTP/1.1\r\nHost: x\r\n\r\n"
REQUEST = http.Request("/", {}, {})
NO_REQUEST = b"Bad request syntax or unsupported method\n"


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /here HTTP/1.1", b"200 OK", b"it is\n"),
        (b"GET /here?probe=1 HTTP/1.0", b"200 OK", b"it is\n"),
        (b"HEAD /here HTTP/1.1", b"200 OK", b""),
        (b"GET /shown?a=1&b=%3C+x&c=&a=2 HTTP/1.1\r\nX: y", b"200 OK", b"(('a', '2'), ('b', '< x'), ('c', ''), 'y')"),
        (b"GET /shown?" + b"a=1&" * 1000 + b" HTTP/1.1", b"200 OK", b"(None,)"),
        (
            b"GET /shown?a=%ff&%00=1 HTTP/1.1",
            b"200 OK",
            "(('a', '\N{REPLACEMENT CHARACTER}'), ('\\x00', '1'), None)".encode(),
        ),
        (b"GET /bad HTTP/1.1", b"503 Service Unavailable", b"worker 1\n"),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error", b"failed; see the log\n"),
        (
            b"GET /there HTTP/1.1",
            b"404 Not Found",
            b"not found; the pages here are /here, /bad, /broken, /shown, /big\n",
        ),
        (b"POST /here HTTP/1.1", b"405 Method Not Allowed", b"only GET and HEAD\n"),
        (b"GET /here", b"400 Bad Request", NO_REQUEST),
        (b"GET /here HTTP/1.1\r\nname without a colon", b"400 Bad Request", NO_REQUEST),
        (b"GET /here HTTP/1.1\r\nHost: y", b"400 Bad Request", NO_REQUEST),
        (
            b"GET /here HTTP/1.1\r\nTransfer-Encoding: x",
            b"501 Not Implemented",
            b"Server does not support this operation\n",
        ),
        (b"\xff\xfe\0", b"400 Bad Request", NO_REQUEST),
    ],
)
def test_a_request_gets_its_page_or_an_error(
    at: tuple[str, int], request_line: bytes, status: bytes, body: bytes
) -> None:
    head, _, got = ask(at, request_line + b"\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], got) == (b"HTTP/1.1 " + status, body)


def test_a_request_without_a_host_is_refused_in_http_1_1_but_not_in_1_0(at: tuple[str, int]) -> None:
    assert ask(at, b"GET /here HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")  # RFC 9112, section 3.2
    assert ask(at, b"GET /here HTTP/1.0\r\n\r\n").endswith(b"it is\n")


def test_a_request_may_come_in_pieces(at: tuple[str, int]) -> None:
    with socket.create_connection(at, PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in HERE:
            connection.send(bytes([octet]))
        assert said(connection).endswith(b"\r\n\r\nit is\n")


def mutated(random: Random) -> bytes:
    """Return a request with a few octets removed, replaced or repeated."""
    request = bytearray(b"GET /shown?a=1 HTTP/1.1\r\nHost: localhost:1\r\nContent-Length: 3\r\nX: y\r\n\r\nabc")
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(request))
        piece = random.choice(
            [b"", b"\r", b"\n", b"\0", b"%", b":", b" ", b"\xff", random.randbytes(3), request[at : at + 20]]
        )
        request[at : at + random.randrange(3)] = piece
    return bytes(request)


def test_no_request_breaks_the_server(at: tuple[str, int]) -> None:
    random = Random(1)
    for _ in range(300):
        with socket.create_connection(at, PATIENCE_S) as connection:
            request = mutated(random)
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            assert re.match(rb"(HTTP/1.1 (200|400|404|405|431|501) |$)", said(connection)), request
    assert ask(at, HERE).endswith(b"it is\n")


def test_a_request_that_is_too_long_is_refused(at: tuple[str, int]) -> None:
    endless = b"GET /here HTTP/1.1\r\n" + b"X: y\r\n" * 1400
    assert len(endless) > http.MAX_REQUEST
    assert ask(at, endless).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_sends_slowly_is_cut_off(at: tuple[str, int]) -> None:
    with socket.create_connection(at, PATIENCE_S) as connection:
        connection.settimeout(0.1)

        def is_cut_off() -> bool:
            try:
                connection.send(b"G")
                return connection.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(is_cut_off)


def test_a_client_that_does_not_read_is_cut_off(at: tuple[str, int]) -> None:
    with socket.create_connection(at, PATIENCE_S) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 2)  # the client reads nothing for four times the server's time limit
        assert len(said(connection)) < 50_000_000


def test_an_expensive_page_is_computed_at_most_once_in_a_while() -> None:
    now = [0.0]
    made = []

    def make() -> http.Page:
        made.append(now[0])
        return http.Page(str(now[0]).encode())

    page = http.kept(make, 1.0, Clock(monotonic=lambda: now[0]))
    for now[0] in (0.0, 0.5, 0.9, 1.0, 1.9, 2.5):
        assert page(REQUEST) is page(REQUEST)
    assert made == [0.0, 1.0, 2.5]


OPEN, CLOSED = b"open", b""


def connect(at: tuple[str, int], address: str) -> socket.socket:
    return socket.create_connection(at, PATIENCE_S, source_address=(address, 0))


def seen(connection: socket.socket) -> bytes:
    """Return what a client sees if it sends nothing."""
    connection.setblocking(False)
    try:
        return connection.recv(1)
    except BlockingIOError:
        return OPEN
    except ConnectionResetError:
        return CLOSED


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Yield a list for idle connections.

    The server's timeout is so long that no idle connection is closed during the test.
    """
    monkeypatch.setattr(http, "PATIENCE_S", 600.0)
    connected: list[socket.socket] = []
    yield connected
    for each in connected:
        each.close()


def test_one_address_gets_only_its_share_of_connections(
    at: tuple[str, int], crowd: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "SHARE_S", 3600.0)
    crowd += [connect(at, "127.0.0.2") for _ in range(10 * http.SHARE)]
    until(lambda: [seen(each) for each in crowd].count(OPEN) == http.SHARE)
    assert {seen(each) for each in crowd[: http.SHARE]} == {OPEN}
    assert ask(at, HERE).endswith(b"it is\n")  # a client at 127.0.0.1 has its own share


def test_idle_connections_do_not_block_a_probe_of_the_same_address(
    at: tuple[str, int], crowd: list[socket.socket]
) -> None:
    crowd += [connect(at, "127.0.0.1") for _ in range(2 * http.MAX_CONNECTIONS)]
    until(lambda: ask(at, HERE).endswith(b"it is\n"))
    assert said(crowd[0]) == b""  # the server closed the oldest connection to accept a new one


def test_a_full_socket_closes_the_newest_connection_of_the_busiest_address(
    at: tuple[str, int], crowd: list[socket.socket]
) -> None:
    greedy = [connect(at, "127.0.0.9") for _ in range(http.SHARE)]
    others = [connect(at, f"127.0.1.{number}") for number in range(1, http.MAX_CONNECTIONS - http.SHARE + 1)]
    crowd += [*greedy, *others]
    assert ask(at, HERE).endswith(b"it is\n")
    until(lambda: seen(greedy[-1]) == CLOSED)
    assert {seen(each) for each in (*greedy[:-1], *others)} == {OPEN}


# A flood from 127.0.0.2: it connects at a given rate if the machine is fast enough, and requests a page. It stops at
# the end of its input, or after a minute.
FLOOD = """
import select, socket, sys, time
port, path, rate = int(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3])
began, opened, held = time.monotonic(), 0, []
while time.monotonic() < began + 60 and not select.select([sys.stdin], [], [], 0.001)[0]:
    for _ in range(min(200, int((time.monotonic() - began) * rate) - opened)):
        opened += 1
        held.append(socket.socket())
        held[-1].setblocking(False)
        try:
            held[-1].bind(("127.0.0.2", 0))
            held[-1].connect_ex(("127.0.0.1", port))
        except OSError:  # there is no port
            pass
        if len(held) > 500:
            try:
                held[0].send(b"GET " + path + b" HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            except OSError:
                pass
            held.pop(0).close()
print(f"{opened / (time.monotonic() - began):.0f}")
"""


@pytest.mark.parametrize(("flag", "path"), [("--ready", "/ready"), ("--metrics", "/metrics")])
def test_probes_are_answered_while_their_port_or_the_metrics_are_flooded(
    start: Callable[..., Server], flag: str, path: str
) -> None:
    server = start(flags=(*PROBED, "--metrics", "127.0.0.1:0"))
    until(lambda: server.get("/ready")[0] == 200)
    port = next(line for line in server.logged("listening for HTTP") if f" flag={flag} " in line).rpartition(":")[2]
    command = [sys.executable, "-c", FLOOD, port.strip(), path, "5000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
        took = []
        for _ in range(20):
            asked = time.monotonic()
            assert server.get("/ready") == (200, "OK\n")
            took.append(time.monotonic() - asked)
            time.sleep(0.1)  # the pause spreads the requests over the whole flood
        rate, _ = flood.communicate("end", timeout=2 * PATIENCE_S)
    print(
        f"{rate.strip()} connections a second; probes took {max(took):.3f} s at most, {sorted(took)[10]:.3f} s mostly"
    )
    assert server.ask(WEB) == "10.96.1.1"


def test_a_slow_page_delays_no_other_page() -> None:
    may_end = threading.Event()

    def wait(_: http.Request) -> http.Page:
        may_end.wait(PATIENCE_S)
        return http.Page(b"late\n")

    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        http.start([(listening, {**PAGES, "/slow": http.Slow(wait)})], Log())
        at = listening.getsockname()
        waiting = [socket.create_connection(at, PATIENCE_S) for _ in range(3)]  # one more than there are threads
        for each in waiting:
            each.sendall(HERE.replace(b"/here", b"/slow"))
        assert ask(at, HERE).endswith(b"\r\n\r\nit is\n")
        may_end.set()
        for each in waiting:
            assert said(each).endswith(b"\r\n\r\nlate\n")
            each.close()
