"""Zone files as Knot DNS reads them: the records that it serves, by AXFR."""

from collections.abc import Iterable
from pathlib import Path

import dns.exception
import dns.query
import dns.rdatatype
import dns.xfr
import dns.message
import dns.name
import dns.rcode

from tests.bench.servers import knot_configuration
from tests.daemons import serving
from tests.differential.zone_texts import ZoneText

Records = frozenset[tuple[bytes, int, int, bytes]]  # owner in lower case, type, TTL, RDATA

_READY = ZoneText("ready.example", "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\n")


def read(zones: Iterable[ZoneText]) -> dict[str, Records | None]:
    """Return the records of each zone, by its apex; None for a zone that Knot refuses."""
    zones = [*zones, _READY]

    def configure(directory: Path, port: int) -> list[str]:
        files = {}
        for zone in zones:
            files[zone.apex] = directory / f"{zone.apex}.zone"
            files[zone.apex].write_text(zone.text)
        text = knot_configuration(directory, port, files)
        text = text.replace(
            "template:\n", "acl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\ntemplate:\n"
        )
        text = text.replace("    journal-content: none\n", "    journal-content: none\n    acl: all\n")
        configuration = directory / "knot.conf"
        configuration.write_text(text)
        return ["--config", str(configuration)]

    with serving("knotd", configure, [(_READY.apex, "SOA")]) as port:
        return {zone.apex: _transfer(zone.apex, port) for zone in zones[:-1]}


def _transfer(apex: str, port: int) -> Records | None:
    query = dns.message.make_query(apex, "AXFR")
    found = set()
    import socket, struct

    s = socket.create_connection(("127.0.0.1", port))
    wire = query.to_wire()
    s.sendall(struct.pack("!H", len(wire)) + wire)
    f = s.makefile("rb")
    soas = 0
    from tests.differential.wire import records

    while soas < 2:
        n = f.read(2)
        if len(n) < 2:
            return None
        m = f.read(int.from_bytes(n, "big"))
        if m[3] & 15:
            return None
        for r in records(m):
            if r[1] == 6:
                soas += 1
            found.add(r)
    return frozenset(found)
