"""The figures of `pydns slo` and of the metrics are right after changes in the cluster, lookups and failures."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.apiserver import FakeApiServer
from tests.running import COMMAND, Server
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.processes
WEB = "web.shop.svc.cluster.local"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[FakeApiServer, Server, Path]]:
    with FakeApiServer() as api:
        api.apply("Namespace", {"metadata": {"name": "shop"}})
        flags = ("--metrics", "127.0.0.1:0")
        server = Server(["--kubeconfig", str(api.kubeconfig(tmp_path))], tmp_path / "state", flags=flags)
        try:
            yield api, server, tmp_path / "state"
        finally:
            server.end()


def report(state_dir: Path) -> dict[str, Any]:
    command = [*COMMAND, "slo", "-o", "json", "--state-dir", str(state_dir)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return found


def indicators(state_dir: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["indicator"], row["group"], row["window"]): row for row in report(state_dir)["indicators"]}


def metrics(server: Server) -> str:
    line = next(line for line in server.logged("listening for HTTP") if " flag=--metrics " in line)
    connection = HTTPConnection("127.0.0.1", int(line.rpartition(":")[2]), timeout=PATIENCE_S)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_each_change_lookup_and_failure_is_in_its_figure(world: tuple[FakeApiServer, Server, Path]) -> None:
    api, server, state_dir = world
    created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    meta = {"name": "web", "namespace": "shop", "creationTimestamp": created}
    api.apply("Service", {"metadata": meta, "spec": {"clusterIP": "10.96.1.1"}})
    until(lambda: server.ask(WEB) == "10.96.1.1")
    asked = 20
    for _ in range(asked):
        assert server.ask(WEB) == "10.96.1.1"

    def events(indicator: str, group: str) -> int:
        return int(indicators(state_dir).get((indicator, group, "5m"), {}).get("events", 0))

    # The first lookups, which waited for the change, count as well.
    until(lambda: events("lookups", "own") > asked, found=lambda: report(state_dir))
    until(lambda: events("programming", "cluster_ip") == 1, found=lambda: report(state_dir))
    found = indicators(state_dir)
    for window in ("5m", "1h"):
        change = found["programming", "cluster_ip", window]
        assert (change["objective"], change["within_s"]) == (0.99, 1.024)
        assert found["errors", "own", window]["good"] == 1.0
        assert found["errors", "own", window]["events"] == found["lookups", "own", window]["events"]
    page = metrics(server)
    assert 'pydns_slo_error_ratio{names="own",window="5m"} 0\n' in page
    assert 'pydns_slo_lookup_seconds{names="own",window="1h",percentile="99"} ' in page
    assert 'pydns_slo_programming_seconds{service_kind="cluster_ip",window="5m",percentile="50"} ' in page
    assert report(state_dir)["data_age"]["met"]
