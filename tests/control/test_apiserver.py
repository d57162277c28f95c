"""The API server over real HTTP and HTTPS, with a server that fails when the test wants it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pydns.control.api_client import connect
from pydns.control.apiserver import ApiServer, Pace, Watched
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import RECORD_KINDS, Kind
from pydns.kube.objects import Ref, Service, Skipped
from pydns.kube.reflector import FIGURES
from tests.fakes.apiserver import FakeApiServer
from tests.fakes.cluster import event_line
from tests.fakes.log import RecordedLog
from tests.waiting import PATIENCE_S, until

SERVICES = Watched((Kind.SERVICE,))
# The same as the real figures, except that waiting times are short enough for a test.
QUICK = FIGURES._replace(
    page_size=2, backoff_first_s=0.01, backoff_last_s=0.04, answer_s=5, audit_s=3600, audit_confirm_s=0.05
)


def service(name: str, address: str = "10.96.0.1", **labels: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, "labels": labels}, "spec": {"clusterIP": address}}


class Received:
    """The events that were delivered and logged, and the objects that result from them."""

    def __init__(self) -> None:
        self.batches: queue.SimpleQueue[list[Event]] = queue.SimpleQueue()
        self.calls: list[list[Event]] = []
        self.objects: dict[Ref, object] = {}
        self.synced: set[Kind] = set()
        self.log = RecordedLog()
        self._listing: dict[Kind, dict[Ref, object]] = {}

    def until(self, holds: Callable[["Received"], bool], timeout_s: float = PATIENCE_S) -> None:
        """Receive batches until the condition holds."""
        deadline = time.monotonic() + timeout_s
        while not holds(self):
            try:
                batch = self.batches.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{self.objects} {self.log.lines()}") from None
            self.calls.append(batch)
            for event in batch:
                self._take(event)

    def names(self, kind: Kind = Kind.SERVICE) -> set[str]:
        return {ref.name for ref in self.objects if ref.kind is kind}

    def _take(self, event: Event) -> None:
        match event:
            case Init(kind):
                self._listing[kind] = {}
            case InitApply(observed):
                self._listing[observed.ref.kind][observed.ref] = observed.value
            case InitDone(kind):
                self.objects = {ref: value for ref, value in self.objects.items() if ref.kind is not kind}
                self.objects.update(self._listing.pop(kind))
                self.synced.add(kind)
            case Apply(observed):
                self.objects[observed.ref] = observed.value
            case Delete(ref):
                del self.objects[ref]


@contextmanager
def watching(
    server: FakeApiServer, directory: Path, *kinds: Kind, label_selector: str | None = None, **options: Any
) -> Iterator[tuple[ApiServer, Received]]:
    """Watch Services (or `kinds`) of a server."""
    received = Received()
    wanted = Watched(kinds or (Kind.SERVICE,), label_selector)
    pace = Pace(**{"figures": QUICK, **options})
    source = ApiServer(connect(server.kubeconfig(directory)), wanted, received.batches.put, received.log, pace)
    source.start()
    try:
        yield source, received
    finally:
        source.stop()


def synced(received: Received) -> bool:
    return Kind.SERVICE in received.synced


@pytest.fixture
def server() -> Iterator[FakeApiServer]:
    with FakeApiServer() as fake:
        yield fake


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("watch_list", ["on", "invalid", "error"])
def test_objects_are_listed_and_then_their_changes_are_followed(tls: bool, watch_list: str, tmp_path: Path) -> None:
    with FakeApiServer(tls=tls, watch_list=watch_list) as server:
        for number in range(5):
            server.apply("Service", service(f"s{number}"))
        with watching(server, tmp_path, watch_list=True) as (source, received):
            received.until(synced)
            assert received.names() == {"s0", "s1", "s2", "s3", "s4"}
            server.wait_until(lambda server: server.watching("Service") == 1)
            server.apply("Service", service("s1", "10.96.9.9"))
            server.delete("Service", "shop", "s0")
            received.until(lambda received: "s0" not in received.names())
            changed = received.objects[Ref(Kind.SERVICE, "shop", "s1")]
            assert isinstance(changed, Service) and changed.cluster_ips == (b"\x0a\x60\x09\x09",)
            status = source.status()[Kind.SERVICE]
            assert (status.synced, status.objects, status.problem) == (True, 4, None)
            assert len(server.asked("list", "Service")) == (0 if watch_list == "on" else 3)


def test_an_unverified_certificate_is_logged_once(tmp_path: Path) -> None:
    with FakeApiServer(tls=True) as server:
        kubeconfig = server.kubeconfig(tmp_path)
        trusted = f"certificate-authority: {tmp_path / 'ca.pem'}"
        assert trusted in kubeconfig.read_text()
        kubeconfig.write_text(kubeconfig.read_text().replace(trusted, "insecure-skip-tls-verify: true"))
        server.apply("Service", service("web"))
        received = Received()
        source = ApiServer(connect(kubeconfig), Watched(tuple(Kind)), received.batches.put, received.log, Pace(QUICK))
        source.start()
        received.until(lambda received: received.synced == set(Kind))
        source.stop()
    said = [event for event in received.log.events() if "not verified" in event]
    assert said == ["certificate of the API server is not verified"]


def test_every_kind_is_requested_at_its_path_with_its_selectors(server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("Namespace", {"metadata": {"name": "shop"}})
    server.apply("Service", service("kept", dns="yes"))
    server.apply("Service", service("other"))
    slice_meta = {"namespace": "shop", "name": "kept-1", "labels": {"dns": "yes"}}
    server.apply("EndpointSlice", {"metadata": slice_meta, "addressType": "IPv4", "endpoints": []})
    for phase in ("Running", "Succeeded"):
        metadata = {"namespace": "shop", "name": phase.lower(), "labels": {"dns": "yes"}}
        server.apply("Pod", {"metadata": metadata, "status": {"phase": phase, "podIP": "10.1.1.1"}})
    with watching(server, tmp_path, *RECORD_KINDS, label_selector="dns=yes", watch_list=False) as (_, received):
        received.until(lambda received: received.synced == set(RECORD_KINDS))
        assert {str(ref) for ref in received.objects} == {
            "Namespace shop",
            "Service shop/kept",
            "EndpointSlice shop/kept-1",
            "Pod shop/running",
        }
        server.wait_until(lambda server: server.watching("Service") == 1)
        server.apply("Service", service("kept"))  # the object loses its label
        received.until(lambda received: not received.names())


def test_a_pod_that_ends_is_deleted(server: FakeApiServer, tmp_path: Path) -> None:
    pod = {"metadata": {"namespace": "shop", "name": "job"}, "status": {"phase": "Running", "podIP": "10.1.1.1"}}
    server.apply("Pod", pod)
    with watching(server, tmp_path, Kind.POD) as (_, received):
        received.until(lambda received: received.names(Kind.POD) == {"job"})
        server.wait_until(lambda server: server.watching("Pod") == 1)
        server.apply("Pod", pod | {"status": {"phase": "Succeeded", "podIP": "10.1.1.1"}})
        received.until(lambda received: not received.names(Kind.POD))


def test_a_broken_object_is_skipped_and_the_stream_continues(server: FakeApiServer, tmp_path: Path) -> None:
    with watching(server, tmp_path) as (_, received):
        received.until(synced)
        server.wait_until(lambda server: server.watching("Service") == 1)
        raw = b'{"metadata":{"namespace":"shop","name":"odd","resourceVersion":"$VERSION"},"spec":{"ports":"80"}}'
        server.apply_raw("Service", "shop", "odd", raw)
        server.apply("Service", service("good"))
        received.until(lambda received: received.names() == {"odd", "good"})
        assert isinstance(received.objects[Ref(Kind.SERVICE, "shop", "odd")], Skipped)
        assert len(server.asked("watch", "Service")) == 1


def close(server: FakeApiServer) -> None:
    server.close_watches()


def reset(server: FakeApiServer) -> None:
    server.reset_watches()


def expire(server: FakeApiServer) -> None:
    server.compact()
    server.send_error("Service", 410, "Expired", "too old resource version")
    server.close_watches()


def cut(server: FakeApiServer) -> None:
    server.cut_next_event()
    server.apply("Service", service("during"))


def garbage(server: FakeApiServer) -> None:
    server.send_line("Service", b"<html><body>502 Bad Gateway</body></html>\n")
    server.close_watches()


def refuse(server: FakeApiServer) -> None:
    server.fail("Service", "watch", 503, times=3)
    server.close_watches()


def throttle(server: FakeApiServer) -> None:
    server.fail("Service", "watch", 429, retry_after_s=0, times=2)
    server.reset_watches()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("trouble", [close, reset, expire, cut, garbage, refuse, throttle])
def test_a_failing_watch_loses_no_event(trouble: Callable[[FakeApiServer], None], tls: bool, tmp_path: Path) -> None:
    with FakeApiServer(tls=tls) as server:
        server.apply("Service", service("before"))
        server.apply("Service", service("deleted"))
        with watching(server, tmp_path) as (_, received):
            received.until(synced)
            server.wait_until(lambda server: server.watching("Service") == 1)
            trouble(server)
            server.delete("Service", "shop", "deleted")
            server.apply("Service", service("after"))
            received.until(
                lambda received: received.names() >= {"before", "after"} and "deleted" not in received.names()
            )


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (502, b"<html>"), (500, None), (504, None), (401, None)]
)
def test_a_failed_list_is_retried(status: int, body: bytes | None, server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("Service", service("a"))
    server.fail("Service", "list", status, body=body, times=2)
    with watching(server, tmp_path, watch_list=False) as (_, received):
        received.until(synced)
        assert received.names() == {"a"}


def test_the_transport_retries_nothing_by_itself(server: FakeApiServer, tmp_path: Path) -> None:
    server.fail("Service", "list", 429, retry_after_s=0, times=2)
    with watching(server, tmp_path, watch_list=False) as (source, received):
        received.until(synced)
        assert source.status()[Kind.SERVICE].errors == {"429": 2}


def test_a_forbidden_kind_is_logged_once_and_does_not_affect_others(server: FakeApiServer, tmp_path: Path) -> None:
    message = 'services is forbidden: User "system:serviceaccount:kube-system:pydns" cannot list resource "services"'
    for verb in ("list", "watch"):
        server.fail("Service", verb, 403, reason="Forbidden", message=message)
    server.apply("Namespace", {"metadata": {"name": "shop"}})
    with watching(server, tmp_path, Kind.SERVICE, Kind.NAMESPACE) as (source, received):
        received.until(lambda received: Kind.NAMESPACE in received.synced)
        server.wait_until(lambda server: len(server.asked("list", "Service")) > 5)
        status = source.status()[Kind.SERVICE]
        assert not status.synced
        assert status.problem is not None and status.problem.startswith("403 Forbidden: services is forbidden")
        about_services = [each.event for each in received.log.logged if each.fields["kind"] == "Service"]
        assert about_services == ["list failed"]
        server.heal()
        received.until(synced)


def test_requests_back_off_when_the_server_refuses_them(server: FakeApiServer, tmp_path: Path) -> None:
    figures = QUICK._replace(backoff_first_s=0.05, backoff_last_s=3600)
    for verb in ("list", "watch"):
        server.fail("Service", verb, 500)
    with watching(server, tmp_path, figures=figures):
        started = time.monotonic()
        server.wait_until(lambda server: len(server.requests) == 5)
        # The pauses between the requests are at least 50, 100, 200 and 400 ms.
        assert time.monotonic() - started >= 0.75


@pytest.mark.parametrize("watch_list", [False, True])
def test_a_silent_connection_is_closed(watch_list: bool, server: FakeApiServer, tmp_path: Path) -> None:
    # pydns asks the server to end watches after a minute, but already gives up after 0.2 s without data.
    figures = QUICK._replace(answer_s=60, watch_s=(60, 60), watch_margin_s=-59.8)
    with watching(server, tmp_path, watch_list=watch_list, figures=figures) as (source, received):
        received.until(synced)
        server.wait_until(lambda server: server.watching("Service") == 1)
        server.silent = True
        server.apply("Service", service("unseen"))
        server.silent = False
        received.until(lambda received: received.names() == {"unseen"})
        assert source.status()[Kind.SERVICE].errors["timeout"] >= 1


def test_lost_events_are_repaired_by_an_audit(server: FakeApiServer, tmp_path: Path) -> None:
    for name in ("kept", "deleted", "changed"):
        server.apply("Service", service(name))
    with watching(server, tmp_path) as (source, received):
        received.until(synced)
        server.wait_until(lambda server: server.watching("Service") == 1)
        server.drop_next_events(3)
        server.apply("Service", service("changed", "10.96.9.9"))
        server.apply("Service", service("created"))
        server.delete("Service", "shop", "deleted")
        source.audit()
        received.until(lambda received: received.names() == {"kept", "created", "changed"})
        changed = received.objects[Ref(Kind.SERVICE, "shop", "changed")]
        assert isinstance(changed, Service) and changed.cluster_ips == (b"\x0a\x60\x09\x09",)
        server.wait_until(lambda server: server.watching("Service") == 1)
        status = source.status()[Kind.SERVICE]
        assert (status.repaired, status.relists, status.errors) == (3, 1, {})
        (found,) = received.log.of("audit found differences")
        assert (found["kind"], found["differences"], found["first"]) == ("Service", 3, "Service shop/changed")
        source.audit()
        assert source.status()[Kind.SERVICE].relists == 1


def test_an_audit_ignores_an_event_that_arrives_late(server: FakeApiServer, tmp_path: Path) -> None:
    with watching(server, tmp_path, figures=QUICK._replace(audit_confirm_s=0.5)) as (source, received):
        received.until(synced)
        server.wait_until(lambda server: server.watching("Service") == 1)
        server.silent = True
        server.apply("Service", service("slow"))
        audit = threading.Thread(target=source.audit)
        started = time.monotonic()
        audit.start()
        server.wait_until(lambda server: bool(server.asked("audit", "Service")))
        raw = server.cluster.objects["Service"]["shop", "slow"].raw
        server.send_line("Service", event_line("ADDED", raw))
        received.until(lambda received: received.names() == {"slow"})
        audit.join()
        assert time.monotonic() - started >= 0.5
        assert source.status()[Kind.SERVICE].relists == 0


def test_a_cluster_restored_from_a_backup_is_followed_after_an_audit(server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("Service", service("old"))
    backup = server.cluster.backup()
    server.apply("Service", service("new"))
    with watching(server, tmp_path) as (source, received):
        received.until(synced)
        server.wait_until(lambda server: server.watching("Service") == 1)
        server.cluster.restore(backup)
        source.audit()
        received.until(lambda received: received.names() == {"old"})
        server.apply("Service", service("newer"))
        received.until(lambda received: received.names() == {"old", "newer"})


def test_audits_run_on_a_timer_and_request_metadata_only(server: FakeApiServer, tmp_path: Path) -> None:
    for number in range(3):
        server.apply("Service", service(f"s{number}"))
    figures = QUICK._replace(audit_s=0.05)
    with watching(server, tmp_path, figures=figures) as (source, received):
        server.wait_until(lambda server: len(server.asked("audit", "Service")) >= 4)
        received.until(synced)
        assert source.status()[Kind.SERVICE].last_audit is not None
        assert source.status()[Kind.SERVICE].relists == 0


def test_an_audit_that_fails_changes_nothing_and_is_logged_once(server: FakeApiServer, tmp_path: Path) -> None:
    server.apply("Service", service("a"))
    with watching(server, tmp_path) as (source, received):
        received.until(synced)
        server.fail("Service", "audit", 500)
        source.audit()
        source.audit()
        server.fail("Service", "audit", 200, body=b"<html>")
        source.audit()
        assert source.status()[Kind.SERVICE].errors == {"500": 2, "decode": 1}
        assert received.log.events().count("audit failed") == 2
        assert source.status()[Kind.SERVICE].relists == 0


def test_a_listing_is_delivered_in_pages_and_an_event_is_delivered_at_once(
    server: FakeApiServer, tmp_path: Path
) -> None:
    for number in range(100):
        server.apply("Service", service(f"s{number}"))
    with watching(server, tmp_path, figures=QUICK._replace(page_size=50)) as (_, received):
        received.until(synced)
        assert len(received.calls) <= 4
        server.wait_until(lambda server: server.watching("Service") == 1)
        # this is the last event, so no later event can push it out of a buffer
        server.apply("Service", service("new"))
        received.until(lambda received: "new" in received.names())


def test_bookmarks_move_the_version_from_which_a_watch_resumes(server: FakeApiServer, tmp_path: Path) -> None:
    with watching(server, tmp_path) as (source, received):
        received.until(synced)
        server.wait_until(lambda server: server.watching("Service") == 1)
        # An object of another kind increases the version counter.
        version = server.apply("Namespace", {"metadata": {"name": "shop"}})
        server.send_bookmarks()
        server.apply("Service", service("a"))
        received.until(lambda received: received.names() == {"a"})
        assert source.status()[Kind.SERVICE].last_bookmark is not None
        server.send_bookmarks()
        server.compact()
        server.close_watches()
        server.wait_until(lambda server: len(server.asked("watch", "Service")) == 2)
        assert server.asked("watch", "Service")[-1]["resourceVersion"] == str(version + 1)


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_stop_ends_watches_at_once_and_delivers_nothing_more(tls: bool, tmp_path: Path) -> None:
    with FakeApiServer(tls=tls) as server, watching(server, tmp_path, *RECORD_KINDS) as (source, received):
        received.until(lambda received: received.synced == set(RECORD_KINDS))
        server.wait_until(lambda server: all(server.watching(kind.value) for kind in RECORD_KINDS))
        started = time.monotonic()
        source.stop()
        assert time.monotonic() - started < 20  # this is much less than the minutes that a watch lasts
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("watch ", "audit"))]
        server.apply("Service", service("late"))
        assert received.batches.empty()


def test_stop_does_not_wait_for_a_server_that_hangs(server: FakeApiServer, tmp_path: Path) -> None:
    server.list_delay_s = 4
    with watching(server, tmp_path, watch_list=False) as (source, received):
        server.wait_until(lambda server: bool(server.requests))
        source.stop()
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "watch Service"]
        thread.join(PATIENCE_S)  # the thread has received its list
        assert received.batches.empty()


def test_an_unreachable_server_is_reported_as_a_problem(tmp_path: Path) -> None:
    with FakeApiServer() as server:
        kubeconfig = server.kubeconfig(tmp_path)
    received = Received()
    source = ApiServer(connect(kubeconfig), SERVICES, received.batches.put, received.log, Pace(QUICK))
    source.start()
    until(lambda: source.status()[Kind.SERVICE].errors.get("connection", 0) >= 3)
    source.stop()
    assert source.status()[Kind.SERVICE].problem == "Connection refused"
    assert len(received.log.logged) == 1
