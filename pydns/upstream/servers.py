"""Routes and pools of servers for a configuration, and which servers stay, come and go with a new one.

Pure: addresses of servers that are known by name are passed in.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pydns.config.model import Config, NamedUpstream, ServerSpec, Transport
from pydns.dns import name
from pydns.dns.address import endpoint_text
from pydns.upstream.pool import Pool, Upstream, UpstreamSpec
from pydns.upstream.routes import Routes, RouteSpec

Addresses = Mapping[bytes, tuple[str, ...]]  # server name -> addresses


class Plan(NamedTuple):
    """The servers for each question."""

    routes: Routes
    pools: list[Pool]
    upstreams: dict[int, tuple[Upstream, ServerSpec]]  # index -> server, all servers of the pools


class Servers:
    """Every server that has been configured. A server that stays configured keeps its index and its state."""

    def __init__(self) -> None:
        self._known: dict[ServerSpec, Upstream] = {}
        self._next_index = 0

    def plan(self, config: Config, addresses: Addresses) -> Plan:
        """Return the plan for a configuration. A server name without addresses is left out until it has some."""
        used: dict[ServerSpec, Upstream] = {}
        pools = []
        specs = []
        if config.upstreams:
            pools.append(Pool(self._take(config.upstreams, used), config.choice))
            specs.append(RouteSpec(name.ROOT, 0))
        for route in config.routes:
            specs.append(RouteSpec(route.domain, len(pools), route.except_, route.on_nxdomain))
            servers = [each for found in route.servers for each in _resolved(found, addresses)]
            pools.append(Pool(self._take(servers, used), route.choice or config.choice))
        self._known = used
        return Plan(Routes(specs), pools, {upstream.index: (upstream, server) for server, upstream in used.items()})

    def _take(self, servers: Iterable[ServerSpec], used: dict[ServerSpec, Upstream]) -> list[Upstream]:
        taken = {}
        for server in servers:
            upstream = used.get(server) or self._known.get(server)
            if upstream is None:
                spec = UpstreamSpec(
                    title(server), server.transport, server.packets_per_second, server.case, server.edns
                )
                upstream = Upstream(self._next_index, spec)
                self._next_index += 1
            taken[server] = used[server] = upstream
        return list(taken.values())


def names(config: Config) -> set[bytes]:
    """Return the names of servers, which have to be resolved."""
    return {each.qname for route in config.routes for each in route.servers if isinstance(each, NamedUpstream)}


def title(server: ServerSpec) -> str:
    """Return the name of a server in logs and metrics."""
    place = endpoint_text(server.ip, server.port)
    if server.transport is Transport.UDP:
        return place
    return f"{server.transport.value}://{place}" + (f"#{server.server_name}" if server.server_name else "")


def _resolved(server: ServerSpec | NamedUpstream, addresses: Addresses) -> list[ServerSpec]:
    if isinstance(server, ServerSpec):
        return [server]
    server_name = server.server_name
    if server_name is None and server.transport is Transport.TLS:
        server_name = name.to_text(server.qname).rstrip(".")
    how = server.transport, server_name, server.packets_per_second, server.case, server.edns, server.tls
    return [ServerSpec(ip, server.port, *how) for ip in addresses.get(server.qname, ())]
