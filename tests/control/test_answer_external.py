"""`--answer external` with a real server: the configuration that has an effect, and the table of an earlier server.

tests/cases/external-alone.yaml has the answers.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pydns.table.layout import FORMAT, Contents, Facts, ZoneFacts
from pydns.table.writer import Writer
from tests import running
from tests.waiting import PATIENCE_S, until

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.7, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.7}]}}
"""
OUTSIDE = "web.shop.k8s.example.com"

pytestmark = pytest.mark.processes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "web.yaml").write_text(SERVICE)
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[running.Server]:
    configure(folder, {"upstreams": ["127.0.0.1:9"], "hosts": {}, "ttl": 7, "external": {"k8s.example.com": {}}})
    source = ["--manifests", str(folder / "manifests"), "--config", str(folder / "config.yaml")]
    server = running.Server([*source, "--answer", "external"], folder / "state")
    yield server
    server.end()


def configure(folder: Path, config: dict[str, object]) -> None:
    """Apply a configuration without a response rate limit, because the test sends many queries that are refused."""
    (folder / "new.yaml").write_text(yaml.safe_dump({"responses_per_second": 0, **config}))
    (folder / "new.yaml").rename(folder / "config.yaml")


def test_external_zones_follow_the_configuration_and_keys_without_effect_are_logged(
    server: running.Server, folder: Path
) -> None:
    assert server.ask(OUTSIDE) == "192.0.2.7"
    assert server.ask(running.WEB) == "rcode 5"
    assert [line for line in server.logged("keys without effect") if "keys=upstreams,ttl " in line]
    assert not server.logged("no upstreams"), "nothing is asked of upstreams anyway"
    configure(folder, {"external": {"other.example.com": {}}})
    until(lambda: server.ask("web.shop.other.example.com") == "192.0.2.7", PATIENCE_S)
    assert server.ask(OUTSIDE) == "rcode 5"
    until(lambda: "other.example.com.: " in server.status(), PATIENCE_S)
    rule = {"action": "block", "within": ["web.shop.other.example.com"]}
    configure(folder, {"external": {"other.example.com": {}}, "acl": [rule]})
    until(lambda: server.ask("web.shop.other.example.com") == "rcode 5", PATIENCE_S)


def test_names_of_the_cluster_are_removed_when_they_are_no_longer_answered(tmp_path: Path) -> None:
    """Check that a later server with the same state directory doesn't answer names of the cluster any more."""
    domain = b"\1c\0"
    cluster = Facts(FORMAT, domain, [ZoneFacts(domain, b"\0", b"\0", 5, 5)], 1, True, 5)
    without = Facts(FORMAT, domain, [], 1, True, 5)
    kept = []
    for facts in (cluster, cluster, without, without, cluster):
        writer = Writer(tmp_path, facts)
        kept.append(writer.figures()["answers"])
        writer.replace(lambda: [Contents({b"a": b"b"}, {})], facts)
        writer.close()
    assert kept == [0, 1, 0, 1, 0]
