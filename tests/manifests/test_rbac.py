"""The roles grant the calls of pydns and nothing else. Here pydns runs with an API server that enforces the roles."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fakes.apiserver import FakeApiServer
from tests.fakes.cluster import status_body
from tests.manifests.kustomized import Json, build, build_with, needs_kubectl, only
from tests.waiting import PATIENCE_S

PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v1(?:(?:alpha|beta)\d)?(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>\w+)"
)
# Every authenticated client may request these paths (system:discovery).
DISCOVERY = re.compile(r"/api/v1|/apis/[^/]+/v1(?:(?:alpha|beta)\d)?")
CLIENTS = "{upstreams: ['127.0.0.1:9'], clients: pods}"
EXTERNAL = """\
upstreams: ["127.0.0.1:9"]
external:
  k8s.example.com: {sources: [services, ingresses, routes, dnsendpoints, nodes], ingress_classes: [public]}
"""

pytestmark = needs_kubectl


class Right(NamedTuple):
    """One verb on one resource. If a rule holds for all namespaces or names, `namespace` or `name` is empty."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def granted(objects: list[Json]) -> set[Right]:
    """Return the rights that these manifests grant to the ServiceAccount of the Deployment."""
    account = only(objects, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
    rights = set()
    for binding in objects:
        if binding["kind"] not in ("ClusterRoleBinding", "RoleBinding"):
            continue
        assert [each["name"] for each in binding["subjects"]] == [account]
        assert [each["namespace"] for each in binding["subjects"]] == ["kube-system"]
        role = only(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for rule in role["rules"]:
            rights |= {
                Right(verb, group, resource, role["metadata"].get("namespace", ""), name)
                for verb in rule["verbs"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for name in rule.get("resourceNames", [""])
            }
    return rights


def asked(path: str) -> Right:
    """Return the right that a GET or the creation of an object needs from the API server's point of view."""
    url = urlsplit(path)
    query = {key: values[-1] for key, values in parse_qs(url.query).items()}
    found = PATH.fullmatch(url.path)
    assert found, path
    if found["resource"] in ("events", "tokenreviews"):
        return Right("create", found["group"] or "", found["resource"], found["namespace"] or "")
    selected = re.fullmatch(r"metadata\.name=([^,]+)", query.get("fieldSelector", ""))
    return Right(
        "watch" if query.get("watch") == "true" else "list",
        found["group"] or "",
        found["resource"],
        found["namespace"] or "",
        selected[1] if selected else "",
    )


class Held:
    """An API server that refuses calls without the necessary right."""

    def __init__(self, api: FakeApiServer, rights: set[Right]) -> None:
        self.used: set[Right] = set()
        self.refused: set[Right] = set()
        held = self

        class Handler(api._server.RequestHandlerClass):  # type: ignore[misc, name-defined]
            def do_GET(self: BaseHTTPRequestHandler) -> None:  # noqa: N802  # its name in the base class
                if DISCOVERY.fullmatch(urlsplit(self.path).path):
                    super().do_GET()  # type: ignore[misc]
                else:
                    self._serve(super().do_GET)  # type: ignore[attr-defined, misc]

            def do_POST(self: BaseHTTPRequestHandler) -> None:  # noqa: N802
                self._serve(super().do_POST)  # type: ignore[attr-defined, misc]

            def _serve(self: BaseHTTPRequestHandler, serve: Callable[[], None]) -> None:
                right = asked(self.path)
                if right in rights:
                    held.used.add(right)
                    serve()
                else:
                    held.refused.add(right)
                    self._answer(403, status_body(403, "Forbidden", f"{right} is not granted"))  # type: ignore[attr-defined]

        api._server.RequestHandlerClass = Handler


class Running(NamedTuple):
    """A pydns that was started. The event is set when it is synced."""

    synced: threading.Event
    ports: list[int]  # the port of its metrics

    def ask_as_a_replica(self) -> int:
        """Ask for the page that replicas may read, with a token. Return the status of the response."""
        connection = HTTPConnection("127.0.0.1", self.ports[0], timeout=PATIENCE_S)
        try:
            connection.request("GET", "/status", headers={"Authorization": "Bearer aa.bb.cc"})
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def running(objects: list[Json], kubeconfig: Path, state_dir: Path) -> Iterator["Running"]:
    """Run pydns as its Deployment does."""
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    here = ["--kubeconfig", str(kubeconfig), "--state-dir", str(state_dir), "--listen", "127.0.0.1:0", "--workers", "1"]
    quiet = ["--health", "off", "--ready", "off", "--metrics", "127.0.0.1:0", "--drain-quiet", "0"]
    command = [sys.executable, "-m", "pydns", *container["args"], *here, *quiet]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    started = Running(threading.Event(), [])

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if " flag=--metrics " in line:
                started.ports.append(int(line.rpartition(":")[2]))
            if " event=synced " in line:
                started.synced.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield started
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        reader.join()
        assert process.stderr is not None
        process.stderr.close()


@pytest.mark.parametrize("component", ["", "verified-pods", "clients", "peers", "external", "overlays/external"])
def test_pydns_uses_exactly_the_granted_rights(component: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "component").mkdir()
    if component.startswith("overlays/"):
        objects = build(component)
    else:
        objects = build_with(component, tmp_path / "component") if component else build("base")
    rights = granted(objects)
    with FakeApiServer() as api:
        metadata = {"namespace": "kube-system", "name": only(objects, "ConfigMap")["metadata"]["name"]}
        if component.endswith("external"):
            api.apply("ConfigMap", {"metadata": metadata, "data": {"config.yaml": EXTERNAL}})
        if component == "clients":
            api.apply("ConfigMap", {"metadata": metadata, "data": {"config.yaml": CLIENTS}})
        held = Held(api, rights)
        with running(objects, api.kubeconfig(tmp_path), tmp_path / "state") as started:
            assert started.synced.wait(PATIENCE_S)
            assert started.ask_as_a_replica() == (401 if component == "peers" else 404)
            api.apply("ConfigMap", {"metadata": metadata, "data": {"config.yaml": "ttl: a mistake, for an Event"}})
            deadline = time.monotonic() + PATIENCE_S
            while held.used != rights and time.monotonic() < deadline:
                time.sleep(0.05)
    assert held.refused == set()
    assert held.used == rights
