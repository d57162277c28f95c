"""Real Corefiles as data: a shape has a Corefile with its files, questions, and the answers that CoreDNS gives.

`tests/corefiles/README.md` explains the format. This module knows neither pydns nor CoreDNS.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import yaml

from tests.fakes.upstream import Script

HERE = Path(__file__).parent
CLUSTER: list[dict[str, Any]] = yaml.safe_load((HERE / "cluster.yaml").read_text())
UPSTREAMS: dict[str, dict[str, list[str]]] = yaml.safe_load((HERE / "upstreams.yaml").read_text())
CLIENT = "127.0.0.1"
CA_FILE = re.compile(r"/etc/pki/\S+")


class Shape(NamedTuple):
    """A Corefile with its files, its upstreams, and the expected answers."""

    name: str
    title: str
    corefile: str
    files: dict[str, str]  # path -> text of a file that the Corefile imports or reads
    environment: dict[str, str]
    upstreams: dict[str, str]  # address in the Corefile -> name of a fake upstream
    asks: list[dict[str, Any]]

    def replaced(self, text: str, addresses: Mapping[str, str], ca_file: str) -> str:
        """Return a text of the shape with the addresses of fake upstreams, and with the file of the fake CA."""
        for written, fake in self.upstreams.items():
            pattern = rf"(?<![\w.:]){re.escape(written)}(:\d+)?(?![\w.:])"
            text = re.sub(pattern, addresses[fake], text)
        return CA_FILE.sub(ca_file, text)


def read() -> list[Shape]:
    """Return all shapes."""
    return [_read(path) for path in sorted((HERE / "shapes").glob("*.yaml"))]


def _read(path: Path) -> Shape:
    document = yaml.safe_load(path.read_text())
    return Shape(
        path.stem,
        document.pop("title"),
        document.pop("Corefile"),
        document.pop("files", {}),
        document.pop("environment", {}),
        document.pop("upstreams"),
        document.pop("asks"),
        *document,  # an unknown key
    )


def answers(name: str) -> Script:
    """Return the script of a fake upstream. A name without a record doesn't exist."""
    records = [_rrset(line) for line in UPSTREAMS[name]["records"]]
    soas = [_rrset(line) for line in UPSTREAMS[name]["soa"]]

    def script(packet: bytes, _: str) -> Iterable[bytes]:
        query = dns.message.from_wire(packet)
        asked = query.question[0]
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        reply.answer = [each for each in records if (each.name, each.rdtype) == (asked.name, asked.rdtype)]
        if not reply.answer:
            reply.authority = [next(each for each in soas if asked.name.is_subdomain(each.name))]
            if all(each.name != asked.name for each in records):
                reply.set_rcode(dns.rcode.NXDOMAIN)
        yield reply.to_wire()

    return script


def _rrset(line: str) -> dns.rrset.RRset:
    owner, ttl, rtype, rdata = line.split(None, 3)
    return dns.rrset.from_text(owner, int(ttl), "IN", rtype, rdata)


def query(ask: Mapping[str, Any]) -> dns.message.Message:
    """Return the query of a case, with a fixed id."""
    qname, qtype = ask["ask"].split()
    return dns.message.make_query(qname, dns.rdatatype.from_text(qtype), id=0x1234, use_edns=0, payload=1232)


def described(reply: dns.message.Message | None) -> dict[str, Any]:
    """Return a reply in the form of the data: rcode, records, and the owner and TTL of the SOA record of a denial."""
    if reply is None:
        return {"reply": "none"}
    found: dict[str, Any] = {"rcode": dns.rcode.to_text(reply.rcode())}
    if reply.answer:
        found["answer"] = sorted(_lines(reply.answer))
    for each in reply.authority:
        if each.rdtype == dns.rdatatype.SOA:
            found["soa"] = f"{each.name} {each.ttl}"
    return found


def _lines(section: Iterable[dns.rrset.RRset]) -> Iterator[str]:
    for rrset in section:
        for rdata in rrset:
            words = rdata.to_text().split()
            if rrset.rdtype == dns.rdatatype.SOA:
                words[2] = "*"  # the serial is a time
            yield " ".join([str(rrset.name), str(rrset.ttl), dns.rdatatype.to_text(rrset.rdtype), *words])
