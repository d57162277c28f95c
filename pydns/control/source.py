"""What a source of cluster state promises: an API server (`control.apiserver`) or a folder (`control.manifest_folder`).

A source delivers events (`kube.events`) of objects. A feed (`control.cluster`) makes records of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydns.kube.events import Event
from pydns.kube.kinds import Kind

Deliver = Callable[[list[Event]], None]


class SourceError(Exception):
    """A source can't be used at all. The message is for the operator who chose it."""


class SourceKindStatus(Protocol):
    """What every source knows of one kind. An API server knows more: `kube.reflector.Status`."""

    @property
    def problem(self) -> str | None:
        """Return the current problem, or None."""

    @property
    def last_event(self) -> float | None:
        """When an object of the kind last changed, by the monotonic clock."""

    @property
    def last_heard(self) -> float | None:
        """When the source last showed that the objects it delivered are current."""

    @property
    def is_served(self) -> bool:
        """Whether the source has the kind at all. An API server without a CRD doesn't."""


class Source(Protocol):
    """Where the objects of a cluster come from."""

    def start(self) -> None:
        """Begin to deliver events. Raises `SourceError`."""

    def stop(self) -> None:
        """Stop to deliver events."""

    def status(self) -> Mapping[Kind, SourceKindStatus]:
        """Return the status of each kind that the source delivers."""

    def warnings(self) -> Sequence[str]:
        """Return what is left out of the source's files, each with its place."""


class SourceOptions(NamedTuple):
    """What is asked of a source. Other options need a new listing."""

    labels: str | None
    endpoint_pod_names: bool
    pods: bool  # whether Pods are wanted
    near: str | None = None  # the server's own namespace, if its Services are wanted whatever their labels
    external: tuple[Kind, ...] = ()  # kinds that only external zones need
    annotations: tuple[str, ...] = ()  # prefixes of those that external zones read; none: there are no such zones


class SourceChoice(NamedTuple):
    """A source that was chosen by the flags, and how to open it."""

    name: str
    # Its events go to the first function, those of the Services in `SourceOptions.near` to the second one.
    open: Callable[[SourceOptions, Deliver, Deliver], Source]
