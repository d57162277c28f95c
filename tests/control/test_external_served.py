"""A real server has external zones. The API server lacks, refuses, loses or regains the kinds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import dns.rcode
import pytest

from pydns.control.apiserver import Pace
from pydns.kube.kinds import OPTIONAL_KINDS, Kind
from tests.control.test_apiserver import QUICK, watching
from tests.control.test_controller import Running, running
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import service

DISCOVERY = "/apis/externaldns.k8s.io/v1alpha1"
WITHIN_S = 60.0  # pydns looks for a missing kind again after 5, 10 and 20 s


def dns_endpoint(name: str, host: str, address: str) -> dict[str, Any]:
    endpoints = [{"dnsName": host, "recordType": "A", "targets": [address]}]
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"endpoints": endpoints}}


def ingress(name: str, host: str, address: str) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"rules": [{"host": host}]},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
    }


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.apply("Service", service("web", "10.96.0.1"))
        server.apply("Ingress", ingress("www", "www.x.example", "192.0.2.1"))
        server.apply("DNSEndpoint", dns_endpoint("one", "one.x.example", "192.0.2.2"))
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    configure(path, sources=["services", "ingresses", "dnsendpoints"])
    return path


def configure(path: Path, **zone: Any) -> None:
    """Write a configuration with one external zone, and with an upstream address where nothing listens."""
    path.write_text(json.dumps({"upstreams": ["127.0.0.1:9"], "external": {"x.example": zone} if zone else {}}))


def ask(seen: Running, name: str) -> str:
    reply = dns.query.udp(dns.message.make_query(name, "A"), "127.0.0.1", port=seen.port, timeout=10)
    return str(reply.answer[-1][0]) if reply.answer else dns.rcode.to_text(reply.rcode())


def expect(seen: Running, name: str, wanted: str) -> None:
    seen.wait_until(lambda: ask(seen, name) == wanted, WITHIN_S)


def test_pydns_finds_a_kind_that_is_added_later(api: FakeApiServer, tmp_path: Path) -> None:
    figures = QUICK._replace(discovery_s=(0.02, 0.04))
    api.unserve("DNSEndpoint")
    with watching(api, tmp_path, Kind.DNS_ENDPOINT, figures=figures) as (source, received):
        api.wait_until(lambda api: len(api.asked("discover", DISCOVERY)) > 3, 30)
        status = source.status()[Kind.DNS_ENDPOINT]
        problem = "the API server doesn't have the kind"
        assert (status.is_served, status.synced, status.problem) == (False, False, problem)
        assert api.asked("list", "DNSEndpoint") == api.asked("watch", "DNSEndpoint") == []
        api.serve("DNSEndpoint")
        received.until(lambda received: received.names(Kind.DNS_ENDPOINT) == {"one"}, 30)
        assert source.status()[Kind.DNS_ENDPOINT].is_served
    assert received.log.events().count("kind not served") == 1


def test_the_newest_version_that_is_served_is_watched(api: FakeApiServer, tmp_path: Path) -> None:
    figures = QUICK._replace(discovery_s=(0.02, 0.04))
    api.apply("Gateway", {"metadata": {"namespace": "shop", "name": "old"}})
    api.apply("TLSRoute", {"metadata": {"namespace": "shop", "name": "older"}})
    api.serve("Gateway", "v1beta1")
    api.serve("TLSRoute", "v1alpha2")
    group = "/apis/gateway.networking.k8s.io"
    with watching(api, tmp_path, Kind.GATEWAY, Kind.TLS_ROUTE, figures=figures) as (source, received):
        received.until(lambda received: received.synced == {Kind.GATEWAY, Kind.TLS_ROUTE}, 30)
        assert (received.names(Kind.GATEWAY), received.names(Kind.TLS_ROUTE)) == ({"old"}, {"older"})
        looks = [each.kind.removeprefix(group) for each in api.requests if each.verb == "discover"]
        assert looks.index("/v1") < looks.index("/v1alpha3") < looks.index("/v1alpha2")
        api.wait_until(lambda api: api.watching("Gateway") == 1, 30)
        api.serve("Gateway")  # serve only the new version, as after an upgrade of the CRD
        api.wait_until(lambda api: api.watching("Gateway") == 1, 30)
        api.apply("Gateway", {"metadata": {"namespace": "shop", "name": "new"}})
        received.until(lambda received: received.names(Kind.GATEWAY) == {"old", "new"}, 30)
        assert source.status()[Kind.GATEWAY].is_served


def test_names_remain_while_the_api_server_does_not_serve_their_kind(api: FakeApiServer, tmp_path: Path) -> None:
    figures = QUICK._replace(discovery_s=(0.02, 0.04))
    with watching(api, tmp_path, Kind.DNS_ENDPOINT, figures=figures) as (source, received):
        received.until(lambda received: received.names(Kind.DNS_ENDPOINT) == {"one"}, 30)
        api.wait_until(lambda api: api.watching("DNSEndpoint") == 1, 30)
        looks = len(api.asked("discover", DISCOVERY))
        api.unserve("DNSEndpoint")
        api.wait_until(lambda api: len(api.asked("discover", DISCOVERY)) > looks + 1, 30)
        assert not source.status()[Kind.DNS_ENDPOINT].is_served
        api.apply("DNSEndpoint", dns_endpoint("two", "two.x.example", "192.0.2.3"))
        api.serve("DNSEndpoint")
        received.until(lambda received: "two" in received.names(Kind.DNS_ENDPOINT), 30)
        assert received.names(Kind.DNS_ENDPOINT) == {"one", "two"}


SPECS = {Kind.SERVICE_IMPORT: {"type": "Headless"}, Kind.LISTENER_SET: {"parentRef": {"name": "gateway"}}}


@pytest.mark.parametrize("kind", OPTIONAL_KINDS, ids=lambda kind: kind.value)
def test_no_change_is_lost_when_the_server_disappears_during_a_watch(kind: Kind, tmp_path: Path) -> None:
    def manifest(name: str) -> dict[str, Any]:
        namespace = {"namespace": "shop"} if kind.row.is_namespaced else {}
        return {"metadata": {"name": name, **namespace}, "spec": SPECS.get(kind, {})}

    with FakeApiServer() as api, watching(api, tmp_path, kind) as (_, received):
        api.apply(kind.value, manifest("one"))
        received.until(lambda received: received.names(kind) == {"one"})
        api.wait_until(lambda api: api.watching(kind.value) == 1)
        api.fail(kind.value, "watch", 503, times=2)
        api.reset_watches(kind.value)
        api.apply(kind.value, manifest("two"))
        received.until(lambda received: received.names(kind) == {"one", "two"})
        api.wait_until(lambda api: api.watching(kind.value) == 1)
        api.close_watches(kind.value)
        api.delete(kind.value, "shop" if kind.row.is_namespaced else "", "one")
        api.compact()  # the change itself is lost
        received.until(lambda received: received.names(kind) == {"two"})


@pytest.mark.parametrize("status", [403, 500])
def test_a_kind_counts_as_served_if_discovery_gets_no_answer(status: int, api: FakeApiServer, tmp_path: Path) -> None:
    api.fail(DISCOVERY, "discover", status)
    with watching(api, tmp_path, Kind.DNS_ENDPOINT) as (_, received):
        received.until(lambda received: received.names(Kind.DNS_ENDPOINT) == {"one"}, 30)


def test_the_default_pauses_between_looks_grow_to_five_minutes() -> None:
    assert Pace().figures.discovery_s == (5, 300)


def test_names_follow_the_objects_and_the_configuration(api: FakeApiServer, config: Path, tmp_path: Path) -> None:
    configure(config)
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        seen.until("web.shop", "10.96.0.1")
        seen.wait_until(lambda: api.watching("EndpointSlice") == 1)
        assert not any(request.kind in ("Ingress", "Node", "DNSEndpoint", DISCOVERY) for request in api.requests)
        configure(config, sources=["services", "ingresses", "dnsendpoints"])
        expect(seen, "www.x.example", "192.0.2.1")
        expect(seen, "one.x.example", "192.0.2.2")
        assert ask(seen, "two.x.example") == "NXDOMAIN"
        api.apply("Ingress", ingress("www", "www.x.example", "192.0.2.9"))
        expect(seen, "www.x.example", "192.0.2.9")
        api.delete("DNSEndpoint", "shop", "one")
        expect(seen, "one.x.example", "NXDOMAIN")
        configure(config, sources=["ingresses"], ttl=7)
        seen.wait_until(lambda: "DNSEndpoint" not in seen.status(), WITHIN_S)
        expect(seen, "www.x.example", "192.0.2.9")
        configure(config)
        # The query goes to the upstream, which doesn't answer.
        seen.wait_until(lambda: ask(seen, "www.x.example") == "SERVFAIL", WITHIN_S)
        seen.until("web.shop", "10.96.0.1")


def test_pydns_does_not_wait_for_a_kind_that_the_api_server_does_not_serve(
    api: FakeApiServer, config: Path, tmp_path: Path
) -> None:
    api.unserve("DNSEndpoint")
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        seen.wait_for("synced")
        expect(seen, "www.x.example", "192.0.2.1")
        expect(seen, "one.x.example", "NXDOMAIN")
        seen.wait_until(lambda: "DNSEndpoint: not served, 0 objects" in seen.status(), WITHIN_S)
        api.serve("DNSEndpoint")
        expect(seen, "one.x.example", "192.0.2.2")


def test_a_refused_kind_delays_denials_only_in_its_own_zone(api: FakeApiServer, config: Path, tmp_path: Path) -> None:
    for verb in ("list", "watch"):
        api.fail("Ingress", verb, 403, reason="Forbidden", message="no")
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        seen.until("web.shop", "10.96.0.1")
        seen.until("gone.shop", "NXDOMAIN")
        assert "synced    yes" in seen.status()
        expect(seen, "one.x.example", "192.0.2.2")
        assert ask(seen, "www.x.example") == "SERVFAIL"
        api.delete("Ingress", "shop", "www")
        api.heal()
        expect(seen, "www.x.example", "NXDOMAIN")  # the kind has been listed, although no record changed
