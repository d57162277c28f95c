"""Flags and environment variables become either settings or a list of all mistakes."""

import pytest

from pydns.cli.main import parser
from pydns.config import flags
from pydns.config.flags import InvalidFlags, with_options_of
from pydns.config.model import Config
from pydns.config.settings import HttpEndpoint, Listen, PodsMode, Settings
from pydns.config.shapes import Mistakes


def read(*arguments: str, **environment: str) -> Settings:
    return flags.read(vars(parser(environment).parse_args(["serve", *arguments])), usable_cpus=3)


def mistakes(*arguments: str, **environment: str) -> list[str]:
    with pytest.raises(InvalidFlags) as refused:
        read(*arguments, **environment)
    return str(refused.value).splitlines()


def test_flags_without_values_have_their_defaults() -> None:
    settings = read()
    assert settings.listen == (Listen("0.0.0.0", 53), Listen("::", 53))
    assert (settings.workers, settings.ttl_s, settings.pods) == (3, 5, PodsMode.INSECURE)
    assert (settings.namespaces, settings.labels, settings.endpoint_pod_names) == (None, None, False)
    assert settings.health == HttpEndpoint(Listen("::", 8080), chosen=False)
    assert (settings.drain_quiet_s, settings.drain_max_s) == (3.0, 30.0)


def test_a_flag_wins_over_its_variable() -> None:
    assert read(PYDNS_TTL="7").ttl_s == 7
    assert read("--ttl", "8", PYDNS_TTL="7").ttl_s == 8


@pytest.mark.parametrize(("text", "is_on"), [("true", True), ("1", True), ("Yes", True), ("0", False), ("", False)])
def test_a_variable_switches_endpoint_pod_names(text: str, is_on: bool) -> None:
    assert read(PYDNS_ENDPOINT_POD_NAMES=text).endpoint_pod_names is is_on
    assert read("--endpoint-pod-names", PYDNS_ENDPOINT_POD_NAMES=text).endpoint_pod_names


def test_variables_without_a_flag_are_found() -> None:
    service = ["PYDNS_SERVICE_HOST", "PYDNS_SERVICE_PORT_DNS_TCP", "PYDNS_PORT", "PYDNS_METRICS_PORT_53_UDP_ADDR"]
    known = dict.fromkeys(
        [flag.variable for flag in flags.SERVE] + ["HOME", "PYDNS_NAMESPACE", "PYDNS_CLIENT", "PYDNS_ASK", *service],
        "x",
    )
    assert list(flags.unknown_variables(known)) == []
    assert list(flags.unknown_variables({**known, "PYDNS_XYZ": "", "PYDNS_WORKER": ""})) == [
        ("PYDNS_WORKER", "PYDNS_WORKERS"),
        ("PYDNS_XYZ", ""),
    ]


def test_an_empty_value_is_treated_as_not_given() -> None:
    assert read(PYDNS_LABELS="", PYDNS_KUBECONFIG="", PYDNS_WORKERS="", PYDNS_LISTEN="", PYDNS_TTL="") == read()


def test_an_empty_list_is_accepted() -> None:
    assert read("--reverse-zones", "").reverse_zones == ()
    assert read("--namespaces", "").namespaces == ()


@pytest.mark.parametrize(
    "arguments",
    [["--namespaces", "A," * 5000], ["--ttl", "9" * 5000], ["--listen", ",", "--drain-max", "nan"], ["--labels", "\0"]],
)
def test_hostile_values_give_a_bounded_number_of_mistakes(arguments: list[str]) -> None:
    assert 1 <= len(mistakes(*arguments)) <= 100


def test_every_mistake_is_reported_with_its_flag() -> None:
    assert mistakes("--workers", "0", "--listen", "127.0.0.1:53,::1", "--ttl", "5s", "--namespaces", "shop,Shop") == [
        '--listen[1]: "::1" is not HOST:PORT with an IP address, such as 0.0.0.0:53 or [::]:53',
        "--workers: 0 is not a whole number from 1 to 256",
        '--ttl: "5s" is not a whole number from 0 to 3600',
        '--namespaces[1]: "Shop" is not the name of a namespace',
    ]


def test_a_mistake_in_a_variable_names_the_variable() -> None:
    assert mistakes("--ttl", "x", PYDNS_ENDPOINT_POD_NAMES="on", PYDNS_NAMESPACES="shop,Shop", PYDNS_TTL="y") == [
        '--ttl: "x" is not a whole number from 0 to 3600',
        'PYDNS_NAMESPACES[1]: "Shop" is not the name of a namespace',
        'PYDNS_ENDPOINT_POD_NAMES: "on" is not true or false',
    ]
    (mistake,) = mistakes("--manifests", "a", PYDNS_KUBECONFIG="b")
    assert mistake.startswith("--manifests: can't be given together with PYDNS_KUBECONFIG; ")


@pytest.mark.parametrize(
    ("one", "other"), [("manifests", "kubeconfig"), ("config", "configmap"), ("manifests", "configmap")]
)
def test_flags_that_exclude_each_other_cannot_be_combined(one: str, other: str) -> None:
    (mistake,) = mistakes(f"--{one}", "a", f"--{other}", "b/c")
    assert mistake.startswith(f"--{one}: can't be given together with --{other}; ")


def test_an_unknown_key_of_a_further_cluster_is_named() -> None:
    (mistake,) = mistakes("--kubeconfig", "A", "--kubeconfig", "east=F,domian=x")
    assert mistake.endswith('further cluster: "domian" is unknown')


@pytest.mark.parametrize("flag", flags.SERVE, ids=lambda flag: flag.name)
def test_the_default_in_the_table_is_valid_and_the_wrong_value_is_refused(flag: flags.Flag) -> None:
    found = Mistakes()
    flag.read(flag.default, found)
    assert found == []
    if flag.wrong:
        flag.read(flag.wrong, found)
        assert str(found[0]).startswith(flag.option)


@pytest.mark.parametrize("flag", flags.CLUSTER, ids=lambda flag: flag.name)
def test_the_live_configuration_overrides_flags_for_the_cluster(flag: flags.Flag) -> None:
    assert flag.example, "its key is documented with an example"
    value = flag.read(flag.example, Mistakes())
    config = Config(**{flag.in_settings: value})
    assert getattr(with_options_of(read(), config), flag.in_settings) == value
    assert with_options_of(read(), Config()) == read()
