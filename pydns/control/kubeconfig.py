"""Reads the address of the API server and the credentials, from a kubeconfig or from the service account of a pod.

The `kubernetes` package can read the address and the credentials, too. Importing this package takes 0.2 s. The import
also takes 31 MB of memory until the process exits. So the `kubernetes` package is used only for rare kinds of
credentials, and only in a separate process that exits soon: see `pydns.control.login`.

A user in a kubeconfig may have several kinds of credentials. Only the first that exists is used, in this order: an
authentication provider, a token, a program (`exec`), a name with a password. A client certificate is used in addition.
"""

import base64
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import yaml

from pydns.control import login
from pydns.control.login import Credentials
from pydns.process.sources import SERVICE_ACCOUNT, not_in_a_cluster

_TOKEN_S = 60.0  # how long a token from a file is used before the file is read again, as in client-go


class ConnectError(Exception):
    """The flags don't name a usable API server. The message of this error is one line with the reason."""


class Access(NamedTuple):
    """The address of an API server, and the data that a client needs to connect."""

    url: str
    credentials: Callable[[], Credentials]  # may read a file or run a program, and raise any exception
    ca: bytes | None = None  # certificates of trusted CAs, in PEM; None: the system's CAs
    is_verified: bool = True  # whether to check the certificate of the server
    server_name: str | None = None  # the name in the certificate of the server; None: the host of the URL
    proxy: str | None = None
    uses_environment: bool = True  # whether to use the proxy that environment variables name


def in_cluster(environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> Access:
    """Return the access of a pod with its service account. Raises `ConnectError`."""
    host, port = (environment.get(f"KUBERNETES_SERVICE_{each}", "") for each in ("HOST", "PORT"))
    if not host or not port:
        raise ConnectError(not_in_a_cluster("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set"))
    token = _TokenFile(service_account / "token")
    try:
        ca = (service_account / "ca.crt").read_bytes()
        token()
    except OSError as error:
        raise ConnectError(not_in_a_cluster(f"{error.filename}: {error.strerror}")) from None
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(url, token, ca, uses_environment=False)  # a proxy can't reach an in-cluster address


def read_kubeconfig(path: Path, context: str | None = None) -> Access:
    """Return the access that a context of a kubeconfig describes. If `context` is empty, use the current context.

    This function runs no credential program. Raises `ConnectError`.
    """
    try:
        cluster, user = _choose(_load(path), context)
        return _access(_Files(path.parent), cluster, user, lambda: login.run(path, context))
    except OSError as error:
        found = str(error.filename) if error.filename is not None else str(path)
        where = "" if found == str(path) else f"{found}: "
        raise ConnectError(f"kubeconfig {path}: {where}{error.strerror}") from None
    except _Wrong as error:
        raise ConnectError(f"kubeconfig {path}: {error}") from None


class _Wrong(Exception):
    """A mistake in a kubeconfig."""


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    proxy_url: str | None = None


class _User(msgspec.Struct, rename="kebab"):
    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    username: str | None = None
    password: str | None = None
    exec: dict[str, Any] | None = None
    auth_provider: dict[str, Any] | None = None


class _Context(msgspec.Struct):
    cluster: str
    user: str | None = None


_Entry = TypeVar("_Entry")


class _TokenFile:
    """A token in a file, which is read again from time to time.

    Kubernetes replaces the token of a pod long before it expires.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> Credentials:
        return Credentials(f"Bearer {self._path.read_text().strip()}", good_for_s=_TOKEN_S)


class _Files:
    """The files that a kubeconfig names. The paths of these files are relative to the folder of the kubeconfig."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, text: str) -> Path:
        return self._folder / text

    def content(self, key: str, path: str | None, data: str | None) -> bytes | None:
        """Return the content from the data in the kubeconfig, or from a file if there is no data.

        Return None if the kubeconfig has neither the data nor the path of a file.
        """
        if data:
            try:
                return base64.b64decode(data)
            except ValueError:  # `b64decode` raises this error for characters that aren't ASCII, too
                raise _Wrong(f"{key}-data: is not base64") from None
        return self.path(path).read_bytes() if path else None


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _Wrong(f"is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("contexts"), list):
        raise _Wrong("is not a kubeconfig: it has no contexts")
    return content


def _choose(content: dict[str, Any], context: str | None) -> tuple[_Cluster, _User]:
    names = [str(each.get("name")) for each in content["contexts"] if isinstance(each, dict)]
    known = ", ".join(names) or "none"
    wanted = context or content.get("current-context")
    if not wanted:
        raise _Wrong(f"has no current-context; choose one of its contexts: {known}")
    if wanted not in names:
        raise _Wrong(f'has no context "{wanted}"; its contexts: {known}')
    chosen = _entry(content, "contexts", wanted, _Context)
    cluster = _entry(content, "clusters", chosen.cluster, _Cluster)
    user = _entry(content, "users", chosen.user, _User) if chosen.user else _User()
    return cluster, user


def _entry(content: dict[str, Any], group: str, name: str, shape: type[_Entry]) -> _Entry:
    """Return the entry with this name in a group of entries.

    The value of an entry in "users" is under the key "user".
    """
    entries = content.get(group)
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, dict) and each.get("name") == name:
            try:
                return msgspec.convert(each.get(group.removesuffix("s")), shape)
            except msgspec.ValidationError as error:
                raise _Wrong(f'the entry "{name}" of {group}: {error}') from None
    raise _Wrong(f'no entry "{name}" in {group}')


def _access(files: _Files, cluster: _Cluster, user: _User, log_in: Callable[[], Credentials]) -> Access:
    ca = files.content("certificate-authority", cluster.certificate_authority, cluster.certificate_authority_data)
    certificate = files.content("client-certificate", user.client_certificate, user.client_certificate_data)
    key = files.content("client-key", user.client_key, user.client_key_data)
    credentials = _authentication(files, user, log_in)
    if certificate is not None:
        credentials = _with_certificate(certificate + b"\n" + (key or b""), credentials)
    return Access(
        cluster.server.rstrip("/"),
        credentials,
        ca,
        not cluster.insecure_skip_tls_verify,
        cluster.tls_server_name,
        cluster.proxy_url,
    )


def _with_certificate(pair: bytes, authenticate: Callable[[], Credentials]) -> Callable[[], Credentials]:
    def credentials() -> Credentials:
        found = authenticate()
        return found if found.certificate else found._replace(certificate=pair)

    return credentials


def _authentication(files: _Files, user: _User, log_in: Callable[[], Credentials]) -> Callable[[], Credentials]:
    if user.auth_provider is not None:
        return log_in
    if user.token_file:
        return _TokenFile(files.path(user.token_file))
    if user.token:
        return partial(Credentials, f"Bearer {user.token}")
    if user.exec is not None:
        return log_in
    if user.username is not None and user.password is not None:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return partial(Credentials, f"Basic {pair}")
    return Credentials
