"""The list/watch state machine gets the data that servers send. The test sets the time, which is a number."""

import json
from random import Random
from typing import Any

import pytest

from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import Ref, Skipped
from pydns.kube.reflector import FIGURES, Failure, ListPage, Notice, Reflector, Step, Wait, Watch


def namespace(name: str, version: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def page(version: int, *items: dict[str, Any], more: str = "") -> bytes:
    metadata = {"resourceVersion": str(version), "continue": more}
    return json.dumps({"kind": "NamespaceList", "metadata": metadata, "items": list(items)}).encode()


def line(event_type: str, item: dict[str, Any]) -> bytes:
    return json.dumps({"type": event_type, "object": item}).encode() + b"\n"


def error(code: int, reason: str = "", **details: int) -> bytes:
    return line("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": "no", "details": details})


def bookmark(version: int, **annotations: str) -> bytes:
    return line("BOOKMARK", {"metadata": {"resourceVersion": str(version), "annotations": annotations}})


INITIAL_EVENTS_END = line(
    "BOOKMARK", {"metadata": {"resourceVersion": "50", "annotations": {"k8s.io/initial-events-end": "true"}}}
)
EXPIRED = error(410, "Expired")
HTML = b"<html><body>502 Bad Gateway</body></html>\n"
FORBIDDEN = b'{"kind":"Status","metadata":{},"reason":"Forbidden","message":"cannot list namespaces","code":403}'


class Driven:
    """A reflector with its clock, and everything delivered so far: as events, as notices and as a dict."""

    def __init__(self, *, watch_list: bool = False) -> None:
        self.now = 1000.0
        self.reflector = Reflector(Kind.NAMESPACE, Random(1), watch_list=watch_list)
        self.events: list[Event] = []
        self.notices: list[Notice] = []

    def took(self, step: Step) -> Step:
        self.events += step.events
        self.notices += step.notices
        return step

    def request(self) -> object:
        return self.reflector.next_request(self.now)

    def waited(self) -> float:
        """Let the requested pause pass. Return how long the pause was."""
        request = self.request()
        if not isinstance(request, Wait):
            return 0.0
        self.now += request.seconds
        return request.seconds

    def page(self, body: bytes) -> Step:
        assert isinstance(self.request(), ListPage)
        return self.took(self.reflector.on_page(body, self.now))

    def opened(self) -> Watch:
        request = self.request()
        assert isinstance(request, Watch)
        self.took(self.reflector.on_open(self.now))
        return request

    def data(self, data: bytes) -> Step:
        return self.took(self.reflector.on_data(data, self.now))

    def ended(self, failure: Failure = Failure.CLOSED) -> Step:
        return self.took(self.reflector.on_failure(failure, "a reason", self.now))

    def refused(self, status: int, body: bytes = b"", retry_after: str | None = None) -> Step:
        self.request()
        return self.took(self.reflector.on_status(status, body, retry_after, self.now))

    def watching(self) -> "Driven":
        """List the objects a and b at version 10, and open the watch."""
        self.page(page(10, namespace("a"), namespace("b")))
        self.opened()
        self.events.clear()
        self.notices.clear()
        return self

    def audited(self, body: bytes) -> Step:
        audit = self.reflector.begin_audit()
        assert audit is not None
        audit.on_page(body)
        return self.took(self.reflector.end_audit(audit, self.now))

    @property
    def problem(self) -> str | None:
        return self.reflector.status(self.now).problem

    @property
    def errors(self) -> dict[str, int]:
        return self.reflector.status(self.now).errors

    @property
    def logged(self) -> list[str]:
        return [notice.event for notice in self.notices]


def shape(events: list[Event]) -> list[str]:
    """Return the events in short form.

    `+a` is an object in a listing, `a` is an object that changed, and `-a` is an object that was deleted.
    """
    short = []
    for event in events:
        match event:
            case Init():
                short.append("init")
            case InitDone():
                short.append("done")
            case InitApply(observed):
                short.append(f"+{observed.ref.name}")
            case Apply(observed):
                short.append(observed.ref.name)
            case Delete(ref):
                short.append(f"-{ref.name}")
    return short


# Listing


def test_a_list_is_requested_in_pages_and_a_watch_starts_at_its_version() -> None:
    driven = Driven()
    assert driven.request() == ListPage(500, "")
    driven.page(page(10, namespace("a"), more="next"))
    assert driven.request() == ListPage(500, "next")
    driven.page(page(10, namespace("b")))
    assert shape(driven.events) == ["init", "+a", "+b", "done"]
    watch = driven.opened()
    assert (watch.resource_version, watch.send_initial_events) == ("10", False)
    assert driven.logged == ["synced"]


def test_watches_last_five_to_ten_minutes_at_random_and_are_given_a_little_longer() -> None:
    driven = Driven().watching()
    watches = [driven.opened() for _ in range(50)]
    assert len({watch.timeout_s for watch in watches}) > 10
    assert all(300 <= watch.timeout_s <= 600 and watch.silence_s == watch.timeout_s + 15 for watch in watches)


def test_an_empty_list_may_have_null_for_its_items() -> None:
    driven = Driven()
    driven.page(b'{"metadata":{"resourceVersion":"10"},"items":null}')
    assert shape(driven.events) == ["init", "done"]


def test_reflector_is_synced_only_after_a_complete_listing() -> None:
    driven = Driven()
    driven.page(page(10, namespace("a"), more="next"))
    assert not driven.reflector.status(driven.now).synced
    driven.page(page(10, namespace("b")))
    status = driven.reflector.status(driven.now)
    assert (status.synced, status.objects, status.resource_version, status.relists) == (True, 2, "10", 0)


@pytest.mark.parametrize("status", [410, 400])
def test_a_refused_continue_token_starts_the_list_again(status: int) -> None:
    driven = Driven()
    driven.page(page(10, namespace("a"), more="next"))
    driven.refused(status)
    assert driven.waited() >= 0.8
    assert driven.request() == ListPage(500, "")
    driven.page(page(20, namespace("b")))
    assert shape(driven.events) == ["init", "+a", "init", "+b", "done"]


def test_only_the_failed_page_is_requested_again() -> None:
    driven = Driven()
    driven.page(page(10, namespace("a"), more="next"))
    driven.refused(500)
    driven.waited()
    assert driven.request() == ListPage(500, "next")


@pytest.mark.parametrize(
    "body",
    [
        HTML,
        b"",
        b'{"metadata":{},"items":',
        # A Status with HTTP code 200 is a refusal, and must not be treated as an empty cluster.
        b'{"kind":"Status","metadata":{},"code":500}',
        b'{"kind":"Status","metadata":{"resourceVersion":"9"},"code":500}',
        b'{"metadata":{},"items":[]}',  # there is no version to watch from
        b'{"metadata":{"resourceVersion":"0"},"items":[]}',  # a watch from version 0 would be a WatchList
    ],
)
def test_an_invalid_page_removes_no_object_and_is_requested_again_after_a_pause(body: bytes) -> None:
    driven = Driven()
    driven.page(body)
    assert "done" not in shape(driven.events)
    assert driven.errors == {"decode": 1}
    assert driven.waited() >= 0.8
    assert driven.request() == ListPage(500, "")


def test_a_broken_object_of_a_list_is_delivered_as_skipped() -> None:
    driven = Driven()
    driven.page(page(10, namespace("a"), {"metadata": {"name": "b", "namespace": 7}}, namespace("c")))
    assert shape(driven.events) == ["init", "+a", "+b", "+c", "done"]
    broken = driven.events[2]
    assert isinstance(broken, InitApply) and isinstance(broken.observed.value, Skipped)


# Watching


def test_changes_become_events_and_advance_the_version() -> None:
    driven = Driven().watching()
    driven.data(line("ADDED", namespace("c", 11)) + line("MODIFIED", namespace("a", 12)))
    driven.data(line("DELETED", namespace("b", 13)))
    assert shape(driven.events) == ["c", "a", "-b"]
    assert isinstance(driven.events[-1], Delete)
    assert driven.events[-1].ref == Ref(Kind.NAMESPACE, "", "b")
    status = driven.reflector.status(driven.now)
    assert (status.resource_version, status.objects, status.last_event) == ("13", 2, driven.now)


def test_all_events_are_found_wherever_the_stream_is_cut() -> None:
    stream = line("ADDED", namespace("c", 11)) + b"\n" + bookmark(12) + line("DELETED", namespace("b", 13))
    for size in range(1, len(stream)):
        driven = Driven().watching()
        for start in range(0, len(stream), size):
            driven.data(stream[start : start + size])
        assert shape(driven.events) == ["c", "-b"], size


def test_a_bookmark_changes_the_version_but_no_object() -> None:
    driven = Driven().watching()
    driven.data(bookmark(99))
    assert driven.events == []
    assert driven.reflector.status(driven.now).last_bookmark == driven.now
    driven.now += 400
    driven.ended()
    assert driven.opened().resource_version == "99"


def test_a_broken_object_does_not_end_a_watch() -> None:
    driven = Driven().watching()
    step = driven.data(line("MODIFIED", {"metadata": {"name": "Not A Label", "resourceVersion": "11"}}))
    assert not step.over
    assert isinstance(driven.events[0], Apply) and isinstance(driven.events[0].observed.value, Skipped)
    driven.data(line("ADDED", namespace("c", 12)))
    assert shape(driven.events)[1:] == ["c"]


def test_a_watch_that_ends_in_time_is_reopened_at_once_without_an_error() -> None:
    driven = Driven().watching()
    driven.data(line("ADDED", namespace("c", 11)))
    driven.now += 300
    driven.ended()
    assert driven.opened().resource_version == "11"
    assert driven.errors == {} and driven.notices == []


# The failures of a watch. Each row has what the server sends, how the watch ends, the counted reason, and whether a new
# list follows.
FAILURES: dict[str, tuple[bytes | int, Failure | None, str, bool]] = {
    "410 in the stream": (EXPIRED, None, "410", True),
    "410 as a status": (410, None, "410", True),
    "400 as a status": (400, None, "400", True),
    "500 in the stream": (error(500), None, "500", False),
    "500 as a status": (500, None, "500", False),
    "503 as a status": (503, None, "503", False),
    "403 as a status": (403, None, "403", False),
    "429 as a status": (429, None, "429", False),
    "401 as a status": (401, None, "401", False),
    "an HTML page with 200": (HTML, None, "decode", True),
    "JSON that is no event": (b'{"kind":"Status","code":500}\n', None, "decode", True),
    "a type that nobody knows": (line("SURPRISE", namespace("x")), None, "decode", True),
    "the end at once": (b"", Failure.CLOSED, "eof", False),
    "the end in the middle of a line": (b'{"type":"ADD', Failure.CLOSED, "connection", False),
    "a reset": (b"", Failure.CONNECTION, "connection", False),
    "silence": (b"", Failure.TIMEOUT, "timeout", False),
}


@pytest.mark.parametrize("name", FAILURES)
def test_after_any_failure_of_a_watch_pydns_pauses_and_keeps_the_state(name: str) -> None:
    sent, failure, reason, lists_again = FAILURES[name]
    driven = Driven().watching()
    pauses: list[float] = []
    for _ in range(12):
        request = driven.request()
        if isinstance(request, ListPage):
            driven.page(page(10, namespace("a"), namespace("b")))
        if isinstance(sent, int):
            driven.refused(sent)
        else:
            driven.opened()
            step = driven.data(sent)
            assert step.over == (failure is None)
            if failure is not None:
                driven.ended(failure)
        if not pauses:
            assert isinstance(driven.request(), Wait)
            assert driven.events == []
        pauses.append(driven.waited())
        if len(pauses) == 1:
            assert isinstance(driven.request(), ListPage) == lists_again
    assert 0.8 <= pauses[0] <= 1.6
    assert all(15 <= pause <= 30 for pause in pauses[6:]), pauses
    assert driven.errors == {reason: 12}
    assert driven.reflector.status(driven.now).objects == 2
    assert len([event for event in driven.logged if event != "listed again"]) == 1, driven.logged


def test_the_old_state_is_kept_while_an_expired_watch_is_listed_again() -> None:
    driven = Driven().watching()
    driven.data(EXPIRED)
    assert driven.logged == ["watch expired"]
    driven.waited()
    driven.page(page(20, namespace("b"), more="next"))
    assert "-a" not in shape(driven.events)
    driven.page(page(20, namespace("c")))
    assert shape(driven.events) == ["init", "+b", "+c", "done"]
    assert driven.reflector.status(driven.now).relists == 1


def test_a_restarted_server_that_does_not_know_our_version_is_listed_soon() -> None:
    """Restarted API servers behave like this: if a kind has no changes, they know only the newest version."""
    driven = Driven().watching()
    for _ in range(7):
        driven.ended(Failure.CONNECTION)
        waited_s = driven.waited()
    assert waited_s > 15
    driven.opened()
    driven.data(EXPIRED)
    assert driven.waited() <= 1.6
    driven.page(page(20, namespace("b")))


def test_events_before_an_error_in_the_same_piece_are_delivered() -> None:
    driven = Driven().watching()
    step = driven.data(line("ADDED", namespace("c", 11)) + EXPIRED + line("ADDED", namespace("d", 12)))
    assert shape(step.events) == ["c"] and step.over


def test_a_repeated_error_at_one_version_causes_a_new_listing() -> None:
    driven = Driven().watching()
    for _ in range(2):
        driven.waited()
        driven.opened()
        driven.data(error(500))
    driven.waited()
    assert isinstance(driven.request(), ListPage)


def test_errors_with_events_between_them_cause_no_new_listing() -> None:
    driven = Driven().watching()
    for version in (11, 12):
        driven.data(line("ADDED", namespace("c", version)) + error(500))
        driven.waited()
        assert driven.opened().resource_version == str(version)


def test_the_pause_is_short_again_after_two_quiet_minutes() -> None:
    driven = Driven().watching()
    for _ in range(10):
        driven.ended(Failure.CONNECTION)
        driven.waited()
    driven.now += 121
    driven.opened()
    driven.ended(Failure.CONNECTION)
    assert 0.8 <= driven.waited() <= 1.6


def test_no_change_is_delayed_if_a_balancer_cuts_watches_every_minute() -> None:
    driven = Driven().watching()
    for _ in range(10):
        driven.now += 60
        driven.ended(Failure.CONNECTION)
        assert driven.waited() == 0
        driven.opened()
    assert driven.logged == []


@pytest.mark.parametrize(
    ("header", "body", "pause"),
    [
        ("7", b"", 7),
        (None, b'{"code":429,"details":{"retryAfterSeconds":9}}', 9),
        ("86400", b"", FIGURES.retry_after_most_s),
        ("Wed, 21 Oct 2026 07:28:00 GMT", b"", 0.8),
    ],
)
def test_retry_after_is_obeyed_up_to_a_limit(header: str | None, body: bytes, pause: float) -> None:
    driven = Driven().watching()
    driven.refused(429, body, header)
    assert pause <= driven.waited() <= max(pause, 1.6)


# Information for an operator


def test_a_missing_permission_is_named_and_logged_once() -> None:
    driven = Driven()
    for _ in range(5):
        driven.refused(403, FORBIDDEN)
        driven.waited()
    assert driven.problem == "403 Forbidden: cannot list namespaces"
    assert driven.logged == ["list failed"]
    assert driven.errors == {"403": 5}
    driven.page(page(10, namespace("a")))
    driven.opened()
    driven.data(bookmark(11))
    assert driven.problem is None
    assert driven.logged == ["list failed", "synced", "watch recovered"]


def test_a_problem_ends_when_a_watch_has_been_open_for_a_while() -> None:
    driven = Driven().watching()
    driven.refused(500)
    driven.waited()
    driven.opened()
    assert driven.problem is not None
    driven.now += FIGURES.settled_s
    assert driven.problem is None


def test_a_long_message_is_shortened() -> None:
    driven = Driven()
    driven.refused(500, json.dumps({"message": "x" * 1000}).encode())
    assert driven.problem is not None and len(driven.problem) == 200


# WatchList


def test_a_watch_list_becomes_a_plain_watch_after_its_bookmark() -> None:
    driven = Driven(watch_list=True)
    assert driven.opened().send_initial_events
    assert driven.data(line("ADDED", namespace("a", 7))).listing
    assert not driven.data(line("ADDED", namespace("b", 8)) + INITIAL_EVENTS_END).listing
    driven.data(line("ADDED", namespace("c", 51)))
    assert shape(driven.events) == ["init", "+a", "+b", "done", "c"]
    assert driven.reflector.status(driven.now).synced
    driven.now += 400
    driven.ended()
    watch = driven.opened()
    assert (watch.resource_version, watch.send_initial_events) == ("51", False)


def test_an_empty_watch_list_is_a_listing() -> None:
    driven = Driven(watch_list=True)
    driven.opened()
    driven.data(INITIAL_EVENTS_END)
    assert shape(driven.events) == ["init", "done"]


def test_an_object_deleted_during_a_watch_list_is_removed_afterwards() -> None:
    driven = Driven(watch_list=True)
    driven.opened()
    driven.data(line("ADDED", namespace("a", 7)) + line("ADDED", namespace("b", 8)))
    driven.data(line("DELETED", namespace("a", 9)) + line("DELETED", namespace("b", 10)))
    driven.data(line("ADDED", namespace("b", 11)) + INITIAL_EVENTS_END)
    assert shape(driven.events) == ["init", "+a", "+b", "+b", "done", "-a"]
    assert driven.reflector.status(driven.now).objects == 1


# Each row has how the server refuses a WatchList, whether pydns pauses before the list, and whether it tries a
# WatchList again the next time.
REFUSALS: dict[str, tuple[int, bytes | Failure | None, bool, bool]] = {
    "422": (422, None, False, False),
    "400": (400, None, False, False),
    "ERROR 500, as with an old etcd": (200, error(500), False, False),
    "403": (403, None, True, True),
    "429": (429, None, True, True),
    "500": (500, None, True, True),
    "a reset": (200, Failure.CONNECTION, True, True),
    "silence": (200, Failure.TIMEOUT, True, True),
    "an end before the bookmark": (200, Failure.CLOSED, False, True),
    "HTML": (200, HTML, True, True),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_after_any_failure_of_a_watch_list_pydns_lists_in_pages(name: str) -> None:
    status, sent, pauses, again = REFUSALS[name]
    driven = Driven(watch_list=True)
    if status != 200:
        driven.refused(status)
    else:
        driven.opened()
        driven.data(line("ADDED", namespace("x", 7)))
        if isinstance(sent, Failure):
            driven.ended(sent)
        else:
            driven.data(sent or b"")
    assert (driven.waited() > 0) == pauses
    driven.page(page(10, namespace("a")))
    assert shape(driven.events)[-3:] == ["init", "+a", "done"]
    driven.opened()
    driven.data(EXPIRED)
    driven.waited()
    request = driven.request()
    assert (isinstance(request, Watch) and request.send_initial_events) == again


# The audit


def test_an_audit_that_finds_nothing_changes_nothing() -> None:
    driven = Driven().watching()
    assert driven.audited(page(10, namespace("a"), namespace("b"))) == Step([], [])
    assert driven.reflector.status(driven.now).last_audit == driven.now


# The objects of the server after changes without an event. The reflector has delivered a and b, both at version 1.
MISSED = {
    "a creation": [namespace("a"), namespace("b"), namespace("c", 11)],
    "a change": [namespace("a", 11), namespace("b")],
    "a deletion": [namespace("a")],
}


@pytest.mark.parametrize("name", MISSED)
def test_an_audit_finds_and_repairs_changes_missed_by_a_watch(name: str) -> None:
    driven = Driven().watching()
    step = driven.audited(page(11, *MISSED[name]))
    assert step.over and driven.logged == ["audit found differences"]
    assert not driven.data(line("ADDED", namespace("late", 12))).events
    driven.ended()
    assert driven.errors == {}
    driven.page(page(11, *MISSED[name]))
    assert driven.reflector.status(driven.now).repaired == 1
    driven.opened()
    assert driven.audited(page(11, *MISSED[name])) == Step([], [])


def test_an_object_that_changed_during_an_audit_is_checked_by_the_next_one() -> None:
    driven = Driven().watching()
    audit = driven.reflector.begin_audit()
    assert audit is not None
    audit.on_page(page(11, namespace("a", 11), namespace("b"), namespace("c", 11)))
    driven.data(line("MODIFIED", namespace("a", 12)) + line("ADDED", namespace("c", 11)))
    driven.data(line("DELETED", namespace("b", 13)))
    assert driven.reflector.end_audit(audit, driven.now) == Step([], [])


def test_a_server_with_an_older_version_than_the_watch_is_listed_again() -> None:
    driven = Driven().watching()
    driven.data(bookmark(500))
    assert driven.audited(page(200, namespace("a"), namespace("b"))).over
    driven.page(page(200, namespace("a"), namespace("b")))
    assert driven.opened().resource_version == "200"
    assert driven.reflector.status(driven.now).repaired == 0


def test_versions_that_are_not_numbers_are_compared_only_for_equality() -> None:
    driven = Driven()
    driven.page(b'{"metadata":{"resourceVersion":"zzz"},"items":[]}')
    driven.opened()
    assert driven.audited(b'{"metadata":{"resourceVersion":"aaa"},"items":[]}') == Step([], [])


def test_a_difference_that_remains_after_a_listing_causes_no_second_listing() -> None:
    driven = Driven().watching()
    stubborn = page(11, namespace("a"), namespace("b", 2))
    assert driven.audited(stubborn).over
    driven.page(page(11, namespace("a"), namespace("b")))
    driven.opened()
    assert driven.audited(stubborn) == Step([], [])


def test_an_audit_is_discarded_after_a_new_listing() -> None:
    driven = Driven().watching()
    audit = driven.reflector.begin_audit()
    assert audit is not None
    audit.on_page(page(11, namespace("a")))
    driven.data(EXPIRED)
    driven.waited()
    driven.page(page(20, namespace("a"), namespace("b", 15)))
    assert driven.reflector.end_audit(audit, driven.now) == Step([], [])


def test_nothing_is_audited_before_it_is_listed() -> None:
    assert Driven().reflector.begin_audit() is None


def test_a_watch_that_an_audit_ended_before_its_answer_is_dropped() -> None:
    driven = Driven()
    driven.page(page(10, namespace("a")))
    driven.request()
    assert driven.audited(page(11)).over
    assert driven.reflector.on_open(driven.now).over


def test_data_of_a_watch_that_an_audit_ended_is_dropped() -> None:
    driven = Driven().watching()
    assert driven.audited(page(11)).over

    step = driven.reflector.on_data(line("ADDED", namespace("c", 12)), driven.now)

    assert (step.over, step.events) == (True, [])


@pytest.mark.parametrize(
    ("data", "lived_s", "pauses"),
    [
        pytest.param(line("ADDED", namespace("c", 11)), 1.0, False, id="a second with an event"),
        pytest.param(line("ADDED", namespace("c", 11)), 0.9, True, id="less than a second with an event"),
        pytest.param(b"", 1.0, True, id="a second without an event"),
        pytest.param(b"", FIGURES.settled_s, False, id="long without an event"),
    ],
)
def test_a_watch_that_lived_long_enough_is_opened_again_without_a_pause(
    data: bytes, lived_s: float, pauses: bool
) -> None:
    driven = Driven().watching()
    driven.data(data)
    driven.now += lived_s
    driven.ended(Failure.CONNECTION)

    assert isinstance(driven.request(), Wait) == pauses


def test_only_the_first_event_of_an_object_is_timed_from_its_creation() -> None:
    reflector = Reflector(Kind.SERVICE, Random(1), watch_list=False)
    reflector.next_request(0.0)
    reflector.on_page(page(10), 0.0)
    reflector.next_request(0.0)
    reflector.on_open(0.0)
    metadata = {"namespace": "shop", "name": "web", "creationTimestamp": "2026-01-01T00:00:10Z"}
    service = {"metadata": {**metadata, "resourceVersion": "11"}, "spec": {"clusterIP": "10.96.0.1"}}

    added, modified = reflector.on_data(line("ADDED", service) + line("MODIFIED", service), 0.0).events

    assert isinstance(added, Apply) and added.changed is not None
    assert isinstance(modified, Apply) and modified.changed is None
