"""A server of DNS over HTTPS (RFC 8484) that misbehaves according to a script.

It is the `stream` of a `FakeUpstream`.
"""

import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.settings

MEDIA_TYPE = "application/dns-message"


class Reply(NamedTuple):
    """The response to a request."""

    body: bytes
    status: str = "200"
    content_type: str | None = MEDIA_TYPE
    resets: bool = False  # the stream is reset instead of the response
    ends: bool = False  # the connection gets GOAWAY instead of the response
    closes: bool = False  # the connection is closed instead of the response


Script = Callable[[bytes], Iterable[Reply]]  # maps a message to one reply or none


class Conversation:
    """One connection, without I/O: octets of the client become octets of the server."""

    def __init__(self, script: Script, **settings: int) -> None:
        """`settings` are named as in HTTP/2, for example `MAX_CONCURRENT_STREAMS`."""
        self.requests: list[dict[str, str]] = []
        self.messages: list[bytes] = []
        self.cancelled = 0
        self.is_over = False
        self._script = script
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        codes = h2.settings.SettingCodes
        self.connection.initiate_connection()
        self.connection.update_settings({codes[name]: value for name, value in settings.items()})
        self._bodies: dict[int, bytearray] = {}
        self._unsent: dict[int, bytes] = {}

    def receive(self, data: bytes) -> bytes:
        """Return the octets that the server sends after these octets of the client."""
        for event in self.connection.receive_data(data):
            match event:
                case h2.events.RequestReceived(headers=headers, stream_id=number):
                    self.requests.append({key.decode(): value.decode() for key, value in headers})
                    self._bodies[number] = bytearray()
                case h2.events.DataReceived(data=body, stream_id=number, flow_controlled_length=length):
                    self._bodies[number] += body
                    self.connection.acknowledge_received_data(length, number)
                case h2.events.StreamEnded(stream_id=number):
                    message = bytes(self._bodies.pop(number))
                    self.messages.append(message)
                    for reply in self._script(message):
                        self.answer(number, reply)
                case h2.events.StreamReset():
                    self.cancelled += 1
                case h2.events.WindowUpdated():
                    self._send_more()
        return self.connection.data_to_send()

    def answer(self, number: int, reply: Reply) -> None:
        if reply.resets:
            self.connection.reset_stream(number, 11)
        elif reply.ends:
            self.connection.close_connection()
            self.is_over = True
        elif reply.closes:
            self.is_over = True
        else:
            headers = [(":status", reply.status), ("server", "fake")]
            headers += [("content-type", reply.content_type)] if reply.content_type else []
            self.connection.send_headers(number, headers)
            self._unsent[number] = reply.body
            self._send_more()

    def _send_more(self) -> None:
        """Send as much of the bodies as the client's windows allow."""
        for number, body in list(self._unsent.items()):
            while body and (room := min(self.connection.local_flow_control_window(number), 16_384)) > 0:
                self.connection.send_data(number, body[:room])
                body = body[room:]
            self._unsent[number] = body
            if not body:
                self.connection.end_stream(number)
                del self._unsent[number]


def serve(script: Script, conversations: list[Conversation], **settings: int) -> Callable[[socket.socket], None]:
    """Return the `stream` of a `FakeUpstream`. It adds each connection to `conversations`."""

    def stream(connection: socket.socket) -> None:
        conversation = Conversation(script, **settings)
        conversations.append(conversation)
        connection.sendall(conversation.receive(b""))
        while not conversation.is_over and (data := connection.recv(65_536)):
            connection.sendall(conversation.receive(data))

    return stream


def replies(script: Callable[[bytes, str], Iterable[bytes]], **how: Any) -> Script:
    """Return a script with the answers of a `FakeUpstream` script. `how` can make the server misbehave."""

    def answer(message: bytes) -> Iterator[Reply]:
        yield from (Reply(body, **how) for body in script(message, "https"))

    return answer
