"""DNS over HTTPS to an upstream (RFC 8484). Messages become requests on one HTTP/2 connection. Pure.

Rules
1. Each question is a POST with the id 0. In the reply, 0 is replaced by the question's id.
2. Only a response with status 200 and a DNS message as its body is a reply. With any other response, the question
   fails.
3. The server limits open requests and octets (RFC 9113 sections 5.1.2 and 5.2). When a limit is reached, further
   questions wait in this module.
4. A request without an answer is cancelled after `PATIENCE` sweeps, because it counts towards the server's limit.
5. After GOAWAY, nothing is sent any more. The caller sends the open questions over another connection.

h2 takes 110 µs for a question and its reply. Its import takes 0.04 s. pydns supports only HTTP/2. RFC 8484 section 5.2
recommends at least HTTP/2. An HTTP/1.1 connection carries only one question at a time.
"""

from collections import deque
from typing import NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from pydns.dns.compiled import HEADER
from pydns.dns.message import TCP_SIZE
from pydns.upstream.streams import Received

PATIENCE = 6  # number of sweeps after which a request is cancelled. Clients don't wait for that long
MAX_REQUESTS = 1_000_000  # maximum requests of a connection; HTTP/2 allows a thousand times as many
_MEDIA_TYPE = b"application/dns-message"
_WINDOW = 1 << 24  # octets of replies that the server may send before we acknowledge any


class Https:
    """The requests of one connection."""

    alpn = "h2"
    requires_alpn = True

    def __init__(self, authority: str, path: str) -> None:
        """`authority` is the host of the server's URL, with the port unless it is 443."""
        # Tests check our headers, so h2 doesn't need to check them for each request.
        config = h2.config.H2Configuration(
            header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._connection = h2.connection.H2Connection(config)
        self._headers = (
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
            (b"accept", _MEDIA_TYPE),
            (b"content-type", _MEDIA_TYPE),
        )
        # The number of sweeps before the message came, and the message.
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._exchanges: dict[int, _Exchange] = {}  # number of the HTTP/2 stream -> exchange
        self._requests = 0
        self._sweeps = 0
        self._end = ""  # the reason why the connection can't be used any more

    def begin(self) -> bytes:
        """Return the preface of the connection, with our settings."""
        connection = self._connection
        connection.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 16 * 1024,
            },
        )
        connection.initiate_connection()
        connection.increment_flow_control_window(_WINDOW)
        return connection.data_to_send()

    def compose(self, message: bytes) -> bytes:
        """Return the octets of a request. The result is empty while the server accepts no further request."""
        self._waiting.append((self._sweeps, message))
        return self._send()

    def receive(self, data: bytes) -> Received:
        """Return the replies and failures in the octets that the server has sent."""
        messages: list[bytes] = []
        failures: list[tuple[bytes, str]] = []
        unsent = b""
        try:
            for event in self._connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived():
                        self._answered(event)
                    case h2.events.DataReceived():
                        self._take(event)
                    case h2.events.StreamEnded():
                        exchange = self._exchanges.pop(event.stream_id, None)
                        if exchange is not None and exchange.problem():
                            failures.append((exchange.id, exchange.problem()))
                        elif exchange is not None:
                            messages.append(exchange.id + bytes(exchange.body[2:]))
                    case h2.events.StreamReset():
                        exchange = self._exchanges.pop(event.stream_id, None)
                        if exchange is not None:
                            failures.append((exchange.id, f"the server cancelled a request: {_name(event.error_code)}"))
                    case h2.events.ConnectionTerminated():
                        self._end = f"the server ended the connection: {_name(event.error_code)}"
            unsent = self._send()
        except h2.exceptions.H2Error as error:
            self._end = f"HTTP/2 failed: {error or type(error).__name__}"
        if self._requests >= MAX_REQUESTS:
            self._end = self._end or f"the connection has had {MAX_REQUESTS:,} requests"
        return Received(messages, failures, unsent, self._end)

    def sweep(self) -> bytes:
        """Cancel requests that have waited for `PATIENCE` sweeps."""
        self._sweeps += 1
        if self._end:
            return b""
        for number, exchange in [*self._exchanges.items()]:
            if exchange.sweep <= self._sweeps - PATIENCE:
                del self._exchanges[number]
                self._connection.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
        return self._send()

    def _send(self) -> bytes:
        if self._end:  # after the end, h2 would raise an exception
            return b""
        waiting, connection = self._waiting, self._connection
        while waiting:
            sweep, message = waiting[0]
            if sweep <= self._sweeps - PATIENCE:
                waiting.popleft()
                continue
            if connection.open_outbound_streams >= connection.remote_settings.max_concurrent_streams or min(
                connection.outbound_flow_control_window, connection.remote_settings.initial_window_size
            ) < len(message):
                break
            waiting.popleft()
            number = connection.get_next_available_stream_id()
            connection.send_headers(number, (*self._headers, (b"content-length", b"%d" % len(message))))
            connection.send_data(number, b"\0\0" + message[2:], end_stream=True)
            self._exchanges[number] = _Exchange(message[:2], sweep, {}, bytearray())
            self._requests += 1
        return connection.data_to_send()

    def _answered(self, event: h2.events.ResponseReceived) -> None:
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None:
            exchange.headers.update(event.headers)

    def _take(self, event: h2.events.DataReceived) -> None:
        self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        exchange = self._exchanges.get(event.stream_id)
        if exchange is not None and len(exchange.body) <= TCP_SIZE:  # if the body is too long, the rest is dropped
            exchange.body.extend(event.data)


class _Exchange(NamedTuple):
    """A request, and the part of its response that has arrived."""

    id: bytes
    sweep: int  # the number of sweeps before the question came
    headers: dict[bytes, bytes]
    body: bytearray

    def problem(self) -> str:
        """Return why the whole response isn't a DNS message. Return an empty text if it is one."""
        status = self.headers.get(b":status", b"")
        media_type = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if status != b"200":
            return f"HTTP status {status.decode(errors='replace')}"
        if media_type != _MEDIA_TYPE:
            return f"HTTP content type {media_type.decode(errors='replace')[:80]!r}"
        if not HEADER <= len(self.body) <= TCP_SIZE:
            return "HTTP body that is no DNS message"
        return ""


def _name(error_code: int | None) -> str:
    return error_code.name if isinstance(error_code, h2.errors.ErrorCodes) else f"error {error_code}"
