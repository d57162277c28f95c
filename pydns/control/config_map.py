"""A ConfigMap of the API server as the source of the live configuration.

It is watched as Services are (`control.apiserver`, `kube.reflector`), by a field selector for its name: a Role for
this one ConfigMap (`resourceNames`) is permission enough. What its texts mean is `config.inputs`.
"""

from collections.abc import Callable
from typing import Any

from pydns.config import inputs
from pydns.config.mistakes import ConfigError
from pydns.config.model import Config
from pydns.config.read import Accepted, Refused
from pydns.control.apiserver import ApiServer, Connection
from pydns.control.config_source import Seen
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.objects import ConfigMap, Kind, Observed
from pydns.log import Log


class ConfigMapWatch:
    """Delivers what a ConfigMap says, from a thread of its own: when it has been read, and whenever it changes."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        name: str,
        deliver: Callable[[Seen], None],
        log: Log,
        **options: Any,
    ) -> None:
        self.name = f"ConfigMap {namespace}/{name}"
        self._deliver = deliver
        self._listed: Observed | None = None  # by the listing in progress
        self._server = ApiServer(connection, [Kind.CONFIG_MAP], self._take, log, only=(namespace, name), **options)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._server.start()

    def stop(self) -> None:
        """End the watch."""
        self._server.stop()

    def problem(self) -> str | None:
        """Return what keeps it from being known now."""
        status = self._server.status()[Kind.CONFIG_MAP]
        # One failure alone may be a server without WatchList, which is asked for a list next.
        return status.problem if sum(status.errors.values()) > 1 else None

    def _take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Init():
                    self._listed = None
                case InitApply(observed):
                    self._listed = observed
                case InitDone():
                    self._say(self._listed)
                case Apply(observed):
                    self._say(observed)
                case Delete():
                    self._say(None)

    def _say(self, observed: Observed | None) -> None:
        if observed is None:
            self._deliver(Seen(Accepted(Config()), exists=False))
        elif isinstance(observed.value, ConfigMap):
            self._deliver(Seen(inputs.read_config_map(observed.value.data, observed.value.binary)))
        else:
            reason = getattr(observed.value, "reason", "")
            self._deliver(Seen(Refused((ConfigError(self.name, f"what came ({reason})", "a ConfigMap"),))))
