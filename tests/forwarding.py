"""Run a pydns that forwards to fake upstreams. This module doesn't know which answers are right."""

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.rdatatype

from pydns.dns import name
from tests.fakes.manifests import external_name, service
from tests.fakes.upstream import FakeUpstream
from tests.subject import Server
from tests.upstream import world
from tests.waiting import PATIENCE_S

A = 1
CLUSTER = [
    service("web", "10.96.0.10"),
    external_name("ext", "www.example.com"),
    external_name("gone", "nx.example.com"),
    external_name("broken", "fails.example.com"),
]


def answers(packet: bytes, _: str = "") -> list[bytes]:
    """Answer as a resolver of example.com does. Some first labels select an answer that isn't an address."""
    question = dns.message.from_wire(packet).question[0]
    first = question.name.labels[0].lower()
    if first == b"nx" or len(question.name.labels) < 3:
        return [world.reply_to(packet, world.Server(rcode=3))]
    if first == b"fails":
        return [world.reply_to(packet, world.Server(rcode=2))]
    target = {b"alias": "www.example.com", b"inward": "web.shop.svc.cluster.local", b"circle": "circle2.example.com"}
    target |= {b"circle2": "circle.example.com", b"dangling": "nx.example.com"}
    if first in target:
        rdata = name.from_text(target[first])
        record = b"\xc0\x0c\0\5\0\1" + struct.pack("!IH", 300, len(rdata)) + rdata
        asked = packet[12 : packet.index(b"\0", 12) + 5]
        return [packet[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked + record]
    return [world.reply_to(packet, world.Server())]


def validating(packet: bytes, how: str) -> list[bytes]:
    """Answer with the AD bit to queries that have AD or DO, as a validating resolver does."""
    query = dns.message.from_wire(packet)
    wants_ad = query.flags & dns.flags.AD or query.ednsflags & dns.flags.DO
    return [reply[:3] + bytes([reply[3] | (0x20 if wants_ad else 0)]) + reply[4:] for reply in answers(packet, how)]


Start = Callable[[dict[str, Any]], Server]
Fake = Callable[..., FakeUpstream]


def config(*upstreams: FakeUpstream, **how: Any) -> dict[str, Any]:
    """Return a configuration. `how` contains further keys of each upstream."""
    return {"choice": "in_order", "upstreams": [{"address": f"127.0.0.1:{each.port}", **how} for each in upstreams]}


def ask(server: Server, message: bytes, *, tcp: bool) -> bytes:
    """Return the reply to a query.

    No probe follows the query, because the reply to the probe would arrive before the upstream's reply.
    """
    if tcp:
        with socket.create_connection(server.address[:2], timeout=PATIENCE_S) as connection:
            connection.sendall(len(message).to_bytes(2) + message)
            stream = connection.makefile("rb")
            return stream.read(int.from_bytes(stream.read(2)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE_S)
        datagrams.connect(server.address[:2])
        datagrams.send(message)
        return datagrams.recv(65535)


def told(server: Server, qname: str, rtype: int = A, *, tcp: bool = False, **how: Any) -> dns.message.Message:
    return dns.message.from_wire(
        ask(server, dns.message.make_query(qname, dns.rdatatype.RdataType(rtype), **how).to_wire(), tcp=tcp)
    )


def lines(message: dns.message.Message) -> list[str]:
    return [line for rrset in message.answer for line in rrset.to_text().split("\n")]


def errors(message: dns.message.Message) -> list[int]:
    return [int(option.code) for option in message.options if isinstance(option, dns.edns.EDEOption)]


class Told(NamedTuple):
    """A reply, and how many seconds after the query it arrived."""

    after_s: float
    message: dns.message.Message


def flood(server: Server, qnames: Sequence[str], *, over_s: float, wait_s: float = PATIENCE_S) -> dict[str, Told]:
    """Ask for names at a steady pace without waiting for replies. Return the replies that came within `wait_s`.

    The queries are spread over `over_s`. A slow machine may need longer. Eight clients take turns, because pydns limits
    how many queries one client may have in flight.
    """
    over_s = max(over_s, 5 * len(qnames) * _question_s(server))
    began = time.monotonic()
    sent_at: list[float] = []
    told: dict[str, Told] = {}
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(8)]
        for number, client in enumerate(clients, 1):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            client.bind((f"127.0.0.{number}", 0))
            client.connect(server.address[:2])
        while len(told) < len(qnames):
            now = time.monotonic()
            while len(sent_at) < len(qnames) and now >= (due := began + over_s * len(sent_at) / len(qnames)):
                message = dns.message.make_query(qnames[len(sent_at)], "A", use_edns=0, id=len(sent_at))
                clients[len(sent_at) % len(clients)].send(message.to_wire())
                sent_at.append(max(due, now))
            if len(sent_at) < len(qnames):
                wait = began + over_s * len(sent_at) / len(qnames) - now
            elif (wait := sent_at[-1] + wait_s - now) <= 0:
                break
            for ready in select.select(clients, (), (), max(wait, 0.0001))[0]:
                # pydns doesn't check RDATA that comes from an upstream, so the RDATA may be malformed.
                reply = dns.message.from_wire(ready.recv(65535), continue_on_error=True)
                told[qnames[reply.id]] = Told(time.monotonic() - sent_at[reply.id], reply)
    return told


def _question_s(server: Server) -> float:
    """Return how long a query for a name of the cluster takes on this machine now."""
    took = []
    for _ in range(9):
        asked = time.monotonic()
        told(server, "web.shop.svc.cluster.local")
        took.append(time.monotonic() - asked)
    return median(took)
