"""A pod's view of pydns: a namespace with a running server, the upstreams that it forwards to, and a wiretap."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import yaml

from pydns.dns.message import EDNS_SIZE
from tests.clients.namespace import Namespace
from tests.clients.table import expanded
from tests.clients.wiretap import Wiretap
from tests.fakes.upstream import FakeUpstream, Script, says
from tests.running import COMMAND, PROBED, Server

ADDRESS = "10.96.0.10"
_POD_ADDRESS = "10.244.0.53"  # the address of the server in the EndpointSlice of kube-dns
_HERE = Path(__file__).parent
_SOA = "example. 60 SOA ns.example. host.example. 1 3600 600 86400 60"
_SLOWNESS_S = 0.3
_HEADER = 12


class Pod:
    """The whole pod. Resolvers use `command` and `wiretap`."""

    def __init__(self, folder: Path) -> None:
        """Start the pod. Raises namespace.Unavailable if namespaces can't be created here."""
        self.namespace = Namespace(ADDRESS)
        self.folder = folder
        self._closing: list[Callable[[], None]] = [self.namespace.close]
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        domains: Mapping[str, Mapping[str, Any]] = yaml.safe_load((_HERE / "upstream.yaml").read_text())
        ports: dict[str, int] = {}
        with self.namespace.entered():
            for domain, answers in domains.items():
                script = _prepared(answers)
                upstream = FakeUpstream(_late(script, domain) if domain.startswith("slow") else script)
                self._closing.append(partial(self._close_upstream, upstream))
                ports[domain] = upstream.port
        self.wiretap = Wiretap(self.namespace)
        self._closing.append(self.wiretap.close)
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(_config(ports)))
        flags = ["--config", str(config), *PROBED]
        server = Server(
            ["--manifests", str(_HERE / "cluster")],
            self.folder / "state",
            listen=f"{ADDRESS}:53,{_POD_ADDRESS}:53",
            workers=2,
            flags=flags,
            command=self.namespace.command(COMMAND),
        )
        self._closing.append(server.end)
        self.log = server.lines

    def _close_upstream(self, upstream: FakeUpstream) -> None:
        # The upstream wakes its own thread with a datagram, which must be sent in the namespace.
        with self.namespace.entered():
            upstream.close()

    def command(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` in the pod."""
        return self.namespace.command(command)

    def close(self) -> None:
        """Stop everything in reverse order."""
        while self._closing:
            self._closing.pop()()


def _config(ports: Mapping[str, int]) -> dict[str, Any]:
    routes = {domain: {"servers": [f"127.0.0.1:{ports[domain]}"]} for domain in ports if domain != "main"}
    return {"upstreams": [f"127.0.0.1:{ports['main']}"], "routes": routes}


def _prepared(answers: Mapping[str, str | Sequence[str]]) -> Script:
    """Return a script with prepared replies.

    Composing a reply of 240 records takes 30 ms, and a client would notice that.
    """
    script = _script(answers)
    ready: dict[tuple[bytes, str], list[bytes]] = {}

    def prepared(packet: bytes, how: str) -> Iterable[bytes]:
        key = packet[2:].lower(), how
        if key not in ready:
            ready[key] = list(script(packet, how))
        question = packet[_HEADER : packet.index(b"\0", _HEADER) + 5]  # the name keeps the case of the query
        end = _HEADER + len(question)
        return [packet[:2] + each[2:_HEADER] + question + each[end:] for each in ready[key]]

    for asked in answers:
        qname, rtype = asked.split()
        query = dns.message.make_query(qname, rtype, use_edns=0, payload=EDNS_SIZE).to_wire()
        for how in ("udp", "tcp"):
            prepared(query, how)
    return prepared


def _script(answers: Mapping[str, str | Sequence[str]]) -> Script:
    names = {asked.split()[0] for asked in answers}

    def script(packet: bytes, how: str) -> Iterable[bytes]:
        query = dns.message.from_wire(packet)
        qname = query.question[0].name.to_text().lower()
        asked = f"{qname} {dns.rdatatype.to_text(query.question[0].rdtype)}"
        answer = answers.get(asked, "NODATA" if qname in names else "NXDOMAIN")
        entry: dict[str, Any] = {"ask": asked, "rcode": answer}
        if not isinstance(answer, str):
            entry |= {"rcode": "NOERROR", "answer": [record for text in answer for record in expanded(text)]}
        entry |= {"do": bool(query.ednsflags & dns.flags.DO), "cd": bool(query.flags & dns.flags.CD)}
        (reply,) = says([entry], _SOA)(packet, how)
        if how == "udp" and len(reply) > query.payload:
            return says([entry | {"truncated": True}], _SOA)(packet, how)
        return [reply]

    return script


def _late(script: Script, domain: str) -> Script:
    host = dns.name.from_text(f"host.{domain}")

    def late(packet: bytes, how: str) -> Iterable[bytes]:
        # Other queries, such as the test's own check of the server, aren't delayed.
        if dns.message.from_wire(packet).question[0].name == host:
            time.sleep(_SLOWNESS_S)
        return script(packet, how)

    return late
