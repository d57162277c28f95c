"""The source of a further cluster.

The source of a further cluster delivers objects from the API server as soon as the kubeconfig can be used. A missing or
wrong kubeconfig is a problem of this cluster alone. A thread reads the kubeconfig again and again until it can be used.
So the Secret with the kubeconfig may be mounted later.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydns.control.api_client import ApiClient, connect
from pydns.control.apiserver import ApiServer, Watched
from pydns.control.kubeconfig import ConnectError
from pydns.control.source import Access, Deliver, SourceKindStatus
from pydns.kube.kinds import Kind
from pydns.log import Level, Log

_RETRY_S = 5.0  # the time between two attempts to use the kubeconfig


class _Unreached(NamedTuple):
    """The status of each kind before an API server can be asked."""

    problem: str | None
    last_event: float | None = None
    last_heard: float | None = None
    is_served: bool = True


class FurtherCluster:
    """Connects to the cluster in a thread, and then delivers the objects that `watched` describes."""

    def __init__(
        self,
        name: str,
        access: Access,
        watched: Watched,
        deliver: Deliver,
        log: Log,
        retry_s: float = _RETRY_S,
        connect_to: Callable[[Path, str | None], ApiClient] = connect,
    ) -> None:
        """Create the source. `name` is the name of the cluster for the log."""
        self._name = name
        self._access = access
        self._watched = watched
        self._deliver = deliver
        self._log = log
        self._retry_s = retry_s
        self._connect = connect_to
        self._problem: str | None = None
        self._server: ApiServer | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # `stop` may run while another thread starts the threads of the API server
        self._thread = threading.Thread(target=self._open, name=f"cluster {name}", daemon=True)

    def start(self) -> None:
        """Start to connect to the cluster. `start` returns at once, and raises nothing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop delivering events."""
        self._stopping.set()
        with self._lock:
            if self._server is not None:
                self._server.stop()

    def status(self) -> Mapping[Kind, SourceKindStatus]:
        """Return the status of each kind.

        Until the kubeconfig can be used, each kind has the same problem: the reason why the kubeconfig can't be used.
        """
        server = self._server
        return dict.fromkeys(self._watched.kinds, _Unreached(self._problem)) if server is None else server.status()

    def warnings(self) -> tuple[str, ...]:
        """Return no warnings: an API server delivers an unusable object as a `Skipped` event."""
        return ()

    def _open(self) -> None:
        while (client := self._client()) is None:
            if self._stopping.wait(self._retry_s):
                return
        with self._lock:
            if not self._stopping.is_set():
                self._server = ApiServer(client, self._watched, self._deliver, self._log)
                self._server.start()

    def _client(self) -> ApiClient | None:
        try:
            return self._connect(self._access.kubeconfig, self._access.context)
        except ConnectError as error:
            if str(error) != self._problem:
                self._log("cluster can't be reached", level=Level.WARNING, cluster=self._name, problem=str(error))
            self._problem = str(error)
            return None
