"""External zones: changes add up, the oldest object wins a conflict, and no object affects names of another object."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.config.model import (
    ExternalSource,
    ExternalZone,
    HairpinMode,
    ListenerHostnames,
    Nameserver,
    PlainZonal,
    ZonalOptions,
)
from pydns.dns import name
from pydns.dns.compiled import decompile, question
from pydns.dns.rrset import SRV, A, RRset
from pydns.kube import objects
from pydns.kube.events import Apply, Delete, Event
from pydns.kube.external.claims import Claim, Claimant, Rank, decide
from pydns.kube.external.hairpin import Hairpins
from pydns.kube.kinds import BY_NAME, OPTIONAL_KINDS, Kind, optional_kinds
from pydns.kube.objects import Observed, Options, Ref, Skipped
from pydns.kube.producer import Change, ZoneOptions
from pydns.kube.producers.dns_endpoints import DNSEndpoint
from pydns.kube.producers.external import NameState
from pydns.kube.zone import Zone
from pydns.table.client_classes import ClientRange, is_plain_answer, is_range, parse_classes, question_of
from pydns.table.client_names import is_client_name
from pydns.table.layout import NodeKind, is_tree_key
from tests.kube.written import Written, written

_ZONE = ExternalZone(
    name.from_text("x.example"),
    tuple(ExternalSource),
    ingress_classes=("a", "b"),
    headless=True,
    nameservers=(Nameserver("ns1", "a", "a"), Nameserver("ns2", "b", "a")),
    hairpin=HairpinMode.SERVICE,
)
_INNER = ExternalZone(
    name.from_text("a.x.example"),
    (ExternalSource.INGRESSES, ExternalSource.SERVICES, ExternalSource.ROUTES),
    listener_hostnames=ListenerHostnames.ALWAYS,
    ttl_s=30,
)
_NOT_OURS = ExternalZone(name.from_text("other.example"), tuple(ExternalSource), hairpin=HairpinMode.ONLY)
_OPTIONS = ZoneOptions(
    external=(_ZONE, _INNER, _NOT_OURS),
    zonal=ZonalOptions(names=True, plain=PlainZonal.HEADLESS),
    cluster_ranges=(ClientRange(bytes([10, 9, 0, 0]), 16),),
)
_READING = Options(annotations=_ZONE.annotations, topology=True)
_PREFIX = "external-dns.kubernetes.io/"

# There are only a few names and addresses, so that objects conflict.
_NAMES = st.sampled_from(["a", "b"])
_IPS = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
_HOSTS = st.sampled_from(
    [
        "a.a.x.example",
        "b.x.example",
        "*.x.example",
        "*.a.x.example",
        "x.example",
        "ns1.x.example",
        "other.example",
        "a.other.example",
        "*.other.example",
    ]
)
_STATUS = st.fixed_dictionaries(
    {
        "loadBalancer": st.fixed_dictionaries(
            {
                "ingress": st.lists(
                    st.one_of(
                        st.fixed_dictionaries({"ip": _IPS}), st.fixed_dictionaries({"hostname": st.just("l.example")})
                    ),
                    max_size=2,
                )
            }
        )
    }
)
_ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        ["hostname", "target", "ttl", "access", "internal-hostname", "ingress-hostname-source", "hairpin"]
    ).map(lambda key: _PREFIX + key),
    st.one_of(_HOSTS, _IPS, st.sampled_from(["public", "private", "annotation-only", "30", "", "off", "a/a"])),
    max_size=3,
)
_META = st.fixed_dictionaries(
    {
        "name": _NAMES,
        "namespace": _NAMES,
        "annotations": _ANNOTATIONS,
        "labels": st.sampled_from([{}, {"gateway.networking.k8s.io/gateway-name": "a"}]),
        "creationTimestamp": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    }
)
_POD = {
    "nodeName": "a",
    "zone": "z",
    "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "a"}]},
    "targetRef": {"kind": "Pod", "name": "p"},
}
_PORTS = st.just([{"name": "http", "port": 80, "nodePort": 30080}, {"port": 443}])
_LISTENERS = st.lists(
    st.builds(
        lambda number, host, where, protocol: {
            "name": f"l{number}",
            "port": number,
            "protocol": protocol,
            "hostname": host,
            "allowedRoutes": {"namespaces": {"from": where}},
        },
        st.integers(1, 2),
        st.none() | _HOSTS,
        st.sampled_from(["All", "Same"]),
        st.sampled_from(["HTTP", "HTTP", "UDP"]),
    ),
    max_size=2,
)
_ACCEPTED = [{"type": "Accepted", "status": "True"}]
_ROUTE = st.builds(
    lambda meta, hosts, parents: {
        "metadata": meta,
        "spec": {"hostnames": hosts, "parentRefs": parents},
        "status": {"parents": [{"parentRef": each, "conditions": _ACCEPTED} for each in parents]},
    },
    _META,
    st.lists(_HOSTS, max_size=2),
    st.lists(
        st.fixed_dictionaries(
            {
                "name": _NAMES,
                "namespace": _NAMES,
                "kind": st.sampled_from(["Gateway", "ListenerSet"]),
                "sectionName": st.sampled_from([None, "l1"]),
            }
        ),
        max_size=2,
    ),
)
_OBJECTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "Service": st.fixed_dictionaries(
        {
            "metadata": _META,
            "status": _STATUS,
            "spec": st.one_of(
                st.fixed_dictionaries(
                    {
                        "type": st.sampled_from(["LoadBalancer", "NodePort", "ClusterIP"]),
                        "clusterIP": st.sampled_from(["10.96.0.1", "None"]),
                        "externalIPs": st.lists(_IPS, max_size=1),
                        "trafficDistribution": st.sampled_from([None, "PreferSameNode"]),
                        "ports": _PORTS,
                    }
                ),
                st.just({"type": "ExternalName", "externalName": "a.example"}),
            ),
        }
    ),
    "EndpointSlice": st.fixed_dictionaries(
        {
            "metadata": st.builds(
                lambda meta, service: {**meta, "labels": {"kubernetes.io/service-name": service}}, _META, _NAMES
            ),
            "addressType": st.just("IPv4"),
            "ports": st.just([{"name": "http", "port": 8080}]),
            "endpoints": st.lists(
                st.sampled_from(["10.0.0.1", "10.0.0.2"]).map(
                    lambda ip: {
                        "addresses": [ip],
                        "nodeName": "a",
                        "zone": "z",
                        "targetRef": {"kind": "Pod", "name": "p"},
                    }
                )
            ),
        }
    ),
    "Ingress": st.fixed_dictionaries(
        {
            "metadata": _META,
            "status": _STATUS,
            "spec": st.fixed_dictionaries(
                {
                    "ingressClassName": st.sampled_from([None, "a", "c"]),
                    "rules": st.lists(_HOSTS.map(lambda host: {"host": host}), max_size=2),
                    "tls": st.sampled_from([None, [], [{"hosts": []}]]),
                }
            ),
        }
    ),
    "Gateway": st.fixed_dictionaries(
        {
            "metadata": _META,
            "spec": st.fixed_dictionaries(
                {
                    "gatewayClassName": st.sampled_from(["a", "c"]),
                    "listeners": _LISTENERS,
                    "allowedListeners": st.fixed_dictionaries(
                        {"namespaces": st.fixed_dictionaries({"from": st.sampled_from(["All", "Same", "None"])})}
                    ),
                }
            ),
            "status": st.fixed_dictionaries({"addresses": st.lists(_IPS.map(lambda ip: {"value": ip}), max_size=2)}),
        }
    ),
    "ListenerSet": st.fixed_dictionaries(
        {
            "metadata": _META,
            "spec": st.fixed_dictionaries(
                {
                    "parentRef": st.fixed_dictionaries({"name": _NAMES, "namespace": st.none() | _NAMES}),
                    "listeners": _LISTENERS,
                }
            ),
            "status": st.sampled_from([[], _ACCEPTED]).map(
                lambda conditions: {
                    "conditions": conditions,
                    "listeners": [{"name": each, "conditions": _ACCEPTED} for each in ("l1", "l2")],
                }
            ),
        }
    ),
    "HTTPRoute": _ROUTE,
    "UDPRoute": _ROUTE,
    "IngressClass": st.fixed_dictionaries(
        {
            "metadata": st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["a", "c"]),
                    "annotations": st.fixed_dictionaries(
                        {"ingressclass.kubernetes.io/is-default-class": st.sampled_from(["true", "false"])}
                    ),
                }
            )
        }
    ),
    "Node": st.fixed_dictionaries(
        {
            "metadata": st.fixed_dictionaries(
                {"name": _NAMES, "labels": st.sampled_from([{}, {"topology.kubernetes.io/zone": "z"}])}
            ),
            "spec": st.fixed_dictionaries(
                {
                    "unschedulable": st.booleans(),
                    "podCIDRs": st.lists(st.sampled_from(["10.0.0.0/24", "10.0.1.0/24", "fd00::/64"]), max_size=2),
                }
            ),
            "status": st.fixed_dictionaries(
                {"addresses": st.lists(_IPS.map(lambda ip: {"type": "ExternalIP", "address": ip}), max_size=2)}
            ),
        }
    ),
    "DNSEndpoint": st.fixed_dictionaries(
        {
            "metadata": _META,
            "spec": st.fixed_dictionaries(
                {
                    "endpoints": st.lists(
                        st.builds(
                            lambda host, ip: {
                                "dnsName": host,
                                "recordType": "AAAA" if ":" in ip else "A",
                                "targets": [ip],
                            },
                            _HOSTS,
                            _IPS,
                        )
                        | _HOSTS.map(lambda host: {"dnsName": host, "recordType": "MX", "targets": ["1 b.x.example"]}),
                        max_size=3,
                    )
                }
            ),
        }
    ),
}
_OBJECT = st.sampled_from(sorted(_OBJECTS)).flatmap(lambda kind: st.tuples(st.just(kind), _OBJECTS[kind]))


def _read(kind: str, manifest: dict[str, Any]) -> Observed:
    return objects.parse(BY_NAME[kind], manifest, _READING)


@st.composite
def _steps(draw: st.DrawFn) -> list[list[Event]]:
    """Return the events between one flush and the next."""
    steps: list[list[Event]] = []
    for _ in range(draw(st.integers(1, 5))):
        events: list[Event] = []
        for _ in range(draw(st.integers(0, 4))):
            observed = _read(*draw(_OBJECT))
            events.append(Delete(observed.ref) if draw(st.integers(0, 3)) == 0 else Apply(observed))
        steps.append(events)
    return steps


@settings(max_examples=150, deadline=None)
@given(steps=_steps())
def test_after_changes_the_table_equals_that_of_the_final_objects(steps: list[list[Event]]) -> None:
    zone = Zone(_OPTIONS)
    table = written(zone)
    known: dict[Ref, Observed] = {}
    for events in steps:
        for event in events:
            zone.apply(event)
            if isinstance(event, Apply):
                assert not isinstance(event.observed.value, Skipped), event
                known[event.observed.ref] = event.observed
            elif isinstance(event, Delete):
                known.pop(event.ref, None)
        table.change(zone.flush())
        fresh = Zone(_OPTIONS)
        for observed in known.values():
            fresh.apply(Apply(observed))
        assert table == written(fresh)
        assert zone.external.conflicts() == fresh.external.conflicts()
        assert [zone.external.is_plain(each.apex) for each in _OPTIONS.external] == [
            fresh.external.is_plain(each.apex) for each in _OPTIONS.external
        ]
    assert not zone.flush()


_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["*", "*.", "..", "a" * 300, ".".join(["a"] * 200), "\0", "\ud800", "a,b,,", "*.*.x.example"]),
    st.just([]),
    st.just({}),
)


def _mutated(draw: st.DrawFn, value: Any) -> Any:
    """Return a copy in which one place has a different value."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _mutated(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _mutated(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and draw(st.booleans()):
        at = draw(st.integers(0, len(value)))
        return value[:at] + draw(st.text(max_size=3)) + value[at:]
    return draw(_JUNK)


@st.composite
def _mutants(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    kind, manifest = draw(_OBJECT)
    found: Any = copy.deepcopy(manifest)
    for _ in range(draw(st.integers(1, 3))):
        found = _mutated(draw, found)
    return kind, found if isinstance(found, dict) else {}


@settings(max_examples=600, deadline=None)
@given(mutant=_mutants())
def test_a_mutated_object_has_no_bad_name_and_does_not_affect_others(mutant: tuple[str, dict[str, Any]]) -> None:
    bystander = {
        "metadata": {"name": "bystander", "namespace": "safe", "creationTimestamp": "2020-01-01T00:00:00Z"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": [{"name": "dns", "port": 53}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}},
    }
    alone, zone = Zone(_OPTIONS), Zone(_OPTIONS)
    for each in (alone, zone):
        each.apply(Apply(_read("Service", bystander)))
    zone.apply(Apply(_read(*mutant)))
    table = written(zone)
    of_bystander = {key: value for key, value in written(alone).answers.items() if b"bystander" in key}
    assert of_bystander
    assert {key: value for key, value in table.answers.items() if b"bystander" in key} == of_bystander
    levels: dict[bytes, int] = dict.fromkeys(table.answers, 0)
    for key, value in table.names.items():
        if (asked := question_of(key)) is not None:
            levels[asked] |= key[1]
        elif is_range(key):
            assert parse_classes(value)
        elif not is_client_name(key):
            of_name = key if is_tree_key(key) else key[1:]
            assert name.tree_key(name.from_tree_key(of_name)) == of_name
    for key, compiled in table.answers.items():
        assert compiled[0] & ~1 == levels[key], "the answer has the levels of the classes with other answers"
        if is_plain_answer(compiled):
            rrset, _ = decompile(key, compiled)
            assert name.from_text(name.to_text(rrset.owner)) == rrset.owner
            assert len(rrset.owner) <= name.MAX_NAME


def _balancer(namespace: str, ip: str, **spec: object) -> dict[str, Any]:
    return {
        "metadata": {"name": "public", "namespace": namespace},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
    }


def _inside(table: Written) -> set[bytes]:
    """Return the questions for which clients in the cluster get different answers."""
    return {asked for key in table.names if (asked := question_of(key)) is not None}


def test_all_clients_get_the_addresses_of_the_cluster_that_owns_the_name() -> None:
    """Load balancers of two clusters may have the same private address."""
    east = ZoneOptions(name.from_text("east.example"), (), cluster="east", source="east")
    zone = Zone(_OPTIONS._replace(further=(east,), exposed=("", "east")))
    zone.apply(Apply(_read("Service", _balancer("here", "10.1.0.1"))))
    zone.apply(Apply(_read("Service", _balancer("there", "10.1.0.1"))), "east")
    inside = _inside(written(zone))
    assert question(name.from_text("public.here.x.example"), A) in inside
    assert question(name.from_text("public.there.x.example"), A) not in inside


def test_an_external_ip_does_not_change_the_names_of_a_load_balancer() -> None:
    """Everybody may write `externalIPs`.

    So a tenant must not be able to change the names of all Ingresses in this way.
    """
    hairpins = Hairpins()
    balancer = _read("Service", _balancer("a", "192.0.2.1")).value
    hostile = _read("Service", _balancer("b", "192.0.2.2", externalIPs=["192.0.2.1", "192.0.2.3"])).value
    assert not isinstance(balancer, Skipped) and not isinstance(hostile, Skipped)
    shared, own, third = ((A, bytes([192, 0, 2, each])) for each in (1, 2, 3))
    assert set(hairpins.note(Change(None, balancer))) == {shared}
    assert set(hairpins.note(Change(None, hostile))) == {own, third}
    assert set(hairpins.note(Change(balancer, None))) == {shared}
    assert set(hairpins.note(Change(hostile, None))) == {shared, own, third}


def _many_names(targets: int) -> Observed:
    manifest = _balancer("a", "192.0.2.1")
    manifest["metadata"]["annotations"] = {
        _PREFIX + "hostname": ",".join([f"h{number}.x.example" for number in range(1000)]),
        _PREFIX + "target": ",".join([f"10.0.{number >> 8}.{number & 255}" for number in range(targets)]),
    }
    return _read("Service", manifest)


def test_names_and_targets_of_one_object_are_limited_together() -> None:
    """1,000 names with 20,000 targets each would take the controller more than a minute."""
    zone = Zone(_OPTIONS)
    zone.apply(Apply(_many_names(20_000)))
    answers = written(zone).answers.values()
    assert 40_000 < sum(len(decompile(b"\0\0\1\0\1", each)[0].rdatas) for each in answers if len(each) > 400) <= 50_000
    (notices,) = zone.external.conflicts().notices.values()
    assert notices == "only 50000 records of it are served; only the first 1000 targets count"


def test_a_flush_looks_at_only_some_of_the_large_names(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = Zone(_OPTIONS)
    zone.flush()
    zone.apply(Apply(_many_names(250)))
    looked: list[bytes] = []
    state = zone.external.state

    def count(key: bytes) -> NameState | None:
        looked.append(key)
        return state(key)

    monkeypatch.setattr(zone.external, "state", count)
    zone.flush(250)
    assert zone.is_behind
    assert len(looked) < 100


def test_entries_of_a_dns_endpoint_for_one_name_are_merged_into_one_claim() -> None:
    """Merging thousands of claims for one name one by one would take seconds."""
    entries = [
        {"dnsName": "b.x.example", "recordType": "A", "targets": [f"10.0.0.{number}"], "recordTTL": ttl_s}
        for number, ttl_s in ((1, None), (2, 60), (1, 90))
    ]
    observed = _read("DNSEndpoint", {"metadata": {"name": "a", "namespace": "a"}, "spec": {"endpoints": entries}})
    assert isinstance(observed.value, DNSEndpoint)
    (found,) = observed.value.endpoints
    assert [rdata for _, rdata in found.records] == [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])]
    assert found.ttls_s == {None, 60, 90}


def test_a_name_with_many_addresses_has_no_hairpin_answers() -> None:
    zone = Zone(_OPTIONS)
    manifest = _balancer("here", "192.0.2.1")
    ingress = manifest["status"]["loadBalancer"]["ingress"]
    ingress += [{"ip": f"10.1.0.{number}"} for number in range(15)]
    zone.apply(Apply(_read("Service", manifest)))
    asked = question(name.from_text("public.here.x.example"), A)
    assert asked in _inside(written(zone))
    ingress.append({"ip": "10.1.0.15"})
    zone.apply(Apply(_read("Service", manifest)))
    assert asked not in _inside(written(zone))


def test_annotation_that_no_zone_reads_publishes_nothing() -> None:
    zone = Zone(_OPTIONS)
    manifest: dict[str, Any] = {
        "metadata": {"name": "a", "namespace": "a", "annotations": {}},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1"},
    }
    zone.apply(Apply(_read("Service", manifest)))
    zone.flush()
    manifest["metadata"]["annotations"] = {"x.example/seen": "now"}
    assert not zone.apply(Apply(_read("Service", manifest)))


def test_changing_a_services_address_changes_the_records_that_contain_it() -> None:
    zone = Zone(_OPTIONS)
    manifest: dict[str, Any] = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    }
    zone.apply(Apply(_read("Service", manifest)))
    zone.flush()
    manifest["status"]["loadBalancer"]["ingress"][0]["ip"] = "192.0.2.2"
    zone.apply(Apply(_read("Service", manifest)))
    changed = [decompile(key, value) for key, value in zone.flush().answers.items() if value is not None]
    glue = {rrset.owner: additional for rrset, additional in changed if rrset.rtype == SRV}
    assert glue[name.from_text("_http._tcp.web.shop.x.example")] == [
        RRset(name.from_text("web.shop.x.example"), A, 60, (bytes([192, 0, 2, 2]),))
    ]


_WEB = name.from_text("web.x.example")
_ADDRESS = ((A, bytes([192, 0, 2, 1])),)
_OTHER_ADDRESS = ((A, bytes([192, 0, 2, 2])),)


def _claimant(namespace: str, created: str = "", rank: Rank = Rank.ORDINARY, called: str = "a") -> Claimant:
    return Claimant(rank, created, namespace, called, "Ingress")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (_claimant("z", "2026-01-01T00:00:00Z"), _claimant("a", "2026-01-01T00:00:01Z")),
        (_claimant("a", "2026-01-01T00:00:00Z"), _claimant("b", "2026-01-01T00:00:00Z")),
        (_claimant("z", "2027-01-01T00:00:00Z", Rank.EXPLICIT), _claimant("a", "2026-01-01T00:00:00Z")),
    ],
    ids=["the older one", "the first by name", "a DNSEndpoint"],
)
def test_only_one_of_two_namespaces_gets_the_name(first: Claimant, second: Claimant) -> None:
    decision = decide(_WEB, {second: Claim(_OTHER_ADDRESS, 60), first: Claim(_ADDRESS, 60)})
    assert decision.records == {A: (bytes([192, 0, 2, 1]),)}
    assert decision.losers == 1


def test_objects_of_a_namespace_share_a_name_and_the_lowest_ttl() -> None:
    first, second = _claimant("a", "2026"), _claimant("a", "2027", called="b")
    decision = decide(_WEB, {first: Claim(_ADDRESS, 60), second: Claim(_OTHER_ADDRESS, 30)})
    assert decision.records == {A: (bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))}
    assert (decision.ttl_s, decision.losers) == (30, 0)


def test_pending_object_shares_a_name_with_one_that_has_an_address() -> None:
    decision = decide(_WEB, {_claimant("a"): Claim((), 60), _claimant("a", called="b"): Claim(_ADDRESS, 60)})
    assert decision.records == {A: (bytes([192, 0, 2, 1]),)}
    assert decision.kind == NodeKind.PLAIN


@pytest.mark.parametrize(
    ("zone", "kinds"),
    [
        (ExternalZone(b""), {Kind.INGRESS}),
        (ExternalZone(b"", ingress_classes=("a",)), {Kind.INGRESS, Kind.INGRESS_CLASS}),
        (ExternalZone(b"", (ExternalSource.SERVICES,), ingress_classes=("a",)), set()),
        (ExternalZone(b"", (ExternalSource.SERVICES,), hairpin=HairpinMode.SERVICE), {Kind.NODE}),
        (ExternalZone(b"", (ExternalSource.SERVICES,), hairpin=HairpinMode.ONLY), {Kind.NODE}),
        (ExternalZone(b"", tuple(ExternalSource), ingress_classes=("a",)), set(OPTIONAL_KINDS) - {Kind.SERVICE_IMPORT}),
    ],
)
def test_only_kinds_that_a_zone_needs_are_watched(zone: ExternalZone, kinds: set[Kind]) -> None:
    assert set(optional_kinds(ZoneOptions(external=(zone,)))) == kinds


@pytest.mark.parametrize(
    ("zonal", "kinds"),
    [(ZonalOptions(), ()), (ZonalOptions(names=True), ()), (ZonalOptions(plain=PlainZonal.HEADLESS), (Kind.NODE,))],
)
def test_nodes_are_watched_only_if_answers_depend_on_the_zone_of_the_client(
    zonal: ZonalOptions, kinds: tuple[Kind, ...]
) -> None:
    assert optional_kinds(ZoneOptions(zonal=zonal)) == kinds
