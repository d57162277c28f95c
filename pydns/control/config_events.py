"""Posts Events that show in `kubectl describe` and `kubectl get events` whether a configuration was accepted.

A separate thread posts the Events, so nothing waits for the API server. An Event that can't be posted is dropped,
because the log and the status have the same content. Permission is optional: the verb `create` for Events.

The name of an Event is a hash of its content. So only the first of several replicas posts it,
and a restarted replica doesn't post it again.
"""

import hashlib
import json
import queue
import socket
import threading
from datetime import UTC, datetime
from typing import NamedTuple

from pydns.control.api_client import ApiClient
from pydns.control.config_source import Verdict
from pydns.log import Level, Log

_ANSWER_S = 10.0
_MOST_WAITING = 16
_LONGEST = 1024  # octets of a message; the API server refuses a longer one
_CONFLICT = 409  # the Event exists already


class ConfigMapVersion(NamedTuple):
    """A state of a ConfigMap."""

    namespace: str
    name: str
    uid: str
    resource_version: str


class ConfigEvents:
    """Posts Events. `post` returns at once."""

    def __init__(self, client: ApiClient, log: Log, host: str | None = None) -> None:
        self._client = client
        self._log = log
        self._host = host or socket.gethostname()
        self._waiting: queue.Queue[tuple[ConfigMapVersion, Verdict]] = queue.Queue(_MOST_WAITING)
        self._problem = ""
        self._last: tuple[ConfigMapVersion, Verdict] | None = None
        self._thread: threading.Thread | None = None

    def post(self, about: ConfigMapVersion, verdict: Verdict) -> None:
        """Post an Event soon, unless it is the same as the last one. May be called by one thread only."""
        if (about, verdict) == self._last:
            return
        self._last = about, verdict
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()
        if not self._waiting.full():  # no other thread puts items into the queue
            self._waiting.put((about, verdict))

    def _run(self) -> None:
        while True:
            about, verdict = self._waiting.get()
            try:
                problem = self._post(about, verdict)
            except Exception as error:  # credentials come from files and programs, which may raise anything
                problem = " ".join(str(error).split())[:200] or type(error).__name__
            if problem and problem != self._problem:
                self._log("event not posted", level=Level.WARNING, problem=problem, action="go on without Events")
            self._problem = problem

    def _post(self, about: ConfigMapVersion, verdict: Verdict) -> str:
        """Return the reason why the Event was not posted, or an empty text if it was posted."""
        response = self._client.request(
            f"/api/v1/namespaces/{about.namespace}/events",
            [],
            _ANSWER_S,
            method="POST",
            body=json.dumps(_event(about, verdict, self._host)).encode(),
        )
        body = response.read()
        if response.status < 300 or response.status == _CONFLICT:
            return ""
        try:
            return f"{response.status} {json.loads(body)['message']}"
        except (ValueError, KeyError, TypeError):
            return f"{response.status} {response.reason}"


def _event(about: ConfigMapVersion, verdict: Verdict, host: str) -> dict[str, object]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha256(repr((about, verdict)).encode()).hexdigest()[:16]
    message = verdict.message.encode()
    if len(message) > _LONGEST:
        message = message[: _LONGEST - 3] + b"..."
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about.name}.{digest}", "namespace": about.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        },
        "type": "Warning" if verdict.is_warning else "Normal",
        "reason": verdict.reason,
        "message": message.decode(errors="ignore"),
        "source": {"component": "pydns", "host": host},
        "reportingComponent": "pydns",
        "reportingInstance": host,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
