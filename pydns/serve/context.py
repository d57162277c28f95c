"""What sockets of a worker share: the table, the responder, and the last boundary for its bugs."""

import socket
import traceback
from typing import TYPE_CHECKING

from pydns.dns.message import Rcode
from pydns.log import Level, Log
from pydns.metrics.meter import TRANSPORTS, Meter, Tally
from pydns.serve.query_log import QueryLog
from pydns.serve.respond import Responder

if TYPE_CHECKING:
    from pydns.table.reader import Reader


class Batch:
    """Answers messages, several in one read transaction."""

    def __init__(self, table: "Reader", log: Log, meter: Meter) -> None:
        self.transaction = table.transaction
        self.table = table
        self.meter = meter
        self.responder = Responder(table, meter.tallies[0])
        self.respond = self.responder.respond
        self.queries: QueryLog | None = None  # while some get a line in the log
        self._log = log
        self._reported: set[str] = set()

    def tally(self, sock: socket.socket) -> Tally:
        """Return where queries of a socket are counted."""
        proto = "udp" if sock.type == socket.SOCK_DGRAM else "tcp"
        family = "2" if sock.family == socket.AF_INET6 else "1"
        return self.meter.tallies[TRANSPORTS.index((proto, family))]

    def fail(self, message: bytes, error: Exception) -> bytes:
        """Return the reply to a message that met a bug: it costs the one who sent it a SERVFAIL, and is logged once.

        Called where `respond` raised, rather than around it: a call more would cost each query 0.1 µs.
        """
        self.report(message, error)
        reply = message[:2] + bytes([0x80 | message[2] & 0x79, Rcode.SERVFAIL]) + bytes(8)
        self.responder.tally.count(".", len(message), reply)
        return reply

    def report(self, message: bytes, error: Exception) -> None:
        """Log a bug that a message has met, once."""
        self.responder.tally.panicked()
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} at {where.filename}:{where.lineno}"
        if what not in self._reported and len(self._reported) < 100:
            self._reported.add(what)
            self._log("query failed", level=Level.ERROR, error=what, message=message[:512].hex())
