"""Sends copies of messages to a collector (`dnstap`): messages of clients, and messages between pydns and upstreams.

The tap observes ports and the sockets to upstreams. While the tap is off, it isn't called. The key `share` selects
messages by their id, so the collector gets a query and its reply, or neither.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from pydns import __version__
from pydns.config.model import Config, DnstapOptions, ServerSpec, TapMessages, Transport
from pydns.dns.address import unmapped
from pydns.dns.dnstap import Composer, Event, Kind, Protocol
from pydns.dns.reason import Reason
from pydns.log import Log
from pydns.ring.layout import Origin
from pydns.serve.frame_stream import FrameStream
from pydns.serve.port import Port, address_octets

_IDS = 1 << 16
_MAX_OPEN = 4096  # maximum number of queries to upstreams whose time is remembered


class Tap:
    """The tap of one worker: an observer of ports (`port.Observer`)."""

    def __init__(self, log: Log, loop: asyncio.AbstractEventLoop, dropped: Callable[[int], object]) -> None:
        """`dropped` is called with the number of messages, whenever messages are dropped."""
        self._log = log
        self._loop = loop
        self._dropped = dropped
        self._options: DnstapOptions | None = None
        self._stream: FrameStream | None = None
        self._composer: Composer | None = None
        self._limit = 0  # the collector gets only messages with smaller ids
        self.upstreams = UpstreamTap(self)

    @property
    def is_on(self) -> bool:
        """Whether the collector gets messages of clients."""
        return self._options is not None and TapMessages.CLIENT in self._options.messages

    @property
    def taps_upstreams(self) -> bool:
        """Whether the collector gets messages between pydns and upstreams."""
        return self._options is not None and TapMessages.FORWARDER in self._options.messages

    def configure(self, config: Config) -> None:
        """Apply the configuration. If the collector or the identity has changed, a new stream begins."""
        options = config.dnstap
        if options == self._options:
            return
        self.close()
        self._options = options
        if options is None:
            return
        self._limit = max(1, round(options.share * _IDS))
        self._composer = Composer(options.identity or socket.gethostname(), f"pydns {__version__}")
        self._stream = FrameStream(options.to, self._loop, self._log, self._dropped)

    def close(self) -> None:
        """Send the waiting messages, and end the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        """Send the collector the messages that came together, and their replies."""
        now_ns = time.time_ns()
        for place, message in enumerate(messages):
            if self.wants(message):
                address, number = _client(port, port.peer(place))
                protocol = _PROTOCOLS[port.protocol]
                self.put(Event(Kind.CLIENT_QUERY, protocol, message, address, number, query_ns=now_ns))
        for place, reply in enumerate(port.replies):
            if reply is not None:
                self._replied(port, port.peer(place), reply, spent_s)

    def replied_later(
        self,
        port: Port,
        peer: Any,
        reply: bytes,
        came: float,
        spent_s: float,
        origin: Origin,
        server: str,
        error: Reason | int | None,
    ) -> None:
        """Send a deferred reply."""
        self._replied(port, peer, reply, spent_s)

    def _replied(self, port: Port, peer: Any, reply: bytes, spent_s: float) -> None:
        """Send the collector a reply.

        `spent_s` is the time since the query came.
        """
        if self.wants(reply):
            now_ns = time.time_ns()
            came_ns = now_ns - int(spent_s * 1e9)
            address, number = _client(port, peer)
            protocol = _PROTOCOLS[port.protocol]
            self.put(Event(Kind.CLIENT_RESPONSE, protocol, reply, address, number, query_ns=came_ns, reply_ns=now_ns))

    def wants(self, message: bytes) -> bool:
        """Return whether `share` selects a message."""
        return int.from_bytes(message[:2]) < self._limit

    def put(self, event: Event) -> None:
        """Send the collector an event. The octets of the message are left out unless the key `full` is set."""
        if self._stream is not None and self._composer is not None and self._options is not None:
            self._stream.put(self._composer.frame(event if self._options.full else event._replace(message=b"")))


class UpstreamTap:
    """The part of a tap that observes the sockets to upstreams: an `upstream_sockets.PacketObserver`."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        # server and id -> when the last query with this id was sent.
        self._sent_ns: dict[tuple[ServerSpec, bytes], int] = {}

    def sent(self, server: ServerSpec, message: bytes, own: tuple[str, int], *, by_stream: bool) -> None:
        """Send the collector a query that pydns sent from its address `own` to a server."""
        if self._tap.wants(message):
            now_ns = time.time_ns()
            if len(self._sent_ns) >= _MAX_OPEN:
                self._sent_ns.clear()
            self._sent_ns[server, message[:2]] = now_ns
            protocol = _protocol(server, by_stream=by_stream)
            self._tap.put(Event(Kind.FORWARDER_QUERY, protocol, message, *_ends(server, own), now_ns))

    def received(self, server: ServerSpec, message: bytes, own: tuple[str, int], *, by_stream: bool) -> None:
        """Send the collector a reply that a server sent to the address `own` of pydns."""
        if self._tap.wants(message):
            sent_ns = self._sent_ns.pop((server, message[:2]), 0)
            protocol = _protocol(server, by_stream=by_stream)
            ends = _ends(server, own)
            self._tap.put(Event(Kind.FORWARDER_RESPONSE, protocol, message, *ends, sent_ns, time.time_ns()))


_PROTOCOLS = {"udp": Protocol.UDP, "tcp": Protocol.TCP}
_STREAMS = {Transport.TLS: Protocol.DOT, Transport.HTTPS: Protocol.DOH}


def _protocol(server: ServerSpec, *, by_stream: bool) -> Protocol:
    return _STREAMS.get(server.transport, Protocol.TCP) if by_stream else Protocol.UDP


def _client(port: Port, peer: Any) -> tuple[bytes, int]:
    return unmapped(port.source(peer)), port.client_at(peer).port


def _ends(server: ServerSpec, own: tuple[str, int]) -> tuple[bytes, int, bytes, int]:
    return address_octets(own[0]), own[1], address_octets(server.ip), server.port
