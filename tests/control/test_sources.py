"""A feed has several sources. The tests check which records of each source are served, and when."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.model import Cluster as ClusterConfig
from pydns.config.model import Config, Domain
from pydns.control.clock import Clock
from pydns.control.cluster import Cluster
from pydns.control.controller_counts import ControllerCounts
from pydns.control.options import cluster_options
from pydns.control.source import Deliver, SourceChoice, SourceKindStatus, SourceOptions
from pydns.dns.compiled import question
from pydns.dns.name import from_text
from pydns.dns.rrset import A
from pydns.kube.events import Apply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import Observed, Ref, Service
from pydns.process.block import share
from tests.fakes.log import RecordedLog

_KINDS = (Kind.SERVICE, Kind.ENDPOINT_SLICE)
_CONFIG = Config(clusters=(ClusterConfig("east", "/east.yaml", None, (Domain(from_text("east.example")),)),))


class KindState(NamedTuple):
    """The status of a kind."""

    problem: str | None = None
    last_event: float | None = None
    last_heard: float | None = None
    is_served: bool = True


class FakeSource:
    """A source whose events and problems the test chooses."""

    def __init__(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.kinds: dict[Kind, KindState] = dict.fromkeys(_KINDS, KindState())

    def start(self) -> None:
        self.deliver([Apply(Observed(Ref(Kind.SERVICE, "shop", "web"), "7", _service()))])

    def stop(self) -> None:
        pass

    def list(self, *kinds: Kind) -> None:
        self.deliver([InitDone(kind) for kind in kinds])

    def fail(self, problem: str | None, *kinds: Kind) -> None:
        self.kinds.update(dict.fromkeys(kinds, KindState(problem)))

    def status(self) -> Mapping[Kind, SourceKindStatus]:
        return self.kinds

    def warnings(self) -> Sequence[str]:
        return ()


def _service() -> Service:
    return Service("shop", "web", (bytes([10, 96, 0, 1]),), False, None, ())


class World:
    """A feed of two clusters."""

    def __init__(self) -> None:
        self.sources: dict[str, FakeSource] = {}
        options = cluster_options(settings_of(parser({}).parse_args(["serve"])), _CONFIG, ())
        choice = SourceChoice("the fake", self._open)
        counts = ControllerCounts(share(1)[0])
        self.feed = Cluster(
            options, choice, lambda call: call(), counts, RecordedLog(), Clock(lambda: 0.0, lambda: 0.0)
        )
        self.feed.start()
        self.west, self.east = self.sources[""], self.sources["east"]

    def _open(self, options: SourceOptions, deliver: Deliver, _near: Deliver) -> FakeSource:
        self.sources[options.name] = FakeSource(deliver)
        return self.sources[options.name]

    def served(self) -> list[str]:
        """Return the domains in which the Service has its name."""
        answers = {key for piece in self.feed.contents() for key in piece.answers}
        domains = "cluster.local", "east.example"
        return [each for each in domains if question(from_text(f"web.shop.svc.{each}"), A) in answers]


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_cluster_that_is_listed_is_served(world: World) -> None:
    assert not world.feed.has_whole_cluster
    world.west.list(*_KINDS)
    assert world.feed.has_whole_cluster
    assert world.served() == ["cluster.local"]
    assert world.feed.absent() == (from_text("east.example"),)
    assert not world.feed.has_new_cluster
    world.east.list(*_KINDS)
    assert world.feed.has_new_cluster
    assert world.served() == ["cluster.local", "east.example"]
    assert world.feed.absent() == ()
    assert not world.feed.has_new_cluster


def test_zones_of_the_first_cluster_are_served_while_it_is_unreachable(world: World) -> None:
    world.east.list(*_KINDS)
    assert world.served() == ["east.example"]
    assert world.feed.absent() == (from_text("cluster.local"), from_text("clusterset.local"))


def test_a_cluster_is_served_in_part_if_some_kinds_cannot_be_listed(world: World) -> None:
    world.west.list(*_KINDS)
    assert world.served() == ["cluster.local"]
    world.east.list(Kind.SERVICE)
    assert not world.feed.has_new_cluster  # the slices of the cluster may still be listed
    world.east.fail("403", Kind.ENDPOINT_SLICE)
    assert world.feed.has_new_cluster
    assert world.served() == ["cluster.local", "east.example"]
    world.east.fail(None, Kind.ENDPOINT_SLICE)
    assert not world.feed.has_new_cluster
    assert world.served() == ["cluster.local", "east.example"]
    assert world.feed.absent() == (from_text("east.example"),)


def test_a_listed_cluster_is_still_served_when_a_kind_is_added(world: World) -> None:
    world.west.list(*_KINDS)
    assert world.served() == ["cluster.local"]
    world.west.kinds[Kind.INGRESS] = KindState()  # the state after a CRD was created
    assert world.served() == ["cluster.local"]
    assert world.feed.absent() == (from_text("east.example"),)


def test_missing_kinds_are_reported_with_the_name_of_their_cluster(world: World) -> None:
    world.west.list(*_KINDS)
    world.east.fail("refused", Kind.SERVICE)
    assert world.feed.missing() == {"Service of east": "refused", "EndpointSlice of east": None}
    status = world.feed.status()
    assert (status.sources["east"].synced, status.sources["east"].domains) == (False, ("east.example.",))
