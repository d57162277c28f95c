"""Running processes serve zone files without the cluster, follow their changes, and show them in the status."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from pydns.cli.dump import dump
from pydns.cli.status import status
from tests.fakes.apiserver import FakeApiServer
from tests.waiting import PATIENCE_S, until

_SOA = "@ 60 SOA ns admin {} 2 3 4 5\n@ 60 NS ns\n"
_FLAGS = ["--listen", "127.0.0.1:0", "--workers", "1", "--log-format", "json"]


class Running:
    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process = process
        self._log = log
        self.wait_until(lambda: self.logged("listening"))
        self._port = int(self.logged("listening")[0]["address"].rpartition(":")[2])

    def logged(self, event: str) -> list[dict[str, str]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def wait_until(self, holds: Callable[[], object]) -> None:
        def holds_or_ended() -> object:
            assert self._process.poll() is None, self._log.read_text()
            return holds()

        until(holds_or_ended, PATIENCE_S, self._log.read_text)

    def ask(self, qname: str) -> str:
        try:
            reply = dns.query.udp(dns.message.make_query(qname, "A"), "127.0.0.1", port=self._port, timeout=PATIENCE_S)
        except (dns.exception.Timeout, OSError):
            return ""
        return str(reply.answer[0][0]) if reply.answer else dns.rcode.to_text(reply.rcode())

    def until(self, qname: str, wanted: str) -> None:
        self.wait_until(lambda: self.ask(qname) == wanted)


@contextmanager
def running(directory: Path, *flags: str) -> Iterator[Running]:
    state_dir, log = directory / "state", directory / "log"
    state_dir.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pydns", "serve", *_FLAGS, "--state-dir", str(state_dir), *flags]
    command += ["--health", "off", "--ready", "off", "--metrics", "off", "--drain-quiet", "0"]
    with log.open("wb") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            yield Running(process, log)
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "example.org.zone").write_text(
        _SOA.format(1) + "www 60 A 192.0.2.1\nsub 60 NS ns.sub\nns.sub 60 A 192.0.2.9\n"
    )
    return folder


def test_zones_are_served_and_followed_while_the_cluster_cannot_be_listed(tmp_path: Path, zones: Path) -> None:
    with FakeApiServer() as api:
        kubeconfig = api.kubeconfig(tmp_path)  # the API server stops at the end of this block
    with running(tmp_path, "--kubeconfig", str(kubeconfig), "--zones", str(zones)) as seen:
        seen.until("www.example.org", "192.0.2.1")
        assert seen.ask("none.example.org") == "NXDOMAIN"
        assert seen.ask("none.shop.svc.cluster.local") == "SERVFAIL"
        (zones / "example.org.zone").write_text(_SOA.format(2) + "www 60 A 192.0.2.2")
        seen.until("www.example.org", "192.0.2.2")
        (zones / "example.org.zone").write_text(_SOA.format(3) + "www 60 A nonsense")
        seen.wait_until(lambda: seen.logged("zone file has a mistake"))
        assert seen.ask("www.example.org") == "192.0.2.2"
        (zones / "example.net.zone").write_text(_SOA.format(1) + "www 60 A 192.0.2.3")
        seen.until("www.example.net", "192.0.2.3")
        (zones / "example.net.zone").unlink()
        seen.until("www.example.net", "REFUSED")


def test_zones_are_served_with_the_cluster_and_listed_in_the_status(tmp_path: Path, zones: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    service = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.10}}"
    (manifests / "web.yaml").write_text(service)
    (zones / "cluster.local.zone").write_text(_SOA.format(1))
    (zones / "broken.zone").write_text("nonsense")
    with running(tmp_path, "--manifests", str(manifests), "--zones", str(zones)) as seen:
        seen.until("web.shop.svc.cluster.local", "10.96.0.10")
        assert seen.ask("www.example.org") == "192.0.2.1"
        (manifests / "web.yaml").write_text(service.replace("10.96.0.10", "10.96.0.11"))
        seen.until("web.shop.svc.cluster.local", "10.96.0.11")
        assert seen.ask("www.example.org") == "192.0.2.1"
        refused = "cluster.local. serial 1, 2 records; cluster.local. is in the cluster domain"
        # The status is updated once a second.
        seen.wait_until(lambda: f"  {zones}/cluster.local.zone: {refused}" in status(tmp_path / "state"))
        said = list(status(tmp_path / "state"))
        assert "zones     3 files, 7 records" in said
        assert f"  {zones}/example.org.zone: example.org. serial 1, 5 records" in said
        assert f"  {zones}/cluster.local.zone: {refused}" in said
        assert any(line.startswith(f"  {zones}/broken.zone: not served; {zones}/broken.zone:1: ") for line in said)
        for number in range(
            8
        ):  # Now there are eleven files, so the log no longer has a line for each file without mistakes.
            (zones / f"example{number}.zone").write_text(_SOA.format(1))
        seen.wait_until(lambda: "zones     11 files, 23 records" in status(tmp_path / "state"))
        said = [line for line in status(tmp_path / "state") if line.startswith(f"  {zones}/")]
        assert [line.partition(".zone:")[0] for line in said] == [f"  {zones}/broken", f"  {zones}/cluster.local"]
        printed = list(dump(tmp_path / "state"))
        for line in (
            "example.org. 60 IN SOA ns.example.org. admin.example.org. 1 2 3 4 5",
            "www.example.org. 60 IN A 192.0.2.1",
            "sub.example.org. 60 IN NS ns.sub.example.org.",
            "ns.sub.example.org. 60 IN A 192.0.2.9",
        ):
            assert printed.count(line) == 1
    with running(tmp_path, "--manifests", str(manifests)) as seen:
        seen.until("web.shop.svc.cluster.local", "10.96.0.11")
        assert seen.ask("www.example.org") == "REFUSED"


def test_zones_of_the_configuration_are_served_with_those_of_the_folder(tmp_path: Path, zones: Path) -> None:
    manifests, config, file = (tmp_path / each for each in ("manifests", "config", "db.lab"))
    manifests.mkdir()
    config.mkdir()
    file.write_text(_SOA.format(1) + "www 60 A 192.0.2.50")
    (config / "config.yaml").write_text(
        f"zone_files: [{{file: db.corp, zone: corp.example}}, {{file: {file}, zone: lab.example, fallthrough: true}}]\n"
        "upstreams: ['127.0.0.1:1']\n"
    )
    (config / "db.corp").write_text(_SOA.format(1) + "www 60 A 192.0.2.30")
    (config / "example.net.zone").write_text(_SOA.format(1) + "www 60 A 192.0.2.40")
    with running(tmp_path, "--manifests", str(manifests), "--config", str(config), "--zones", str(zones)) as seen:
        for qname, address in (
            ("www.corp.example", "192.0.2.30"),
            ("www.example.net", "192.0.2.40"),
            ("www.lab.example", "192.0.2.50"),
            ("www.example.org", "192.0.2.1"),
            ("none.corp.example", "NXDOMAIN"),
            ("none.lab.example", "SERVFAIL"),  # forwarded to the upstream, which doesn't answer
        ):
            seen.until(qname, address)
        (config / "db.corp").write_text(_SOA.format(2) + "www 60 A 192.0.2.31")
        seen.until("www.corp.example", "192.0.2.31")
        (config / "db.corp").write_text(_SOA.format(2) + "www 60 A nonsense")
        (config / "example.net.zone").write_text(_SOA.format(2) + "www 60 A 192.0.2.41")
        file.write_text("$INCLUDE other\n" + _SOA.format(2))
        seen.until("www.example.net", "192.0.2.41")
        seen.wait_until(lambda: len(seen.logged("zone file has a mistake")) == 2)
        assert [seen.ask("www.corp.example"), seen.ask("www.lab.example")] == ["192.0.2.31", "192.0.2.50"]
        # The status is updated once a second.
        said = "  db.corp (corp.example.): corp.example. serial 2, 3 records; db.corp:3: "
        seen.wait_until(lambda: any(line.startswith(said) for line in status(tmp_path / "state")))
        (config / "config.yaml").write_text("{}")
        seen.until("www.corp.example", "REFUSED")
        assert seen.ask("www.example.net") == "192.0.2.41"


def test_hosts_of_files_are_served_and_followed_and_other_names_are_denied(tmp_path: Path) -> None:
    manifests, config, file = (tmp_path / each for each in ("manifests", "config", "hosts"))
    manifests.mkdir()
    config.mkdir()
    file.write_text("10.0.0.1 a.corp.example\n")
    (config / "Corefile").write_text(
        f"corp.example {{\n hosts {file} {{\n ttl 30\n}}\n}}\n"
        ". {\n hosts NodeHosts {\n fallthrough\n}\n forward . 127.0.0.1:1\n}\n"
    )
    (config / "NodeHosts").write_text("10.0.0.7 Node7.example  # the seventh\n")
    with running(tmp_path, "--manifests", str(manifests), "--config", str(config)) as seen:
        seen.until("a.corp.example", "10.0.0.1")
        seen.until("node7.example", "10.0.0.7")
        assert [seen.ask(each) for each in ("b.corp.example", "corp.example")] == ["NXDOMAIN", "NOERROR"]
        assert seen.ask("node8.example") == "SERVFAIL"
        file.write_text("10.0.0.2 a.corp.example b.corp.example\n")
        seen.until("b.corp.example", "10.0.0.2")
        assert seen.ask("a.corp.example") == "10.0.0.2"
        file.unlink()
        seen.wait_until(lambda: seen.logged("hosts file can't be read"))
        assert seen.ask("a.corp.example") == "10.0.0.2"
        (config / "NodeHosts").write_text("10.0.0.8 node8.example\n")
        seen.until("node8.example", "10.0.0.8")


def test_the_status_lists_the_records_left_out_of_files(tmp_path: Path, zones: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "web.yaml").write_text(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\n  namespace: shop\n"
        "spec: {clusterIP: 10.96.0.10}\n"
    )
    (zones / "example.net.zone").write_text(_SOA.format(1) + "www.example.com. 60 A 192.0.2.1\n")
    with running(tmp_path, "--manifests", str(manifests), "--zones", str(zones)) as seen:
        seen.until("web.shop.svc.cluster.local", "10.96.0.10")
        seen.wait_until(lambda: "warnings  2" in status(tmp_path / "state"))
        lines = [line for line in status(tmp_path / "state") if "web.yaml:" in line or "example.net.zone:3:" in line]
    assert len(lines) == 2


def test_a_missing_folder_is_refused_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pydns", "serve", *_FLAGS, "--state-dir", str(tmp_path / "state")]
    command += ["--manifests", str(tmp_path), "--zones", str(tmp_path / "none")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert f"--zones {tmp_path}/none: No such file or directory; wanted a folder with *.zone files" in ended.stderr
