"""Sends HTTP requests to an API server, with TLS, credentials and proxies. Several threads may use one client.

urllib3 implements HTTP. The retries of urllib3 are off, because the reflector decides when to repeat a request.
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util.ssl_ import create_urllib3_context

from pydns.control.kubeconfig import Access, ConnectError, in_cluster, read_kubeconfig
from pydns.log import one_line

_CONNECTIONS = 16  # the maximum number of idle connections, larger than the number of kinds of objects

# TCP keepalive detects within a minute that the peer disappeared without a FIN. Timeouts of requests detect a peer that
# still exists but sends nothing.
_KEEPALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class ApiClient:
    """A client of one API server."""

    def __init__(self, access: Access, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a client. Raises `ssl.SSLError` for a bad certificate, and any exception of `access.credentials`."""
        self.url = access.url
        self.is_verified = access.is_verified
        self.proxy = _proxy(access, getproxies())
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        if not access.is_verified:  # urllib3 would warn at each connection, but `ApiServer` warns only once
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        self._credentials = access.credentials()
        self._pool = _pool(access, self._credentials.certificate, self.proxy)
        self._good_until = clock() + self._credentials.good_for_s

    def request(
        self,
        path: str,
        query: list[tuple[str, Any]],
        timeout_s: float,
        *,
        accept: str = "application/json",
        method: str = "GET",
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> urllib3.BaseHTTPResponse:
        """Return the response with its body unread.

        `timeout_s` limits the time until a connection is made, and each wait for data. After a 401, the next request
        uses new credentials. May raise any exception, because files and programs provide the credentials.
        """
        pool, authorization = self._current()
        headers = {"Accept": accept, "User-Agent": "pydns"}
        if authorization is not None:
            headers["Authorization"] = authorization
        if body is not None:
            headers["Content-Type"] = content_type
        response = pool.request(
            method,
            f"{self.url}{path}?{urlencode(query)}" if query else self.url + path,
            body=body,
            headers=headers,
            timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
            preload_content=False,
        )
        if response.status == 401:
            self._good_until = self._clock()
        return response

    def _current(self) -> tuple[urllib3.PoolManager, str | None]:
        """Return the connections and the Authorization header for the next request.

        If the credentials may have expired, read them again.
        """
        with self._lock:
            if self._clock() >= self._good_until:
                found = self._access.credentials()
                if found.certificate != self._credentials.certificate:
                    self._pool = _pool(self._access, found.certificate, self.proxy)
                self._credentials = found
                self._good_until = self._clock() + found.good_for_s
            return self._pool, self._credentials.authorization


def connect(kubeconfig: Path | None, context: str | None = None) -> ApiClient:
    """Return a client for a context of a kubeconfig. Without a kubeconfig, return a client for the cluster of this pod.

    This function opens no connection. If the kubeconfig names a program for credentials, this function runs the
    program. Raises `ConnectError`.
    """
    if kubeconfig is None:
        return ApiClient(in_cluster(os.environ))
    try:
        return ApiClient(read_kubeconfig(kubeconfig, context))
    except ConnectError:
        raise
    except Exception as error:  # files may have any content, and programs for credentials may fail
        raise ConnectError(f"kubeconfig {kubeconfig}: {one_line(error)}") from None


def _pool(access: Access, certificate: bytes | None, proxy: str | None) -> urllib3.PoolManager:
    options: dict[str, Any] = {"retries": False, "socket_options": _KEEPALIVE, "maxsize": _CONNECTIONS}
    if access.url.startswith("https:"):
        options["ssl_context"] = _tls(access, certificate)
        options["server_hostname"] = access.server_name
    if proxy is None:
        return urllib3.PoolManager(**options)
    if proxy.startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager

        return SOCKSProxyManager(proxy, **options)
    return urllib3.ProxyManager(proxy, **options)


def _tls(access: Access, certificate: bytes | None) -> ssl.SSLContext:
    context = create_urllib3_context()
    # The CA of many clusters lacks extensions that Python 3.13 requires in strict mode. client-go accepts CAs without
    # these extensions.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not access.is_verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif access.ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=access.ca.decode("ascii", "replace"))
    if certificate is not None:
        _load_certificate(context, certificate)
    return context


def _load_certificate(context: ssl.SSLContext, certificate: bytes) -> None:
    """Load a certificate and its key.

    `ssl` reads certificates and keys only from a file, so this function creates a file in memory.
    """
    with os.fdopen(os.memfd_create("certificate"), "w+b", buffering=0) as file:
        file.write(certificate)
        # If the key is encrypted and no password is given, OpenSSL asks for the password at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}", password=b"")


def _proxy(access: Access, environment: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy, or None if requests use no proxy.

    A proxy in the kubeconfig replaces the proxy of the environment, as in client-go.
    """
    if access.proxy is not None:
        return access.proxy
    url = urlsplit(access.url)
    proxy = environment.get(url.scheme) or environment.get("all")
    if proxy is None or not access.uses_environment or _is_direct(url.hostname or "", url.netloc, environment):
        return None
    return proxy


def _is_direct(host: str, host_and_port: str, environment: Mapping[str, str]) -> bool:
    """Return whether requests to a host use no proxy. Requests to loopback and to the hosts in NO_PROXY use no proxy.

    Python's `proxy_bypass` supports only suffixes of names in NO_PROXY. This function also supports networks, because
    clusters often have networks in NO_PROXY.
    """
    if host == "localhost" or proxy_bypass(host_and_port):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    networks = [each.strip() for each in environment.get("no", "").split(",")]
    return address.is_loopback or any(_contains(each, address) for each in networks)


def _contains(network: str, address: Any) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False
