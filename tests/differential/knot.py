"""The records that Knot DNS serves for a zone file, fetched by AXFR."""

import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import dns.message
import dns.rdata
import dns.rdatatype
from dns.wire import Parser

from pydns.dns.rrset import SOA
from tests.bench.servers import knot_configuration
from tests.daemons import serving
from tests.differential.zone_texts import ZoneText

Record = tuple[bytes, int, int, bytes]  # owner in lower case, type, TTL, RDATA

_READY = ZoneText("ready.example", "@ 60 SOA ns host 1 2 3 4 5\n@ 60 NS ns\n")
_NAMES = {dns.rdatatype.MINFO: 2}  # types that dnspython doesn't know, with the number of names in their RDATA
_COMPRESSED = frozenset({2, 5, 6, 12, 15, 33, 39})  # types whose RDATA has names that may be compressed


def read(zones: Iterable[ZoneText]) -> dict[str, frozenset[Record] | None]:
    """Return a dict: zone apex -> the zone's records, or None if Knot refuses the zone."""
    zones = [*zones, _READY]

    def configure(directory: Path, port: int) -> list[str]:
        files = {zone.apex: directory / f"{zone.apex}.zone" for zone in zones}
        for zone in zones:
            files[zone.apex].write_text(zone.text, newline="")
        text = knot_configuration(directory, port, files)
        transfers = "acl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\ntemplate:\n"
        text = text.replace("template:\n", transfers).replace(
            "    semantic-checks", "    acl: all\n    semantic-checks"
        )
        configuration = directory / "knot.conf"
        configuration.write_text(text)
        return ["--config", str(configuration)]

    with serving("knotd", configure, [(_READY.apex, "SOA")]) as port:
        return {zone.apex: _transfer(zone.apex, port) for zone in zones[:-1]}


def _transfer(apex: str, port: int) -> frozenset[Record] | None:
    found: list[Record] = []
    query = dns.message.make_query(apex, "AXFR").to_wire()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as replies:
        connection.sendall(len(query).to_bytes(2) + query)
        while sum([rtype == SOA for _, rtype, _, _ in found]) < 2:  # the SOA is both the first and the last record
            reply = replies.read(int.from_bytes(replies.read(2)))
            if not reply or reply[3] & 0xF:
                return None
            found += _records(reply)
    return frozenset(found)


def _records(message: bytes) -> Iterator[Record]:
    """Yield the records of a message's answer section, with all names decompressed."""
    parser = Parser(message)
    parser.seek(12)
    for _ in range(int.from_bytes(message[4:6])):
        parser.get_name()
        parser.get_bytes(4)
    for _ in range(int.from_bytes(message[6:8])):
        owner = _name(parser)
        rtype, rdclass, ttl_s, length = parser.get_struct("!HHIH")
        end = parser.current + length
        if rtype in _NAMES:
            rdata = b"".join([_name(parser) for _ in range(_NAMES[rtype])])
        elif rtype in _COMPRESSED:
            with parser.restrict_to(length):
                rdata = dns.rdata.from_wire_parser(rdclass, rtype, parser).to_wire() or b""
        else:
            rdata = parser.get_bytes(length)
        parser.seek(end)
        yield owner.lower(), rtype, ttl_s, rdata


def _name(parser: Parser) -> bytes:
    return parser.get_name(decompress=True).to_wire() or b""
