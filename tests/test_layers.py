"""Which room may import what, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pydns"
PURE = ("dns", "kube", "config", "upstream", "metrics")
# Modules of the outside world. Addresses as text are no sockets: those names are allowed.
OUTSIDE = {
    "asyncio", "logging", "multiprocessing", "random", "select", "selectors", "signal", "socket", "socketserver",
    "subprocess", "threading", "time", "uvloop", "lmdb", "kubernetes",
}  # fmt: skip
ADDRESS_TEXT = {"socket." + each for each in ("AF_INET", "AF_INET6", "inet_ntop", "inet_pton")} | {"random.Random"}
OWNERS = {"lmdb": {"table/reader.py", "table/writer.py"}, "kubernetes": {"control/apiserver.py"}}


def imports(source: str) -> Iterator[str]:
    """Yield what a file imports, dotted, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def mistakes(path: str, source: str) -> list[str]:
    """Return what a file of the package, by its path in it, imports and mustn't."""
    room = path.split("/")[0]
    found = []
    for each in imports(source):
        top = each.split(".")[0]
        leaves_the_pure = room in PURE and top in OUTSIDE and each not in ADDRESS_TEXT
        knows_the_cluster = room == "serve" and each.startswith(("pydns.control", "pydns.kube"))
        if leaves_the_pure or knows_the_cluster or path not in OWNERS.get(top, {path}):
            found.append(each)
    return found


@pytest.mark.parametrize("path", [str(each.relative_to(PACKAGE)) for each in sorted(PACKAGE.rglob("*.py"))])
def test_a_file_imports_only_what_its_room_may(path: str) -> None:
    assert mistakes(path, (PACKAGE / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("dns/name.py", "import time"),
        ("kube/zone.py", "def f():\n    from socket import create_connection"),
        ("config/read.py", "import logging.handlers"),
        ("upstream/pool.py", "import time"),
        ("serve/udp.py", "from pydns.kube import zone"),
        ("serve/udp.py", "from pydns import control"),
        ("serve/respond.py", "import lmdb"),
        ("control/manifests.py", "from kubernetes.client import ApiClient"),
    ],
)
def test_an_import_that_breaks_the_rules_is_found(path: str, source: str) -> None:
    assert mistakes(path, source) != []
