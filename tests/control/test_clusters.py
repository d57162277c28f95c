"""One server follows several clusters, each with a fake API server. An unreachable cluster doesn't delay the others."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.control.test_external_served import ingress
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.cluster import RESOURCES
from tests.fakes.manifests import service
from tests.running import PROBED, Server
from tests.waiting import until

_SERVFAIL, _NXDOMAIN = "rcode 2", "rcode 3"
WEST_WEB, EAST_WEB = "web.shop.svc.cluster.local", "web.shop.svc.east.example"
Start = Callable[..., Server]


@pytest.fixture
def west() -> Iterator[FakeApiServer]:
    yield from _cluster("10.96.0.1")


@pytest.fixture
def east() -> Iterator[FakeApiServer]:
    yield from _cluster("10.96.0.2")


def _cluster(address: str) -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.apply("Service", service("web", address))
        yield server


def be_away(server: FakeApiServer) -> None:
    """Refuse all requests from now on, and end the watches."""
    for kind in RESOURCES:
        for verb in "list", "watch", "audit":
            server.fail(kind, verb, 503)
    server.close_watches()


class Clusters:
    """The files of both clusters, and a server with them."""

    def __init__(self, directory: Path, start: Start, west: FakeApiServer, east: FakeApiServer) -> None:
        self.directory = directory
        self.east_file = directory / "east"
        west.write_kubeconfig(directory / "west")
        east.write_kubeconfig(self.east_file)
        self._start = start

    def start(self, config: dict[str, Any] | None = None, *, by_flag: bool = False, event: str = "synced") -> Server:
        source = ["--kubeconfig", str(self.directory / "west")]
        if by_flag:
            source += ["--kubeconfig", f"east={self.east_file},domain=east.example"]
        else:
            self.configure(config or {})
            source += ["--config", str(self.directory / "config.yaml")]
        return self._start(source=source, flags=PROBED, event=event)

    def configure(self, config: dict[str, Any]) -> None:
        east = {"kubeconfig": str(self.east_file), "domains": {"east.example": {}}}
        config = {"upstreams": ["127.0.0.1:9"], "clusters": {"east": east}, **config}
        (self.directory / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def clusters(tmp_path: Path, start: Start, west: FakeApiServer, east: FakeApiServer) -> Clusters:
    return Clusters(tmp_path, start, west, east)


def answers(server: Server, name: str, answer: str) -> None:
    until(lambda: server.ask(name) == answer, found=lambda: f"{name} is {server.ask(name)}")


def status(server: Server) -> Any:
    return json.loads(server.get("/status")[1])


@pytest.mark.processes
def test_clusters_named_by_flags_have_separate_domains(clusters: Clusters, east: FakeApiServer) -> None:
    server = clusters.start(by_flag=True)
    answers(server, EAST_WEB, "10.96.0.2")
    assert server.ask(WEST_WEB) == "10.96.0.1"
    assert server.ask("none.shop.svc.east.example") == _NXDOMAIN
    east.apply("Service", service("api", "10.96.0.3"))
    answers(server, "api.shop.svc.east.example", "10.96.0.3")
    assert server.ask("api.shop.svc.cluster.local") == _NXDOMAIN
    until(lambda: server.get("/ready") == (200, "OK\n"))
    until(lambda: status(server)["synced"])
    until(lambda: status(server)["sources"]["east"]["kinds"]["Service"]["objects"] == 2)
    source = status(server)["sources"]["east"]
    assert (source["cluster"], source["domains"], source["synced"]) == ("east", ["east.example."], True)
    assert "source    east: cluster east, domains east.example., synced" in server.status()


@pytest.mark.processes
@pytest.mark.parametrize("away", ["refuses", "has no kubeconfig"])
def test_other_clusters_do_not_wait_for_an_unreachable_one_at_the_start(
    clusters: Clusters, west: FakeApiServer, east: FakeApiServer, away: str
) -> None:
    if away == "refuses":
        be_away(east)
    else:
        clusters.east_file.unlink()
    server = clusters.start()
    assert server.ask(WEST_WEB) == "10.96.0.1"
    assert server.ask("none.shop.svc.cluster.local") == _NXDOMAIN
    assert server.ask(EAST_WEB) == _SERVFAIL
    until(lambda: server.get("/ready")[0] == 200, found=lambda: server.get("/ready"))
    assert not status(server)["synced"]
    west.apply("Service", service("web", "10.96.0.9"))
    answers(server, WEST_WEB, "10.96.0.9")

    east.heal()
    east.write_kubeconfig(clusters.east_file)
    answers(server, EAST_WEB, "10.96.0.2")
    answers(server, "none.shop.svc.east.example", _NXDOMAIN)
    until(lambda: status(server)["synced"])


@pytest.mark.processes
def test_other_clusters_are_served_if_the_first_is_unreachable(clusters: Clusters, west: FakeApiServer) -> None:
    be_away(west)
    server = clusters.start()
    answers(server, EAST_WEB, "10.96.0.2")
    assert server.ask(WEST_WEB) == _SERVFAIL
    west.heal()
    answers(server, WEST_WEB, "10.96.0.1")


@pytest.mark.processes
def test_a_later_outage_of_one_cluster_does_not_affect_the_other(
    clusters: Clusters, west: FakeApiServer, east: FakeApiServer
) -> None:
    server = clusters.start()
    answers(server, EAST_WEB, "10.96.0.2")
    be_away(east)
    west.apply("Service", service("api", "10.96.0.4"))
    answers(server, "api.shop.svc.cluster.local", "10.96.0.4")
    assert server.ask(EAST_WEB) == "10.96.0.2"
    assert server.get("/ready")[0] == 200
    east.apply("Service", service("web", "10.96.0.5"))
    east.heal()
    answers(server, EAST_WEB, "10.96.0.5")


@pytest.mark.processes
def test_after_a_restart_names_of_an_unreachable_cluster_are_still_answered(
    clusters: Clusters, west: FakeApiServer, east: FakeApiServer
) -> None:
    east.apply("Service", service("gone", "10.96.0.6"))
    west.apply("Service", service("gone", "10.96.0.7"))
    server = clusters.start()
    answers(server, "gone.shop.svc.east.example", "10.96.0.6")
    server.stop()
    be_away(east)
    for each in (west, east):
        each.delete("Service", "shop", "gone")
    server = clusters.start()
    answers(server, "gone.shop.svc.cluster.local", _NXDOMAIN)  # the cluster of this name has been listed
    assert server.ask("gone.shop.svc.east.example") == "10.96.0.6"
    assert server.ask(EAST_WEB) == "10.96.0.2"
    assert server.ask("none.shop.svc.east.example") == _SERVFAIL
    east.heal()
    answers(server, "gone.shop.svc.east.example", _NXDOMAIN)
    assert server.ask(EAST_WEB) == "10.96.0.2"


@pytest.mark.processes
def test_external_zones_have_names_of_all_clusters_and_the_oldest_object_wins(
    clusters: Clusters, west: FakeApiServer, east: FakeApiServer
) -> None:
    for server, age, address in ((west, 2024, "192.0.2.1"), (east, 2023, "192.0.2.2")):
        both = ingress("both", "both.x.example", address)
        both["metadata"]["creationTimestamp"] = f"{age}-01-01T00:00:00Z"
        server.apply("Ingress", both)
    east.apply("Ingress", ingress("own", "own.x.example", "192.0.2.3"))
    pydns = clusters.start({"external": {"x.example": {}}})
    answers(pydns, "both.x.example", "192.0.2.2")
    answers(pydns, "own.x.example", "192.0.2.3")
    until(lambda: status(pydns)["external"]["losers"] == 1)
    (reason,) = status(pydns)["external"]["conflicts"].values()
    assert "Ingress shop/both of cluster east gives it" in reason
    east.delete("Ingress", "shop", "both")
    answers(pydns, "both.x.example", "192.0.2.1")


@pytest.mark.processes
def test_a_cluster_is_added_and_removed_by_the_configuration(clusters: Clusters) -> None:
    server = clusters.start()
    answers(server, EAST_WEB, "10.96.0.2")
    clusters.configure({"clusters": {}, "domains": {"k8s.example": {}}})
    answers(server, "web.shop.svc.k8s.example", "10.96.0.1")
    until(lambda: server.ask(EAST_WEB) != "10.96.0.2")
    clusters.configure({})
    answers(server, EAST_WEB, "10.96.0.2")
    assert server.ask(WEST_WEB) == "10.96.0.1"
