"""Converts messages to the octets of a connection to an upstream, and octets to replies.

A codec belongs to one connection. It takes and returns octets, and does no I/O. `pydns.serve.upstream_sockets` owns the
connections.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pydns.dns.compiled import HEADER
from pydns.dns.message import QR, RA, RD, Rcode, question_end


class Received(NamedTuple):
    """The results of octets that a server has sent: replies, failures, and what to do next."""

    messages: Sequence[bytes] = ()
    failures: Sequence[tuple[bytes, str]] = ()  # for each message that gets no reply, its id and the reason
    unsent: bytes = b""  # octets to send now
    end: str = ""  # the reason why the connection can't be used any more


class Codec(Protocol):
    """Converts the messages of one connection to octets, and octets to replies."""

    alpn: str  # the name of the protocol in the TLS handshake (RFC 7301)
    requires_alpn: bool  # whether the server must confirm the protocol in the handshake

    def begin(self) -> bytes:
        """Return the first octets to send on a new connection."""

    def compose(self, message: bytes) -> bytes:
        """Return the octets to send for a message.

        If the result is empty, the message waits until an earlier reply has come.
        """

    def receive(self, data: bytes) -> Received:
        """Return the replies and failures that are complete after `data`, the next octets from the server."""

    def sweep(self) -> bytes:
        """Give up questions that have waited for a long time.

        Return octets that cancel these questions at the server. Called about once a second.
        """


class Framed:
    """DNS over TCP (RFC 1035 section 4.2.2) and TLS (RFC 7858). Two octets before each message are its length."""

    alpn = "dot"  # some servers require this name, although RFC 7858 section 3.1 doesn't
    requires_alpn = False

    def __init__(self) -> None:
        self._received = bytearray()

    def begin(self) -> bytes:
        """Return no octets, because a connection begins with the first message."""
        return b""

    def compose(self, message: bytes) -> bytes:
        """Return a message with its length before it."""
        return len(message).to_bytes(2) + message

    def receive(self, data: bytes) -> Received:
        """Return the messages that are complete after `data`."""
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
    """Return a SERVFAIL reply to a query of pydns, for a failure about which the server sent no DNS message."""
    flags = QR | RD | RA | Rcode.SERVFAIL
    return message[:2] + flags.to_bytes(2) + b"\0\1" + bytes(6) + message[HEADER : question_end(message)]
