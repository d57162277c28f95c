"""Run Debian's name servers on loopback, for tests that compare pydns with them.

This module knows nothing about the zones that the name servers serve.
"""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from tests.bench import tools
from tests.bench.servers import free_port
from tests.waiting import PATIENCE_S

_ATTEMPTS = 5

Configure = Callable[[Path, int], list[str]]  # takes an empty folder and a port, returns the command's arguments


@contextmanager
def serving(program: str, configure: Configure, ready: Iterable[tuple[str, str]]) -> Iterator[int]:
    """Run a name server until the end of the block; yield its port once it answers these names and types.

    The test is skipped if the program isn't installed. Another program may take the free port before the name server
    binds it. Then the name server exits, and this function starts it again with another port.
    """
    try:
        command = tools.find(program)
    except tools.Missing as error:
        pytest.skip(str(error))
    said = ""
    for _ in range(_ATTEMPTS):
        # The folder can't be pytest's: Knot creates a Unix socket in its folder, and the path of a socket is limited to
        # 107 octets.
        with tempfile.TemporaryDirectory(prefix="daemon-") as directory, tempfile.TemporaryFile("w+") as log:
            port = free_port()
            arguments = configure(Path(directory), port)
            process = subprocess.Popen(
                [command, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                if all(_answers(process, port, qname, rtype) for qname, rtype in ready):
                    yield port
                    return
            finally:
                process.terminate()
                process.wait(PATIENCE_S)
            log.seek(0)
            said = log.read()
    raise AssertionError(f"{program} doesn't serve: {said}")


def _answers(process: "subprocess.Popen[bytes]", port: int, qname: str, rtype: str) -> bool:
    """Wait for an answer; return False if the server has exited, or has sent nothing for too long."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if dns.query.udp(dns.message.make_query(qname, rtype), "127.0.0.1", port=port, timeout=0.5).answer:
                return True
        except (dns.exception.DNSException, OSError):
            pass
        time.sleep(0.02)
    return False
