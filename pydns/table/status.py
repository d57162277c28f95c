"""The controller's status. `/status`, `pydns status`, `pydns explain`, the probes and the metrics all use this value.

The controller creates the status, keeps it for its HTTP pages, and stores it in the answer table as JSON.
docs/status.md describes every key for users. tests/test_docs.py compares the document with this module.

Readers accept the JSON of another version. They ignore unknown keys, and missing keys have the defaults below.
`VERSION` increases if a key is removed or changes its meaning. A new key doesn't change `VERSION`.
"""

from enum import Enum

import msgspec
from msgspec import Struct

VERSION = 1
MAX_LISTED = 100  # maximum objects in each list of the status


class ConfigState(Enum):
    """The state of the configuration's source."""

    NONE = "none"  # there is no source, so only flags apply
    UNREAD = "unread"
    ABSENT = "absent"  # the source doesn't exist, so the defaults apply
    ACCEPTED = "accepted"
    REFUSED = "refused"  # the source has mistakes, so the last accepted configuration stays in force


class ConfigStatus(Struct, frozen=True, kw_only=True):
    """The status of the live configuration."""

    source: str = ""
    state: ConfigState = ConfigState.UNREAD
    since: float = 0.0  # Unix time when the source last changed
    hash: str = ""  # the hash of the configuration in force
    accepted: int = 0  # number of accepted configurations since the controller started
    refused: int = 0
    problem: str | None = None  # the reason why the source can't be read
    mistakes: tuple[str, ...] = ()  # mistakes in the refused configuration
    notices: tuple[str, ...] = ()  # notices about the accepted configuration
    left_out: tuple[str, ...] = ()  # parts of the accepted Corefile without an effect, because of --lenient
    # kind that a new option of the cluster needs, but that isn't listed yet -> problem
    waiting_for: dict[str, str | None] = {}


class Filter(Struct, frozen=True, kw_only=True):
    """The conditions that an object must meet to be served. None means that there is no condition."""

    namespaces: tuple[str, ...] | None = None
    labels: str | None = None


class KindStatus(Struct, frozen=True, kw_only=True):
    """The status of one kind of objects.

    Ages are in seconds. None means never. The last seven fields have values only if an API server is watched.
    """

    synced: bool = False  # True after the first complete list
    objects: int = 0
    skipped: int = 0  # number of objects that pydns can't use
    served: bool = True  # False if the source doesn't have the kind, such as a CRD that isn't installed
    problem: str | None = None  # the reason why the data may be out of date
    last_event_age_s: float | None = None
    data_age_s: float | None = None  # time since the source last confirmed that the data is current
    resource_version: int | None = None
    last_bookmark_age_s: float | None = None
    last_audit_age_s: float | None = None
    audits: int | None = None
    repaired: int | None = None  # number of objects that audits have found to be wrong
    relists: int | None = None  # number of lists after the first list
    errors: dict[str, int] | None = None  # reason -> number of failed requests


class SourceStatus(Struct, frozen=True, kw_only=True):
    """The status of a further source of objects: another cluster, or a domain with label selectors of its own."""

    cluster: str = ""  # empty for the first cluster
    labels: str | None = None
    domains: tuple[str, ...] = ()  # the domains whose names come from its objects
    synced: bool = False  # True after every kind has been listed completely
    kinds: dict[str, KindStatus] = {}


class ExternalStatus(Struct, frozen=True, kw_only=True):
    """The status of the external zones."""

    zones: dict[str, int] = {}  # zone -> number of names
    problems: dict[str, str] = {}  # zone -> description of what is missing
    losers: int = 0  # number of objects that want a name which another object already has
    conflicts: dict[str, str] = {}  # name -> the objects that want this name; 100 at most
    notices: dict[str, str] = {}  # object -> which part of it has no name; 100 at most


class ZoneStatus(Struct, frozen=True, kw_only=True):
    """The status of one zone file."""

    file: str = ""
    zone: str | None = None  # None: the file is not served
    serial: int | None = None
    records: int = 0
    problem: str | None = None


class TableStatus(Struct, frozen=True, kw_only=True):
    """The status of the answer table."""

    bytes: int = 0
    answers: int = 0
    readers: int = 0
    commits: int = 0


class UpstreamStatus(Struct, frozen=True, kw_only=True):
    """The status of one upstream, combined from all workers."""

    upstream: str
    breakers_open: int = 0  # number of workers that regard the upstream as dead
    workers: int = 0
    latency_s: float | None = None  # mean time to a reply in the last minute. None: no reply in the last minute
    # learned fact about the server -> seconds for which it stays valid. 0: until it changes
    learned_s: dict[str, float] = {}


class RouteStatus(Struct, frozen=True, kw_only=True):
    """The status of one route to upstreams, combined from all workers."""

    route: str  # the domain of the route. A dot stands for the default route
    breakers_open: int = 0  # number of workers that regard every upstream of the route as dead
    workers: int = 0


class IndicatorStatus(Struct, frozen=True, kw_only=True):
    """An indicator: how well pydns does its work, for a group of events in a window of time. docs/slo.md lists them."""

    indicator: str  # "programming", "lookups" or "errors"
    group: str = ""  # a kind of Service, "own" or "forwarded"
    window: str = ""  # "5m" or "1h"
    covered_s: float = 0.0  # seconds of the window that were observed
    events: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    good: float | None = None  # share of the events that were good. None: there was no event, or good isn't defined
    objective: float | None = None  # share of the events that should be good. None: there is no objective
    within_s: float | None = None  # an event is good if it took at most this time


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """The status of one process."""

    process: str  # "supervisor", "controller", "worker N" or "console"
    pid: int = 0  # 0: not running
    restarts: int = 0
    stuck: int = 0  # number of restarts because the process no longer answered its self-check
    answered_itself_s_ago: float | None = None  # seconds since the last self-check; only for workers
    late_queries: int = 0  # number of queries that came during a drain


class Status(Struct, frozen=True, kw_only=True):
    """Everything that the controller reports. `Status()` means that nothing is known yet."""

    version: int = VERSION
    time: float = 0.0  # Unix time when the status was created. 0: never
    build: str = ""  # "compiled" or "interpreted"
    domain: str = ""
    source: str = ""  # the source of the cluster's objects: an API server or a folder
    synced: bool = False  # True: a cluster name that is not in the table doesn't exist
    restored: bool = False  # True: the answers are from before a restart
    ready: bool = False  # True: every kind has been listed once, or the restored table was complete
    serial: int = 0  # the serial of the cluster's zones
    config: ConfigStatus | None = None
    only: Filter = Filter()
    skipped: dict[str, str] = {}  # object -> the reason why it can't be used; 100 at most
    cut: dict[str, str] = {}  # object that is too large -> which part of it is missing; 100 at most
    # Headless Service without ready endpoints -> description of its endpoints; 100 at most.
    without_endpoints: dict[str, str] = {}
    kinds: dict[str, KindStatus] = {}
    sources: dict[str, SourceStatus] = {}  # name of a further source (its cluster or its domain) -> status
    zones: tuple[ZoneStatus, ...] = ()
    external: ExternalStatus | None = None
    unknown_clients: float | None = None  # share of recent queries whose client has no name. None: unknown
    left_out: int = 0  # number of warnings about the zone files in force, for records that are left out or missing
    warnings: tuple[str, ...] = ()  # the warnings, with file and line; 100 at most
    table: TableStatus | None = None
    queries: tuple[int, ...] = ()  # number of answered queries of each worker
    upstreams: tuple[UpstreamStatus, ...] = ()
    routes: tuple[RouteStatus, ...] = ()
    indicators: tuple[IndicatorStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    draining: bool = False
    # Memory of all processes in octets. Shared pages count once. Only the page /status has this.
    memory: int | None = None

    @property
    def missing(self) -> dict[str, str | None]:
        """Return the kinds that have never been listed completely, each with its problem."""
        of_sources = {"": self.kinds, **{f" of {name}": source.kinds for name, source in self.sources.items()}}
        return {
            f"{kind}{of_source}": each.problem
            for of_source, kinds in of_sources.items()
            for kind, each in kinds.items()
            if each.served and not each.synced
        }


UNKNOWN = Status()


def encode(status: Status) -> bytes:
    """Return a status as JSON."""
    return _encode(status)


def decode(octets: bytes) -> Status:
    """Parse the status from JSON.

    Return `UNKNOWN` if there is no JSON, or if another version wrote it and it can't be read.
    """
    try:
        return _decode(octets) if octets else UNKNOWN
    except msgspec.DecodeError:
        return UNKNOWN


def encode_lines(status: Status) -> bytes:
    """Return a status as indented JSON."""
    return msgspec.json.format(_encode(status), indent=1) + b"\n"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Status).decode
