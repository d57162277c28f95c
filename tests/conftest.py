"""Set the defaults of all tests: servers use free ports, exit without a drain, and have no upstream."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.running import SERVICE, Server

os.environ |= {f"PYDNS_{each}": "off" for each in ("HEALTH", "READY", "METRICS")}
os.environ["PYDNS_DRAIN_QUIET"] = "0"
os.environ["PYDNS_RESOLV_CONF"] = os.devnull
# By default, Hypothesis fails an example that takes more than 200 ms. On a busy machine that limit says nothing about
# the code.
settings.register_profile("untimed", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile("untimed")


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = tmp_path / "manifests"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "other").mkdir()
    (folder / "web.yaml").write_text(SERVICE.format(name="web", address="10.96.1.1"))
    return folder


@pytest.fixture
def start(manifests: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def begin(**options: Any) -> Server:
        source = options.pop("source", ["--manifests", str(manifests)])
        started.append(Server(source, tmp_path / "state", **options))
        return started[-1]

    yield begin
    for server in started:
        server.end()
