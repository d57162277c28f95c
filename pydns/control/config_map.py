"""Reads the live configuration from ConfigMaps of the API server.

`control.apiserver` and `kube.reflector` watch each ConfigMap in the same way as Services, but with a field selector for
the name of the ConfigMap. So a Role that allows only these ConfigMaps (`resourceNames`) is sufficient. `config.inputs`
knows what the texts in a ConfigMap mean.
"""

import threading
import time
from collections.abc import Callable, Sequence

from pydns.config import inputs
from pydns.config.mistakes import ConfigError
from pydns.config.model import Config
from pydns.config.read import ANYWHERE, Accepted, Refused, Surroundings
from pydns.control.api_client import ApiClient
from pydns.control.apiserver import PACE, ApiServer, Pace, Watched
from pydns.control.config_source import Seen, Verdict
from pydns.control.events import Event as PostedEvent
from pydns.control.events import EventPoster, Subject
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import ConfigMap, Observed, Skipped
from pydns.log import Log


class ConfigMapWatch:
    """Delivers the contents of ConfigMaps, from its own threads.

    The first delivery comes when all ConfigMaps have been read. Each change causes one more delivery.

    The first ConfigMap is the configuration. The other ConfigMaps contain files that the Corefile in the first one
    imports. A ConfigMap that doesn't exist is no problem.
    """

    def __init__(
        self,
        client: ApiClient,
        names: Sequence[tuple[str, str]],
        deliver: Callable[[Seen], None],
        log: Log,
        pace: Pace = PACE,
        surroundings: Surroundings = ANYWHERE,
    ) -> None:
        """Create the watches. `names` contains the namespace and the name of each ConfigMap."""
        self.name = "ConfigMap " + ", ".join(map("/".join, names))
        self._deliver = deliver
        self._surroundings = surroundings
        self._lock = threading.Lock()
        self._events = EventPoster(client, log)
        self._announced: tuple[Subject, Verdict] | None = None
        self._watches = [_Watch(client, each, self._take, log, pace) for each in names]

    def start(self) -> None:
        """Start the watches, and return at once."""
        for watch in self._watches:
            watch.server.start()

    def stop(self) -> None:
        """Stop the watches."""
        for watch in self._watches:
            watch.server.stop()

    def problem(self) -> str | None:
        """Return why a ConfigMap can't be read now, or None if all can be read."""
        for watch in self._watches:
            status = watch.server.status()[Kind.CONFIG_MAP]
            # One failed request isn't a problem yet, because the next request follows after a second and may succeed.
            if status.problem and sum(status.errors.values()) > 1:
                return status.problem
        return None

    def announce(self, verdict: Verdict) -> None:
        """Post the verdict as an Event on the ConfigMap, unless the last verdict was the same.

        `announce` returns at once.
        """
        observed = self._watches[0].observed
        if observed is not None and isinstance(observed.value, ConfigMap):
            value = observed.value
            about = Subject("ConfigMap", value.namespace, value.name, value.uid, observed.resource_version)
            if (about, verdict) != self._announced:
                self._announced = about, verdict
                now = time.time()
                self._events.post(PostedEvent(about, *verdict, now, now))

    def _take(self, watch: "_Watch", observed: Observed | None) -> None:
        with self._lock:
            watch.observed, watch.is_read = observed, True
            if all(each.is_read for each in self._watches):
                self._deliver(self._read())

    def _read(self) -> Seen:
        if self._watches[0].observed is None:
            return Seen(Accepted(Config()), exists=False)
        data: dict[str, str] = {}
        binary: set[str] = set()
        for watch in self._watches:
            value = watch.observed.value if watch.observed is not None else None
            if isinstance(value, Skipped):
                return Seen(Refused((ConfigError(watch.name, f"what came ({value.reason})", "a ConfigMap"),)))
            if isinstance(value, ConfigMap):
                data = value.data | data
                binary |= value.binary
        return Seen(inputs.read_config_map(data, binary - data.keys(), self._surroundings))


class _Watch:
    """The watch of one ConfigMap."""

    def __init__(
        self,
        client: ApiClient,
        name: tuple[str, str],
        take: Callable[["_Watch", Observed | None], None],
        log: Log,
        pace: Pace,
    ) -> None:
        self.name = f"ConfigMap {'/'.join(name)}"
        self.observed: Observed | None = None
        self.is_read = False
        self._take = take
        self._listed: Observed | None = None  # the ConfigMap in the current listing, or None until it has come
        self.server = ApiServer(client, Watched((Kind.CONFIG_MAP,), only=name), self._apply, log, pace)

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Init():
                    self._listed = None
                case InitApply(observed):
                    self._listed = observed
                case InitDone():
                    self._take(self, self._listed)
                case Apply(observed):
                    self._take(self, observed)
                case Delete():
                    self._take(self, None)
