"""pydns finds the API server's address, TLS settings, credentials and proxy in kubeconfigs and service accounts."""

import base64
import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from pydns.control.api_client import ApiClient, connect
from pydns.control.kubeconfig import Access, ConnectError, in_cluster, read_kubeconfig
from pydns.control.login import Credentials
from tests.fakes.apiserver import FakeApiServer

PATH = "/api/v1/services"
TOKEN = "secret"


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer(tls=True, token=TOKEN) as fake:
        yield fake


def kubeconfig(
    server: FakeApiServer, folder: Path, user: dict[str, Any] | None, cluster: dict[str, Any] | None = None
) -> Path:
    """Write a kubeconfig with these entries. Keys of `cluster` are added to the keys that lead to the server."""
    path = server.kubeconfig(folder)
    content = yaml.safe_load(path.read_text())
    content["clusters"][0]["cluster"] |= cluster or {}
    content["users"] = [{"name": "fake", "user": user}] if user is not None else []
    if user is None:
        del content["contexts"][0]["context"]["user"]
    path.write_text(yaml.safe_dump(content))
    return path


def status(client: ApiClient) -> int:
    return client.request(PATH, [("limit", 1)], 60).status


def program(folder: Path, *lines: str) -> dict[str, Any]:
    """Return the `exec` entry of a program that runs these lines of Python."""
    path = folder / "credentials"
    path.write_text("\n".join([f"#!{sys.executable}", "import json, os, sys", *lines]) + "\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    version = "client.authentication.k8s.io/v1"
    return {"apiVersion": version, "command": str(path), "interactiveMode": "Never"}


def printed(status: str) -> str:
    return (
        'json.dump({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": '
        + status
        + "}, sys.stdout)"
    )


# Each row has the entry of a user, and the Authorization header that the server receives.
USERS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "a token": ({"token": TOKEN}, f"Bearer {TOKEN}"),
    "a file, which wins over a token": ({"token": "other", "tokenFile": "token"}, f"Bearer {TOKEN}"),
    "a name and a password": ({"username": "me", "password": "it"}, "Basic " + base64.b64encode(b"me:it").decode()),
    "a name without a password": ({"username": "me"}, ""),
    "a user without anything": ({}, ""),
    "no user": (None, ""),
    "a user that is null": ({"token": None, "exec": None}, ""),
}


@pytest.mark.parametrize("name", USERS)
def test_a_user_authenticates(name: str, server: FakeApiServer, tmp_path: Path) -> None:
    user, wanted = USERS[name]
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    status(connect(kubeconfig(server, tmp_path, user)))
    assert server.requests[0].token == wanted


def test_a_token_file_is_read_again_after_a_minute_and_after_a_refusal(server: FakeApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("before")
    now = 0.0
    access = read_kubeconfig(kubeconfig(server, tmp_path, {"tokenFile": "token"}))
    client = ApiClient(access, clock=lambda: now)
    assert status(client) == 401
    (tmp_path / "token").write_text(TOKEN)
    assert status(client) == 200
    (tmp_path / "token").write_text("after")
    now = 59.0
    assert status(client) == 200
    now = 61.0
    assert status(client) == 401


def test_certificates_may_be_files_or_data_or_unchecked(server: FakeApiServer, tmp_path: Path) -> None:
    server.kubeconfig(tmp_path)
    (tmp_path / "of").mkdir()
    pem = (tmp_path / "ca.pem").read_bytes()
    (tmp_path / "of" / "ca.pem").write_bytes(pem)
    other = trustme.CA().cert_pem.bytes()
    for cluster, is_trusted in (
        ({"certificate-authority": "of/ca.pem"}, True),  # the path is relative to the kubeconfig
        ({"certificate-authority-data": base64.b64encode(pem).decode(), "certificate-authority": "none"}, True),
        ({"certificate-authority-data": base64.b64encode(other).decode()}, False),
        ({"certificate-authority": None}, False),  # pydns uses the CAs of the system
        ({"certificate-authority": None, "insecure-skip-tls-verify": True}, True),
        ({"tls-server-name": "127.0.0.1"}, True),
        ({"tls-server-name": "elsewhere.example"}, False),
    ):
        client = connect(kubeconfig(server, tmp_path, {"token": TOKEN}, cluster))
        if is_trusted:
            assert status(client) == 200, cluster
        else:
            with pytest.raises(Exception, match="certificate"):
                status(client)


def test_a_client_certificate_is_sent(tmp_path: Path) -> None:
    ca = trustme.CA()
    mine = ca.issue_cert("me.example")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    with FakeApiServer(tls=True) as server:
        assert server.tls is not None
        server.tls.verify_mode = ssl.CERT_REQUIRED
        ca.configure_trust(server.tls)
        data = base64.b64encode((tmp_path / "cert.pem").read_bytes()).decode()
        for user in (
            {"client-certificate": "cert.pem", "client-key": "key.pem", "token": TOKEN},
            {"client-certificate-data": data, "client-key": str(tmp_path / "key.pem"), "token": TOKEN},
        ):
            assert status(connect(kubeconfig(server, tmp_path, user))) == 200
        with pytest.raises(ConnectError, match="PEM"):  # a certificate without its key
            connect(kubeconfig(server, tmp_path, {"client-certificate": "cert.pem"}))


# Programs and providers


def test_a_login_program_is_run_again_when_its_token_expires(server: FakeApiServer, tmp_path: Path) -> None:
    entry = program(
        tmp_path,
        f"count = {str(tmp_path / 'count')!r}",
        'open(count, "a").write(".")',
        printed(f'{{"token": {TOKEN!r}, "expirationTimestamp": "2020-01-01T00:00:00Z"}}'),
    )
    now = 0.0
    client = ApiClient(read_kubeconfig(kubeconfig(server, tmp_path, {"exec": entry})), clock=lambda: now)
    assert status(client) == 200
    assert (tmp_path / "count").read_text() == "."
    now = 2.0  # pydns uses expired credentials for one second
    assert status(client) == 200
    assert (tmp_path / "count").read_text() == ".."


def test_a_login_program_may_provide_a_certificate(server: FakeApiServer, tmp_path: Path) -> None:
    ca = trustme.CA()
    pair = ca.issue_cert("me.example")
    assert server.tls is not None
    server.tls.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(server.tls)
    found = {
        "clientCertificateData": pair.cert_chain_pems[0].bytes().decode(),
        "clientKeyData": pair.private_key_pem.bytes().decode(),
    }
    client = connect(kubeconfig(server, tmp_path, {"exec": program(tmp_path, printed(json.dumps(found)))}))
    assert status(client) == 401  # The connection needs a certificate but no token.


# Each row has the lines of a program, and a part of the error message.
BAD_PROGRAMS = {
    "it fails": (['sys.exit("not logged in: run login")'], "not logged in: run login"),
    "it prints nothing": ([], "decode"),
    "it prints no token": ([printed("{}")], "missing token"),
}


@pytest.mark.parametrize("name", BAD_PROGRAMS)
def test_a_failed_login_program_is_an_error_with_its_reason(name: str, server: FakeApiServer, tmp_path: Path) -> None:
    lines, says = BAD_PROGRAMS[name]
    path = kubeconfig(server, tmp_path, {"exec": program(tmp_path, *lines)})
    with pytest.raises(ConnectError) as caught:
        connect(path)
    message = str(caught.value)
    assert message.startswith(f"kubeconfig {path}: no credentials: ") and says in message and "\n" not in message


def test_pydns_logs_in_with_an_auth_provider(server: FakeApiServer, tmp_path: Path) -> None:
    token = ".".join(["e30", base64.urlsafe_b64encode(b'{"exp": 4000000000}').decode().rstrip("="), "c2ln"])
    provider = {"name": "oidc", "config": {"id-token": token}}
    status(connect(kubeconfig(server, tmp_path, {"auth-provider": provider})))
    assert server.requests[0].token == f"Bearer {token}"


def test_ordinary_kubeconfig_does_not_import_kubernetes(server: FakeApiServer, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pydns.control.api_client import connect;"
        "connect(Path(sys.argv[1])); sys.exit('kubernetes' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(server.kubeconfig(tmp_path))]
    assert subprocess.run(command, check=False).returncode == 0


# In a pod


@pytest.fixture
def account(server: FakeApiServer, tmp_path: Path) -> tuple[dict[str, str], Path]:
    """The environment and the folder of a pod's service account."""
    server.kubeconfig(tmp_path)
    (tmp_path / "ca.pem").rename(tmp_path / "ca.crt")
    (tmp_path / "token").write_text(TOKEN)
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.port)}, tmp_path


def test_a_pod_uses_its_service_account_and_no_proxy(
    server: FakeApiServer, account: tuple[dict[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # the discard port, where nothing listens
    assert status(ApiClient(in_cluster(*account))) == 200
    assert server.requests[0].token == f"Bearer {TOKEN}"


def test_the_address_of_the_cluster_may_be_an_ipv6_address(account: tuple[dict[str, str], Path]) -> None:
    environment, folder = account
    access = in_cluster(environment | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, folder)
    assert access.url == f"https://[fd00::1]:{environment['KUBERNETES_SERVICE_PORT']}"


@pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "token", "ca.crt"])
def test_the_message_names_what_a_pod_lacks(missing: str, account: tuple[dict[str, str], Path]) -> None:
    environment, folder = account
    environment.pop(missing, None)
    (folder / missing).unlink(missing_ok=True)
    with pytest.raises(ConnectError, match=rf"^not in a cluster: .*{missing}"):
        in_cluster(environment, folder)


def test_outside_a_cluster_the_message_lists_the_expected_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConnectError, match=r"^not in a cluster: .*KUBERNETES_SERVICE_HOST"):
        connect(None)


# Proxies

PROXY = "http://proxy.example:3128"
# Each row has the server, the environment variables, and the expected proxy.
PROXIES: list[tuple[str, dict[str, str], str | None]] = [
    ("https://api.example:6443", {"https_proxy": PROXY}, PROXY),
    ("https://api.example:6443", {"HTTPS_PROXY": PROXY}, PROXY),
    ("https://api.example:6443", {"http_proxy": PROXY}, None),
    ("https://api.example:6443", {"all_proxy": PROXY}, PROXY),
    ("https://api.example:6443", {"https_proxy": PROXY, "no_proxy": "example"}, None),
    ("https://api.example:6443", {"https_proxy": PROXY, "no_proxy": ".example,other"}, None),
    ("https://api.example:6443", {"https_proxy": PROXY, "no_proxy": "ample"}, PROXY),
    ("https://api.example:6443", {"https_proxy": PROXY, "no_proxy": "*"}, None),
    ("https://10.1.2.3:6443", {"https_proxy": PROXY, "no_proxy": "192.0.2.0/24, 10.0.0.0/8"}, None),
    ("https://10.1.2.3:6443", {"https_proxy": PROXY, "no_proxy": "192.0.2.0/24"}, PROXY),
    ("https://[fd00::1]:6443", {"https_proxy": PROXY, "no_proxy": "fd00::/8"}, None),
    ("https://127.0.0.1:6443", {"https_proxy": PROXY}, None),
    ("https://[::1]:6443", {"https_proxy": PROXY}, None),
    ("https://localhost:6443", {"https_proxy": PROXY}, None),
]


@pytest.mark.parametrize(("url", "environment", "wanted"), PROXIES)
def test_the_proxy_of_the_environment_is_used_unless_no_proxy_excludes_the_server(
    url: str, environment: dict[str, str], wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    access = Access(url, Credentials)
    assert ApiClient(access).proxy == wanted
    assert ApiClient(access._replace(uses_environment=False)).proxy is None
    assert ApiClient(access._replace(proxy="http://own.example")).proxy == "http://own.example"


def test_a_proxy_of_the_kubeconfig_is_used(server: FakeApiServer, tmp_path: Path) -> None:
    client = connect(kubeconfig(server, tmp_path, {"token": TOKEN}, {"proxy-url": "http://127.0.0.1:9"}))
    with pytest.raises(Exception, match="proxy"):
        status(client)
    assert server.requests == []


# Mistakes

CONTEXTS = "contexts: [{name: blue, context: {cluster: c}}, {name: green, context: {cluster: c, user: u}}]\n"
CLUSTERS = "clusters: [{name: c, cluster: {server: https://192.0.2.1}}]\n"
# Each row has the content of the file (None: no file), the wanted context, and a part of the error message.
BAD_KUBECONFIGS = {
    "no file": (None, None, "No such file or directory"),
    "not YAML": ("a: [", None, "is not YAML"),
    "binary": ("\x00\x01", None, "is not YAML"),
    "empty": ("", None, "it has no contexts"),
    "a list": ("[1, 2]", None, "it has no contexts"),
    "no current context": (CONTEXTS, None, "has no current-context; choose one of its contexts: blue, green"),
    "an unknown current context": (
        CONTEXTS + "current-context: red",
        None,
        'has no context "red"; its contexts: blue, green',
    ),
    "an unknown context": (CONTEXTS, "red", 'has no context "red"; its contexts: blue, green'),
    "no clusters": (CONTEXTS, "blue", 'no entry "c" in clusters'),
    "a cluster that is a number": (
        CONTEXTS + "clusters: [{name: c, cluster: 7}]",
        "blue",
        'the entry "c" of clusters: Expected `object`, got `int`',
    ),
    "a cluster without a server": (
        CONTEXTS + "clusters: [{name: c, cluster: {}}]",
        "blue",
        "Object missing required field `server`",
    ),
    "no users": (CONTEXTS + CLUSTERS, "green", 'no entry "u" in users'),
    "a token that is a number": (
        CONTEXTS + CLUSTERS + "users: [{name: u, user: {token: 7}}]",
        "green",
        'the entry "u" of users: Expected `str | null`, got `int` - at `$.token`',
    ),
    "a certificate that isn't base64": (
        CONTEXTS + CLUSTERS + "users: [{name: u, user: {client-certificate-data: a}}]",
        "green",
        "client-certificate-data: is not base64",
    ),
    "a certificate that isn't ASCII": (
        CONTEXTS + CLUSTERS + "users: [{name: u, user: {client-certificate-data: ä}}]",
        "green",
        "client-certificate-data: is not base64",
    ),
    "a file that has no name": (
        CONTEXTS + CLUSTERS + 'users: [{name: u, user: {client-certificate: "a\\0b"}}]',
        "green",
        "null byte",
    ),
    "a certificate that isn't PEM": (
        CONTEXTS + CLUSTERS + "users: [{name: u, user: {client-certificate-data: aaaa}}]",
        "green",
        "PEM",
    ),
    "a token file that is missing": (
        CONTEXTS + CLUSTERS + "users: [{name: u, user: {tokenFile: none}}]",
        "green",
        "No such file or directory",
    ),
    "a CA that is missing": (
        CONTEXTS + "clusters: [{name: c, cluster: {server: https://192.0.2.1, certificate-authority: none}}]",
        "blue",
        "none: No such file or directory",
    ),
}


@pytest.mark.parametrize("name", BAD_KUBECONFIGS)
def test_a_bad_kubeconfig_is_refused_with_one_line_and_the_reason(name: str, tmp_path: Path) -> None:
    content, context, says = BAD_KUBECONFIGS[name]
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConnectError) as caught:
        connect(path, context)
    message = str(caught.value)
    assert message.startswith(f"kubeconfig {path}: ") and says in message and "\n" not in message


def test_the_error_names_a_kubeconfig_that_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="Is a directory"):
        connect(tmp_path, None)
