"""Manifests become the objects that a cluster would have. The cases are in `workloads/*.yaml`."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.config import selector
from pydns.dns import name
from pydns.dns.address import parse_address
from pydns.kube import cluster_ips, documents, objects, workloads
from pydns.kube.objects import EndpointSlice, Service

DEMO = Path(__file__).parents[2] / "manifests" / "demo"
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(Path(__file__).parent.glob("workloads/*.yaml"))
    for case in yaml.safe_load(path.read_text())
]


def read(text: str) -> tuple[list[workloads.Manifest], list[str], list[str]]:
    """Return the manifests, the faults with their lines, and the kinds that were skipped."""
    manifests, faults, ignored = [], [], []
    for document in documents.read(text):
        assert isinstance(document, documents.Document), document
        for item in workloads.read(document.value):
            if isinstance(item, workloads.Manifest):
                manifests.append(item)
            elif isinstance(item, workloads.Fault):
                faults.append(f"line {document.line_of(item.path)}: {item.reason}")
            else:
                ignored.append(item.kind)
    return manifests, faults, sorted(ignored)


def build(text: str, labels: str | None = None, options: objects.Options = objects.DEFAULTS) -> list[objects.Object]:
    manifests, faults, _ = read(text)
    assert faults == []
    built = workloads.build(manifests, options, None if labels is None else selector.parse(labels))
    for ref, observed in built.items():
        assert ref == observed.ref
        assert observed.resource_version == ""
        assert not isinstance(observed.value, objects.Skipped), observed
    return [observed.value for observed in built.values() if not isinstance(observed.value, objects.Skipped)]


def address_text(address: bytes) -> str:
    return str(ip_address(address))


def service_line(service: Service) -> str:
    if service.external_name is not None:
        return name.to_text(service.external_name)
    return "headless" if service.headless else " ".join(map(address_text, service.cluster_ips))


def slice_line(each: EndpointSlice) -> str:
    ports = " ".join(f"{port.name}/{port.protocol}/{port.number}" for port in each.ports)
    endpoints = [address_text(each.address) + (f"={each.label}" if each.label else "") for each in each.endpoints]
    return f"{each.namespace}/{each.service}: {ports}: {' '.join(endpoints)}"


@pytest.mark.parametrize("case", CASES)
def test_manifests_give_the_objects_that_the_control_plane_would_create(case: dict[str, Any]) -> None:
    _, faults, ignored = read(case["given"])
    assert faults == case.get("faults", [])
    assert ignored == case.get("ignored", [])
    if faults:
        return
    found = build(case["given"])
    actual = {
        "services": {
            f"{each.namespace}/{each.name}": service_line(each) for each in found if isinstance(each, Service)
        },
        "slices": sorted(slice_line(each) for each in found if isinstance(each, EndpointSlice) and each.endpoints),
        "namespaces": sorted(each.name for each in found if isinstance(each, objects.Namespace)),
    }
    if "slices" in case:
        case["slices"].sort()
    expected = {key: case[key] for key in actual if key in case}
    assert {key: actual[key] for key in expected} == expected


WEB = """
{apiVersion: v1, kind: Service, metadata: {name: web, labels: {team: shop}}, spec: {selector: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-1, labels: {app: web}}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, labels: {team: other}}, spec: {selector: {app: web}}}
---
{apiVersion: v1, kind: Service, metadata: {name: old}, spec: {clusterIP: None}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: old, labels: {team: shop}},
 subsets: [{addresses: [{ip: 10.0.0.2}]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,
 metadata: {name: by-hand, labels: {kubernetes.io/service-name: web}}, endpoints: [{addresses: [10.0.0.3]}]}
"""


def test_a_label_selector_picks_the_same_objects_as_an_api_server() -> None:
    found = build(WEB, labels="team=shop")
    assert sorted(each.name for each in found if isinstance(each, Service)) == ["web"]
    # The pod doesn't have the label, but is still an endpoint of the Service, which has the label. The mirrored slice
    # gets its labels from the Endpoints object.
    assert sorted(slice_line(each) for each in found if isinstance(each, EndpointSlice)) == [
        "default/old: : 10.0.0.2",
        "default/web: : 10.0.0.1",
    ]
    assert [each for each in found if isinstance(each, objects.Pod)] == []
    assert [each for each in found if isinstance(each, objects.Namespace)] == [objects.Namespace("default")]


def test_an_endpoint_has_the_name_of_its_pod_if_the_flag_is_set() -> None:
    found = build(WEB, options=objects.Options(endpoint_pod_names=True))
    assert "default/web: : 10.0.0.1=web-1" in [slice_line(each) for each in found if isinstance(each, EndpointSlice)]


def test_a_slice_keeps_its_name_when_a_pod_is_added() -> None:
    more = WEB + "---\n{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: web}}, status: {podIP: 10.0.0.9}}"
    before, after = ({each.name for each in build(text) if isinstance(each, EndpointSlice)} for text in (WEB, more))
    assert before == after


def services_of(*names: str) -> dict[str, str]:
    text = "\n---\n".join(
        f"{{apiVersion: v1, kind: Service, metadata: {{name: {each}}}, spec: {{}}}}" for each in names
    )
    return {each.name: service_line(each) for each in build(text) if isinstance(each, Service)}


def test_adding_a_service_does_not_change_other_addresses() -> None:
    few = services_of(*(f"s{number}" for number in range(50, 100)))
    many = services_of(*(f"s{number}" for number in range(200)))
    assert len(set(many.values())) == 200
    assert few == {key: many[key] for key in few}


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_allocated_addresses_leave_out_both_ends_of_the_range(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lowest, highest = {
        "IPv4": ("10.96.1.0", "10.111.255.254"),
        "IPv6": ("fd00:10:96::100", "fd00:10:96::f:fffe"),
    }[family]
    taken: set[bytes] = set()
    # The fixed hash selects the last address of the range. The search for a free address continues at the first
    # address.
    count = 2**20 - 257
    monkeypatch.setattr(cluster_ips, "blake2b", lambda *_, **__: FixedHash(count - 1))
    assert cluster_ips.allocate("a", "b", family, taken) == highest
    assert cluster_ips.allocate("a", "c", family, taken) == lowest
    assert taken == {parse_address(lowest), parse_address(highest)}


class FixedHash:
    def __init__(self, value: int) -> None:
        self.value = value

    def digest(self) -> bytes:
        return self.value.to_bytes(8)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in paths_of(child, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    if isinstance(value, list):
        return [replaced(child, path[1:], by) if key == path[0] else child for key, child in enumerate(value)]
    return {key: replaced(child, path[1:], by) if key == path[0] else child for key, child in value.items()}


SOUND = [
    document.value
    for text in sorted(path.read_text() for path in DEMO.glob("*.yaml"))
    for document in documents.read(text)
    if isinstance(document, documents.Document)
]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.floats(),
    st.sampled_from(
        ["", "None", "web", "http", "10.0.0.1", "::1", "fe80::1%eth0", "A_b.", "v1", "Pod", "x" * 300, "é\0"]
    ),
    st.sampled_from([[], {}, [None], {"": None}, [[]], [{}], {"name": []}, ["None", "::1"], ["::1", "::2"]]),
)


@settings(deadline=None, max_examples=500)
@given(st.data())
def test_every_accepted_manifest_can_be_built_and_every_refused_one_has_a_reason(data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(SOUND) - 1))
    changed = SOUND[index]
    for _ in range(data.draw(st.integers(1, 3))):
        changed = replaced(changed, data.draw(st.sampled_from(paths_of(changed))), data.draw(ANYTHING))
    items = [item for each in [*SOUND[:index], changed, *SOUND[index + 1 :]] for item in workloads.read(each)]
    built = workloads.build(item for item in items if isinstance(item, workloads.Manifest))
    assert not [each for each in built.values() if isinstance(each.value, objects.Skipped)]
    assert all(item.reason for item in items if isinstance(item, workloads.Fault))


def test_the_demo_cluster_has_no_mistakes_and_each_service_shows_what_it_should() -> None:
    found = build("\n---\n".join(path.read_text() for path in sorted(DEMO.glob("*.yaml"))))
    services = {f"{each.namespace}/{each.name}": service_line(each) for each in found if isinstance(each, Service)}
    assert services["study/tomcat-service"] == "10.98.148.75"
    assert services["kube-system/kube-dns"] == "10.96.0.10"
    assert services["default/kubernetes"] == "10.96.0.1"
    assert services["shop/cart"] == "web.shop.svc.cluster.local."
    assert len(services["social/chat"].split()) == 2
    slices = [slice_line(each) for each in found if isinstance(each, EndpointSlice)]
    assert "study/tomcat-service: tomcat-service-8080/tcp/8080: 10.244.1.4" in slices
    assert "data/db: postgres/tcp/5432: 10.244.2.10=db-0 10.244.2.11=db-1 10.244.2.12=db-2" in slices
    assert "shop/mainframe: telnet/tcp/23: 192.168.70.1" in slices
    assert "shop/stock: grpc/tcp/9000: 192.168.70.5=warehouse" in slices
    with_endpoints = {(each.namespace, each.service) for each in found if isinstance(each, EndpointSlice)}
    lacking = {key for key in services if tuple(key.split("/")) not in with_endpoints}
    assert lacking == {"shop/cart", "shop/payments"}  # the Services without endpoints are of type ExternalName
    assert {each.name for each in found if isinstance(each, objects.Pod)} >= {"tomcat", "db-0", "db-1", "db-2"}


_POOL = [
    manifest
    for text in (
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app: a}, ports: [{port: 80}]}}",
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {selector: {app: b}, ports: [{port: 80}]}}",
        "{apiVersion: v1, kind: Service, metadata: {name: b}, spec: {selector: {app: a}, clusterIP: 10.96.0.9}}",
        "{apiVersion: v1, kind: Service, metadata: {name: c}, spec: {clusterIP: None}}",
        "{apiVersion: v1, kind: Endpoints, metadata: {name: c}, subsets: [{addresses: [{ip: 10.1.0.7}]}]}",
        "{apiVersion: v1, kind: Endpoints, metadata: {name: c}, subsets: [{addresses: [{ip: 10.1.0.8}]}]}",
        "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: {app: a}}, status: {podIP: 10.1.0.1}}",
        "{apiVersion: v1, kind: Pod, metadata: {name: q, labels: {app: a}}, status: {podIP: 10.1.0.2}}",
        "{apiVersion: v1, kind: Pod, metadata: {name: q, labels: {app: b}}, status: {podIP: 10.1.0.3}}",
    )
    for manifest in read(text)[0]
]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(st.sampled_from(_POOL), max_size=len(_POOL)), min_size=2, max_size=5))
def test_reusing_the_last_build_gives_the_same_result(folders: list[list[workloads.Manifest]]) -> None:
    memory = workloads.Memory()
    for manifests in folders:
        assert workloads.build(manifests, memory=memory) == workloads.build(manifests)


def test_unchanged_objects_are_not_built_again() -> None:
    memory = workloads.Memory()
    before = workloads.build(_POOL, memory=memory)
    after = workloads.build(
        [*_POOL, *read("{apiVersion: v1, kind: Service, metadata: {name: d}, spec: {}}")[0]], memory=memory
    )
    assert {str(ref) for ref, each in after.items() if each is not before.get(ref) and ref.name != "default"} == {
        "Service default/d"
    }
