"""The size of a UDP socket's receive buffer, which follows the time that datagrams wait in it."""

import socket
import time
from collections.abc import Iterator

import pytest

from pydns.process.slots import RECEIVE_BUFFER
from pydns.serve.backlog import Backlog


class Datagrams:
    """A socket with its backlog, and the clock."""

    def __init__(self) -> None:
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.backlog = Backlog(self.sock)
        self.backlog.look(time.time())  # from here on datagrams are stamped

    @property
    def size(self) -> int:
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def receive(self, waited_s: float) -> float:
        """Receive a datagram that has waited for `waited_s`, and return the factor by which the buffer changed."""
        self.sock.sendto(b"query", self.sock.getsockname())
        self.sock.recv(100)
        before = self.size
        self.backlog.look(time.time() + waited_s)
        return self.size / before


@pytest.fixture
def datagrams() -> Iterator[Datagrams]:
    made = Datagrams()
    yield made
    made.sock.close()


def test_a_queue_is_shortened_when_datagrams_wait_too_long(datagrams: Datagrams) -> None:
    assert datagrams.receive(0.3) == 1
    assert datagrams.receive(0.5) == pytest.approx(0.4, rel=0.1)
    assert datagrams.receive(0.6) == 1  # it was in the longer queue
    assert datagrams.receive(100) == pytest.approx(0.25, rel=0.1)
    for hour in range(1, 20):
        datagrams.receive(3600 * hour)
    assert datagrams.size == 64 << 10  # of which a burst of some sort has room


def test_a_queue_grows_back_when_datagrams_do_not_wait(datagrams: Datagrams) -> None:
    longest = datagrams.size
    for hour in range(1, 20):
        datagrams.receive(3600 * hour)
    assert datagrams.receive(0.01) == 2
    assert datagrams.receive(0.2) == 1
    for _ in range(10):  # also without any query
        datagrams.backlog.look(time.time() + 10)
    assert datagrams.size == longest
