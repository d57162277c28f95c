"""Composes dnstap messages and the frames that carry them, for a collector.

A message is in protobuf (dnstap.proto, https://dnstap.info). The frames have the format Frame Streams (fstrm), in its
variant with a handshake. The library protobuf takes 4 MB of memory, so it is imported only when a `Composer` is made.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"
MAX_CONTROL = 512  # maximum size of a control frame in octets; fstrm has the same limit


class Kind(IntEnum):
    """A type of message: a client's query, the reply to it, a query to an upstream, or the upstream's reply."""

    CLIENT_QUERY = 5
    CLIENT_RESPONSE = 6
    FORWARDER_QUERY = 7
    FORWARDER_RESPONSE = 8


class Protocol(IntEnum):
    """A transport."""

    UDP = 1
    TCP = 2
    DOT = 3
    DOH = 4


class Event(NamedTuple):
    """A DNS message that was sent or received. An unknown address is empty, and an unknown time is 0."""

    kind: Kind
    protocol: Protocol
    message: bytes  # the octets of the DNS message; empty if the collector shouldn't get them
    querier: bytes = b""  # the IP address that sent the query, 4 or 16 octets
    querier_port: int = 0
    responder: bytes = b""  # the IP address that sent the reply, 4 or 16 octets
    responder_port: int = 0
    query_ns: int = 0  # nanoseconds since 1970
    reply_ns: int = 0


class Composer:
    """Composes the data frames that one server sends."""

    def __init__(self, identity: str, version: str) -> None:
        """`identity` is the name of this server for the collector."""
        self._new = _message_class()
        self._fields = {"identity": identity.encode(), "version": version.encode(), "type": _MESSAGE}

    def frame(self, event: Event) -> bytes:
        """Return a data frame that contains an event."""
        outer = self._new(**self._fields)
        inner = outer.message
        inner.type = event.kind
        inner.socket_protocol = event.protocol
        address = event.querier or event.responder
        if address:
            inner.socket_family = _INET if len(address) == 4 else _INET6
        if event.querier:
            inner.query_address, inner.query_port = event.querier, event.querier_port
        if event.responder:
            inner.response_address, inner.response_port = event.responder, event.responder_port
        if event.query_ns:
            inner.query_time_sec, inner.query_time_nsec = divmod(event.query_ns, _SECOND_NS)
        if event.reply_ns:
            inner.response_time_sec, inner.response_time_nsec = divmod(event.reply_ns, _SECOND_NS)
        if event.message and event.kind in (Kind.CLIENT_QUERY, Kind.FORWARDER_QUERY):
            inner.query_message = event.message
        elif event.message:
            inner.response_message = event.message
        payload: bytes = outer.SerializeToString()
        return len(payload).to_bytes(4) + payload


# Control frames

READY, START, STOP = [
    b"\0\0\0\0" + len(body).to_bytes(4) + body
    for body in (
        (4).to_bytes(4) + b"\0\0\0\1" + len(CONTENT_TYPE).to_bytes(4) + CONTENT_TYPE,
        (2).to_bytes(4) + b"\0\0\0\1" + len(CONTENT_TYPE).to_bytes(4) + CONTENT_TYPE,
        (3).to_bytes(4),
    )
]


class Control(IntEnum):
    """A type of control frame that a collector sends."""

    ACCEPT = 1
    FINISH = 5


class BadFrame(Exception):
    """The collector has sent something that isn't a control frame for dnstap. The message says what is wrong."""


def controls(received: bytearray) -> Iterator[Control]:
    """Yield each complete control frame that a collector has sent, and remove it from `received`.

    Raises `BadFrame` if the octets aren't control frames, or if the collector doesn't accept dnstap.
    """
    while len(received) >= 8:
        if received[:4] != b"\0\0\0\0":
            raise BadFrame("it sends data")
        end = 8 + int.from_bytes(received[4:8])
        if not 12 <= end <= 8 + MAX_CONTROL:
            raise BadFrame("it sends a control frame of a wrong length")
        if len(received) < end:
            return
        body = bytes(received[8:end])
        del received[:end]
        kind = int.from_bytes(body[:4])
        if kind == Control.ACCEPT and not _accepts(body[4:]):
            raise BadFrame(f"it doesn't accept {CONTENT_TYPE.decode()}")
        if kind not in (Control.ACCEPT, Control.FINISH):
            raise BadFrame(f"it sends the control frame {kind}")
        yield Control(kind)


def _accepts(fields: bytes) -> bool:
    """Return whether the fields of an ACCEPT frame contain dnstap's content type.

    A collector that sends no content type accepts every type.
    """
    types = []
    while len(fields) >= 8:
        end = 8 + int.from_bytes(fields[4:8])
        types.append(fields[8:end])
        fields = fields[end:]
    return not types or CONTENT_TYPE in types


# The part of dnstap.proto that pydns writes. protobuf encodes an enum like an int32.

_MESSAGE = 1  # the only value of `Dnstap.type`
_INET, _INET6 = 1, 2
_SECOND_NS = 1_000_000_000
_FIELDS = {
    "Dnstap": (
        ("identity", 1, "BYTES"),
        ("version", 2, "BYTES"),
        ("message", 14, "MESSAGE"),
        ("type", 15, "INT32"),
    ),
    "Message": (
        ("type", 1, "INT32"),
        ("socket_family", 2, "INT32"),
        ("socket_protocol", 3, "INT32"),
        ("query_address", 4, "BYTES"),
        ("response_address", 5, "BYTES"),
        ("query_port", 6, "UINT32"),
        ("response_port", 7, "UINT32"),
        ("query_time_sec", 8, "UINT64"),
        ("query_time_nsec", 9, "FIXED32"),
        ("query_message", 10, "BYTES"),
        ("response_time_sec", 12, "UINT64"),
        ("response_time_nsec", 13, "FIXED32"),
        ("response_message", 14, "BYTES"),
    ),
}


def _message_class() -> Any:
    """Return the protobuf class of the message `Dnstap`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="pydns/dnstap.proto", package="pydns.dnstap", syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number, label="LABEL_OPTIONAL", type=f"TYPE_{kind}")
            if kind == "MESSAGE":
                field.type_name = ".pydns.dnstap.Message"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("pydns.dnstap.Dnstap"))
