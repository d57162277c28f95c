"""Makes the pages of the console: three files for the browser, the data that it polls, and explanations of names.

Rules:

1. The host in a request must be an IP address or localhost. This prevents DNS rebinding: a name of another site first
   leads to that site, and later to the console. Without this rule, a page of that site could read the console.
2. A request that a page of another site sends is refused. The browser marks such a request with `Sec-Fetch-Site`. A
   person may still follow a link from another site to the console.
3. The browser may load nothing from elsewhere, and may run no script but /console.js (Content-Security-Policy). A name
   may contain HTML of an attacker, so the page shows every text as plain text. With Trusted Types, the browser makes
   sure that no text is taken for HTML.
4. A request causes little work. The data is read before a request comes, and at most one name is explained in each
   period of `EXPLAIN_S`.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from pydns import __version__
from pydns.console.history import PERIOD_S, SOURCES, History
from pydns.console.pasted import Pasted, parse
from pydns.console.problems import problems
from pydns.console.recent import NameOf, Recent, Top, Wanted
from pydns.control.clock import Clock, Every
from pydns.control.http import MakePage, Page, Pages, Request
from pydns.table.status import UNKNOWN, Status

EXPLAIN_S = 0.1
WATCHED_S = 10.0
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_JSON = "application/json"
_ENCODE = msgspec.json.Encoder().encode

# Explains a name. The arguments are the name, the type and the client, as texts. Raises `ValueError` for an invalid
# question.
Explain = Callable[[str, str, str], Struct]


class Snapshot(NamedTuple):
    """What the console knows from its last look at the table and at recent queries."""

    status: Status = UNKNOWN
    configuration: tuple[str, ...] = ()  # lines about the keys whose values differ from the defaults
    domains: tuple[bytes, ...] = ()  # the domains of the cluster
    top: Top = Top()
    no_queries: str = ""  # the reason why there are no recent queries
    name_of: NameOf = lambda _address: None


class ConsolePages:
    """Makes the pages of the console. Another thread sets `snapshot` and adds periods to the history."""

    def __init__(self, history: History, recent: Recent, explain: Explain, clock: Clock) -> None:
        self.snapshot = Snapshot()  # another thread replaces the snapshot as a whole and never modifies it
        self._watched = -WATCHED_S  # the monotonic time when a browser last asked for recent queries
        self._history = history
        self._recent = recent
        self._explain = explain
        self._clock = clock
        self._may_explain = Every(EXPLAIN_S, clock)

    def pages(self) -> Pages:
        """Return all pages by path."""
        pages: dict[str, MakePage] = {path: _file(*named) for path, named in _FILES.items()}
        pages |= {"/data": self.data, "/queries": self.queries, "/explain": self.explain}
        return {path: _guarded(make) for path, make in pages.items()}

    @property
    def is_watched(self) -> bool:
        """Return whether a browser shows recent queries.

        The rings need to be read only while a browser shows recent queries.
        """
        return self._clock.monotonic() - self._watched < WATCHED_S

    def data(self, request: Request) -> Page:
        """Return the data that changes: the status, its problems, and the periods with numbers above `after`."""
        status = self.snapshot.status
        now = self._clock.wall()
        age_s = max(0.0, now - status.time) if status.time else 0.0
        periods = self._history.after(_number(request.query.get("after", "")))
        return _json(
            {
                "version": __version__,
                "time": now,
                "age_s": round(age_s, 1),
                "problems": problems(status, age_s),
                "status": status,
                "configuration": self.snapshot.configuration,
                "sources": SOURCES,
                "period_s": PERIOD_S,
                "periods": periods,
            }
        )

    def queries(self, request: Request) -> Page:
        """Return the busiest names and clients, and recent queries.

        The recent queries have numbers above `after`, and match the other fields of the request.
        """
        self._watched = self._clock.monotonic()
        seen, query = self.snapshot, request.query
        wanted = Wanted(
            query.get("text", "").strip().lower(), query.get("result", ""), _number(query.get("slow_ms", "")) / 1000
        )
        return _json(
            {
                "problem": seen.no_queries,
                "top": seen.top,
                "last": self._recent.last,
                "lines": self._recent.lines(_number(query.get("after", "")), wanted, seen.name_of),
            }
        )

    def explain(self, request: Request) -> Page:
        """Explain the name in `text`. `from` may contain the client: a namespace, NAMESPACE/POD or an address."""
        if not self._may_explain.is_due():
            return _error("too many questions: ask again", HTTPStatus.TOO_MANY_REQUESTS)
        text, wanted = request.query.get("text", ""), request.query.get("type", "")
        found = parse(text)
        if not found.name:
            return _error("paste a name, an address, a URL, or an error message with a name")
        rtype = wanted or found.type
        try:
            explanation = self._explain(found.name, rtype, request.query.get("from", "").strip())
        except ValueError as error:
            return _error(str(error))
        return _json({"understood": Pasted(found.name, rtype)._asdict(), "explanation": explanation})


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0


def _guarded(make: MakePage) -> MakePage:
    def page(request: Request) -> Page:
        if not _is_own_host(request.headers.get("host", "")):
            text = "the console answers only at an IP address or localhost, such as http://localhost:8053/\n"
            return Page(text.encode(), HTTPStatus.FORBIDDEN)
        if _is_of_another_site(request):
            return Page(b"the console answers no page of another site\n", HTTPStatus.FORBIDDEN)
        return make(request)._replace(headers=_HEADERS)

    return page


def _is_of_another_site(request: Request) -> bool:
    """Return whether a page of another site has sent a request.

    For a click on a link to the console, the result is False (rule 2).
    """
    if request.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return False
    return request.path != "/" or request.headers.get("sec-fetch-mode") != "navigate"


_HOST = re.compile(r"(localhost|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?", re.IGNORECASE)


def _is_own_host(host: str) -> bool:
    """Return whether a Host header is an IP address or localhost, with or without a port (rule 1)."""
    return _HOST.fullmatch(host) is not None


def _file(name: str, content_type: str) -> MakePage:
    page = Page((files("pydns.console") / "page" / name).read_bytes(), content_type=content_type)
    return lambda _: page


def _json(value: Any) -> Page:
    return Page(_ENCODE(value), content_type=_JSON)


def _error(text: str, status: HTTPStatus = HTTPStatus.OK) -> Page:
    """Return the text of an error as JSON, for the page to show.

    An invalid question gets the status 200, because a browser logs every other status as a failure.
    """
    return Page(_ENCODE({"error": text}), status, _JSON)
