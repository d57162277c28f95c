"""The layout of the answer table: an LMDB file with three databases for readers and two for the writer.

    answers   a question in wire form, in lower case → the compiled answer (pydns.dns.compiled)
    names     the tree key (pydns.dns.name.tree_key) of a name that has records or a kind → the NodeKind of the name
              In the entry of a cut, the compiled NS RRset comes after the kind.
              `origin_key` → lines that explain which objects created the records of a name in an external zone
              `unready_key` → an empty value, for a Service that has no name, because none of its endpoints is ready
              `client_classes.answer_key` → the compiled answer to a question for a client class
              `client_classes.range_key` → the classes of the clients in a range of addresses
              `client_names.slice_key` → the Pods of an EndpointSlice, as names of clients
              `client_names.node_key` → the Pods of a node, as names of clients
              The first octet of these other keys is greater than the first octet of any tree key. So these other keys
              sort after all tree keys.
    facts     b"facts" → Facts, b"status" → the controller's status, as JSON,
              b"config" → the configuration in force (pydns.config.model.dump), with upstreams always filled in,
              b"accepted" → the accepted configuration, without the upstreams that were filled in, for the controller's
              next start,
              b"whole" → exists if the table contains the whole cluster, or contained it earlier
    static answers, static names
              the entries of zone files and hosts. They have the same keys as in `answers` and `names`, and each value
              begins with `COVERED` or `BARE`. `COVERED` means that the cluster has an entry with this key, too. Then
              readers see the cluster's value.

For a hit, a reader needs only `answers`, with the received question as the key. For a miss, it also needs `names`. All
names below a name sort directly after it. So one seek distinguishes an existing name, an empty non-terminal and a
missing name. Therefore empty non-terminals need no entries.

Every commit is atomic. A reader always sees exactly one commit, never parts of two commits.
"""

from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from pydns.dns.name import MAX_LABEL, ROOT

FORMAT = 2  # the version of this layout; a table with another number is discarded, and rebuilt from the cluster

ANSWERS = b"answers"
NAMES = b"names"
STATIC_ANSWERS = b"static answers"
STATIC_NAMES = b"static names"
COVERED, BARE = b"\1", b"\0"
FACTS = b"facts"
FACTS_KEY = b"facts"
STATUS_KEY = b"status"
CONFIG_KEY = b"config"
WHOLE_KEY = b"whole"
ACCEPTED_KEY = b"accepted"

MAX_DENIAL_S = 300  # the longest TTL of a denial in a zone of the cluster
MAX_READERS = 512  # maximum number of readers at the same time; each thread of each process that reads is one


class NodeKind(bytes, Enum):
    """The kind of an existing name, which affects the answers at or below the name."""

    PLAIN = b""
    ALIAS = b"A"  # the name has a CNAME, which answers questions of every type
    POD_NAMESPACE = b"P"  # every dashed IP below this name has an answer (`pods: insecure`)
    CUT = b"C"  # the name and all names below it are delegated; the compiled NS RRset with glue follows the kind
    DNAME = b"D"  # the name has a DNAME, which redirects all names below this name (RFC 6672)
    HOST = b"H"  # a configured host outside all zones of pydns; pydns isn't authoritative for names below it
    PENDING = b"W"  # the name has no records yet, but an object will give it an address
    # The name is outside all zones of pydns, but the table has answers to it for some client classes. All other clients
    # get the answers of upstreams.
    SPLIT = b"S"
    # A name such as _zone.SERVICE, above the names ZONE.pin._zone.SERVICE and ZONE.prefer._zone.SERVICE. ZONE is a zone
    # of nodes. The name with `pin` has only the endpoints in this zone of nodes. The name with `prefer` has the same
    # endpoints, or all endpoints if no endpoint is in this zone of nodes.
    ZONES = b"Z"
    ONE_LABEL = b"1"  # a wildcard that covers exactly one label; its second kind, such as ALIAS, follows


class ZoneFacts(msgspec.Struct, frozen=True, array_like=True):
    """A zone for which pydns is authoritative.

    Contains the fields of the SOA record, but the cluster's zones have no serial here.
    """

    apex: bytes
    mname: bytes
    rname: bytes
    ttl_s: int
    minimum_s: int
    # True: a missing name of the zone is forwarded if there is an upstream. False: a missing name is denied.
    falls_through: bool = False
    # The serial and timers of a zone file's SOA record; empty for the cluster's zones, which use Facts.serial.
    soa_timers: bytes = b""
    # True: the zone has no wildcard, delegation or DNAME. So if neither a name nor a name below it is in the table, the
    # name doesn't exist.
    is_plain: bool = True
    is_known: bool = True  # False while the zone's records are being read, so a missing name gets SERVFAIL
    # False until all kinds of objects that give names to the zone have been listed, so a missing name gets SERVFAIL.
    is_listed: bool = True

    @property
    def is_static(self) -> bool:
        """Return whether the records of the zone are static. The records of the cluster's zones aren't static."""
        return bool(self.soa_timers) or (not self.is_known and self.apex == ROOT)


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """The values that readers need besides answers and names."""

    format: int
    domain: bytes
    zones: list[ZoneFacts]  # sorted by the length of the apex, longest first
    serial: int
    synced: bool  # True if missing names may be denied
    ttl_s: int
    classes_commit: int = 0  # number of the last commit that may have changed the classes of clients
    further: list[tuple[bytes, int]] = []  # the further domains, each with the TTL of its records
    clients_commit: int = 0  # number of the last commit that may have changed the names of clients

    @property
    def domains(self) -> dict[bytes, int]:
        """Return each domain of clusters, with the TTL of its records."""
        return {self.domain: self.ttl_s, **dict(self.further)}


def with_static_zones(zones: Iterable[ZoneFacts], static_zones: Iterable[ZoneFacts]) -> list[ZoneFacts]:
    """Return the zones of the cluster and the static zones, in the order of `Facts.zones`."""
    by_apex = {zone.apex: zone for zone in zones}
    for static in static_zones:
        beside = by_apex.get(static.apex)  # a zone of the cluster with this apex, to which a file adds records
        by_apex[static.apex] = (
            static if beside is None else msgspec.structs.replace(beside, is_plain=beside.is_plain and static.is_plain)
        )
    return sorted(by_apex.values(), key=lambda zone: len(zone.apex), reverse=True)


class Contents(NamedTuple):
    """New entries for the databases `answers` and `names`."""

    answers: dict[bytes, bytes]
    names: dict[bytes, bytes]


class Changes(NamedTuple):
    """Changes of entries of the databases `answers` and `names`.

    The value None deletes an entry. One commit must apply all changes.
    """

    answers: dict[bytes, bytes | None]
    names: dict[bytes, bytes | None]

    def __bool__(self) -> bool:
        return bool(self.answers or self.names)


encode_facts = msgspec.msgpack.Encoder().encode
decode_facts = msgspec.msgpack.Decoder(Facts).decode


_ORIGIN, _UNREADY = b"\xff", b"\xfb"  # the first octets of keys; both are greater than the length octet of any label


def origin_key(tree: bytes) -> bytes:
    """Return the key in `names` of the lines that explain which objects created a name's records."""
    return _ORIGIN + tree


def unready_key(tree: bytes) -> bytes:
    """Return the key in `names` of a Service that has no name because none of its endpoints is ready."""
    return _UNREADY + tree


def origin_of(key: bytes) -> bytes:
    """Return the tree key from which `origin_key` or `unready_key` made a key.

    Return any other key of `names` unchanged.
    """
    return key[1:] if key[:1] in (_ORIGIN, _UNREADY) else key


def is_tree_key(key: bytes) -> bool:
    """Return whether a key of `names` is a tree key. The docstring of the module lists all other keys."""
    return key[0] <= MAX_LABEL


def file_in(state_dir: Path) -> Path:
    """Return the path of the table in a state directory."""
    return state_dir / "table.mdb"
