"""Knot DNS and pydns give the same answers to the same questions about the same zone files."""

import re
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import yaml

from tests.bench.servers import knot_configuration
from tests.daemons import serving
from tests.subject import InProcess, load, load_static

# Knot doesn't support $GENERATE.
_FILES: dict[str, str] = {
    file: re.sub(r"\$GENERATE.*", "", text)
    for file, text in yaml.safe_load((Path(__file__).parent / "cases" / "zones.yaml").read_text())["zones"].items()
    if not file.startswith("10.")
}
_TYPES = (
    "A",
    "AAAA",
    "NS",
    "MX",
    "TXT",
    "SOA",
    "CNAME",
    "DS",
    "SRV",
    "HTTPS",
    "DNAME",
    "CAA",
    "SPF",
    "TYPE97",
    "TYPE65400",
)
_NAMES = [
    "example.org",
    "ns.example.org",
    "mail.example.org",
    "www.example.org",
    "web.example.org",
    "x.web.example.org",
    "nothing.example.org",
    "caa.example.org",
    "svc.example.org",
    "spf.example.org",
    "odd.example.org",
    "hidden97.example.org",
    "_sip._tcp.example.org",
    "_tcp.example.org",
    "a.b.ent.example.org",
    "b.ent.example.org",
    "ent.example.org",
    "c.ent.example.org",
    "c.b.ent.example.org",
    "tonothing.example.org",
    "out.example.org",
    "wild.example.org",
    "*.wild.example.org",
    "any.wild.example.org",
    "any.thing.wild.example.org",
    "one.wild.example.org",
    "x.one.wild.example.org",
    "er.wild.example.org",
    "deep.er.wild.example.org",
    "x.er.wild.example.org",
    "x.*.wild.example.org",
    "any.alias.example.org",
    "any.far.example.org",
    "alias.example.org",
    "sub.example.org",
    "ns.sub.example.org",
    "x.sub.example.org",
    "a.b.c.sub.example.org",
    "unsigned.example.org",
    "x.unsigned.example.org",
    "tosub.example.org",
    "moved.example.org",
    "any.moved.example.org",
    "one.moved.example.org",
    "x.one.moved.example.org",
    "example.net",
    "www.example.net",
    "inner.example.net",
    "y.inner.example.net",
    "x.inner.example.net",
    "below.example.net",
]
# The parent zone is responsible for DS and should deny it (RFC 4035 section 3.1.4.1). No zone here is signed.
_DIFFERENCES = {("inner.example.net", "DS")}


@pytest.fixture(scope="module")
def knot() -> Iterator[int]:
    def configure(directory: Path, port: int) -> list[str]:
        zones = {}
        for file, text in _FILES.items():
            (directory / file).write_text(text)
            apex = "example.net" if file == "net.zone" else file.removesuffix(".zone")
            zones[apex] = directory / file
        configuration = directory / "knot.conf"
        configuration.write_text(knot_configuration(directory, port, zones))
        return ["--config", str(configuration)]

    ready = [(apex, "SOA") for apex in ("example.org", "example.net", "inner.example.net")]
    with serving("knotd", configure, ready) as port:
        yield port


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    subject = InProcess(tmp_path_factory.mktemp("state"), load([]), statics=load_static(_FILES))
    yield subject
    subject.close()


@pytest.mark.parametrize("qname", _NAMES)
def test_pydns_and_knot_give_the_same_answer(qname: str, knot: int, ours: InProcess) -> None:
    for rtype in _TYPES:
        query = dns.message.make_query(qname + ".", rtype, use_edns=0, payload=1232)
        theirs = dns.query.udp(query, "127.0.0.1", port=knot, timeout=5)
        reply = ours.ask(query.to_wire(), tcp=False)
        assert reply is not None
        if (qname, rtype) not in _DIFFERENCES:
            assert _said(dns.message.from_wire(reply)) == _said(theirs), f"{qname} {rtype}"


def _said(message: dns.message.Message) -> tuple[str, bool, set[str], set[str], set[str]]:
    sections = [set(_lines(section)) for section in (message.answer, message.authority, message.additional)]
    return dns.rcode.to_text(message.rcode()), bool(message.flags & dns.flags.AA), sections[0], sections[1], sections[2]


def _lines(section: list[dns.rrset.RRset]) -> Iterator[str]:
    for rrset in section:
        for rdata in rrset:
            yield f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}".lower()
