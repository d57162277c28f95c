"""pydns posts Events about its own health: when it changes, and not too often."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pydns.control.api_client import connect
from pydns.control.clock import Clock
from pydns.control.events import Event, EventPoster, Subject
from pydns.control.health_events import PAUSE_S, HealthEvents, own_subject
from pydns.table.status import KindStatus, RouteStatus, SourceStatus, Status
from tests.bench.servers import free_port
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.log import RecordedLog
from tests.running import Server, query
from tests.subject import Address
from tests.waiting import until

POD = Subject("Pod", "kube-system", "pydns-7f", "1234")


def healthy(**changes: Any) -> Status:
    return Status(synced=True, **changes)


def routes(*down: str) -> Status:
    """Return a status with two routes and two workers."""
    each = {"workers": 2}
    return healthy(routes=tuple(RouteStatus(route=r, breakers_open=2 * (r in down), **each) for r in (".", "corp.")))


def kinds(age_s: float | None, problem: str | None = "timeout") -> dict[str, KindStatus]:
    return {"Service": KindStatus(synced=age_s is not None, problem=problem, data_age_s=age_s), "Node": KindStatus()}


DOWN = "UpstreamsDown no upstream of the default route answers"
UP = "UpstreamsUp an upstream of the default route answers again"
CORP = "UpstreamsDown no upstream of the route corp. answers"
OLD = "NotSynced for 5 minutes, no current data from the API server: Service (timeout)"
SYNCED = "Synced the data from the API server is current again"


class Case(NamedTuple):
    """Statuses at times in seconds, and the Events that follow: time, count, reason and message."""

    name: str
    statuses: Sequence[tuple[float, Status]]
    events: list[tuple[float, int, str]]


CASES = [
    Case("nothing happens", [(0, routes()), (400, routes())], []),
    Case("down and up", [(0, routes()), (1, routes(".")), (2, routes()), (3, routes())], [(1, 1, DOWN), (2, 1, UP)]),
    Case(
        "one of two workers has a live upstream",
        [(0, healthy(routes=(RouteStatus(route=".", breakers_open=1, workers=2),)))],
        [],
    ),
    Case(
        "a route flaps",
        [*[(at, routes(*(["."] if at % 2 else []))) for at in range(100)], (301, routes()), (302, routes())],
        [(1, 1, DOWN), (2, 1, UP), (301, 49, DOWN), (302, 49, UP)],
    ),
    Case(
        "another route within the pause",
        [(0, routes(".")), (10, routes(".", "corp.")), (PAUSE_S, routes(".", "corp."))],
        [(0, 1, DOWN), (PAUSE_S, 1, CORP)],
    ),
    Case(
        "both routes at once",
        [(0, routes(".", "corp."))],
        [(0, 2, f"{DOWN}; no upstream of the route corp. answers")],
    ),
    Case("a route leaves the configuration", [(0, routes(".")), (1, healthy())], [(0, 1, DOWN)]),
    Case(
        "a start that takes longer than five minutes",
        [*[(at, Status(kinds=kinds(None))) for at in (0, 299, 300)], (301, healthy(kinds=kinds(1, None)))],
        [(300, 1, f"{OLD}, Node"), (301, 1, SYNCED)],
    ),
    Case("a start that takes less", [(0, Status()), (299, Status()), (299.5, healthy()), (700, healthy())], []),
    Case(
        "a watch that is interrupted",
        [(0, healthy(kinds=kinds(300))), (1, healthy(kinds=kinds(301))), (2, healthy(kinds=kinds(0)))],
        [(1, 1, OLD), (2, 1, SYNCED)],
    ),
    Case("a watch without events or a problem", [(0, healthy(kinds=kinds(600, None)))], []),
    Case(
        "another cluster",
        [(0, healthy(sources={"west": SourceStatus(kinds=kinds(301))}))],
        [(0, 1, OLD.replace("Service", "Service of west"))],
    ),
    Case(
        "many kinds",
        [(0, healthy(kinds={f"Kind{n}": KindStatus(problem="x", data_age_s=400) for n in range(7)}))],
        [(0, 1, OLD.partition(": ")[0] + ": " + ", ".join(f"Kind{n} (x)" for n in range(5)) + " and 2 more")],
    ),
]


@pytest.mark.parametrize("case", [pytest.param(each, id=each.name) for each in CASES])
def test_a_change_of_health_makes_an_event(case: Case) -> None:
    now = 0.0
    posted: list[tuple[float, int, str]] = []

    def post(event: Event) -> None:
        assert event.is_warning == (event.reason in ("UpstreamsDown", "NotSynced"))
        assert event.first <= event.last <= 1e9 + now
        posted.append((now, event.times, f"{event.reason} {event.message}"))

    events = HealthEvents(POD, "host", post, Clock(lambda: now, lambda: 1e9 + now))
    for now, status in case.statuses:  # noqa: B007  # the clock reads `now`
        events.take(status)
    assert posted == case.events


@pytest.mark.parametrize(
    ("environment", "configmap", "wanted"),
    [
        (
            {"POD_NAME": "a", "POD_NAMESPACE": "b", "POD_UID": "c"},
            ("kube-system", "pydns"),
            Subject("Pod", "b", "a", "c"),
        ),
        ({"POD_NAME": "a", "POD_NAMESPACE": "b"}, None, Subject("Pod", "b", "a")),
        ({"POD_NAME": "a"}, ("kube-system", "pydns"), Subject("ConfigMap", "kube-system", "pydns")),
        ({}, None, None),
    ],
)
def test_events_are_on_the_pod_or_on_the_configmap(
    environment: dict[str, str], configmap: tuple[str, str] | None, wanted: Subject | None
) -> None:
    assert own_subject(environment, configmap) == wanted


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    with FakeApiServer() as fake:
        yield fake


def test_a_missing_permission_is_logged_once_and_not_tried_again(api: FakeApiServer, tmp_path: Path) -> None:
    api.fail("Event", "create", 403, reason="Forbidden", message="cannot create events")
    log, now = RecordedLog(), 0.0
    poster = EventPoster(connect(api.kubeconfig(tmp_path)), log)
    events = HealthEvents(POD, "host", poster.post, Clock(lambda: now, lambda: now))
    for now in range(int(3 * PAUSE_S)):  # the clock reads `now`
        events.take(routes(*(["."] if now % 2 else [])))
    api.wait_until(lambda api: len(api.asked("create", "Event")) == 6)
    assert log.lines("event not posted") == [
        "event not posted problem=403 cannot create events action=go on without Events"
    ]


def test_dead_upstreams_of_a_route_are_an_event_on_the_pod(
    api: FakeApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"NAME": POD.name, "NAMESPACE": POD.namespace, "UID": POD.uid}.items():
        monkeypatch.setenv(f"POD_{key}", value)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"upstreams": [f"127.0.0.1:{free_port()}"]}))
    server = Server(
        ["--kubeconfig", str(api.kubeconfig(tmp_path)), "--config", str(config)],
        tmp_path / "state",
        flags=["--ready", "127.0.0.1:0"],
    )
    try:
        address = Address("127.0.0.1", server.port, silent=False)

        def is_posted() -> bool:
            address.ask(query("www.example.com."), tcp=False)
            return bool(api.created_events)

        until(is_posted, 60)
        (route,) = json.loads(server.get("/status")[1])["routes"]
        assert route == {"route": ".", "breakers_open": 1, "workers": 1}
    finally:
        server.end()
    event = api.created_events[0]
    about = {"kind": "Pod", "namespace": POD.namespace, "name": POD.name, "uid": POD.uid}
    assert event["involvedObject"] == {"apiVersion": "v1", **about}
    shown = {key: event[key] for key in ("type", "reason", "message", "count")}
    assert shown == {
        "type": "Warning",
        "reason": "UpstreamsDown",
        "message": "no upstream of the default route answers",
        "count": 1,
    }
