"""The pages of the console: which requests get them, what browsers may do with them, and the limits of a request."""

import json
import re
from http import HTTPStatus

import msgspec
import pytest

from pydns.console.history import History
from pydns.console.pages import EXPLAIN_S, WATCHED_S, ConsolePages, Snapshot
from pydns.console.recent import Recent
from pydns.control.clock import Clock
from pydns.control.http import Page, Request
from pydns.table.status import Status

OWN = {"host": "localhost:8053"}


class Explained(msgspec.Struct):
    question: tuple[str, str, str]


def explain(text: str, rtype: str, asker: str) -> Explained:
    if "bad" in text:
        raise ValueError("bad <name>")
    return Explained((text, rtype, asker))


class World:
    """The pages, with a clock that a test can set."""

    def __init__(self) -> None:
        self.now = 0.0
        clock = Clock(monotonic=lambda: self.now, wall=lambda: 1000.0 + self.now)
        self.recent = Recent()
        self.console = ConsolePages(History(), self.recent, explain, clock)
        self.pages = self.console.pages()

    def get(self, path: str, query: dict[str, str] | None = None, headers: dict[str, str] = OWN) -> Page:
        self.now += EXPLAIN_S
        return self.pages[path](Request(path, query or {}, headers))

    def explained(self, **query: str) -> object:
        return json.loads(self.get("/explain", query).body)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("localhost", True),
        ("localhost:8053", True),
        ("LOCALHOST:8053", True),
        ("127.0.0.1:8053", True),
        ("10.1.2.3", True),
        ("[::1]:8053", True),
        ("evil.example:8053", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("pydns.kube-system.svc", False),
        ("", False),
        ("localhost:8053, evil.example", False),
    ],
)
def test_only_a_request_to_an_address_or_localhost_is_served(world: World, host: str, is_served: bool) -> None:
    """A page of another site could reach the console by a name that it controls (DNS rebinding)."""
    for path in world.pages:
        page = world.get(path, {"text": "web.shop"}, {"host": host})
        assert (page.status is HTTPStatus.OK) == is_served, path
        assert is_served or page.status is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_a_request_of_a_page_of_another_site_is_refused(world: World, site: str, status: int) -> None:
    assert world.get("/data", headers={**OWN, "sec-fetch-site": site}).status == status


def test_a_link_on_another_site_leads_to_the_page_but_not_to_data(world: World) -> None:
    clicked = {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert world.get("/", headers=clicked).status is HTTPStatus.OK
    assert world.get("/", headers={**clicked, "sec-fetch-mode": "no-cors"}).status is HTTPStatus.FORBIDDEN
    assert world.get("/data", headers=clicked).status is HTTPStatus.FORBIDDEN


def test_every_page_forbids_all_that_it_does_not_need(world: World) -> None:
    for path in world.pages:
        headers = dict(world.get(path, {"text": "web.shop"}).headers)
        policy = headers["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not [each for each in policy if "unsafe" in each or "http" in each or "*" in each]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_the_page_loads_only_what_the_console_serves(world: World) -> None:
    page = world.get("/").body.decode()
    assert set(re.findall(r'(?:href|src)="([^"#]+)"', page)) == {"/console.js", "/console.css", "/icon.svg"}
    assert "<script>" not in page and "style=" not in page and " on" + "click" not in page
    script = world.get("/console.js").body.decode()
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"):
        assert dangerous not in script.replace('"http://www.w3.org/2000/svg"', ""), dangerous


def test_the_data_has_the_status_and_its_age(world: World) -> None:
    world.console.snapshot = Snapshot(Status(time=990.0, synced=True, domain="<b>.local."), ("ttl: 30",))
    data = json.loads(world.get("/data").body)
    assert data["age_s"] == pytest.approx(10.1)
    assert data["status"]["domain"] == "<b>.local."
    assert data["configuration"] == ["ttl: 30"]
    assert [each["level"] for each in data["problems"]] == ["bad"]


@pytest.mark.parametrize("after", ["-1", "x", "", "9" * 500, "1.5", "²"])
def test_an_invalid_number_of_a_period_means_all_periods(world: World, after: str) -> None:
    assert world.get("/data", {"after": after}).status is HTTPStatus.OK


def test_a_question_has_the_text_the_type_and_the_client(world: World) -> None:
    found = world.explained(text=" db.shop ", type="SRV", **{"from": " shop/web-0 "})
    assert found == {
        "understood": {"name": "db.shop", "type": "SRV"},
        "explanation": {"question": ["db.shop", "SRV", "shop/web-0"]},
    }


def test_the_type_that_was_chosen_wins_over_the_pasted_one(world: World) -> None:
    assert world.explained(text="dig web.shop SRV", type="AAAA")["understood"] == {"name": "web.shop", "type": "AAAA"}  # type: ignore[index]
    assert world.explained(text="dig web.shop SRV")["understood"] == {"name": "web.shop", "type": "SRV"}  # type: ignore[index]


def test_an_invalid_question_is_an_error_that_a_person_can_read(world: World) -> None:
    page = world.get("/explain", {"text": "bad"})
    assert json.loads(page.body) == {"error": "bad <name>"}
    for query in ({"text": " "}, {}):
        assert json.loads(world.get("/explain", query).body)["error"].startswith("paste a name")


def test_the_rate_of_explanations_is_limited(world: World) -> None:
    request = Request("/explain", {"text": "web.shop"}, OWN)
    world.now += 10
    assert [world.pages["/explain"](request).status for _ in range(3)] == [200, 429, 429]
    world.now += 2 * EXPLAIN_S
    assert world.pages["/explain"](request).status == 200


def test_queries_are_read_only_while_a_browser_watches(world: World) -> None:
    assert not world.console.is_watched
    world.get("/data")
    assert not world.console.is_watched
    world.get("/queries", {"after": "x", "slow_ms": "-5", "result": "?", "text": "*" * 300})
    assert world.console.is_watched
    world.now += WATCHED_S
    assert not world.console.is_watched


def test_the_browser_learns_why_there_are_no_queries(world: World) -> None:
    world.console.snapshot = Snapshot(no_queries="recent_queries_mib is 0")
    found = json.loads(world.get("/queries").body)
    assert (found["problem"], found["lines"], found["top"]["names"]) == ("recent_queries_mib is 0", [], [])
