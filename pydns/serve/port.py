"""Ports: a socket or a connection that queries arrive on, and the facts about its clients. Also their observers.

A port is made by the code that opened the socket and knows its protocol: a transport is a new subclass of `Port`.
`pydns.serve.context.Batch.answer` turns the messages of a port into replies, whatever the port is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from pydns.config.model import Config
from pydns.dns.message import PLAIN_SIZE, TCP_SIZE, Edns
from pydns.metrics.meter import Tally

UDP_LIMIT, STREAM_LIMIT = PLAIN_SIZE, TCP_SIZE  # values of `Port.limit`


class Client(NamedTuple):
    """The sender of a query. What an answer may depend on goes here: its address, later its class and pod."""

    ip: str
    port: int


class Port:
    """A socket or a connection. It is asked for a client only where something depends on the client."""

    __slots__ = ("deferred", "limit", "observers", "protocol", "replies", "tally")

    def __init__(self, protocol: str, limit: int, tally: Tally, observers: Sequence["Observer"] = ()) -> None:
        self.protocol = protocol  # for logs: "udp", "tcp"
        self.limit = limit  # octets of a reply to a client that sends no EDNS
        self.tally = tally
        self.observers = observers  # of this port; the worker changes its list in place
        self.deferred = 0  # queries that were answered later, or will be
        # Replies to the messages that came together, in their order; None is no reply, or none yet.
        # While a message is being answered, its place among them is `len(replies)`.
        self.replies: list[bytes | None] = []

    def reply_limit(self, edns: Edns | None, max_udp_size: int) -> int:
        """Return how many octets a reply may have. Over a stream, EDNS changes nothing."""
        return self.limit if edns is None else max(self.limit, min(edns.size, max_udp_size))

    @property
    def client(self) -> Client:
        """The client whose message is being answered. Looked up each time: keep it if it is needed twice."""
        return self.client_at(self.peer(len(self.replies)))

    def peer(self, _place: int) -> Any:
        """Return what `reply_later` needs to reach the client of the message at `place`."""
        return None

    def client_at(self, peer: Any) -> Client:
        """Return the client that a reply to `peer` goes to."""
        raise NotImplementedError

    def source(self, peer: Any) -> object:
        """Return the key by which clients get equal shares: the address of the client behind `peer`."""
        return self.client_at(peer).ip

    def send(self) -> None:
        """Send `replies`."""

    def reply_later(self, reply: bytes, peer: Any) -> None:
        """Send a reply that was not ready when the others were."""
        raise NotImplementedError


class Observer(Protocol):
    """Sees what comes and leaves by ports: the query log, counts, traces. Any number may be on."""

    @property
    def is_on(self) -> bool:
        """Whether it wants to see anything. While it doesn't, it isn't called at all."""

    def configure(self, config: Config) -> None:
        """Take up the configuration in force."""

    def received(self, port: Port, messages: Sequence[bytes]) -> None:
        """See messages that came together, after they were answered or deferred."""

    def replied(self, port: Port, peer: Any, reply: bytes, came: float) -> None:
        """See a reply to a message that came at `came`."""
