"""The requests that benchmarks send to the API server: list the endpoints, and change a Service."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes
import msgspec

from tests.bench.cluster import DOMAIN

_TIMEOUT_S = 10


class Touched(msgspec.Struct):
    """A changed Service: its new address, and the monotonic time just after the event was sent to watchers."""

    monotonic_ns: int
    address: str


class Endpoint(NamedTuple):
    """An endpoint's name in DNS, without the final dot, and its address."""

    dns_name: str
    address: str


class Api:
    """A connection to the API server in a kubeconfig. Only one thread at a time may use it."""

    def __init__(self, kubeconfig: Path) -> None:
        connect: Callable[..., kubernetes.client.ApiClient] = kubernetes.config.new_client_from_config
        self._client = connect(config_file=str(kubeconfig))

    def touch(self, service: str, namespace: str) -> Touched:
        """Make the fake API server change a Service's address."""
        query = [("service", service), ("namespace", namespace)]
        return msgspec.json.decode(self._call("POST", "/_control/touch", query), type=Touched)

    def endpoint(self, service: str, namespace: str) -> Endpoint:
        """Return the first endpoint of the Service. Its name is the hostname, or the address with dashes.

        The endpoint is assumed to be ready.
        """
        path = "/apis/discovery.k8s.io/v1/endpointslices"
        selector = [("labelSelector", f"kubernetes.io/service-name={service}")]
        for item in msgspec.json.decode(self._call("GET", path, selector))["items"]:
            if item["metadata"]["namespace"] != namespace:
                continue
            for endpoint in item["endpoints"] or ():
                address = endpoint["addresses"][0]
                label = endpoint.get("hostname") or address.replace(".", "-")
                return Endpoint(f"{label}.{service}.{namespace}.svc.{DOMAIN}", address)
        raise ValueError(f"the API server knows no endpoint of {namespace}/{service}")

    def _call(self, method: str, path: str, query: list[tuple[str, str]]) -> bytes:
        request = self._client.param_serialize(method, path, query_params=query, auth_settings=["BearerToken"])
        response: Any = self._client.call_api(*request, _request_timeout=_TIMEOUT_S)
        body: bytes = response.read()
        if response.status != 200:
            raise ValueError(f"{method} {path}: the API server answered {response.status}: {body[:200]!r}")
        return body
