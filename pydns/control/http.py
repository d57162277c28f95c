"""Runs an HTTP server for probes and scrapes.

The server has its pages by path, and uses sockets that the supervisor keeps open. The server runs in its own thread.
h11 parses requests and composes responses. This module limits the number of clients, and the time that a client may
take. This module doesn't know the contents of the pages. This module doesn't use aiohttp, because importing aiohttp
costs 0.16 s and 9.5 MB. This module doesn't use `http.server` either. `http.server` needs a thread for each
connection, which a client can keep busy without a limit. Rules:

1. The server answers a request or closes the connection within `PATIENCE_S`, even if the client sends or reads slowly.
2. The head of a request has at most `MAX_REQUEST` octets. The server ignores a body. A connection carries one request.
3. A client address has at most `SHARE` connections at a socket. One more connection replaces the oldest connection of
   the address. So a client that leaves connections idle can still send a request. But if the oldest connection began
   less than `SHARE_S` ago, the server closes the new connection unread.
4. A socket has at most `MAX_CONNECTIONS` connections. To accept one more, the server looks for the address with the
   most connections, and closes the newest connection of this address.
5. A socket accepts at most `TURN` connections every `TURN_S`. Further connections wait in the kernel or are lost. So a
   flood of connections at one socket takes little time from the other sockets and from the rest of the process.
6. A slow page is made in one of `SLOW_PAGES` threads, so probes don't wait for it.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from socket import socket
from typing import NamedTuple
from urllib.parse import parse_qsl

import h11

from pydns.control.clock import Clock, Every
from pydns.log import Level, Log

PATIENCE_S = 5.0
MAX_REQUEST = 8192
_MAX_FIELDS = 20  # the maximum number of fields in the query of a URL
MAX_CONNECTIONS = 64
SHARE, SHARE_S = 16, 0.05  # so an address can send 320 requests a second, which take 10 % of a CPU
SLOW_PAGES = 2
# A socket accepts at most 25,600 connections a second. Closing 5,000 connections a second takes 13 % of a CPU.
TURN, TURN_S = 128, 0.005


class Request(NamedTuple):
    """A GET of a page."""

    path: str
    query: Mapping[str, str]  # if a name is repeated, the last value counts
    headers: Mapping[str, str]  # the names of fields are in lower case


class Page(NamedTuple):
    """A response."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()  # headers in addition to the headers that every response has


MakePage = Callable[[Request], Page]


@dataclass(frozen=True, slots=True)
class Slow:
    """A page that waits for another server, or that takes long to make."""

    make: MakePage

    def __call__(self, request: Request) -> Page:
        """Return the page."""
        return self.make(request)


Pages = Mapping[str, MakePage]  # path -> function that returns the page; the server's thread calls it


def kept(make: Callable[[], Page], seconds: float, clock: Clock) -> MakePage:
    """Return a function that makes a page at most once in `seconds`.

    Within this time, the function returns the last page again.
    """
    made: list[Page] = []
    period = Every(seconds, clock)

    def page(_: Request) -> Page:
        if period.is_due() or not made:
            made[:] = [make()]
        return made[0]

    return page


def start(served: list[tuple[socket, Pages]], log: Log) -> None:
    """Serve pages at listening sockets until the process exits."""
    if served:
        threading.Thread(target=lambda: asyncio.run(_serve(served, log)), name="http", daemon=True).start()


async def _serve(served: list[tuple[socket, Pages]], log: Log) -> None:
    for sock, pages in served:
        _accept(sock.dup(), pages, log)
    await asyncio.Event().wait()


def _accept(listening: socket, pages: Pages, log: Log) -> None:
    """Start to accept connections, at most `TURN` at a time (rule 5 of this module)."""
    loop = asyncio.get_running_loop()
    connections = _Connections()

    def take_turn() -> None:
        loop.remove_reader(listening)
        loop.call_later(TURN_S, lambda: loop.add_reader(listening, take_turn))
        # No connection is waiting, the client has closed its connection, or no file descriptor is free.
        with suppress(OSError):
            for _ in range(TURN):
                connected, peer = listening.accept()
                if connections.make_room(peer[0], loop.time()):
                    connections.add(peer[0], loop.time(), _begin(connected, pages, log))
                else:
                    connected.close()

    listening.setblocking(False)
    loop.add_reader(listening, take_turn)


class _Connection(NamedTuple):
    since: float
    task: asyncio.Task[None]


class _Connections:
    """The latest connections of a socket, grouped by the address of the client (rules 3 and 4 of this module)."""

    def __init__(self) -> None:
        self._by_address: dict[str, deque[_Connection]] = {}  # address -> its connections, the oldest first

    def add(self, address: str, now: float, task: asyncio.Task[None]) -> None:
        self._by_address.setdefault(address, deque()).append(_Connection(now, task))

    def make_room(self, address: str, now: float) -> bool:
        """Return whether the address may have one more connection. If necessary, close another connection."""
        if self._count() == MAX_CONNECTIONS:
            self._forget_ended(now)
        own = self._by_address.get(address, deque())
        if len(own) == SHARE:
            if now - own[0].since < SHARE_S:
                return False
            own.popleft().task.cancel()
        elif self._count() == MAX_CONNECTIONS:
            greediest = max(self._by_address.values(), key=len)
            if len(own) == len(greediest):
                return False
            greediest.pop().task.cancel()
        return True

    def _count(self) -> int:
        return sum(map(len, self._by_address.values()))

    def _forget_ended(self, now: float) -> None:
        """Forget the connections that have ended and that began more than `SHARE_S` ago."""
        for address, connections in list(self._by_address.items()):
            left = deque(each for each in connections if now - each.since < SHARE_S or not each.task.done())
            if left:
                self._by_address[address] = left
            else:
                del self._by_address[address]


def _begin(connected: socket, pages: Pages, log: Log) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(_converse(connected, pages, log))
    # the callback closes the connection even if the task is cancelled before it starts
    task.add_done_callback(lambda _: connected.close())
    return task


async def _converse(connected: socket, pages: Pages, log: Log) -> None:
    try:
        reader, writer = await asyncio.open_connection(sock=connected, limit=MAX_REQUEST)
    except (OSError, asyncio.CancelledError):
        return
    writer.transport.set_write_buffer_limits(0)  # `drain` waits until everything is written
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(await _exchange(reader, pages, log))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    # The client is slow, the client has closed the connection, or `make_room` has closed it for a new connection.
    except (OSError, asyncio.CancelledError):
        writer.transport.abort()


async def _exchange(reader: asyncio.StreamReader, pages: Pages, log: Log) -> bytes:
    """Read a request, and return the response.

    The response is empty if the client closes the connection before it has sent a request.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST - 1)
    left = MAX_REQUEST
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            received = await reader.read(left)
            connection.receive_data(received)
            left -= len(received)
    except h11.RemoteProtocolError as error:
        status = HTTPStatus(error.error_status_hint)
        return _compose(connection, Page(f"{status.description}\n".encode(), status))
    if not isinstance(event, h11.Request):
        return b""
    if event.method not in (b"GET", b"HEAD"):
        allowed = [("Allow", "GET, HEAD")]
        return _compose(connection, Page(b"only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED, headers=allowed))
    return _compose(connection, await _page(_request(event), pages, log), with_body=event.method == b"GET")


def _request(event: h11.Request) -> Request:
    path, _, query = event.target.decode("ascii").partition("?")
    try:
        queried = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:  # the query of the URL has too many fields
        queried = {}
    return Request(path, queried, {name.decode("ascii"): text.decode("latin-1") for name, text in event.headers})


async def _page(request: Request, pages: Pages, log: Log) -> Page:
    make = pages.get(request.path)
    if make is None:
        return Page(f"not found; the pages here are {', '.join(pages)}\n".encode(), HTTPStatus.NOT_FOUND)
    try:
        if isinstance(make, Slow):
            return await asyncio.get_running_loop().run_in_executor(_SLOW, make, request)
        return make(request)
    except Exception as error:  # a bug in a page must not stop the server, because probes need the server
        log("page failed", level=Level.ERROR, path=request.path[:100], error=f"{type(error).__name__}: {error}")
        return Page(b"failed; see the log\n", HTTPStatus.INTERNAL_SERVER_ERROR)


_SLOW = ThreadPoolExecutor(SLOW_PAGES, "slow-page")


def _compose(connection: h11.Connection, page: Page, *, with_body: bool = True) -> bytes:
    headers = [("Content-Type", page.content_type), ("Content-Length", str(len(page.body))), *page.headers]
    head = connection.send(
        h11.Response(
            status_code=page.status.value,
            headers=[*headers, ("Connection", "close")],
            reason=page.status.phrase.encode(),
        )
    )
    return (head or b"") + (page.body if with_body else b"")
