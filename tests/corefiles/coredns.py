"""A CoreDNS that reads the Corefile of a shape, and follows a cluster with the same objects.

The Corefiles name ports such as 53 and addresses such as 169.254.20.10. So the tests need a separate network namespace:

    unshare --net sh -c 'ip link set lo up; ip address add 169.254.20.10 dev lo; ip address add 10.96.0.10 dev lo;
      PYDNS_TEST_SUBJECT=/usr/bin/coredns .venv/bin/pytest tests/corefiles'
"""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.corefiles.shape import CLIENT, CLUSTER, Shape
from tests.fakes.apiserver import FakeApiServer
from tests.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from tests.corefiles.test_corefiles import Fakes

_KUBERNETES = re.compile(r"^( *)(kubernetes [^{\n]*)\{", re.MULTILINE)
_PORT = re.compile(r"^[^ (]*:(\d+)[ {]", re.MULTILINE)
_ADDRESS = re.compile(r"^ *bind (\S+)", re.MULTILINE)


@contextmanager
def serving(shape: Shape, fakes: "Fakes", folder: Path) -> Iterator[tuple[str, int]]:
    """Run the CoreDNS of PYDNS_TEST_SUBJECT; yield the address and the port of its server."""
    with FakeApiServer(tls=True) as api:  # CoreDNS's client sends no token without TLS
        for manifest in CLUSTER:
            api.apply(manifest["kind"], manifest)
        kubeconfig = api.kubeconfig(folder)

        def written(text: str) -> str:
            text = shape.replaced(text, fakes.addresses, fakes.ca_file).replace("/etc/coredns/", f"{folder}/")
            for path in shape.files:
                if path.startswith("/"):
                    text = text.replace(path, str(folder / path[1:]))
            return _KUBERNETES.sub(rf"\1\2{{\n\1    kubeconfig {kubeconfig} fake", text)

        for path, text in {"Corefile": shape.corefile, **shape.files}.items():
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(written(text))
        environment = {name: shape.replaced(value, fakes.addresses, "") for name, value in shape.environment.items()}
        process = subprocess.Popen(
            [os.environ["PYDNS_TEST_SUBJECT"], "-conf", str(folder / "Corefile")],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port, address = _PORT.search(shape.corefile), _ADDRESS.search(shape.corefile)
            at = address[1] if address else CLIENT, int(port[1]) if port else 53
            until(lambda: process.poll() is None and _listens(at))
            yield at
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)


def _listens(at: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(at, timeout=PATIENCE_S):
        return True
    return False
