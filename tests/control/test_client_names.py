"""A running server knows the names of its clients while Pods come and go at the API server."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pydns.dns.address import parse_address
from pydns.table.client_names import read_client_names
from pydns.table.reader import Reader
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import endpoint_slice
from tests.running import Server, query
from tests.subject import Address
from tests.waiting import until

pytestmark = pytest.mark.processes


def _pod(name: str, address: str, **status: object) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": address, "hostIP": "192.168.0.1", **status},
    }


class Running:
    """A server, and the names of clients in its table."""

    def __init__(self, server: Server, state_dir: Path) -> None:
        self.server = server
        self._reader = Reader(state_dir)

    def name(self, address: str) -> str | None:
        name = read_client_names(self._reader).name_of(parse_address(address))
        return None if name is None else f"{name} by {name.known.value}"

    def labels(self, address: str) -> str | None:
        name = read_client_names(self._reader).name_of(parse_address(address))
        return None if name is None else name.labels_text

    def becomes(self, address: str, name: str | None) -> None:
        until(lambda: self.name(address) == name)


@contextmanager
def _running(api: FakeApiServer, folder: Path, config: str, *flags: str) -> Iterator[Running]:
    (folder / "config.yaml").write_text(f"upstreams: ['127.0.0.1:9']\n{config}\n")
    source = ["--kubeconfig", str(api.kubeconfig(folder)), "--config", str(folder / "config.yaml")]
    server = Server(source, folder / "state", flags=["--drain-quiet", "0", *flags])
    try:
        yield Running(server, folder / "state")
    finally:
        server.end()


def test_pods_name_clients_as_they_come_and_go(tmp_path: Path) -> None:
    with FakeApiServer() as api:
        api.apply("Pod", _pod("web-0", "10.1.0.1"))
        with _running(api, tmp_path, "clients: pods") as running:
            running.becomes("10.1.0.1", "shop/web-0 by pod")
            running.becomes("192.168.0.1", "node/n1 (rewritten) by rewritten")
            api.apply("Pod", _pod("web-1", "10.1.0.1", startTime="2026-01-02T00:00:00Z"))
            running.becomes("10.1.0.1", "shop/web-1 by pod")
            api.apply("Pod", _pod("web-1", "10.1.0.1", startTime="2026-01-02T00:00:00Z", phase="Succeeded"))
            running.becomes("10.1.0.1", "shop/web-0 by pod")
            api.delete("Pod", "shop", "web-0")
            running.becomes("10.1.0.1", None)
            assert api.watching("Pod") == 1


def test_labels_of_pods_follow_the_configuration(tmp_path: Path) -> None:
    pod = _pod("web-0", "10.1.0.1")
    pod["metadata"]["labels"] = {"app": "web", "tier": "front"}
    with FakeApiServer() as api:
        api.apply("Pod", pod)
        with _running(api, tmp_path, "clients: pods\nclient_labels: [app]") as running:
            until(lambda: running.labels("10.1.0.1") == "app=web")
            (tmp_path / "config.yaml").write_text("upstreams: ['127.0.0.1:9']\nclients: pods\nclient_labels: [tier]\n")
            until(lambda: running.labels("10.1.0.1") == "tier=front")


def test_the_status_has_the_share_of_queries_from_unknown_clients(tmp_path: Path) -> None:
    with FakeApiServer() as api:
        api.apply("Pod", _pod("web-0", "10.1.0.1"))
        with _running(api, tmp_path, "clients: pods", "--ready", "127.0.0.1:0") as running:
            running.becomes("10.1.0.1", "shop/web-0 by pod")
            assert Address("127.0.0.1", running.server.port).ask(query("cluster.local.", 6), tcp=False)
            until(lambda: json.loads(running.server.get("/status")[1])["unknown_clients"] == 1.0)


def test_the_server_starts_without_the_right_to_watch_pods(tmp_path: Path) -> None:
    with FakeApiServer() as api:
        for verb in ("list", "watch"):
            api.fail("Pod", verb, 403, reason="Forbidden", message="no pods")
        sliced = endpoint_slice("db", "10.1.0.7")
        sliced["endpoints"][0]["targetRef"] = {"kind": "Pod", "name": "db-0"}
        api.apply("EndpointSlice", sliced)
        with _running(api, tmp_path, "clients: pods") as running:  # `_running` returns after the server has started
            running.becomes("10.1.0.7", "shop/db-0 by endpoint")


def test_pods_with_names_and_pods_as_clients_need_one_watch(tmp_path: Path) -> None:
    with FakeApiServer() as api:
        api.apply("Namespace", {"metadata": {"name": "shop"}})
        api.apply("Pod", _pod("web-0", "10.1.0.1"))
        with _running(api, tmp_path, "clients: pods\npods: verified") as running:
            running.becomes("10.1.0.1", "shop/web-0 by pod")
            assert api.watching("Pod") == 1
