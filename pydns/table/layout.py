"""The layout of the answer table: an LMDB file with three databases for readers and two for the writer.

    answers   question in wire form, lower case → compiled answer (pydns.dns.compiled)
    names     tree key of every name that exists by itself (pydns.dns.name.tree_key) → NodeKind
              For a delegation, the kind is followed by the compiled NS RRset.
              `origin_key` → the lines that explain which objects a name of an external zone has its records from.
              No tree key begins like that, and these keys sort behind all of them.
    facts     b"facts" → Facts, b"status" → the controller's status, as JSON,
              b"config" → the configuration in force (pydns.config.model.dump), its upstreams always filled in,
              b"accepted" → the same without the added upstreams, for the controller's next start,
              b"whole" → exists once the table has held the whole cluster, now or earlier
    static answers, static names
              the entries of zone files and hosts, by the same keys: `COVERED` or `BARE`, then the value. Covered: the
              cluster has the key too, and the two databases for readers hold the cluster's value.

A hit reads `answers`, with the received bytes as key. A miss reads `names`. All names below a name sort directly after
it, so one seek distinguishes an existing name, an empty non-terminal and a missing name. Empty non-terminals therefore
need no entries.

Every commit is atomic: a reader sees exactly one commit, never parts of two.
"""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

from pydns.dns.name import ROOT

FORMAT = 1  # a table of a different format is discarded, and rebuilt from the cluster

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

MAX_READERS = 512  # concurrent readers: processes times threads


class NodeKind(bytes, Enum):
    """What is special about a name that exists."""

    PLAIN = b""
    ALIAS = b"A"  # has a CNAME, for every type
    POD_NAMESPACE = b"P"  # every address has a name below it (pods: insecure)
    CUT = b"C"  # delegated, with all names below it; the compiled NS RRset with its glue follows
    DNAME = b"D"  # names below it are redirected (RFC 6672)
    HOST = b"H"  # a name of a host in none of our zones; names below it are not ours
    PENDING = b"W"  # an object will give it an address; until then it has no records
    ONE_LABEL = b"1"  # a wildcard that covers one label, not any number; its own kind follows


class ZoneFacts(msgspec.Struct, frozen=True, array_like=True):
    """A zone that is answered with authority, and its SOA without the serial."""

    apex: bytes
    mname: bytes
    rname: bytes
    ttl_s: int
    minimum_s: int
    falls_through: bool = False  # missing names go to the upstream, if there is one, instead of being denied
    soa_timers: bytes = b""  # from the serial on, for a zone file; the cluster's zones use the serial of Facts
    is_plain: bool = True  # no wildcard, delegation or DNAME: a name that isn't in the table doesn't exist
    is_known: bool = True  # False while its records are being read: missing names get SERVFAIL
    is_listed: bool = True  # False until every kind that gives it names has been listed: missing ones get SERVFAIL

    @property
    def is_static(self) -> bool:
        """Return whether the zone is not one of the cluster's."""
        return bool(self.soa_timers) or (not self.is_known and self.apex == ROOT)


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """The facts that readers need besides answers and names."""

    format: int
    domain: bytes
    zones: list[ZoneFacts]  # longest apex first
    serial: int
    synced: bool  # whether a missing name may be denied
    ttl_s: int


class Contents(NamedTuple):
    """A piece of the table's new contents."""

    answers: dict[bytes, bytes]
    names: dict[bytes, bytes]


class Changes(NamedTuple):
    """Entries to put into the table; None deletes. Apply all in one commit."""

    answers: dict[bytes, bytes | None]
    names: dict[bytes, bytes | None]

    def __bool__(self) -> bool:
        return bool(self.answers or self.names)


encode_facts = msgspec.msgpack.Encoder().encode
decode_facts = msgspec.msgpack.Decoder(Facts).decode


_ORIGIN = b"\xff"  # longer than any label


def origin_key(tree: bytes) -> bytes:
    """Return the key of a name's explanation in `names`."""
    return _ORIGIN + tree


def is_origin(key: bytes) -> bool:
    """Return whether a key of `names` is that of an explanation."""
    return key.startswith(_ORIGIN)


def file_in(state_dir: Path) -> Path:
    """Return the table's file in a state directory."""
    return state_dir / "table.mdb"
