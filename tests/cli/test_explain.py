"""`pydns explain` prints the reply that a client would get, and the reason for it. The cases are in explain.yaml."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.rrset
import msgspec
import pytest
import yaml

from pydns.cli.main import main
from pydns.cli.reasons import Witness
from pydns.config.inputs import read_file
from pydns.config.model import dump
from pydns.config.read import Accepted
from pydns.dns import name
from pydns.table.status import MAX_LISTED
from pydns.table.writer import Writer
from tests.fakes.upstream import FakeUpstream
from tests.running import SERVICE, Server
from tests.subject import InProcess, load, load_static
from tests.test_cases import FILES, File
from tests.waiting import until

TABLES = yaml.safe_load(Path(__file__).with_name("explain.yaml").read_text())
CASES = [pytest.param(number, case, id=case["name"]) for number, table in enumerate(TABLES) for case in table["cases"]]
_NOERROR = ("NODATA", "NOERROR with the CNAMEs alone", "a referral")
Explain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def explain(capsys: pytest.CaptureFixture[str]) -> Explain:
    """Return a function that runs `pydns explain` and returns its exit status, stdout and stderr."""

    def run(state_dir: Path, *arguments: str) -> tuple[int, str, str]:
        try:
            status = main(["explain", *arguments, "--state-dir", str(state_dir)])
        except SystemExit as error:
            status = int(error.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture(scope="module")
def state_dirs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a state directory for each of `TABLES`."""
    directories = []
    for each in TABLES:
        directories.append(tmp_path_factory.mktemp("state"))
        _write_table(directories[-1], each["table"])
    return directories


def _write_table(state_dir: Path, table: dict[str, Any]) -> None:
    read = read_file("config.yaml", json.dumps(table.get("config", {})).encode())
    assert isinstance(read, Accepted), read
    flags = table.get("flags", [])
    zone = load(table["cluster"], flags, config=table.get("config"))
    facts = zone.facts(serial=1, synced=table.get("synced", True))
    statics = load_static(table.get("zones", {}), read.config.hosts, flags)
    writer = Writer(state_dir, facts)
    writer.put_static(statics.contents, statics.zones)
    writer.replace(zone.contents, facts)
    # Like the controller, store an empty list if neither the configuration nor resolv.conf has upstreams.
    writer.put_config(dump(msgspec.structs.replace(read.config, upstreams=read.config.upstreams or ())))
    writer.put_status(json.dumps(table.get("status", {})).encode())
    writer.close()


@pytest.mark.parametrize(("table", "case"), CASES)
def test_a_name_is_explained_as_its_case_says(
    table: int, case: dict[str, Any], state_dirs: list[Path], explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parent)  # for resolv.conf
    status, said, complaint = explain(state_dirs[table], *case["explain"].split())

    assert re.sub(r"nothing for \d+ s", "nothing for AGE s", said) == case["says"]
    assert (status, complaint) == (case["exit"], "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["web..shop"], 'NAME: "web..shop" is not a domain name: it has an empty label'),
        (["x" * 64], f'NAME: "{"x" * 64}" is not a domain name: it has a label of more than 63 octets'),
        (["bücher.example"], "NAME: \"bücher.example\" is not a domain name: it has a character beyond ASCII: 'ü'"),
        (["web", "ADRESS"], 'TYPE: "ADRESS" is not a type of records, such as A, SRV or TYPE65'),
        (["web", "AXFR"], 'TYPE: "AXFR" is not a type of records, such as A, SRV or TYPE65'),
        (["web", "--namespace", "Shop"], '--namespace: "Shop" is not the name of a namespace'),
        (["web", "--pod", "web-0"], '--pod: "web-0" is not NAMESPACE/POD, such as shop/web-0'),
        (["web", "--resolver", "bind"], '--resolver: "bind" is not glibc, musl or go'),
        (["web", "--pod", "shop/web-0", "--client", "10.0.0.1"], "--pod and --client exclude each other"),
        (["web", "--pod-resolv-conf", "none"], "--pod-resolv-conf none: No such file or directory"),
    ],
)
def test_an_invalid_question_gives_one_line_and_exit_status_2(
    arguments: list[str], complaint: str, tmp_path: Path, explain: Explain
) -> None:
    assert explain(tmp_path, *arguments) == (2, "", f"pydns explain: {complaint}\n")


def test_a_missing_table_is_reported(tmp_path: Path, explain: Explain) -> None:
    complaint = f"pydns explain: {tmp_path}/table.mdb: no such file; is pydns running with this --state-dir?\n"
    assert explain(tmp_path, "web.") == (1, "", complaint)


def test_flags_have_variables(
    state_dirs: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYDNS_STATE_DIR", str(state_dirs[0]))
    monkeypatch.setenv("PYDNS_NAMESPACE", "shop")
    assert main(["explain", "cart"]) == 0
    assert "cart.shop.svc.cluster.local. 5 IN A 10.96.0.11" in capsys.readouterr().out


def test_pydns_explain_shows_only_similar_names(tmp_path: Path, explain: Explain) -> None:
    names = ["payments", *(f"other-{number}" for number in range(99))]
    cluster = [yaml.safe_load(SERVICE.format(name=each, address="10.96.0.1")) for each in names]
    _write_table(tmp_path, {"cluster": cluster})
    said = explain(tmp_path, "paymnets.shop.svc.cluster.local.")[1]
    assert said.endswith("Services there: 100, similar ones: payments\n")


def test_pydns_explain_shows_only_the_first_of_many_records(tmp_path: Path, explain: Explain) -> None:
    records = "".join(f"many 60 A 192.0.2.{number}\n" for number in range(30))
    _write_table(
        tmp_path, {"cluster": [], "zones": {"example.org.zone": f"@ 60 SOA ns admin 1 2 3 4 30\n@ 60 NS ns\n{records}"}}
    )
    said = explain(tmp_path, "many.example.org.")[1]
    assert said.count("many.example.org. 60 IN A") == 20
    assert "          and 10 more, see pydns dump\n" in said


def test_search_domains_that_make_a_name_too_long_are_left_out(state_dirs: list[Path], explain: Explain) -> None:
    qname = ".".join(["x" * 59] * 4)
    lines = explain(state_dirs[0], qname)[1].splitlines()
    assert [line.split()[0] for line in lines[1:]] == [f"{qname}.cluster.local.", f"{qname}."]


def test_labels_of_any_octets_are_explained(state_dirs: list[Path], explain: Explain) -> None:
    label = "\\000" * 63
    for above in ("", "pod.", "svc.", "shop.svc.", "shop.pod.", "api.shop.svc."):
        assert explain(state_dirs[0], f"{label}.{above}cluster.local.")[0] == 1


@pytest.mark.parametrize("file", [pytest.param(file, id=file.path.stem) for file in FILES])
def test_the_explained_reply_is_the_one_that_clients_get(file: File, tmp_path: Path) -> None:
    """Explain every question of tests/cases, and also questions for types whose number changes in lower case."""
    zone = load(file.cluster, file.flags, file.host, file.config)
    subject = InProcess(tmp_path, zone, statics=load_static(file.zones, (), file.flags))
    asked = {tuple(case["ask"].split()[:2]) for case in file.cases if "ask" in case}
    compared = 0
    with subject.reader.transaction() as transaction:
        witness = Witness(subject.reader, transaction)
        for qname_text, qtype_text in sorted(asked):
            qname = dns.name.from_text(qname_text, file.origin)
            qtype = dns.rdatatype.from_text(qtype_text)
            if dns.rdatatype.is_metatype(qtype):
                continue
            query = dns.message.make_query(qname, qtype)
            wire = subject.ask(query.to_wire(), tcp=True)
            assert wire is not None
            reply = dns.message.from_wire(wire)
            explained = witness.reply(name.from_text(str(qname).lower()), qtype)
            records = [_text(each, rdata) for each in reply.answer for rdata in each]
            assert sorted(each.lower() for each in explained.records) == sorted(records)
            assert explained.has_answer == any(each.rdtype == qtype for each in reply.answer)
            rcode = "NOERROR" if explained.said in _NOERROR else explained.said
            assert rcode == dns.rcode.to_text(reply.rcode()), qname
            compared += 1
    subject.close()
    assert compared


def _text(rrset: dns.rrset.RRset, rdata: dns.rdata.Rdata) -> str:
    return f"{rrset.name} {rrset.ttl} IN {dns.rdatatype.to_text(rrset.rdtype)} {rdata}".lower()


def test_json_contains_the_same_as_the_text(state_dirs: list[Path], explain: Explain) -> None:
    status, printed, _ = explain(state_dirs[0], "-o", "json", "api.shop", "--namespace", "default")
    found = json.loads(printed)
    answers = found["tried"]
    assert (status, found["has_answer"], found["search"], found["notes"]) == (0, True, "default", [])
    assert [(each["name"], each["reply"], each["cached_s"]) for each in answers] == [
        ("api.shop.default.svc.cluster.local.", "NXDOMAIN", 5),
        ("api.shop.svc.cluster.local.", "NOERROR", None),
    ]
    assert answers[1]["records"] == ["api.shop.svc.cluster.local. 5 IN A 10.96.0.10"]
    assert answers[1]["why"] == ["api is a Service in namespace shop"]
    status, printed, _ = explain(state_dirs[0], "-o", "json", "none.shop.svc.cluster.local.")
    found = json.loads(printed)
    assert (status, found["has_answer"], found["search"], len(found["tried"])) == (1, False, None, 1)


def test_a_full_list_of_services_without_endpoints_is_not_taken_as_complete(tmp_path: Path, explain: Explain) -> None:
    without = {f"Service shop/db-{number}": "no endpoints" for number in range(MAX_LISTED)}
    service = yaml.safe_load(SERVICE.format(name="web", address="10.96.0.1"))
    _write_table(tmp_path, {"cluster": [service], "status": {"without_endpoints": without}})
    said = explain(tmp_path, "db.shop.svc.cluster.local.")[1]
    assert "namespace shop has no Service db, or it is headless without a ready endpoint\n" in said


def test_names_that_a_running_server_leaves_out_are_explained(
    manifests: Path, tmp_path: Path, start: Callable[..., Server], explain: Explain
) -> None:
    (manifests / "elsewhere.yaml").write_text(SERVICE.format(name="web", address="10.96.1.2").replace("shop", "test"))
    zones = tmp_path / "zones"
    zones.mkdir()
    (zones / "example.org.zone").write_text("@ 60 SOA ns admin 1 2 3 4 30\n@ 60 NS ns\n")
    (manifests / "db.yaml").write_text(_DB)
    start(flags=["--namespaces", "shop", "--zones", str(zones)])

    def why(qname: str) -> str:
        return explain(tmp_path / "state", qname)[1].partition("from ")[2]

    until(lambda: "without a ready endpoint: 1 endpoint (1 not ready)\n" in why("db.shop.svc.cluster.local."), 20)
    assert "namespace test is not served; the served namespaces are: shop\n" in why("web.test.svc.cluster.local.")
    assert f"zone file {zones}/example.org.zone\n" in why("www.example.org.")
    assert why("web.shop.svc.cluster.local.").endswith("why       web is a Service in namespace shop\n")


_DB = """
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], conditions: {ready: false}}]
"""


def _answers(packet: bytes, how: str) -> list[bytes]:
    """Answer A. Over UDP, truncate the answer if the name begins with "long"."""
    query = dns.message.from_wire(packet)
    reply = dns.message.make_response(query)
    asked = query.question[0]
    if how == "udp" and asked.name.labels[0] == b"long":
        reply.flags |= dns.flags.TC
    elif asked.rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "A", "192.0.2.1"))
    return [reply.to_wire()]


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    with closing(FakeUpstream(_answers)) as fake:
        yield fake


def test_pydns_explain_asks_the_upstreams(tmp_path: Path, upstream: FakeUpstream, explain: Explain) -> None:
    at = f"127.0.0.1:{upstream.port}"
    _write_table(tmp_path, {"cluster": [], "config": {"upstreams": [at]}})

    status, out, _ = explain(tmp_path, "www.example.com.", "--ask")
    assert status == 0
    assert re.search(rf"asked {at}: NOERROR in [0-9.]+ ms; www.example.com. 60 IN A 192.0.2.1\n", out)
    status, out, _ = explain(tmp_path, "www.example.com.", "MX", "--ask")
    assert status == 1
    assert re.search(rf"asked {at}: NODATA in [0-9.]+ ms\n", out)
    status, out, _ = explain(tmp_path, "long.example.com.", "--ask")
    assert status == 0
    assert [how for _, how in upstream.asked[-2:]] == ["udp", "tcp"]
    asked = len(upstream.asked)
    assert explain(tmp_path, "www.example.com.")[0] == 1
    assert len(upstream.asked) == asked


def test_every_server_of_a_route_is_asked(tmp_path: Path, upstream: FakeUpstream, explain: Explain) -> None:
    at = f"127.0.0.1:{upstream.port}"
    servers = [{"address": "127.0.0.1:1", "transport": "tcp"}, "ns.example"]
    routes = {"split.example": {"servers": servers, "next": ["NXDOMAIN"]}}
    _write_table(tmp_path, {"cluster": [], "config": {"upstreams": [at], "routes": routes}})
    status, out, _ = explain(tmp_path, "www.split.example.", "--ask", "-o", "json")
    refused, named, answered = json.loads(out)["tried"][0]["asked"]
    assert status == 0
    assert refused.startswith("asked 127.0.0.1:1 tcp: ")
    assert "refused" in refused
    assert named == "asked ns.example.:53: no query, because --ask asks only servers with an address"
    assert answered.startswith(f"asked {at}: NOERROR in ")


def test_a_lookup_reads_resolv_conf_from_standard_input(
    tmp_path: Path, explain: Explain, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_table(tmp_path, {"cluster": []})
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b"search corp.example\noptions ndots:2\n")))
    explained = json.loads(explain(tmp_path, "--pod-resolv-conf", "-", "web", "-o", "json")[1])
    assert (explained["domains"], explained["ndots"]) == (["corp.example"], 2)
    assert [(each["name"], each["type"]) for each in explained["tried"]] == [
        (qname, rtype) for qname in ("web.corp.example.", "web.") for rtype in ("A", "AAAA")
    ]


def test_a_lookup_continues_according_to_the_answers_of_upstreams(
    tmp_path: Path, upstream: FakeUpstream, explain: Explain
) -> None:
    _write_table(tmp_path, {"cluster": [], "config": {"upstreams": [f"127.0.0.1:{upstream.port}"]}})
    status, out, _ = explain(tmp_path, "--pod", "shop/web-0", "www.example.com", "--ask")
    assert status == 0
    assert "\nresult    found: 4 names, 8 queries\n" in out
    upstream.close()
    status, out, _ = explain(tmp_path, "--pod", "shop/web-0", "www.example.com.", "--ask")
    assert status == 1
    assert "\nresult    temporary failure: 1 name, 2 queries\n" in out
    assert f"\nhint      no usable answer from 127.0.0.1:{upstream.port}: check the server" in out


def test_the_age_of_the_data_is_printed(tmp_path: Path, explain: Explain) -> None:
    service = yaml.safe_load(SERVICE.format(name="web", address="10.96.0.1"))
    status = {"time": time.time(), "kinds": {"Service": {"data_age_s": 2.0}, "EndpointSlice": {"data_age_s": 70.0}}}
    _write_table(tmp_path, {"cluster": [service], "status": status})
    out = explain(tmp_path, "--pod", "shop/web-0", "web")[1]
    (age,) = re.findall(r"^data      at most ([0-9.]+) s old$", out, re.MULTILINE)
    assert 70 <= float(age) < 130
    explained = json.loads(explain(tmp_path, "web.shop.svc.cluster.local.", "-o", "json")[1])
    assert explained["tried"][0]["age_s"] >= 70


def test_a_name_of_a_further_domain_is_complete(tmp_path: Path, explain: Explain) -> None:
    config: dict[str, Any] = {"domains": {"corp.internal": {}}}
    service = yaml.safe_load(SERVICE.format(name="web", address="10.96.0.1"))
    _write_table(tmp_path, {"cluster": [service], "config": config})
    status, out, _ = explain(tmp_path, "web.shop.svc.corp.internal")
    assert (status, out.splitlines()[0]) == (0, "question  web.shop.svc.corp.internal. A")


CLIENTS = {
    "upstreams": ["192.0.2.53"],
    "acl": [{"action": "block", "clients": ["10.1.0.0/16"]}],
    "views": [{"when": "incidr(client_ip(), '10.2.0.0/16')", "blocked": {"games.example": "nxdomain"}}],
}


@pytest.mark.parametrize(
    ("client", "reply", "why"),
    [
        ("10.1.0.7", "REFUSED", "acl[0] decides: block all types; clients 10.1.0.0/16"),
        ("10.2.0.7", "NXDOMAIN", "views[0] counts: incidr(client_ip(), '10.2.0.0/16')"),
        ("10.3.0.7", "forwarded", "games.example. is in no zone that pydns answers"),
        ("", "forwarded", "games.example. is in no zone that pydns answers"),
    ],
)
def test_rules_for_clients_are_explained(tmp_path: Path, explain: Explain, client: str, reply: str, why: str) -> None:
    _write_table(tmp_path, {"cluster": [], "config": CLIENTS})
    named = ["--client", client] if client else []
    explained = json.loads(explain(tmp_path, "games.example.", "-o", "json", *named)[1])
    (answer,) = explained["tried"]
    assert (answer["reply"], answer["why"][0]) == (reply, why)
    note = "`acl` or `views` may give a client another answer; name the client with --client"
    assert (note in explained["notes"]) == (not client)
