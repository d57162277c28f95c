"""Makes the table's entries of client names (`pydns.table.client_names`) from objects of the first cluster. Pure.

The object of an EndpointSlice already contains its entry (`EndpointSlice.clients`). The entry of a node contains a
record for each Pod on the node. This module keeps the entries of nodes, and nothing else about Pods. So 150,000 Pods
take 4 MB, where objects would take 70 MB. An entry isn't compiled, so no published state is kept for a comparison. A
changed entry is just written.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.objects import EndpointSlice, Object, Pod
from pydns.kube.producer import Change
from pydns.table.client_names import MAX_KEY, compose_node, compose_pod, node_key, records, slice_key
from pydns.table.layout import Changes, Contents

_PIECE = 200  # how many entries a piece has at most


class ClientEntries:
    """The entries of client names, and which of them have changed since the last commit."""

    def __init__(self, pods: "NodePods | None" = None) -> None:
        """`pods` is None if Pods aren't watched."""
        self.pods = pods
        self._changed: dict[bytes, bytes | None] = {}

    def __bool__(self) -> bool:
        """Return whether an entry has changed since the last commit."""
        return bool(self._changed) or (self.pods is not None and bool(self.pods.changed))

    def note(self, change: Change) -> None:
        """Process a changed EndpointSlice."""
        before, after = map(_entry, change)
        if before != after:
            if before is not None and (after is None or before[0] != after[0]):
                self._changed[before[0]] = None
            if after is not None:
                self._changed[after[0]] = after[1]

    def flush(self, changes: Changes, most: int | None) -> None:
        """Add changed entries to `changes`: at most `most` entries of slices, and at most `most` entries of nodes."""
        for key in list(islice(self._changed, most)):
            changes.names[key] = self._changed.pop(key)
        if self.pods is not None:
            for node in list(islice(self.pods.changed, most)):
                changes.names[node_key(node)] = self.pods.entry(node)
                del self.pods.changed[node]

    def contents(self, objects: Iterable[Object]) -> Iterator[Contents]:
        """Yield the entries of all slices in `objects` and of all nodes, in pieces.

        Afterwards, no entry is marked as changed.
        """
        self._changed.clear()
        of_nodes = () if self.pods is None else self.pods.take_all()
        entries = chain(filter(None, map(_entry, objects)), of_nodes)
        while names := dict(islice(entries, _PIECE)):
            yield Contents({}, names)


class NodePods:
    """The running Pods of each node, packed. A Pod never moves to another node.

    When a listing of Pods is complete, its Pods replace all earlier Pods. Until then, the earlier Pods stay in force.
    """

    def __init__(self) -> None:
        self.changed: dict[str, None] = {}  # the nodes whose entries have changed
        self.count = 0  # how many Pods there are
        self._nodes: dict[str, bytes] = {}  # node -> the entry of the node
        self._listing: _Listing | None = None

    def apply(self, event: Event) -> bool:
        """Process an event about a Pod. Return whether a Pod changed."""
        match event:
            case Init():
                self._listing = _Listing()
            case InitApply(observed):
                if self._listing is not None and isinstance(observed.value, Pod) and observed.value.running is not None:
                    self._listing.add(observed.value.node, compose_pod(observed.value.running))
            case InitDone():
                listing, self._listing = self._listing or _Listing(), None
                return self._replace_all(listing)
            case Apply(observed) if isinstance(observed.value, Pod):
                record = b"" if observed.value.running is None else compose_pod(observed.value.running)
                return self._put(observed.value.node, observed.ref.namespace, observed.ref.name, record)
            case Delete(ref, _, node):
                nodes = [node] if node else list(self._nodes)
                return any(self._put(each, ref.namespace, ref.name, b"") for each in nodes)
        return False

    def entry(self, node: str) -> bytes | None:
        """Return the entry of a node, or None if no Pod runs on the node."""
        return self._nodes.get(node)

    def take_all(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the key and the entry of each node. Afterwards, no node is marked as changed."""
        self.changed.clear()
        for node, entry in self._nodes.items():
            yield node_key(node), entry

    def _replace_all(self, listing: "_Listing") -> bool:
        found = dict(listing.entries())
        changed = [node for node in found.keys() | self._nodes.keys() if found.get(node) != self._nodes.get(node)]
        self.changed.update(dict.fromkeys(changed))
        self.count = listing.count
        self._nodes = found
        return bool(changed)

    def _put(self, node: str, namespace: str, name: str, record: bytes) -> bool:
        """Replace the record of a Pod.

        An empty record removes the Pod. Return whether the entry of the node changed.
        """
        if not node:
            return False
        before = list(records(self._nodes.get(node, b"")))
        text = f"{namespace}/{name}".encode()
        after = [each for each in before if not _is_of(each, text)] + ([record] if record else [])
        if sorted(after) == before:
            return False
        self.count += len(after) - len(before)
        self.changed[node] = None
        if after:
            self._nodes[node] = compose_node(after)
        else:
            del self._nodes[node]
        return True


class _Listing:
    """The Pods of an unfinished listing.

    The records of these Pods are in one piece of memory, which is returned to the system as a whole. Thousands of small
    pieces that grow would fragment 15 MB of the heap.
    """

    def __init__(self) -> None:
        self.count = 0
        self._records = bytearray()
        self._places: dict[str, array[int]] = {}  # node -> offsets of the records of its Pods

    def add(self, node: str, record: bytes) -> None:
        """Add the record of a Pod."""
        self.count += 1
        self._places.setdefault(node, array("L")).append(len(self._records))
        self._records += record

    def entries(self) -> Iterator[tuple[str, bytes]]:
        """Yield each node with the entry made of its records."""
        joined = memoryview(self._records)
        for node, places in self._places.items():
            pods = [bytes(joined[at : at + 2 + int.from_bytes(joined[at : at + 2])]) for at in places]
            yield node, compose_node(pods)


def _is_of(record: bytes, text: bytes) -> bool:
    """Return whether a record belongs to the Pod with the namespace and name in `text` (NAMESPACE/NAME).

    In a record, this text comes after the addresses.
    """
    at = 8
    for _ in range(record[2] + record[3]):
        at += 1 + record[at]
    return record[at:].partition(b"\t")[0] == text  # the Pod's labels come after the tab


def _entry(value: Object | None) -> tuple[bytes, bytes] | None:
    """Return the key and the value of the entry of an EndpointSlice.

    Return None if the object isn't an EndpointSlice, or if it has no entry.
    """
    if not isinstance(value, EndpointSlice) or not value.clients:
        return None
    key = slice_key(value.namespace, value.name)
    return (key, value.clients) if len(key) <= MAX_KEY else None
