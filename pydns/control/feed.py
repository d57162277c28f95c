"""What the controller publishes from: a feed has records, their changes and a status.

`control.cluster` is one, for the objects of a source. The controller knows feeds by this protocol alone. It calls them
from its own thread; a feed whose source has threads posts calls to that thread.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from pydns.control.options import ClusterOptions
from pydns.kube.producer import ZoneOptions
from pydns.table.layout import Changes, Contents, Facts
from pydns.table.status import ExternalStatus, Filter, KindStatus

Call = Callable[[], None]  # made by the controller's thread


class FeedStatus(NamedTuple):
    """The status of a feed: the part of `table.status.Status` that only it knows."""

    source: str
    only: Filter = Filter()
    skipped: Mapping[str, str] = {}  # object -> why it can't be used
    cut: Mapping[str, str] = {}  # object -> what of it is missing
    without_endpoints: Mapping[str, str] = {}  # headless Service -> which endpoints it has, none of them ready
    kinds: Mapping[str, KindStatus] = {}
    warnings: Sequence[str] = ()  # what is left out of the source's files, each with its place
    external: ExternalStatus | None = None  # None: there are no external zones


class Feed(Protocol):
    """Records, kept current. Before `start` there are none."""

    @property
    def options(self) -> ClusterOptions:
        """The options that the records are made by."""

    def start(self) -> None:
        """Begin to follow the source. Raises `SourceError` if it can't be used at all."""

    def stop(self) -> None:
        """Stop following the source. The records stay."""

    def missing(self) -> Mapping[str, str | None]:
        """Return the kinds that have never been listed to the end, each with its problem now.

        Those that only external zones need, and that can't be listed, are not waited for.
        """

    def contents(self) -> Iterable[Contents]:
        """Return all records in pieces, and count them as published. To be iterated over to the end.

        Some large Services may be left out; `changes` has them then, and `facts` their names.
        """

    def changes(self) -> Changes:
        """Return what changed since the last `changes` or `contents`, and count it as published.

        If there is too much for one commit, return a part of it: `is_behind` then.
        """

    @property
    def is_behind(self) -> bool:
        """Return whether the next `changes` has more."""

    def facts(self, *, synced: bool) -> Facts:
        """Return the facts that go with the next commit."""

    @property
    def has_new_facts(self) -> bool:
        """Return whether `facts` differ from the last ones in more than the serial, although records may not."""

    def follow(self, before: "Feed") -> None:
        """Continue the serials of the feed that this one replaces."""

    def change_zone(self, options: ZoneOptions) -> None:
        """Make all records anew by other options. None of them counts as published."""

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        """Change the TTL of all records. Returns what turns a published answer into one with that TTL."""

    def server_addresses(self) -> tuple[bytes, ...]:
        """Return the addresses of the published Services that lead to this server."""

    def status(self) -> FeedStatus:
        """Return the status."""
