"""A filter that drops the datagrams of some clients in the kernel."""

import socket
from collections.abc import Iterator

import pytest

from pydns.serve import source_filter

CLIENTS = {
    socket.AF_INET: [f"127.0.3.{number}" for number in range(1, 21)],
    socket.AF_INET6: ["::1"],  # the loopback interface has only this address
}


class Server:
    """A socket and its clients."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.sock.setblocking(False)
        self.family = family
        self.clients = CLIENTS[family]
        self.addresses = [socket.inet_pton(family, each) for each in self.clients]

    def reached_by(self) -> list[str]:
        """Return the clients whose datagrams arrive."""
        for ip in self.clients:
            with socket.socket(self.family, socket.SOCK_DGRAM) as client:
                client.bind((ip, 0))
                client.sendto(b"query", self.sock.getsockname())
        senders = []
        try:
            while True:
                senders.append(self.sock.recvfrom(100)[1][0])
        except BlockingIOError:
            return senders


@pytest.fixture(params=CLIENTS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.param)
    yield made
    made.sock.close()


@pytest.mark.parametrize("count", [1, source_filter.MOST])
def test_only_datagrams_of_the_named_clients_are_dropped(server: Server, count: int) -> None:
    source_filter.attach(server.sock, server.addresses[:count], 0.0)
    assert server.reached_by() == server.clients[count:]
    source_filter.detach(server.sock)
    assert server.reached_by() == server.clients


def test_other_addresses_of_the_family_are_not_dropped(server: Server) -> None:
    others = [each[:-1] + bytes([each[-1] ^ 128]) for each in server.addresses]
    source_filter.attach(server.sock, others, 0.0)
    assert server.reached_by() == server.clients


def test_a_filter_that_lets_every_query_pass_drops_nothing(server: Server) -> None:
    source_filter.attach(server.sock, server.addresses, 1.0)
    assert server.reached_by() == server.clients
