"""The controller's status: one value behind `/status`, `pydns status`, `pydns explain`, the probes and the metrics.

The controller makes it, keeps it for its HTTP pages and puts it into the answer table as JSON. docs/status.md describes
every key for readers outside of pydns; tests/test_docs.py compares the two.

Readers accept the JSON of another version: unknown keys are skipped, missing ones have the defaults below. `VERSION`
grows when a key changes its meaning or goes; a new key doesn't change it.
"""

from enum import Enum

import msgspec
from msgspec import Struct

VERSION = 1
MAX_LISTED = 100  # objects in each list of the status


class ConfigState(Enum):
    """What the source of the configuration contains."""

    NONE = "none"  # there is no source: only flags count
    UNREAD = "unread"
    ABSENT = "absent"  # the source doesn't exist, so the defaults count
    ACCEPTED = "accepted"
    REFUSED = "refused"  # the last accepted one stays in force


class ConfigStatus(Struct, frozen=True, kw_only=True):
    """The live configuration."""

    source: str = ""
    state: ConfigState = ConfigState.UNREAD
    since: float = 0.0  # Unix time of the last change of the source
    hash: str = ""  # of the configuration in force
    accepted: int = 0  # configurations since the controller started
    refused: int = 0
    problem: str | None = None  # why the source can't be read
    mistakes: tuple[str, ...] = ()  # of the refused configuration
    notices: tuple[str, ...] = ()  # about the accepted configuration
    waiting_for: dict[str, str | None] = {}  # kinds not listed yet for a new cluster option -> problem


class Filter(Struct, frozen=True, kw_only=True):
    """What objects must match to be served. None: no condition."""

    namespaces: tuple[str, ...] | None = None
    labels: str | None = None


class KindStatus(Struct, frozen=True, kw_only=True):
    """One kind of objects. Ages are seconds; None: never. The last seven are for a watched API server only."""

    synced: bool = False  # listed to the end once
    objects: int = 0
    skipped: int = 0  # objects that can't be used
    served: bool = True  # whether the source has the kind; False for a CRD that isn't installed
    problem: str | None = None  # why the data may not be current
    last_event_age_s: float | None = None
    data_age_s: float | None = None  # since the source last showed that the data is current
    resource_version: int | None = None
    last_bookmark_age_s: float | None = None
    last_audit_age_s: float | None = None
    audits: int | None = None
    repaired: int | None = None  # objects that an audit found to be wrong
    relists: int | None = None  # listings after the first
    errors: dict[str, int] | None = None  # reason -> failed requests


class ExternalStatus(Struct, frozen=True, kw_only=True):
    """The external zones."""

    zones: dict[str, int] = {}  # zone -> names
    problems: dict[str, str] = {}  # zone -> what it lacks
    losers: int = 0  # objects that want a name which another object has, counted for each name
    conflicts: dict[str, str] = {}  # name -> the objects that want it; 100 at most
    notices: dict[str, str] = {}  # object -> what of it has no name; 100 at most


class ZoneStatus(Struct, frozen=True, kw_only=True):
    """One zone file."""

    file: str = ""
    zone: str | None = None  # None: not served
    serial: int | None = None
    records: int = 0
    problem: str | None = None


class TableStatus(Struct, frozen=True, kw_only=True):
    """The answer table."""

    bytes: int = 0
    answers: int = 0
    readers: int = 0
    commits: int = 0


class UpstreamStatus(Struct, frozen=True, kw_only=True):
    """One upstream, as seen by all workers."""

    upstream: str
    breakers_open: int = 0  # workers that regard the upstream as dead
    workers: int = 0
    latency_s: float | None = None  # to a reply, the mean of the last minute; None: no reply in it
    learned_s: dict[str, float] = {}  # what is known of the server -> for how many seconds; 0: until it changes


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """One process."""

    process: str  # supervisor, controller or worker N
    pid: int = 0  # 0: not running
    restarts: int = 0
    stuck: int = 0  # restarts because the process no longer answered itself
    answered_itself_s_ago: float | None = None  # workers only
    late_queries: int = 0  # queries received while draining


class Status(Struct, frozen=True, kw_only=True):
    """Everything the controller reports. Without arguments: nothing is known yet."""

    version: int = VERSION
    time: float = 0.0  # Unix time at which the status was made; 0: never
    domain: str = ""
    source: str = ""  # of the cluster's objects: an API server or a folder
    synced: bool = False  # a name that is not in the table doesn't exist
    restored: bool = False  # the answers are those from before a restart
    ready: bool = False  # every kind has been listed once, or the restored table was complete
    serial: int = 0  # of the cluster's zones
    config: ConfigStatus | None = None
    only: Filter = Filter()
    skipped: dict[str, str] = {}  # object -> why it can't be used; 100 at most
    cut: dict[str, str] = {}  # object -> what of it is missing, because it is too large; 100 at most
    without_endpoints: dict[str, str] = {}  # headless Service -> its endpoints, none of them ready; 100 at most
    kinds: dict[str, KindStatus] = {}
    zones: tuple[ZoneStatus, ...] = ()
    external: ExternalStatus | None = None
    left_out: int = 0  # warnings about the files in force: what is left out of them, and what they lack
    warnings: tuple[str, ...] = ()  # these, with file and line; 100 at most
    table: TableStatus | None = None
    queries: tuple[int, ...] = ()  # answered, by worker
    upstreams: tuple[UpstreamStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    draining: bool = False
    memory: int | None = None  # octets of all processes, shared pages counted once; only in the page /status

    @property
    def missing(self) -> dict[str, str | None]:
        """Return the kinds that have never been listed to the end, each with its problem."""
        return {kind: each.problem for kind, each in self.kinds.items() if each.served and not each.synced}


UNKNOWN = Status()


def encode(status: Status) -> bytes:
    """Return a status as JSON."""
    return _encode(status)


def decode(octets: bytes) -> Status:
    """Return the status of some JSON; `UNKNOWN` if there is none, or if it is of another version and can't be read."""
    try:
        return _decode(octets) if octets else UNKNOWN
    except msgspec.DecodeError:
        return UNKNOWN


def encode_lines(status: Status) -> bytes:
    """Return a status as JSON that people can read."""
    return msgspec.json.format(_encode(status), indent=1) + b"\n"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Status).decode
