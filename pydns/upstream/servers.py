"""Makes the routes and the pools of servers for a configuration. A server that stays configured keeps its state.

This module does no I/O. If the configuration contains names of servers, the caller passes in their addresses.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import NamedTuple

from pydns.config.model import (
    AnyServer,
    Config,
    Excepted,
    NamedUpstream,
    ServersFile,
    ServerSpec,
    Transport,
    is_reached_from,
)
from pydns.dns import name
from pydns.dns.address import endpoint_text
from pydns.upstream.pool import Pool, Upstream, UpstreamSpec
from pydns.upstream.routes import Routes, RouteSpec

Addresses = Mapping[bytes, tuple[str, ...]]  # server name -> addresses
_Configured = tuple[ServerSpec, bool]  # a server, and whether clients get its AD bit


class Plan(NamedTuple):
    """The routes, and the pools of servers to which they lead."""

    routes: Routes
    pools: list[Pool]
    upstreams: dict[int, tuple[Upstream, ServerSpec]]  # index -> server, for all servers of the pools


class Servers:
    """The configured servers. A server that is also in a new configuration keeps its index and its state."""

    def __init__(self) -> None:
        self._known: dict[_Configured, Upstream] = {}
        self._next_index = 0

    def plan(self, config: Config, addresses: Addresses) -> Plan:
        """Return the plan for a configuration.

        A server that is given by name is left out while the name has no addresses.
        """
        used: dict[_Configured, Upstream] = {}
        trusted = config.dnssec.trust_ad
        pools = []
        specs = []
        if config.upstreams:
            configured = [each for found in config.upstreams for each in _resolved(found, addresses, trusted)]
            pools.append(Pool(self._take(configured, used), config.choice))
            specs.append(RouteSpec(name.ROOT, 0, config.except_, failover=frozenset(config.failover)))
        for route in config.routes:
            specs.append(
                RouteSpec(
                    route.domain,
                    len(pools),
                    route.except_,
                    next=frozenset(route.next_),
                    failover=frozenset(route.failover),
                    refuses=route.excepted is Excepted.REFUSED,
                )
            )
            configured = [each for found in route.servers for each in _resolved(found, addresses, trusted)]
            pools.append(Pool(self._take(configured, used), route.choice or config.choice))
        self._known = used
        upstreams = {upstream.index: (upstream, server) for (server, _), upstream in used.items()}
        return Plan(Routes(specs), pools, upstreams)

    def _take(self, servers: Iterable[_Configured], used: dict[_Configured, Upstream]) -> list[Upstream]:
        taken = {}
        for configured in servers:
            upstream = used.get(configured) or self._known.get(configured)
            if upstream is None:
                server, trusts_ad = configured
                how = server.transport, server.packets_per_second, server.case, server.edns, trusts_ad
                upstream = Upstream(self._next_index, UpstreamSpec(title(server), *how))
                self._next_index += 1
            taken[configured] = used[configured] = upstream
        return list(taken.values())


def names(config: Config) -> set[bytes]:
    """Return the names of servers in a configuration. The caller must find their addresses."""
    servers = chain(config.upstreams or (), *[route.servers for route in config.routes])
    return {each.qname for each in servers if isinstance(each, NamedUpstream)}


def title(server: ServerSpec) -> str:
    """Return the text that stands for a server in logs and metrics."""
    place = endpoint_text(server.ip, server.port)
    if server.transport is Transport.UDP:
        return place
    path = server.path if server.transport is Transport.HTTPS else ""
    return f"{server.transport.value}://{place}{path}" + (f"#{server.server_name}" if server.server_name else "")


def _resolved(server: AnyServer, addresses: Addresses, trusted: Collection[str]) -> list[_Configured]:
    if isinstance(server, ServerSpec):
        return [(server, server.ip in trusted)]
    # The worker's configuration contains the servers in the file, not the file itself.
    assert not isinstance(server, ServersFile)
    server_name = server.server_name
    if server_name is None and server.transport in (Transport.TLS, Transport.HTTPS):
        server_name = name.to_text(server.qname).rstrip(".")
    how = server.transport, server_name, server.packets_per_second, server.case, server.edns, server.tls, server.source
    found = [ip for ip in addresses.get(server.qname, ()) if is_reached_from(ip, server.source)]
    trusts_all = name.to_text(server.qname) in trusted
    return [(ServerSpec(ip, server.port, *how, server.path), trusts_all or ip in trusted) for ip in found]
