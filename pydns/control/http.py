"""HTTP for probes and scrapes: pages by path, on sockets that the supervisor keeps open, in its own thread.

Knows enough HTTP for a GET of a small page, and nothing of the contents of pages. Not aiohttp, which takes 0.16 s and
9.5 MB to import. Not `http.server`, whose thread for each connection lasts as long as the client wants. Rules:

1. A request is answered, or its connection closed, within `PATIENCE_S`, however slowly the client sends or reads.
2. A request has at most `MAX_REQUEST` octets; only its first line matters. A connection has one request.
3. One address has at most `SHARE` connections of a socket, and at most `SHARE` new ones in `SHARE_S`. More are closed
   unread. Later ones replace its oldest, so a client that leaves connections idle can still ask.
4. A socket has at most `MAX_CONNECTIONS`. One more closes the newest of the address that has most.
5. A socket accepts at most `TURN` connections every `TURN_S`. More wait in the kernel or are lost, so a flood at one
   socket takes little from the others and from the rest of the process.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from socket import socket
from typing import NamedTuple

from pydns.control.clock import Clock, Every
from pydns.log import Level, Log

PATIENCE_S = 5.0
MAX_REQUEST = 8192
MAX_CONNECTIONS = 64
SHARE, SHARE_S = 16, 0.05  # 320 requests a second of one address take 10 % of a CPU
TURN, TURN_S = 128, 0.005  # 25,600 connections a second; 5,000 that are closed take 13 % of a CPU


class Page(NamedTuple):
    """A response without its headers."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


Pages = Mapping[str, Callable[[], Page]]  # by path; called in the thread of the server


def kept(make: Callable[[], Page], seconds: float, clock: Clock) -> Callable[[], Page]:
    """Return a page that is made at most once in so many seconds. In between it stays as it was made."""
    made: list[Page] = []
    period = Every(seconds, clock)

    def page() -> Page:
        if period.is_due() or not made:
            made[:] = [make()]
        return made[0]

    return page


def start(served: list[tuple[socket, Pages]], log: Log) -> None:
    """Serve pages at listening sockets, until the process ends."""
    if served:
        threading.Thread(target=lambda: asyncio.run(_serve(served, log)), name="http", daemon=True).start()


async def _serve(served: list[tuple[socket, Pages]], log: Log) -> None:
    for sock, pages in served:
        _accept(sock.dup(), pages, log)
    await asyncio.Event().wait()


def _accept(listening: socket, pages: Pages, log: Log) -> None:
    """Accept connections from now on, a turn of them at a time."""
    loop = asyncio.get_running_loop()
    connections = _Connections()

    def take_turn() -> None:
        loop.remove_reader(listening)
        loop.call_later(TURN_S, lambda: loop.add_reader(listening, take_turn))
        with suppress(OSError):  # no more are waiting, the client is gone, or there is no descriptor
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
    """The latest connections of a socket by the client's address (rules 3 and 4)."""

    def __init__(self) -> None:
        self._by_address: dict[str, deque[_Connection]] = {}  # oldest first

    def add(self, address: str, now: float, task: asyncio.Task[None]) -> None:
        self._by_address.setdefault(address, deque()).append(_Connection(now, task))

    def make_room(self, address: str, now: float) -> bool:
        """Return whether one more connection of this address may begin. One that must make room for it is closed."""
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
        """Forget connections that have ended and no longer count for a share."""
        for address, connections in list(self._by_address.items()):
            left = deque(each for each in connections if now - each.since < SHARE_S or not each.task.done())
            if left:
                self._by_address[address] = left
            else:
                del self._by_address[address]


def _begin(connected: socket, pages: Pages, log: Log) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(_converse(connected, pages, log))
    task.add_done_callback(lambda _: connected.close())  # also if it ends before it begins
    return task


async def _converse(connected: socket, pages: Pages, log: Log) -> None:
    try:
        reader, writer = await asyncio.open_connection(sock=connected, limit=MAX_REQUEST)
    except (OSError, asyncio.CancelledError):
        return
    writer.transport.set_write_buffer_limits(0)  # `drain` waits until everything is written
    try:
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                writer.write(_compose(Page(b"too long\n", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)))
            else:
                writer.write(_respond(head, pages, log))
            await writer.drain()
            writer.close()
            await writer.wait_closed()
    except (OSError, EOFError, asyncio.CancelledError):  # too slow, gone, or replaced
        writer.transport.abort()


def _respond(head: bytes, pages: Pages, log: Log) -> bytes:
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return _compose(Page(b"not a request\n", HTTPStatus.BAD_REQUEST))
    method, target, _ = words
    if method not in ("GET", "HEAD"):
        return _compose(Page(b"only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED), "Allow: GET, HEAD\r\n")
    make = pages.get(target.partition("?")[0])
    if make is None:
        return _compose(Page(f"not here; here are {', '.join(pages)}\n".encode(), HTTPStatus.NOT_FOUND))
    try:
        page = make()
    except Exception as error:  # a bug in a page must not end the server, which probes need
        log("page failed", level=Level.ERROR, path=target[:100], error=f"{type(error).__name__}: {error}")
        page = Page(b"failed; see the log\n", HTTPStatus.INTERNAL_SERVER_ERROR)
    response = _compose(page)
    return response if method == "GET" else response[: response.index(b"\r\n\r\n") + 4]


def _compose(page: Page, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + page.body
