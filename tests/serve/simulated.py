"""The parts of a worker in this process, with a clock and an upstream that the test controls."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dns.message
import dns.name

from pydns.config import model
from pydns.config.model import Config
from pydns.kube.zone import Zone
from pydns.log import Log
from pydns.metrics.meter import Meter, Tally
from pydns.process.block import share
from pydns.serve.context import Batch
from pydns.serve.port import UDP_LIMIT, Client, Observer, Port
from pydns.serve.recursion import Recursion
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from pydns.zones.compile import Statics
from tests.fakes.upstream import says
from tests.subject import load

CLIENT = "192.0.2.53"


class Collector(Port):
    """A port that stores the replies sent through it."""

    def __init__(self, tally: Tally, client: str, observers: Sequence[Observer] = ()) -> None:
        super().__init__("udp", UDP_LIMIT, tally, observers)
        self.sent: list[bytes] = []
        self._client = client

    def send(self) -> None:
        self.sent += [each for each in self.replies if each is not None]

    def reply_later(self, reply: bytes, peer: None) -> None:
        self.sent.append(reply)

    def client_at(self, peer: None) -> Client:
        return Client(self._client, 53)


class Worker:
    """The parts of a worker, with a clock that the test moves and an upstream that answers only in `deliver`."""

    def __init__(
        self,
        state_dir: Path,
        config: Config,
        entries: Sequence[Mapping[str, Any]],
        soa: str,
        client: str = CLIENT,
        zone: Zone | None = None,
        statics: Statics | None = None,
        accepted: Config | None = None,
        status: bytes = b"{}",
    ) -> None:
        """Start. The upstream answers by `entries` (see `tests.fakes.upstream.says`). Queries come from `client`.

        `zone` has the names of the cluster, and `statics` has zone files and hosts. By default, there are none of
        these. `accepted` is the configuration as the operator wrote it, and `status` is that of the controller.
        """
        self.now = 1000.0
        self.asked: list[str] = []  # the names for which pydns asked the upstream
        self.asked_ips: list[str] = []  # the address to which each of these queries was sent
        self.observers: list[Observer] = []
        self._ips: dict[int, str] = {}
        self._said = says(entries, soa)
        self._client = client
        self._sent: list[tuple[int, int, bytes]] = []
        zone = zone or load([])
        facts = zone.facts(serial=1, synced=True)
        writer = Writer(state_dir, facts)
        writer.put_config(model.dump(config), model.dump(accepted or config))
        writer.put_status(status)
        if statics is not None:
            writer.put_static(statics.contents, statics.zones)
        writer.replace(zone.contents, facts)
        writer.close()  # a process may open an LMDB file only once
        self.table = Reader(state_dir)
        self.batch = Batch(self.table, Log(), Meter(share(1)[0]), self.clock)
        self._loop = asyncio.new_event_loop()
        self._recursion = Recursion(self.batch, Log(), self._loop, clock=self.clock, sockets=self._sockets)
        self.batch.defer = self._recursion.ask
        self._recursion.poll()
        self.deliver()
        self.asked.clear()
        self.asked_ips.clear()

    def tell(
        self, qname: str, rtype: str = "A", *, do: bool = False, cd: bool = False, edns: int | None = None
    ) -> list[bytes]:
        """Handle a query. Return a list with its reply. The list is empty if the reply must wait for the upstream."""
        message = dns.message.make_query(qname, rtype, want_dnssec=do, use_edns=edns)
        if cd:
            message.flags |= dns.flags.CD
        return self.send(message.to_wire())

    def send(self, message: bytes, client: str = "") -> list[bytes]:
        """Handle a message of the client. The result is that of `tell`."""
        port = Collector(self.batch.tally("udp", socket.AF_INET), client or self._client, self.observers)
        self.batch.answer([message], port, self.now)
        self._turn()
        return port.sent

    def ask(
        self, qname: str, rtype: str = "A", *, do: bool = False, cd: bool = False, edns: int | None = None
    ) -> dns.message.Message:
        """Return the reply to a query. If pydns asks the upstream, the upstream answers."""
        replies = self.tell(qname, rtype, do=do, cd=cd, edns=edns)
        self.deliver()
        return dns.message.from_wire(replies[0])

    def deliver(self) -> None:
        """Let the upstream answer all its queries."""
        while self._sent:
            index, socket_index, packet = self._sent.pop(0)
            asked = dns.message.from_wire(packet).question[0]
            if asked.name != dns.name.root:  # a query for the root is a probe of pydns
                self.asked.append(f"{asked.name} {dns.rdatatype.to_text(asked.rdtype)}".lower())
                self.asked_ips.append(self._ips[index])
            for reply in self._said(packet, "udp"):
                self._received(index, socket_index, [reply])
            self._turn()

    def _turn(self) -> None:
        """Run one turn of the event loop."""
        self._loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        self._loop.close()
        self.table.close()

    def clock(self) -> float:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def _sockets(self, _: object, received: Callable[[int, int, list[bytes]], None], __: object) -> Any:
        self._received = received
        return self

    # The methods of `Upstreams` that the worker calls.

    def add(self, index: int, server: model.ServerSpec) -> None:
        self._ips[index] = server.ip

    def send_udp(self, *packet: Any) -> bool:
        self._sent.append(packet)
        return True

    send_stream = send_udp

    def sweep(self, now: float) -> None:
        pass
