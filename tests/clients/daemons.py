"""Proxies and monitors that resolve names in their configuration: nginx, HAProxy, Prometheus."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

from tests.clients import programs
from tests.clients.pod import ADDRESS, Pod
from tests.clients.table import NONE

Asked = tuple[str, str]
NGINX_PORT = 8080  # the port at which nginx connects to upstreams
_LISTENS, _STATS = 8000, 8001
_PATIENCE_S = 30.0
_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log error;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    resolver {address} valid=1s;
    location / {{ proxy_pass http://$http_x_upstream:{upstream}; }}
  }}
}}
"""
_HAPROXY = """
global
  stats socket ipv4@127.0.0.1:{stats}
defaults
  mode tcp
  timeout connect 1s
  timeout client 1s
  timeout server 1s
resolvers pydns
  nameserver pydns {address}:53
  accepted_payload_size 8192
frontend none
  bind 127.0.0.1:{port}
"""
_HAPROXY_BACKEND = """
backend {number}
  server-template s 250 {name}:80 resolvers pydns resolve-prefer {family} init-addr none
"""
_FAMILIES = {"A": "ipv4", "AAAA": "ipv6"}


@contextmanager
def _running(pod: Pod, command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen(pod.command(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _get(pod: Pod, port: int, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    with pod.namespace.entered():
        connection.connect()
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        return connection.getresponse().read()
    finally:
        connection.close()


def _until(is_so: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@contextmanager
def nginx(pod: Pod) -> Iterator[Callable[[str, str], str]]:
    """Run a proxy that takes its upstream's name from each request.

    Yield a function that sends a request for a name and returns the log.
    """
    folder = pod.folder / "nginx"
    folder.mkdir()
    config, log, output = (folder / each for each in ("nginx.conf", "error.log", "output"))
    config.write_text(_NGINX.format(folder=folder, port=_LISTENS, address=ADDRESS, upstream=NGINX_PORT))
    log.touch()

    def ask(question: str, name: str) -> str:
        before = log.stat().st_size
        _get(pod, _LISTENS, "/", {"X-Upstream": name})
        return " ".join(log.read_bytes()[before:].decode().split())

    with _running(pod, [programs.find("nginx"), "-c", str(config)], output):
        _until(lambda: _is_open(pod, _LISTENS), output)
        yield ask


def haproxy(pod: Pod, asked: Sequence[Asked]) -> Mapping[Asked, str]:
    """Return the addresses of the servers that HAProxy finds for each name."""
    folder = pod.folder / "haproxy"
    folder.mkdir()
    text = _HAPROXY.format(stats=_STATS, address=ADDRESS, port=_LISTENS)
    for number, (question, name) in enumerate(asked):
        text += _HAPROXY_BACKEND.format(number=number, name=name, family=_FAMILIES.get(question, "ipv4"))
    config = folder / "haproxy.cfg"
    config.write_text(text)
    with _running(pod, [programs.find("haproxy"), "-db", "-f", str(config)], folder / "output"):
        _until(lambda: _is_open(pod, _STATS), folder / "output")
        found = _settled(lambda: _haproxy_servers(pod, len(asked)), 3.0)
    return {each: " ".join(_of_family(each[0], found[number])) or NONE for number, each in enumerate(asked)}


def _of_family(question: str, addresses: Sequence[str]) -> list[str]:
    """Return the addresses of the wanted family. If a name has none, HAProxy uses addresses of the other family."""
    return [address for address in addresses if (":" in address) == (question == "AAAA")]


def _is_open(pod: Pod, port: int) -> bool:
    with suppress(OSError), pod.namespace.entered(), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _haproxy_servers(pod: Pod, count: int) -> list[list[str]]:
    with pod.namespace.entered():
        connection = socket.create_connection(("127.0.0.1", _STATS))
    with connection:
        connection.sendall(b"show servers state\n")
        lines = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode().splitlines()
    found: list[list[str]] = [[] for _ in range(count)]
    for line in lines[2:]:
        fields = line.split()
        if len(fields) > 4 and fields[4] != "-":
            found[int(fields[1])].append(fields[4])
    return found


def _settled(look: Callable[[], list[list[str]]], quiet_s: float) -> list[list[str]]:
    """Return the result of `look` after the result has stayed the same for `quiet_s`."""
    latest, since = look(), time.monotonic()
    while time.monotonic() < since + quiet_s:
        time.sleep(0.2)
        if (now := look()) != latest:
            latest, since = now, time.monotonic()
    return latest


def prometheus(pod: Pod, asked: Sequence[Asked]) -> Mapping[Asked, str]:
    """Return the addresses of the targets that Prometheus discovers for each name."""
    folder = pod.folder / "prometheus"
    folder.mkdir()
    jobs = [
        {
            "job_name": str(number),
            "dns_sd_configs": [{"names": [name], "type": question, "port": 80, "refresh_interval": "1h"}],
            "relabel_configs": [{"action": "drop"}],
        }
        for number, (question, name) in enumerate(asked)
    ]
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": jobs}))
    command = [programs.find("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{_LISTENS}")
    with _running(pod, command, folder / "output"):
        _until(lambda: _prometheus_lookups(pod) >= len(asked), folder / "output")
        found = _settled(lambda: _prometheus_targets(pod, asked), 6.0)
    return {each: " ".join(found[number]) or NONE for number, each in enumerate(asked)}


def _prometheus_lookups(pod: Pod) -> int:
    with suppress(OSError):
        metrics = _get(pod, _LISTENS, "/metrics").decode()
        if found := re.search(r"^prometheus_sd_dns_lookups_total (\d+)", metrics, re.MULTILINE):
            return int(found[1])
    return 0


def _prometheus_targets(pod: Pod, asked: Sequence[Asked]) -> list[list[str]]:
    reply = json.loads(_get(pod, _LISTENS, "/api/v1/targets?state=dropped"))
    found: list[list[str]] = [[] for _ in asked]
    for target in reply["data"]["droppedTargets"]:
        labels = target["discoveredLabels"]
        host, _, port = labels["__address__"].rpartition(":")
        is_target = asked[int(labels["job"])][0] == "SRV"
        found[int(labels["job"])].append(f"{host.rstrip('.')}:{port}" if is_target else host.strip("[]"))
    return found
