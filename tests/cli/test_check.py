"""`pydns check` prints the mistakes that `pydns serve` would log, without a server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pydns.cli.main import main
from tests.config.test_inputs import DOCUMENTED, KEYS


def check(path: Path | str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit status, and the lines of stdout and stderr."""
    status = main(["check", "--config", str(path)])
    said = capsys.readouterr()
    return status, (said.out + said.err).splitlines()


def test_the_example_of_the_kubernetes_documentation_is_accepted_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kube-dns.yaml").write_bytes(DOCUMENTED)
    folder = tmp_path / "mounted"
    folder.mkdir()
    for key, text in KEYS.items():
        (folder / key).write_text(text)
    said = 0, ["upstreams: 8.8.8.8:53, 8.8.4.4:53", "routes[acme.local.]: 1.2.3.4:53"]

    assert check(tmp_path / "kube-dns.yaml", capsys) == said
    assert check(folder, capsys) == said


def test_check_and_migrate_read_the_list_that_kubectl_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coredns.yaml"
    path.write_text(
        """apiVersion: v1
items:
- apiVersion: v1
  data:
    Corefile: import /etc/coredns/custom/*.server
  kind: ConfigMap
  metadata: {name: coredns, namespace: kube-system}
- apiVersion: v1
  data:
    corp.server: "corp.example {\\n forward . 10.0.0.1\\n}"
  kind: ConfigMap
  metadata: {name: coredns-custom, namespace: kube-system}
kind: List
metadata: {resourceVersion: ""}
"""
    )
    status, said = check(path, capsys)
    assert status == 0
    assert [line for line in said if line.startswith("routes")] == ["routes[corp.example.]: 10.0.0.1:53; choice random"]
    assert main(["migrate", str(path)]) == 0
    assert "corp.example" in capsys.readouterr().out


def test_every_mistake_is_printed_and_the_exit_status_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kube-dns.yaml"
    path.write_bytes(DOCUMENTED.replace(b"1.2.3.4", b"1.2.3.400").replace(b"8.8.8.8", b"dns.google"))

    assert check(path, capsys) == (
        1,
        [
            'stubDomains["acme.local"][0]: "1.2.3.400" is not an IP address or IP:port',
            'upstreamNameservers[0]: "dns.google" is not an IP address or IP:port',
        ],
    )


def test_mistakes_in_zones_of_the_configuration_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("zone_files: [{file: db.corp, zone: corp.example}, /etc/none.zone]")
    (tmp_path / "db.corp").write_text("$ORIGIN lab.example.\n@ 60 SOA ns admin 1 2 3 4 5\n@ 60 NS ns\n")
    (tmp_path / "example.org.zone").write_text("www 60 A nonsense\n")
    status, said = check(tmp_path, capsys)
    assert (status, said[0]) == (1, "db.corp: its SOA is that of lab.example., not of corp.example.")
    assert [line.partition(": ")[0] for line in said[1:]] == ["example.org.zone:1"]


def test_each_changed_key_and_each_ignored_key_has_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "federations").write_text("a=b")
    (tmp_path / "stubDomains").write_text('{"acme.local": ["ns.acme.example:54"]}')
    (tmp_path / "config.yaml").write_text(
        """
routes:
  acme.local: {servers: ["fd00::1"], except: [www.acme.local], choice: random, on_nxdomain: next}
hosts: {db.corp.example: {addresses: [10.9.0.5, "fd00::5"], ttl: 30, ptr: false}}
ttl: 0
pods: disabled
endpoint_pod_names: true
cache: {entries: 5, prefetch: false}
log: {queries: {}}
"""
    )

    assert check(tmp_path, capsys) == (
        0,
        [
            "upstreams: the nameservers of /etc/resolv.conf",
            "routes[acme.local.]: [fd00::1]:53; except www.acme.local.; choice random; next after NXDOMAIN",
            "cache: entries 5, prefetch false",
            "ttl: 0",
            "pods: disabled",
            "endpoint_pod_names: true",
            "hosts[db.corp.example.]: 10.9.0.5, fd00::5; ttl 30; no PTR",
            "log: queries all",
            "note: federations: ignored: obsolete, because cluster federation v1 no longer exists",
            'note: stubDomains["acme.local"]: ignored: config.yaml has a route for it',
        ],
    )


def test_each_route_that_overlaps_the_cluster_domain_has_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    routes = ("my.corp.local", "corp.local", "local", "example.org")
    path.write_text("".join(["routes:\n", *(f"  {each}: {{servers: [10.1.0.53]}}\n" for each in routes)]))
    assert main(["check", "--config", str(path), "--domain", "corp.local"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")] == [
        "note: routes[my.corp.local.]: is within corp.local.: "
        "its servers are asked for all names there that the cluster doesn't have",
        "note: routes[corp.local.]: is never asked: the cluster answers all names of corp.local.",
        "note: routes[local.]: isn't asked for names of corp.local.: the cluster answers them",
    ]
    assert main(["check", "--config", str(path), "--domain", "corp..local"]) == 2


def test_each_route_that_overlaps_a_zone_file_has_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, zones = tmp_path / "config.yaml", tmp_path / "zones"
    routes = ("corp.example", "sub.corp.example", "example")
    path.write_text("".join(["routes:\n", *(f"  {each}: {{servers: [10.1.0.53]}}\n" for each in routes)]))
    zones.mkdir()
    file = zones / "corp.example.zone"
    file.write_text("$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nwww.outside.example. A 192.0.2.2\n")
    command = ["check", "--config", str(path), "--zones", str(zones)]
    assert main(command) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")] == [
        f"note: routes[corp.example.]: is never asked: zone file {file} answers all names of corp.example.",
        "note: routes[sub.corp.example.]: is within corp.example.: "
        f"its servers are asked for all names there that zone file {file} doesn't have",
        f"note: routes[example.]: isn't asked for names of corp.example.: zone file {file} answers them",
        f"note: {file}:5: www.outside.example. is not in the zone corp.example.; left out",
    ]
    file.write_text("@ 60 SOA ns admin 1 2 3 4 5\n@ 60 A 192.0.2.300\n")
    assert main(command) == 1
    assert capsys.readouterr().out.startswith(f"{file}:2: ")
    assert main([*command[:-1], str(tmp_path / "none")]) == 1
    assert "--zones" in capsys.readouterr().err


@pytest.mark.parametrize(("path", "status"), [("manifests/config.example.yaml", 0), ("manifests/demo/shop.yaml", 1)])
def test_only_manifests_of_configurations_are_accepted(
    path: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(Path(__file__).parents[2] / path, capsys)[0] == status


def test_json_contains_the_same_as_the_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("ttl: 30\nroutes: {local: {servers: [10.1.0.53]}}")
    assert main(["check", "-o", "json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "accepted": True,
        "mistakes": [],
        "changes": ["upstreams: the nameservers of /etc/resolv.conf", "routes[local.]: 10.1.0.53:53", "ttl: 30"],
        "left_out": [],
        "notes": ["routes[local.]: isn't asked for names of cluster.local.: the cluster answers them"],
    }
    path.write_text("ttl: x\ncach: {}")
    assert main(["check", "-o", "json", str(path)]) == 1
    refused = json.loads(capsys.readouterr().out)
    assert (refused["accepted"], refused["changes"], refused["notes"]) == (False, [], [])
    assert len(refused["mistakes"]) == 2


def test_file_names_that_are_not_utf_8_are_printed_with_escapes(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.zone")).write_text("x")
    for output in ("text", "json"):
        command = ["check", str(tmp_path / "config"), "--zones", str(tmp_path), "-o", output]
        done = subprocess.run([sys.executable, "-m", "pydns", *command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")
        assert f"{tmp_path}/\\udcff.zone:1: x is relative" in done.stdout


def test_a_zone_file_with_a_name_that_no_configmap_can_have_is_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.zone")).write_text("x")
    status, said = check(tmp_path, capsys)
    assert (status, said[1:]) == (0, ['note: "\\udcff.zone": ignored: not a known key'])


def test_pydns_check_notes_a_further_domain_that_equals_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("domains: {k8s.example: {}, cluster.local: {}}")
    note = "note: cluster.local.: several domains have this name; only the first one counts"
    status, said = check(tmp_path, capsys)
    assert (status, said[2:]) == (0, [note])


def test_a_missing_path_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gone"
    assert check(path, capsys) == (1, [f"pydns check: {path}: No such file or directory"])


def test_the_required_flag_can_be_set_by_a_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYDNS_CONFIG", raising=False)
    assert main(["check"]) == 2
    assert capsys.readouterr().err.startswith("pydns check: FILE is missing")
    (tmp_path / "dns.yaml").write_text("ttl: 1")
    monkeypatch.setenv("PYDNS_CONFIG", str(tmp_path / "dns.yaml"))
    assert main(["check"]) == 0


def test_each_external_zone_has_a_line_and_overlapping_zones_have_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "external:\n"
        "  k8s.example.com: {headless: true, ingress_classes: [public], nameservers: {ns1: kube-system/dns}}\n"
        "  x.cluster.local: {sources: [nodes], service_names: false, annotations: [a.example/], ttl: 5}\n"
        "routes: {my.k8s.example.com: {servers: [10.1.0.53]}}\n"
        "upstreams: [10.0.0.2]\n"
    )
    assert check(path, capsys) == (
        0,
        [
            "upstreams: 10.0.0.2:53",
            "routes[my.k8s.example.com.]: 10.1.0.53:53",
            "external[k8s.example.com.]: services, ingresses; ttl 60; headless Services too; ingress_classes public; "
            "nameservers ns1 at kube-system/dns",
            "external[x.cluster.local.]: nodes; ttl 5; no names of Services by themselves; annotations a.example/; "
            "no nameservers",
            "note: routes[my.k8s.example.com.]: is within k8s.example.com.: "
            "its servers are asked for all names there that the external zone doesn't have",
            "note: external[x.cluster.local.]: is not served: it is in the cluster domain cluster.local.",
        ],
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("multicluster: {zones: []}", ["multicluster: zones none"]),
        (
            "multicluster: {zones: [imports.example, x.cluster.local, k8s.example]}\nexternal: {k8s.example: {}}",
            [
                "external[k8s.example.]: services, ingresses; ttl 60; no nameservers",
                "multicluster: zones imports.example., x.cluster.local., k8s.example.",
                "note: multicluster: x.cluster.local. is not served: it is in the cluster domain cluster.local.",
                "note: multicluster: k8s.example. is not served: it is an external zone",
            ],
        ),
        (
            "routes: {clusterset.local: {servers: [10.1.0.53]}}",
            [
                "routes[clusterset.local.]: 10.1.0.53:53",
                "note: multicluster: clusterset.local. is not served: a route has its names",
            ],
        ),
    ],
    ids=["no zones", "zones of others", "a route"],
)
def test_zones_of_service_imports_have_notes_if_they_are_not_served(
    text: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{text}\nupstreams: [10.0.0.2]\n")
    assert check(path, capsys) == (0, ["upstreams: 10.0.0.2:53", *said])


UNSUPPORTED = """\
. {
    forward . 10.0.0.1
    whoami
}
"""


def test_lenient_prints_the_omitted_parts_of_a_corefile_and_exits_with_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "Corefile"
    path.write_text(UNSUPPORTED)
    problem = 'Corefile:3: "whoami" is not carried out here'

    assert check(path, capsys) == (1, [problem])
    assert main(["check", str(path), "--lenient"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert f"left out: {problem}" in lines
    assert "upstreams: 10.0.0.1:53" in lines
    assert main(["migrate", str(path)]) == 1
    assert capsys.readouterr().out == ""
    assert main(["migrate", str(path), "--lenient"]) == 3
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == f"left out: {problem}"
    assert "upstreams: " in said.out


def test_a_mistake_is_refused_even_with_lenient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Corefile"
    path.write_text(UNSUPPORTED.replace("10.0.0.1", "10.0.0.300"))
    assert main(["check", str(path), "--lenient"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 2
