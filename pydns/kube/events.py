"""What a source of cluster state tells the controller: five events, as in kube-rs.

A source is an API server or a folder of manifests. For each kind it sends `Init`, an `InitApply` per object and
`InitDone` when it (again) lists everything, and `Apply` and `Delete` in between. Promised: after the last event, what
was applied is the source's state. Not promised: order between kinds or between objects, and that every state an
object had is seen.
"""

from typing import NamedTuple

from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref


class Init(NamedTuple):
    """A listing begins. What is known stays in force until `InitDone`."""

    kind: Kind


class InitApply(NamedTuple):
    """An object of the listing. One whose value is `Skipped` exists all the same: its last good version stays."""

    observed: Observed


class InitDone(NamedTuple):
    """The listing is complete: what it didn't name is gone."""

    kind: Kind


class Cause(NamedTuple):
    """When what an event tells of happened, in seconds of Unix time."""

    at: float
    by_controller: bool  # of a slice: an endpoint of a selector changed; else something was created, by anybody


class Apply(NamedTuple):
    """An object was created or changed."""

    observed: Observed
    cause: Cause | None = None  # None: not known


class Delete(NamedTuple):
    """An object is gone."""

    ref: Ref
    resource_version: str = ""


Event = Init | InitApply | InitDone | Apply | Delete
