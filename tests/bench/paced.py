"""A client that sends queries over UDP at a steady rate, whether or not the server replies.

The queries are spread evenly, and each one is moved by up to a quarter of the interval at random. If the client is late
because another process has used its core, it catches up slowly. So no queries are sent together.

While the client waits, it sleeps until the next query is due, and reads the replies afterwards. So a reply doesn't wake
it. Otherwise, any server would pay for each wake-up of another core: up to 40 µs in a virtual machine. In production, a
network card or another machine does this work.

The latency of a query is the time from just before it is sent until the kernel has delivered the reply to the client's
socket (SO_TIMESTAMPNS, socket(7)). Each reply must have the rcode of the right answer. This module knows nothing about
processes and CPU time.
"""

import ctypes
import random
import socket
import struct
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import dns.message
import dns.rcode

from tests.bench import servers, tools
from tests.bench.queries import Query

PATIENCE_S = 1.0  # a reply that comes later than this after the last query counts as lost
_JITTER = 0.25  # the largest random shift of a query, as a part of the interval between queries
_POLL_S = 0.001  # how often the client looks for the last replies
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_TIMESPEC = struct.Struct("@qq")
_PR_SET_TIMERSLACK = 29  # linux/prctl.h
_SLACK_NS = 1  # with the default of 50 µs, a sleep would end after the next query is due
# octets. This is enough for the replies that come while other processes use the client's core
_RECEIVE_BUFFER = 4 << 20


class Question(NamedTuple):
    """A composed query without its id, and the rcode of the right answer."""

    query: Query
    wire: bytes
    rcode: dns.rcode.Rcode


class Paced(NamedTuple):
    """One run."""

    sent: int
    rate: float  # queries sent per second
    latencies_us: list[float]  # the latencies of answered queries, in the order of the replies
    response_octets: int  # the average for a response

    @property
    def lost(self) -> int:
        """The number of queries without a reply."""
        return self.sent - len(self.latencies_us)


def due_s(rate: float, length: int, seed: int) -> list[float]:
    """Return the times of `length` queries in seconds, in ascending order: `rate` per second, with random jitter."""
    rng = random.Random(seed)
    return [(number + rng.uniform(-_JITTER, _JITTER) + _JITTER) / rate for number in range(length)]


def compose(queries: Iterable[Query]) -> list[Question]:
    """Return the composed queries. This takes longer than to ask them, so it is done before a measurement."""
    return [
        Question(
            each, dns.message.make_query(each.name + ".", each.type).to_wire()[2:], dns.rcode.from_text(each.rcode)
        )
        for each in queries
    ]


def ask(port: int, questions: Sequence[Question], rate: float, core: int, seed: int = 0) -> Paced:
    """Send the questions to a port of 127.0.0.1 from `core`. Return when all are answered, or after `PATIENCE_S`.

    Raises `servers.Failed` for a wrong rcode.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as sock, tools.on_core(core), _exact_sleep():
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.connect(("127.0.0.1", port))
        run = _Run(sock, questions)
        sending_s = run.send(due_s(rate, len(questions), seed), 0.5 / rate)
    if run.wrong:
        question, reply = run.wrong[0]
        raise servers.Failed(f"{question.query}: {len(run.wrong)} wrong replies; the first one is {reply.hex()}")
    answered = len(run.latencies_us)
    return Paced(len(questions), len(questions) / sending_s, run.latencies_us.tolist(), run.octets // max(answered, 1))


@contextmanager
def _exact_sleep() -> Iterator[None]:
    """Let this thread sleep no longer than it asks for."""
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_TIMERSLACK, _SLACK_NS)
    try:
        yield
    finally:
        prctl(_PR_SET_TIMERSLACK, 0)  # 0 means the default


class _Run:
    """Queries in flight over one socket. A query's id is its number modulo 65,536."""

    def __init__(self, sock: socket.socket, questions: Sequence[Question]) -> None:
        self.latencies_us = array("d")
        self.octets = 0  # the total length of all replies
        self.wrong: list[tuple[Question, bytes]] = []  # questions with wrong replies
        self._sock = sock
        self._questions = questions
        # id -> the question, and when it was sent, in ns of Unix time
        self._in_flight: dict[int, tuple[Question, int]] = {}

    def send(self, due: Sequence[float], least_s: float) -> float:
        """Send each question when it is due, and receive the replies. Return how long sending took, in seconds.

        If the client is late, two queries have at least `least_s` between them.
        """
        sock, in_flight = self._sock, self._in_flight
        began = sent = time.monotonic()
        for number, question in enumerate(self._questions):
            due_at = max(began + due[number], sent + least_s)
            while self._receive():
                pass
            if (wait_s := due_at - time.monotonic()) > 0:
                time.sleep(wait_s)
            sent = time.monotonic()
            query_id = number & 0xFFFF
            in_flight[query_id] = question, time.time_ns()
            sock.send(query_id.to_bytes(2) + question.wire)
        ended = time.monotonic()
        while in_flight and time.monotonic() < ended + PATIENCE_S:
            if not self._receive():
                time.sleep(_POLL_S)
        return ended - began

    def _receive(self) -> bool:
        """Receive a reply, and return whether there was one."""
        try:
            reply, ancillary, _, _ = self._sock.recvmsg(4096, 64)
        except BlockingIOError:
            return False
        sent = self._in_flight.pop(int.from_bytes(reply[:2]), None)
        if sent is None:
            return True  # a second reply to a query
        question, sent_ns = sent
        seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
        self.latencies_us.append((seconds * 1_000_000_000 + nanoseconds - sent_ns) / 1000)
        self.octets += len(reply)
        if reply[3] & 15 != question.rcode:
            self.wrong.append((question, reply))
        return True
