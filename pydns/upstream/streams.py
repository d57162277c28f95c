"""Converts messages to the octets of a connection to an upstream, and octets to replies.

A codec belongs to one connection. It does no I/O: it takes and returns octets. `pydns.serve.upstream_sockets` owns the
connections.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pydns.dns.compiled import HEADER
from pydns.dns.message import QR, RA, RD, Rcode, question_end


class Received(NamedTuple):
    """The replies and other results in octets that a server has sent."""

    messages: Sequence[bytes] = ()
    failures: Sequence[tuple[bytes, str]] = ()  # id of a message that gets no reply, and the reason
    unsent: bytes = b""  # octets to send now
    end: str = ""  # the reason why the connection can't be used any more


class Codec(Protocol):
    """Converts the messages of one connection."""

    alpn: str  # the protocol in the TLS handshake (RFC 7301)
    requires_alpn: bool  # whether the server must confirm the protocol

    def begin(self) -> bytes:
        """Return the first octets to send."""

    def compose(self, message: bytes) -> bytes:
        """Return the octets to send for a message. If there are none, the message waits for an earlier reply."""

    def receive(self, data: bytes) -> Received:
        """Return the replies and failures in the octets that the server has sent so far."""

    def sweep(self) -> bytes:
        """Give up old questions.

        Return octets that cancel these questions at the server. Called about once a second.
        """


class Framed:
    """DNS over TCP (RFC 1035 section 4.2.2) and TLS (RFC 7858): a message after its length in two octets."""

    alpn = "dot"  # some servers require this, although RFC 7858 section 3.1 doesn't
    requires_alpn = False

    def __init__(self) -> None:
        self._received = bytearray()

    def begin(self) -> bytes:
        """Return no octets."""
        return b""

    def compose(self, message: bytes) -> bytes:
        """Return the message after its length."""
        return len(message).to_bytes(2) + message

    def receive(self, data: bytes) -> Received:
        """Return the complete messages."""
        received = self._received
        received += data
        messages = []
        position = 0
        while len(received) - position >= 2:
            end = position + 2 + int.from_bytes(received[position : position + 2])
            if end > len(received):
                break
            messages.append(bytes(received[position + 2 : end]))
            position = end
        del received[:position]
        return Received(messages)

    def sweep(self) -> bytes:
        """Return no octets, because an old question doesn't block the connection."""
        return b""


def failed_reply(message: bytes) -> bytes:
    """Return a SERVFAIL reply to a query of pydns. It stands for a failure that came without a DNS message."""
    flags = QR | RD | RA | Rcode.SERVFAIL
    return message[:2] + flags.to_bytes(2) + b"\0\1" + bytes(6) + message[HEADER : question_end(message)]
