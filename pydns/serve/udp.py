"""UDP: takes datagrams from a socket in batches and sends the replies.

A socket that is bound to one address is read with `recvfrom`. One that is bound to all is read with `recvmsg`, which
says what address a query came to, since the reply has to leave from there; that costs 0.7 µs more, so only where
needed. The supervisor, which opens the sockets, has asked the kernel to say it.
"""

import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from pydns.serve.batch import Batch
from pydns.serve.recursion import Recursion
from pydns.serve.sockets import IP_PKTINFO

BATCH = 64  # datagrams a turn: fewer cost throughput, more delay TCP (tests/bench/README.md)
_TURN = range(BATCH)
_SIZE = 4096  # octets of a query; what is cut off a longer one makes it malformed
_MAX_SOURCES = 256
_Source = list[tuple[int, int, bytes]]


def reader(sock: socket.socket, batch: Batch, recursion: Recursion) -> Callable[[], bool]:
    """Return what to call when the socket is readable. It returns whether there may be more to read."""
    host = sock.getsockname()[0]
    return (_any_address if host in ("0.0.0.0", "::") else _one_address)(sock, batch, recursion)


def _one_address(sock: socket.socket, batch: Batch, recursion: Recursion) -> Callable[[], bool]:
    (receive, send), respond, responder = batch.watch(sock.recvfrom, sock.sendto), batch.respond, batch.responder
    tally = batch.tally(sock)

    def drain() -> bool:
        with batch.transaction() as transaction:
            responder.tally = tally
            began = monotonic()
            for count in _TURN:
                try:
                    message, peer = receive(_SIZE)
                except OSError:  # nothing left
                    tally.timed(count, monotonic() - began)
                    return False
                try:
                    reply = respond(message, transaction)
                    if reply is None and responder.asked is not None:
                        recursion.ask(send, peer)
                except Exception as error:
                    reply = batch.fail(message, error)
                if reply is not None:
                    try:
                        send(reply, peer)
                    except OSError:  # the peer's port is 0, its network is gone, the buffer is full: it asks again
                        tally.unsent()
            tally.timed(BATCH, monotonic() - began)
        return True

    return drain


def _any_address(sock: socket.socket, batch: Batch, recursion: Recursion) -> Callable[[], bool]:
    (receive, send), respond, responder = batch.watch(sock.recvmsg, sock.sendmsg), batch.respond, batch.responder
    tally = batch.tally(sock)
    sources: dict[bytes, _Source] = {}

    def send_from(reply: bytes, where: Any) -> None:
        send((reply,), where[0], 0, where[1])

    def drain() -> bool:
        with batch.transaction() as transaction:
            responder.tally = tally
            began = monotonic()
            for count in _TURN:
                try:
                    message, ancillary, _, peer = receive(_SIZE, 64)
                except OSError:
                    tally.timed(count, monotonic() - began)
                    return False
                info = ancillary[0][2] if ancillary else b""
                source = sources.get(info)
                if source is None:
                    if len(sources) >= _MAX_SOURCES:
                        sources.clear()
                    source = sources[info] = _source(ancillary)
                try:
                    reply = respond(message, transaction)
                    if reply is None and responder.asked is not None:
                        recursion.ask(send_from, (source, peer))
                except Exception as error:
                    reply = batch.fail(message, error)
                if reply is not None:
                    try:
                        send((reply,), source, 0, peer)
                    except OSError:
                        tally.unsent()
            tally.timed(BATCH, monotonic() - began)
        return True

    return drain


def _source(ancillary: list[Any]) -> _Source:
    """Return what makes a reply leave from where its query came to (ip(7), RFC 3542 section 6).

    The interface is left to routing, except for link-local addresses, which mean nothing without one.
    """
    for level, kind, info in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            return [(level, kind, bytes(4) + info[4:8] + bytes(4))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            link_local = info[0] == 0xFE and info[1] & 0xC0 == 0x80
            return [(level, kind, info if link_local else info[:16] + bytes(4))]
    return []
