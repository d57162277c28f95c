"""The tests check the current configuration and the table after a configuration is accepted, refused or deleted."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pydns.cli.main import parser
from pydns.cli.serve import settings_of
from pydns.config.inputs import read_config_map
from pydns.config.model import AnyServer, Config, Families, FamilyOptions, MetricNames, ServerSpec, Transport, load
from pydns.config.read import Accepted, Surroundings
from pydns.control.config_source import Seen, Verdict
from pydns.control.configuration import Configuration
from pydns.control.options import cluster_options
from pydns.control.resolv_conf import ResolvConf
from pydns.control.source import SourceOptions
from pydns.dns import name
from pydns.kube.kinds import Kind
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import facts
from pydns.log import Level
from pydns.table.status import ConfigState, ConfigStatus
from pydns.table.writer import Writer
from tests.fakes.log import RecordedLog

ABSENT = Seen(Accepted(Config()), exists=False)
RESOLV_CONF = "nameserver 10.0.0.1\nnameserver 10.0.0.2\n"


class Source:
    """A source that reports nothing unless the test makes it report something."""

    name = "the test"
    said: str | None = None

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def problem(self) -> str | None:
        return self.said

    def announce(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)


class World:
    """The surroundings of a controller: a state directory, a resolv.conf, and a clock. `start` also restarts it."""

    def __init__(self, directory: Path) -> None:
        self.resolv_conf = directory / "resolv.conf"
        self.resolv_conf.write_text(RESOLV_CONF)
        self.own: frozenset[str] = frozenset()
        self.now = 1000.0
        self.families: frozenset[Families] = frozenset()
        self.writer: Writer | None = None
        self._state_dir = directory / "state"
        self.start()

    def start(self, source: bool = True) -> None:
        self.close()
        self.writer = Writer(self._state_dir, facts(ZoneOptions(), serial=0, synced=False))
        self.log = RecordedLog()
        self.source = Source()
        self.configuration = Configuration(
            self.source if source else None,
            self.writer,
            ResolvConf(self.resolv_conf, self.log),
            self.log,
            lambda: self.now,
            lambda: self.families,
        )

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def take(self, **data: str) -> None:
        self.configuration.take(Seen(read_config_map({key.replace("_", "."): text for key, text in data.items()})))
        self.poll()

    def poll(self) -> None:
        self.configuration.update_table(self.own)

    def table(self) -> Config | None:
        assert self.writer is not None
        return load(raw) if (raw := self.writer.config()) else None

    def upstreams(self) -> list[str]:
        table = self.table()
        assert table is not None and table.upstreams is not None
        return _addresses(table.upstreams)

    def status(self) -> ConfigStatus:
        return self.configuration.status({})

    def events(self) -> list[str]:
        return self.log.events()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_no_configuration_applies_before_the_source_was_read(world: World) -> None:
    world.poll()
    assert (world.configuration.config, world.table()) == (None, None)
    assert world.status().state is ConfigState.UNREAD


def test_without_a_source_the_defaults_apply(world: World) -> None:
    world.take(config_yaml="ttl: 10")
    world.start(source=False)
    world.poll()
    assert world.configuration.config == Config()
    assert world.upstreams() == ["10.0.0.1", "10.0.0.2"]
    assert world.log.logged == []


def test_an_accepted_configuration_is_written_to_the_table_with_its_upstreams(world: World) -> None:
    world.take(config_yaml="ttl: 10")
    assert world.configuration.config == Config(ttl_s=10)
    assert world.table() == Config(ttl_s=10, upstreams=(ServerSpec("10.0.0.1"), ServerSpec("10.0.0.2")))
    world.take(config_yaml="upstreams: [10.9.9.9]", upstreamNameservers='["8.8.8.8"]')
    assert world.upstreams() == ["10.9.9.9"]
    assert [str(fields["notice"]) for fields in world.log.of("configuration notice")] == [
        "upstreamNameservers: ignored: config.yaml sets upstreams"
    ]


def test_a_refused_configuration_is_logged_in_full_and_the_previous_one_is_kept(world: World) -> None:
    world.take(config_yaml="ttl: 10")
    good_hash = world.status().hash
    world.log.logged.clear()
    world.now = 2000.0
    world.take(config_yaml="ttl: x\nchoice: best", stubDomains='{"acme.local": ["1.2.3.4", "10.0.0.300"]}')

    assert world.table() == Config(ttl_s=10, upstreams=(ServerSpec("10.0.0.1"), ServerSpec("10.0.0.2")))
    mistakes = [
        'stubDomains["acme.local"][1]: "10.0.0.300" is not an IP address or IP:port',
        'config.yaml:1: ttl: "x" is not a whole number from 0 to 3600',
        'config.yaml:2: choice: "best" is not fastest, round_robin, random or in_order',
    ]
    assert [str(fields["problem"]) for fields in world.log.of("configuration mistake")] == mistakes
    assert world.log.logged[-1] == (
        "configuration refused",
        Level.WARNING,
        {"source": "the test", "mistakes": 3, "action": "keeping the previous configuration"},
    )
    status = world.status()
    assert (status.state, status.since, list(status.mistakes)) == (ConfigState.REFUSED, 2000.0, mistakes)
    assert (status.hash, status.accepted, status.refused) == (good_hash, 1, 1)


def test_a_repeated_configuration_changes_nothing(world: World) -> None:
    for _ in range(2):  # this happens, for example, when an annotation of the ConfigMap changes
        world.take(config_yaml="ttl: x")
        world.now += 60
    assert world.events().count("configuration mistake") == 1
    status = world.status()
    assert (status.refused, status.since) == (1, 1000.0)


def test_a_corrected_configuration_is_logged_as_accepted_again(world: World) -> None:
    for text in ("ttl: 10", "ttl: x", "ttl: 10"):
        world.take(config_yaml=text)
    assert world.events()[-1] == "configuration accepted again"
    assert world.status().mistakes == ()


def test_deleting_the_configuration_restores_the_defaults(world: World) -> None:
    world.take(config_yaml="ttl: 10")
    world.configuration.take(ABSENT)
    world.poll()
    assert world.configuration.config == Config()
    assert world.events()[-1] == "configuration not found"
    assert world.log.logged[-1].level is Level.WARNING
    assert world.status().state is ConfigState.ABSENT


def test_a_configuration_that_never_existed_is_logged_as_a_warning(world: World) -> None:
    world.configuration.take(ABSENT)
    assert [(each.event, each.level) for each in world.log.logged] == [("configuration not found", Level.WARNING)]


@pytest.mark.parametrize("reason", ["refused", "problem"])
def test_a_restart_with_a_bad_configuration_keeps_the_previous_one(world: World, reason: str) -> None:
    world.take(config_yaml="ttl: 10")
    world.resolv_conf.write_text("nameserver 10.0.0.3\n")
    world.start()
    if reason == "refused":
        world.take(config_yaml="ttl: x")
    else:
        world.source.said = "403 Forbidden"
        world.poll()

    assert world.configuration.config == Config(ttl_s=10)
    # These come from the new resolv.conf, because the configuration has no upstreams.
    assert world.upstreams() == ["10.0.0.3"]
    assert "keeping the configuration from before the restart" in [
        each.fields.get("action") for each in world.log.logged
    ]


def test_a_first_start_with_a_bad_configuration_uses_the_defaults(world: World) -> None:
    world.take(config_yaml="ttl: x")
    assert world.configuration.config == Config()
    assert world.upstreams() == ["10.0.0.1", "10.0.0.2"]


def test_an_unreadable_configuration_in_the_table_is_ignored(world: World) -> None:
    assert world.writer is not None
    world.writer.put_config(b"\xc1", b"\xc1")
    world.start()
    world.take(config_yaml="ttl: x")
    assert world.configuration.config == Config()


def test_a_problem_is_logged_once_while_it_lasts(world: World) -> None:
    world.take(config_yaml="ttl: 10")
    world.source.said = "503"
    world.poll()
    world.poll()
    assert world.events().count("configuration can't be read") == 1
    assert world.status().problem == "503"
    assert world.configuration.config == Config(ttl_s=10)


def test_nameservers_are_read_again_when_the_file_changes(world: World) -> None:
    world.take()
    world.resolv_conf.write_text("")  # a program has begun to write the file, but has not finished
    world.poll()
    world.resolv_conf.write_text("nameserver 10.0.0.9\n")
    world.poll()
    assert world.upstreams() == ["10.0.0.1", "10.0.0.2"]
    world.poll()
    assert world.upstreams() == ["10.0.0.9"]
    world.resolv_conf.unlink()
    world.poll()
    world.poll()
    assert world.upstreams() == ["10.0.0.9"]


def test_files_among_the_servers_are_replaced_by_their_nameservers_and_read_again(world: World) -> None:
    written = world.resolv_conf
    world.take(
        config_yaml=f"""
upstreams: [10.9.9.9, {{address: {written}, transport: tcp}}]
routes: {{acme.local: {{servers: [{written}]}}}}
"""
    )
    table = world.table()
    assert table is not None
    assert table.upstreams == (
        ServerSpec("10.9.9.9"),
        ServerSpec("10.0.0.1", transport=Transport.TCP),
        ServerSpec("10.0.0.2", transport=Transport.TCP),
    )
    assert _addresses(table.routes[0].servers) == ["10.0.0.1", "10.0.0.2"]
    written.write_text("nameserver 10.0.0.3\n")
    world.poll()
    world.poll()
    assert world.upstreams() == ["10.9.9.9", "10.0.0.3"]
    written.unlink()
    world.poll()
    world.poll()
    assert world.upstreams() == ["10.9.9.9", "10.0.0.3"]
    assert [str(fields["notice"]) for fields in world.log.of("nameserver notice")] == [
        f"{written}: can't be read: No such file or directory; keeping 1 nameservers"
    ]


def test_the_addresses_of_pydns_are_left_out_of_the_upstreams_and_logged_once(world: World) -> None:
    world.resolv_conf.write_text("nameserver 127.0.0.53\nnameserver 10.96.0.10\nnameserver 10.0.0.1\n")
    world.take()
    assert world.upstreams() == ["10.96.0.10", "10.0.0.1"]
    world.own = frozenset({"10.96.0.10"})  # these addresses are known after the cluster has been listed
    world.poll()
    world.poll()
    assert world.upstreams() == ["10.0.0.1"]
    path = world.resolv_conf
    assert [str(fields["notice"]) for fields in world.log.of("nameserver notice")] == [
        f"{path}:1: nameserver left out: 127.0.0.53 is a loopback address, which leads back to pydns; "
        "give the resolv.conf of the node",
        f"{path}:2: nameserver left out: 10.96.0.10 is this server's own address",
    ]


@pytest.mark.parametrize(
    ("usable", "dns64", "families"),
    [
        (["ipv4"], "", Families.IPV4),
        (["ipv6"], "", Families.IPV6),
        (["ipv4", "ipv6"], "", Families.ALL),
        ([], "", Families.ALL),
        (["ipv4"], "dns64: {}", Families.ALL),
        (["ipv6"], "dns64: {}", Families.IPV6),
    ],
)
def test_automatic_families_are_the_ones_that_the_machine_can_use(
    world: World, usable: list[str], dns64: str, families: Families
) -> None:
    world.families = frozenset(map(Families, usable))
    world.take(config_yaml=f"families: {{which: auto, except: [corp.example]}}\n{dns64}")
    table = world.table()
    assert table is not None and table.families == FamilyOptions(families, (name.from_text("corp.example"),))
    assert world.log.of("families in force") == [{"families": families.value}]
    world.families = frozenset([Families.IPV4, Families.IPV6])
    world.poll()
    world.poll()
    table = world.table()
    assert table is not None and table.families.which is Families.ALL
    assert len(world.log.of("families in force")) == (1 if families is Families.ALL else 2)


def test_an_empty_list_of_upstreams_is_logged(world: World) -> None:
    world.resolv_conf.write_text("nameserver 127.0.0.53\n")
    world.take()
    assert world.upstreams() == []
    assert "no upstreams" in world.events()


def test_the_current_configuration_chooses_the_metric_names_also_after_a_restart(world: World) -> None:
    names = [world.configuration.metric_names]
    for text in ("metrics: {names: pydns}", "metrics: {names: x}"):
        world.take(config_yaml=text)
        names.append(world.configuration.metric_names)
    world.start()
    names.append(world.configuration.metric_names)  # no configuration has been read yet
    world.take(config_yaml="")
    names.append(world.configuration.metric_names)
    assert names == [MetricNames.COREDNS, MetricNames.PYDNS, MetricNames.PYDNS, MetricNames.PYDNS, MetricNames.COREDNS]


def test_the_table_is_written_only_when_something_changed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.take(config_yaml="ttl: 10")
    world.start()
    written: list[bytes] = []
    monkeypatch.setattr(Writer, "put_config", lambda self, *composed: written.extend(composed))
    world.take(config_yaml="ttl: 10  # the same")
    world.poll()
    assert written == []


def test_the_configuration_wins_over_flags_and_flags_fill_its_gaps() -> None:
    flags = ["--ttl", "7", "--pods", "verified", "--labels", "a=b", "--namespaces", "x", "--endpoint-pod-names"]
    settings = settings_of(parser({}).parse_args(["serve", *flags]))
    by_flags = cluster_options(settings, Config(), ())
    assert (by_flags.zone.ttl_s, by_flags.zone.namespaces) == (7, frozenset({"x"}))
    assert by_flags.source == SourceOptions("a=b", True, True, near="kube-system", optional=(Kind.SERVICE_IMPORT,))

    text = "{ttl: 0, pods: disabled, labels: c, namespaces: [y], endpoint_pod_names: false, reverse_zones: [ip6.arpa], "
    text += "multicluster: {zones: []}}"
    result = read_config_map({"config.yaml": text})
    assert isinstance(result, Accepted)
    options = cluster_options(settings, result.config, ())
    assert (options.zone.ttl_s, options.zone.namespaces) == (0, frozenset({"y"}))
    assert options.zone.reverse_zones == (b"\3ip6\4arpa\0",)
    assert options.source == SourceOptions("c", False, False, near="kube-system")
    assert cluster_options(settings._replace(labels=None), Config(), ()).source.near is None


def _addresses(servers: Iterable[AnyServer]) -> list[str]:
    return [each.ip for each in servers if isinstance(each, ServerSpec)]


def test_the_controller_reports_refusals_and_their_end_to_the_source(world: World) -> None:
    world.take(config_yaml="ttl: 10")
    world.take(config_yaml="ttl: x")
    world.take(config_yaml="ttl: 11")
    world.take(config_yaml="ttl: 12")
    mistake = 'config.yaml:1: ttl: "x" is not a whole number from 0 to 3600'
    assert world.source.verdicts == [
        Verdict("ConfigurationRefused", f"refused, keeping the previous configuration: {mistake}", is_warning=True),
        Verdict("ConfigurationInForce", "in force again", is_warning=False),
    ]


def test_log_status_and_verdict_list_the_ignored_parts_of_a_corefile(world: World) -> None:
    text = ". {\n forward . 10.0.0.1\n whoami\n}\n"
    world.configuration.take(Seen(read_config_map({"Corefile": text}, (), Surroundings(lenient=True))))
    world.poll()
    problem = 'Corefile:3: "whoami" is not carried out here'
    assert world.upstreams() == ["10.0.0.1"]
    assert world.status().left_out == (problem,)
    assert world.log.lines("configuration left out") == [f"configuration left out source=the test problem={problem}"]
    assert world.source.verdicts == [
        Verdict("ConfigurationInPart", f"in force, but left out: {problem}", is_warning=True)
    ]
