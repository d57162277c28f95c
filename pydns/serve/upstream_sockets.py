"""Sockets to upstreams: each upstream has several UDP sockets and one TCP or TLS connection.

This module knows octets, not messages. Rules:

1. A UDP socket has a random port, and is connected. So the kernel drops datagrams that don't come from the upstream's
   address. A socket is opened when it is first used, and replaced after `ROTATE_S`. Until the replaced socket is
   closed, it still receives late replies. An upstream that gets no queries has no sockets.
2. A connection is opened when it is first used. Each message is sent without waiting for earlier replies, and replies
   may come in any order (RFC 7766). A codec (`pydns.upstream.streams`) converts messages to the octets of the
   connection.
3. The files for TLS are read before the first connection that needs them, and again after a connection has failed.
4. A connection is closed when no whole message has come for `IDLE_S`. So a connection on which the server sends one
   octet a second is closed, too. A connection may end while questions are open. If a reply has come on it before, these
   questions are sent again over a new connection.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from errno import EAGAIN, ECONNREFUSED
from functools import partial
from time import monotonic
from typing import Any, Protocol, cast

from pydns.config.model import ServerSpec, TlsFiles, Transport
from pydns.serve.datagrams import Inbox, Outbox
from pydns.upstream.packet import STREAM
from pydns.upstream.streams import Codec, Framed, failed_reply

ROTATE_S = 10.0
LINGER_S = 5.0  # how long a replaced socket still receives late replies; this is longer than a client waits
IDLE_S = 8.0  # servers wait for 10 s or more; pydns closes a connection first, so that no question is lost
CONNECT_S = 3.0
PAUSE_S = 0.2  # the pause after a failed connection; without it, each question would open another connection
_HTTPS_PORT = 443
_MAX_UNSENT = 1 << 20  # maximum octets in the send buffer of a connection
_RECEIVE_BUFFER = 1 << 20  # octets of a socket's receive buffer, in which a burst of replies waits


class Received(Protocol):
    """Takes the messages that come from an upstream.

    If `trouble` isn't empty, pydns has made the messages itself, and `trouble` is the reason.
    """

    def __call__(self, index: int, socket_index: int, messages: Sequence[bytes], trouble: str = "") -> None:
        """Take messages that came over the socket `socket_index` of the upstream `index`."""


class PacketObserver(Protocol):
    """Receives the messages between pydns and upstreams.

    `own` is the address on the side of pydns: IP address and port.
    """

    def sent(self, server: ServerSpec, message: bytes, own: tuple[str, int], *, by_stream: bool) -> None:
        """Receive a query after it was sent."""

    def received(self, server: ServerSpec, message: bytes, own: tuple[str, int], *, by_stream: bool) -> None:
        """Receive a reply before pydns has checked it."""


# Arguments: the index of the upstream, the index of its socket, and the reason, which is empty for UDP.
Unreachable = Callable[[int, int, str], None]
_Key = tuple[int, int]  # the indices of an upstream and of one of its sockets


class Upstreams:
    """All sockets from a worker to upstreams."""

    def __init__(self, loop: asyncio.AbstractEventLoop, received: Received, unreachable: Unreachable) -> None:
        """`received` and `unreachable` must not raise exceptions.

        They are never called during `send_udp` or `send_stream`.
        """
        self.loop = loop
        self.received = received
        self.unreachable = unreachable
        self.observers: list[PacketObserver] = []  # the observers that are on; sockets have a reference to this list
        self._servers: dict[int, ServerSpec] = {}
        self._sockets: dict[_Key, tuple[socket.socket, float]] = {}  # the socket, and when it must be replaced
        # the file descriptor of a socket, and its datagrams that wait until this turn ends
        self._unsent: dict[_Key, tuple[int, list[bytes]]] = {}
        self._inbox, self._outbox = Inbox(), Outbox()
        self._retired: list[tuple[socket.socket, float]] = []  # each replaced socket, and when it must be closed
        self._streams: dict[int, _Stream] = {}
        self._contexts: dict[tuple[TlsFiles, str], _Context] = {}  # files and protocol -> TLS context

    def add(self, index: int, server: ServerSpec) -> None:
        """Add `server` as the upstream `index`. No socket is opened yet."""
        self._servers[index] = server

    def remove(self, index: int) -> None:
        """Send no more to an upstream.

        The UDP sockets to the upstream still receive late replies for `LINGER_S`, and then they are closed.
        """
        del self._servers[index]
        for place in [place for place in self._sockets if place[0] == index]:
            self._retire(place, monotonic())
        stream = self._streams.pop(index, None)
        if stream is not None:
            stream.retire()

    def send_udp(self, index: int, socket_index: int, packet: bytes) -> bool:
        """Queue a datagram for a socket of an upstream. Return False if the datagram can't be sent.

        All datagrams of the current turn of the event loop are sent together.
        """
        place = index, socket_index
        unsent = self._unsent.get(place)
        if unsent is not None:
            unsent[1].append(packet)
            return True
        try:
            sock, _ = self._sockets.get(place) or self._open(place)
        except OSError:
            return False
        if not self._unsent:
            self.loop.call_soon(self._send_all)
        self._unsent[place] = sock.fileno(), [packet]
        return True

    def _send_all(self) -> None:
        """Send the datagrams of this turn, those of each socket together.

        Only the first datagram wakes a sleeping receiver. So a datagram that is sent alone takes 4 µs more.
        """
        unsent, self._unsent = self._unsent, {}
        outbox = self._outbox
        for place, (fd, packets) in unsent.items():
            outbox.aim(fd, partial(self._failed, place))
            for packet in packets:
                outbox.put(packet)
            outbox.send()
            if self.observers and place in self._sockets:
                self.note_sent(place[0], packets, self._sockets[place][0].getsockname(), by_stream=False)

    def _failed(self, place: _Key, error: int) -> bool:
        if error != EAGAIN:  # EAGAIN means that the send buffer is full, so the packet is lost
            self.unreachable(*place, "")
        # ECONNREFUSED is the error of an earlier packet, which is lost. The current packet has not been sent yet, so
        # the outbox must try again.
        return error == ECONNREFUSED

    def send_stream(self, index: int, message: bytes) -> bool:
        """Send a message over the connection to an upstream. Return False if the message can't be sent.

        If the upstream has no connection, one is opened.
        """
        stream = self._streams.get(index)
        if stream is None:
            server = self._servers.get(index)
            if server is None:
                return False
            stream = self._streams[index] = _Stream(self, index, server)
        return stream.send(message)

    def sweep(self, now: float) -> None:
        """Replace old sockets and close idle connections. The caller calls this function about once a second."""
        for place in [place for place, (_, until) in self._sockets.items() if until < now]:
            self._retire(place, now)
        while self._retired and self._retired[0][1] < now:
            sock, _ = self._retired.pop(0)
            self._close(sock)
        for stream in self._streams.values():
            stream.sweep(now)

    def close(self) -> None:
        """Close all sockets and connections."""
        for sock, _ in [*self._sockets.values(), *self._retired]:
            self._close(sock)
        self._sockets.clear()
        self._unsent.clear()
        self._retired.clear()
        for stream in self._streams.values():
            stream.retire()
        self._streams.clear()

    def _open(self, place: _Key) -> tuple[socket.socket, float]:
        server = self._servers.get(place[0])
        if server is None:
            raise OSError("the configuration no longer has this server")
        sock = socket.socket(socket.AF_INET6 if ":" in server.ip else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if server.source is not None:
                sock.bind((server.source, 0))
            sock.connect(_sockaddr(server))
            self.loop.add_reader(sock, self._reader(sock, *place))
        except OSError:
            sock.close()
            raise
        # The time until the socket is replaced is random. If all 32 sockets were replaced at once, a client would have
        # to wait.
        opened = self._sockets[place] = sock, monotonic() + ROTATE_S * (1 + os.urandom(1)[0] / 256)
        return opened

    def _reader(self, sock: socket.socket, index: int, socket_index: int) -> Callable[[], None]:
        fd, receive, received, observers = sock.fileno(), self._inbox.receive, self.received, self.observers

        def drain() -> None:
            try:
                packets = receive(fd)
            except OSError:  # ECONNREFUSED or EHOSTUNREACH: an earlier packet hasn't reached the server
                self.unreachable(index, socket_index, "")
            else:
                if observers:
                    self.note_received(index, packets, sock.getsockname(), by_stream=False)
                received(index, socket_index, packets)

        return drain

    def note_sent(self, index: int, messages: Iterable[bytes], own: tuple[Any, ...], *, by_stream: bool) -> None:
        """Call the observers with queries that were sent to an upstream."""
        server = self._servers.get(index)
        if server is None:
            return
        for observer in self.observers:
            for message in messages:
                observer.sent(server, message, own[:2], by_stream=by_stream)

    def note_received(self, index: int, messages: Iterable[bytes], own: tuple[Any, ...], *, by_stream: bool) -> None:
        """Call the observers with replies that came from an upstream."""
        server = self._servers.get(index)
        if server is None:
            return
        for observer in self.observers:
            for message in messages:
                observer.received(server, message, own[:2], by_stream=by_stream)

    def _retire(self, place: _Key, now: float) -> None:
        sock, _ = self._sockets.pop(place)
        self._retired.append((sock, now + LINGER_S))

    def _close(self, sock: socket.socket) -> None:
        self.loop.remove_reader(sock)
        sock.close()

    def context(self, files: TlsFiles, alpn: str) -> "_Context":
        """Return the TLS context for some files and a protocol. Raises OSError if a file can't be used."""
        context = self._contexts.get((files, alpn))
        if context is None:
            context = _Context(ssl.PROTOCOL_TLS_CLIENT)
            if files.ca is None:
                context.load_default_certs()
            else:
                _load(files.ca, context.load_verify_locations)
            if files.certificate is not None:
                _load(files.certificate, partial(context.load_cert_chain, keyfile=files.key, password=_no_password))
            context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9325
            context.set_alpn_protocols([alpn])
            self._contexts[files, alpn] = context
        return context

    def forget_contexts(self, files: TlsFiles) -> None:
        """Forget the TLS contexts for some files, so that the next connection reads the files again."""
        self._contexts = {key: context for key, context in self._contexts.items() if key[0] != files}


def _sockaddr(server: ServerSpec) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the socket address of a server.

    Raises OSError if the IPv6 zone of the address isn't an interface of this host.
    """
    ip, _, zone = server.ip.partition("%")
    if not zone:
        return ip, server.port
    return ip, server.port, 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)


def _load(path: str, load: Callable[[str], object]) -> None:
    try:
        load(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is a subclass of OSError
        if isinstance(error, ssl.SSLError):
            reason = error.reason or "it lacks a certificate or a key in PEM"
        else:
            reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"{path} can't be used: {reason}") from None


def _no_password() -> str:
    raise ValueError("its key has a password")


def _reason(error: Exception | None) -> str:
    """Return the reason for a failed connection as text for operators."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return f"no connection within {CONNECT_S:.0f} s"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) if error else "the server closed the connection without an answer"


class _Context(ssl.SSLContext):
    """A TLS context that resumes the last session with a server.

    A resumed session saves a round trip and the check of the certificate. asyncio has no parameter for the session, but
    it calls `wrap_bio`, which adds the session.
    """

    sessions: dict[str | bytes | None, ssl.SSLSession]

    def __new__(cls, protocol: int) -> "_Context":
        context = super().__new__(cls, protocol)
        context.sessions = {}
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, self.sessions.get(server_hostname))


def _https(server: ServerSpec) -> Codec:
    from pydns.upstream.https import Https  # imported here, because importing h2 takes 0.04 s, and few workers need it

    host = server.server_name or server.ip.partition("%")[0]
    host = f"[{host}]" if ":" in host else host
    return Https(host if server.port == _HTTPS_PORT else f"{host}:{server.port}", server.path)


class _Stream:
    """The connection to one upstream. If it has ended, it is opened again for the next message."""

    def __init__(self, upstreams: Upstreams, index: int, server: ServerSpec) -> None:
        self._upstreams = upstreams
        self.call_soon = upstreams.loop.call_soon
        self._index = index
        self._server = server
        self._context: _Context | None = None
        self._is_encrypted = server.transport in (Transport.TLS, Transport.HTTPS)
        self._server_name = (server.server_name or server.ip.partition("%")[0]) if self._is_encrypted else None
        self._task: asyncio.Task[None] | None = None
        self._connection: _Connection | None = None
        self._waiting: list[bytes] = []  # the messages that wait until the connection is open
        self._not_before = 0.0

    def send(self, message: bytes) -> bool:
        if self._connection is not None:
            return self._connection.send(message)
        if self._task is None:
            if monotonic() < self._not_before:
                return False
            self._connect()
        if len(self._waiting) >= 0x10000:  # as many messages wait as there are ids
            return False
        self._waiting.append(message)
        return True

    def sweep(self, now: float) -> None:
        if self._connection is None:
            return
        if self._connection.heard_at < now - IDLE_S:
            self._connection.abort()
        else:
            self._connection.sweep()

    def retire(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.abort()

    def _connect(self) -> None:
        self._task = self._upstreams.loop.create_task(self._open())

    async def _open(self) -> None:
        server = self._server
        codec = _https(server) if server.transport is Transport.HTTPS else Framed()
        try:
            if self._is_encrypted:
                self._context = self._upstreams.context(server.tls, codec.alpn)
            async with asyncio.timeout(CONNECT_S):
                _, connection = await self._upstreams.loop.create_connection(
                    lambda: _Connection(self, codec),
                    server.ip,
                    server.port,
                    ssl=self._context,
                    server_hostname=self._server_name,
                    local_addr=None if server.source is None else (server.source, 0),
                )
            if codec.requires_alpn and connection.protocol() != codec.alpn:
                connection.abort()
                raise OSError(f"the server doesn't speak {codec.alpn} (ALPN)")
        except OSError as error:  # ssl.SSLError and TimeoutError are subclasses of OSError
            self._waiting.clear()
            self._task = None
            self._failed(error)
            return
        self._connection, self._task = connection, None
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            connection.send(message)

    def _failed(self, error: Exception | None) -> None:
        self._not_before = monotonic() + PAUSE_S
        self._upstreams.forget_contexts(self._server.tls)
        self._upstreams.unreachable(self._index, STREAM, _reason(error))

    def received(self, messages: Sequence[bytes], trouble: str = "") -> None:
        self._upstreams.received(self._index, STREAM, messages, trouble)

    @property
    def is_observed(self) -> bool:
        return bool(self._upstreams.observers)

    def note_sent(self, message: bytes, own: tuple[Any, ...]) -> None:
        self._upstreams.note_sent(self._index, [message], own, by_stream=True)

    def note_received(self, messages: Sequence[bytes], own: tuple[Any, ...]) -> None:
        self._upstreams.note_received(self._index, messages, own, by_stream=True)

    def worked(self, session: ssl.SSLSession | None) -> None:
        if self._context is not None and session is not None:
            self._context.sessions[self._server_name] = session

    def lost(self, connection: "_Connection", error: Exception | None) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        if not connection.open:
            return
        if connection.has_worked:
            self._waiting = list(connection.open.values())
            self._connect()
        else:
            self._failed(error)


class _Connection(asyncio.Protocol):
    """One connection of a `_Stream`, from its beginning to its end."""

    def __init__(self, stream: _Stream, codec: Codec) -> None:
        self._stream = stream
        self._codec = codec
        self._transport: asyncio.Transport
        self._end: Exception | None = None
        self._unsent: list[bytes] = []  # octets of this turn of the event loop
        self.open: dict[bytes, bytes] = {}  # id -> message that has no reply yet
        self.heard_at = monotonic()
        self.has_worked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport isn't a subclass of asyncio's
        self._write(self._codec.begin())

    def protocol(self) -> str | None:
        """Return the protocol that was chosen in the TLS handshake (ALPN), or None if no protocol was chosen."""
        encryption: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return None if encryption is None else encryption.selected_alpn_protocol()

    def send(self, message: bytes) -> bool:
        if self._transport.get_write_buffer_size() > _MAX_UNSENT:
            return False
        if not self.open:
            self.heard_at = monotonic()  # no question was open before this one, so the server isn't late
        self.open[message[:2]] = message
        self._write_soon(self._codec.compose(message))
        if self._stream.is_observed:
            self._stream.note_sent(message, self._own())
        return True

    def data_received(self, data: bytes) -> None:
        messages, failures, unsent, end = self._codec.receive(data)
        self._write(unsent)
        if messages:
            self._heard([self.open.pop(message[:2], None) for message in messages])
            if self._stream.is_observed:
                self._stream.note_received(messages, self._own())
            self._stream.received(messages)
        for message_id, reason in failures:
            asked = self.open.pop(message_id, None)
            self._heard([asked])
            if asked is not None:
                self._stream.received([failed_reply(asked)], reason)
        if end:
            self._end = OSError(end)
            self._transport.abort()

    def _heard(self, asked: Iterable[bytes | None]) -> None:
        """Note that whole replies have come.

        For each reply, `asked` has the message that the reply answers, or None if no such message is open.
        """
        if any(asked):
            self.heard_at = monotonic()
        if not self.has_worked:
            self.has_worked = True
            encryption = self._transport.get_extra_info("ssl_object")
            self._stream.worked(encryption and encryption.session)

    def _own(self) -> tuple[Any, ...]:
        """Return the local address of this connection."""
        return self._transport.get_extra_info("sockname") or ("", 0)

    def _write(self, octets: bytes) -> None:
        if octets:
            self._transport.write(octets)

    def _write_soon(self, octets: bytes) -> None:
        """Write octets together with those of all other messages of this turn, so TLS encrypts them together."""
        if octets:
            if not self._unsent:
                self._stream.call_soon(self._write_unsent)
            self._unsent.append(octets)

    def _write_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self._transport.is_closing():
            self._write(b"".join(unsent))

    def connection_lost(self, error: Exception | None) -> None:
        self._stream.lost(self, self._end or error)

    def sweep(self) -> None:
        self._write(self._codec.sweep())

    def abort(self) -> None:
        self._transport.abort()
