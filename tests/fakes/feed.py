"""A feed that replaces a cluster. The test sets its records."""

from collections.abc import Callable, Iterable

from pydns.control.feed import Feed, FeedStatus
from pydns.control.options import ClusterOptions
from pydns.control.source import SourceError
from pydns.dns.compiled import compile_answer, question
from pydns.dns.name import from_text, tree_key
from pydns.dns.rrset import A, RRset
from pydns.kube import zone
from pydns.kube.producer import ZoneOptions
from pydns.table.layout import Changes, Contents, Facts, NodeKind
from pydns.table.status import KindStatus

KINDS = ("Service", "EndpointSlice")


class FakeFeed:
    """The feed: addresses by name, kinds that are listed one by one, and a log of the controller's calls."""

    def __init__(self, options: ClusterOptions, addresses: dict[str, str], refuses: str = "") -> None:
        """Create a feed. If `refuses` is given, `start` raises a `SourceError` with this text."""
        self.options = options
        self.addresses = addresses
        # Kind -> its problem, for each kind that is not listed yet.
        self.problems: dict[str, str | None] = dict.fromkeys(KINDS)
        self.is_running = False
        self.is_behind = False  # True: a part of the changes has not been delivered yet
        self.followed: Feed | None = None
        self._refuses = refuses
        self._published: dict[bytes, bytes] = {}
        self._serial = 0

    def start(self) -> None:
        if self._refuses:
            raise SourceError(self._refuses)
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def list(self, *kinds: str) -> None:
        """Mark these kinds as listed, or all kinds if there are no arguments."""
        for kind in kinds or KINDS:
            self.problems.pop(kind, None)

    def missing(self) -> dict[str, str | None]:
        return self.problems

    @property
    def has_whole_cluster(self) -> bool:
        return not self.problems

    @property
    def has_new_cluster(self) -> bool:
        return False

    def absent(self) -> tuple[bytes, ...]:
        return ()

    def contents(self) -> Iterable[Contents]:
        self._published = self._answers()
        names = {tree_key(from_text(name)): NodeKind.PLAIN for name in self.addresses}
        yield Contents(dict(self._published), dict.fromkeys(names, NodeKind.PLAIN))

    def changes(self) -> Changes:
        before, self._published = self._published, self._answers()
        now = self._published
        changed: dict[bytes, bytes | None] = {key: value for key, value in now.items() if before.get(key) != value}
        return Changes(changed | dict.fromkeys(before.keys() - now.keys()), {})

    def facts(self, *, synced: bool) -> Facts:
        self._serial += 1
        return zone.facts(self.options.zone, serial=self._serial, synced=synced)

    @property
    def has_new_facts(self) -> bool:
        return False

    def follow(self, before: Feed) -> None:
        self.followed = before

    def change_zone(self, options: ZoneOptions) -> None:
        self.options = self.options._replace(zone=options)

    def change_ttl(self, ttl_s: int) -> Callable[[bytes], bytes]:
        self.options = self.options._replace(zone=self.options.zone._replace(ttl_s=ttl_s))
        revised = dict(zip(self._published.values(), self._answers().values(), strict=True))
        self._published = self._answers()
        return lambda answer: revised.get(answer, answer)

    def server_addresses(self) -> tuple[bytes, ...]:
        return ()

    def status(self) -> FeedStatus:
        kinds = {kind: KindStatus(synced=kind not in self.problems, problem=self.problems.get(kind)) for kind in KINDS}
        return FeedStatus("the fake", kinds=kinds)

    def _answers(self) -> dict[bytes, bytes]:
        """Return the compiled answers by question, in the form of the table."""
        ttl_s = self.options.zone.ttl_s
        rrsets = [
            RRset(from_text(name), A, ttl_s, (bytes(map(int, address.split("."))),))
            for name, address in self.addresses.items()
        ]
        return {question(each.owner, A): compile_answer(each) for each in rrsets}
