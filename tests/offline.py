"""`python -m tests.offline [IP=PORT…] serve …`: pydns, but nothing is sent to upstreams that aren't on loopback.

A worker asks each upstream that it gets whether it leads back to it, so a configuration with 8.8.8.8 would send there.
Upstreams with a given IP are asked at that port of 127.0.0.1 instead, others at a port where nothing listens.
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
