"""Client names: which Pod or node has a client's address, where it runs, and how pydns knows.

The controller writes what it knows of addresses into the table. Tools and the query log read it. No query needs it.

Rules:

1. A name is never a guess. If objects disagree about an address, the parts that they disagree about are empty.
2. An EndpointSlice gives the addresses of its Pods, ready or not, with node and zone. It can name only Pods of its own
   namespace. It doesn't show whether a Pod has an address of its own or the address of its node.
3. An IPv4 address that is mapped to IPv6 is looked up as IPv4.
4. An address without an entry is unknown.

The entries are in the database of names (`pydns.table.layout`). No tree key begins with the first octet of their keys,
and they lie side by side, so nothing else touches their pages. There is one entry for each EndpointSlice, because a key
for each address would take three times the space.

    `slice_key`    namespace and name of an EndpointSlice → the Pods among its endpoints
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from pydns.dns.address import unmapped

if TYPE_CHECKING:
    from pydns.table.reader import Reader

_CLIENTS = b"\xfc"  # greater than the length octet of any label
_SLICE = _CLIENTS + b"s"
MAX_KEY = 511  # octets of a key in LMDB


class Known(Enum):
    """How the name of a client is known."""

    ENDPOINT = "endpoint"  # an EndpointSlice has the address


class ClientName(NamedTuple):
    """The name of a client. A text is empty if it is unknown. `namespace` and `pod` are both empty or both set."""

    namespace: str
    pod: str
    node: str
    zone: str
    known: Known

    def __str__(self) -> str:
        """Return NAMESPACE/POD, or node/NODE for a client whose Pod is unknown."""
        return f"{self.namespace}/{self.pod}" if self.pod else f"node/{self.node}"


class PodAddress(NamedTuple):
    """An address of a Pod, and where the Pod runs. The texts contain no control characters."""

    address: bytes
    pod: str
    node: str
    zone: str


def slice_key(namespace: str, name: str) -> bytes:
    """Return the key of an EndpointSlice. A key of more than `MAX_KEY` octets can't be stored."""
    return b"%s%s/%s" % (_SLICE, namespace.encode(), name.encode(errors="replace"))


def is_client_name(key: bytes) -> bool:
    """Return whether a key of the names belongs to an entry of this module."""
    return key.startswith(_CLIENTS)


def compose_slice(pods: Iterable[tuple[bytes, str, str, str]]) -> bytes:
    """Return the entry of an EndpointSlice. Each Pod has the fields of `PodAddress`, with addresses of one length.

    Returns an empty value for no Pods. The texts are compressed, so the entry of 10 Pods on 10 nodes takes about 250
    octets. The addresses are not, because readers index them.
    """
    ordered = sorted(pods)
    if not ordered:
        return b""
    addresses = [each[0] for each in ordered]
    texts = "\n".join(["\t".join(each[1:]) for each in ordered])
    head = bytes([len(addresses[0])]) + len(addresses).to_bytes(2)
    return b"".join([head, *addresses, zlib.compress(texts.encode(), 1)])  # level 6 takes 3 % less, and twice the time


def parse_slice(entry: bytes) -> list[PodAddress]:
    """Return the Pods of an entry that `compose_slice` made."""
    if not entry:
        return []
    addresses = list(_addresses(entry))
    lines = zlib.decompress(entry[3 + len(addresses) * entry[0] :]).decode().split("\n")
    return [PodAddress(address, *line.split("\t")) for address, line in zip(addresses, lines, strict=True)]


def _addresses(entry: bytes) -> Iterator[bytes]:
    size = entry[0]
    for at in range(3, 3 + size * int.from_bytes(entry[1:3]), size):
        yield entry[at : at + size]


class ClientNames:
    """The client names of one commit. Addresses are indexed once; texts are read when they are asked for."""

    def __init__(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        """`entries` are keys and values of the table. Other entries than client names are left out."""
        self._slices: list[tuple[bytes, bytes]] = [each for each in entries if each[0].startswith(_SLICE)]
        self._index: dict[bytes, int | list[int]] = {}  # address -> the numbers of the slices that have it
        for number, (_, entry) in enumerate(self._slices):
            for address in _addresses(entry):
                known = self._index.setdefault(address, number)
                if known != number:
                    self._index[address] = [*([known] if isinstance(known, int) else known), number]

    def __len__(self) -> int:
        """Return the number of known addresses."""
        return len(self._index)

    def name_of(self, address: bytes) -> ClientName | None:
        """Return the name of the client with an address of 4 or 16 octets, or None if the client is unknown."""
        address = unmapped(address)
        numbers = self._index.get(address)
        if numbers is None:
            return None
        found = []
        for number in [numbers] if isinstance(numbers, int) else numbers:
            key, entry = self._slices[number]
            namespace = key[len(_SLICE) : key.index(b"/")].decode()
            pods = parse_slice(entry)
            found += [(namespace, each.pod, each.node, each.zone) for each in pods if each.address == address]
        return _agreed(found)

    def addresses_of(self, namespace: str, pod: str) -> list[bytes]:
        """Return the addresses that a Pod has, sorted. Reads every entry of the namespace: for tools."""
        start = b"%s%s/" % (_SLICE, namespace.encode(errors="replace"))
        entries = [entry for key, entry in self._slices if key.startswith(start)]
        found = {each.address for entry in entries for each in parse_slice(entry) if each.pod == pod}
        wanted = namespace, pod
        return sorted([each for each in found if (name := self.name_of(each)) is not None and name[:2] == wanted])


def _agreed(found: Sequence[tuple[str, str, str, str]]) -> ClientName | None:
    """Return what all objects say about an address."""
    pods = {each[:2] for each in found}
    nodes, zones = ({each[at] for each in found} - {""} for at in (2, 3))
    namespace, pod = pods.pop() if len(pods) == 1 else ("", "")
    node, zone = (each.pop() if len(each) == 1 else "" for each in (nodes, zones))
    return ClientName(namespace, pod, node, zone, Known.ENDPOINT) if pod or node else None


def read_client_names(reader: "Reader") -> ClientNames:
    """Return the client names in the newest commit. Takes about 0.1 s for 100,000 addresses."""
    with reader.transaction() as transaction:
        cursor = transaction.cursor(db=reader.names)
        entries = []
        if cursor.set_range(_CLIENTS):
            for each in cursor:
                if not is_client_name(each[0]):
                    break
                entries.append(each)
    return ClientNames(entries)
