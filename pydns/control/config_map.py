"""A ConfigMap of the API server as the source of the live configuration.

It is watched as Services are (`control.apiserver`, `kube.reflector`), with a field selector for its name: a Role for
this one ConfigMap (`resourceNames`) is permission enough. The meaning of its texts is the business of `config.inputs`.
"""

from collections.abc import Callable

from pydns.config import inputs
from pydns.config.mistakes import ConfigError
from pydns.config.model import Config
from pydns.config.read import ANYWHERE, Accepted, Refused, Surroundings
from pydns.control.apiserver import PACE, ApiServer, Connection, Pace, Watched
from pydns.control.config_source import Seen
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import ConfigMap, Observed
from pydns.log import Log


class ConfigMapWatch:
    """Delivers what a ConfigMap contains, from its own thread: when it has been read, and whenever it changes."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        name: str,
        deliver: Callable[[Seen], None],
        log: Log,
        pace: Pace = PACE,
        surroundings: Surroundings = ANYWHERE,
    ) -> None:
        self.name = f"ConfigMap {namespace}/{name}"
        self._deliver = deliver
        self._surroundings = surroundings
        self._listed: Observed | None = None  # in the listing that is going on
        watched = Watched((Kind.CONFIG_MAP,), only=(namespace, name))
        self._server = ApiServer(connection, watched, self._take, log, pace)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._server.start()

    def stop(self) -> None:
        """End the watch."""
        self._server.stop()

    def problem(self) -> str | None:
        """Return why the ConfigMap can't be read now."""
        status = self._server.status()[Kind.CONFIG_MAP]
        # One failure may mean a server without WatchList. The next request is a list.
        return status.problem if sum(status.errors.values()) > 1 else None

    def _take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Init():
                    self._listed = None
                case InitApply(observed):
                    self._listed = observed
                case InitDone():
                    self._deliver_read(self._listed)
                case Apply(observed):
                    self._deliver_read(observed)
                case Delete():
                    self._deliver_read(None)

    def _deliver_read(self, observed: Observed | None) -> None:
        if observed is None:
            self._deliver(Seen(Accepted(Config()), exists=False))
        elif isinstance(observed.value, ConfigMap):
            texts, binary = observed.value.data, observed.value.binary
            self._deliver(Seen(inputs.read_config_map(texts, binary, self._surroundings)))
        else:
            reason = getattr(observed.value, "reason", "")
            self._deliver(Seen(Refused((ConfigError(self.name, f"what came ({reason})", "a ConfigMap"),))))
