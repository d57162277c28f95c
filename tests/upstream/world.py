"""A simulated world for a forwarder: scripted servers, a clock that jumps, and seeded randomness. Nothing sleeps."""

import heapq
import random
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydns.config.model import CacheOptions, Choice, Transport
from pydns.dns import name
from pydns.dns.message import Rcode
from pydns.dns.response import Unusable, UpstreamAnswer
from pydns.upstream.cache import Cache
from pydns.upstream.forwarder import Event, Forwarder, ForwarderLimits
from pydns.upstream.packet import RANDOM_OCTETS, STREAM
from pydns.upstream.pool import Pool, Upstream, UpstreamSpec
from pydns.upstream.routes import Routes, RouteSpec

START = 1000.0


class Server(NamedTuple):
    """The behaviour of a server."""

    delay_s: float = 0.002
    rcode: int = Rcode.NOERROR
    ttl_s: int = 300
    address: bytes = b"\x01\x02\x03\x04"
    silent: bool = False
    silent_about: bytes = b"\xff"  # the server doesn't answer names that contain these octets
    fails_about: bytes = b"\xff"
    delay_about: tuple[bytes, float] = (b"\xff", 0.0)
    lost: int = 0  # how many of the first packets are lost
    truncates: bool = False  # True: replies over UDP are truncated
    keeps_case: bool = True
    denies_case: bytes = b"\xff"  # the server denies names that contain these octets, unless the query is in lower case
    denial: int = Rcode.NXDOMAIN
    refuses_packets: bool = False  # sending a packet to the server fails
    knows_edns: bool = True
    drops_edns: bool = False
    fails_edns: bool = False
    has_tcp: bool = True
    forges: Callable[[bytes], bytes] | None = None  # makes a changed reply from each reply over UDP


class World:
    """Servers 0, 1, … and clients. A client asks for a name and records its answer with the time.

    If a client is a pair, answers are recorded under the first part. If the first part begins with "gone", answering
    the client fails.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        choice: Choice = Choice.IN_ORDER,
        routes: Sequence[RouteSpec] = (RouteSpec(name.ROOT, 0),),
        pools: Sequence[Sequence[int]] | None = None,
        limits: ForwarderLimits | None = None,
        cache_limits: CacheOptions | None = None,
        packets_per_second: int | None = None,
        transport: Transport = Transport.UDP,
        specs: Sequence[UpstreamSpec] = (),
        seed: int = 1,
        first_bits: Sequence[int] = (),
    ) -> None:
        self.servers = list(servers)
        self.now = START
        self._tick_at = START + 0.01
        self.random = random.Random(seed)
        self._first_bits = list(first_bits)
        self.packets: list[tuple[float, int, int, bytes]] = []  # time, server, socket and octets of each packet
        self.replies: dict[object, tuple[float, UpstreamAnswer]] = {}
        self.gone: set[object] = set()  # clients that couldn't be answered
        self.notices: list[tuple[Event, str]] = []
        self.refused: list[tuple[str, Unusable, bytes]] = []
        self._events: list[tuple[float, int, int, int, bytes]] = []
        self.upstreams = [
            Upstream(i, specs[i] if specs else UpstreamSpec(f"server{i}", transport, packets_per_second))
            for i in range(len(servers))
        ]
        self.pools = [
            Pool([self.upstreams[i] for i in pool], choice) for pool in (pools or [range(len(self.upstreams))])
        ]
        self.cache = Cache(cache_limits or CacheOptions())
        self.forwarder = Forwarder(
            Routes(routes),
            self.pools,
            self.cache,
            limits or ForwarderLimits(),
            random_bits=lambda: (
                self._first_bits.pop() if self._first_bits else self.random.getrandbits(8 * RANDOM_OCTETS)
            ),
            send_udp=self._send_udp,
            send_tcp=lambda server, packet: self._send_udp(server, STREAM, packet),
            reply=self._reply,
            notice=lambda event, upstream: self.notices.append((event, upstream.spec.name)),
            source=lambda client: client[0] if isinstance(client, tuple) else None,
            refused=lambda upstream, why, qname: self.refused.append((upstream.spec.name, why, qname)),
        )

    def ask(
        self, qname_text: str, client: object = None, *, rtype: int = 1, flags: int = 0, query_id: int = 7
    ) -> object:
        """Send a query as a client. Return the client's name, which is by default the name in the question."""
        client = qname_text if client is None else client
        self.forwarder.ask(question(qname_text, rtype), query_id.to_bytes(2), flags, client, self.now)
        return client

    def run(self, seconds: float) -> "World":
        """Let `seconds` pass."""
        end = self.now + seconds
        while True:
            at = min(self._tick_at, self._events[0][0] if self._events else self._tick_at)
            if at > end:
                break
            self.now = max(self.now, at)
            if self._events and self._events[0][0] <= self.now:
                _, _, server, socket, packet = heapq.heappop(self._events)
                self.forwarder.received(server, socket, packet, self.now)
            else:
                self.forwarder.tick(self.now)
                self._tick_at = self.now + 0.01
        self.now = end
        return self

    def told(self, qname_text: str, **how: int) -> UpstreamAnswer:
        """Send a query, let five seconds pass, and return the client's answer."""
        client = self.ask(qname_text, object(), **how)
        self.run(5)
        return self.replies[client][1]

    def learn(self) -> None:
        """Ask for a hundred names one after another, so that the forwarder learns the usual speed of each server."""
        for i in range(100):
            self.told(f"n{i}.example")

    def asked(self, server: int) -> int:
        """Return the number of packets sent to a server, without the probes."""
        return len([packet for packet in self.packets if packet[1] == server and not is_probe(packet[3])])

    def probes(self, server: int) -> int:
        """Return the number of probes sent to a server."""
        return len([packet for packet in self.packets if packet[1] == server and is_probe(packet[3])])

    def deliver(self, server: int, socket: int, packet: bytes) -> None:
        """Make the forwarder receive a packet now."""
        self.forwarder.received(server, socket, packet, self.now)

    def _reply(self, client: object, answer: UpstreamAnswer) -> None:
        assert client not in self.replies and client not in self.gone, "answered twice"
        if isinstance(client, tuple) and str(client[0]).startswith("gone"):
            self.gone.add(client)
            raise RuntimeError("the handler is closed")
        self.replies[client] = (self.now, answer)

    def _send_udp(self, server: int, socket: int, packet: bytes) -> bool:
        behaviour = self.servers[server]
        self.packets.append((self.now, server, socket, packet))
        if behaviour.refuses_packets or (socket == STREAM and not behaviour.has_tcp):
            return False
        if behaviour.drops_edns and packet[11]:
            return True
        qname = packet[12 : packet.index(b"\0", 12)].lower()
        if behaviour.silent or behaviour.silent_about in qname or 0 < self.asked(server) <= behaviour.lost:
            return True
        if behaviour.fails_about in qname or (behaviour.fails_edns and packet[11]):
            behaviour = behaviour._replace(rcode=Rcode.SERVFAIL)
        if behaviour.denies_case in qname and packet[12 : 12 + len(qname)] != qname:
            behaviour = behaviour._replace(rcode=behaviour.denial)
        reply = reply_to(packet, behaviour, over_stream=socket == STREAM)
        delay_s = behaviour.delay_about[1] if behaviour.delay_about[0] in qname else behaviour.delay_s
        heapq.heappush(self._events, (self.now + delay_s, len(self.packets), server, socket, reply))
        return True


def is_probe(packet: bytes) -> bool:
    """Return whether a packet asks for the name servers of the root."""
    return packet[12:17] == b"\0\0\2\0\1"


def reply_to(packet: bytes, server: Server, over_stream: bool = False) -> bytes:
    """Return the reply of this server to a packet."""
    asked = packet[12 : packet.index(b"\0", 12) + 5]
    if packet[11] and not server.knows_edns:
        return packet[:2] + b"\x81\x81" + bytes(8)
    if not server.keeps_case:
        asked = asked[:-4].upper() + asked[-4:]
    truncated = server.truncates and not over_stream
    records = b"\xc0\x0c" + asked[-4:] + struct.pack("!IH", server.ttl_s, 4) + server.address
    if is_probe(packet):
        records = b"\0\0\2\0\1" + struct.pack("!IH", server.ttl_s, 1) + b"\0"
    answers, authorities = 1, 0
    if server.rcode == Rcode.NXDOMAIN:
        records = b"\0" + struct.pack("!HHIH", 6, 1, server.ttl_s, 22) + bytes(2) + struct.pack("!5I", 1, 2, 3, 4, 60)
        answers, authorities = 0, 1
    elif server.rcode or truncated:
        records, answers = b"", 0
    flags = 0x8180 | server.rcode | (0x0200 if truncated else 0)
    reply = packet[:2] + struct.pack("!5H", flags, 1, answers, authorities, 0) + asked + records
    return reply if over_stream or server.forges is None else server.forges(reply)


def question(qname_text: str, rtype: int = 1) -> bytes:
    """Return a question in wire format."""
    return name.from_text(qname_text) + struct.pack("!HH", rtype, 1)


def ttls(answer: UpstreamAnswer) -> list[int]:
    """Return the TTLs of an answer with addresses."""
    return [int.from_bytes(answer.records[at + 6 : at + 10]) for at in range(0, len(answer.records), 16)]
