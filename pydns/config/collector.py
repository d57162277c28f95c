"""Parses the address of a dnstap collector."""

from pydns.config import texts
from pydns.config.mistakes import Wanted
from pydns.config.model import Collector

COLLECTOR = "unix:///PATH or tcp://IP:PORT"


def parse_collector(text: str) -> Collector | Wanted:
    """Parse the address of a collector. The path of a Unix socket may have at most 107 octets."""
    scheme, _, rest = text.partition("://")
    if scheme == "unix" and rest.startswith("/") and len(rest.encode(errors="surrogateescape")) <= 107:
        return Collector(text, path=rest) if "\0" not in rest else Wanted(COLLECTOR)
    if scheme == "tcp":
        address = texts.parse_server(rest)
        if isinstance(address, texts.Address) and address.ip is not None and address.port:
            return Collector(text, ip=address.ip, port=address.port)
    return Wanted(COLLECTOR)
