"""Logs a line for each query that the configuration selects (`log.queries`).

The query log is an observer of ports. The worker calls it only while it is on. The worker never waits for the reader of
the log: lines wait in a buffer of limited size, and lines that don't fit into the buffer are lost. The query log
reports how many lines were lost, at most once every `_REPORT_S` seconds.
"""

import time
from collections.abc import Callable, Sequence
from random import random
from time import monotonic
from typing import Any

from pydns.config.model import Config, RcodeClass
from pydns.config.model import QueryLogOptions as Chosen
from pydns.dns import name
from pydns.dns.address import endpoint_text
from pydns.dns.compiled import HEADER
from pydns.dns.message import Rcode, flags_text, question_end, rcode_text, reply_facts
from pydns.dns.reason import Reason
from pydns.dns.rrset import type_text
from pydns.log import Level, Log
from pydns.ring.layout import Origin
from pydns.serve.client_lookup import ClientLookup
from pydns.serve.port import Port, address_octets
from pydns.stderr import PIECE

_EVERY_S = 0.05  # seconds between two writes of the waiting lines
_MAX_WAITING = 256 << 10  # maximum octets of all waiting lines
_REPORT_S = 10.0
_TC = 0x02


class QueryLog:
    """The query log of one worker."""

    def __init__(
        self,
        log: Log,
        call_later: Callable[[float, Callable[[], None]], object],
        clients: ClientLookup | None = None,
        why: Callable[[bytes], Reason | None] = lambda _: None,
    ) -> None:
        """`call_later` is the event loop's method. Without `clients`, lines don't contain the names of clients.

        If `Port.reasons` has no reason for a reply, `why` returns the reason (`context.Batch.why`).
        """
        self._why = why
        self._log = log
        self._clients = clients
        self._call_later = call_later
        self._chosen: Chosen | None = None
        self._waiting: list[bytes] = []  # the waiting lines, joined to pieces of at most `PIECE` octets
        self._octets = 0
        self._is_due = False
        self._is_full = False  # whether the last write ended because the log's pipe was full
        self._lost = 0
        self._reported_at = -_REPORT_S

    @property
    def is_on(self) -> bool:
        """Whether the configuration selects queries for the log."""
        return self._chosen is not None

    def configure(self, config: Config) -> None:
        """Apply the configuration, which selects the queries for the log."""
        self._chosen = config.log.queries
        if self._clients is not None:
            self._clients.want(is_wanted=self.is_on)

    def answered(self, port: Port, messages: Sequence[bytes], came: float, spent_s: float) -> None:
        """Log the queries that came together, if the configuration selects them."""
        for place, reply in enumerate(port.replies):
            if reply is not None:
                self._replied(port, port.peer(place), reply, spent_s, port.reasons.get(place))

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
        """Log a query with a deferred reply, if the configuration selects it."""
        self._replied(port, peer, reply, spent_s, error, server, is_deferred=True)

    def _replied(
        self,
        port: Port,
        peer: Any,
        reply: bytes,
        spent_s: float,
        error: Reason | int | None,
        server: str = "",
        *,
        is_deferred: bool = False,
    ) -> None:
        chosen = self._chosen
        if chosen is None or random() >= chosen.share:
            return
        rtype, rcode, _ = reply_facts(reply)
        if _class(reply, rcode) not in chosen.classes:
            return
        qname = reply[HEADER : question_end(reply) - 4]  # empty if the reply contains no question
        if not any(name.is_at_or_below(qname or name.ROOT, zone) for zone in chosen.zones):
            return
        if self._octets >= _MAX_WAITING:
            self._lost += 1
            return
        if error is None and not is_deferred:
            error = self._why(reply)
        client = port.client_at(peer)
        line = {
            "client": endpoint_text(client.ip, client.port),
            **self._client_name(client.ip),
            "proto": port.protocol,
            "name": name.to_text(qname) if qname else "-",
            "type": type_text(rtype) if qname else "-",
            "rcode": rcode_text(rcode),
            "id": int.from_bytes(reply[:2]),
            "flags": flags_text(reply),
            **({"upstream": server} if server else {}),
            **({} if error is None else {"reason": error.code if isinstance(error, Reason) else f"ede-{error}"}),
            "size": len(reply),
            "duration_s": round(spent_s, 6),
        }
        self._add(self._log.compose(time.time(), Level.INFO, "query", line))

    def _client_name(self, ip: str) -> dict[str, str]:
        name_text, labels = ("", "") if self._clients is None else self._clients.texts_of(address_octets(ip))
        found = {"client_name": name_text, "client_labels": labels}
        return {key: text for key, text in found.items() if text}

    def _add(self, line: bytes) -> None:
        self._octets += len(line)
        if self._waiting and len(self._waiting[-1]) + len(line) <= PIECE:
            self._waiting[-1] += line
        else:
            if not self._is_full:  # written at once: a pipe has room for only 400 lines, and more may come in 0.05 s
                self.write()
            self._waiting.append(line)
        if not self._is_due:
            self._is_due = True
            self._call_later(_EVERY_S, self._write_again)

    def _write_again(self) -> None:
        self._is_due = False
        self.write()
        if self._waiting or self._lost:
            self._is_due = True
            self._call_later(_EVERY_S, self._write_again)

    def write(self) -> None:
        """Write waiting lines, until none are left or the log's pipe is full."""
        done = 0
        for piece in self._waiting:
            self._is_full = not self._log.outlet.write(piece)
            if self._is_full:
                break
            done += 1
            self._octets -= len(piece)
        del self._waiting[:done]
        if self._lost and self._octets < _MAX_WAITING // 2 and monotonic() - self._reported_at >= _REPORT_S:
            self._reported_at = monotonic()
            number, self._lost = self._lost, 0
            self._add(self._log.compose(time.time(), Level.WARNING, "query lines lost", {"number": number}))


def _class(reply: bytes, rcode: int) -> RcodeClass:
    if rcode == Rcode.NXDOMAIN:
        return RcodeClass.DENIAL
    if rcode != Rcode.NOERROR:
        return RcodeClass.ERROR
    # TC means that the reply had records before it was truncated.
    return RcodeClass.SUCCESS if reply[7] or reply[6] or reply[2] & _TC else RcodeClass.DENIAL
