"""The servers that the cases are asked: a responder in this process, or a server on a socket.

This module doesn't know the right answers.
"""

import socket
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import yaml

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.external_alone import external_alone
from pydns.config.inputs import read_file
from pydns.config.model import Config, Host
from pydns.config.read import Accepted
from pydns.config.selector import parse as parse_selector
from pydns.config.settings import Answered, Settings
from pydns.control.options import cluster_options
from pydns.dns.address import parse_address
from pydns.kube import objects, workloads
from pydns.kube.events import Apply, Init, InitDone
from pydns.kube.kinds import NAMING_KINDS, RECORD_KINDS
from pydns.kube.zone import Zone
from pydns.metrics.meter import Meter
from pydns.process.block import share
from pydns.serve.deferred import Asked
from pydns.serve.fast import Responder
from pydns.serve.port import STREAM_LIMIT, UDP_LIMIT, Port, address_octets
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from pydns.zones import zonefile
from pydns.zones.compile import Statics, combine, compile_zone
from tests import running
from tests.waiting import PATIENCE_S

_TIMEOUT_S = PATIENCE_S
_PATIENCE_S = 0.5  # this is long enough, because the server has already answered the probe
PROBE_ID = b"\xff\xff"  # the message of a test must not have this id
# A query for ". SOA", to which every server replies.
_PROBE = bytes.fromhex("ffff 0000 0001 0000 0000 0000 00 0006 0001")
LOOPBACK = "127.0.0.1"


class Subject(Protocol):
    """A server that replies to messages."""

    def ask(self, message: bytes, *, tcp: bool, client: str = "") -> bytes | None:
        """Return the reply to a message of a client, by default on loopback. None if there was none."""


class ClientPort(Port):
    """A port whose messages come from one client, which a test may replace."""

    ip = LOOPBACK

    def source(self, peer: Any) -> bytes:
        return address_octets(self.ip)


class InProcess:
    """A responder and its answer table."""

    def __init__(
        self,
        state_dir: Path,
        zone: Zone,
        *,
        synced: bool = True,
        statics: Statics | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """`config` is the live configuration. Only its rules and the keys about reasons count."""
        facts = zone.facts(serial=1, synced=synced)
        writer = Writer(state_dir, facts)
        if statics is not None:
            writer.put_static(statics.contents, statics.zones)
        writer.replace(zone.contents, lambda: zone.facts(serial=1, synced=synced))
        writer.close()  # a process may open an LMDB file only once
        self.reader = Reader(state_dir)
        self.responder = Responder(self.reader)
        read = read_file("config.yaml", yaml.safe_dump(config or {}).encode())
        assert isinstance(read, Accepted), read
        self.responder.commit.configure(read.config)
        meter = Meter(share(1)[0])
        self.udp = ClientPort("udp", UDP_LIMIT, meter.tallies[0])
        self.tcp = ClientPort("tcp", STREAM_LIMIT, meter.tallies[2])

    def respond(self, message: bytes, *, tcp: bool, client: str = "") -> bytes | Asked | None:
        port = self.tcp if tcp else self.udp
        port.ip = client or LOOPBACK
        with self.reader.transaction() as transaction:
            return self.responder.respond(message, transaction, port)

    def ask(self, message: bytes, *, tcp: bool, client: str = "") -> bytes | None:
        reply = self.respond(message, tcp=tcp, client=client)
        assert not isinstance(reply, Asked)
        return reply

    def close(self) -> None:
        self.reader.close()


def load(
    cluster: Iterable[Any], flags: Sequence[str] = (), host: str = LOOPBACK, config: Mapping[str, Any] | None = None
) -> Zone:
    """Return the zone that `pydns serve` would make from manifests with these flags, listening on `host`."""
    settings = settings_of(parser({}).parse_args(["serve", *flags]))
    options = cluster_options(settings, _configuration(settings, config), (parse_address(host),))
    zone = Zone(options.zone)
    for source in options.sources:
        labels, namespace_labels = (
            parse_selector(each) if each else None for each in (source.labels, source.namespace_labels)
        )
        kinds = RECORD_KINDS + source.optional
        manifests = []
        for document in cluster:
            for found in workloads.read(document, kinds):
                assert isinstance(found, workloads.Manifest), found
                manifests.append(found)
        reading = objects.Options(source.endpoint_pod_names, annotations=source.annotations, topology=source.topology)
        for kind in kinds:
            zone.apply(Init(kind), source.name)
        built = workloads.build(manifests, reading, labels, namespace_labels=namespace_labels)
        for observed in built.values():
            zone.apply(Apply(observed), source.name)
        for ref, observed in workloads.build(manifests, reading).items():
            if source.near and ref.kind in NAMING_KINDS and ref.namespace == "kube-system":
                zone.apply_near(Apply(observed))
        for kind in kinds:
            zone.apply(InitDone(kind), source.name)
    return zone


def _configuration(settings: Settings, config: Mapping[str, Any] | None) -> Config:
    read = read_file("config.yaml", yaml.safe_dump(config or {}).encode())
    assert isinstance(read, Accepted), read
    return external_alone(read.config) if settings.answer is Answered.EXTERNAL else read.config


def load_static(
    files: Mapping[str, str],
    hosts: Sequence[Host] = (),
    flags: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
) -> Statics:
    """Return the static records of zone files and hosts, for a cluster served with these flags."""
    settings = settings_of(parser({}).parse_args(["serve", *flags]))
    options = cluster_options(settings, _configuration(settings, config), ()).zone
    zones = {}
    for file, text in files.items():
        read = zonefile.read(text, file, file.removesuffix(".zone"), _no_include)
        assert isinstance(read, zonefile.ZoneFile), read
        zones[file] = compile_zone(read)
    domains = [each.domain for each in options.domains]
    return combine(
        zones,
        hosts,
        domains,
        options.reverse_apexes,
        options.shared_apexes,
        external_alone=options.external_alone,
    )


def _no_include(wanted: str, by: str) -> tuple[str, str]:
    raise zonefile.Unavailable("no such file")


class Address(NamedTuple):
    """A server that gets queries over sockets."""

    host: str
    port: int
    # Whether replies come in the order of the queries; a server with threads doesn't keep the order.
    in_order: bool = True
    # Whether a message may get no reply; a forwarder always replies, but its reply may come after the probe's reply.
    silent: bool = True

    def ask(self, message: bytes, *, tcp: bool, client: str = "") -> bytes | None:
        # The probe follows the message. If only the probe's reply arrives, the message got no reply. So no timeout is
        # needed.
        messages = (message, _PROBE) if self.silent else (message,)
        if tcp:
            source = (client, 0) if client else None
            with socket.create_connection(self[:2], timeout=_TIMEOUT_S, source_address=source) as connection:
                connection.sendall(b"".join(len(each).to_bytes(2) + each for each in messages))
                stream = connection.makefile("rb")
                return self._first_but_the_probe(connection, lambda: stream.read(int.from_bytes(stream.read(2))))
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(_TIMEOUT_S)
            if client:
                datagrams.bind((client, 0))
            datagrams.connect(self[:2])
            for each in messages:
                datagrams.send(each)
            return self._first_but_the_probe(datagrams, lambda: datagrams.recv(65535))

    def _first_but_the_probe(self, sock: socket.socket, receive: Callable[[], bytes]) -> bytes | None:
        reply = receive()
        if reply[:2] == PROBE_ID and not self.in_order:
            sock.settimeout(_PATIENCE_S)
            with suppress(TimeoutError):
                reply = receive()
        return None if reply[:2] == PROBE_ID else reply


class Server:
    """A `pydns serve` on a free port."""

    def __init__(
        self,
        cluster: Iterable[Any],
        flags: Sequence[str] = (),
        host: str = LOOPBACK,
        zones: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory()
        folder = Path(self._directory.name, "manifests")
        folder.mkdir()
        (folder / "cluster.yaml").write_text(yaml.safe_dump_all(cluster))
        source = ["--manifests", str(folder)]
        if zones:
            zone_folder = Path(self._directory.name, "zones")
            zone_folder.mkdir()
            for file, text in zones.items():
                (zone_folder / file).write_text(text)
            source += ["--zones", str(zone_folder)]
        if config is not None:
            source += ["--config", self._write_configuration(config)]
        self._start([*source, *flags], host)

    def _write_configuration(self, config: Mapping[str, Any]) -> str:
        written = Path(self._directory.name, "config.yaml")
        written.write_text(yaml.safe_dump(config))
        return str(written)

    @classmethod
    def watching(cls, kubeconfig: Path, flags: Sequence[str] = (), config: Mapping[str, Any] | None = None) -> Self:
        """Return a server that follows the cluster of a kubeconfig."""
        server = cls.__new__(cls)
        server._directory = tempfile.TemporaryDirectory()
        source = ["--kubeconfig", str(kubeconfig)]
        if config is not None:
            source += ["--config", server._write_configuration(config)]
        server._start([*source, *flags], LOOPBACK)
        return server

    def _start(self, flags: Sequence[str], host: str) -> None:
        state_dir = Path(self._directory.name, "state")
        state_dir.mkdir()
        self._process = running.Server(flags, state_dir, listen=f"[{host}]:0" if ":" in host else f"{host}:0")
        self.address = Address(host, self._process.port)

    def ask(self, message: bytes, *, tcp: bool, client: str = "") -> bytes | None:
        return self.address.ask(message, tcp=tcp, client=client)

    def add_manifest(self, file: str, manifest: Mapping[str, Any]) -> None:
        """Add a file to the folder of manifests."""
        Path(self._directory.name, "manifests", file).write_text(yaml.safe_dump(manifest))

    def close(self) -> None:
        self._process.end()
        self._directory.cleanup()

    def stop(self) -> str:
        """Stop the server, and return its log."""
        self._process.stop()
        return "".join(self._process.lines)
