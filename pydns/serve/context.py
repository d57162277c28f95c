"""The one place that turns messages into replies: UDP, TCP and the worker's self-check all call `Batch.answer`.

This module also catches the exceptions of bugs, so a bug affects only one reply.
"""

import socket
import traceback
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydns.config import model
from pydns.dns.compiled import HEADER
from pydns.dns.message import AA, Rcode, error_reply, question_end
from pydns.dns.reason import Reason
from pydns.log import Level, Log
from pydns.metrics.meter import TRANSPORTS, Meter, Tally
from pydns.process.slots import LOOP_MARK
from pydns.serve.access import AccessList
from pydns.serve.deferred import Asked
from pydns.serve.fast import Responder
from pydns.serve.gate import Gate
from pydns.serve.port import Mark, Observer, Port
from pydns.serve.views import Views
from pydns.upstream.cache import Cache

if TYPE_CHECKING:
    from pydns.table.reader import Reader

_NONE = b"\0\0"  # the count of a section without records
_WAITS = Mark.WAITS  # a copy, because a look-up in an enum takes 0.07 µs
# Arguments: the question, the port, the peer, and when the query came.
Defer = Callable[[Asked, Port, Any, float], None]


class Batch:
    """Answers the messages that came together, in one read transaction of the table."""

    def __init__(self, table: "Reader", log: Log, meter: Meter, clock: Callable[[], float] = monotonic) -> None:
        self.transaction = table.transaction
        self.table = table
        self.meter = meter
        self.cache = Cache(model.CacheOptions())
        self.responder = Responder(table, self.cache.ready, LOOP_MARK, clock)
        self._respond = self.responder.respond
        self.defer: Defer = _defer_to_nobody
        # The observers that are on. Ports have a reference to this list, so it is only changed in place.
        self.observers: list[Observer] = []
        self._clock = clock
        self._log = log
        self._reported: set[str] = set()

    def set_guards(self, config: model.Config) -> None:
        """Put the guards that the configuration needs before the responder.

        Guards that aren't needed are left out, so they cost no time. A query passes the guards in the order of the list
        below. The code creates them in the reverse order, because each guard gets the next one.

        1. `AccessList` refuses or drops the queries that `acl` forbids, or answers them without records. No later guard
           sees these queries.
        2. `Views` answers the questions that the rules of a view may change.
        3. `Gate` sends the questions that another rule may change to the strict path.
        """
        self.responder.commit.configure(config)
        rules = self.responder.commit.rules
        self._respond = self.responder.respond
        if rules:
            self._respond = Gate(self.responder, rules).respond
        if config.views:
            self._respond = Views(self.responder, self._respond, config).respond
        if config.acl:
            self._respond = AccessList(self._respond, config).respond

    def tally(self, protocol: str, family: int) -> Tally:
        """Return the tally for a protocol and an address family. `family` is a constant of the module `socket`."""
        return self.meter.tallies[TRANSPORTS.index((protocol, "2" if family == socket.AF_INET6 else "1"))]

    def answer(self, messages: Sequence[bytes], port: Port, came: float, source: Iterable[bytes] | None = None) -> None:
        """Answer messages that came together on a port at the time `came`.

        Replies are sent, and questions for upstreams are deferred. If the size of a reply decides whether another
        message follows, the port passes a `source`. It yields the messages one by one, and appends each to `messages`.
        """
        respond = self._respond
        replies: list[bytes | None] = []
        port.replies = replies
        if port.marks:
            port.marks = {}
        if port.reasons:
            port.reasons = {}
        with self.transaction() as transaction:
            for message in messages if source is None else source:
                try:
                    reply = respond(message, transaction, port)
                    if type(reply) is Asked:  # this takes 0.02 µs less than `isinstance`
                        port.deferred += 1
                        port.marks[len(replies)] = _WAITS
                        self.defer(reply, port, port.peer(len(replies)), came)
                        reply = None
                except Exception as error:
                    reply = self._fail(message, port, error)
                replies.append(reply)
        if not replies:  # the source had no message
            return
        port.send()
        spent_s = self._clock() - came
        port.tally.timed(len(messages), spent_s)
        for observer in port.observers:
            observer.answered(port, messages, came, spent_s)

    def why(self, reply: bytes) -> Reason | None:
        """Return the reason of a reply that the fast path composed. `Port.reasons` doesn't contain this reason.

        Return None if the reply is a success, or if an upstream denied the name. The reason is valid for the newest
        commit. The query log calls this method. The fast path doesn't look for the reason if the client sent no EDNS,
        because then the client doesn't get it.
        """
        question = reply[HEADER : question_end(reply)]
        if not reply[2] & AA >> 8:
            ready = self.cache.ready.answers.get(question.lower())
            # A ready answer has an OPT record of its own only if it was derived because of `families`.
            return Reason.FAMILIES if ready is not None and ready.opt else None
        if reply[3] & 15 == Rcode.NXDOMAIN:
            with self.transaction() as transaction:
                return self.responder.commit.why_nxdomain(question[:-4].lower(), transaction)
        answers, authorities = reply[6:8], reply[8:10]
        return Reason.NO_TYPE if answers == _NONE != authorities else None

    def _fail(self, message: bytes, port: Port, error: Exception) -> bytes:
        """Return a SERVFAIL reply to a message that triggered a bug. The bug is logged once."""
        self.report(message, error)
        reply = error_reply(message, Rcode.SERVFAIL)
        port.tally.count(".", len(message), reply)
        return reply

    def report(self, message: bytes, error: Exception) -> None:
        """Log a bug that a message triggered. The same bug is logged only once."""
        self.meter.tallies[0].panicked()
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} at {where.filename}:{where.lineno}"
        if what not in self._reported and len(self._reported) < 100:
            self._reported.add(what)
            self._log("query failed", level=Level.ERROR, error=what, message=message[:512].hex())


def _defer_to_nobody(_asked: Asked, _port: Port, _peer: object, _came: float) -> None:
    raise AssertionError("the responder returned `Asked`, but recursion is not offered")
