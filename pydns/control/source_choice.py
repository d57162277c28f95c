"""Opens the sources that the flags choose, and finds the addresses of this server."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydns.config.model import Families
from pydns.config.read import Surroundings
from pydns.config.selector import parse as parse_selector
from pydns.config.settings import Settings
from pydns.control.clock import Clock
from pydns.control.config_file import ConfigFile
from pydns.control.config_source import ConfigSource, Seen
from pydns.control.manifest_folder import ManifestFolder, Near
from pydns.control.source import Access, Deliver, Source, SourceChoice, SourceError, SourceKindStatus, SourceOptions
from pydns.dns.address import parse_address
from pydns.kube.kinds import NAMING_KINDS, RECORD_KINDS, Kind
from pydns.kube.objects import Options
from pydns.log import Log
from pydns.process.sources import SERVICE_ACCOUNT

if TYPE_CHECKING:
    from pydns.control.apiserver import Watched
    from pydns.control.health_events import HealthEvents

_NOT_A_POD = "kube-system"  # outside of a pod, pydns assumes the usual namespace of a cluster's DNS


class Chosen(NamedTuple):
    """The sources of the objects and of the configuration."""

    objects: SourceChoice
    config: ConfigSource | None  # None if there is no live configuration, only flags
    health: "HealthEvents | None" = None  # None if no Events about this server are posted


class Beside(NamedTuple):
    """A source that consists of two sources beside each other.

    The second source delivers the objects of the server's own namespace. The status of the second source isn't
    reported.
    """

    first: Source
    second: Source

    def start(self) -> None:
        """Start to deliver events."""
        self.first.start()
        self.second.start()

    def stop(self) -> None:
        """Stop delivering events."""
        self.first.stop()
        self.second.stop()

    def status(self) -> Mapping[Kind, SourceKindStatus]:
        """Return the status of the first source."""
        return self.first.status()

    def warnings(self) -> Sequence[str]:
        """Return the warnings of the first source."""
        return self.first.warnings()


def choose(settings: Settings, log: Log, deliver_config: Callable[[Seen], None]) -> Chosen:
    """Return the sources that the flags choose. Raises `SourceError`."""
    surroundings = Surroundings(settings.domain, os.environ, settings.lenient)
    config = ConfigFile(settings.config, deliver_config, surroundings) if settings.config else None
    if (directory := settings.manifests) is not None:

        def open_folder(options: SourceOptions, deliver: Deliver, deliver_near: Deliver) -> Source:
            if options.access is not None:
                return _open_further(options, options.access, deliver, log)
            near = Near(options.near, deliver_near) if options.near else None
            return ManifestFolder(
                directory,
                deliver,
                log,
                RECORD_KINDS + options.optional,
                label_selector=parse_selector(options.labels) if options.labels else None,
                namespace_selector=parse_selector(options.namespace_labels) if options.namespace_labels else None,
                options=_reading(options),
                near=near,
            )

        return Chosen(SourceChoice(str(directory), open_folder), config)
    # These modules import urllib3. A server with a folder of manifests doesn't need urllib3, so the imports are here.
    from pydns.control.api_client import connect
    from pydns.control.apiserver import ApiServer
    from pydns.control.config_map import ConfigMapWatch
    from pydns.control.events import EventPoster
    from pydns.control.health_events import HealthEvents, own_subject
    from pydns.control.kubeconfig import ConnectError

    try:
        client = connect(settings.kubeconfig, settings.context)
    except ConnectError as error:
        raise SourceError(str(error)) from None

    def open_server(options: SourceOptions, deliver: Deliver, deliver_near: Deliver) -> Source:
        if options.access is not None:
            return _open_further(options, options.access, deliver, log)
        everywhere = ApiServer(client, _watched(options), deliver, log)
        if options.near is None:
            return everywhere
        return Beside(everywhere, ApiServer(client, _watched_near(options.near), deliver_near, log))

    watch = None
    if settings.configmap:
        watch = ConfigMapWatch(client, settings.configmap, deliver_config, log, surroundings=surroundings)
    health = None
    if (about := own_subject(os.environ, next(iter(settings.configmap or ()), None))) is not None:
        health = HealthEvents(about, socket.gethostname(), EventPoster(client, log).post, Clock())
    return Chosen(SourceChoice(client.url, open_server), config or watch, health)


def _open_further(options: SourceOptions, access: Access, deliver: Deliver, log: Log) -> Source:
    """Return the source of a further cluster."""
    # The module is imported here, because a server without further clusters doesn't need it.
    from pydns.control.further_cluster import FurtherCluster

    return FurtherCluster(options.name, access, _watched(options), deliver, log)


def _watched(options: SourceOptions) -> "Watched":
    from pydns.control.apiserver import Watched

    unwanted = {Kind.POD: not (options.pods or options.client_pods), Kind.ENDPOINT_SLICE: not options.endpoints}
    kinds = tuple(kind for kind in RECORD_KINDS if not unwanted.get(kind)) + options.optional
    return Watched(
        kinds,
        options.labels,
        namespace_selector=options.namespace_labels,
        options=_reading(options),
        unaudited=frozenset([Kind.POD] if options.client_pods and not options.pods else []),
    )


def _watched_near(namespace: str) -> "Watched":
    from pydns.control.apiserver import Watched

    return Watched(NAMING_KINDS, namespace=namespace)


def _reading(options: SourceOptions) -> Options:
    return Options(
        options.endpoint_pod_names, options.client_pods, options.client_labels, options.topology, options.annotations
    )


def own_addresses(settings: Settings) -> tuple[bytes, ...]:
    """Return the addresses at which clients reach this server, as its flags configure them."""
    return tuple(dict.fromkeys(address for each in settings.listen if (address := _reached_at(each.host))))


def usable_families() -> frozenset[Families]:
    """Return the address families with which this server can reach the Internet.

    The routing table of this host shows these families. In a cluster with IPv4 and IPv6, a pod has addresses of both
    families, although `kubernetes.default` has only one address. A pod may have an IPv4 address that is valid only on
    the node. Such an address counts: on some platforms, an IPv6 pod needs it to reach IPv4 hosts.
    """
    reached = {Families.IPV4: _reached_at("0.0.0.0"), Families.IPV6: _reached_at("::")}
    return frozenset([family for family, address in reached.items() if address is not None])


def own_namespace(service_account: Path = SERVICE_ACCOUNT) -> str:
    """Return the namespace of the pod in which this server runs, or kube-system outside of a pod."""
    try:
        return (service_account / "namespace").read_text().strip() or _NOT_A_POD
    except (OSError, UnicodeDecodeError):
        return _NOT_A_POD


def _reached_at(host: str) -> bytes | None:
    """Return the address at which clients reach a listening `host`.

    For a wildcard address, return the source address of packets to the Internet.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if host in ("0.0.0.0", "::"):
        # Connecting a UDP socket sends no packet. The two addresses are reserved for documentation (RFC 5737, RFC
        # 3849).
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1" if family == socket.AF_INET else "2001:db8::1", 53))
            except OSError:  # no route exists, so this host has no address of this family
                return None
            host = probe.getsockname()[0]
    return parse_address(host)
