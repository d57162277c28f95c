"""`pydns diff --live` prints the answers that a configuration changes, before it is in force."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import msgspec
import pytest
import yaml

from pydns.cli.main import main
from pydns.cli.rehearsal import OF_CLUSTER, WITHOUT_ANSWERS, Rehearsal
from pydns.config.model import Config, SpecialName, dump
from pydns.process.ring_files import Rings
from pydns.table.reader import Reader
from pydns.table.writer import Writer
from tests.fakes.upstream import FakeUpstream
from tests.forwarding import answers
from tests.running import SERVICE, WEB, Server, query
from tests.subject import Address, load
from tests.waiting import until

pytestmark = pytest.mark.processes

A = 1
# All other fields of a configuration. A new one must be in one of the three lists.
COMPARED = {
    "upstreams",
    "except_",
    "failover",
    "choice",
    "routes",
    "hosts",
    "hosts_files",
    "zone_files",
    "blocked",
    "aliases",
    "acl",
    "views",
    "rewrites",
    "templates",
    "families",
    "dns64",
    "forwarded_special_names",
    "local_names",
    "any",
    "chaos",  # questions of class CH are left out if this differs
}
KEYS: dict[str, Any] = {
    "hosts": {"db.example": {"addresses": ["192.0.2.7"]}},
    "blocked": {"games.example": "nxdomain"},
}


class Running:
    """A pydns with two workers, an upstream, a folder of zone files and a hosts file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upstream = FakeUpstream(answers)
        self.state_dir = folder / "state"
        (folder / "manifests").mkdir()
        (folder / "manifests" / "web.yaml").write_text(SERVICE.format(name="web", address="10.96.1.1"))
        (folder / "zones").mkdir()
        (folder / "zones" / "corp.example.zone").write_text(
            "@ 60 SOA ns admin 1 2 3 4 30\n@ 60 NS ns\nwww 60 A 192.0.2.1\n"
        )
        (folder / "more.hosts").write_text("192.0.2.9 more.example\n")
        self.keys = {
            **KEYS,
            "upstreams": [f"127.0.0.1:{self.upstream.port}"],
            "hosts_files": [{"file": str(folder / "more.hosts")}],
        }
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(self.keys))
        source = ["--manifests", str(folder / "manifests"), "--zones", str(folder / "zones")]
        self.server = Server([*source, "--config", str(self.config)], self.state_dir, workers=2)
        until(lambda: self.ask("ready.example.com")[0] == 0)
        for count, qname, client in (
            (9, "db.example", "127.0.0.2"),
            (5, "x.games.example", "127.0.0.2"),
            (2, "x.games.example", "127.0.0.3"),
            (4, WEB, "127.0.0.3"),
            (3, "none.corp.example", "127.0.0.2"),
            (2, "more.example", "127.0.0.2"),
            (1, "www.example.com", "127.0.0.2"),
        ):
            for _ in range(count):
                self.ask(qname, client)
        # A worker writes its queries a moment after the replies.
        until(lambda: sum(each.client[-1] in (2, 3) for each in Rings(self.state_dir).new()) == 26)

    def ask(self, qname: str, client: str = "") -> tuple[int, list[str]]:
        """Send a query. Return the rcode and the addresses."""
        reply = Address("127.0.0.1", self.server.port, silent=False).ask(query(qname, A), tcp=False, client=client)
        assert reply is not None
        message = dns.message.from_wire(reply)
        return message.rcode(), sorted(str(rdata) for rrset in message.answer for rdata in rrset if rrset.rdtype == A)

    def write(self, keys: dict[str, Any]) -> Path:
        file = self.folder / "new.yaml"
        file.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
        return file

    def close(self) -> None:
        self.server.end()
        self.upstream.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    found = Running(tmp_path_factory.mktemp("diff"))
    yield found
    found.close()


def diff(running: Running, capsys: pytest.CaptureFixture[str], keys: dict[str, Any], *flags: str) -> tuple[int, Any]:
    """Return the exit status and what `pydns diff --live -o json` prints."""
    flags = ("--state-dir", str(running.state_dir), "--client", "127.0.0.2", *flags)
    status = main(["diff", "--live", *flags, "-o", "json", str(running.write(keys))])
    said = capsys.readouterr()
    assert not said.err
    return status, json.loads(said.out)


def changes(found: Any) -> list[tuple[str, int, str, str]]:
    return [
        (each["name"], each["queries"], each["before"]["reply"], each["after"]["reply"]) for each in found["changes"]
    ]


def test_the_configuration_in_force_changes_nothing(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = diff(running, capsys, running.keys)
    assert (status, found["changes"], found["not_compared"]) == (0, [], [])
    assert (found["queries"], found["questions"], found["forwarded"]) == (20, 5, 1)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"hosts": {"db.example": {"addresses": ["192.0.2.8"]}}}, [("db.example.", 9, "NOERROR", "NOERROR")]),
        (
            {"hosts": None, "blocked": None},
            [("db.example.", 9, "NOERROR", "forwarded"), ("x.games.example.", 5, "NXDOMAIN", "forwarded")],
        ),
        ({"hosts_files": None}, [("more.example.", 2, "NOERROR", "forwarded")]),
        ({"hosts": {"db.example": {"addresses": ["192.0.2.7"], "ttl": 7}}}, [("db.example.", 9, "NOERROR", "NOERROR")]),
        ({"aliases": {"*.corp.example": WEB}}, [("none.corp.example.", 3, "NXDOMAIN", "NOERROR")]),
        ({"rewrites": [f"name exact none.corp.example {WEB}"]}, [("none.corp.example.", 3, "NXDOMAIN", "NOERROR")]),
        (
            {"templates": [{"zones": ["corp.example"], "rcode": "SERVFAIL"}]},
            [("none.corp.example.", 3, "NXDOMAIN", "SERVFAIL")],
        ),
        ({"upstreams": ["192.0.2.53"]}, [("www.example.com.", 1, "forwarded", "forwarded")]),
        (
            {"routes": {"example.com": {"servers": ["192.0.2.53"]}}},
            [("www.example.com.", 1, "forwarded", "forwarded")],
        ),
        ({"acl": [{"action": "block", "clients": ["127.0.0.3"]}]}, []),
        (
            {"acl": [{"action": "drop", "within": ["games.example"]}]},
            [("x.games.example.", 5, "NXDOMAIN", "no reply")],
        ),
        (
            {"views": [{"when": "client_ip() == '127.0.0.2'", "blocked": {"example.com": "nodata"}}]},
            [("www.example.com.", 1, "forwarded", "NODATA")],
        ),
        ({"cache": {"entries": 5}, "log": {"queries": {}}}, []),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_changed_answers_are_printed_the_most_frequent_first(
    running: Running, capsys: pytest.CaptureFixture[str], keys: dict[str, Any], wanted: list[tuple[str, int, str, str]]
) -> None:
    status, found = diff(running, capsys, {**running.keys, **keys})
    assert (status, changes(found), found["not_compared"]) == (1 if wanted else 0, wanted, [])


def test_what_is_printed_is_what_clients_get_when_the_configuration_is_in_force(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {
        **running.keys,
        "hosts": {"db.example": {"addresses": ["192.0.2.8", "192.0.2.9"]}, WEB: {"addresses": ["192.0.2.10"]}},
        "blocked": {"games.example": "nodata"},
        "aliases": {"none.corp.example": WEB},
    }
    _, found = diff(running, capsys, keys)
    try:
        running.config.write_text(yaml.safe_dump(keys))
        until(lambda: running.ask("db.example", "127.0.0.4")[1] == ["192.0.2.8", "192.0.2.9"])
        rcodes = {"NOERROR": 0, "NODATA": 0, "NXDOMAIN": 3}
        assert [each["name"] for each in found["changes"]] == ["db.example.", "x.games.example.", "none.corp.example."]
        for each in found["changes"]:
            addresses = sorted([record.split()[-1] for record in each["after"]["records"]])
            until(lambda: running.ask(each["name"], "127.0.0.4") == (rcodes[each["after"]["reply"]], addresses))  # noqa: B023
    finally:
        running.config.write_text(yaml.safe_dump(running.keys))
        until(lambda: running.ask("db.example", "127.0.0.4")[1] == ["192.0.2.7"])


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"pods": "verified"}, "key `pods`: the cluster's records depend on it"),
        ({"external": {"k8s.example": {}}}, "key `external`: the cluster's records depend on it"),
        ({"domains": {"corp.internal": {}}}, "key `domains`: the cluster's records depend on it"),
        (
            {"routes": {"clusterset.local": {"servers": ["192.0.2.1"]}}},
            "zone clusterset.local. of ServiceImports is not served: a route has its names",
        ),
        ({"hosts_files": [{"file": "/nowhere/hosts"}]}, "hosts file /nowhere/hosts: No such file or directory"),
        ({"zone_files": ["/nowhere/a.example.zone"]}, "zone file /nowhere/a.example.zone: can't be read"),
        ({"upstreams": ["/nowhere/resolv.conf"]}, "file of nameservers /nowhere/resolv.conf: No such file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_compared_is_named_and_never_counts_as_equal(
    running: Running, capsys: pytest.CaptureFixture[str], keys: dict[str, Any], named: str
) -> None:
    names = ("--name", WEB) if "upstreams" in keys else ("--name", "db.example")
    status, found = diff(running, capsys, {**running.keys, **keys}, *names)
    assert status == 3
    assert any(each.startswith(named) for each in found["not_compared"]), found["not_compared"]


def test_missing_zone_files_of_the_server_are_named(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = (running.folder / "zones").rename(running.folder / "elsewhere")
    try:
        status, found = diff(running, capsys, running.keys)
    finally:
        elsewhere.rename(running.folder / "zones")
    assert (status, found["changes"]) == (3, [])
    assert [each.partition(":")[0] for each in found["not_compared"]] == ["zone files", "zone files and hosts"]


def test_another_ttl_changes_answers_of_the_cluster(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--client", "127.0.0.3"
    assert diff(running, capsys, {**running.keys, "ttl": 5}, *flags)[0] == 0  # the default of the flag
    status, found = diff(running, capsys, {**running.keys, "ttl": 6}, *flags)
    assert (status, changes(found)) == (1, [(f"{WEB}.", 4, "NOERROR", "NOERROR")])
    assert found["changes"][0]["after"]["records"] == [f"{WEB}. 6 IN A 10.96.1.1"]


def test_clients_with_the_same_change_are_one_row(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    for client in ("127.0.0.6", "127.0.0.6", "127.0.0.7"):
        running.ask("y.games.example", client)
    flags = ("--live", "--state-dir", str(running.state_dir), "--name", "y.games.example", "-o", "json")

    def row(keys: dict[str, Any]) -> tuple[Any, ...]:
        main(["diff", *flags, str(running.write({**running.keys, **keys}))])
        rows = json.loads(capsys.readouterr().out)["changes"]
        return tuple([(each["queries"], each["clients"]) for each in rows])

    until(lambda: row({"blocked": None}) == ((3, 2),))  # a worker writes its queries a moment later
    assert row({"acl": [{"action": "block", "clients": ["127.0.0.6"]}]}) == ((2, 1),)
    refused = [{"zones": ["games.example"], "rcode": "REFUSED"}]
    assert row({"views": [{"when": "client_ip() != '10.0.0.1'", "templates": refused}]}) == ((3, 2),)


def test_questions_of_other_classes_count_only_if_their_answers_may_change(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    version = dns.message.make_query("version.bind", "TXT", rdclass="CH").to_wire()
    address = Address("127.0.0.1", running.server.port, silent=False)
    assert address.ask(version, tcp=False, client="127.0.0.5") is not None
    flags = "--client", "127.0.0.5"
    until(lambda: diff(running, capsys, {**running.keys, "chaos": {}}, *flags)[1]["not_compared"])
    assert diff(running, capsys, running.keys, *flags)[0] == 0
    status, found = diff(running, capsys, {**running.keys, "chaos": {}}, *flags)
    assert (status, found["not_compared"]) == (3, ["1 queries: zone transfers, and classes other than IN"])


def test_the_text_shows_both_answers_and_says_that_no_upstream_was_asked(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--state-dir", str(running.state_dir), "--client", "127.0.0.2"]
    assert main(["diff", "--live", *flags, str(running.write({**running.keys, "hosts": None}))]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "9 of 20 queries (45%) would get another answer, by 1 of 5 questions",
        "      9  db.example. A  from 127.0.0.2",
        "         now   NOERROR, from hosts of the configuration",
        "               db.example. 60 IN A 192.0.2.7",
        f"         then  forwarded to upstreams 127.0.0.1:{running.upstream.port}",
        "               db.example. is in no zone that pydns answers",
        f"               upstreams 127.0.0.1:{running.upstream.port}",
        "note: upstreams aren't asked: a forwarded question changes if other servers or rules apply to it",
    ]
    assert main(["diff", "--live", *flags, str(running.write(running.keys))]) == 0
    assert capsys.readouterr().out.startswith("no answer would change: 20 queries, 5 questions\n")
    assert main(["diff", "--live", *flags, str(running.write({**running.keys, "pods": "verified"}))]) == 3
    assert capsys.readouterr().out.startswith("no answer that could be compared would change: ")


def test_a_configuration_is_read_from_standard_input(
    running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = "kubernetes cluster.local", "hosts {", "192.0.2.8 db.example", "fallthrough", "}", "forward . 192.0.2.53"
    corefile = "\n".join([".:53 {", *blocks, "}\n"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(corefile.encode())))
    flags = ["--state-dir", str(running.state_dir), "--name", "db.example", "-o", "json"]
    assert main(["diff", "--live", *flags, "-"]) == 1
    (row,) = json.loads(capsys.readouterr().out)["changes"]
    assert row["after"]["records"] == ["db.example. 3600 IN A 192.0.2.8"]


def test_a_configuration_with_mistakes_is_refused(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    file = running.write({"upstreams": ["10.0.0.300"], "nope": 1})
    assert main(["diff", "--live", "--state-dir", str(running.state_dir), str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in said[:-1]] == ["new.yaml", "new.yaml"]
    assert said[-1] == "pydns diff: pydns would not put this configuration into force"


def test_a_server_of_external_zones_compares_only_what_it_uses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"external": {"k8s.example": {}}, "hosts": {"db.example": {"addresses": ["192.0.2.7"]}}, "ttl": 9}
    (tmp_path / "manifests").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(keys))
    source = ["--manifests", str(tmp_path / "manifests"), "--config", str(tmp_path / "config.yaml")]
    server = Server([*source, "--answer", "external"], tmp_path / "state")
    try:
        assert server.ask("none.k8s.example") is not None
        until(lambda: Rings(tmp_path / "state").new())
        flags = ["diff", "--live", "--state-dir", str(tmp_path / "state"), "-o", "json"]
        assert main([*flags, str(tmp_path / "config.yaml")]) == 0
        assert json.loads(capsys.readouterr().out)["not_compared"] == []
        changed = tmp_path / "new.yaml"
        changed.write_text(yaml.safe_dump({**keys, "hosts": {"none.k8s.example": {"addresses": ["192.0.2.8"]}}}))
        assert main([*flags, str(changed)]) == 0
        changed.write_text(yaml.safe_dump({**keys, "acl": [{"action": "block"}]}))
        assert main([*flags, str(changed)]) == 1
    finally:
        server.end()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new.yaml"], "--live is missing: only the answers to recent queries can be compared"),
        (["--live", "--since", "soon", "new.yaml"], '--since: "soon" is not a duration'),
        (["--live", "/nowhere/new.yaml"], "table.mdb: no such file"),
    ],
)
def test_an_impossible_comparison_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["diff", "--state-dir", str(tmp_path), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_missing_file_or_missing_queries_end_with_status_2(
    running: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "--live", "--state-dir", str(running.state_dir), "/nowhere/new.yaml"]) == 2
    assert capsys.readouterr().err == "pydns diff: /nowhere/new.yaml: No such file or directory\n"
    (tmp_path / "table.mdb").write_bytes((running.state_dir / "table.mdb").read_bytes())
    assert main(["diff", "--live", "--state-dir", str(tmp_path), str(running.write(running.keys))]) == 2
    assert "has no recent queries" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("synced", "unknown"), [(True, ()), (False, ("names of the cluster: it has not been listed yet",))]
)
def test_a_cluster_that_has_not_been_listed_is_named(tmp_path: Path, synced: bool, unknown: tuple[str, ...]) -> None:
    config = dump(Config(upstreams=(), forwarded_special_names=tuple(SpecialName)))
    zone = load([])
    writer = Writer(tmp_path, zone.facts(serial=1, synced=synced))
    writer.replace(zone.contents, zone.facts(serial=1, synced=synced))
    writer.put_config(config, config)
    writer.close()
    reader = Reader(tmp_path)
    assert Rehearsal(reader, tmp_path / "resolv.conf").check().unknown == unknown
    reader.close()


def test_every_field_of_a_configuration_is_compared_or_named() -> None:
    fields = [each.name for each in msgspec.structs.fields(Config)]
    assert sorted([*OF_CLUSTER, *WITHOUT_ANSWERS, *COMPARED]) == sorted(fields)
