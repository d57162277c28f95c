"""The interface of a feed. The controller publishes the records of a feed, their changes and its status.

`control.cluster` contains a feed of the objects of a source. The controller uses feeds only through this protocol, and
only from its own thread. If the source of a feed has threads, the feed posts calls to the controller's thread.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydns.control.options import ClusterOptions
from pydns.kube.producer import ZoneOptions
from pydns.table.layout import Changes, Contents, Facts
from pydns.table.status import ExternalStatus, Filter, KindStatus, SourceStatus

Call = Callable[[], None]  # a call that the controller's thread runs


class FeedStatus(NamedTuple):
    """The status of a feed: the part of `table.status.Status` that only the feed knows."""

    source: str
    only: Filter = Filter()
    skipped: Mapping[str, str] = {}  # object -> why it can't be used
    cut: Mapping[str, str] = {}  # object -> the part of the object that is missing in answers
    without_endpoints: Mapping[str, str] = {}  # headless Service without a ready endpoint -> text about its endpoints
    kinds: Mapping[str, KindStatus] = {}
    warnings: Sequence[str] = ()  # a warning with file and line for each part of the source's files that is left out
    is_whole: bool = True  # False if `contents` lacks records, because a cluster has not been listed completely
    sources: Mapping[str, SourceStatus] = {}  # name -> status, for each source except the first one
    external: ExternalStatus | None = None  # None if no external zones are configured


class Feed(Protocol):
    """A feed has a set of records and keeps them current. Before `start`, a feed has no records."""

    @property
    def options(self) -> ClusterOptions:
        """The options from which the records are made."""

    def start(self) -> None:
        """Start to follow the source. Raises `SourceError` if the source can't be used at all."""

    def stop(self) -> None:
        """Stop following the source. The feed keeps its records."""

    def missing(self) -> Mapping[str, str | None]:
        """Return the kinds that have not been listed completely since the start.

        The values are the current problems of the kinds. An optional kind is left out if it can't be listed. The
        controller doesn't wait for such a kind.
        """

    @property
    def has_whole_cluster(self) -> bool:
        """Return whether a cluster can be served completely, because all its kinds have been listed."""

    @property
    def has_new_cluster(self) -> bool:
        """Return whether `contents` would now return more records of a cluster than at its last call."""

    def absent(self) -> tuple[bytes, ...]:
        """Return the zones of clusters that were not listed completely at the last `contents`.

        The table may have records of these zones from before a restart. The controller keeps the records of these
        zones.
        """

    def contents(self) -> Iterable[Contents]:
        """Return all records in pieces, and mark them as published. The caller must iterate to the end.

        Some large Services may be left out. If so, `changes` returns the records of these Services later, and `facts`
        contains the names of these Services.
        """

    def changes(self) -> Changes:
        """Return the changes since the last `changes` or `contents`, and mark them as published.

        If the changes are too many for one commit, return a part of them. In this case, `is_behind` is true.
        """

    @property
    def is_behind(self) -> bool:
        """Return whether the next call of `changes` returns more changes."""

    def facts(self, *, synced: bool) -> Facts:
        """Return the facts to write with the next commit."""

    @property
    def has_new_facts(self) -> bool:
        """Return whether `facts` changed, apart from the serial. The facts can change although no record changed."""

    def follow(self, before: "Feed") -> None:
        """Continue the serials of the feed that this feed replaces."""

    def change_zone(self, options: ZoneOptions) -> None:
        """Make all records again with other options. All records then count as unpublished."""

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Change the TTL of all records. Returns a function that changes the TTL of a published answer."""

    def server_addresses(self) -> tuple[bytes, ...]:
        """Return the addresses of the published Services that have this server as an endpoint."""

    def status(self) -> FeedStatus:
        """Return the status."""
