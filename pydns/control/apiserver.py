"""Reads the cluster state from the API server. One thread per kind sends the requests that a reflector asks for.

The client (`control.api_client`) knows addresses, TLS, credentials and proxies. `kube.reflector` knows the meaning of
requests and answers. The threads deliver events in lists.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from random import Random
from typing import Any, NamedTuple

import urllib3

from pydns.control.api_client import ApiClient
from pydns.kube import discovery
from pydns.kube.audit import Audit, AuditPage, BadPage
from pydns.kube.events import Event
from pydns.kube.kinds import Kind
from pydns.kube.objects import DEFAULTS, Options
from pydns.kube.reflector import FIGURES, Failure, Figures, ListPage, Notice, Reflector, Status, Step, Wait, Watch
from pydns.log import Level, Log, one_line

Deliver = Callable[[list[Event]], None]


class Watched(NamedTuple):
    """A description of the objects to list and watch."""

    kinds: tuple[Kind, ...]
    label_selector: str | None = None
    namespace_selector: str | None = None  # the selector that replaces `label_selector` for Namespaces
    only: tuple[str, str] | None = None  # the namespace and the name, if only one object is watched
    namespace: str | None = None  # the namespace of the objects; None means all namespaces
    options: Options = DEFAULTS
    # kinds that are watched only for the names of clients; audits skip these kinds
    unaudited: frozenset[Kind] = frozenset()


class Pace(NamedTuple):
    """How objects are listed and watched. The defaults are for production."""

    figures: Figures = FIGURES
    clock: Callable[[], float] = time.monotonic
    random: Random = Random()
    # Whether to ask for a listing with WatchList first. If False, pydns asks for pages. For 10,000 objects, pages take
    # half of the CPU time that a WatchList takes in Kubernetes 1.36. In pydns, they take 60 % of it. A WatchList costs
    # more, because it has a chunk for each object.
    watch_list: bool = False


PACE = Pace()


class ApiServer:
    """Lists and watches the objects that `watched` describes, and calls `deliver` with the events.

    The events keep the promises of `kube.events`. One thread delivers the events of one kind, in order. An event is
    delivered as soon as its line has been read completely.

    One call of `deliver` may contain only a part of a listing. A thread that is stuck in a connection attempt may still
    run when `stop` returns, but it delivers no more events.
    """

    def __init__(self, client: ApiClient, watched: Watched, deliver: Deliver, log: Log, pace: Pace = PACE) -> None:
        if not client.is_verified:
            log("certificate of the API server is not verified", level=Level.WARNING)
        self._pace = pace
        self._stopping = threading.Event()
        self._watches = {
            kind: _KindWatch(
                kind,
                Reflector(
                    kind,
                    pace.random,
                    options=watched.options,
                    figures=pace.figures,
                    watch_list=pace.watch_list,
                    audited=kind not in watched.unaudited,
                ),
                _Requests(client, _path(kind, watched), _selectors(kind, watched), pace.figures.answer_s),
                deliver,
                log,
                pace,
                self._stopping,
            )
            for kind in watched.kinds
        }
        # The threads are daemons, so the process can exit while a thread waits for a server that doesn't answer.
        self._threads = [
            threading.Thread(target=watch.run, name=f"watch {kind.value}", daemon=True)
            for kind, watch in self._watches.items()
        ]
        self._threads.append(threading.Thread(target=self._run_audits, name="audit", daemon=True))

    def start(self) -> None:
        """Start the threads, and return at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the watches and the threads. Returns after about one second at most, even if the server hangs."""
        self._stopping.set()
        for watch in self._watches.values():
            watch.interrupt()
        deadline = time.monotonic() + 1
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))

    def status(self) -> dict[Kind, Status]:
        """Return the status of each kind. The times in a status come from the clock in `pace`."""
        return {kind: watch.status() for kind, watch in self._watches.items()}

    def warnings(self) -> tuple[str, ...]:
        """Return no warnings: an API server delivers an unusable object as a `Skipped` event."""
        return ()

    def audit(self) -> None:
        """Compare the delivered objects with the server's objects now. Return after the comparison has finished.

        The audit thread also calls this method, from time to time.
        """
        audits = [(watch, audit) for watch in self._watches.values() if (audit := watch.list_audit()) is not None]
        if not self._stopping.wait(self._pace.figures.audit_confirm_s):
            for watch, audit in audits:
                watch.end_audit(audit)

    def _run_audits(self) -> None:
        # The interval is random, so replicas that started together don't send their audits at the same time.
        while not self._stopping.wait(self._pace.figures.audit_s * self._pace.random.uniform(0.75, 1.25)):
            self.audit()


class _Requests:
    """Sends GET requests for one path, always with the same selectors."""

    def __init__(self, client: ApiClient, path: str, selectors: list[tuple[str, Any]], answer_s: float) -> None:
        self.path = path
        self._client = client
        self._selectors = selectors
        self._answer_s = answer_s

    def open(self, query: list[tuple[str, Any]], accept: str = "application/json") -> urllib3.BaseHTTPResponse:
        """Return the response to a GET. The caller reads the body of the response.

        May raise exceptions of any type, because files and programs provide the credentials.
        """
        return self._open(self.path, query + self._selectors, accept)

    def open_path(self, path: str) -> urllib3.BaseHTTPResponse:
        """Return the response to a GET of another path, without selectors."""
        return self._open(path, [], "application/json")

    def _open(self, path: str, query: list[tuple[str, Any]], accept: str) -> urllib3.BaseHTTPResponse:
        return self._client.request(path, query, self._answer_s, accept=accept)


class _KindWatch:
    """The watch of one kind: a reflector, the code that its thread runs, and the response that the thread reads.

    The audit thread and the caller of `stop` also use the reflector and `_response`. `_lock` protects the reflector and
    `_response`.
    """

    def __init__(
        self,
        kind: Kind,
        reflector: Reflector,
        requests: _Requests,
        deliver: Deliver,
        log: Log,
        pace: Pace,
        stopping: threading.Event,
    ) -> None:
        self._kind = kind
        self._reflector = reflector
        self._requests = requests
        self._deliver = deliver
        self._log = log
        self._pace = pace
        self._stopping = stopping
        self._lock = threading.Lock()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._held: list[Event] = []
        self._audit_problem = ""
        self._is_optional = kind.row.wanted_by is not None
        self._is_found = not self._is_optional  # False: `_find` must check first whether the server has the kind
        self._is_missing = False  # whether the last check showed that the server lacks the kind
        self._look_again_s = pace.figures.discovery_s[0]

    def run(self) -> None:
        """Send the requests that the reflector asks for, until `stop`. `run` is the main function of the thread."""
        while not self._stopping.is_set():
            if not self._is_found and not self._find():
                continue
            with self._lock:
                request = self._reflector.next_request(self._pace.clock())
            if isinstance(request, Wait):
                self._stopping.wait(request.seconds)
            elif isinstance(request, ListPage):
                self._list(request)
            else:
                self._watch(request)

    def _find(self) -> bool:
        """Return whether the server has the kind.

        If the server has the kind, choose the newest API version that the server has. If the server doesn't have the
        kind, wait before returning, longer each time. Objects that were delivered before are kept, because an API
        server that is starting doesn't have the CRDs yet.
        """
        path = next(filter(self._has, self._kind.row.paths), None)
        self._is_found = path is not None
        self._requests.path = path or self._requests.path
        was_missing, self._is_missing = self._is_missing, not self._is_found
        if self._is_found:
            self._look_again_s = self._pace.figures.discovery_s[0]
            return True
        if not was_missing:
            self._log("kind not served", kind=self._kind.value, action="check again from time to time")
        self._stopping.wait(self._look_again_s)
        self._look_again_s = min(2 * self._look_again_s, self._pace.figures.discovery_s[1])
        return False

    def _has(self, path: str) -> bool:
        try:
            response = self._requests.open_path(discovery.resources_path(path))
            return discovery.is_served(path, response.status, response.read())
        # `_has` catches exceptions of any type, as `_perform` does. The first listing will fail with the same error.
        # Then the reflector reports it.
        except Exception:
            return True

    def interrupt(self) -> None:
        """Shut down the response of the current watch, so that the thread stops reading it."""
        with self._lock:
            if self._response is not None:
                with suppress(OSError, ValueError, RuntimeError):  # `shutdown` fails if the response is already closing
                    self._response.shutdown()

    def status(self) -> Status:
        with self._lock:
            status = self._reflector.status(self._pace.clock())
        return status._replace(problem=discovery.NOT_SERVED, is_served=False) if self._is_missing else status

    def list_audit(self) -> Audit | None:
        """Return an audit that has read all its pages.

        Return None if no audit is possible now, or if the audit failed.
        """
        with self._lock:
            audit = self._reflector.begin_audit()
        if audit is None:
            return None
        try:
            while (page := audit.next_request()) is not None and not self._stopping.is_set():
                response = self._requests.open(_page_query(page), _METADATA_ONLY)
                body = response.read()
                if response.status != 200:
                    reason, problem = str(response.status), f"{response.status} {response.reason}"
                    break
                audit.on_page(body)
            else:
                self._audit_problem = ""
                return audit
        except BadPage as error:
            reason, problem = "decode", str(error)
        except Exception as error:  # all exceptions are caught, as in `_perform`
            failure, problem = _describe(error)
            reason = failure.value
        with self._lock:
            self._reflector.audit_failed(reason)
        if self._audit_problem != reason:
            self._audit_problem = reason
            self._log("audit failed", level=Level.WARNING, path=self._requests.path, problem=problem)
        return None

    def end_audit(self, audit: Audit) -> None:
        """Pass the audit to the reflector. End the watch if the reflector wants to list again."""
        with self._lock:
            step = self._reflector.end_audit(audit, self._pace.clock())
        self._report(step.notices)
        if step.over:
            self.interrupt()

    def _list(self, request: ListPage) -> None:
        response = self._perform(_page_query(request))
        if response is None:
            return
        try:
            body = response.read()
        except _READ_ERRORS as error:
            self._fail(error)
        else:
            if response.status == 200:
                self._take(lambda now: self._reflector.on_page(body, now))
            else:
                self._refuse(response, body)

    def _watch(self, request: Watch) -> None:
        query: list[tuple[str, Any]] = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", request.timeout_s),
        ]
        if request.send_initial_events:
            query += [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]
        if request.resource_version:
            query.append(("resourceVersion", request.resource_version))
        response = self._perform(query)
        if response is None:
            return
        try:
            if response.status != 200:
                self._refuse(response, response.read())
                return
            with self._lock:
                self._response = response
                step = self._reflector.on_open(self._pace.clock())
            listing = request.send_initial_events
            if not listing:
                _set_timeout(response, request.silence_s)
            # `read1` returns the data that has arrived, at most one chunk, and doesn't wait for more. A server sends
            # one chunk per event, so each event is delivered at once.
            while not step.over and not self._stopping.is_set():
                data = response.read1(65536)
                if not data:
                    self._take(lambda now: self._reflector.on_failure(Failure.CLOSED, "a watch ended", now))
                    return
                step = self._take(lambda now, data=data: self._reflector.on_data(data, now))  # type: ignore[misc]
                if listing and not step.listing:
                    listing = False
                    _set_timeout(response, request.silence_s)
        except _READ_ERRORS as error:
            self._fail(error)
        finally:
            with self._lock:
                self._response = None
            response.close()

    def _perform(self, query: list[tuple[str, Any]]) -> urllib3.BaseHTTPResponse | None:
        """Return the response, with its body unread.

        If the request fails, report this to the reflector and return None.
        """
        try:
            return self._requests.open(query)
        # `open` may raise exceptions of any type. The reflector retries, as after any other failure.
        except Exception as error:
            self._fail(error)
            return None

    def _refuse(self, response: urllib3.BaseHTTPResponse, body: bytes) -> None:
        if response.status == 404 and self._is_optional:
            self._is_found = False
        retry_after = response.headers.get("Retry-After")
        self._take(lambda now: self._reflector.on_status(response.status, body, retry_after, now))

    def _fail(self, error: Exception) -> None:
        failure, detail = _describe(error)
        self._take(lambda now: self._reflector.on_failure(failure, detail, now))

    def _take(self, step_at: Callable[[float], Step]) -> Step:
        """Pass an answer to the reflector. Deliver the events and log the notices that the reflector returns.

        A listing with WatchList sends its events one by one. Events of a listing are useless before the listing ends,
        so this method collects them and delivers them in groups as large as a page.
        """
        with self._lock:
            step = step_at(self._pace.clock())
        if self._stopping.is_set():
            return step
        self._held += step.events
        if self._held and (not step.listing or len(self._held) >= self._pace.figures.page_size):
            events, self._held = self._held, []
            self._deliver(events)
        self._report(step.notices)
        return step

    def _report(self, notices: list[Notice]) -> None:
        for notice in notices:
            level = Level.WARNING if "problem" in notice.fields else Level.INFO
            self._log(notice.event, level=level, **notice.fields)


def _path(kind: Kind, watched: Watched) -> str:
    """Return the path of the list of a kind.

    If only one namespace is watched, return the path of the list in this namespace.
    """
    namespace = watched.only[0] if watched.only else watched.namespace
    if namespace is None:
        return kind.row.path
    version, plural = kind.row.path.rsplit("/", 1)
    return f"{version}/namespaces/{namespace}/{plural}"


def _selectors(kind: Kind, watched: Watched) -> list[tuple[str, Any]]:
    found = []
    if watched.label_selector and kind.row.is_selected:
        found.append(("labelSelector", watched.label_selector))
    if watched.namespace_selector and kind is Kind.NAMESPACE:
        found.append(("labelSelector", watched.namespace_selector))
    if kind.row.field_selector:
        found.append(("fieldSelector", kind.row.field_selector))
    if watched.only is not None:
        found.append(("fieldSelector", f"metadata.name={watched.only[1]}"))
    return found


_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# Reading from a TLS connection raises ValueError if another thread has shut it down.
_READ_ERRORS = (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError)


def _page_query(page: ListPage | AuditPage) -> list[tuple[str, Any]]:
    return [("limit", page.limit), *([("continue", page.continue_)] if page.continue_ else [])]


def _set_timeout(response: urllib3.BaseHTTPResponse, seconds: float) -> None:
    sock = getattr(response.connection, "sock", None)  # None if the server closes the connection after each response
    if sock is not None:
        sock.settimeout(seconds)


def _describe(error: Exception) -> tuple[Failure, str]:
    """Return the kind of failure and one line of text. The same failure always has the same text.

    The texts of urllib3 can't be used, because they contain memory addresses of objects.
    """
    # urllib3 reports even a refused connection as a timeout. The innermost error shows the real cause.
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError):
        return Failure.TIMEOUT, "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return Failure.CONNECTION, cause.strerror
    return Failure.CONNECTION, one_line(cause if isinstance(cause, Exception) else error)
