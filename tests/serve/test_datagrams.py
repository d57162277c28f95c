"""Batches of datagrams over real sockets on loopback."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from errno import ECONNREFUSED, EINVAL

import pytest

from pydns.serve.datagrams import BATCH, NAME_LENGTHS, SEND_SIZE, SIZE, Inbox, Outbox, short
from tests.waiting import PATIENCE_S

FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The socket of a server, and the socket of a client that is connected to it."""
    family = request.param
    with socket.socket(family, socket.SOCK_DGRAM) as server, socket.socket(family, socket.SOCK_DGRAM) as client:
        for each in server, client:
            each.bind((FAMILIES[family], 0))
        client.connect(server.getsockname())
        client.settimeout(PATIENCE_S)
        yield server, client


def boxes(server: socket.socket) -> tuple[Inbox, Outbox, list[int]]:
    length = NAME_LENGTHS[server.family]
    outbox, errors = Outbox(length), list[int]()

    def failed(error: int) -> bool:
        errors.append(error)
        return False

    outbox.aim(server.fileno(), failed)
    return Inbox(length), outbox, errors


def test_datagrams_are_received_in_batches_and_replies_reach_their_senders(pair: Pair) -> None:
    server, client = pair
    inbox, outbox, errors = boxes(server)
    assert inbox.receive(server.fileno()) == []
    messages = [b"%d" % i * (i + 1) for i in range(BATCH + 6)]
    for message in messages:
        client.send(message)
    assert inbox.receive(server.fileno()) == messages[:BATCH]
    assert inbox.receive(server.fileno()) == messages[BATCH:]
    assert inbox.receive(server.fileno()) == []

    for reply in messages[:3]:
        outbox.put(reply, inbox.names[0])
    outbox.send()
    assert [client.recv(SIZE) for _ in range(3)] == messages[:3]
    for reply in messages:  # there is more than a batch, so the first replies have left before `send`
        outbox.put_for(reply, inbox.name(0), b"")
    outbox.send()
    assert [client.recv(SIZE) for _ in messages] == messages
    assert errors == []


def test_the_longest_replies_of_a_batch_are_sent_whole(pair: Pair) -> None:
    server, client = pair
    inbox, outbox, errors = boxes(server)
    client.send(b"?")
    inbox.receive(server.fileno())
    replies = [bytes([number]) * SEND_SIZE for number in range(16)]  # the buffer of a client has room for these replies
    for reply in replies:
        outbox.put(reply, inbox.names[0])
    outbox.send()
    assert [client.recv(SEND_SIZE + 1) for _ in replies] == replies
    assert errors == []


def test_joined_replies_reach_the_sender_at_their_place(pair: Pair) -> None:
    server, client = pair
    inbox, outbox, errors = boxes(server)
    outbox.answer_to(inbox)
    with socket.socket(server.family, socket.SOCK_DGRAM) as other:
        other.connect(server.getsockname())
        other.settimeout(PATIENCE_S)
        for sender in client, other, client, other:
            sender.send(b"query")
        inbox.receive(server.fileno())
        for size in 1, 300, SEND_SIZE:
            replies = [bytes([place]) * (size - place % 2) for place in range(4)]
            outbox.put(b"before", inbox.names[0])
            octets, sizes = outbox.send_joined(replies)
            assert [client.recv(SEND_SIZE) for _ in range(3)] == [b"before", replies[0], replies[2]]
            assert [other.recv(SEND_SIZE) for _ in range(2)] == [replies[1], replies[3]]
            assert octets == b"".join(replies)
            lengths = [size, size - 1, size, size - 1]
            assert (sizes.tolist(), memoryview(short(sizes.tobytes())).cast("H").tolist()) == (lengths, lengths)
    with pytest.raises(TypeError):
        outbox.send_joined([b"reply", None])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        outbox.send_joined([None])  # type: ignore[list-item]
    assert errors == []


def test_a_reply_to_a_query_that_came_alone_is_sent_like_those_of_a_batch(pair: Pair) -> None:
    server, client = pair
    inbox, outbox, errors = boxes(server)
    outbox.answer_to(inbox)
    for count in 3, 1, 2, 1:
        queries = [b"query" * each for each in range(1, count + 1)]
        for query in queries:
            client.send(query)
        assert inbox.receive(server.fileno()) == queries
        replies = [b"reply" * each for each in range(1, count + 1)]
        octets, lengths = outbox.send_joined(replies)
        assert (octets, lengths.tolist()) == (b"".join(replies), list(map(len, replies)))
        assert [client.recv(SEND_SIZE) for _ in range(count)] == replies
    outbox.put(b"before", inbox.names[0])
    outbox.send_joined([b"alone"])
    assert [client.recv(SEND_SIZE) for _ in range(2)] == [b"before", b"alone"]
    outbox.send()  # nothing is queued
    assert errors == []


def test_a_datagram_that_is_too_long_is_cut(pair: Pair) -> None:
    server, client = pair
    inbox, _, _ = boxes(server)
    for message in bytes(SIZE + 1), b"", b"next":
        client.send(message)
    assert inbox.receive(server.fileno()) == [bytes(SIZE), b"", b"next"]


def test_a_datagram_that_fails_does_not_stop_the_others(pair: Pair) -> None:
    server, client = pair
    inbox, outbox, errors = boxes(server)
    client.send(b"query")
    inbox.receive(server.fileno())
    name = inbox.name(0)
    without_port = name[:2] + bytes(2) + name[4:]
    for reply, to in ((b"1", without_port), (b"2", name), (b"3", without_port), (b"4", without_port), (b"5", name)):
        outbox.put_for(reply, to, b"")
    outbox.send()
    assert [client.recv(SIZE) for _ in range(2)] == [b"2", b"5"]
    assert errors == [EINVAL] * 3


def test_a_datagram_that_is_tried_again_is_sent_only_once(pair: Pair) -> None:
    server, client = pair
    outbox, errors = Outbox(), list[int]()

    def failed(error: int) -> bool:
        errors.append(error)
        return error == ECONNREFUSED

    address = server.getsockname()
    server.close()
    client.send(b"to nobody")  # the kernel reports the error at the next call
    with socket.socket(client.family, socket.SOCK_DGRAM) as another:
        another.bind(address)
        another.settimeout(PATIENCE_S)
        outbox.aim(client.fileno(), failed)
        for message in b"1", b"2":
            outbox.put(message)
        outbox.send()
        assert [another.recv(SIZE) for _ in range(2)] == [b"1", b"2"]
    assert errors == [ECONNREFUSED]


def test_receive_raises_the_error_of_an_earlier_datagram(pair: Pair) -> None:
    server, client = pair
    server.close()
    client.send(b"to nobody")
    inbox = Inbox()
    with pytest.raises(ConnectionRefusedError):
        inbox.receive(client.fileno())
    assert inbox.receive(client.fileno()) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_replies_reach_the_senders_of_the_datagrams_that_are_kept(family: socket.AddressFamily) -> None:
    with ExitStack() as stack:
        server, *clients = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(5)]
        server.bind((FAMILIES[family], 0))
        for client in clients:
            client.connect(server.getsockname())
            client.settimeout(5)
        inbox, outbox, errors = boxes(server)
        for place in range(BATCH):
            clients[place % 4].send(b"%d" % place)
        messages = inbox.receive(server.fileno())
        assert {socket.inet_ntop(family, each) for each in inbox.senders()} == {FAMILIES[family]}
        kept = [place for place in range(BATCH) if place % 4 in (1, 3)]
        inbox.keep(kept)
        for name_at, place in zip(inbox.names, kept, strict=False):
            outbox.put(messages[place], name_at)
        outbox.send()
        for number in 1, 3:
            received = [clients[number].recv(SIZE) for _ in range(BATCH // 4)]
            assert received == [b"%d" % place for place in range(number, BATCH, 4)]
        assert errors == []
