"""Other replicas read /status and /ring with a token that the API server accepts for this purpose."""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pydns.control import ring_page
from pydns.control.api_client import connect
from pydns.control.clock import Clock
from pydns.control.http import Page, Request
from pydns.control.peer_pages import AUDIENCE, KEPT_S, PeerPages, TokenReviews
from pydns.ring.queries import Query, Source, read
from tests.fakes.apiserver import FakeApiServer
from tests.running import WEB, query

ACCOUNT = ("kube-system", "pydns")
USER = "system:serviceaccount:kube-system:pydns"
GOOD = "aa.bb.cc"
NOW = 1_800_000_000.0


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as fake:
        fake.tokens = {
            GOOD: (USER, [AUDIENCE]),
            "api.server.token": (USER, ["https://kubernetes.default.svc"]),
            "other.account.token": ("system:serviceaccount:shop:default", [AUDIENCE]),
        }
        yield fake


class Reviews:
    """The reviews of tokens, with a clock that the test moves."""

    def __init__(self, api: FakeApiServer, folder: Path) -> None:
        kubeconfig = api.kubeconfig(folder)
        self.now = 1000.0
        self.checked = TokenReviews(ACCOUNT, lambda: connect(kubeconfig), Clock(lambda: self.now, lambda: NOW))
        self._api = api

    def status(self, authorization: str) -> int:
        """Return the status of the response to a request with this header."""
        refusal = self.checked.refusal(authorization)
        return 200 if refusal is None else refusal.status.value

    @property
    def asked(self) -> int:
        return len(self._api.asked("create", "TokenReview"))


@pytest.fixture
def reviews(api: FakeApiServer, tmp_path: Path) -> Reviews:
    return Reviews(api, tmp_path)


@pytest.mark.parametrize(
    ("authorization", "status", "asked"),
    [
        (f"Bearer {GOOD}", 200, 1),
        (f"bearer {GOOD}", 200, 1),
        ("Bearer no.such.token", 401, 1),
        ("Bearer api.server.token", 401, 1),
        ("Bearer other.account.token", 403, 1),
        ("", 401, 0),
        (GOOD, 401, 0),
        ("Basic YTpi", 401, 0),
        ("Bearer not-a-jwt", 401, 0),
        ("Bearer a.b.c\n", 401, 0),
        ("Bearer a.b.ä", 401, 0),
    ],
)
def test_a_token_must_be_of_the_account_and_for_the_audience(
    authorization: str, status: int, asked: int, reviews: Reviews
) -> None:
    assert (reviews.status(authorization), reviews.asked) == (status, asked)


def test_an_accepted_token_is_checked_again_after_a_minute(api: FakeApiServer, reviews: Reviews) -> None:
    for seconds in (0.0, 1.0, KEPT_S - 1.1):
        reviews.now += seconds
        assert reviews.status(f"Bearer {GOOD}") == 200
    assert reviews.asked == 1
    del api.tokens[GOOD]
    reviews.now += 0.2
    assert (reviews.status(f"Bearer {GOOD}"), reviews.asked) == (401, 2)


def test_many_bad_tokens_are_not_all_sent_to_the_api_server(reviews: Reviews) -> None:
    found = [reviews.status(f"Bearer a.b.{number}") for number in range(50)]
    assert (found, reviews.asked) == ([401] * 20 + [429] * 30, 20)
    reviews.now += 10
    assert reviews.status(f"Bearer {GOOD}") == 200


def test_few_accepted_tokens_are_kept(api: FakeApiServer, reviews: Reviews) -> None:
    for number in range(100):
        api.tokens[f"a.b.{number}"] = (USER, [AUDIENCE])
        assert reviews.status(f"Bearer a.b.{number}") == 200
        reviews.now += 0.5
    assert len(reviews.checked._kept) == 64


def test_nothing_is_served_while_the_api_server_fails(api: FakeApiServer, reviews: Reviews) -> None:
    api.fail("TokenReview", "create", 403, reason="Forbidden", message="cannot create tokenreviews")
    assert reviews.status(f"Bearer {GOOD}") == HTTPStatus.SERVICE_UNAVAILABLE
    api.heal()
    assert reviews.status(f"Bearer {GOOD}") == HTTPStatus.OK


def test_a_page_is_made_only_for_an_accepted_token(reviews: Reviews, tmp_path: Path) -> None:
    pages = PeerPages(reviews.checked, tmp_path).pages(lambda _: Page(b"the status"))

    def get(path: str, **headers: str) -> Page:
        return pages[path](Request(path, {}, headers))

    assert get("/status", authorization=f"Bearer {GOOD}") == Page(b"the status")
    for path in pages:
        refused = get(path)
        assert (refused.status, refused.headers) == (401, [("WWW-Authenticate", "Bearer")])
    missing = get("/ring", authorization=f"Bearer {GOOD}")  # there is no ring in this folder
    assert missing.status == HTTPStatus.NOT_FOUND


def queries(count: int) -> list[Query]:
    made = []
    for number in range(count):
        message = query(WEB, 1, number)
        message = message[:2] + b"\x85\x80" + message[4:]
        client = bytes([10, 0, 0, number % 256])
        made.append(Query(NOW + number, 0.001, client, False, len(message), read(message), Source.DENIAL, "", message))
    return made


def test_a_page_has_the_last_queries() -> None:
    sent = queries(10)
    assert ring_page.decode(ring_page.encode(sent, 100), 100) == sent
    assert ring_page.decode(ring_page.encode(sent, 3), 3) == sent[-3:]


def test_a_long_message_is_cut_but_its_facts_stay() -> None:
    (short,) = queries(1)
    long = short._replace(message=short.message + bytes(60_000), size=60_000, server="10.0.0.2:53")
    (found,) = ring_page.decode(ring_page.encode([long], 1), 1)
    assert (found.facts, found.size, found.server) == (short.facts, 60_000, "10.0.0.2:53")


ROW: list[Any] = [NOW, 0.001, b"\x0a\0\0\1", False, 50, "table", "", query(WEB)]


def changed(place: int, value: object) -> bytes:
    row = [*ROW[:place], value, *ROW[place + 1 :]]
    return msgspec.msgpack.encode({"version": 1, "queries": [row]})


HOSTILE = {
    "nothing": b"",
    "text": b"<html>",
    "another version": msgspec.msgpack.encode({"version": 2, "queries": []}),
    "too many queries": msgspec.msgpack.encode({"version": 1, "queries": [ROW] * 3}),
    "nested without end": b"\x91" * 100_000,
    "a huge length": b"\xdd\xff\xff\xff\xff",
    "a time before 1970": changed(0, -1.0),
    "a time that can't be printed": changed(0, 1e18),
    "no time": changed(0, float("nan")),
    "an endless duration": changed(1, float("inf")),
    "a client without an address": changed(2, b""),
    "a client with a long address": changed(2, bytes(17)),
    "a negative size": changed(4, -1),
    "an unknown source": changed(5, "other"),
    "a server that controls a terminal": changed(6, "\x1b[2J"),
    "a long server": changed(6, "x" * 200),
    "a long message": changed(7, bytes(1000)),
}


@pytest.mark.parametrize("body", [pytest.param(body, id=case) for case, body in HOSTILE.items()])
def test_a_hostile_page_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        ring_page.decode(body, 2)


@pytest.mark.parametrize("message", [b"", b"x", bytes(12), b"\xff" * 288])
def test_any_message_is_read(message: bytes) -> None:
    (found,) = ring_page.decode(changed(7, message), 2)
    assert found.facts == read(message)
