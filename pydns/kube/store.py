"""The objects of a cluster as last seen, kept current by events of a source (pydns.kube.events).

A listing is merged in place: what it names replaces what was there, what it doesn't name goes when it is done. So
there are never two copies of a cluster, and nothing that exists disappears in between.
"""

from typing import NamedTuple

from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.objects import EndpointSlice, Kind, Object, Observed, Ref, Service, Skipped

ServiceKey = tuple[str, str]  # namespace, name


class Change(NamedTuple):
    """An object that is another now. None: it wasn't there, or isn't any more."""

    before: Object | None
    after: Object | None


class Store:
    """Objects by reference, and the slices of each Service."""

    def __init__(self) -> None:
        self.synced: set[Kind] = set()  # kinds that have been listed to the end once
        self.skipped: dict[Ref, str] = {}  # objects that can't be used, and why
        self.resource_version = 0  # the highest seen
        self._objects: dict[Kind, dict[Ref, Object]] = {kind: {} for kind in Kind}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._unlisted: dict[Kind, set[Ref]] = {}

    def apply(self, event: Event) -> list[Change]:
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

    def services(self) -> list[ServiceKey]:
        """Return the keys of all Services."""
        return [(ref.namespace, ref.name) for ref in self._objects[Kind.SERVICE]]

    def service(self, key: ServiceKey) -> Service | None:
        """Return a Service."""
        found = self._objects[Kind.SERVICE].get(Ref(Kind.SERVICE, *key))
        assert found is None or isinstance(found, Service)
        return found

    def slices(self, key: ServiceKey) -> tuple[EndpointSlice, ...]:
        """Return the slices of a Service, in the order of their names: equal clusters give equal answers."""
        found = self._slices.get(key, {})
        return tuple([found[each] for each in sorted(found)])

    def objects(self, kind: Kind) -> list[Object]:
        """Return all objects of a kind."""
        return list(self._objects[kind].values())

    def count(self, kind: Kind) -> int:
        """Return how many objects there are of a kind."""
        return len(self._objects[kind])

    def _put(self, observed: Observed) -> list[Change]:
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
        self._index(before, value)
        return [Change(before, value)]

    def _remove(self, ref: Ref) -> list[Change]:
        self.skipped.pop(ref, None)
        before = self._objects[ref.kind].pop(ref, None)
        if before is None:
            return []
        self._index(before, None)
        return [Change(before, None)]

    def _index(self, before: Object | None, after: Object | None) -> None:
        if isinstance(before, EndpointSlice):
            key = (before.namespace, before.service)
            del self._slices[key][before.name]
            if not self._slices[key]:
                del self._slices[key]
        if isinstance(after, EndpointSlice):
            self._slices.setdefault((after.namespace, after.service), {})[after.name] = after

    def _see(self, resource_version: str) -> None:
        # Numbers that grow, by the API's own promise since Kubernetes 1.35; before that, in practice.
        if resource_version.isdecimal():
            self.resource_version = max(self.resource_version, int(resource_version))
