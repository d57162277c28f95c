"""A client's address becomes a name. Cases are in client_names.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pydns.dns.address import parse_address
from pydns.kube.events import Apply, Delete
from pydns.kube.kinds import BY_NAME
from pydns.kube.objects import parse
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.table.client_names import ClientName, ClientNames, PodAddress, compose_slice, is_client_name, parse_slice
from tests.kube.written import Written, written

_CASES: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "client_names.yaml").read_text())


@pytest.mark.parametrize("case", _CASES, ids=[case["name"] for case in _CASES])
def test_case(case: dict[str, Any]) -> None:
    zone = Zone(ZoneOptions())
    for each in case["objects"]:
        zone.apply(Apply(parse(BY_NAME[each["kind"]], each)))
    names = _names(written(zone))
    assert {client: _text(names.name_of(parse_address(client))) for client in case["clients"]} == case["clients"]


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


def _slice(slice_name: str, pod: str) -> dict[str, Any]:
    endpoint = {"addresses": ["10.1.0.1"], "nodeName": "n1", "targetRef": {"kind": "Pod", "name": pod}}
    metadata = {"name": slice_name, "namespace": "shop"}
    return {"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint]}


def _names(table: Written) -> ClientNames:
    return ClientNames(table.names.items())


def _text(name: ClientName | None) -> str | None:
    return None if name is None else f"{name} @{name.node}/{name.zone} by {name.known.value}"
