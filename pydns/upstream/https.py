"""DNS over HTTPS to an upstream (RFC 8484). Messages become requests on one HTTP/2 connection. Pure.

Rules
1. Each question is the body of a POST, with 0 as its id. In the reply, the question's own id replaces 0.
2. Only a response with status 200 and a DNS message as its body is a reply. After any other response, the question has
   failed.
3. The server limits open requests and octets (RFC 9113 sections 5.1.2 and 5.2). When a limit is reached, further
   questions wait in this module.
4. A request without an answer is cancelled after `PATIENCE` sweeps, because it counts towards the server's limit.
5. After a GOAWAY from the server, nothing more is sent on this connection. The caller sends the open questions over
   another connection.

The library h2 takes 110 µs for a question and its reply, and its import takes 0.04 s. pydns supports only HTTP/2, the
minimum version that RFC 8484 section 5.2 recommends. An HTTP/1.1 connection would carry only one question at a time.
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

PATIENCE = 6  # the number of sweeps after which a request is cancelled; clients don't wait for that long
MAX_REQUESTS = 1_000_000  # the maximum number of requests on a connection; HTTP/2 allows a thousand times as many
_MEDIA_TYPE = b"application/dns-message"
_WINDOW = 1 << 24  # how many octets of replies the server may send before pydns acknowledges them


class Https:
    """The requests of one connection."""

    alpn = "h2"
    requires_alpn = True

    def __init__(self, authority: str, path: str) -> None:
        """`authority` is the host in the server's URL, with the port unless the port is 443."""
        # Tests check the headers of requests, so h2 need not check them for each request.
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
        # The messages that wait until the server accepts more, in pairs: the number of sweeps before the message came,
        # and the message.
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._exchanges: dict[int, _Exchange] = {}  # number of the HTTP/2 stream -> exchange
        self._requests = 0
        self._sweeps = 0
        self._end = ""  # the reason why the connection can't be used any more

    def begin(self) -> bytes:
        """Return the preface of the connection and the settings of pydns."""
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
        """Return the octets to send for a message. The result is empty while the server accepts no further request."""
        self._waiting.append((self._sweeps, message))
        return self._send()

    def receive(self, data: bytes) -> Received:
        """Process octets from the server, and return the replies and failures that they contain."""
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
        if self._end:  # h2 would raise an exception on a connection that has ended
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
        # A body that is too long isn't a DNS message, so the rest of it is dropped.
        if exchange is not None and len(exchange.body) <= TCP_SIZE:
            exchange.body.extend(event.data)


class _Exchange(NamedTuple):
    """A request, and the part of its response that has come so far."""

    id: bytes
    sweep: int  # how many sweeps there were before the question came
    headers: dict[bytes, bytes]
    body: bytearray

    def problem(self) -> str:
        """Return why the whole response isn't a DNS message, or an empty text if it is a DNS message."""
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
