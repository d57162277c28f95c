"""The interface of a source of cluster state.

A source is an API server (`control.apiserver`) or a folder of manifests (`control.manifest_folder`). A source delivers
events of objects (`kube.events`). A feed (`control.cluster`) makes records from these events.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pydns.kube.events import Event
from pydns.kube.kinds import Kind
from pydns.kube.producer import FIRST

Deliver = Callable[[list[Event]], None]


class SourceError(Exception):
    """A source can't be used at all. The message of this error is for the operator who chose the source."""


class SourceKindStatus(Protocol):
    """The status of one kind, as every source has it. An API server has more details: `kube.reflector.Status`."""

    @property
    def problem(self) -> str | None:
        """Return the current problem of the kind, or None."""

    @property
    def last_event(self) -> float | None:
        """Return the time of the last change of an object of the kind, by the monotonic clock."""

    @property
    def last_heard(self) -> float | None:
        """Return the last time at which the source knew that the delivered objects were current."""

    @property
    def is_served(self) -> bool:
        """Return whether the source has this kind of objects at all.

        An API server lacks a kind if the kind's CRD isn't installed.
        """


class Source(Protocol):
    """A source of the objects of a cluster."""

    def start(self) -> None:
        """Start to deliver events of objects. Raises `SourceError` if the source can't be used at all."""

    def stop(self) -> None:
        """Stop delivering events."""

    def status(self) -> Mapping[Kind, SourceKindStatus]:
        """Return the status of each kind that the source delivers."""

    def warnings(self) -> Sequence[str]:
        """Return a warning, with file and line, for each part of the source's files that is left out."""


class Access(NamedTuple):
    """How to reach the API server of a further cluster."""

    kubeconfig: Path
    context: str | None  # the context in the kubeconfig; None: the current context


class SourceOptions(NamedTuple):
    """The options of a source. When one of these options changes, all objects are listed again."""

    labels: str | None
    endpoint_pod_names: bool
    pods: bool  # True: the source delivers Pods, because they have DNS names
    near: str | None = None  # the server's own namespace, if its Services are delivered regardless of their labels
    optional: tuple[Kind, ...] = ()  # kinds that the source may not have
    # True: the source delivers Pods as names of clients. Nothing waits for these Pods.
    client_pods: bool = False
    client_labels: tuple[str, ...] = ()  # a Pod's labels with these keys belong to the name of the client
    topology: bool = False  # True: the source reads zones, nodes and hints of endpoints
    annotations: tuple[str, ...] = ()  # prefixes of the annotations that external zones read
    namespace_labels: str | None = None  # a selector for Namespaces
    endpoints: bool = True  # False: the source delivers no EndpointSlices
    name: str = FIRST
    cluster: str = FIRST
    # How to reach the API server. None for the first cluster, whose API server the flags describe.
    access: Access | None = None


class SourceChoice(NamedTuple):
    """The source that the flags chose, and the function that opens the source."""

    name: str
    # Opens a source. The opened source calls the first function with its events. It calls the second function with the
    # events of the Services in the namespace `SourceOptions.near`.
    open: Callable[[SourceOptions, Deliver, Deliver], Source]
