"""The five events with which a source of objects tells the controller what exists. kube-rs has the same events.

A source is an API server or a folder of manifests. A full listing of a kind consists of `Init`, an `InitApply` for each
object, and `InitDone`. `Apply` and `Delete` come between listings. After all events, the source has exactly the objects
that were applied and not deleted. Events about different kinds or objects come in no particular order. An object
may have had states for which there was no event.
"""

from typing import NamedTuple

from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref


class Init(NamedTuple):
    """A listing begins. Objects that were delivered earlier stay in force until `InitDone`."""

    kind: Kind


class InitApply(NamedTuple):
    """An object of the listing.

    If the value of the object is `Skipped`, the object exists, but can't be used. Then its last usable version stays in
    force.
    """

    observed: Observed


class InitDone(NamedTuple):
    """The listing is complete. Objects that are not in the listing no longer exist."""

    kind: Kind


class ChangeTime(NamedTuple):
    """The time of the change that led to an event."""

    at: float  # seconds since 1970
    # True: the endpoints controller has written the time; False: it is the creation time of the object.
    by_controller: bool


class Apply(NamedTuple):
    """An object was created or changed."""

    observed: Observed
    changed: ChangeTime | None = None  # None if the time is unknown


class Delete(NamedTuple):
    """An object was deleted."""

    ref: Ref
    resource_version: str = ""
    node: str = ""  # the node of a Pod, if the node is known; the entries of client names need it


Event = Init | InitApply | InitDone | Apply | Delete
