"""Lists and watches one kind. This is a state machine, which chooses the next request and interprets the answer.

This module decides which requests are sent. It uses no sockets, threads, clocks or logs. The module returns requests
and log messages (`Notice`) as values. The caller passes in `now` and a source of random numbers. `control.apiserver`
sends the requests. The pauses and limits come from client-go (`tools/cache/reflector.go`). The names of the states come
from kube-rs.

Rules
1. Delivered objects stay in force until a new listing is complete. A failure never removes objects.
2. After a request without a result, the reflector waits before the next one. The pause grows with each such request, so
   no server can cause a busy loop.
3. An object that can't be used never stops the stream. A line that is not an event stops it, because events may be
   missing. Then the reflector lists all objects again.
4. A watch can miss changes without an error, for example if the server was restored from a backup. `kube.audit` finds
   such changes.
"""

from collections import Counter
from enum import Enum
from http import HTTPStatus
from random import Random
from typing import Any, NamedTuple

import msgspec

from pydns.kube.audit import Audit
from pydns.kube.change_time import change_time
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import DEFAULTS, Options, Pod, Ref, parse


class ListPage(NamedTuple):
    """A request for a page of the list. An empty `continue_` asks for the first page."""

    limit: int
    continue_: str


class Watch(NamedTuple):
    """A request for the changes since `resource_version`.

    With `send_initial_events`, the server first sends all objects (WatchList). The server should end the watch after
    `timeout_s`. If nothing arrives for `silence_s`, the connection is treated as dead. While the server sends all
    objects, the limit is `Figures.answer_s` instead of `silence_s`.
    """

    resource_version: str
    timeout_s: int
    silence_s: float
    send_initial_events: bool


class Wait(NamedTuple):
    """No request: the caller waits for `seconds`, and then asks for the next request."""

    seconds: float


Request = ListPage | Watch | Wait


class Failure(Enum):
    """How a request can end without an HTTP error status."""

    CLOSED = "eof"  # the body of a watch has ended as it should
    CONNECTION = "connection"  # the connection was refused, reset or interrupted, or TLS failed
    TIMEOUT = "timeout"


class Notice(NamedTuple):
    """A log message: an event and its fields."""

    event: str
    fields: dict[str, str | int | float]


class Step(NamedTuple):
    """The result of an answer, or of a part of one. If `over` is true, the caller must drop the rest of the answer.

    If `listing` is true, the events belong to an unfinished listing, so the caller may deliver them later.
    """

    events: list[Event]
    notices: list[Notice]
    over: bool = False
    listing: bool = False


class Status(NamedTuple):
    """The status of a reflector. Times are values of the caller's `now`. None means never."""

    synced: bool  # whether a complete listing has been delivered
    objects: int
    resource_version: str
    last_event: float | None
    last_bookmark: float | None
    last_audit: float | None
    last_heard: float | None  # when an event, a listing or an audit last showed that the objects are current
    audits: int
    repaired: int  # how many objects were wrong when an audit compared them, and were then corrected by a listing
    relists: int  # how many listings there were after the first one
    # reason -> how many requests failed for it; a reason is an HTTP status, or eof, connection, timeout or decode
    errors: dict[str, int]
    problem: str | None  # the reason why the objects may not be current, or None
    is_served: bool = True  # whether the server has the kind


class Figures(NamedTuple):
    """The pauses and limits of a reflector. All values except `page_size` are in seconds."""

    page_size: int = 500
    # The range of the time limits for watches. Each watch has a random limit, so that replicas don't connect again at
    # the same time.
    watch_s: tuple[int, int] = (300, 600)
    # The server may end a watch this long after the time limit of the watch. After that, the connection is treated as
    # dead.
    watch_margin_s: float = 15
    answer_s: float = 30  # how long the reflector waits for an answer to begin, and for each further part of it
    backoff_first_s: float = 0.8
    backoff_last_s: float = 30
    backoff_reset_s: float = 120
    # The maximum pause that a server can ask for with Retry-After. During the pause, objects may be out of date.
    retry_after_most_s: float = 300
    settled_s: float = 10  # a watch that lasts this long has succeeded
    audit_s: float = 300  # the mean time between two audits
    audit_confirm_s: float = 5  # the pause before `end_audit`, in which late events arrive
    # If the server doesn't have the kind, pydns asks again later. This is the first and the longest pause before it
    # asks.
    discovery_s: tuple[float, float] = (5, 300)


FIGURES = Figures()


class State(Enum):
    """The state of a reflector. The comments say which state comes next, and when."""

    EMPTY = "empty"  # nothing can be continued, so the next request begins a listing
    INIT_PAGE = "init page"  # a listing by pages; its last page leads to WATCHING
    # A listing by WatchList. The bookmark at its end leads to WATCHING. Any failure leads to EMPTY, and then to
    # INIT_PAGE.
    INITIAL_WATCH = "initial watch"
    # All objects are listed. A watch is open, or it is the next request. Status 410 leads to EMPTY.
    WATCHING = "watching"


class Reflector:
    """The state machine. The caller repeats three steps: call `next_request`, send the request, report its result.

    To report a page, the caller calls `on_page`. To report a watch, it calls `on_open`, then `on_data` for each piece
    of the body, and `on_failure` at the end. To report a status other than 200, it calls `on_status`. Each of these
    methods returns a `Step`. Only one thread may use a reflector.
    """

    def __init__(
        self,
        kind: Kind,
        random: Random,
        *,
        options: Options = DEFAULTS,
        figures: Figures = FIGURES,
        watch_list: bool = True,
        audited: bool = True,
    ) -> None:
        """Without `audited`, there are no audits, and the versions of objects aren't kept.

        150,000 versions would take 50 MB.
        """
        self._kind = kind
        self._random = random
        self._options = options
        self._figures = figures
        self._backoff = Backoff(figures, random)
        self._state = State.EMPTY
        self._watch_list = watch_list  # False after the server has shown that it doesn't support WatchList
        # In EMPTY and INIT_PAGE: True if the listing must be by pages, because WatchList has failed. A failure in
        # INITIAL_WATCH sets `_by_pages` to True, and WATCHING sets it to False.
        self._by_pages = False
        self._audited = audited
        # In INIT_PAGE and INITIAL_WATCH: the objects that the unfinished listing has so far.
        self._listing: _Versions | None = None
        # In INITIAL_WATCH: the objects that were deleted before the listing was complete.
        self._late_deletes: set[Ref] = set()
        self._continue = ""
        self._versions = self._no_versions()  # the versions of all objects that were delivered and still exist
        self._resource_version = ""
        self._listings = 0
        self._wait_until = float("-inf")
        self._opened_at: float | None = None
        self._delivered = False  # in INITIAL_WATCH and WATCHING: whether the open watch has sent an event or a bookmark
        self._partial: list[bytes] = []  # the pieces of a line that isn't complete yet
        # In INITIAL_WATCH and WATCHING: how many ERROR events came in a row. The second one causes a new listing. A
        # change of the state doesn't reset this number.
        self._fruitless_errors = 0
        # In WATCHING: the objects that have changed since the audit began, or None without an audit.
        self._touched: set[Ref] | None = None
        # The objects that were wrong in the last audit, with the versions in its list.
        self._repairing: dict[Ref, str | None] = {}
        self._repairs_due = 0
        self._repaired = 0
        self._last_event: float | None = None
        self._last_bookmark: float | None = None
        self._last_audit: float | None = None
        self._last_heard: float | None = None
        self._audits = 0
        self._errors: Counter[str] = Counter()
        # The reason and the text of the last failure; None after a success.
        self._problem: tuple[str, str] | None = None

    def _no_versions(self) -> "_Versions":
        return {} if self._audited else _Number()

    def next_request(self, now: float) -> Request:
        """Return the next request, or a `Wait`."""
        if self._wait_until > now:
            return Wait(self._wait_until - now)
        if self._state is State.EMPTY:
            self._listing = None
            self._late_deletes = set()
            self._continue = ""
            self._state = State.INITIAL_WATCH if self._watch_list and not self._by_pages else State.INIT_PAGE
        if self._state is State.INIT_PAGE:
            return ListPage(self._figures.page_size, self._continue)
        timeout_s = self._random.randint(*self._figures.watch_s)
        silence_s = timeout_s + self._figures.watch_margin_s
        initial = self._state is State.INITIAL_WATCH
        return Watch("" if initial else self._resource_version, timeout_s, silence_s, initial)

    def on_page(self, body: bytes, now: float) -> Step:
        """Process the body of a page."""
        try:
            page = _PAGES.decode(body)
        except msgspec.DecodeError as error:
            return self._fail("decode", f"a list page is invalid: {error}; {_excerpt(body)}", now)
        events = self._begin_listing()
        listing = self._listing = self._listing if self._listing is not None else self._no_versions()
        for raw in page.items or ():
            observed = parse(self._kind, raw, self._options)
            listing[observed.ref] = observed.resource_version
            events.append(InitApply(observed))
        self._continue = page.metadata.continue_ or ""
        if self._continue:
            return Step(events, [], listing=True)
        # A watch from one of these versions would begin with all objects.
        if page.metadata.resource_version in (None, "", "0"):
            text = "a list has no resourceVersion to watch from"
            return self._fail("decode", text, now, relist=True)._replace(events=events)
        self._last_heard = now
        return Step(*self._finish_listing(events, page.metadata.resource_version or ""))

    def on_open(self, now: float) -> Step:
        """Process the status 200 with which a watch begins, before its body."""
        self._opened_at = now
        self._delivered = False
        self._partial = []
        # An audit may have begun a new listing between the request and the answer, so that this watch is over.
        return Step([], [], over=self._state not in (State.INITIAL_WATCH, State.WATCHING))

    def on_data(self, data: bytes, now: float) -> Step:
        """Process a piece of the body of a watch. A piece may begin or end within a line."""
        if self._state not in (State.INITIAL_WATCH, State.WATCHING):
            return Step([], [], over=True)
        if b"\n" not in data:  # a line with an object of several megabytes comes in many pieces
            self._partial += filter(None, [data])
            return Step([], [], listing=self._state is State.INITIAL_WATCH)
        *lines, rest = b"".join([*self._partial, data]).split(b"\n")
        self._partial = [rest] if rest else []
        events: list[Event] = []
        notices: list[Notice] = []
        for line in lines:
            if line and not line.isspace():
                failed = self._on_line(line, events, notices, now)
                if failed is not None:
                    return failed._replace(events=events, notices=notices + failed.notices, over=True)
        return Step(events, notices, listing=self._state is State.INITIAL_WATCH)

    def on_failure(self, failure: Failure, detail: str, now: float) -> Step:
        """Process the failure with which a request for a page or a watch ended. `detail` is a text for the log."""
        opened_at, self._opened_at = self._opened_at, None
        if self._state is State.EMPTY:
            return Step([], [], over=True)  # the reflector itself has ended the request
        if failure is Failure.CLOSED and self._partial:
            failure, detail = Failure.CONNECTION, "a watch was cut in the middle of a line"
        self._partial = []
        if self._state is State.INITIAL_WATCH:
            return self._fail(failure.value, detail, now, pause=failure is not Failure.CLOSED)
        if self._state is State.WATCHING and opened_at is not None:
            lived_s = now - opened_at
            # A watch has succeeded if it lasted `settled_s`, or one second with an event. Without these minimum times,
            # a server that ends watches at once could cause many requests. Most watches last far longer.
            if lived_s >= self._figures.settled_s or (self._delivered and lived_s >= 1):
                if failure is not Failure.CLOSED:
                    self._errors[failure.value] += 1
                return Step([], self._recover(now), over=True)
            if failure is Failure.CLOSED:
                detail = "a watch ended at once"
        return self._fail(failure.value, detail, now)

    def on_status(self, status: int, body: bytes, retry_after: str | None, now: float) -> Step:
        """Process an answer with an HTTP status other than 200.

        `retry_after` is the header Retry-After of the answer.
        """
        refusal = _refusal(body)
        seconds = refusal.details.retry_after_s if refusal.details is not None else None
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            seconds = int(retry_after)
        return self._refused(status, refusal, seconds, now)

    def begin_audit(self) -> Audit | None:
        """Return a new audit, or None if no complete listing can be compared with it."""
        if self._state is not State.WATCHING or not self._audited:
            return None
        self._touched = set()
        return Audit(self._kind, self._figures.page_size, self._listings, self._resource_version)

    def end_audit(self, audit: Audit, now: float) -> Step:
        """Compare a finished audit with the delivered objects. If they differ, a new listing begins.

        The caller calls `end_audit` some seconds after the last page of the audit. Objects that changed during this
        audit are compared in the next audit. A difference that the last listing didn't remove doesn't cause another
        listing.
        """
        touched, self._touched = self._touched, None
        if touched is None or audit.listing != self._listings or self._state is not State.WATCHING:
            return Step([], [])  # a new listing has begun during the audit
        self._last_audit = now
        self._audits += 1
        assert isinstance(self._versions, dict)
        different = {ref: version for ref, version in audit.differences(self._versions) if ref not in touched}
        new = {ref: version for ref, version in different.items() if self._repairing.get(ref, "") != version}
        self._repairing = different
        if not new and not audit.went_backwards:
            self._last_heard = now
            return Step([], [])
        self._repairs_due = len(new)
        self._state = State.EMPTY
        notice = self._notice(
            "audit found differences",
            differences=len(new),
            first=str(min(new)) if new else "",
            resource_version=self._resource_version,
            listed_version=audit.resource_version,
            action="relist",
        )
        return Step([], [notice], over=True)

    def audit_failed(self, reason: str) -> None:
        """Drop an audit, because one of its requests failed. The next audit begins at the usual time."""
        self._touched = None
        self._errors[reason] += 1

    def status(self, now: float) -> Status:
        """Return the status of the reflector at the time `now`."""
        settled = self._opened_at is not None and now - self._opened_at >= self._figures.settled_s
        return Status(
            synced=self._listings > 0,
            objects=len(self._versions),
            resource_version=self._resource_version,
            last_event=self._last_event,
            last_bookmark=self._last_bookmark,
            last_audit=self._last_audit,
            last_heard=self._last_heard,
            audits=self._audits,
            repaired=self._repaired,
            relists=max(self._listings - 1, 0),
            errors=dict(self._errors),
            problem=self._problem[1] if self._problem is not None and not settled else None,
        )

    def _on_line(self, line: bytes, events: list[Event], notices: list[Notice], now: float) -> Step | None:
        """Add the events in a line to `events`. Return a `Step` if the line ends the watch, else None."""
        try:
            event = _EVENTS.decode(line)
            if event.type == "BOOKMARK":
                self._on_bookmark(_BOOKMARKS.decode(event.object).metadata, events, notices, now)
            elif event.type == "ERROR":
                return self._on_error(_refusal(event.object), now)
            elif event.type in ("ADDED", "MODIFIED", "DELETED"):
                self._on_change(event, events)
                self._last_event = now
            else:
                raise msgspec.ValidationError(f"type {event.type!r} is unknown")
        except msgspec.DecodeError as error:  # msgspec.ValidationError is a subclass
            text = f"a watch sent an invalid event: {error}; {_excerpt(line)}"
            return self._fail("decode", text, now, relist=True)
        self._delivered = True
        self._fruitless_errors = 0
        self._last_heard = now
        notices.extend(self._recover(now))
        return None

    def _on_change(self, event: "_Event", events: list[Event]) -> None:
        observed = parse(self._kind, event.object, self._options)
        ref = observed.ref
        if self._state is State.INITIAL_WATCH:
            events.extend(self._begin_listing())
            listing = self._listing = self._listing if self._listing is not None else self._no_versions()
            if event.type == "DELETED":
                # A listing has no event for a deleted object. So the object is just removed from the listing.
                listing.pop(ref, None)
                self._late_deletes.add(ref)
            else:
                listing[ref] = observed.resource_version
                self._late_deletes.discard(ref)
                events.append(InitApply(observed))
            return
        self._resource_version = observed.resource_version or self._resource_version
        if self._touched is not None:
            self._touched.add(ref)
        if event.type == "DELETED":
            self._versions.pop(ref, None)
            node = observed.value.node if isinstance(observed.value, Pod) else ""
            events.append(Delete(ref, observed.resource_version, node))
        else:
            created = event.type == "ADDED"
            if created or self._audited:
                self._versions[ref] = observed.resource_version
            events.append(Apply(observed, change_time(self._kind, event.object, created=created)))

    def _on_bookmark(self, metadata: "_BookmarkMeta", events: list[Event], notices: list[Notice], now: float) -> None:
        self._last_bookmark = now
        if self._state is State.WATCHING:
            self._resource_version = metadata.resource_version
        elif (metadata.annotations or {}).get("k8s.io/initial-events-end") == "true":
            events.extend(self._begin_listing())
            late_deletes = self._late_deletes
            _, finished = self._finish_listing(events, metadata.resource_version)
            events.extend(map(Delete, sorted(late_deletes)))
            notices.extend(finished)

    def _on_error(self, refusal: "_Refusal", now: float) -> Step:
        """Process an ERROR event, with which a server ends a watch that began with status 200.

        For example, the server reports in this way that the resource version is too old.
        """
        seconds = refusal.details.retry_after_s if refusal.details is not None else None
        if self._state is State.INITIAL_WATCH:
            # A server whose storage doesn't support WatchList always answers with ERROR.
            self._watch_list = False
        # After two errors at the same version, the objects are listed again. Old servers send the code 500 instead of
        # 410 if the version is too old.
        self._fruitless_errors += 1
        return self._refused(refusal.code or 500, refusal, seconds, now, relist=self._fruitless_errors > 1)

    def _refused(
        self, status: int, refusal: "_Refusal", retry_after_s: int | None, now: float, *, relist: bool = False
    ) -> Step:
        text = f"{status} {refusal.reason or _phrase(status)}: {refusal.message or 'no message'}"
        # True if the server rejects the version, the continue token or WatchList. Then waiting doesn't help.
        hopeless = 400 <= status < 500 and status not in _PASSING
        pause = True
        if self._state is State.INITIAL_WATCH:
            self._watch_list = self._watch_list and not hopeless
            pause = self._watch_list
        return self._fail(str(status), text, now, retry_after_s, pause=pause, relist=relist or hopeless)

    def _fail(
        self,
        reason: str,
        text: str,
        now: float,
        retry_after_s: int | None = None,
        *,
        pause: bool = True,
        relist: bool = False,
    ) -> Step:
        """Count a failure, set the pause, and return a notice if the reason is new.

        After a WatchList that failed, the next listing is by pages."""
        self._opened_at = None
        event = {State.WATCHING: "watch failed", State.INITIAL_WATCH: "WatchList failed"}.get(
            self._state, "list failed"
        )
        if reason == "410" and self._state is State.WATCHING:
            event = "watch expired"
        action = "relist" if relist else "retry"
        if self._state is State.INITIAL_WATCH:
            self._by_pages = relist = True
            action = "list by pages"
        if relist:
            self._state = State.EMPTY
        self._errors[reason] += 1
        news = self._problem is None or self._problem[0] != reason
        if news and event == "watch expired":
            # An API server that has restarted doesn't know the version of a kind without changes. After a long outage,
            # the pause is long. Without the next line, the reflector would wait for half a minute, although the server
            # works again.
            self._backoff.restart(now)
        if pause:
            asked_s = min(retry_after_s or 0, self._figures.retry_after_most_s)
            self._wait_until = now + max(self._backoff.next(now), asked_s)
        self._problem = (reason, text if len(text) <= 200 else text[:199] + "…")
        if not news:
            return Step([], [], over=True)
        fields = {"resource_version": self._resource_version, "problem": self._problem[1], "action": action}
        return Step([], [self._notice(event, **fields)], over=True)

    def _recover(self, now: float) -> list[Notice]:
        if self._problem is None:
            return []
        reason, _ = self._problem
        self._problem = None
        return [self._notice("watch recovered", after=reason)]

    def _begin_listing(self) -> list[Event]:
        if self._listing is not None:
            return []
        self._listing = self._no_versions()
        return [Init(self._kind)]

    def _finish_listing(self, events: list[Event], resource_version: str) -> tuple[list[Event], list[Notice]]:
        assert self._listing is not None
        self._versions, self._listing = self._listing, None
        self._late_deletes = set()
        self._resource_version = resource_version
        self._listings += 1
        self._by_pages = False
        self._state = State.WATCHING
        self._repaired += self._repairs_due
        self._repairs_due = 0
        events.append(InitDone(self._kind))
        event = "synced" if self._listings == 1 else "listed again"
        return events, [self._notice(event, objects=len(self._versions), resource_version=resource_version)]

    def _notice(self, event: str, **fields: str | int | float) -> Notice:
        return Notice(event, {"kind": self._kind.value, **fields})


class _Number:
    """Counts objects, in place of a dict with their versions."""

    def __init__(self) -> None:
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def __setitem__(self, ref: Ref, version: str) -> None:
        self._number += 1

    def pop(self, ref: Ref, default: None) -> None:
        self._number = max(0, self._number - 1)


_Versions = dict[Ref, str] | _Number


class Backoff:
    """The pause after a failure: a random time between the base and twice the base.

    The base doubles after each failure, up to a limit.
    """

    def __init__(self, figures: Figures, random: Random) -> None:
        self._figures = figures
        self._random = random
        self._base_s = figures.backoff_first_s
        self._last = float("-inf")
        self._restarted = float("-inf")

    def next(self, now: float) -> float:
        """Return how many seconds to wait from `now` on."""
        if now - self._last > self._figures.backoff_reset_s:
            self._base_s = self._figures.backoff_first_s
        delay_s = self._base_s * self._random.uniform(1, 2)
        self._base_s = min(self._base_s * 2, self._figures.backoff_last_s / 2)
        self._last = now + delay_s  # the time without failures begins when the next request may be sent
        return delay_s

    def restart(self, now: float) -> None:
        """Reset the pause to its first value, because the server works again.

        The pause is reset at most once every `backoff_reset_s`, because a server may fail and recover again and again.
        """
        if now - self._restarted > self._figures.backoff_reset_s:
            self._restarted = now
            self._base_s = self._figures.backoff_first_s


# Statuses after which the same request may succeed later, or at another server. All other 4xx statuses mean that the
# request itself is wrong.
_PASSING = frozenset({401, 403, 408, 425, 429})


class _ListMeta(msgspec.Struct, rename="camel", gc=False):
    resource_version: str | None = None
    continue_: str | None = msgspec.field(name="continue", default=None)


class _Page(msgspec.Struct, gc=False):
    metadata: _ListMeta
    # This field has no default, so that a Status object with HTTP status 200 isn't read as an empty list.
    items: list[msgspec.Raw] | None


class _Event(msgspec.Struct, gc=False):
    type: str
    object: msgspec.Raw


class _BookmarkMeta(msgspec.Struct, rename="camel", gc=False):
    resource_version: str
    annotations: dict[str, str] | None = None


class _Bookmark(msgspec.Struct, gc=False):
    metadata: _BookmarkMeta


class _Details(msgspec.Struct, gc=False):
    retry_after_s: int | None = msgspec.field(name="retryAfterSeconds", default=None)


class _Refusal(msgspec.Struct, gc=False):
    """The fields of a Status object that pydns reads."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


_PAGES = msgspec.json.Decoder(_Page)
_EVENTS = msgspec.json.Decoder(_Event)
_BOOKMARKS = msgspec.json.Decoder(_Bookmark)
_REFUSALS = msgspec.json.Decoder(_Refusal)


def _refusal(body: bytes | msgspec.Raw) -> _Refusal:
    try:
        return _REFUSALS.decode(body)
    except msgspec.DecodeError:
        return _Refusal(message=_excerpt(bytes(body)))


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in _STATUSES else "unknown status"


_STATUSES: frozenset[Any] = frozenset(HTTPStatus)


def _excerpt(body: bytes) -> str:
    """Return the beginning of a body, for a message.

    The beginning shows, for example, that a proxy has sent an HTML page.
    """
    return repr(" ".join(body[:80].decode("utf-8", "replace").split()))
