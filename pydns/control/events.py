"""Posts Events, which `kubectl describe` and `kubectl get events` show.

A separate thread posts the Events, so nothing waits for the API server. An Event that can't be posted is dropped,
because the log and the status have the same content. The permission to create Events is optional. `control.config_map`
posts Events on the ConfigMap, and `control.health_events` posts Events on the pod of pydns.
"""

import hashlib
import json
import queue
import socket
import threading
from datetime import UTC, datetime
from typing import NamedTuple

from pydns.control.api_client import ApiClient
from pydns.log import Level, Log, one_line

_ANSWER_S = 10.0
_MOST_WAITING = 16
_LONGEST = 1024  # the maximum length of a message in octets: the API server refuses longer messages
_CONFLICT = 409  # the status of a reply if the Event exists already


class Subject(NamedTuple):
    """The object that an Event is about. The uid or resource version is empty if it is unknown."""

    kind: str
    namespace: str
    name: str
    uid: str = ""
    resource_version: str = ""


class Event(NamedTuple):
    """The content of an Event. The times of an Event are Unix times."""

    about: Subject
    reason: str  # one word
    message: str
    is_warning: bool
    first: float
    last: float
    times: int = 1  # how often the event happened from `first` to `last`
    # Events with the same content and identity become one Event in the cluster. The empty identity stands for all
    # replicas.
    identity: str = ""


class EventPoster:
    """Posts Events. `post` returns at once."""

    def __init__(self, client: ApiClient, log: Log, host: str | None = None) -> None:
        self._client = client
        self._log = log
        self._host = host or socket.gethostname()
        self._waiting: queue.Queue[Event] = queue.Queue(_MOST_WAITING)
        self._problem = ""
        self._thread: threading.Thread | None = None

    def post(self, event: Event) -> None:
        """Post an Event soon. Only one thread may call `post`.

        If too many Events wait already, the new Event is dropped.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()
        if not self._waiting.full():  # no other thread can fill the queue after this check
            self._waiting.put(event)

    def _run(self) -> None:
        while True:
            event = self._waiting.get()
            try:
                problem = self._post(event)
            except Exception as error:  # credentials come from files and programs, which may raise anything
                problem = one_line(error)[:200]
            if problem and problem != self._problem:
                self._log("event not posted", level=Level.WARNING, problem=problem, action="go on without Events")
            self._problem = problem

    def _post(self, event: Event) -> str:
        """Return the reason why the Event was not posted, or an empty text if it was posted."""
        response = self._client.request(
            f"/api/v1/namespaces/{event.about.namespace}/events",
            [],
            _ANSWER_S,
            method="POST",
            body=json.dumps(_manifest(event, self._host)).encode(),
        )
        body = response.read()
        if response.status < 300 or response.status == _CONFLICT:
            return ""
        try:
            return f"{response.status} {json.loads(body)['message']}"
        except (ValueError, KeyError, TypeError):
            return f"{response.status} {response.reason}"


def _manifest(event: Event, host: str) -> dict[str, object]:
    """Return an Event as the API server expects it.

    The name of the Event is a hash of its content. So only the first of several replicas posts an Event without an
    identity, and a restarted replica doesn't post the Event again.
    """
    about = event.about
    content = about, event.reason, event.message, event.is_warning, event.times, event.identity
    digest = hashlib.sha256(repr(content).encode()).hexdigest()[:16]
    message = event.message.encode()
    if len(message) > _LONGEST:
        message = message[: _LONGEST - 3] + b"..."
    known = {"uid": about.uid, "resourceVersion": about.resource_version}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name}.{digest}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            **{key: value for key, value in known.items() if value},
        },
        "type": "Warning" if event.is_warning else "Normal",
        "reason": event.reason,
        "message": message.decode(errors="ignore"),
        "source": {"component": "pydns", "host": host},
        "reportingComponent": "pydns",
        "reportingInstance": host,
        "firstTimestamp": _time(event.first),
        "lastTimestamp": _time(event.last),
        "count": event.times,
    }


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
