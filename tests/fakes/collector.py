"""A collector of dnstap messages. It reads with fstrm and dnstap-pb, which share no code with pydns."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from dnstap_pb import dnstap_pb2
from fstrm import fstrm_codec

from tests.waiting import PATIENCE_S

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"


class Collector:
    """Collects messages at a Unix socket, or at a TCP port of 127.0.0.1."""

    def __init__(self, path: Path | None = None, *, accepts: bytes = CONTENT_TYPE, reads: bool = True) -> None:
        """A collector with `reads=False` accepts the stream, and then reads nothing."""
        self.messages: list[Any] = []
        self.identities: set[bytes] = set()
        self.controls: list[int] = []
        self._accepts, self._reads = accepts, reads
        self._closing = threading.Event()
        self._socket = socket.socket(socket.AF_INET if path is None else socket.AF_UNIX)
        self._socket.bind(("127.0.0.1", 0) if path is None else str(path))
        self._socket.listen()
        self.to = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}" if path is None else f"unix://{path}"
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections, and stop listening."""
        self._closing.set()
        for each in [self._socket, *self._connections]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def kinds(self, question: bytes = b"") -> list[str]:
        """Return the types of the messages with these octets in lower case, sorted."""
        kind = dnstap_pb2.Message.Type.Name
        found = [
            each for each in list(self.messages) if question in (each.query_message + each.response_message).lower()
        ]
        return sorted([kind(each.type) for each in found])

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._connections.append(connection)
                self._threads.append(threading.Thread(target=self._read, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _read(self, connection: socket.socket) -> None:
        codec = fstrm_codec.FstrmCodec()
        with suppress(OSError), connection:
            while received := connection.recv(65536):
                codec.append(received)
                while codec.process():
                    control, _, payload = codec.decode()
                    if control == fstrm_codec.FSTRM_DATA_FRAME:
                        self._collect(payload)
                        continue
                    self.controls.append(control)
                    if control == fstrm_codec.FSTRM_CONTROL_READY:
                        connection.sendall(codec.encode(fstrm_codec.FSTRM_CONTROL_ACCEPT, ct=[self._accepts]))
                    elif control == fstrm_codec.FSTRM_CONTROL_STOP:
                        connection.sendall(codec.encode(fstrm_codec.FSTRM_CONTROL_FINISH))
                    elif control == fstrm_codec.FSTRM_CONTROL_START and not self._reads:
                        self._closing.wait(PATIENCE_S)

    def _collect(self, payload: bytes) -> None:
        found = dnstap_pb2.Dnstap()
        found.ParseFromString(payload)
        assert found.type == dnstap_pb2.Dnstap.Type.Value("MESSAGE")
        self.identities.add(found.identity)
        self.messages.append(found.message)
