"""`python -m tests.offline [IP=PORT…] serve …`: run pydns, but send nothing to upstreams outside loopback.

A worker sends a query to each new upstream, to find out whether the upstream forwards to this worker. So a
configuration with 8.8.8.8 would send packets to 8.8.8.8. Here, queries to an IP that was given as IP=PORT go to that
port of 127.0.0.1 instead. Queries to all other upstreams go to a port where nothing listens.
"""

import sys
from ipaddress import ip_address

from msgspec.structs import replace

from pydns.cli.main import main
from pydns.config.model import ServerSpec
from pydns.serve.upstream_sockets import Upstreams

_NOBODY = 9


def _stay_here(ports: dict[str, int]) -> None:
    add = Upstreams.add

    def add_here(self: Upstreams, index: int, server: ServerSpec) -> None:
        if not ip_address(server.ip).is_loopback:
            server = replace(server, ip="127.0.0.1", port=ports.get(server.ip, _NOBODY))
        add(self, index, server)

    Upstreams.add = add_here  # type: ignore[method-assign]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    verb = arguments.index("serve")
    _stay_here({ip: int(port) for ip, _, port in (each.partition("=") for each in arguments[:verb])})
    sys.exit(main(arguments[verb:]))
