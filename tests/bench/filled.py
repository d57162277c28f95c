"""A cluster that a benchmark fills with Services and slices: the fake API server, or a real one.

In a real cluster, the objects are in namespaces of their own, and are deleted at the end. The Services have no
selector, and the slices have no owner. So the controllers of the cluster don't change them. The user of the kubeconfig
may create and delete namespaces, Services and EndpointSlices.
"""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydns.control.api_client import ApiClient, connect
from tests.bench import cluster, servers
from tests.bench.kubeapi import Api, Endpoint
from tests.fakes.apiserver import example_service, example_slice

_NAMESPACES = 20
_THREADS = 16
_TIMEOUT_S = 60
_SERVICES, _SLICES = "/api/v1/namespaces/{}/services", "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"


class Filled(NamedTuple):
    """A filled cluster. The last Service is the last one in the server's lists."""

    kubeconfig: Path
    services: list[cluster.Service]
    endpoint: Endpoint  # an endpoint of the last Service


@contextmanager
def fake(services: int, endpoints: int) -> Iterator[Filled]:
    """Run the fake API server with this number of Services, and of endpoints of each."""
    with servers.api_server(services, endpoints) as kubeconfig:
        found = cluster.services(services)
        yield Filled(kubeconfig, found, Api(kubeconfig).endpoint(found[-1].name, found[-1].namespace))


@contextmanager
def real(kubeconfig: Path, services: int, endpoints: int) -> Iterator[Filled]:
    """Fill the cluster of a kubeconfig with this number of Services, and of endpoints of each."""
    prefix = f"pydns-bench-{uuid.uuid4().hex[:6]}"
    namespaces = [f"{prefix}-{number:02}" for number in range(min(_NAMESPACES, services))]
    places = [(number, namespaces[number * len(namespaces) // services]) for number in range(services)]
    client = _Client(kubeconfig)
    try:
        client.each(client.create_namespace, namespaces)
        addresses = client.each(partial(client.create, endpoints=endpoints), places)
        found = [
            cluster.Service(f"svc-{number}", namespace, address)
            for (number, namespace), address in zip(places, addresses, strict=True)
        ]
        last = max(found, key=lambda each: (each.namespace, each.name))  # lists of the API server have this order
        found.remove(last)
        endpoint = Api(kubeconfig).endpoint(last.name, last.namespace)
        yield Filled(kubeconfig, [*found, last], endpoint)
    finally:
        client.each(client.delete, places)
        client.each(client.delete_namespace, namespaces)


class _Client:
    """Sends requests from several threads. Each thread has its own connection."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        self._local = threading.local()

    def each(self, call: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        """Call a function for each item, and return the results. Raises the first error at the end."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(call, items))

    def create_namespace(self, namespace: str) -> None:
        self._request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})

    def create(self, place: tuple[int, str], endpoints: int) -> str:
        """Create a Service and its slice. Return the address of the Service."""
        number, namespace = place
        service, of_service = example_service(number), example_slice(number, endpoints)
        for manifest in service, of_service:
            meta = manifest["metadata"]
            manifest["metadata"] = {key: meta[key] for key in ("name", "labels", "annotations")}
        service["spec"] = {"ports": service["spec"]["ports"]}
        for endpoint in of_service["endpoints"]:
            endpoint["targetRef"]["namespace"] = namespace
        address: str = self._request("POST", _SERVICES.format(namespace), service)["spec"]["clusterIP"]
        self._request("POST", _SLICES.format(namespace), of_service)
        return address

    def delete(self, place: tuple[int, str]) -> None:
        """Delete a Service and its slice.

        They aren't deleted as a collection, because that may take longer than the API server allows.
        """
        number, namespace = place
        service, of_service = example_service(number), example_slice(number, 0)
        for path, manifest in (_SLICES, of_service), (_SERVICES, service):
            self._request("DELETE", f"{path.format(namespace)}/{manifest['metadata']['name']}", passing=(404,))

    def delete_namespace(self, namespace: str) -> None:
        """Delete an empty namespace. This also works without the namespace controller."""
        path = f"/api/v1/namespaces/{namespace}"
        self._request("DELETE", path, passing=(404,))
        without_finalizers = {"metadata": {"name": namespace}, "spec": {"finalizers": []}}
        self._request("PUT", path + "/finalize", without_finalizers, passing=(404,))

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, passing: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """Return the object in the response. Raises `Failed` for an error whose status isn't in `passing`."""
        if not hasattr(self._local, "client"):
            self._local.client = connect(self._kubeconfig)
        client: ApiClient = self._local.client
        content = None if body is None else json.dumps(body).encode()
        response = client.request(path, [], _TIMEOUT_S, method=method, body=content)
        data = response.data
        if not 200 <= response.status < 300 and response.status not in passing:
            raise servers.Failed(f"{method} {path}: the API server answered {response.status}: {data[:200]!r}")
        found: dict[str, Any] = json.loads(data)
        return found
