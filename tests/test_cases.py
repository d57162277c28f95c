"""The cases of tests/cases, answered in this process and over UDP and TCP. The test parses the replies with dnspython.

With PYDNS_TEST_SUBJECT=HOST:PORT, the queries over sockets go to another server. This server must serve the cluster of
the file (choose a file with -k). tests/cases/README.md explains how to write cases.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
import yaml

from tests.fakes.upstream import FakeUpstream, says
from tests.subject import LOOPBACK, Address, InProcess, Server, Subject, load, load_static

_SOA = "{apex} {ttl} SOA {mname} hostmaster.{domain} * 7200 1800 86400 {ttl}"
_APEXES = ["cluster.local.", "in-addr.arpa.", "ip6.arpa."]
_ID = 0x1234
_WAYS = ("in process, UDP", "in process, TCP", "UDP", "TCP")
_KEYS = {
    "name", "ask", "send", "opcode", "rd", "cd", "edns", "over", "client",
    "rcode", "flags", "opt", "answer", "authority", "additional", "reply",
}  # fmt: skip


class File(NamedTuple):
    """A cluster, the flags that it is served with, and questions about it."""

    path: Path
    cluster: list[Any]
    flags: list[str]
    ttl: int
    apexes: list[str]  # the cluster domain, and after it the reverse zones
    host: str  # the address that the server listens on
    zones: dict[str, str]  # file name -> text of a zone file
    mname: str  # the mname in the SOA records of the cluster's zones
    soa: dict[str, str]  # apex -> the SOA record in denials of the zone file's zone
    upstream: list[dict[str, Any]]  # answers of the upstream for names outside the zones
    config: dict[str, Any]  # the live configuration
    cases: list[dict[str, Any]]

    @property
    def origin(self) -> dns.name.Name:
        return dns.name.from_text(self.apexes[0])


def _read(path: Path) -> File:
    document = yaml.safe_load(path.read_text())
    known = {"cluster", "flags", "ttl", "apexes", "listen", "mname", "zones", "soa", "upstream", "config", "cases"}
    assert set(document) <= known
    return File(
        path,
        document["cluster"],
        document.get("flags", []),
        document.get("ttl", 5),
        document.get("apexes", _APEXES),
        document.get("listen", LOOPBACK),
        document.get("zones", {}),
        document.get("mname", "ns.dns." + document.get("apexes", _APEXES)[0]),
        document.get("soa", {}),
        document.get("upstream", []),
        document.get("config", {}),
        document["cases"],
    )


def _can_be_asked(file: File, case: dict[str, Any], *, in_process: bool) -> bool:
    return not file.upstream if in_process else case.get("client", LOOPBACK).startswith("127.")


FILES = [_read(path) for path in sorted(Path(__file__).with_name("cases").glob("*.yaml"))]
CASES = [
    pytest.param(
        file,
        case,
        way,
        id=f"{file.path.stem}: {case['name']} ({way})",
        marks=() if way.startswith("in process") else pytest.mark.processes,
    )
    for file in FILES
    for way in _WAYS
    for case in file.cases
    if way[-3:] in case.get("over", "UDP TCP") and _can_be_asked(file, case, in_process=way.startswith("in process"))
]
Subjects = Callable[[File, str], Subject]


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subjects]:
    """Return a function that returns the server of a file. The function starts the server on the first call."""
    started: dict[tuple[Path, bool], InProcess | Server] = {}
    upstreams: list[FakeUpstream] = []
    other = os.environ.get("PYDNS_TEST_SUBJECT")

    def find(file: File, way: str) -> Subject:
        in_process = way.startswith("in process")
        if other and not in_process:
            host, _, port = other.rpartition(":")
            return Address(host.strip("[]"), int(port), in_order=False)
        key = file.path, in_process
        if key not in started:
            if in_process:
                statics = load_static(file.zones, (), file.flags, file.config)
                zone = load(file.cluster, file.flags, file.host, file.config)
                started[key] = InProcess(tmp_path_factory.mktemp("state"), zone, statics=statics, config=file.config)
            elif file.upstream:
                upstreams.append(FakeUpstream(says(file.upstream, *file.soa.values())))
                # Nothing is cached, because TTLs of cached answers would count down from one case to the next.
                config = {"upstreams": [f"{LOOPBACK}:{upstreams[-1].port}"], "cache": {"entries": 0}, **file.config}
                server = Server(file.cluster, file.flags, file.host, file.zones, config)
                server.address = server.address._replace(silent=False)
                started[key] = server
            else:
                started[key] = Server(file.cluster, file.flags, file.host, file.zones, file.config or None)
        return started[key]

    yield find
    for each in (*started.values(), *upstreams):
        each.close()


@pytest.mark.parametrize("file", [pytest.param(file, id=file.path.stem) for file in FILES])
def test_cases_have_different_names_and_known_keys(file: File) -> None:
    names = [case["name"] for case in file.cases]
    assert len(set(names)) == len(names)
    for case in file.cases:
        assert set(case) <= _KEYS, case["name"]
        assert ("ask" in case) != ("send" in case), case["name"]


@pytest.mark.parametrize(("file", "case", "way"), CASES)
def test_a_question_gets_the_reply_of_its_case(file: File, case: dict[str, Any], way: str, subjects: Subjects) -> None:
    message = compose(file, case)
    reply = subjects(file, way).ask(message, tcp=way.endswith("TCP"), client=case.get("client", ""))
    if case.get("reply") == "none":
        assert reply is None
        return
    assert reply is not None
    if "ask" in case and case["rcode"] not in ("FORMERR", "NOTIMP"):
        end = 12 + len(_question(file, case)[0].to_wire() or b"") + 4
        assert reply[12:end] == message[12:end], "the reply has another question"
    assert _describe(reply) == _wanted(file, case, message)


def _question(file: File, case: dict[str, Any]) -> tuple[dns.name.Name, str, str]:
    qname, qtype, *qclass = case["ask"].split()
    return dns.name.from_text(qname, file.origin), qtype, qclass[0] if qclass else "IN"


def compose(file: File, case: dict[str, Any]) -> bytes:
    """Return the message of a case."""
    if "send" in case:
        return bytes.fromhex(case["send"])
    qname, qtype, qclass = _question(file, case)
    edns = case.get("edns")
    query = dns.message.make_query(qname, qtype, qclass, id=_ID)
    if edns is not None:
        options: list[dns.edns.Option] = [
            dns.edns.GenericOption(dns.edns.OptionType.make(code), bytes.fromhex(value))
            for code, value in edns.get("options", {}).items()
        ]
        query.use_edns(
            edns.get("version", 0), dns.flags.DO if edns.get("do") else 0, edns.get("size", 1232), options=options
        )
    query.flags = dns.flags.Flag(0) if case.get("rd") is False else dns.flags.RD
    if case.get("cd"):
        query.flags |= dns.flags.CD
    query.set_opcode(dns.opcode.from_text(case.get("opcode", "QUERY")))
    return query.to_wire()


def _describe(reply: bytes) -> dict[str, Any]:
    """Return the content of a reply, with each section as sorted lines."""
    message = dns.message.from_wire(reply)
    # dnspython drops duplicate records. The counts in the header include duplicates.
    counts = [int.from_bytes(reply[at : at + 2]) for at in (6, 8, 10)]
    sections = message.answer, message.authority, message.additional
    assert counts == [sum(map(len, each)) + (each is message.additional and message.edns >= 0) for each in sections]
    described: dict[str, Any] = {
        "id": message.id,
        "rcode": dns.rcode.to_text(message.rcode()),
        "flags": " ".join(sorted(dns.flags.to_text(message.flags).split())),
        "answer": _lines(message.answer),
        "authority": _lines(message.authority),
        "additional": _lines(message.additional),
        "opt": None,
    }
    if message.edns >= 0:
        errors = [
            f"{int(option.code)} {option.text or ''}".strip()
            for option in message.options
            if isinstance(option, dns.edns.EDEOption)
        ]
        others = [int(option.otype) for option in message.options if not isinstance(option, dns.edns.EDEOption)]
        described["opt"] = {
            "size": message.payload,
            "do": bool(message.ednsflags & dns.flags.DO),
            "errors": errors,
            "options": others,
        }
    return described


def _lines(section: list[dns.rrset.RRset]) -> list[str]:
    return sorted(
        _line(rrset.name, rrset.ttl, rdata.rdtype, rdata.to_text(), rdata.rdclass)
        for rrset in section
        for rdata in rrset
    )


def _line(owner: dns.name.Name, ttl: int, rtype: dns.rdatatype.RdataType, rdata: str, rdclass: int = 1) -> str:
    if rtype == dns.rdatatype.SOA:
        fields = rdata.split()
        rdata = " ".join([*fields[:2], "*", *fields[3:]])
    assert rdclass == dns.rdataclass.IN
    # Lower case, because a compressed owner name has the case of the question.
    return f"{owner} {ttl} {dns.rdatatype.to_text(rtype)} {rdata}".lower()


def _parse_line(text: str, origin: dns.name.Name) -> str:
    """Return a line of zone-file text in the same form as `_line`."""
    owner, ttl, rtype_text, rdata_text = text.split(None, 3)
    rtype = dns.rdatatype.from_text(rtype_text)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, rtype, rdata_text.replace(" * ", " 0 "), origin, relativize=False)
    return _line(dns.name.from_text(owner, origin), int(ttl), rtype, rdata.to_text())


def _wanted(file: File, case: dict[str, Any], message: bytes) -> dict[str, Any]:
    rcode = case["rcode"]
    answer = [_parse_line(line, file.origin) for line in case.get("answer", [])]
    authority = [_parse_line(line, file.origin) for line in case.get("authority", [])]
    if rcode in ("NODATA", "NXDOMAIN") and "authority" not in case:
        # If there are CNAMEs, the denial is for the last target.
        last = case["answer"][-1].split()[-1] if answer else case["ask"].split()[0]
        owner = str(dns.name.from_text(last, file.origin)).lower()
        apexes = [apex for apex in (*file.apexes, *file.soa) if f".{owner}".endswith(f".{apex}")]
        apex = max(apexes, key=len)
        soa = file.soa.get(apex) or _SOA.format(apex=apex, domain=file.apexes[0], ttl=file.ttl, mname=file.mname)
        authority = [_parse_line(soa, file.origin)]
    in_zone = rcode in ("NOERROR", "NODATA", "NXDOMAIN")
    asked_flags = "" if case.get("rd") is False else " RD"
    asked_flags += " CD" if case.get("cd") else ""
    if file.upstream:
        asked_flags += " RA"
        qname = _question(file, case)[0] if "ask" in case else file.origin
        in_zone = in_zone and qname.is_subdomain(file.origin)
    opt = None
    if "edns" in case and rcode not in ("FORMERR", "NOTIMP"):
        opt = {"size": 1232, "do": bool(case["edns"].get("do")), "errors": [], "options": [], **case.get("opt", {})}
    return {
        "id": int.from_bytes(message[:2]),
        "rcode": "NOERROR" if rcode == "NODATA" else rcode,
        "flags": " ".join(sorted(case.get("flags", f"QR{' AA' if in_zone else ''}{asked_flags}").split())),
        "answer": sorted(answer),
        "authority": sorted(authority),
        "additional": sorted(_parse_line(line, file.origin) for line in case.get("additional", [])),
        "opt": opt,
    }
