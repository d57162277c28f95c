"""Serves /status and /ring to other replicas of pydns, for the verbs' `--all`.

The pages are off unless `--peers` names a service account. A request needs a token of this service account with the
audience `AUDIENCE`. The API server checks the token (TokenReview). Rules:

1. A token that was accepted is accepted for `KEPT_S`, without asking the API server again. At most `_MOST_KEPT` hashes
   of accepted tokens are kept.
2. The API server is asked about other tokens at most `_MOST_REVIEWS` times in `_PERIOD_S`. So only a few tokens of a
   flood reach the API server.
3. While the API server can't be asked, no page is served for a new token.
4. A page has only the queries in the last `_READ_OCTETS` octets of the rings. Reading the whole rings would take 90 MB
   and 0.5 s.
"""

import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Struct

from pydns.control import ring_page
from pydns.control.clock import Clock
from pydns.control.http import MakePage, Page, Request, Slow
from pydns.log import one_line
from pydns.process.ring_files import RingError, Rings

if TYPE_CHECKING:
    from pydns.control.api_client import ApiClient

AUDIENCE = "pydns"
KEPT_S = 60.0
_MOST_KEPT = 64
_MOST_REVIEWS, _PERIOD_S = 20, 10.0
_ANSWER_S = 2.0  # the time limit for an answer of the API server, so that the page is sent within `http.PATIENCE_S`
_LARGEST = 64 << 10  # the maximum size of a TokenReview in octets
# A JWT that fits into the head of a request (8 kB). Other tokens are refused without asking the API server.
_BEARER = re.compile(r"[Bb]earer ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_READ_OCTETS = 3 << 20
_DEFAULT_S, _LONGEST_S = 60.0, 86_400.0


class Refusal(NamedTuple):
    """Why a request isn't answered."""

    status: HTTPStatus
    reason: str


class _User(Struct):
    username: str = ""


class _ReviewStatus(Struct):
    authenticated: bool = False
    user: _User = msgspec.field(default_factory=_User)
    audiences: list[str] = msgspec.field(default_factory=list)


class _Review(Struct):
    status: _ReviewStatus


class TokenReviews:
    """Checks tokens. Several threads may use one `TokenReviews`."""

    def __init__(self, account: tuple[str, str], connect: Callable[[], "ApiClient"], clock: Clock) -> None:
        """`account` is the namespace and the name of the service account whose tokens are accepted.

        `connect` returns a client of the API server, and may raise any exception.
        """
        self._user = "system:serviceaccount:" + ":".join(account)
        self._connect = connect
        self._client: ApiClient | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[bytes, float] = {}  # hash of an accepted token -> the time when it must be checked again
        self._reviewed: deque[float] = deque()  # times of the last reviews

    def refusal(self, authorization: str) -> Refusal | None:
        """Return why a request with this Authorization header is refused, or None if it is allowed."""
        found = _BEARER.fullmatch(authorization)
        if found is None:
            return Refusal(HTTPStatus.UNAUTHORIZED, f"give a token for the audience {AUDIENCE}")
        key = hashlib.sha256(found[1].encode()).digest()
        with self._lock:
            now = self._clock.monotonic()
            if now < self._kept.get(key, 0.0):
                return None
            while self._reviewed and self._reviewed[0] <= now - _PERIOD_S:
                self._reviewed.popleft()
            if len(self._reviewed) >= _MOST_REVIEWS:
                return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many tokens to check")
            self._reviewed.append(now)
        try:
            status = self._review(found[1])
        except Exception as error:  # credentials come from files and programs, which may raise anything
            text = one_line(error)[:200]
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"the API server can't check the token: {text}")
        if not status.authenticated or AUDIENCE not in status.audiences:
            return Refusal(HTTPStatus.UNAUTHORIZED, f"the token isn't valid for the audience {AUDIENCE}")
        if status.user.username != self._user:
            return Refusal(HTTPStatus.FORBIDDEN, f"only {self._user} may read this page")
        with self._lock:
            self._kept.pop(key, None)
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = now + KEPT_S
        return None

    def _review(self, token: str) -> _ReviewStatus:
        """Return the answer of the API server about a token. May raise any exception."""
        if self._client is None:
            self._client = self._connect()
        spec = {"token": token, "audiences": [AUDIENCE]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        response = self._client.request(_REVIEWS, [], _ANSWER_S, method="POST", body=json.dumps(body).encode())
        octets = response.read(_LARGEST)
        response.release_conn()
        if response.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise OSError(f"{response.status} {response.reason}")
        return msgspec.json.decode(octets, type=_Review).status


class PeerPages:
    """Makes the pages for requests with a token."""

    def __init__(self, reviews: TokenReviews, state_dir: Path) -> None:
        self._reviews = reviews
        self._state_dir = state_dir

    def pages(self, status: MakePage) -> Mapping[str, MakePage]:
        """Return the pages by path. `status` makes the page /status."""
        return {"/status": Slow(self._guarded(status)), "/ring": Slow(self._guarded(self._ring))}

    def _guarded(self, make: MakePage) -> MakePage:
        def page(request: Request) -> Page:
            refusal = self._reviews.refusal(request.headers.get("authorization", ""))
            if refusal is None:
                return make(request)
            headers: Any = [("WWW-Authenticate", "Bearer")] if refusal.status is HTTPStatus.UNAUTHORIZED else []
            return Page(f"{refusal.reason}\n".encode(), refusal.status, headers=headers)

        return page

    def _ring(self, request: Request) -> Page:
        """Return the queries of the last `seconds` seconds, at most `most` of them."""
        seconds = _number(request.query.get("seconds"), _DEFAULT_S, _LONGEST_S)
        most = int(_number(request.query.get("most"), ring_page.MOST, ring_page.MOST))
        try:
            found = Rings(self._state_dir).new(time.time() - seconds, _READ_OCTETS)
        except RingError as error:
            return Page(f"{error}\n".encode(), HTTPStatus.NOT_FOUND)
        return Page(ring_page.encode(found, most), content_type=ring_page.CONTENT_TYPE)


def _number(text: str | None, default: float, largest: float) -> float:
    """Return the number in a field of a URL, but at most `largest`.

    Return the default if the text isn't a number, or if it is negative.
    """
    if text is None or not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text):
        return default
    return min(float(text), largest)
