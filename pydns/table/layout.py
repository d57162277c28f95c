"""The layout of the answer table: an LMDB file with three databases for readers and two for the writer.

    answers   question in wire form, lower case → compiled answer (pydns.dns.compiled)
    names     tree key of every name with its own entry (pydns.dns.name.tree_key) → NodeKind
              For a delegation, the compiled NS RRset follows the kind.
              `origin_key` → lines that explain which objects created the records of a name in an external zone.
              `unready_key` → an empty value, for a Service without a name because none of its endpoints is ready
              `client_classes.answer_key` → the compiled answer to a question for a client class
              `client_classes.range_key` → the classes of the clients in a range of addresses
              `client_names.slice_key` → the Pods of an EndpointSlice, which are names of clients
              `client_names.node_key` → the Pods of a node, which are names of clients
              No tree key begins with the first octet of the other keys. The other keys sort after all tree keys.
    facts     b"facts" → Facts, b"status" → the controller's status, as JSON,
              b"config" → the configuration in force (pydns.config.model.dump), with upstreams always filled in,
              b"accepted" → the same configuration without the added upstreams, for the controller's next start,
              b"whole" → exists if the table contains the whole cluster, or has contained it earlier
    static answers, static names
              the entries of zone files and hosts, with the same keys. Each value begins with `COVERED` or `BARE`.
              `COVERED` means that the cluster has the key too. Then readers see the cluster's value.

For a hit, readers use only `answers`, with the received bytes as key. For a miss, they use `names`. All names below a
name sort directly after it. So one seek distinguishes an existing name, an empty non-terminal and a missing name.
Therefore empty non-terminals need no entries.

Every commit is atomic. A reader always sees exactly one commit, never parts of two commits.
"""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from pydns.dns.name import MAX_LABEL, ROOT

FORMAT = 2  # a table with a different format is discarded, and rebuilt from the cluster

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

MAX_READERS = 512  # maximum concurrent readers. Each thread of each process is a reader


class NodeKind(bytes, Enum):
    """The kind of an existing name, which affects the answers at or below the name."""

    PLAIN = b""
    ALIAS = b"A"  # the name has a CNAME, which answers questions of every type
    POD_NAMESPACE = b"P"  # every address has a name below this one (`pods: insecure`)
    CUT = b"C"  # the name and all names below it are delegated. The compiled NS RRset with glue follows
    DNAME = b"D"  # names below this name are redirected (RFC 6672)
    HOST = b"H"  # a configured host outside all zones of pydns. pydns isn't authoritative for names below this one
    PENDING = b"W"  # the name has no records yet, but an object will give it an address
    # The name isn't ours, but the table has answers for some client classes. All others get those of upstreams.
    SPLIT = b"S"
    # The name above ZONE.pin and ZONE.prefer. ZONE.pin has only the endpoints in this zone of nodes. ZONE.prefer has
    # all endpoints if the zone has none.
    ZONES = b"Z"
    ONE_LABEL = b"1"  # a wildcard that covers exactly one label. The wildcard's own kind follows


class ZoneFacts(msgspec.Struct, frozen=True, array_like=True):
    """A zone with authoritative answers. Contains the fields of the SOA record, but not the serial."""

    apex: bytes
    mname: bytes
    rname: bytes
    ttl_s: int
    minimum_s: int
    # True: missing names are forwarded if there is an upstream. False: missing names are denied
    falls_through: bool = False
    soa_timers: bytes = b""  # the SOA's serial and timers, for a zone file. The cluster's zones use Facts.serial
    # True: the zone has no wildcard, delegation or DNAME, so a name that isn't in the table doesn't exist
    is_plain: bool = True
    is_known: bool = True  # False while the zone's records are being read. Then missing names get SERVFAIL
    is_listed: bool = True  # False until all source kinds of the zone are listed. Then missing names get SERVFAIL

    @property
    def is_static(self) -> bool:
        """Return whether the zone is static. The cluster's zones are not static."""
        return bool(self.soa_timers) or (not self.is_known and self.apex == ROOT)


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """Facts that readers need in addition to answers and names."""

    format: int
    domain: bytes
    zones: list[ZoneFacts]  # sorted by the length of the apex, longest first
    serial: int
    synced: bool  # True if missing names may be denied
    ttl_s: int
    classes_commit: int = 0  # number of the last commit that may have changed the classes of clients
    further: list[tuple[bytes, int]] = []  # the other domains, each with the TTL of its records
    clients_commit: int = 0  # number of the last commit that may have changed the names of clients

    @property
    def domains(self) -> dict[bytes, int]:
        """Return the TTL of the records of each domain."""
        return {self.domain: self.ttl_s, **dict(self.further)}


class Contents(NamedTuple):
    """A piece of the table's new contents."""

    answers: dict[bytes, bytes]
    names: dict[bytes, bytes]


class Changes(NamedTuple):
    """Changed entries of the table. None deletes an entry. All changes must be applied in one commit."""

    answers: dict[bytes, bytes | None]
    names: dict[bytes, bytes | None]

    def __bool__(self) -> bool:
        return bool(self.answers or self.names)


encode_facts = msgspec.msgpack.Encoder().encode
decode_facts = msgspec.msgpack.Decoder(Facts).decode


_ORIGIN, _UNREADY = b"\xff", b"\xfb"  # both are greater than the length octet of any label


def origin_key(tree: bytes) -> bytes:
    """Return the key in `names` for the lines that explain a name's records."""
    return _ORIGIN + tree


def unready_key(tree: bytes) -> bytes:
    """Return the key in `names` for a Service that has no name because none of its endpoints is ready."""
    return _UNREADY + tree


def origin_of(key: bytes) -> bytes:
    """Return the tree key of an explanation or of an unready Service. Return any other key of `names` unchanged."""
    return key[1:] if key[:1] in (_ORIGIN, _UNREADY) else key


def is_tree_key(key: bytes) -> bool:
    """Return whether a key of `names` belongs to a name. Otherwise it is one of the other keys above."""
    return key[0] <= MAX_LABEL


def file_in(state_dir: Path) -> Path:
    """Return the path of the table in a state directory."""
    return state_dir / "table.mdb"
