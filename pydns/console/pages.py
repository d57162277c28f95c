"""Makes the pages of the console: three files for the browser, the data that it polls, and explanations of names.

Rules:

1. A request must name the console by an IP address or as localhost. Otherwise a page of another site could read the
   console, by a name that leads first to the site and then to the console (DNS rebinding).
2. A request of a page of another site is refused, if the browser says so (`Sec-Fetch-Site`).
3. The browser may load nothing from elsewhere, and may run no script but /console.js (Content-Security-Policy).
   Names are hostile: the page shows every text as text. With Trusted Types, the browser enforces this.
4. Everything is read only, and a request has a limit for its work: `EXPLAIN_S` apart, names are explained.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from pydns import __version__
from pydns.config.texts import parse_ip
from pydns.console.history import PERIOD_S, SOURCES, History
from pydns.console.pasted import Pasted, parse
from pydns.console.problems import problems
from pydns.control.clock import Clock, Every
from pydns.control.http import MakePage, Page, Pages, Request
from pydns.table.status import UNKNOWN, Status

EXPLAIN_S = 0.1
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

# Explains a name: text, type, namespace, address of a client. Raises `ValueError` for an invalid question.
Explain = Callable[[str, str, str, str], Struct]


class Snapshot(Struct, frozen=True):
    """What the console knows from its last look at the table."""

    status: Status = UNKNOWN
    configuration: tuple[str, ...] = ()  # keys that differ from the defaults


class ConsolePages:
    """Makes the pages. Another thread sets `snapshot` and adds to the history."""

    def __init__(self, history: History, explain: Explain, clock: Clock) -> None:
        self.snapshot = Snapshot()  # replaced as a whole, never modified
        self._history = history
        self._explain = explain
        self._clock = clock
        self._may_explain = Every(EXPLAIN_S, clock)

    def pages(self) -> Pages:
        """Return all pages by path."""
        pages: dict[str, MakePage] = {path: _file(*named) for path, named in _FILES.items()}
        pages |= {"/data": self.data, "/explain": self.explain}
        return {path: _guarded(make) for path, make in pages.items()}

    def data(self, request: Request) -> Page:
        """Return what changes: the status, its problems, and the periods after `after`."""
        status = self.snapshot.status
        now = self._clock.wall()
        age_s = max(0.0, now - status.time) if status.time else 0.0
        after = request.query.get("after", "0")
        periods = self._history.after(int(after) if after.isdecimal() and len(after) < 10 else 0)
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

    def explain(self, request: Request) -> Page:
        """Explain the name in `text`, for a pod in the namespace or for the client in `from`."""
        if not self._may_explain.is_due():
            return _error("too many questions: ask again", HTTPStatus.TOO_MANY_REQUESTS)
        text, wanted = request.query.get("text", ""), request.query.get("type", "")
        found = parse(text)
        if not found.name:
            return _error("paste a name, an address, a URL, or an error message with a name")
        namespace, client = _asker(request.query.get("from", ""))
        rtype = wanted or found.type
        try:
            explanation = self._explain(found.name, rtype, namespace, client)
        except ValueError as error:
            return _error(str(error))
        return _json({"understood": Pasted(found.name, rtype)._asdict(), "explanation": explanation})


def _asker(text: str) -> tuple[str, str]:
    """Return the namespace and the address of a client. `text` has one of them, or NAMESPACE/POD."""
    text = text.strip()
    if isinstance(parse_ip(text), bytes):
        return "", text
    return text.partition("/")[0], ""


def _guarded(make: MakePage) -> MakePage:
    def page(request: Request) -> Page:
        if not _is_own_host(request.headers.get("host", "")):
            text = "the console answers only at an IP address or localhost, such as http://localhost:8053/\n"
            return Page(text.encode(), HTTPStatus.FORBIDDEN)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Page(b"the console answers no page of another site\n", HTTPStatus.FORBIDDEN)
        return make(request)._replace(headers=_HEADERS)

    return page


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
    """Return an error for a person. An invalid question is an answer, too: a browser would log another status."""
    return Page(_ENCODE({"error": text}), status, _JSON)
