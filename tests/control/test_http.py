"""The HTTP server for probes and scrapes, over sockets, with good and bad clients."""

import socket
import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from pydns.control import http
from pydns.control.clock import Clock
from pydns.log import Log
from tests.waiting import until


def _broken() -> http.Page:
    raise RuntimeError("a bug")


PAGES: http.Pages = {
    "/here": lambda: http.Page(b"it is\n"),
    "/bad": lambda: http.Page(b"worker 1\n", HTTPStatus.SERVICE_UNAVAILABLE),
    "/broken": _broken,
    "/big": lambda: http.Page(b"x" * 50_000_000),
}


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(http, "PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        http.start([(listening, PAGES)], Log())
        yield listening.getsockname()


def said(connection: socket.socket) -> bytes:
    """Return all that comes until the connection is closed."""
    connection.settimeout(5)
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def ask(at: tuple[str, int], request: bytes) -> bytes:
    with socket.create_connection(at, 5) as connection:
        connection.sendall(request)
        return said(connection)


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /here HTTP/1.1", b"200 OK", b"it is\n"),
        (b"GET /here?probe=1 HTTP/1.0", b"200 OK", b"it is\n"),
        (b"HEAD /here HTTP/1.1", b"200 OK", b""),
        (b"GET /bad HTTP/1.1", b"503 Service Unavailable", b"worker 1\n"),
        (b"GET /broken HTTP/1.1", b"500 Internal Server Error", b"failed; see the log\n"),
        (b"GET /there HTTP/1.1", b"404 Not Found", b"not here; here are /here, /bad, /broken, /big\n"),
        (b"POST /here HTTP/1.1", b"405 Method Not Allowed", b"only GET and HEAD\n"),
        (b"GET /here", b"400 Bad Request", b"not a request\n"),
        (b"\xff\xfe\0", b"400 Bad Request", b"not a request\n"),
    ],
)
def test_a_request_gets_its_page_or_an_error(
    at: tuple[str, int], request_line: bytes, status: bytes, body: bytes
) -> None:
    head, _, got = ask(at, request_line + b"\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert (head.split(b"\r\n")[0], got) == (b"HTTP/1.1 " + status, body)


def test_a_request_that_is_too_long_is_refused(at: tuple[str, int]) -> None:
    endless = b"GET /here HTTP/1.1\r\n" + b"X: y\r\n" * 1400
    assert len(endless) > http.MAX_REQUEST
    assert ask(at, endless).startswith(b"HTTP/1.1 431 ")


def test_a_client_that_sends_slowly_is_cut_off(at: tuple[str, int]) -> None:
    began = time.monotonic()
    with socket.create_connection(at, 5) as connection:
        connection.settimeout(0.1)
        for octet in b"GET /here HTTP/1.1\r\n" * 2:
            try:
                connection.send(bytes([octet]))
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 0.4 < time.monotonic() - began < 2


def test_a_client_that_does_not_read_is_cut_off(at: tuple[str, int]) -> None:
    with socket.create_connection(at, 5) as connection:
        connection.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 1, 2)  # it reads nothing for twice as long as it has
        assert len(said(connection)) < 50_000_000


def test_a_page_that_costs_is_made_once_in_a_while() -> None:
    now = [0.0]
    made = []

    def make() -> http.Page:
        made.append(now[0])
        return http.Page(str(now[0]).encode())

    page = http.kept(make, 1.0, Clock(monotonic=lambda: now[0]))
    for now[0] in (0.0, 0.5, 0.9, 1.0, 1.9, 2.5):
        assert page() is page()
    assert made == [0.0, 1.0, 2.5]


def test_connections_of_one_socket_are_accepted_at_a_pace_and_replace_none_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 60.0)
    monkeypatch.setattr(http, "PACE_S", 3600.0)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=256) as flooded,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        http.start([(flooded, PAGES), (other, PAGES)], Log())
        flood = [socket.create_connection(flooded.getsockname(), 5) for _ in range(100)]
        for each in flood:
            each.sendall(b"GET /here HTTP/1.1\r\n\r\n")
        assert said(flood[0]).endswith(b"it is\n")
        assert ask(other.getsockname(), b"GET /here HTTP/1.1\r\n\r\n").endswith(b"it is\n")
        for each in flood[1:]:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.recv(1)
            each.close()
        flood[0].close()


def test_idle_connections_do_not_block_a_probe(at: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE_S", 60.0)
    idle = [socket.create_connection(at, 5) for _ in range(2 * http.MAX_CONNECTIONS)]
    try:
        assert ask(at, b"GET /here HTTP/1.1\r\n\r\n").endswith(b"it is\n")
        assert said(idle[0]) == b""  # the oldest made room
    finally:
        for each in idle:
            each.close()
