"""The objects of a cluster as last seen, kept current by events of a source (pydns.kube.events).

A listing is merged in place: what it names replaces what was there, what it doesn't name goes when it is done. So
there are never two copies of a cluster, and nothing that exists disappears in between.
"""

from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import Object, Observed, Ref, Skipped
from pydns.kube.producer import Change


class Store:
    """Objects by reference."""

    def __init__(self) -> None:
        self.synced: set[Kind] = set()  # kinds that have been listed to the end once
        self.skipped: dict[Ref, str] = {}  # objects that can't be used, and why
        self.resource_version = 0  # the highest seen
        self._objects: dict[Kind, dict[Ref, Object]] = {kind: {} for kind in Kind}
        self._unlisted: dict[Kind, set[Ref]] = {}

    def apply(self, event: Event) -> list[tuple[Ref, Change]]:
        """Take an event and return what is different now. Objects that stay equal are no difference."""
        match event:
            case Init(kind):
                self._unlisted[kind] = set(self._objects[kind]) | {ref for ref in self.skipped if ref.kind is kind}
                return []
            case InitApply(observed):
                self._unlisted.get(observed.ref.kind, set()).discard(observed.ref)
                return self._put(observed)
            case InitDone(kind):
                self.synced.add(kind)
                return [change for ref in self._unlisted.pop(kind, set()) for change in self._remove(ref)]
            case Apply(observed):
                self._unlisted.get(observed.ref.kind, set()).discard(observed.ref)
                return self._put(observed)
            case Delete(ref, resource_version):
                self._see(resource_version)
                return self._remove(ref)

    def get(self, ref: Ref) -> Object | None:
        """Return an object."""
        return self._objects[ref.kind].get(ref)

    def objects(self, kind: Kind) -> list[Object]:
        """Return all objects of a kind."""
        return list(self._objects[kind].values())

    def count(self, kind: Kind) -> int:
        """Return how many objects there are of a kind."""
        return len(self._objects[kind])

    def _put(self, observed: Observed) -> list[tuple[Ref, Change]]:
        ref, resource_version, value = observed
        self._see(resource_version)
        if isinstance(value, Skipped):
            self.skipped[ref] = value.reason
            return []
        self.skipped.pop(ref, None)
        objects = self._objects[ref.kind]
        before = objects.get(ref)
        if before == value:
            return []
        objects[ref] = value
        return [(ref, Change(before, value))]

    def _remove(self, ref: Ref) -> list[tuple[Ref, Change]]:
        self.skipped.pop(ref, None)
        before = self._objects[ref.kind].pop(ref, None)
        if before is None:
            return []
        return [(ref, Change(before, None))]

    def _see(self, resource_version: str) -> None:
        # Numbers that grow, by the API's own promise since Kubernetes 1.35; before that, in practice.
        if resource_version.isdecimal():
            self.resource_version = max(self.resource_version, int(resource_version))
