"""Client names: which Pod or node has a client's address, where the Pod runs, and how pydns knows this.

The controller writes the addresses of the cluster's objects into the table. Tools and the query log read these entries.
Replies don't depend on them.

Rules:

1. A name is never a guess. If objects disagree about a part of the name, this part is empty.
2. If Pods are watched (`clients: pods`), an address belongs to the running Pod that has it, also while the Pod
   terminates. A Pod that has ended has no address. If several Pods have the same address, the address belongs to the
   Pod that started last. If the last two started in the same second, no Pod has the address.
3. A Pod on the network of its node has no address of its own. A client with the address of a node is called
   `node/NODE`. If no Pod is on the network of this node, the packet came from elsewhere. Then the sender's address was
   rewritten (SNAT, or a cache on the node).
4. An EndpointSlice has the addresses of its Pods, ready or not, with their nodes and zones. All these Pods are in its
   own namespace. An EndpointSlice doesn't show whether a Pod has an address of its own, or the address of its node. So
   a name by rule 2 or 3 takes precedence over the name in an EndpointSlice.
5. An IPv4-mapped IPv6 address is looked up as an IPv4 address.
6. A client whose address is in no entry is unknown. The address of a new Pod is unknown for some milliseconds.

The entries are in the database `names` (`pydns.table.layout`). No tree key has the same first octet as their keys. The
entries are next to each other in the table, so nearly all their pages contain only client names. Each EndpointSlice and
each node has one entry, because a key for each address would take three times the space.

    `slice_key`    namespace and name of an EndpointSlice → the Pods among its endpoints
    `node_key`     name of a node → the Pods on this node
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from pydns.dns.address import unmapped

if TYPE_CHECKING:
    from pydns.table.reader import Reader, Transaction

_CLIENTS = b"\xfc"  # the first octet of the keys; greater than the length octet of any label
_SLICE, _NODE = _CLIENTS + b"s", _CLIENTS + b"n"
FIRST_ENTRY = _CLIENTS  # no key of an entry comes before it
MAX_KEY = 511  # maximum octets of a key in LMDB


class Known(Enum):
    """How pydns knows the name of a client: by the object that has the client's address."""

    ENDPOINT = "endpoint"  # an EndpointSlice has the address
    POD = "pod"  # a Pod has the address
    NODE = "node"  # a node has the address, and Pods run on the network of the node
    REWRITTEN = "rewritten"  # a node has the address, but no Pod runs on the network of the node


class ClientName(NamedTuple):
    """The name of a client.

    Unknown parts are empty texts. Either both `namespace` and `pod` are empty, or neither is.
    """

    namespace: str
    pod: str
    node: str
    zone: str
    known: Known
    labels: tuple[tuple[str, str], ...] = ()  # keys and values of the labels that the configuration lists

    @property
    def labels_text(self) -> str:
        """The labels as KEY=VALUE, with commas in between."""
        return ",".join([f"{key}={value}" for key, value in self.labels])

    def __str__(self) -> str:
        """Return the name as NAMESPACE/POD, or as node/NODE for a client whose Pod is unknown."""
        if self.pod:
            return f"{self.namespace}/{self.pod}"
        return f"node/{self.node}{' (rewritten)' if self.known is Known.REWRITTEN else ''}"


class PodAddress(NamedTuple):
    """An address of a Pod, and where the Pod runs. The texts contain no control characters."""

    address: bytes
    pod: str
    node: str
    zone: str


class RunningPod(NamedTuple):
    """A Pod that has a node and an address, and hasn't ended."""

    namespace: str
    name: str
    addresses: tuple[bytes, ...]  # empty if the Pod is on the network of its node
    node_addresses: tuple[bytes, ...]
    started: int  # when the Pod started, in seconds since 1970
    labels: tuple[tuple[str, str], ...] = ()  # those labels of the Pod that the configuration lists


def slice_key(namespace: str, name: str) -> bytes:
    """Return the key of an EndpointSlice. A key of more than `MAX_KEY` octets can't be stored."""
    return b"%s%s/%s" % (_SLICE, namespace.encode(), name.encode(errors="replace"))


def node_key(node: str) -> bytes:
    """Return the key of the entry with the Pods on a node."""
    return _NODE + node.encode()


def is_client_name(key: bytes) -> bool:
    """Return whether a key of `names` belongs to an entry of this module."""
    return key.startswith(_CLIENTS)


def compose_slice(pods: Iterable[tuple[bytes, str, str, str]]) -> bytes:
    """Return the table's entry of an EndpointSlice.

    `pods` contains the fields of a `PodAddress` for each Pod. All addresses must have the same length. Without Pods,
    the entry is empty. The texts are compressed, so the entry of 10 Pods on 10 nodes takes about 250 octets. The
    addresses aren't compressed, because readers index them.
    """
    ordered = sorted(pods)
    if not ordered:
        return b""
    addresses = [each[0] for each in ordered]
    texts = "\n".join(["\t".join(each[1:]) for each in ordered])
    head = bytes([len(addresses[0])]) + len(addresses).to_bytes(2)
    return b"".join([head, *addresses, _pack(texts.encode())])


# The arguments of zlib. Level 6 instead of 1 would save 3 % of the octets, but take twice the time. With the defaults
# for window and memory, zlib would allocate 268 KB for each entry, which would fragment the heap. An entry of 10 Pods
# would take 180 µs. With the values here, it takes 16 µs.
_LEVEL, _WINDOW, _MEMORY = 1, -12, 5


def _pack(octets: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY)
    return packer.compress(octets) + packer.flush()


def _unpack(octets: bytes) -> bytes:
    return zlib.decompress(octets, _WINDOW)


def parse_slice(entry: bytes) -> list[PodAddress]:
    """Return the Pods of an entry that `compose_slice` made."""
    if not entry:
        return []
    addresses = list(_addresses(entry))
    lines = _unpack(entry[3 + len(addresses) * entry[0] :]).decode().split("\n")
    return [PodAddress(address, *line.split("\t")) for address, line in zip(addresses, lines, strict=True)]


def _addresses(entry: bytes) -> Iterator[bytes]:
    size = entry[0]
    for at in range(3, 3 + size * int.from_bytes(entry[1:3]), size):
        yield entry[at : at + size]


def compose_pod(pod: RunningPod) -> bytes:
    """Return the record of a Pod in the entry of its node.

    The record of a Pod with one IPv4 address consists of 13 octets, the namespace, "/", the name and the labels.
    """
    rest = [bytes([len(pod.addresses), len(pod.node_addresses)]), min(pod.started, _MAX_TIME).to_bytes(4)]
    rest += [bytes([len(each)]) + each for each in (*pod.addresses, *pod.node_addresses)]
    rest.append("\t".join([f"{pod.namespace}/{pod.name}", *[f"{key}={value}" for key, value in pod.labels]]).encode())
    record = b"".join(rest)
    return len(record).to_bytes(2) + record


_MAX_TIME = (1 << 32) - 1


def compose_node(pods: Iterable[bytes]) -> bytes:
    """Return the entry of a node, made from the records of its Pods. Without Pods, the entry is empty.

    An entry of 30 Pods takes 25 octets for each Pod. Without compression, it would take 60 octets for each Pod.
    """
    joined = b"".join(sorted(pods))
    return _pack(joined) if joined else b""


def records(entry: bytes) -> Iterator[bytes]:
    """Yield the records of the Pods in the entry of a node."""
    joined = _unpack(entry) if entry else b""
    at = 0
    while at < len(joined):
        end = at + 2 + int.from_bytes(joined[at : at + 2])
        yield joined[at:end]
        at = end


def parse_pod(record: bytes) -> RunningPod:
    """Return the Pod that a record describes."""
    own, count = record[2], record[2] + record[3]
    addresses = []
    at = 8
    for _ in range(count):
        addresses.append(record[at + 1 : at + 1 + record[at]])
        at += 1 + record[at]
    text, *labels = record[at:].decode().split("\t")
    namespace, _, name = text.partition("/")
    pairs = [each.partition("=") for each in labels]
    return RunningPod(
        namespace,
        name,
        tuple(addresses[:own]),
        tuple(addresses[own:]),
        int.from_bytes(record[4:8]),
        tuple([(key, value) for key, _, value in pairs]),
    )


# address -> the number of the entry that contains the address, or a list of numbers if several entries contain it
_Index = dict[bytes, int | list[int]]


class ClientNames:
    """The client names of one commit.

    The addresses are indexed when an entry is added. The texts of an entry are unpacked when a look-up needs them.
    """

    def __init__(self, entries: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """`entries` are pairs of key and value from the table. Entries that aren't client names are ignored."""
        self._entries: list[tuple[bytes, bytes]] = []
        self._slices: _Index = {}
        self._pods: _Index = {}
        self._nodes: _Index = {}
        # node -> the zones of nodes that EndpointSlices report for it; None until the first look-up.
        self._zones: dict[str, set[str]] | None = None
        self.add(entries)

    def add(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """Add further entries. All entries must be added before the first call of `name_of`."""
        for key, entry in entries:
            if key.startswith(_SLICE):
                for address in _addresses(entry):
                    _add(self._slices, address, len(self._entries))
            elif key.startswith(_NODE):
                self._index_node(entry, len(self._entries))
            else:
                continue
            self._entries.append((key, entry))

    def _index_node(self, entry: bytes, number: int) -> None:
        for record in records(entry):
            own, at = record[2], 8
            for place in range(own + record[3]):
                address = record[at + 1 : at + 1 + record[at]]
                at += 1 + len(address)
                _add(self._pods if place < own else self._nodes, address, number)

    def has_any(self, addresses: AbstractSet[bytes]) -> bool:
        """Return whether an entry has one of these addresses."""
        return any(not addresses.isdisjoint(index) for index in (self._slices, self._pods, self._nodes))

    def __len__(self) -> int:
        """Return the number of known addresses."""
        return len(self._slices.keys() | self._pods.keys() | self._nodes.keys())

    def name_of(self, address: bytes) -> ClientName | None:
        """Return the name of the client with an address of 4 or 16 octets, or None if the client is unknown."""
        address = unmapped(address)
        if address in self._nodes:
            return self._name_of_node(address)
        if address in self._pods:
            return self._name_of_pod(address)
        return _agreed(list(self._endpoints(address)))

    def _name_of_pod(self, address: bytes) -> ClientName | None:
        found = [
            (pod, node)
            for node, pods in self._nodes_at(self._pods[address])
            for pod in pods
            if address in pod.addresses
        ]
        newest = max([pod.started for pod, _ in found])
        names = {(pod.namespace, pod.name, node, pod.labels) for pod, node in found if pod.started == newest}
        nodes = {each[2] for each in names}
        node = nodes.pop() if len(nodes) == 1 else ""
        namespace, pod, _, labels = names.pop() if len(names) == 1 else ("", "", "", ())
        return ClientName(namespace, pod, node, self._zone(node), Known.POD, labels) if node else None

    def _name_of_node(self, address: bytes) -> ClientName | None:
        found = list(self._nodes_at(self._nodes[address]))
        nodes = {node: any(not each.addresses for each in pods) for node, pods in found}
        if len(nodes) != 1:
            return None
        node, has_pods = nodes.popitem()
        return ClientName("", "", node, self._zone(node), Known.NODE if has_pods else Known.REWRITTEN)

    def _nodes_at(self, numbers: int | list[int]) -> Iterator[tuple[str, list[RunningPod]]]:
        for number in [numbers] if isinstance(numbers, int) else numbers:
            key, entry = self._entries[number]
            yield key[len(_NODE) :].decode(), list(map(parse_pod, records(entry)))

    def _endpoints(self, address: bytes) -> Iterator[tuple[str, str, str, str]]:
        numbers = self._slices.get(address, [])
        for number in [numbers] if isinstance(numbers, int) else numbers:
            key, entry = self._entries[number]
            namespace = key[len(_SLICE) : key.index(b"/")].decode()
            for each in parse_slice(entry):
                if each.address == address:
                    yield namespace, *each[1:]

    def _zone(self, node: str) -> str:
        """Return the zone that EndpointSlices report for a node, or an empty text if they report none or several."""
        if self._zones is None:
            self._zones = {}
            for key, entry in self._entries:
                if key.startswith(_SLICE):
                    for each in parse_slice(entry):
                        self._zones.setdefault(each.node, set()).add(each.zone)
        zones = self._zones.get(node, set()) - {""}
        return zones.pop() if len(zones) == 1 else ""

    def node_with(self, namespace: str, pod: str) -> str:
        """Return the name of the node on whose network a running Pod is.

        The result is empty if the Pod has an address of its own, or isn't watched.
        """
        text = f"{namespace}/{pod}".encode(errors="replace")
        for key, entry in self._entries:
            if key.startswith(_NODE):
                for each in map(parse_pod, [each for each in records(entry) if text in each]):
                    if (each.namespace, each.name) == (namespace, pod) and not each.addresses:
                        return key[len(_NODE) :].decode()
        return ""

    def addresses_of(self, namespace: str, pod: str) -> list[bytes]:
        """Return the addresses of a Pod, sorted. This function reads all entries, so only tools call it."""
        start = b"%s%s/" % (_SLICE, namespace.encode(errors="replace"))
        text = f"{namespace}/{pod}".encode(errors="replace")
        found: set[bytes] = set()
        for key, entry in self._entries:
            if key.startswith(start):
                found.update([each.address for each in parse_slice(entry) if each.pod == pod])
            elif key.startswith(_NODE) and any(text in each for each in records(entry)):
                of_node = map(parse_pod, records(entry))
                found.update([each for running in of_node for each in running.addresses])
        wanted = namespace, pod
        return sorted([each for each in found if (name := self.name_of(each)) is not None and name[:2] == wanted])


def _add(index: _Index, address: bytes, number: int) -> None:
    known = index.setdefault(address, number)
    if known != number and (isinstance(known, int) or known[-1] != number):
        index[address] = [*([known] if isinstance(known, int) else known), number]


def _agreed(found: Sequence[tuple[str, str, str, str]]) -> ClientName | None:
    """Return the parts of the name on which all EndpointSlices agree. Return None if neither Pod nor node is known."""
    pods = {each[:2] for each in found}
    nodes, zones = ({each[at] for each in found} - {""} for at in (2, 3))
    namespace, pod = pods.pop() if len(pods) == 1 else ("", "")
    node, zone = (each.pop() if len(each) == 1 else "" for each in (nodes, zones))
    return ClientName(namespace, pod, node, zone, Known.ENDPOINT) if pod or node else None


def read_client_names(reader: "Reader") -> ClientNames:
    """Return the client names in the newest commit. Takes about 0.1 s for 100,000 addresses."""
    return ClientNames(chain.from_iterable(entries_in_pieces(reader, None)))


def entries_in_pieces(reader: "Reader", most: int | None) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield pieces of at most `most` entries, until all were read. The caller may do other work in between.

    Each piece is read from the commit that is newest when the piece is read, so the pieces may come from several
    commits.
    """
    after = FIRST_ENTRY
    while after:
        with reader.transaction() as transaction:
            entries, after = entries_from(transaction, reader.names, after, most)
        yield entries


def entries_from(
    transaction: "Transaction", names: Any, first: bytes, most: int | None
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return at most `most` entries from the key `first` on, and the key to go on with.

    The key is empty after the last entry. `names` is the database of names.
    """
    cursor = transaction.cursor(db=names)
    found = list(islice(cursor, most)) if cursor.set_range(first) else []
    entries = [each for each in found if is_client_name(each[0])]
    is_last = most is None or len(found) < most or len(entries) < len(found)
    return entries, b"" if is_last else found[-1][0] + b"\0"
