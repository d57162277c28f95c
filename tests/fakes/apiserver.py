"""An API server over real HTTP or HTTPS on 127.0.0.1. A test can make requests fail.

`apply` writes the change to the sockets of all watches. When `apply` returns, the event has been sent. `python -m
tests.fakes.apiserver --help` runs such a server with generated objects for benchmarks.
"""

import argparse
import json
import re
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import trustme
import yaml

from tests.fakes.cluster import (
    RESOURCES,
    Change,
    Cluster,
    Expired,
    Json,
    Selected,
    Stored,
    change_line,
    event_line,
    selector,
    status_body,
)
from tests.waiting import PATIENCE_S

_KINDS = {path: kind for kind, resource in RESOURCES.items() for path in resource.paths}
_VERSIONS = {path.rpartition("/")[0] for path in _KINDS}


class Request(NamedTuple):
    """A request, for assertions.

    `verb` is list, audit (a list of metadata), watch, or discover. For discover, `kind` is a path.
    """

    verb: str
    kind: str
    query: dict[str, str]
    token: str  # the value of the Authorization header


@dataclass
class _Fault:
    status: int
    body: bytes
    headers: dict[str, str]
    times: int | None  # how often a request fails. None: until `heal` is called


@dataclass(eq=False)
class _Watcher:
    kind: str
    selected: Selected
    connection: socket.socket
    wake: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    ended: bool = False
    clean: bool = False  # true if the watch ends with the last chunk of the body

    def send(self, data: bytes) -> None:
        if data:
            try:
                self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            except OSError:
                self.end(clean=False)

    def end(self, *, clean: bool) -> None:
        if not self.ended:
            self.ended, self.clean = True, clean
            self.wake[1].close()

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether the watch ended.

        A watch also ends when the client disconnects: a client sends nothing else while its watch is open.
        """
        ready, _, _ = select.select([self.wake[0], self.connection], [], [], seconds)
        return bool(ready)

    def close(self) -> None:
        for end in self.wake:
            end.close()


class FakeApiServer:
    """A context manager. It serves inside its `with` block. Its methods may be called from any thread."""

    def __init__(self, *, tls: bool = False, port: int = 0, token: str = "secret", watch_list: str = "on") -> None:
        self.cluster = Cluster()
        self.cluster.on_change = self._on_change
        self.requests: list[Request] = []
        self.created_events: list[Json] = []
        self.tokens: dict[str, tuple[str, list[str]]] = {}  # valid token -> user and audiences, for TokenReviews
        # "on": the server accepts WatchList. "invalid": it refuses WatchList with 422. "error": it answers with 200 and
        # an ERROR event, as with etcd 3.4.
        self.watch_list = watch_list
        self.bookmark_s: float | None = None  # the period of bookmarks
        self.list_delay_s = 0.0
        self.silent = False  # True: watches are accepted, but nothing is sent to them
        # Kind -> the path of its list in the only version that this server serves.
        self.served = {kind: resource.paths[0] for kind, resource in RESOURCES.items()}
        self._token = token
        self._lock = threading.RLock()
        self._watchers: list[_Watcher] = []
        self._changed = threading.Condition(self._lock)
        self._faults: dict[tuple[str, str], _Fault] = {}
        self._cut_next = False
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self._ca: trustme.CA | None = None
        self.tls: ssl.SSLContext | None = None
        if tls:
            self._ca = trustme.CA()
            self.tls = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._ca.issue_cert("127.0.0.1").configure_cert(context)
            self._server.tls = context
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> "FakeApiServer":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.reset_watches()
        self._thread.join()

    def kubeconfig(self, directory: Path) -> Path:
        """Write a kubeconfig for this server into a folder."""
        cluster: Json = {"server": f"{'https' if self._ca else 'http'}://127.0.0.1:{self.port}"}
        if self._ca:
            self._ca.cert_pem.write_to_path(directory / "ca.pem")
            cluster["certificate-authority"] = str(directory / "ca.pem")
        path = directory / "kubeconfig"
        self._write_kubeconfig(path, cluster)
        return path

    def write_kubeconfig(self, path: Path) -> None:
        """Write a kubeconfig without TLS for this server to a file."""
        self._write_kubeconfig(path, {"server": f"http://127.0.0.1:{self.port}"})

    def _write_kubeconfig(self, path: Path, cluster: Json) -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
            "clusters": [{"name": "fake", "cluster": cluster}],
            "users": [{"name": "fake", "user": {"token": self._token}}],
        }
        path.write_text(yaml.safe_dump(config))

    def apply(self, kind: str, manifest: Json) -> int:
        """Create or replace an object, send it to the watches, and return its version."""
        with self._lock:
            return self.cluster.apply(kind, manifest)

    def apply_raw(self, kind: str, namespace: str, name: str, raw: bytes) -> int:
        """Store `raw` as the object, and send it to the watches. Each `$VERSION` in it is replaced with its version."""
        with self._lock:
            return self.cluster.apply_raw(kind, namespace, name, raw)

    def delete(self, kind: str, namespace: str, name: str) -> int:
        """Delete an object, and send the deletion to the watches."""
        with self._lock:
            return self.cluster.delete(kind, namespace, name)

    def unserve(self, kind: str) -> None:
        """Stop serving a kind, as if its CRD were removed, or not yet available after a restart."""
        with self._lock:
            self.served.pop(kind, None)
            self.close_watches(kind)

    def serve(self, kind: str, version: str = "") -> None:
        """Serve a kind in the newest version that pydns knows, or only in `version`, such as v1alpha1."""
        with self._lock:
            paths = [each for each in RESOURCES[kind].paths if not version or f"/{version}/" in each]
            self.served[kind] = paths[0]
            self.close_watches(kind)

    def resources(self, version: str) -> bytes | None:
        """Return the list of resources of an API version, or None if there are none."""
        served = [
            {"name": path.rpartition("/")[2], "kind": kind}
            for kind, path in self.served.items()
            if path.rpartition("/")[0] == version
        ]
        listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": served}
        return json.dumps(listed).encode() if served else None

    def drop_next_events(self, count: int) -> None:
        """Drop the events of the next changes."""
        with self._lock:
            self.cluster.drop_next_events(count)

    def compact(self) -> None:
        """Expire all older versions and all continue tokens."""
        with self._lock:
            self.cluster.compact()

    def send_bookmarks(self) -> None:
        """Send a bookmark to every open watch."""
        with self._lock:
            for watcher in self._watchers:
                watcher.send(self.cluster.bookmark(watcher.kind))

    def send_line(self, kind: str, line: bytes) -> None:
        """Send a line to all open watches of a kind. The line may contain anything."""
        with self._lock:
            for watcher in self._of(kind):
                watcher.send(line)

    def send_error(self, kind: str, code: int, reason: str, message: str) -> None:
        """Send an ERROR event to all open watches of a kind."""
        self.send_line(kind, event_line("ERROR", status_body(code, reason, message)))

    def cut_next_event(self) -> None:
        """Send only half of the next event's line, and close the connection."""
        with self._lock:
            self._cut_next = True

    def close_watches(self, kind: str | None = None) -> None:
        """End watches in the same way as a server does after their timeout."""
        with self._lock:
            for watcher in self._of(kind):
                watcher.end(clean=True)

    def reset_watches(self, kind: str | None = None) -> None:
        """End watches with a TCP reset."""
        with self._lock:
            for watcher in self._of(kind):
                linger = struct.pack("ii", 1, 0)
                with suppress(OSError):
                    watcher.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                watcher.end(clean=False)

    def fail(
        self,
        kind: str,
        verb: str,
        status: int,
        *,
        reason: str = "",
        message: str = "as the test wants it",
        retry_after_s: int | None = None,
        body: bytes | None = None,
        times: int | None = None,
    ) -> None:
        """Answer the next `times` requests with this failure, or all until `heal`. The default body is a Status."""
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        if body is None:
            body = status_body(status, reason, message, retry_after_s)
        with self._lock:
            self._faults[kind, verb] = _Fault(status, body, headers, times)

    def heal(self) -> None:
        """Answer requests normally again."""
        with self._lock:
            self._faults.clear()

    def wait_until(self, holds: Callable[["FakeApiServer"], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until the condition holds. Raises `AssertionError` if it doesn't in time."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), timeout_s), self.requests

    def watching(self, kind: str) -> int:
        """Return how many watches of a kind are open."""
        return len(self._of(kind))

    def asked(self, verb: str, kind: str) -> list[dict[str, str]]:
        """Return the query parameters of the requests so far with this verb and kind."""
        return [each.query for each in self.requests if (each.verb, each.kind) == (verb, kind)]

    def _of(self, kind: str | None) -> list[_Watcher]:
        return [watcher for watcher in self._watchers if kind is None or watcher.kind == kind]

    def _on_change(self, change: Change) -> None:
        if self.silent:
            return
        for watcher in self._of(change.kind):
            line = change_line(change, watcher.selected)
            if self._cut_next and line:
                self._cut_next = False
                watcher.send(line[: len(line) // 2])
                watcher.end(clean=False)
            elif not watcher.ended:
                watcher.send(line)

    def note(self, request: Request) -> _Fault | None:
        """Record a request. Return the fault that is the answer to the request, if any."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            fault = self._faults.get((request.kind, request.verb))
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times == 0:
                    del self._faults[request.kind, request.verb]
            return fault

    def list_page(self, request: Request) -> tuple[int, bytes]:
        """Return the response to a list request."""
        query = request.query
        with self._lock:
            try:
                return 200, self.cluster.list_page(
                    request.kind,
                    int(query.get("limit", 0)),
                    query.get("continue", ""),
                    selector(query.get("labelSelector", ""), query.get("fieldSelector", "")),
                    metadata_only=request.verb == "audit",
                )
            except Expired as error:
                return 410, status_body(410, "Expired", str(error))

    def create_event(self, body: bytes) -> tuple[int, bytes]:
        """Return the response to a request that creates an Event."""
        fault = self.note(Request("create", "Event", {}, ""))
        if fault is not None:
            return fault.status, fault.body
        event = json.loads(body)
        with self._changed:
            if any(each["metadata"] == event["metadata"] for each in self.created_events):
                return 409, status_body(409, "AlreadyExists", "there is an Event of this name")
            self.created_events.append(event)
            self._changed.notify_all()
        return 201, body

    def review_token(self, body: bytes) -> tuple[int, bytes]:
        """Return the response to a TokenReview."""
        fault = self.note(Request("create", "TokenReview", {}, ""))
        if fault is not None:
            return fault.status, fault.body
        spec = json.loads(body)["spec"]
        user, audiences = self.tokens.get(spec["token"], ("", []))
        shared = [each for each in audiences if each in spec["audiences"]]
        status: Json = {"authenticated": False}
        if shared:
            status = {"authenticated": True, "audiences": shared, "user": {"username": user}}
        return 201, json.dumps({"kind": "TokenReview", "status": status}).encode()

    def watch(self, request: Request, connection: socket.socket) -> bool:
        """Serve a watch on a connection until the watch ends. Return whether it ended without an error."""
        query = request.query
        selected = selector(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        watcher = _Watcher(request.kind, selected, connection)
        deadline = time.monotonic() + float(query.get("timeoutSeconds", 1800))
        with self._changed:
            if not self.silent:
                self._send_past(watcher, query)
            self._watchers.append(watcher)
            self._changed.notify_all()
        while (left_s := deadline - time.monotonic()) > 0:
            if watcher.wait(min(left_s, self.bookmark_s or left_s)):
                break
            if self.bookmark_s and not self.silent:
                with self._lock:
                    watcher.send(self.cluster.bookmark(watcher.kind))
        else:
            watcher.end(clean=True)
        with self._changed:
            self._watchers.remove(watcher)
            watcher.close()
            self._changed.notify_all()
        return watcher.clean

    def _send_past(self, watcher: _Watcher, query: dict[str, str]) -> None:
        if query.get("sendInitialEvents") == "true":
            if self.watch_list == "error":
                message = "storage is (re)initializing: RequestWatchProgress is disabled"
                watcher.send(event_line("ERROR", status_body(500, "InternalError", message)))
                watcher.end(clean=True)
                return
            for line in self.cluster.initial_events(watcher.kind, watcher.selected):
                watcher.send(line)
            return
        try:
            since = int(query["resourceVersion"])
            for change in self.cluster.changes_since(watcher.kind, since):
                watcher.send(change_line(change, watcher.selected))
        except Expired as error:
            watcher.send(event_line("ERROR", status_body(410, "Expired", str(error))))
            watcher.end(clean=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is not None:
            request = self.tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)
        finally:
            with suppress(OSError):
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print bugs of this server, but ignore clients that have disconnected."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def _handler(api: FakeApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # headers and body are sent together

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class has this name
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(url.query).items()}
            path = url.path
            if within := re.fullmatch("(/api/v1|/apis/[^/]+/[^/]+)/namespaces/([^/]+)(/.+)", path):
                path = within[1] + within[3]
                of_namespace = f"metadata.namespace={within[2]}"
                query["fieldSelector"] = ",".join(filter(None, [query.get("fieldSelector"), of_namespace]))
            kind = _KINDS.get(path)
            if path in _VERSIONS:
                fault = api.note(Request("discover", path, query, self.headers.get("Authorization", "")))
                resources = api.resources(path)
                if fault is not None:
                    self._answer(fault.status, fault.body, fault.headers)
                    return
                if resources is not None:
                    self._answer(200, resources)
                    return
            if kind is None or api.served.get(kind) != path:
                self._answer(404, status_body(404, "NotFound", "the server could not find the requested resource"))
                return
            verb = "watch" if query.get("watch") in ("true", "1", "True") else "list"
            if "PartialObjectMetadataList" in self.headers.get("Accept", ""):
                verb = "audit"
            request = Request(verb, kind, query, self.headers.get("Authorization", ""))
            fault = api.note(request)
            if fault is not None:
                self._answer(fault.status, fault.body, fault.headers)
            # The word "Bearer" may have upper or lower case (RFC 9110 section 11.1).
            elif request.token.lower() != f"bearer {api._token}":
                self._answer(401, status_body(401, "Unauthorized", "Unauthorized"))
            elif verb != "watch":
                time.sleep(api.list_delay_s)
                self._answer(*api.list_page(request))
            elif query.get("sendInitialEvents") == "true" and api.watch_list == "invalid":
                message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch"
                self._answer(422, status_body(422, "Invalid", message))
            else:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.flush()
                if api.watch(request, self.connection):
                    with suppress(OSError):
                        self.connection.sendall(b"0\r\n\r\n")
                else:
                    self.close_connection = True

        def do_POST(self) -> None:
            """Create an Event, review a token, or change a Service.

            The last one is `/_control/touch?namespace=N&service=S`, for benchmarks.
            """
            url = urlsplit(self.path)
            if re.fullmatch("/api/v1/namespaces/[^/]+/events", url.path):
                self._answer(*api.create_event(self.rfile.read(int(self.headers["Content-Length"]))))
                return
            if url.path == "/apis/authentication.k8s.io/v1/tokenreviews":
                self._answer(*api.review_token(self.rfile.read(int(self.headers["Content-Length"]))))
                return
            if url.path != "/_control/touch":
                self._answer(404, b"{}")
                return
            query = parse_qs(url.query)
            address, at_ns = touch(api, query["namespace"][0], query["service"][0])
            self._answer(200, json.dumps({"monotonic_ns": at_ns, "address": address}).encode())

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


_touches = iter(range(1 << 18))


def touch(api: FakeApiServer, namespace: str, service: str) -> tuple[str, int]:
    """Give a Service an unused address. Return the address, and the time at which the event had been written."""
    with api._lock:
        stored: Stored = api.cluster.objects["Service"][namespace, service]
        manifest = json.loads(stored.raw)
        number = next(_touches)
        address = f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        manifest["spec"]["clusterIP"] = address
        manifest["spec"]["clusterIPs"] = [address]
        api.apply("Service", manifest)
        return address, time.monotonic_ns()


def generate(api: FakeApiServer, services: int, endpoints: int) -> None:
    """Fill the cluster with objects of realistic size: Services of 1.4 KB, and slices of 3.9 KB with 10 endpoints."""
    for number in range(min(services, 100)):
        api.apply("Namespace", {"metadata": {"name": f"ns-{number}"}})
    for number in range(services):
        api.apply("Service", example_service(number))
        api.apply("EndpointSlice", example_slice(number, endpoints))


def example_service(number: int) -> Json:
    address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return {
        "metadata": _metadata(number, f"svc-{number}"),
        "spec": {
            "clusterIP": address,
            "clusterIPs": [address],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "selector": {"app.kubernetes.io/name": f"svc-{number}", "app.kubernetes.io/instance": "release"},
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def example_slice(number: int, endpoints: int) -> Json:
    metadata = _metadata(number, f"svc-{number}-{number * 7919 % 46656:05d}")
    metadata["labels"]["kubernetes.io/service-name"] = f"svc-{number}"
    owner = {"apiVersion": "v1", "kind": "Service", "name": f"svc-{number}", "uid": _uid(number)}
    metadata["ownerReferences"] = [{**owner, "controller": True, "blockOwnerDeletion": True}]
    return {
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [_endpoint(number, number * endpoints + each) for each in range(endpoints)],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def _endpoint(service: int, pod: int) -> Json:
    return {
        "addresses": [f"10.{128 + (pod >> 16 & 63)}.{pod >> 8 & 255}.{pod & 255}"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"node-{pod % 500}.example.internal",
        "targetRef": {
            "kind": "Pod",
            "name": f"svc-{service}-7d9c5b8f6d-{pod % 60466176:05d}",
            "namespace": f"ns-{service % 100}",
            "uid": _uid(pod),
        },
        "zone": f"eu-central-1{'abc'[pod % 3]}",
    }


def _metadata(number: int, name: str) -> Json:
    labels = {
        "app.kubernetes.io/name": f"svc-{number}",
        "app.kubernetes.io/instance": "release",
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": "chart-1.2.3",
    }
    fields = {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}, "f:spec": {"f:ports": {}}}
    return {
        "name": name,
        "namespace": f"ns-{number % 100}",
        "uid": _uid(number),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": labels,
        "annotations": {"meta.helm.sh/release-name": "release", "meta.helm.sh/release-namespace": f"ns-{number % 100}"},
        "managedFields": [
            {
                "manager": "helm",
                "operation": "Update",
                "apiVersion": "v1",
                "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1",
                "fieldsV1": fields,
            }
        ],
    }


def _uid(number: int) -> str:
    return f"{number:08x}-5f0c-4b1e-9a77-0242ac120002"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--endpoints", type=int, default=10, help="of each Service")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="file to write")
    arguments = parser.parse_args()
    with FakeApiServer(port=arguments.port) as api:
        generate(api, arguments.services, arguments.endpoints)
        api.write_kubeconfig(arguments.kubeconfig)
        print(f"listening on 127.0.0.1:{api.port} services={arguments.services}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
