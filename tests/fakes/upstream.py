"""An upstream on loopback that answers according to a script, over UDP and TCP (or TLS) on one port.

It is for tests with a running pydns. The script is a function that returns the replies to a query, as octets: none, one
or several. The function `says` makes a script from data.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Script = Callable[[bytes, str], Iterable[bytes]]  # a query, and "udp" or "tcp"
Stream = Callable[[socket.socket], None]  # handles a connection instead of the script


class FakeUpstream:
    """The server. `asked` contains every received query, and whether it came over UDP or TCP."""

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        stream: Stream | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Start the server at the address `host`. An IPv6 address may have a zone."""
        self.asked: list[tuple[bytes, str]] = []
        self.peers: set[str] = set()  # the addresses from which queries and connections came
        self.connections = 0
        self.resumed = 0
        self._script = script
        self._tls = tls
        self._stream = stream or self._serve
        self._udp, self._tcp = _bind(host, port)
        self.port = self._udp.getsockname()[1]
        self._tcp.listen(16)
        self._datagrams = threading.Thread(target=self._answer_datagrams, daemon=True)
        self._datagrams.start()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop answering. After this, packets are refused."""
        with suppress(OSError):
            self._udp.sendto(b"", self._udp.getsockname())  # this datagram wakes the thread that serves UDP
            self._tcp.shutdown(socket.SHUT_RDWR)
        self._datagrams.join(5)
        self._udp.close()
        self._tcp.close()

    def _answer_datagrams(self) -> None:
        with suppress(OSError):
            while True:
                packet, peer = self._udp.recvfrom(4096)
                if not packet:
                    return
                self.asked.append((packet, "udp"))
                self.peers.add(peer[0])
                for reply in self._script(packet, "udp"):
                    self._udp.sendto(reply, peer)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, peer = self._tcp.accept()
                self.connections += 1
                self.peers.add(peer[0])
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError), connection:
            if self._tls is None:
                self._stream(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                self.resumed += bool(encrypted.session_reused)
                self._stream(encrypted)

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while head := stream.read(2):
                message = stream.read(int.from_bytes(head))
                self.asked.append((message, "tcp"))
                for reply in self._script(message, "tcp"):
                    connection.sendall(len(reply).to_bytes(2) + reply)


def says(entries: Iterable[Mapping[str, Any]], soa: str) -> Script:
    """Return a script that answers from entries.

    The script refuses other questions, and queries that must not be sent to a server. An entry has `ask` (name and
    type), `rcode`, `flags`, `answer` and `authority` in zone-file text. An entry is used only for questions with the
    same `do` and `cd`. NODATA and NXDOMAIN replies contain `soa`. An entry with `truncated` is truncated over UDP. An
    entry without `rcode` means that no reply is sent.
    """

    def script(packet: bytes, how: str) -> list[bytes]:
        query = dns.message.from_wire(packet)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        reply.set_rcode(dns.rcode.REFUSED)
        asked = query.question[0]
        if query.flags & ~dns.flags.CD != dns.flags.RD or query.payload != 1232 or query.options or query.answer:
            return [reply.to_wire()]
        of = f"{asked.name} {dns.rdatatype.to_text(asked.rdtype)}".lower()
        of += " do" * bool(query.ednsflags & dns.flags.DO) + " cd" * bool(query.flags & dns.flags.CD)
        for entry in entries:
            if of != entry["ask"].lower() + " do" * entry.get("do", False) + " cd" * entry.get("cd", False):
                continue
            if "rcode" not in entry:
                return []
            rcode = entry["rcode"]
            reply.set_rcode(dns.rcode.from_text("NOERROR" if rcode == "NODATA" else rcode))
            for flag in entry.get("flags", "").split():
                reply.flags |= dns.flags.from_text(flag)
            if entry.get("truncated") and how == "udp":
                reply.flags |= dns.flags.TC
                break
            denial = [soa] if rcode in ("NODATA", "NXDOMAIN") else []
            for section, lines in (
                (reply.answer, entry.get("answer", [])),
                (reply.authority, entry.get("authority", denial)),
                (reply.additional, entry.get("additional", [])),
            ):
                for line in lines:
                    owner, ttl, rtype, rdata = line.split(None, 3)
                    section.append(dns.rrset.from_text(owner, int(ttl), "IN", rtype, rdata))
            break
        return [reply.to_wire(max_size=65535)]

    return script


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    [(family, *_, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    while True:
        udp, tcp = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.bind(address)
        try:
            tcp.bind(udp.getsockname())
        except OSError:  # another program uses that port for TCP
            udp.close()
            tcp.close()
            if port:
                raise
        else:
            return udp, tcp
