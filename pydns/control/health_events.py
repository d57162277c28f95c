"""Decides when an Event about the health of pydns is due: upstreams that don't answer, and old data of the cluster.

The controller calls `HealthEvents.take` with each status. The rules:

1. An Event reports that a route has no live upstream any more, or has a live upstream again. Another Event reports
   that the data of the cluster has been old for `OLD_S`, or is current again.
2. For each reason, at most one Event is posted in `PAUSE_S`. Changes within this time are counted. The next Event has
   the number of these changes, the time of the first change and the messages of the last changes.
3. Each replica has connections of its own to the API server and the upstreams. So each replica posts Events on its own
   pod.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pydns.control.clock import Clock
from pydns.control.events import Event, Subject
from pydns.table.status import Status

OLD_S = 300.0
PAUSE_S = 300.0
_MOST_MESSAGES = 5  # the maximum number of messages in one Event
_MOST_KINDS = 5  # the maximum number of kinds in one message

UPSTREAMS_DOWN, UPSTREAMS_UP = "UpstreamsDown", "UpstreamsUp"
NOT_SYNCED, SYNCED = "NotSynced", "Synced"
_WARNINGS = UPSTREAMS_DOWN, NOT_SYNCED


class Change(NamedTuple):
    """A change of health."""

    reason: str
    message: str


class Health:
    """The health that was reported last. Each call of `changes` yields the changes since the last call."""

    def __init__(self) -> None:
        self._down: set[str] = set()  # routes without a live upstream
        self._old_since: float | None = None  # the monotonic time since which the cluster has not been synced
        self._is_old = False

    def changes(self, status: Status, now: float) -> Iterator[Change]:
        """Yield the changes since the last status. `now` is a monotonic time in seconds."""
        down = {each.route for each in status.routes if each.is_down}
        known = {each.route for each in status.routes}
        for route in sorted(down - self._down):
            yield Change(UPSTREAMS_DOWN, f"no upstream of {_title(route)} answers")
        for route in sorted(self._down - down):
            if route in known:  # no Event for a route that the configuration no longer has
                yield Change(UPSTREAMS_UP, f"an upstream of {_title(route)} answers again")
        self._down = down
        yield from self._data_changes(status, now)

    def _data_changes(self, status: Status, now: float) -> Iterator[Change]:
        if status.synced:
            self._old_since = None
        elif self._old_since is None:
            self._old_since = now
        old = _old_kinds(status)
        if self._old_since is not None and now - self._old_since >= OLD_S:
            old = {**status.missing, **old} or {"the cluster": None}
        if old and not self._is_old:
            self._is_old = True
            shown = [kind if problem is None else f"{kind} ({problem})" for kind, problem in old.items()]
            rest = f" and {len(shown) - _MOST_KINDS} more" if len(shown) > _MOST_KINDS else ""
            text = ", ".join(shown[:_MOST_KINDS]) + rest
            yield Change(NOT_SYNCED, f"for {OLD_S / 60:.0f} minutes, no current data from the API server: {text}")
        elif self._is_old and not old and status.synced:
            self._is_old = False
            yield Change(SYNCED, "the data from the API server is current again")


def _title(route: str) -> str:
    return "the default route" if route == "." else f"the route {route}"


def _old_kinds(status: Status) -> Mapping[str, str | None]:
    """Return the kinds whose data is too old, each with its problem."""
    of_sources = {"": status.kinds, **{f" of {name}": source.kinds for name, source in status.sources.items()}}
    return {
        f"{kind}{of_source}": each.problem
        for of_source, kinds in of_sources.items()
        for kind, each in kinds.items()
        if each.served and each.problem and each.data_age_s is not None and each.data_age_s > OLD_S
    }


class _Waiting:
    """The changes of one kind (`Change.reason`) that no Event has reported yet."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.last = 0.0
        self.messages: dict[str, None] = {}
        self.due = 0.0  # monotonic time before which no Event may be posted


class HealthEvents:
    """Posts Events on the pod of pydns. One thread calls `take`, which returns at once."""

    def __init__(self, about: Subject, identity: str, post: Callable[[Event], None], clock: Clock) -> None:
        """`identity` makes the Events of this replica differ from those of others. `post` may drop an Event."""
        self._about = about
        self._identity = identity
        self._post = post
        self._clock = clock
        self._health = Health()
        self._waiting: dict[str, _Waiting] = {}

    def take(self, status: Status) -> None:
        """Post an Event for each reason that has changes and is due."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for reason, message in self._health.changes(status, now):
            waiting = self._waiting.setdefault(reason, _Waiting())
            if not waiting.count:
                waiting.first = wall
            waiting.count += 1
            waiting.last = wall
            waiting.messages.pop(message, None)
            waiting.messages[message] = None
            if len(waiting.messages) > _MOST_MESSAGES:
                del waiting.messages[next(iter(waiting.messages))]
        # The reason with the newest change comes last, so that the last Event shows the current state.
        for reason, waiting in sorted(self._waiting.items(), key=lambda item: item[1].last):
            if waiting.count and now >= waiting.due:
                text, is_warning = "; ".join(waiting.messages), reason in _WARNINGS
                identity = f"{self._identity} {waiting.first}"
                when = waiting.first, waiting.last, waiting.count
                self._post(Event(self._about, reason, text, is_warning, *when, identity))
                waiting.count, waiting.due = 0, now + PAUSE_S
                waiting.messages.clear()


def own_subject(environment: Mapping[str, str], configmap: tuple[str, str] | None) -> Subject | None:
    """Return the object for Events about pydns itself, or None. Without an object, no Event is posted.

    The object is the pod, if the variables POD_NAME and POD_NAMESPACE name the pod. The manifests set these variables
    with the downward API. Without these variables, the object is the ConfigMap of the configuration.
    """
    if (name := environment.get("POD_NAME")) and (namespace := environment.get("POD_NAMESPACE")):
        return Subject("Pod", namespace, name, environment.get("POD_UID", ""))
    return None if configmap is None else Subject("ConfigMap", *configmap)
