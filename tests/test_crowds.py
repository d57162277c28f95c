"""Crowds of hostile TCP clients: the worker stays within its limits and answers the others."""

import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from pydns.serve.tcp import MAX_CONNECTIONS
from tests.running import WEB, Server, answer, query
from tests.waiting import PATIENCE_S, until

IDLE = 1500
FRAME = len(query(WEB)).to_bytes(2) + query(WEB)
PATIENT_S = 5.0  # enough on a busy machine; a worker over its limits would take longer


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have as many connections as the test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < IDLE + 1000:
        pytest.skip(f"RLIMIT_NOFILE is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 1000), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask_over_tcp(port: int) -> str | None:
    """Return the address, or None if no answer arrives in time."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENT_S) as sock:
        sock.sendall(FRAME)
        with sock.makefile("rb") as stream:
            return answer(stream.read(int.from_bytes(stream.read(2))))
    return None


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def assert_all_answered(server: Server) -> None:
    for _ in range(50):
        assert server.ask(WEB, timeout_s=PATIENT_S) == "10.96.1.1"
        assert ask_over_tcp(server.port) == "10.96.1.1"


@pytest.mark.usefixtures("many_files")
def test_clients_are_answered_despite_idle_slow_and_trickling_clients(
    start: Callable[..., Server],
) -> None:
    server = start()
    worker = server.children()[1]
    # So far the worker has only been forked, and may not be ready.
    until(lambda: ask_over_tcp(server.port) == "10.96.1.1")
    before = open_files(worker)
    with ExitStack() as crowd:

        def connect() -> socket.socket:
            return crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))

        for number in range(IDLE):
            half = connect()
            if number % 3 == 0:
                half.send(FRAME[: number % len(FRAME)])  # the rest of the message is never sent
        until(lambda: open_files(worker) >= before + MAX_CONNECTIONS - 1)
        assert_all_answered(server)

        greedy = [connect() for _ in range(20)]
        for each in greedy:  # send queries until the worker accepts no more, and read nothing
            each.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(2000):
                    each.send(FRAME * 50)
        assert_all_answered(server)

        trickling = [connect() for _ in range(20)]
        stopping = threading.Event()
        thread = threading.Thread(target=_trickle, args=(trickling, stopping))
        thread.start()
        assert_all_answered(server)
        stopping.set()
        thread.join()

        assert open_files(worker) <= before + MAX_CONNECTIONS + 1
        assert server.children()[1] == worker
    until(lambda: open_files(worker) <= before + 1)  # the worker has closed their connections


def _trickle(clients: list[socket.socket], stopping: threading.Event) -> None:
    for octet in FRAME * 1000:
        for each in clients:
            with suppress(OSError):  # the worker has closed this connection to accept a new one
                each.send(bytes([octet]))
        if stopping.wait(0.001):
            return


def test_a_low_soft_limit_of_open_files_is_raised(start: Callable[..., Server]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        server = start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for pid in server.children():
        limit = Path(f"/proc/{pid}/limits").read_text().partition("Max open files")[2].split()[0]
        assert int(limit) == min(hard, 16384)
