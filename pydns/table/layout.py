"""How the answer table is laid out: an LMDB file with three databases for readers, and two for the writer.

    answers   question in wire form, lower case → compiled answer (pydns.dns.compiled)
    names     tree key of every name that exists by itself (pydns.dns.name.tree_key) → NodeKind
              For a delegation, the kind is followed by the compiled NS RRset.
    facts     b"facts" → Facts, b"status" → what the controller says of itself, as JSON,
              b"config" → the configuration in force (pydns.config.model.dump), its upstreams always filled in,
              b"accepted" → the same without what was filled in, for the controller's next start,
              b"whole" → there once the table has held all of the cluster, be it another time than now
    static answers, static names
              what zone files and hosts have, by the same keys: `COVERED` or `BARE`, then the value. Covered is what the
              cluster has too; the two databases of readers hold the cluster's value then.

`answers` is what a hit reads, by the bytes that came in. `names` is what a miss reads: since all names below one sort
directly after it, one seek tells a name that exists, an empty non-terminal and a name that doesn't exist apart, and
nobody has to keep account of empty non-terminals.

Every commit changes all of it at once; a reader sees one commit or another, never a mixture.
"""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import msgspec

FORMAT = 1  # another one throws the table away: it is rebuilt from the cluster

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

MAX_READERS = 512  # processes times threads that may read at a time


class NodeKind(bytes, Enum):
    """What is special about a name that exists."""

    PLAIN = b""
    ALIAS = b"A"  # has a CNAME, for every type
    POD_NAMESPACE = b"P"  # the names of any address lie below it (pods: insecure)
    CUT = b"C"  # another server has what lies at and below it; in front of the compiled NS RRset with its glue
    DNAME = b"D"  # what lies below it is called otherwise
    HOST = b"H"  # is ours although it lies in no zone of ours, without what lies below it


class ZoneFacts(msgspec.Struct, frozen=True, array_like=True):
    """A zone that is answered with authority, and its SOA without the serial."""

    apex: bytes
    mname: bytes
    rname: bytes
    ttl_s: int
    minimum_s: int
    falls_through: bool = False  # what isn't in it is asked upstream instead of denied, where there is an upstream
    soa_timers: bytes = b""  # serial and what follows it, for a zone of a file; the cluster's have the serial of Facts
    is_plain: bool = True  # what isn't in the table doesn't exist: no wildcard, delegation or DNAME
    is_known: bool = True  # else its records are still being read: a name that isn't in the table gets SERVFAIL

    @property
    def is_static(self) -> bool:
        """Whether the zone isn't one of the cluster's."""
        return bool(self.soa_timers) or not self.is_known


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What readers must know besides answers and names."""

    format: int
    domain: bytes
    zones: list[ZoneFacts]  # longest apex first
    serial: int
    synced: bool  # whether a name that isn't here doesn't exist
    ttl_s: int


class Contents(NamedTuple):
    """A piece of what the table is to hold."""

    answers: dict[bytes, bytes]
    names: dict[bytes, bytes]


class Changes(NamedTuple):
    """What to put into and delete from the table; None deletes. To be applied as a whole."""

    answers: dict[bytes, bytes | None]
    names: dict[bytes, bytes | None]

    def __bool__(self) -> bool:
        return bool(self.answers or self.names)


encode_facts = msgspec.msgpack.Encoder().encode
decode_facts = msgspec.msgpack.Decoder(Facts).decode


def file_in(state_dir: Path) -> Path:
    """Return the table's file in a state directory."""
    return state_dir / "table.mdb"
