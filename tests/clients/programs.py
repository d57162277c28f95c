"""The programs of the clients: their paths, or why they are missing. Programs in `resolvers/` are compiled."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SOURCES = Path(__file__).parent / "resolvers"
_PLACES = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin"
_JARS = Path("/usr/share/java")


class Missing(Exception):
    """A client isn't available here. The text is the reason."""


def find(name: str) -> str:
    """Return the path of a program."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def glibc(folder: Path) -> list[str]:
    """Return the command that calls getaddrinfo of the system's libc."""
    return _compiled([find("gcc"), "-o", str(folder / "glibc"), str(_SOURCES / "lookup.c")], folder / "glibc")


def musl(folder: Path) -> list[str]:
    """Return the command that calls getaddrinfo of musl."""
    command = [find("musl-gcc"), "-static", "-o", str(folder / "musl"), str(_SOURCES / "lookup.c")]
    return _compiled(command, folder / "musl")


def go(folder: Path, cache: Path) -> list[str]:
    """Return the command that runs Go's own resolver."""
    own = {"CGO_ENABLED": "0", "GOCACHE": str(cache), "GOTOOLCHAIN": "local", "GOFLAGS": "", "GO111MODULE": "off"}
    command = [find("go"), "build", "-o", str(folder / "go"), str(_SOURCES / "lookup.go")]
    return _compiled(command, folder / "go", {"HOME": str(folder), **os.environ, **own})


def node(way: str) -> list[str]:
    """Return the command that runs one of Node's resolvers: lookup or resolve."""
    return [find("node"), str(_SOURCES / "lookup.js"), way]


def java(folder: Path) -> list[str]:
    """Return the command that runs Java's InetAddress."""
    return _java(folder, "Lookup", [])


def netty(folder: Path) -> list[str]:
    """Return the command that runs Netty's resolver."""
    wanted = ["netty-buffer", "netty-codec", "netty-codec-dns", "netty-common", "netty-handler", "netty-resolver"]
    wanted += ["netty-resolver-dns", "netty-transport", "netty-transport-native-unix-common", "jctools-core"]
    jars = [_JARS / f"{each}.jar" for each in wanted]
    for jar in jars:
        if not jar.exists():
            raise Missing(f"Netty is not installed: no {jar.name}")
    return _java(folder, "NettyLookup", jars)


def grpc(port: int) -> list[str]:
    """Return the command that runs gRPC's resolver. It calls each name at `port`."""
    if subprocess.run([sys.executable, "-c", "import grpc"], capture_output=True).returncode:
        raise Missing("grpcio is not installed")
    return [sys.executable, str(_SOURCES / "grpc_lookup.py"), str(port)]


def _java(folder: Path, name: str, jars: Sequence[Path]) -> list[str]:
    path = ":".join(map(str, [folder, *jars]))
    command = [find("javac"), "-d", str(folder), "-cp", path, str(_SOURCES / f"{name}.java")]
    _compiled(command, folder / f"{name}.class")
    return [find("java"), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", path, name]


def _compiled(command: Sequence[str], made: Path, environment: dict[str, str] | None = None) -> list[str]:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert made.exists() and done.returncode == 0, done.stderr
    return [str(made)]
