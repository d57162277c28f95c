"""What cases are asked of: a responder within this process, or a server on a socket. Knows nothing of what is right."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from pydns import settings
from pydns.dns import name
from pydns.kube import objects, workloads
from pydns.kube.events import Apply, Init, InitDone
from pydns.kube.objects import Kind
from pydns.kube.zone import Zone, ZoneOptions
from pydns.metrics.block import share
from pydns.metrics.meter import Meter
from pydns.serve.respond import Responder
from pydns.table.reader import Reader
from pydns.table.writer import Writer

_TIMEOUT_S = 10.0
PROBE_ID = b"\xff\xff"  # messages must have another
_PROBE = bytes.fromhex("ffff 0000 0001 0000 0000 0000 00 0006 0001")  # ". SOA", which any server says something to
_LOOPBACK = bytes([127, 0, 0, 1])


class Subject(Protocol):
    """Whoever is asked."""

    def ask(self, message: bytes, *, tcp: bool) -> bytes | None:
        """Return the reply to a message, or None if there was none."""


class InProcess:
    """A responder on a table of its own."""

    def __init__(self, state_dir: Path, zone: Zone, *, synced: bool = True) -> None:
        facts = zone.facts(serial=1, synced=synced)
        writer = Writer(state_dir, facts)
        writer.replace(zone.contents, facts)
        writer.close()  # LMDB opens a file once in a process
        self.reader = Reader(state_dir)
        self.responder = Responder(self.reader, Meter(share(1)[0]).tallies[0])

    def ask(self, message: bytes, *, tcp: bool) -> bytes | None:
        with self.reader.transaction() as transaction:
            return self.responder.respond(message, transaction, tcp=tcp)

    def close(self) -> None:
        self.reader.close()


def load(cluster: Iterable[Any], flags: Sequence[str] = ()) -> Zone:
    """Return the zone of manifests, as `pydns serve` with these flags makes it."""
    options = settings.read(settings.parser({}).parse_args(["serve", *flags]))
    manifests = []
    for document in cluster:
        for found in workloads.read(document):
            assert isinstance(found, workloads.Manifest), found
            manifests.append(found)
    zone = Zone(
        ZoneOptions(
            options.domain, options.reverse_zones, options.ttl_s, options.pods, options.namespaces, (_LOOPBACK,)
        )
    )
    for kind in Kind:
        zone.apply(Init(kind))
    for observed in workloads.build(manifests, objects.Options(options.endpoint_pod_names)).values():
        zone.apply(Apply(observed))
    for kind in Kind:
        zone.apply(InitDone(kind))
    return zone


class Address(NamedTuple):
    """A server that is asked over sockets."""

    host: str
    port: int

    def ask(self, message: bytes, *, tcp: bool) -> bytes | None:
        # A probe behind the message tells silence from slowness without waiting.
        if tcp:
            with socket.create_connection(self, timeout=_TIMEOUT_S) as connection:
                connection.sendall(b"".join(len(each).to_bytes(2) + each for each in (message, _PROBE)))
                stream = connection.makefile("rb")
                reply = stream.read(int.from_bytes(stream.read(2)))
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(_TIMEOUT_S)
                datagrams.connect(self)
                datagrams.send(message)
                datagrams.send(_PROBE)
                reply = datagrams.recv(65535)
        return None if reply[:2] == PROBE_ID else reply


class Server:
    """A `pydns serve` of our own, on a port that was free."""

    def __init__(self, cluster: Iterable[Any], flags: Sequence[str] = ()) -> None:
        self._directory = tempfile.TemporaryDirectory()
        folder, state_dir = Path(self._directory.name, "manifests"), Path(self._directory.name, "state")
        folder.mkdir()
        state_dir.mkdir()
        (folder / "cluster.yaml").write_text(yaml.safe_dump_all(cluster))
        command = [sys.executable, "-m", "pydns", "serve", "--listen", "127.0.0.1:0", "--workers", "1"]
        command += ["--state-dir", str(state_dir), "--manifests", str(folder), *flags]
        command += ["--health", "off", "--ready", "off", "--metrics", "off", "--drain-quiet", "0"]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYDNS_")}
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        assert self._process.stderr is not None
        seen = []
        port = 0
        for line in self._process.stderr:
            seen.append(line)
            if " event=listening " in line:
                port = int(line.partition(" address=")[2].split()[0].rpartition(":")[2])
            if " event=synced " in line:
                break
        else:
            raise AssertionError("".join(seen))
        self.address = Address("127.0.0.1", port)

    def ask(self, message: bytes, *, tcp: bool) -> bytes | None:
        return self.address.ask(message, tcp=tcp)

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=_TIMEOUT_S)
        self._directory.cleanup()


def query(qname_text: str, qtype: int, message_id: int = 1) -> bytes:
    """Return a plain query, RD set."""
    return message_id.to_bytes(2) + b"\1\0\0\1" + bytes(6) + name.from_text(qname_text) + qtype.to_bytes(2) + b"\0\1"
