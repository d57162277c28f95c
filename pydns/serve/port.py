"""Ports and their observers.

A port is a socket or some connections on which queries arrive. A port knows which client has sent which query. The
modules of the transports, such as UDP and TCP, make the ports. A new transport needs a new subclass of `Port`.
`pydns.serve.context.Batch.answer` turns the messages of every kind of port into replies.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from mypy_extensions import mypyc_attr

from pydns.config.model import Config
from pydns.dns.address import BadAddress, parse_address
from pydns.dns.message import PLAIN_SIZE, TCP_SIZE, Edns
from pydns.dns.reason import Reason
from pydns.metrics.meter import Tally
from pydns.ring.layout import Origin, columns
from pydns.serve.datagrams import Joined

UDP_LIMIT, STREAM_LIMIT = PLAIN_SIZE, TCP_SIZE  # the values that `Port.limit` may have


class Client(NamedTuple):
    """The sender of a query."""

    ip: str
    port: int


class Mark(IntEnum):
    """What observers must know about a message of a batch, but can't see in its reply."""

    WAITS = 0  # the message was deferred, so observers get its reply with `replied_later`
    RULED = 1  # a rule of the configuration about clients or names made the reply


@mypyc_attr(allow_interpreted_subclasses=True)
class Port:
    """A socket or some connections. Looking up a client takes time, so callers do it only if they need the client."""

    __slots__ = ("deferred", "joined", "limit", "marks", "observers", "protocol", "reasons", "replies", "tally")

    def __init__(self, protocol: str, limit: int, tally: Tally, observers: Sequence["Observer"] = ()) -> None:
        self.protocol = protocol  # the name of the protocol in logs: "udp" or "tcp"
        self.limit = limit  # maximum octets of a reply to a client that sends no EDNS
        self.tally = tally
        self.observers = observers  # the observers of this port; the worker changes this list in place
        self.deferred = 0  # how many queries have ever been deferred
        # The replies to the messages of a batch, in the order of the messages. None means that a message gets no reply,
        # or gets it later. `len(replies)` is the index of the message that the worker answers now.
        self.replies: list[bytes | None] = []
        self.marks: dict[int, Mark] = {}  # index in `replies` -> mark of the message; most messages have no mark
        # Index in `replies` -> the reason of this reply, if the strict path or a guard has composed it.
        self.reasons: dict[int, Reason] = {}
        self.joined: Joined | None = None  # the replies as one string of octets, if `send` has joined them

    def mark(self, mark: Mark) -> None:
        """Mark the message that the worker answers now."""
        self.marks[len(self.replies)] = mark

    def note_reason(self, reason: Reason) -> None:
        """For the message that the worker answers now, note why its reply isn't a success."""
        self.reasons[len(self.replies)] = reason

    def reply_limit(self, edns: Edns | None, max_udp_size: int) -> int:
        """Return the maximum octets of a reply to a client that sent `edns`.

        Over TCP, EDNS doesn't change the maximum.
        """
        return self.limit if edns is None else max(self.limit, min(edns.size, max_udp_size))

    @property
    def client(self) -> Client:
        """The client whose message the worker answers now.

        Each access looks up the client again, so callers should keep the result.
        """
        return self.client_at(self.peer(len(self.replies)))

    def peer(self, _place: int) -> Any:
        """Return the value from which `reply_later` knows a client of the batch.

        `place` is the index of the client's message in the batch.
        """
        return None

    def client_at(self, peer: Any) -> Client:
        """Return the client to which a reply to `peer` goes."""
        raise NotImplementedError

    @property
    def address(self) -> bytes:
        """Return the IP address, as octets, of the client whose message the worker answers now.

        The address determines the client's classes. Each access looks up the client again, so callers use this property
        only if clients may get different answers.
        """
        return self.source(self.peer(len(self.replies)))

    def source(self, peer: Any) -> bytes:
        """Return the octets of the IP address of the client `peer`. The result is empty if the address is unknown.

        The forwarder counts the places of a client by this address.
        """
        return address_octets(self.client_at(peer).ip)

    def senders(self, count: int) -> bytes:
        """Return the senders of the first `count` messages of a batch, in a format that `sources` reads.

        The results for several batches may be joined.
        """
        return b"".join([columns([self.source(self.peer(place))]) for place in range(count)])

    def sources(self, senders: bytes) -> bytes:
        """Return the IP addresses of senders in the format of a ring: 4 octets for each, or the result of `columns`."""
        return columns([senders[at : at + 16] for at in range(0, len(senders), 16)])

    def send(self) -> None:
        """Send the replies in `replies`."""

    def reply_later(self, reply: bytes, peer: Any) -> None:
        """Send a deferred reply to the client `peer`."""
        raise NotImplementedError


def address_octets(ip: str) -> bytes:
    """Return the octets of a client's IP address. The interface of a link-local address is left out."""
    try:
        return parse_address(ip.partition("%")[0])
    except BadAddress:  # a closed connection has no address
        return b""


class Observer(Protocol):
    """Gets the messages and replies of ports, for example for the query log. Several observers may be on."""

    @property
    def is_on(self) -> bool:
        """Whether the observer is on. The worker doesn't call an observer that is off."""

    def configure(self, config: Config) -> None:
        """Apply the configuration in force."""

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        """Get the messages that came together at the time `came`. The worker took `spent_s` to answer or defer them.

        `port.replies` contains the replies to the messages, and `port.peer` returns their clients.
        """

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
        """Get the reply to a deferred message. The message came at the time `came`.

        `server` is the upstream that answered. It is empty if no upstream answered. `error` says why the reply isn't a
        success: a reason of pydns, or the INFO-CODE that an upstream has sent. The reply doesn't always contain the
        error.
        """
