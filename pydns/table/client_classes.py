"""Client classes: sets of clients whose answers may differ from the answers of other clients.

Rules:

1. A class has a level and a name, such as `Level.ZONE` and `eu-1a`. A client has at most one class of each level.
2. The classes of a client depend on its IP address alone. An assigner gives classes to ranges of addresses. If several
   ranges of one assigner contain an address, only the range with the longest prefix applies. Assigners don't affect
   each other: a client can get classes from the cluster and from the configuration.
3. A client in no range has no class, so the client gets the plain answers.
4. A class has its own answers to some questions. Clients of the class get these answers instead of the plain answers.
   If such an answer is empty, they get NODATA. To all other questions, they get the plain answers.
5. If several classes of a client have an answer to a question, the client gets the answer of the class whose level
   comes first in `Level`.
6. Classes never add or remove names: a name exists for all clients or for none.
7. The plain answer contains the levels of the classes that have other answers (`with_levels`). So if all clients get
   the same answer, classes cost no time. A question may have an answer for a class, but no plain answer.
8. The number of classes isn't limited. A worker remembers the classes of an address until a range changes.

All entries are in the database `names` (`pydns.table.layout`). No tree key has the same first octet as one of their
keys.

    `answer_key`   class and question → the compiled answer for the class, or no octets for NODATA
    `range_key`    assigner and range of addresses → the classes of the clients in this range

An entry comes from the cluster, or it is static, like the entries of zone files.
"""

from collections.abc import Iterable, Iterator
from enum import Enum, IntFlag
from typing import TYPE_CHECKING, NamedTuple

from pydns.dns.address import AddressRange, unmapped
from pydns.dns.compiled import RECORDS

if TYPE_CHECKING:
    from pydns.table.reader import Cursor

MAX_NAME = 200  # maximum octets of the name of a class; a key of the table has at most 511 octets

_ANSWER, _RANGE = b"\xfe", b"\xfd"


class Level(IntFlag):
    """Says what the name of a class means. Each level is a bit in octet 0 of a compiled answer."""

    VIEW = 16  # the name is that of a view: a range of the configuration that contains the client's address
    NODE = 8  # the name is that of the client's node
    ZONE = 4  # the name is that of the zone of nodes: the value of a label of the client's node
    CLUSTER = 2  # the name is the domain, in wire form, of the cluster in which the client runs


class ClientClass(NamedTuple):
    """A client class: a set of clients with the same answers."""

    level: Level
    name: bytes  # at most `MAX_NAME` octets


class Assigner(bytes, Enum):
    """A source of the ranges of addresses that have classes."""

    CONFIGURATION = b"c"
    CLUSTER = b"k"  # the objects of the cluster


class ClientRange(NamedTuple):
    """A range of the addresses that clients may have. All its addresses have the same prefix."""

    address: bytes  # 4 or 16 octets; the bits after the prefix are 0
    bits: int  # the length of the prefix


def client_range(addresses: AddressRange) -> ClientRange:
    """Return the `ClientRange` with the same addresses as a range such as 10.0.0.0/8."""
    return ClientRange(addresses.first, 8 * len(addresses.first) - addresses.free_bits)


# The classes of a client. For each class, its level, and the octets with which the keys of its answers begin.
Classes = tuple[tuple[int, bytes], ...]


def answer_key(client_class: ClientClass, question: bytes) -> bytes:
    """Return the key of the answer that clients of a class get to a question."""
    return _prefix(client_class) + question


def question_of(key: bytes) -> bytes | None:
    """Return the question in a key that `answer_key` made, or None for any other key."""
    return key[3 + key[2] :] if key.startswith(_ANSWER) else None


def range_key(assigner: Assigner, clients: ClientRange) -> bytes:
    """Return the key under which the table has the classes of the clients in a range."""
    address, bits = clients
    return _RANGE + assigner + bytes([len(address), 8 * len(address) - bits]) + address


def compose_classes(classes: Iterable[ClientClass]) -> bytes:
    """Return the table's value for a range, which contains the classes of the clients in the range."""
    return b"".join(map(_prefix, sorted(classes, reverse=True)))


def parse_classes(value: bytes) -> list[ClientClass]:
    """Return the classes in a value that `compose_classes` made."""
    return [ClientClass(Level(level), prefix[3:]) for level, prefix in _parse(value)]


def is_range(key: bytes) -> bool:
    """Return whether a key of `names` belongs to a range of clients."""
    return key.startswith(_RANGE)


def with_levels(compiled: bytes, levels: int) -> bytes:
    """Return a plain answer to which `levels` are added: the levels of the classes that have other answers.

    If there is no plain answer, `compiled` must be empty.
    """
    return (compiled[0] | levels if compiled else levels).to_bytes(1) + compiled[1:]


def is_plain_answer(compiled: bytes) -> bool:
    """Return whether a value of `answers` contains a plain answer. Other values contain only levels of classes."""
    return len(compiled) >= RECORDS


def find_classes(names: "Cursor", address: bytes) -> Classes:
    """Return the classes of a client. An IPv4-mapped IPv6 address is treated as IPv4. Moves the cursor `names`.

    The look-up takes two seeks for each different prefix length in the table.
    """
    address = unmapped(address)
    found = [each for assigner in Assigner for each in _parse(_find(names, assigner, address))]
    return tuple(sorted(found, reverse=True))


def classes_at(names: "Cursor", address: bytes) -> list[ClientClass]:
    """Return the classes of a client in the order of `Level`. Tools call this function."""
    return [each for _, prefix in find_classes(names, address) for each in parse_classes(prefix)]


def _find(names: "Cursor", assigner: Assigner, address: bytes) -> bytes:
    head = _RANGE + assigner + bytes([len(address)])
    number = int.from_bytes(address)
    at = head
    while names.set_range(at) and (key := names.key()).startswith(head):
        others = key[len(head)]  # bits after the prefix; ranges with fewer of these bits come first
        first = (number >> others << others).to_bytes(len(address))
        if names.set_key(head + bytes([others]) + first):
            return names.value()
        at = head + bytes([others + 1])
    return b""


def _prefix(client_class: ClientClass) -> bytes:
    level, name = client_class
    return _ANSWER + bytes([level, len(name)]) + name


def _parse(value: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(value):
        end = at + 3 + value[at + 2]
        yield value[at + 1], value[at:end]
        at = end
