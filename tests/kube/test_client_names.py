"""A client's address becomes a name. Cases are in client_names.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pydns.config.settings import PodsMode
from pydns.dns.address import parse_address
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import BY_NAME, Kind
from pydns.kube.objects import Observed, Options, Pod, Ref, parse
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.table.client_names import (
    ClientName,
    ClientNames,
    PodAddress,
    RunningPod,
    compose_slice,
    is_client_name,
    parse_pod,
    parse_slice,
    records,
)
from tests.kube.written import Written, written

_CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "client_names.yaml").read_text())


@pytest.mark.parametrize("case", _CASES, ids=[case["name"] for case in _CASES])
def test_case(case: dict[str, Any]) -> None:
    zone, reading = Zone(ZoneOptions(client_pods=True)), Options(clients=True)
    for each in case["objects"]:
        zone.apply(Apply(parse(BY_NAME[each["kind"]], each, reading)))
    for each in case.get("deleted", []):
        zone.apply(Delete(parse(BY_NAME[each["kind"]], each).ref))
    names = _names(written(zone))
    assert {client: _text(names.name_of(parse_address(client))) for client in case["clients"]} == case["clients"]


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ((), ""),
        (("app",), "app=web"),
        (("team.example/owner", "app", "missing"), "team.example/owner=a_b.c,app=web"),
        (("empty", "long", "strange"), ""),
    ],
)
def test_a_client_has_the_labels_that_are_asked_for(keys: tuple[str, ...], wanted: str) -> None:
    zone, reading = Zone(ZoneOptions(client_pods=True)), Options(clients=True, client_labels=keys)
    labels = {"app": "web", "team.example/owner": "a_b.c", "empty": "", "long": "x" * 64, "strange": "a\tb"}
    given: dict[str, Any] = {
        "metadata": {"name": "web-0", "namespace": "shop", "labels": labels},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": "10.1.0.1", "hostIP": "10.0.0.1"},
    }
    table = written(zone)
    zone.apply(Apply(parse(BY_NAME["Pod"], given, reading)))
    table.change(zone.flush())
    found = _names(table).name_of(parse_address("10.1.0.1"))
    assert found is not None
    assert (str(found), found.labels_text) == ("shop/web-0", wanted)
    assert _names(table).addresses_of("shop", "web-0") == [parse_address("10.1.0.1")]
    given["metadata"]["labels"] = {}
    zone.apply(Apply(parse(BY_NAME["Pod"], given, reading)))
    table.change(zone.flush())
    found = _names(table).name_of(parse_address("10.1.0.1"))
    assert found is not None
    assert (str(found), found.labels_text) == ("shop/web-0", "")
    zone.apply(Delete(parse(BY_NAME["Pod"], given, reading).ref))
    table.change(zone.flush())
    assert _names(table).name_of(parse_address("10.1.0.1")) is None


def test_an_address_that_moves_to_another_slice_has_its_new_name_after_one_flush() -> None:
    zone = Zone(ZoneOptions())
    table = written(zone)
    zone.apply(Apply(parse(BY_NAME["EndpointSlice"], _slice("one", "web-0"))))
    table.change(zone.flush())
    zone.apply(Apply(parse(BY_NAME["EndpointSlice"], _slice("two", "web-1"))))
    zone.apply(Delete(parse(BY_NAME["EndpointSlice"], _slice("one", "web-0")).ref))
    table.change(zone.flush())
    assert _text(_names(table).name_of(parse_address("10.1.0.1"))) == "shop/web-1 @n1/ by endpoint"
    assert len([key for key in table.names if is_client_name(key)]) == 1


@pytest.mark.parametrize("labels", [(), ("app",)])
def test_the_node_of_a_pod_on_the_nodes_network_is_known(labels: tuple[str, ...]) -> None:
    zone, reading = Zone(ZoneOptions(client_pods=True)), Options(clients=True, client_labels=labels)
    for pod, is_on_node in ("agent", True), ("agent-2", False):
        given = {
            "metadata": {"name": pod, "namespace": "shop", "labels": {"app": "agent"}},
            "spec": {"nodeName": "n1", "hostNetwork": is_on_node},
            "status": {"phase": "Running", "podIP": "10.0.0.9", "hostIP": "10.0.0.9" if is_on_node else "10.0.0.1"},
        }
        zone.apply(Apply(parse(BY_NAME["Pod"], given, reading)))
    names = _names(written(zone))
    assert names.node_with("shop", "agent") == "n1"
    assert [names.node_with(*each) for each in [("shop", "agent-2"), ("shop", "age"), ("other", "agent")]] == [""] * 3


def test_pods_addresses_are_found_by_its_name() -> None:
    zone = Zone(ZoneOptions())
    for slice_name, pod in ("one", "web-0"), ("other", "web-0"):
        zone.apply(Apply(parse(BY_NAME["EndpointSlice"], _slice(slice_name, pod))))
    names = _names(written(zone))
    assert names.addresses_of("shop", "web-0") == [parse_address("10.1.0.1")]
    assert names.addresses_of("shop", "web-1") == names.addresses_of("sho", "web-0") == []


_TEXT = st.sampled_from(["", "a", "ab", "ba", "abcab", "abab", "a" * 200]) | st.text("ab", max_size=12)


@given(
    st.integers(4, 5).flatmap(
        lambda size: st.lists(st.builds(PodAddress, st.binary(min_size=size, max_size=size), _TEXT, _TEXT, _TEXT))
    )
)
def test_every_list_of_pods_is_read_as_it_was_written(pods: list[PodAddress]) -> None:
    assert parse_slice(compose_slice(pods)) == sorted(pods)


_RUNNING = st.builds(
    RunningPod,
    st.just("shop"),
    st.sampled_from(["a", "b", "ab"]),
    st.lists(st.sampled_from([bytes(4), bytes([10, 0, 0, 1]), bytes(16)]), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from([bytes(4), bytes([10, 0, 0, 2])]), max_size=1).map(tuple),
    st.integers(0, 2**33),
    st.lists(st.sampled_from([("app", "web"), ("team.example/a", "x.y"), ("b", "a")]), max_size=2).map(tuple),
)
# A Pod has one node for its whole life. So the test derives the node from the Pod's name.
_POD = _RUNNING.map(lambda each: Pod(each.namespace, each.name, each.addresses, f"n{len(each.name)}", each))
_ENDED = st.sampled_from(["a", "b", "ab"]).map(lambda name: Pod("shop", name, (), f"n{len(name)}"))
_EVENTS = st.lists(
    (_POD | _ENDED).map(lambda pod: [Apply(Observed(_ref(pod), "", pod))])
    | _POD.map(lambda pod: [Delete(_ref(pod))])
    | _POD.map(lambda pod: [Delete(_ref(pod), "", pod.node)])
    | st.lists(_POD | _ENDED, max_size=3, unique_by=lambda pod: pod.name).map(
        lambda pods: [
            Init(Kind.POD),
            *(InitApply(Observed(_ref(pod), "", pod)) for pod in pods),
            InitDone(Kind.POD),
        ]
    ),
    max_size=8,
)


def _ref(pod: Pod) -> Ref:
    return Ref(Kind.POD, pod.namespace, pod.name)


@given(_EVENTS, st.integers(0, 8), st.booleans())
def test_after_any_events_the_entries_are_those_of_the_running_pods(
    steps: list[list[Event]], loaded_at: int, has_names: bool
) -> None:
    options = ZoneOptions(client_pods=True, pods=PodsMode.VERIFIED if has_names else PodsMode.DISABLED)
    zone = Zone(options)
    table = written(zone)
    running: dict[Ref, RunningPod] = {}
    for number, events in enumerate(steps):
        for event in events:
            zone.apply(event)
            match event:
                case Init():
                    running = {}
                case Apply(observed) | InitApply(observed):
                    running.pop(observed.ref, None)
                    if isinstance(observed.value, Pod) and observed.value.running is not None:
                        running[observed.ref] = observed.value.running
                case Delete(ref):
                    running.pop(ref, None)
        if number == loaded_at:
            zone = zone.with_options(options)
            table = written(zone)
        else:
            table.change(zone.flush())
    entries = [value for key, value in table.names.items() if is_client_name(key)]
    found = [parse_pod(record) for entry in entries for record in records(entry)]
    limit = 2**32 - 1
    assert sorted(found) == sorted(each._replace(started=min(each.started, limit)) for each in running.values())
    assert zone.count(Kind.POD) == len(running)


def test_pods_do_not_change_before_their_listing_is_complete() -> None:
    zone = Zone(ZoneOptions(client_pods=True))
    table = written(zone)
    pod = RunningPod("shop", "web-0", (bytes([10, 1, 0, 1]),), (), 1)
    observed = Observed(Ref(Kind.POD, "shop", "web-0"), "", Pod("shop", "web-0", pod.addresses, "n1", pod))
    steps: list[tuple[list[Event], str | None]] = [
        ([Init(Kind.POD), InitApply(observed)], None),
        ([InitDone(Kind.POD)], "shop/web-0 @n1/ by pod"),
        ([Init(Kind.POD)], "shop/web-0 @n1/ by pod"),
        ([InitDone(Kind.POD)], None),
    ]
    for events, name in steps:
        for event in events:
            zone.apply(event)
        table.change(zone.flush())
        assert _text(_names(table).name_of(parse_address("10.1.0.1"))) == name


def _slice(slice_name: str, pod: str) -> dict[str, Any]:
    endpoint = {"addresses": ["10.1.0.1"], "nodeName": "n1", "targetRef": {"kind": "Pod", "name": pod}}
    metadata = {"name": slice_name, "namespace": "shop"}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint]}


def _names(table: Written) -> ClientNames:
    return ClientNames(table.names.items())


def _text(name: ClientName | None) -> str | None:
    return None if name is None else f"{name} @{name.node}/{name.zone} by {name.known.value}"
