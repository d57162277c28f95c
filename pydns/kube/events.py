"""The five events that a source of cluster state sends to the controller. kube-rs has the same events.

A source is an API server or a folder of manifests. A full listing of a kind consists of `Init`, an `InitApply` for each
object, and `InitDone`. `Apply` and `Delete` come between listings. After the last event, the objects that were applied
equal those of the source. Events of different kinds or objects come in no particular order. There may be no event for
some states of an object.
"""

from typing import NamedTuple

from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref


class Init(NamedTuple):
    """A listing begins. Objects delivered earlier stay in force until `InitDone`."""

    kind: Kind


class InitApply(NamedTuple):
    """An object of the listing.

    If its value is `Skipped`, the object exists but can't be used, and its last usable version stays in force.
    """

    observed: Observed


class InitDone(NamedTuple):
    """The listing is complete. Objects that are not in it no longer exist."""

    kind: Kind


class ChangeTime(NamedTuple):
    """The time of the change that led to an event."""

    at: float  # seconds of Unix time
    by_controller: bool  # True: the endpoints controller wrote `at`; False: `at` is the creation time of the object


class Apply(NamedTuple):
    """An object was created or changed."""

    observed: Observed
    changed: ChangeTime | None = None  # None if the time is unknown


class Delete(NamedTuple):
    """An object was deleted."""

    ref: Ref
    resource_version: str = ""
    node: str = ""  # the node of a Pod, if it is known. The entries of client names need it


Event = Init | InitApply | InitDone | Apply | Delete
