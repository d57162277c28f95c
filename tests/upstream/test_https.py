"""Questions become requests of one HTTP/2 connection, and replies, failures and limits of the server become results."""

from collections.abc import Callable, Iterable

import pytest

from pydns.upstream.https import PATIENCE, Https
from pydns.upstream.streams import Received, failed_reply
from tests.fakes.doh import Conversation, Reply, Script
from tests.upstream.world import question

HEADER_TAIL = b"\1\0\0\1\0\0\0\0\0\0"


def asks(message_id: int, qname: str = "www.example") -> bytes:
    return message_id.to_bytes(2) + HEADER_TAIL + question(qname)


def echo(message: bytes) -> Iterable[Reply]:
    return [Reply(message)]


class Pair:
    """A client and a server."""

    def __init__(self, script: Script = echo, **settings: int) -> None:
        self.server = Conversation(script, **settings)
        self.client = Https("dns.example:8443", "/dns-query")
        self.deliver(self.client.begin())

    def deliver(self, octets: bytes) -> Received:
        """Exchange octets until both sides are silent. Return everything that the client has received."""
        messages: list[bytes] = []
        failures: list[tuple[bytes, str]] = []
        while answer := self.server.receive(octets):
            received = self.client.receive(answer)
            messages += received.messages
            failures += received.failures
            octets = received.unsent
            if received.end or not octets:
                return Received(messages, failures, b"", received.end)
        return Received(messages, failures)

    def ask(self, *messages: bytes) -> Received:
        return self.deliver(b"".join(map(self.client.compose, messages)))


def test_a_question_is_a_post_with_the_id_0_and_the_reply_gets_the_old_id() -> None:
    pair = Pair()
    assert pair.ask(asks(7), asks(8)).messages == [asks(7), asks(8)]
    assert pair.server.messages == [asks(0), asks(0)]
    assert pair.server.requests[0] == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": "dns.example:8443",
        ":path": "/dns-query",
        "accept": "application/dns-message",
        "content-type": "application/dns-message",
        "content-length": str(len(asks(0))),
    }


def test_replies_can_arrive_in_any_order() -> None:
    pair = Pair(lambda message: [])
    pair.ask(asks(1, "a.example"), asks(2, "b.example"))
    for stream in (3, 1):
        pair.server.answer(stream, Reply(pair.server.messages[stream // 2]))
    assert pair.deliver(b"").messages == [asks(2, "b.example"), asks(1, "a.example")]


FAILURES = {
    "a status": (Reply(asks(0), status="503"), "HTTP status 503"),
    "a redirection": (Reply(b"", status="302"), "HTTP status 302"),
    "another content": (Reply(b"<html>", content_type="text/html; x=y"), "HTTP content type 'text/html'"),
    "no type of content": (Reply(asks(0), content_type=None), "HTTP content type ''"),
    "an empty body": (Reply(b""), "HTTP body that is no DNS message"),
    "a body that is too long": (Reply(bytes(70_000)), "HTTP body that is no DNS message"),
    "a reset": (Reply(b"", resets=True), "the server cancelled a request: ENHANCE_YOUR_CALM"),
}


@pytest.mark.parametrize(("reply", "reason"), FAILURES.values(), ids=FAILURES)
def test_a_reply_that_is_not_a_dns_message_fails_only_its_question(reply: Reply, reason: str) -> None:
    pair = Pair(lambda message: [reply if b"\3bad" in message else Reply(message)])
    received = pair.ask(asks(1, "bad.example"), asks(2))
    assert (received.messages, received.failures, received.end) == ([asks(2)], [(b"\0\1", reason)], "")


def test_a_content_type_may_have_parameters_and_capitals() -> None:
    pair = Pair(lambda message: [Reply(message, content_type="Application/DNS-Message; charset=x")])
    assert pair.ask(asks(1)).messages == [asks(1)]


def test_questions_beyond_the_limit_of_the_server_wait_for_replies() -> None:
    pair = Pair(lambda message: [], MAX_CONCURRENT_STREAMS=2)
    pair.ask(*[asks(i, f"n{i}.example") for i in range(5)])
    assert len(pair.server.messages) == 2
    pair.server.answer(1, Reply(pair.server.messages[0]))
    pair.deliver(b"")
    assert len(pair.server.messages) == 3


def test_a_request_without_a_reply_is_cancelled_so_that_another_can_be_sent() -> None:
    pair = Pair(lambda message: [], MAX_CONCURRENT_STREAMS=1)
    pair.ask(asks(1, "a.example"), asks(2, "b.example"))
    for _ in range(PATIENCE - 1):
        assert pair.client.sweep() == b""
    pair.ask(asks(3, "c.example"))
    pair.deliver(pair.client.sweep())
    assert pair.server.cancelled == 1
    assert pair.server.messages == [asks(0, "a.example"), asks(0, "c.example")]  # nobody waits for b.example by now


def test_long_replies_do_not_fill_the_windows() -> None:
    pair = Pair(lambda message: [Reply(bytes(60_000))])
    for i in range(500):
        assert [len(each) for each in pair.ask(asks(i)).messages] == [60_000]


ENDS = {
    "GOAWAY": (lambda pair: pair.ask(asks(1)), "the server ended the connection: NO_ERROR"),
    "a frame that breaks the protocol": (lambda pair: pair.client.receive(bytes(9)), "HTTP/2 failed: "),
    "a push that we forbid": (
        lambda pair: pair.client.receive(b"\0\0\x05\x05\x04\0\0\0\1\0\0\0\2\x88"),
        "HTTP/2 failed: ",
    ),
}


@pytest.mark.parametrize(("happens", "reason"), ENDS.values(), ids=ENDS)
def test_the_client_reports_why_a_connection_ended(happens: Callable[[Pair], Received], reason: str) -> None:
    pair = Pair(lambda message: [Reply(b"", ends=True)])
    received = happens(pair)
    assert received.end.startswith(reason)
    assert (received.messages, received.failures) == ([], [])


@pytest.mark.parametrize("happens", [each for each, _ in ENDS.values()], ids=ENDS)
def test_nothing_is_sent_on_a_connection_that_has_ended(happens: Callable[[Pair], Received]) -> None:
    pair = Pair(lambda message: [Reply(b"", ends=True)] if b"\3www" in message else [])
    pair.ask(asks(1, "open.example"))
    happens(pair)
    assert pair.client.compose(asks(2)) == b""
    assert [pair.client.sweep() for _ in range(PATIENCE + 1)] == [b""] * (PATIENCE + 1)


def test_a_failed_question_gets_servfail() -> None:
    message = asks(7)[:10] + b"\0\1" + question("www.example") + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    assert failed_reply(message) == b"\0\7\x81\x82\0\1\0\0\0\0\0\0" + question("www.example")
