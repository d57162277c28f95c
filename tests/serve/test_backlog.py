"""If more datagrams arrive at a UDP socket than a worker can answer, the worker chooses which ones it answers."""

import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from fcntl import ioctl

import pytest

from pydns.process.slots import RECEIVE_BUFFER
from pydns.serve.backlog import Backlog
from pydns.serve.datagrams import BATCH, NAME_LENGTHS, Inbox

FLOODER, OTHERS = "127.0.0.2", ("127.0.0.3", "127.0.0.4", "127.0.0.5")
_SIOCGSTAMP = 0x8906


class Datagrams:
    """A socket with its backlog, and clients. The clock shows the arrival of the last datagram plus `waited_s`."""

    def __init__(self, buffer: int = 2 * RECEIVE_BUFFER) -> None:
        self.sock = socket.socket(type=socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer // 2)  # the kernel doubles this value
        self.inbox = Inbox(NAME_LENGTHS[socket.AF_INET])
        self.clients: dict[str, socket.socket] = {}
        self.start()

    def start(self) -> None:
        """Reset the state, as at the start of a worker."""
        self.waited_s: float | None = None
        self.backlog = Backlog(self.sock, self.inbox, self.clock)

    def clock(self) -> float:
        if self.waited_s is None:
            return time.time()
        seconds, microseconds = struct.unpack("@ll", ioctl(self.sock, _SIOCGSTAMP, bytes(16)))
        return float(seconds + microseconds / 1e6 + self.waited_s)

    @property
    def size(self) -> int:
        return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def send(self, ip: str, count: int) -> None:
        if ip not in self.clients:
            self.clients[ip] = socket.socket(type=socket.SOCK_DGRAM)
            self.clients[ip].bind((ip, 0))
        for _ in range(count):
            self.clients[ip].sendto(b"query", self.sock.getsockname())

    def send_batch(self, others: int = 2) -> None:
        """Send a batch. Each ordinary client sends `others` datagrams, and the flooder sends the rest."""
        for ip in OTHERS:
            self.send(ip, others)
        self.send(FLOODER, BATCH - others * len(OTHERS))

    def receive(self, waited_s: float) -> Counter[str]:
        """Receive a batch after a time, and return for each client how many datagrams are to be answered."""
        messages = self.inbox.receive(self.sock.fileno())
        assert len(messages) == BATCH
        self.waited_s = waited_s
        chosen = self.backlog.choose(messages)
        return Counter(socket.inet_ntoa(self.inbox.name(place)[4:8]) for place in range(len(chosen)))

    def arrived(self, ip: str, count: int) -> int:
        """Send datagrams, and return how many of them the kernel lets through."""
        self.send(ip, count)
        passed = 0
        while received := self.inbox.receive(self.sock.fileno()):
            passed += len(received)
        return passed

    def look(self) -> None:
        self.backlog.look(self.clock())

    def close(self) -> None:
        for each in (self.sock, *self.clients.values()):
            each.close()


@pytest.fixture
def open_datagrams() -> Iterator[Callable[..., Datagrams]]:
    with ExitStack() as stack:
        yield lambda *args: stack.enter_context(closing(Datagrams(*args)))


Open = Callable[..., Datagrams]
ALL = Counter({FLOODER: BATCH - 2 * len(OTHERS)} | dict.fromkeys(OTHERS, 2))
OTHERS_ALONE = Counter(dict.fromkeys(OTHERS, 2))
BATCHES, THEIR_BUFFER = 4, 280 << 10  # two of the batches take more than a third of the buffer


def test_every_client_is_answered_while_the_queue_is_short(open_datagrams: Open) -> None:
    datagrams = open_datagrams()
    for _ in range(20):
        datagrams.send_batch()
        assert datagrams.receive(0.3) == ALL
        datagrams.look()
    assert datagrams.arrived(FLOODER, 100) == 100


def overloaded(open_datagrams: Open) -> Datagrams:
    """Return a socket whose queue still holds two of its four batches."""
    datagrams = open_datagrams(THEIR_BUFFER)
    for _ in range(BATCHES):
        datagrams.send_batch()
    for _ in range(2):
        assert datagrams.receive(0.05) == ALL
    return datagrams


def test_in_an_overload_waiting_datagrams_of_a_client_above_its_share_are_dropped(open_datagrams: Open) -> None:
    datagrams = overloaded(open_datagrams)
    assert datagrams.receive(0.15) == OTHERS_ALONE
    assert datagrams.receive(0.05) == ALL


def test_in_an_overload_the_kernel_drops_some_datagrams_of_a_client_above_its_share(open_datagrams: Open) -> None:
    datagrams = overloaded(open_datagrams)
    datagrams.arrived(FLOODER, 0)
    assert (
        sum(datagrams.arrived(FLOODER, 100) for _ in range(10)) < 700
    )  # the filter drops two fifths of the datagrams at random
    assert [datagrams.arrived(ip, 100) for ip in OTHERS] == [100] * len(OTHERS)
    for _ in range(3):  # the queue is short, so the overload ends
        datagrams.look()
    assert datagrams.arrived(FLOODER, 100) == 100


def test_a_starting_worker_restricts_no_client(open_datagrams: Open) -> None:
    datagrams = overloaded(open_datagrams)
    datagrams.arrived(FLOODER, 0)
    datagrams.start()
    assert datagrams.arrived(FLOODER, 100) == 100


def test_a_single_client_is_never_above_its_share(open_datagrams: Open) -> None:
    datagrams = open_datagrams(THEIR_BUFFER)
    datagrams.send(FLOODER, BATCH * BATCHES)
    for waited_s in 0.05, 0.15, 0.3, 0.39:
        assert datagrams.receive(waited_s).total() == BATCH
    assert datagrams.arrived(FLOODER, 100) == 100


def test_an_earlier_client_still_affects_the_fair_share_of_a_batch(open_datagrams: Open) -> None:
    datagrams = open_datagrams(THEIR_BUFFER)
    assert datagrams.arrived(OTHERS[0], 1) == 1
    datagrams.look()
    datagrams.send(FLOODER, BATCH * BATCHES)
    for waited_s in 0.05, 0.05:
        assert datagrams.receive(waited_s).total() == BATCH
    assert datagrams.receive(0.15).total() == 0


EQUAL = BATCH // (1 + len(OTHERS))  # every client sends this many datagrams, so no client is above its share


def receive_equal(datagrams: Datagrams, waited_s: float) -> int:
    """Return how many datagrams of a batch are answered if all clients have sent the same number."""
    datagrams.send_batch(EQUAL)
    return datagrams.receive(waited_s).total()


def test_a_long_overload_discards_datagrams_that_are_too_old(open_datagrams: Open) -> None:
    datagrams = open_datagrams()
    longest = datagrams.size
    assert receive_equal(datagrams, 0.5) == BATCH  # a single pause of the worker isn't an overload
    assert receive_equal(datagrams, 0.8) == 0
    assert receive_equal(datagrams, 0.3) == BATCH
    datagrams.look()
    shorter = datagrams.size
    assert shorter < longest / 2
    receive_equal(datagrams, 0.2)
    datagrams.look()
    assert datagrams.size == shorter
    for _ in range(10):
        datagrams.look()  # no datagram has arrived since the last look
    assert datagrams.size == longest


def test_datagrams_that_waited_for_the_start_of_a_worker_are_never_too_old(open_datagrams: Open) -> None:
    datagrams = open_datagrams()
    for _ in range(3):
        datagrams.send_batch(EQUAL)
    datagrams.start()
    for waited_s in 5.0, 6.0, 7.0:
        assert datagrams.receive(waited_s).total() == BATCH


def test_a_queue_needs_looks_only_while_datagrams_wait(open_datagrams: Open) -> None:
    datagrams = open_datagrams()
    crowded: list[bool] = []
    datagrams.backlog.crowded = lambda: crowded.append(datagrams.backlog.needs_looks)
    datagrams.look()
    assert not datagrams.backlog.needs_looks  # the buffer already has its full size
    datagrams.send_batch()
    datagrams.receive(0.001)  # a batch that didn't have to wait
    assert not datagrams.backlog.needs_looks
    assert crowded == []
    datagrams.send_batch()
    datagrams.receive(0.05)
    assert crowded == [True]
    datagrams.look()
    assert datagrams.backlog.needs_looks  # to find out whether more datagrams wait
    datagrams.look()
    assert not datagrams.backlog.needs_looks


def test_a_restricted_client_needs_looks_until_the_restriction_ends(open_datagrams: Open) -> None:
    datagrams = overloaded(open_datagrams)
    datagrams.arrived(FLOODER, 0)
    looks = 0
    while datagrams.backlog.needs_looks:
        datagrams.look()
        looks += 1
        assert looks < 20
    assert datagrams.arrived(FLOODER, 100) == 100


def test_a_small_buffer_needs_looks_until_it_is_as_large_as_before(open_datagrams: Open) -> None:
    longest = open_datagrams().size
    datagrams = open_datagrams(THEIR_BUFFER)
    assert datagrams.size < longest
    while datagrams.backlog.needs_looks:
        datagrams.look()
    assert datagrams.size == longest


def test_a_client_is_noticed_between_looks(open_datagrams: Open) -> None:
    datagrams = open_datagrams(THEIR_BUFFER)
    assert datagrams.arrived(OTHERS[0], 1) == 1
    datagrams.backlog.see()
    datagrams.send(FLOODER, BATCH * BATCHES)
    for waited_s in 0.05, 0.05:
        assert datagrams.receive(waited_s).total() == BATCH
    assert datagrams.receive(0.15).total() == 0
