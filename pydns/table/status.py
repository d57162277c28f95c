"""The status of the controller. `/status`, `pydns status`, `pydns explain`, the probes and the metrics show it.

The controller creates the status, keeps it for its HTTP pages, and stores it as JSON in the answer table.
docs/status.md describes every key for users. tests/test_docs.py compares the document with this module.

Readers accept the JSON of another version of pydns. They ignore keys that they don't know. For a missing key, they use
the default value in this module. `VERSION` increases if a key is removed or changes its meaning. A new key doesn't
change `VERSION`.
"""

from enum import Enum

import msgspec
from msgspec import Struct

VERSION = 1
MAX_LISTED = 100  # the maximum number of objects in each list of the status


class ConfigState(Enum):
    """The state of the source of the live configuration."""

    NONE = "none"  # the configuration has no source, so only flags apply
    UNREAD = "unread"
    ABSENT = "absent"  # the source doesn't exist, so the defaults apply
    ACCEPTED = "accepted"
    REFUSED = "refused"  # the source has mistakes, so the last accepted configuration stays in force


class ConfigStatus(Struct, frozen=True, kw_only=True):
    """The status of the live configuration."""

    source: str = ""
    state: ConfigState = ConfigState.UNREAD
    since: float = 0.0  # when the source last changed, in seconds since 1970
    hash: str = ""  # the hash of the configuration in force
    accepted: int = 0  # how many configurations have been accepted since the controller started
    refused: int = 0
    problem: str | None = None  # the reason why the source can't be read
    mistakes: tuple[str, ...] = ()  # the mistakes in the refused configuration
    notices: tuple[str, ...] = ()  # the notices about the accepted configuration
    left_out: tuple[str, ...] = ()  # the parts of the accepted Corefile that have no effect, because of --lenient
    # kind -> its problem, if known; for kinds that a new option of the cluster needs and that aren't listed yet
    waiting_for: dict[str, str | None] = {}


class Filter(Struct, frozen=True, kw_only=True):
    """The filter for the objects that pydns serves. A field of None excludes no object."""

    namespaces: tuple[str, ...] | None = None
    labels: str | None = None


class KindStatus(Struct, frozen=True, kw_only=True):
    """The status of one kind of objects.

    Ages are in seconds. An age of None means that the event never happened. The last seven fields are None if the
    source isn't an API server.
    """

    synced: bool = False  # True after the first complete listing
    objects: int = 0
    skipped: int = 0  # how many objects pydns can't use
    served: bool = True  # False if the source doesn't have the kind, for example because its CRD isn't installed
    problem: str | None = None  # the reason why the data may be out of date
    last_event_age_s: float | None = None
    data_age_s: float | None = None  # the time since the source last confirmed that the objects are current
    resource_version: int | None = None
    last_bookmark_age_s: float | None = None
    last_audit_age_s: float | None = None
    audits: int | None = None
    repaired: int | None = None  # how many objects were wrong when an audit compared them
    relists: int | None = None  # how many listings there were after the first one
    errors: dict[str, int] | None = None  # reason -> how many requests failed for this reason


class SourceStatus(Struct, frozen=True, kw_only=True):
    """The status of a further source of objects: another cluster, or a domain with label selectors of its own."""

    cluster: str = ""  # the cluster's name; empty for the first cluster
    labels: str | None = None
    domains: tuple[str, ...] = ()  # the domains whose names come from the objects of the source
    synced: bool = False  # True after every kind of the source has been listed completely
    kinds: dict[str, KindStatus] = {}


class ExternalStatus(Struct, frozen=True, kw_only=True):
    """The status of the external zones."""

    zones: dict[str, int] = {}  # zone -> number of names
    problems: dict[str, str] = {}  # zone -> what the zone lacks
    losers: int = 0  # how many claims have lost, because another object is the winner of the name
    conflicts: dict[str, str] = {}  # name -> the objects that claim this name; 100 names at most
    # object -> which part of the object has no name in an external zone; 100 objects at most.
    notices: dict[str, str] = {}


class ZoneStatus(Struct, frozen=True, kw_only=True):
    """The status of one zone file."""

    file: str = ""
    zone: str | None = None  # the zone's name; None if the file is not served
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
    breakers_open: int = 0  # how many workers avoid the upstream because their breaker for it is open
    workers: int = 0
    latency_s: float | None = None  # the mean reply time in the last minute; None if no reply came
    # what workers have learned about the server -> for how many seconds this stays valid; 0: until it changes
    learned_s: dict[str, float] = {}

    @property
    def is_down(self) -> bool:
        """Whether no worker has a closed breaker for the upstream."""
        return 0 < self.workers <= self.breakers_open


class RouteStatus(Struct, frozen=True, kw_only=True):
    """The status of one route to upstreams, combined from all workers."""

    route: str  # the domain of the route; a dot for the default route
    breakers_open: int = 0  # how many workers have an open breaker for every upstream of the route
    workers: int = 0

    @property
    def is_down(self) -> bool:
        """Whether no worker has a closed breaker for any upstream of the route."""
        return 0 < self.workers <= self.breakers_open


class IndicatorStatus(Struct, frozen=True, kw_only=True):
    """The status of an indicator.

    It shows how well pydns works for one group of events in one window of time. docs/slo.md lists all indicators.
    """

    indicator: str  # "programming", "lookups" or "errors"
    group: str = ""  # a kind of Service, "own" or "forwarded"
    window: str = ""  # "5m" or "1h"
    covered_s: float = 0.0  # for how many seconds of the window pydns has counted events
    events: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    # The share of the events that were good; None without events, or if no objective says which events are good.
    good: float | None = None
    objective: float | None = None  # the share of the events that should be good; None if there is no objective
    within_s: float | None = None  # the time that a good event takes at most


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """The status of one process."""

    process: str  # "supervisor", "controller", "worker N" or "console"
    pid: int = 0  # 0 if the process isn't running
    restarts: int = 0
    stuck: int = 0  # how often the process was restarted because it no longer answered its self-check
    # Seconds since a worker last answered its self-check; None for other processes.
    answered_itself_s_ago: float | None = None
    late_queries: int = 0  # how many queries came while the process drained


class Status(Struct, frozen=True, kw_only=True):
    """Everything that the controller reports. `Status()` means that nothing is known yet."""

    version: int = VERSION
    time: float = 0.0  # when the status was created, in seconds since 1970
    build: str = ""  # "compiled" or "interpreted"
    domain: str = ""
    source: str = ""  # the source of the cluster's objects: an API server or a folder
    synced: bool = False  # True: a name of the cluster that is not in the table doesn't exist
    restored: bool = False  # True: the answers in the table are from before a restart of the controller
    ready: bool = False  # True: every kind has been listed once, or the restored table was complete
    serial: int = 0  # the serial of the cluster's zones
    config: ConfigStatus | None = None
    only: Filter = Filter()
    skipped: dict[str, str] = {}  # object -> the reason why the object can't be used; 100 objects at most
    cut: dict[str, str] = {}  # object that is too large -> which part of the object is left out; 100 objects at most
    # Headless Service without ready endpoints -> description of its endpoints; 100 Services at most.
    without_endpoints: dict[str, str] = {}
    kinds: dict[str, KindStatus] = {}
    # name of a further source (its cluster or its domain) -> status of the source.
    sources: dict[str, SourceStatus] = {}
    zones: tuple[ZoneStatus, ...] = ()
    external: ExternalStatus | None = None
    unknown_clients: float | None = None  # the share of recent queries whose client has no name; None if unknown
    left_out: int = 0  # the number of warnings about left-out or missing records of zone files
    warnings: tuple[str, ...] = ()  # the warnings about zone files, each with file and line; 100 at most
    table: TableStatus | None = None
    queries: tuple[int, ...] = ()  # how many queries each worker has answered
    upstreams: tuple[UpstreamStatus, ...] = ()
    routes: tuple[RouteStatus, ...] = ()
    indicators: tuple[IndicatorStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    draining: bool = False
    # The memory of all processes, in octets. A page that several processes share counts once. Only the page /status has
    # this value.
    memory: int | None = None

    @property
    def missing(self) -> dict[str, str | None]:
        """Return a dict: kind that has never been listed completely -> its problem."""
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

    Return `UNKNOWN` if there are no octets, or if another version of pydns wrote them in a form that can't be read.
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
