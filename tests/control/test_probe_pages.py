"""When /health and /ready return 200, and which reasons they give if they don't."""

import time
from http import HTTPStatus

import pytest

from pydns.control.http import Page
from pydns.control.probe_pages import ProbePages
from pydns.process.pulse import STUCK_S, Pulse
from pydns.table.status import KindStatus, Status

SYNCED = KindStatus(synced=True)
LISTING = KindStatus()
FORBIDDEN = KindStatus(problem="403")
OUTAGE = KindStatus(synced=True, problem="connection refused")


def _probes(*, silent_s: float = 0.0) -> tuple[ProbePages, Pulse]:
    pulse = Pulse(2, time.monotonic_ns() - 10**9)
    for row in pulse.workers:
        row.answered_ns = time.monotonic_ns()
    pulse.workers[1].answered_ns -= int(silent_s * 1e9)
    return ProbePages(pulse), pulse


@pytest.mark.parametrize(
    ("ready", "kinds", "draining", "verdict"),
    [
        (False, {}, False, "starting"),
        (False, {"Service": SYNCED, "EndpointSlice": LISTING}, False, "EndpointSlice: not yet listed"),
        (False, {"Service": LISTING, "EndpointSlice": FORBIDDEN}, False, "Service: not yet listed, EndpointSlice: 403"),
        (True, {"Service": SYNCED, "EndpointSlice": SYNCED}, False, "OK"),
        # Once the server was ready, it stays ready.
        (True, {"Service": OUTAGE, "EndpointSlice": OUTAGE}, False, "OK"),
        # The table from before the restart is complete.
        (True, {"Service": LISTING, "EndpointSlice": LISTING}, False, "OK"),
        (True, {"Service": SYNCED}, True, "draining"),
        (False, {}, True, "draining"),
    ],
)  # fmt: skip
def test_ready_returns_ok_or_all_reasons_why_not(
    ready: bool, kinds: dict[str, KindStatus], draining: bool, verdict: str
) -> None:
    probes, pulse = _probes()
    probes.status = Status(ready=ready, kinds=kinds)
    if draining:
        pulse.drain()
    page = probes.ready()
    assert page.body.decode().splitlines() == verdict.split(", ")
    assert page.status == (HTTPStatus.OK if verdict == "OK" else HTTPStatus.SERVICE_UNAVAILABLE)


def test_workers_do_not_affect_readiness_and_data_does_not_affect_health() -> None:
    probes, pulse = _probes(silent_s=STUCK_S + 1)
    probes.status = Status(ready=True)
    assert probes.ready().status == HTTPStatus.OK
    probes, pulse = _probes()
    pulse.drain()
    assert probes.health().status == HTTPStatus.OK


def test_the_server_is_ready_when_every_worker_has_passed_its_self_check() -> None:
    pulse = Pulse(2, time.monotonic_ns())
    probes = ProbePages(pulse)
    probes.status = Status(ready=True)
    assert probes.ready().body == b"worker 0: starting\nworker 1: starting\n"
    pulse.workers[0].answered_ns += 1
    assert probes.ready().body == b"worker 1: starting\n"
    pulse.workers[1].answered_ns += 1
    assert probes.ready() == Page(b"OK\n")


@pytest.mark.parametrize(("silent_s", "verdict"), [(STUCK_S - 1, "OK"), (STUCK_S + 1, "worker 1: no answer for 6 s")])
def test_a_silent_worker_fails_the_health_probe(silent_s: float, verdict: str) -> None:
    page = _probes(silent_s=silent_s)[0].health()
    assert page.body.decode() == verdict + "\n"
    assert page.status == (HTTPStatus.OK if verdict == "OK" else HTTPStatus.SERVICE_UNAVAILABLE)
