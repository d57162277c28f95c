"""The objects of a source, as its last events (`pydns.kube.events`) describe them.

A listing is merged into the store. Each object in the listing replaces the stored object. At the end of the listing,
the store removes the objects that the listing doesn't contain. So the store never has two copies of an object, and an
existing object never disappears during a listing.
"""

from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import Object, Observed, Ref, Skipped
from pydns.kube.producer import Change


class Store:
    """The objects of a source, by kind and reference."""

    def __init__(self) -> None:
        self.synced: set[Kind] = set()  # the kinds that have been listed completely at least once
        self.skipped: dict[Ref, str] = {}  # object that DNS can't use -> reason
        self.resource_version = 0  # the highest resource version that an event had
        self._objects: dict[Kind, dict[Ref, Object]] = {kind: {} for kind in Kind}
        self._unlisted: dict[Kind, set[Ref]] = {}

    def apply(self, event: Event) -> list[tuple[Ref, Change]]:
        """Process an event.

        Return the objects that changed. An object that is equal to the one before isn't returned.
        """
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

    def note(self, event: Event) -> None:
        """Process an event of a kind whose objects are kept elsewhere.

        Only objects that can't be used are remembered here.
        """
        match event:
            case Init(kind):
                self.skipped = {ref: reason for ref, reason in self.skipped.items() if ref.kind is not kind}
            case InitDone(kind):
                self.synced.add(kind)
            case InitApply(observed) | Apply(observed):
                self._see(observed.resource_version)
                self.skipped.pop(observed.ref, None)
                if isinstance(observed.value, Skipped):
                    self.skipped[observed.ref] = observed.value.reason
            case Delete(ref, resource_version):
                self._see(resource_version)
                self.skipped.pop(ref, None)

    def get(self, ref: Ref) -> Object | None:
        """Return the object to which a reference leads, or None if it doesn't exist."""
        return self._objects[ref.kind].get(ref)

    def objects(self, kind: Kind) -> list[Object]:
        """Return all objects of a kind."""
        return list(self._objects[kind].values())

    def count(self, kind: Kind) -> int:
        """Return how many objects of a kind there are."""
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
        # Resource versions are numbers that grow. The API promises this since Kubernetes 1.35, and in practice older
        # versions do the same.
        if resource_version.isdecimal():
            self.resource_version = max(self.resource_version, int(resource_version))
