"""A real server follows ServiceImports. The API server serves the kind, lacks it, refuses it, or gets it later."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.test_controller import running
from tests.control.test_external_served import WITHIN_S, ask, expect
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.manifests import service

WEB = "web.shop.svc.clusterset.local"
VERSION = "dns-version.clusterset.local"


def service_import(name: str, *ips: str, kind: str = "ClusterSetIP") -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"type": kind, "ips": list(ips), "ports": []}}


def slice_of(name: str, address: str) -> dict[str, Any]:
    group = "multicluster.kubernetes.io"
    labels = {f"{group}/service-name": name, f"{group}/source-cluster": "east"}
    return {
        "metadata": {"namespace": "shop", "name": f"{name}-east", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "hostname": "h"}],
    }


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as server:
        server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.apply("Service", service("web", "10.96.0.1"))
        server.apply("ServiceImport", service_import("web", "10.42.0.1"))
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose upstream doesn't answer: a name that is forwarded gets SERVFAIL."""
    path = tmp_path / "config.yaml"
    configure(path)
    return path


def configure(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({"upstreams": ["127.0.0.1:9"], **keys}))


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha1"])
def test_imports_have_names_without_any_configuration(
    version: str, api: FakeApiServer, config: Path, tmp_path: Path
) -> None:
    api.serve("ServiceImport", version)
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        expect(seen, WEB, "10.42.0.1")
        assert ask(seen, f"gone.{WEB}") == "NXDOMAIN"
        api.apply("ServiceImport", service_import("web", "10.42.0.2"))
        expect(seen, WEB, "10.42.0.2")
        api.apply("EndpointSlice", slice_of("web", "10.8.0.1"))
        api.apply("ServiceImport", service_import("web", kind="Headless"))
        expect(seen, WEB, "10.8.0.1")
        expect(seen, f"h.east.{WEB}", "10.8.0.1")
        api.delete("ServiceImport", "shop", "web")
        expect(seen, WEB, "NXDOMAIN")


def test_the_zone_is_forwarded_until_the_api_server_serves_the_kind(
    api: FakeApiServer, config: Path, tmp_path: Path
) -> None:
    api.unserve("ServiceImport")
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        seen.wait_for("synced")
        seen.until("web.shop", "10.96.0.1")
        expect(seen, WEB, "SERVFAIL")
        assert ask(seen, VERSION) == "SERVFAIL"
        seen.wait_until(lambda: "ServiceImport: not served, 0 objects" in seen.status(), WITHIN_S)
        api.serve("ServiceImport")
        expect(seen, WEB, "10.42.0.1")
        assert ask(seen, f"gone.{WEB}") == "NXDOMAIN"


def test_without_the_permission_only_the_zone_of_imports_is_affected(
    api: FakeApiServer, config: Path, tmp_path: Path
) -> None:
    for verb in ("list", "watch"):
        api.fail("ServiceImport", verb, 403, reason="Forbidden", message="no")
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        seen.wait_for("synced")
        seen.until("web.shop", "10.96.0.1")
        seen.until("gone.shop", "NXDOMAIN")
        assert "synced    yes" in seen.status()
        assert ask(seen, WEB) == "SERVFAIL"
        api.heal()
        expect(seen, WEB, "10.42.0.1")


@pytest.mark.parametrize(
    "keys",
    [{"multicluster": {"zones": []}}, {"routes": {"clusterset.local": {"servers": ["127.0.0.1:9"]}}}],
    ids=["no zones", "a route for the zone"],
)
def test_the_configuration_can_leave_the_zone_of_imports_to_upstreams(
    keys: dict[str, Any], api: FakeApiServer, config: Path, tmp_path: Path
) -> None:
    with running(tmp_path, api.kubeconfig(tmp_path), "--config", str(config)) as seen:
        expect(seen, WEB, "10.42.0.1")
        configure(config, **keys)
        expect(seen, WEB, "SERVFAIL")
        seen.until("web.shop", "10.96.0.1")
        configure(config, multicluster={"zones": ["imports.example"]})
        expect(seen, "web.shop.svc.imports.example", "10.42.0.1")
        assert ask(seen, WEB) == "SERVFAIL"
