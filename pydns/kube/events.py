"""The five events that a source of cluster state sends to the controller. kube-rs has the same events.

A source is an API server or a folder of manifests. A full listing of a kind consists of `Init`, an `InitApply` for each
object, and `InitDone`. `Apply` and `Delete` come between listings. Promised: after the last event, the applied objects
equal the state of the source. Not promised: an order between kinds or objects, or an event for every state of an
object.
"""

from typing import NamedTuple

from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref


class Init(NamedTuple):
    """A listing begins. Objects delivered earlier stay in force until `InitDone`."""

    kind: Kind


class InitApply(NamedTuple):
    """An object of the listing.

    If its value is `Skipped`, the object exists, and its last usable version stays in force.
    """

    observed: Observed


class InitDone(NamedTuple):
    """The listing is complete: objects that are not in it are gone."""

    kind: Kind


class ChangeTime(NamedTuple):
    """The time when the change behind an event happened."""

    at: float  # seconds of Unix time
    by_controller: bool  # True: the endpoints controller wrote `at`; False: `at` is the creation time of the object


class Apply(NamedTuple):
    """An object was created or changed."""

    observed: Observed
    changed: ChangeTime | None = None  # None: unknown


class Delete(NamedTuple):
    """An object is gone."""

    ref: Ref
    resource_version: str = ""
    node: str = ""  # the node of a Pod, if it is known: names of clients are kept by node


Event = Init | InitApply | InitDone | Apply | Delete
