"""What the controller writes to the table when feeds and configurations change, with a fake feed and a fake clock."""

import gc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.inputs import read_config_map
from pydns.config.model import Config, load
from pydns.control import http
from pydns.control.clock import Clock
from pydns.control.config_source import Seen, Verdict
from pydns.control.configuration import Configuration
from pydns.control.controller import Controller, Inputs
from pydns.control.options import ClusterOptions, cluster_options
from pydns.control.reporter import Reporter, Shared
from pydns.control.resolv_conf import ResolvConf
from pydns.control.source import SourceError
from pydns.control.static_records import StaticRecords
from pydns.dns.compiled import question
from pydns.dns.name import from_text
from pydns.dns.rrset import A
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import facts
from pydns.process.block import share
from pydns.process.pulse import Pulse
from pydns.table.layout import ANSWERS, CONFIG_KEY, FACTS, STATUS_KEY
from pydns.table.status import ConfigState, decode
from pydns.table.writer import DiskFullError, Writer
from tests.fakes.feed import FakeFeed
from tests.fakes.log import RecordedLog

WEB = "web.shop.svc.cluster.local."


class SilentSource:
    """A source of the configuration that delivers nothing by itself."""

    name = "the test"

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def problem(self) -> str | None:
        return None

    def announce(self, verdict: Verdict) -> None:
        pass


class World:
    """A controller with its table. New feeds get `addresses`. `feeds` has the feeds in the order of opening."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.addresses = {WEB: "10.96.0.1"}
        self.refuses = ""
        self.feeds: list[FakeFeed] = []
        self.log = RecordedLog()
        self._directory = directory
        self._settings = settings_of(parser({}).parse_args(["serve", "--listen", "127.0.0.1:0"]))
        self._writer: Writer | None = None
        self.start()

    def start(self) -> None:
        """Start the controller, or restart it with the existing table."""
        self.close()
        self._writer = Writer(self._directory / "state", facts(ZoneOptions(), serial=0, synced=False))
        clock = Clock(lambda: self.now, lambda: 1_700_000_000 + self.now)
        self.pulse = Pulse(1, 0)
        self.pulse.workers[0].answered_ns = 1
        self.reporter = Reporter(Shared(share(2), self.pulse), 53, clock)
        resolv_conf = ResolvConf(self._directory / "resolv.conf", self.log)
        self.configuration = Configuration(SilentSource(), self._writer, resolv_conf, self.log, clock.wall)
        statics = StaticRecords(self._writer, [ZoneOptions().domain], ZoneOptions().reverse_zones, self.log, None)
        options = partial(cluster_options, self._settings, own_addresses=())
        inputs = Inputs(self.configuration, statics, options, self._open, "the fake", ())
        self.controller = Controller(inputs, self._writer, self.reporter, self.log, clock)
        self.controller.start()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def configure(self, text: str = "") -> None:
        self.controller.take_configuration(Seen(read_config_map({"config.yaml": text})))

    def turn(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.controller.turn()

    def table(self) -> tuple[str, bool]:
        """Return the Service's address and TTL in the table, and whether the table is synced."""
        assert self._writer is not None
        answer = self.stored(ANSWERS, question(from_text(WEB), A))
        synced = self._writer.facts().synced
        if answer is None:
            return "", synced
        return f"{'.'.join(map(str, answer[-4:]))} {int.from_bytes(answer[-10:-6])}", synced

    def stored(self, database: bytes, key: bytes) -> bytes | None:
        """Return a value of the table. It comes from the writer, because a process can open a table only once."""
        assert self._writer is not None
        environment = self._writer._environment
        found = environment.open_db(database)
        with environment.begin() as transaction:
            return transaction.get(key, db=found)

    def page(self, path: str) -> str:
        pages = {path: page for each in self.reporter.pages().values() for path, page in each.items()}
        return pages[path](http.Request(path, {}, {})).body.decode()

    def _open(self, options: ClusterOptions) -> FakeFeed:
        self.feeds.append(FakeFeed(options, self.addresses, self.refuses))
        return self.feeds[-1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()
    gc.enable()  # the controller turns the garbage collector off until its first commit
    gc.unfreeze()


def synced(world: World) -> FakeFeed:
    """Configure the world, let its feed list everything, and return the feed."""
    world.configure()
    world.feeds[0].list()
    world.turn()
    assert world.table() == ("10.96.0.1 5", True)
    return world.feeds[0]


def test_no_feed_is_opened_before_the_configuration_is_known(world: World) -> None:
    world.turn()
    assert world.feeds == []
    world.configure("labels: team=shop")
    assert [each.options.source.labels for each in world.feeds] == ["team=shop"]


def test_the_first_commit_waits_for_every_kind(world: World) -> None:
    world.configure()
    (feed,) = world.feeds
    world.turn()
    assert world.table() == ("", False)
    feed.list("Service")
    world.turn(60)
    assert world.table() == ("", False)
    assert world.page("/ready") == "EndpointSlice: not yet listed\n"
    feed.list("EndpointSlice")
    world.turn()
    assert world.table() == ("10.96.0.1 5", True)
    assert world.page("/ready") == "OK\n"
    assert world.log.of("synced") == [{"source": "the fake", "objects": "Service:0 EndpointSlice:0"}]


def test_a_kind_that_cannot_be_listed_does_not_delay_the_others(world: World) -> None:
    world.configure()
    (feed,) = world.feeds
    feed.list("Service")
    feed.problems["EndpointSlice"] = "403"
    world.turn()
    assert world.table() == ("10.96.0.1 5", False)
    feed.addresses[WEB] = "10.96.0.2"
    world.turn()
    assert world.table() == ("10.96.0.2 5", False)
    assert [each["missing"] for each in world.log.of("serving in part")] == ["EndpointSlice"]
    feed.list()
    world.turn()
    assert world.table() == ("10.96.0.2 5", True)


def test_a_relist_keeps_what_is_served(world: World) -> None:
    feed = synced(world)
    # The version has expired. The current feed is kept, because all its kinds have been listed once.
    feed.problems["Service"] = "410"
    world.turn(1)
    assert world.table() == ("10.96.0.1 5", True)
    assert world.page("/ready") == "OK\n"
    feed.list()
    feed.addresses[WEB] = "10.96.0.2"
    world.turn()
    assert world.table() == ("10.96.0.2 5", True)


def test_a_feed_with_new_source_options_takes_over_when_it_is_complete(world: World) -> None:
    before = synced(world)
    world.addresses = {WEB: "10.96.0.9"}
    world.configure("labels: team=shop")
    _, after = world.feeds
    before.addresses[WEB] = "10.96.0.2"
    world.turn(1)
    # Until the new feed is complete, changes of the feed in force are still written.
    assert world.table() == ("10.96.0.2 5", True)
    assert list(world.controller.status().config.waiting_for) == ["Service", "EndpointSlice"]  # type: ignore[union-attr]
    after.list()
    world.turn()
    assert world.table() == ("10.96.0.9 5", True)
    assert (before.is_running, after.is_running, after.followed) == (False, True, before)
    assert world.log.of("options in force") == [{"source": "the fake"}]


def test_changing_the_options_back_stops_the_waiting_feed(world: World) -> None:
    before = synced(world)
    world.configure("labels: team=shop")
    world.configure("")
    world.feeds[1].list()
    world.turn()
    assert [each.is_running for each in (before, world.feeds[1])] == [True, False]
    assert world.log.of("options in force") == []


def test_changed_zone_options_take_effect_in_one_commit(world: World) -> None:
    feed = synced(world)
    world.configure("ttl: 30")
    assert world.table() == ("10.96.0.1 30", True)  # the controller changed only the TTL in the compiled answers
    world.configure("{ttl: 40, pods: disabled}")
    assert world.table() == ("10.96.0.1 40", True)  # the controller compiled all answers again
    assert world.feeds == [feed]


def test_a_feed_that_cannot_be_opened_is_tried_again_and_logged_once(world: World) -> None:
    before = synced(world)
    world.refuses = "no such folder"
    world.configure("labels: team=shop")
    for _ in range(3):
        world.turn(1)
    assert len(world.feeds) == 5
    assert [each["problem"].args for each in world.log.of("options not in force")] == [("no such folder",)]  # type: ignore[attr-defined]
    assert before.is_running
    world.refuses = ""
    world.turn(1)
    world.feeds[-1].list()
    world.turn()
    assert world.log.events().count("options in force") == 1


def test_the_start_fails_if_the_first_feed_cannot_be_opened(world: World) -> None:
    world.refuses = "no such folder"
    with pytest.raises(SourceError, match="no such folder"):
        world.configure()


def test_a_restored_table_is_served_and_counts_as_ready_until_the_feed_is_complete(world: World) -> None:
    synced(world)
    world.addresses = {WEB: "10.96.0.9"}
    world.feeds.clear()
    world.start()
    world.configure()
    world.controller.publish_status()
    assert world.table() == ("10.96.0.1 5", False)
    assert (world.page("/ready"), world.controller.status().restored) == ("OK\n", True)
    world.feeds[0].list()
    world.turn()
    assert world.table() == ("10.96.0.9 5", True)
    assert world.controller.status().restored is False


def test_a_draining_server_is_not_ready_but_follows_the_feed(world: World) -> None:
    feed = synced(world)
    world.pulse.drain()
    feed.addresses[WEB] = "10.96.0.2"
    world.turn(1)
    assert world.page("/ready") == "draining\n"
    assert world.table() == ("10.96.0.2 5", True)
    assert decode(world.page("/status").encode()).draining


def test_the_status_is_published_once_a_second(world: World) -> None:
    synced(world)
    world.configure("ttl: x")
    times = []
    for seconds in (0.5, 0.25, 0.25, 0.5, 0.75):
        world.turn(seconds)
        times.append(decode(world.stored(FACTS, STATUS_KEY) or b"").time - 1_700_000_000)
    assert times == [1000.0, 1000.0, 1001.0, 1001.0, 1002.25]
    config = world.controller.status().config
    assert config is not None
    assert (config.state, config.refused) == (ConfigState.REFUSED, 1)
    assert world.configuration.config == Config()


def test_changes_that_a_full_disk_refused_are_written_when_there_is_space(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = synced(world)

    def refuse(*_: object) -> None:
        raise DiskFullError("no room")

    with monkeypatch.context() as full:
        for write in ("commit", "replace", "put_status"):
            full.setattr(Writer, write, refuse)
        feed.addresses[WEB] = "10.96.0.2"
        feed.is_behind = True
        for _ in range(20):
            world.turn(1.0)
            assert not world.controller.is_behind  # the next turn need not follow at once
        assert world.table() == ("10.96.0.1 5", True)
        assert world.page("/ready") == "OK\n"
        feed.is_behind = False
    world.turn(1.0)
    world.turn(5.0)
    assert world.table() == ("10.96.0.2 5", True)
    assert [str(each["problem"]) for each in world.log.of("disk full")] == ["no room"]
    assert len(world.log.of("disk no longer full")) == 1
    feed.addresses[WEB] = "10.96.0.3"
    world.turn(1.0)
    assert world.table() == ("10.96.0.3 5", True)


def test_a_first_listing_that_did_not_fit_is_written_when_there_is_space(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise DiskFullError("no room")

    world.configure()
    world.feeds[0].list()
    with monkeypatch.context() as full:
        full.setattr(Writer, "replace", refuse)
        world.turn()
        world.turn(10.0)
        assert world.table() == ("", False)
    world.turn(5.0)
    assert world.table() == ("10.96.0.1 5", True)
    assert world.page("/ready") == "OK\n"


@pytest.mark.parametrize(
    ("text", "writes"),
    [
        ("ttl: 9", ["put_config"]),
        ("ttl: 9", ["revise"]),
        ("ttl: 9\npods: disabled", ["replace"]),
        ("ttl: 9", ["put_config", "put_static", "revise", "replace", "commit", "put_status"]),
    ],
)
def test_a_configuration_that_did_not_fit_takes_effect_when_there_is_space(
    world: World, monkeypatch: pytest.MonkeyPatch, text: str, writes: list[str]
) -> None:
    feed = synced(world)

    def refuse(*_: object) -> None:
        raise DiskFullError("no room")

    with monkeypatch.context() as full:
        for write in writes:
            full.setattr(Writer, write, refuse)
        world.configure(text)
        for _ in range(20):
            world.turn(1.0)
        assert feed.is_running
        assert world.page("/ready") == "OK\n"
    world.turn(5.0)
    assert world.table() == ("10.96.0.1 9", True)
    assert load(world.stored(FACTS, CONFIG_KEY) or b"").ttl_s == 9
    assert [str(each["problem"]) for each in world.log.of("disk full")] == ["no room"]
    assert len(world.log.of("disk no longer full")) == 1


def test_a_feed_takes_over_even_if_its_records_do_not_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = synced(world)
    world.addresses = {WEB: "10.96.0.9"}

    def refuse(*_: object) -> None:
        raise DiskFullError("no room")

    with monkeypatch.context() as full:
        full.setattr(Writer, "replace", refuse)
        world.configure("labels: team=shop")
        world.feeds[1].list()
        world.turn(1)
        assert world.table() == ("10.96.0.1 5", True)
        assert not before.is_running
    world.turn(5)
    assert world.table() == ("10.96.0.9 5", True)


def test_after_a_restart_hosts_and_zones_are_kept_until_the_configuration_is_read(world: World) -> None:
    def has_host() -> bool:
        return world.stored(ANSWERS, question(from_text("db.corp.example"), A)) is not None

    world.configure("hosts: {db.corp.example: {addresses: [10.9.0.5]}}")
    world.turn()
    assert has_host()
    world.start()
    world.turn(1)
    assert has_host()
    world.configure()
    world.turn(1)
    assert not has_host()
