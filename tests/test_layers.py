"""Check the imports between packages: the contracts in .importlinter hold, and each contract can fail."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = ROOT / ".importlinter"
PACKAGE = ROOT / "pydns"
PURE = ("config", "dns", "kube", "metrics", "ring", "upstream", "zones")
# The names that a pure package may import from a forbidden module. For example, it may handle addresses as text
# without opening sockets.
ALLOWED = {
    "pydns.log": {"Level"},
    "random": {"Random"},
    "socket": {"AF_INET", "AF_INET6", "inet_ntop", "inet_pton"},
}
# Each row has a contract, a file, and an import. The contract is broken if the file contains the import.
BROKEN = [
    ("rooms", "table/tree.py", "import pydns.config.model"),
    ("rooms", "serve/udp.py", "import pydns.control.http"),
    ("rooms", "control/http.py", "import pydns.serve.udp"),
    ("rooms", "control/reporter.py", "import pydns.console.pages"),
    ("rooms", "kube/store.py", "import pydns.upstream.pool"),
    ("rooms", "metrics/totals.py", "import pydns.process.block"),
    ("rooms", "new/__init__.py", "import pydns.dns.name"),
    ("worker", "upstream/pool.py", "from pydns.kube import zone"),
    ("supervisor", "process/pulse.py", "import asyncio"),
    ("pure", "kube/zone.py", "def f():\n    from time import monotonic"),
    ("lmdb", "serve/fast.py", "import lmdb"),
    ("kubernetes", "control/manifest_folder.py", "from kubernetes.client import ApiClient"),
    ("uvloop", "control/controller.py", "import uvloop"),
    ("dnslib", "cli/dump.py", "import dnslib"),
    ("dnspython", "serve/fast.py", "import dns.message"),
    ("re2", "dns/rewrite.py", "import re2"),
    ("cachetools", "upstream/pool.py", "from cachetools import LRUCache"),
    ("protobuf", "serve/tap.py", "from google.protobuf import descriptor_pb2"),
    ("h11", "control/probe_pages.py", "import h11"),
    ("h2", "serve/upstream_sockets.py", "import h2.connection"),
    ("yaml", "kube/objects.py", "import yaml"),
    ("msgspec", "dns/message.py", "import msgspec"),
]


def check(folder: Path, *flags: str) -> str:
    """Return what import-linter prints about the package in a folder."""
    command = [str(Path(sys.executable).parent / "lint-imports"), str(CONTRACTS), "--no-cache", *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_every_contract_holds() -> None:
    assert " 0 broken." in check(ROOT)


def test_every_contract_has_an_example_that_breaks_it() -> None:
    contracts = ConfigParser()
    contracts.read(CONTRACTS)

    assert {each.rpartition(":")[2] for each in contracts if ":contract:" in each} == {each[0] for each in BROKEN}


@pytest.mark.parametrize(("contract", "path", "line"), BROKEN)
def test_an_import_that_breaks_a_contract_is_reported(contract: str, path: str, line: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "pydns", ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "pydns" / path
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{line}\n{file.read_text() if file.exists() else ''}")

    assert " 1 broken." in check(tmp_path, "--contract", contract)


def excess(source: str) -> Iterator[str]:
    """Yield each name that a file imports from a module in ALLOWED, if the module's list doesn't contain the name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in ALLOWED)
        elif isinstance(node, ast.ImportFrom) and node.module in ALLOWED:
            yield from (each.name for each in node.names if each.name not in ALLOWED[node.module])


@pytest.mark.parametrize(
    "path", [str(each.relative_to(PACKAGE)) for room in PURE for each in sorted((PACKAGE / room).rglob("*.py"))]
)
def test_a_pure_file_imports_only_allowed_names_from_impure_modules(path: str) -> None:
    assert list(excess((PACKAGE / path).read_text())) == []


@pytest.mark.parametrize(
    "source",
    ["import random", "def f():\n    from socket import create_connection", "from pydns.log import Level, Log"],
)
def test_a_name_that_is_not_allowed_is_found(source: str) -> None:
    assert list(excess(source)) != []
