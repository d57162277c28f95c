"""HTTP for probes and scrapes: pages by path, on sockets that the supervisor keeps open, in its own thread.

Knows enough HTTP for a GET of a small page, and nothing of the contents of pages. Not aiohttp, which takes 0.16 s and
9.5 MB to import. Not `http.server`, whose thread for each connection lasts as long as the client wants. Rules:

1. A request is answered, or its connection closed, within `PATIENCE_S`, however slowly the client sends or reads.
2. A request has at most `MAX_REQUEST` octets; only its first line matters. A connection has one request.
3. A socket has at most `MAX_CONNECTIONS`. One more replaces the oldest, so idle connections keep no probe out.
4. A socket accepts a connection every `PACE_S`. What comes faster waits in the kernel or is lost, so a flood at one
   socket takes nothing from the others, nor from the rest of the process.
"""

import asyncio
import threading
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
PACE_S = 0.005  # 200 connections a second take 6 % of a CPU


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
    await asyncio.gather(*(_accept(sock.dup(), pages, log) for sock, pages in served))


async def _accept(listening: socket, pages: Pages, log: Log) -> None:
    loop = asyncio.get_running_loop()
    connections: dict[asyncio.Task[None], None] = {}  # oldest first
    listening.setblocking(False)
    while True:
        with suppress(OSError):  # the client is gone, or there is no descriptor
            connected, _ = await loop.sock_accept(listening)
            if len(connections) >= MAX_CONNECTIONS:
                oldest = next(iter(connections))
                oldest.cancel()
                del connections[oldest]
            task = loop.create_task(_converse(connected, pages, log))
            connections[task] = None
            task.add_done_callback(lambda ended: connections.pop(ended, None))
        await asyncio.sleep(PACE_S)


async def _converse(connected: socket, pages: Pages, log: Log) -> None:
    try:
        reader, writer = await asyncio.open_connection(sock=connected, limit=MAX_REQUEST)
    except (OSError, asyncio.CancelledError):
        connected.close()
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
