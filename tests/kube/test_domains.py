"""Several domains and clusters in one zone: each has its own records, and reverse names are merged."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.config.model import PlainZonal, ZonalOptions
from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.compiled import decompile, question
from pydns.dns.rrset import PTR, A
from pydns.kube.events import Apply, Delete, Event, Init, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import Endpoint, EndpointSlice, Imported, Namespace, Observed, Port, Ref, Service
from pydns.kube.producer import ZoneOptions
from pydns.kube.producers.nodes import Node
from pydns.kube.producers.service_imports import ServiceImport
from pydns.kube.zone import Zone
from pydns.table.client_classes import Assigner, ClientClass, ClientRange, Level, parse_classes, range_key
from tests.kube.test_zone import CLUSTERSET, OBJECT, OWN, Value, ref_of
from tests.kube.written import Written

EAST = "east"
_LOCAL, _K8S, _EAST = map(name.from_text, ("cluster.local", "k8s.example", "east.example"))
_SERVICE_ADDRESS = bytes([10, 96, 0, 10])
_SERVICE = Service("shop", "web", (_SERVICE_ADDRESS,), False, None, (Port("http", "tcp", 80),))
_REVERSE = (name.from_text("in-addr.arpa"), name.from_text("ip6.arpa"))


def domain(
    of: bytes,
    reverse_zones: tuple[bytes, ...] = (),
    cluster: str = "",
    source: str | None = None,
    ttl_s: int = 5,
    namespaces: frozenset[str] | None = None,
    *,
    has_endpoints: bool = True,
    only_listed_namespaces: bool = False,
) -> ZoneOptions:
    return ZoneOptions(
        of,
        reverse_zones,
        ttl_s=ttl_s,
        namespaces=namespaces,
        own_addresses=(OWN,),
        cluster=cluster,
        source=cluster if source is None else source,
        has_endpoints=has_endpoints,
        only_listed_namespaces=only_listed_namespaces,
    )


def several(first: ZoneOptions, *further: ZoneOptions) -> ZoneOptions:
    return first._replace(further=further)


def applied(value: Value) -> Apply:
    return Apply(Observed(ref_of(value), "", value))


def answer(table: Written, qname: str, rtype: int) -> list[bytes] | None:
    key = question(name.from_text(qname), rtype)
    found = table.answers.get(key)
    return None if found is None else list(decompile(key, found)[0].rdatas)


def published(options: ZoneOptions, *events: tuple[str, Event]) -> Written:
    zone, table = Zone(options), Written()
    for source, event in events:
        zone.apply(event, source)
    table.load(zone)
    return table


def test_the_same_names_exist_in_two_domains() -> None:
    options = several(domain(_LOCAL, _REVERSE), domain(_K8S, ttl_s=30))
    table = published(options, ("", applied(_SERVICE)))
    for qname in "web.shop.svc.cluster.local", "web.shop.svc.k8s.example":
        assert answer(table, qname, A) == [_SERVICE_ADDRESS]
    # The second domain has no reverse zones, so addresses have the names of the first one alone.
    assert answer(table, "10.0.96.10.in-addr.arpa", PTR) == [name.from_text("web.shop.svc.cluster.local")]
    assert {each.apex: each.minimum_s for each in Zone(options).facts(serial=1, synced=True).zones} == {
        _LOCAL: 5,
        _K8S: 30,
        **dict.fromkeys(_REVERSE, 5),
    }


def test_a_domain_can_be_limited_to_some_namespaces() -> None:
    other = _SERVICE._replace(namespace="bank")
    options = several(domain(_LOCAL), domain(_K8S, namespaces=frozenset({"bank"})))
    table = published(options, ("", applied(_SERVICE)), ("", applied(other)))
    assert answer(table, "web.bank.svc.k8s.example", A) == [_SERVICE_ADDRESS]
    assert answer(table, "web.shop.svc.k8s.example", A) is None
    assert answer(table, "web.shop.svc.cluster.local", A) == [_SERVICE_ADDRESS]


def test_an_address_in_two_clusters_has_the_names_of_both() -> None:
    options = several(domain(_LOCAL, _REVERSE), domain(_EAST, _REVERSE, EAST))
    zone, table = Zone(options), Written()
    table.load(zone)
    zone.apply(applied(_SERVICE))
    zone.apply(applied(_SERVICE._replace(name="api")), EAST)
    table.change(zone.flush())
    names = [name.from_text(each) for each in ("api.shop.svc.east.example", "web.shop.svc.cluster.local")]
    assert sorted(answer(table, "10.0.96.10.in-addr.arpa", PTR) or ()) == sorted(names)
    assert answer(table, "web.shop.svc.east.example", A) is None
    zone.apply(Delete(Ref(Kind.SERVICE, "shop", "web")))
    table.change(zone.flush())
    assert answer(table, "10.0.96.10.in-addr.arpa", PTR) == names[:1]


def test_ptr_records_have_names_of_the_domain_with_the_reverse_zone() -> None:
    ten, other = name.from_text("10.in-addr.arpa"), name.from_text("192.in-addr.arpa")
    far = _SERVICE._replace(name="far", cluster_ips=(bytes([192, 168, 0, 1]),))
    options = several(domain(_LOCAL, (ten,)), domain(_K8S, (other,)))
    table = published(options, ("", applied(_SERVICE)), ("", applied(far)))
    assert answer(table, "10.0.96.10.in-addr.arpa", PTR) == [name.from_text("web.shop.svc.cluster.local")]
    assert answer(table, "1.0.168.192.in-addr.arpa", PTR) == [name.from_text("far.shop.svc.k8s.example")]


def test_namespaces_that_are_no_longer_selected_are_no_longer_served() -> None:
    zone, table = Zone(domain(_LOCAL, _REVERSE, only_listed_namespaces=True)), Written()
    zone.apply(applied(_SERVICE))
    table.load(zone)
    assert answer(table, "web.shop.svc.cluster.local", A) is None
    zone.apply(applied(Namespace("shop")))
    table.change(zone.flush())
    assert answer(table, "web.shop.svc.cluster.local", A) == [_SERVICE_ADDRESS]
    zone.apply(Delete(Ref(Kind.NAMESPACE, "", "shop")))
    table.change(zone.flush())
    assert answer(table, "web.shop.svc.cluster.local", A) is None
    assert answer(table, "10.0.96.10.in-addr.arpa", PTR) is None


def test_without_names_of_endpoints_headless_services_have_no_names() -> None:
    db = Service("shop", "db", (), True, None, ())
    endpoints = EndpointSlice("shop", "db-1", "db", (), (Endpoint(bytes([10, 2, 0, 1]), ""),))
    options = several(domain(_LOCAL, _REVERSE, has_endpoints=False), domain(_K8S))
    table = published(options, ("", applied(db)), ("", applied(endpoints)))
    assert answer(table, "db.shop.svc.cluster.local", A) is None
    assert answer(table, "1.0.2.10.in-addr.arpa", PTR) is None
    assert answer(table, "db.shop.svc.k8s.example", A) == [bytes([10, 2, 0, 1])]


def test_a_cluster_that_is_left_out_has_no_records_until_it_is_added() -> None:
    zone, table = Zone(several(domain(_LOCAL), domain(_EAST, (), EAST))), Written()
    zone.apply(applied(_SERVICE))
    zone.apply(applied(_SERVICE), EAST)
    table.load(zone, left_out={EAST})
    assert answer(table, "web.shop.svc.cluster.local", A) == [_SERVICE_ADDRESS]
    assert answer(table, "web.shop.svc.east.example", A) is None
    zone.apply(applied(_SERVICE._replace(name="api")), EAST)
    assert not zone.flush()
    assert not zone.is_behind
    table.load(zone)
    assert answer(table, "web.shop.svc.east.example", A) == [_SERVICE_ADDRESS]
    assert answer(table, "api.shop.svc.east.example", A) == [_SERVICE_ADDRESS]


def test_zones_of_imports_are_listed_when_the_first_cluster_is_listed() -> None:
    """An EndpointSlice that has not been listed yet may give a headless import its addresses."""
    first = domain(_LOCAL)._replace(multicluster=(CLUSTERSET,))
    zone = Zone(several(first, domain(_EAST, (), EAST)))
    zone.apply(Init(Kind.SERVICE_IMPORT))
    zone.apply(InitDone(Kind.SERVICE_IMPORT))
    for away, is_listed in ({""}, False), ({EAST}, True), (set[str](), True):
        found = {each.apex: each.is_listed for each in zone.facts(serial=1, synced=True, away=away).zones}
        assert found[CLUSTERSET] is is_listed


def test_options_of_the_first_domain_apply_to_imports() -> None:
    web = ServiceImport(_SERVICE, has_slices=False)
    db = ServiceImport(Service("shop", "db", (), True, None, ()), has_slices=True)
    slices = EndpointSlice("shop", "db-1", "", (), (Endpoint(bytes([10, 2, 0, 1]), ""),), imported=Imported("db", "c1"))
    first = domain(_LOCAL, has_endpoints=False, only_listed_namespaces=True)._replace(multicluster=(CLUSTERSET,))
    zone, table = Zone(several(first, domain(_K8S))), Written()
    for each in web, db, slices:
        zone.apply(applied(each))
    table.load(zone)
    assert answer(table, "web.shop.svc.clusterset.local", A) is None
    zone.apply(applied(Namespace("shop")))
    table.change(zone.flush())
    assert answer(table, "web.shop.svc.clusterset.local", A) == [_SERVICE_ADDRESS]
    assert answer(table, "db.shop.svc.clusterset.local", A) is None  # `endpoints: false`


def test_only_nodes_of_the_first_cluster_define_client_ranges() -> None:
    """Nodes of two clusters may have the same podCIDR. A Node of the other cluster must not change the range."""
    clients = ClientRange(bytes([10, 2, 0, 0]), 24)
    key = range_key(Assigner.CLUSTER, clients)
    first = domain(_LOCAL)._replace(zonal=ZonalOptions(plain=PlainZonal.HEADLESS))
    zone, table = Zone(several(first, domain(_K8S), domain(_EAST, (), EAST))), Written()
    table.load(zone)
    of_east = Apply(Observed(Ref(Kind.NODE, "", "e"), "", Node("e", (), (), (clients,), "z2")))
    zone.apply(of_east, EAST)
    table.change(zone.flush())
    assert key not in table.names
    zone.apply(Apply(Observed(Ref(Kind.NODE, "", "n"), "", Node("n", (), (), (clients,), "z1"))))
    table.change(zone.flush())
    classes = [ClientClass(Level.NODE, b"n"), ClientClass(Level.ZONE, b"z1"), ClientClass(Level.CLUSTER, _LOCAL)]
    assert parse_classes(table.names[key]) == classes
    zone.apply(Delete(of_east.observed.ref), EAST)
    table.change(zone.flush())
    assert parse_classes(table.names[key]) == classes


def test_missing_names_of_an_unreachable_cluster_are_not_denied() -> None:
    zone = Zone(several(domain(_LOCAL, _REVERSE), domain(_EAST, _REVERSE, EAST)))
    listed = {each.apex: each.is_listed for each in zone.facts(serial=1, synced=True, away={EAST}).zones}
    assert listed == {_LOCAL: True, _EAST: False, **dict.fromkeys(_REVERSE, True)}
    listed = {each.apex: each.is_listed for each in zone.facts(serial=1, synced=True, away={""}).zones}
    assert listed == {_LOCAL: False, _EAST: True, **dict.fromkeys(_REVERSE, False)}


_OPTIONS = st.builds(
    several,
    st.builds(
        domain,
        st.just(_LOCAL),
        st.sampled_from([_REVERSE, ()]),
        namespaces=st.sampled_from([None, frozenset({"a"})]),
        has_endpoints=st.booleans(),
        only_listed_namespaces=st.booleans(),
    ),
    st.builds(domain, st.just(_K8S), st.sampled_from([_REVERSE, _REVERSE[:1], ()]), ttl_s=st.sampled_from([5, 30])),
    st.builds(domain, st.just(_EAST), st.sampled_from([_REVERSE, ()]), st.just(EAST), has_endpoints=st.booleans()),
)
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["", EAST]),
        st.one_of(
            OBJECT.map(lambda value: Apply(Observed(ref_of(value), "", value))),
            OBJECT.map(lambda value: Delete(ref_of(value))),
        ),
    ),
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(first=_OPTIONS, then=_OPTIONS, pods=st.sampled_from(PodsMode), events=_EVENTS, data=st.data())
def test_after_changes_of_clusters_the_table_equals_that_of_the_final_objects(
    first: ZoneOptions, then: ZoneOptions, pods: PodsMode, events: list[tuple[str, Event]], data: st.DataObject
) -> None:
    """The result doesn't depend on when east is added, when the options change, or how the events are divided."""
    then = then._replace(pods=pods)
    zone, table = Zone(first), Written()
    table.load(zone, left_out={EAST})
    changed_at, taken_at = data.draw(st.integers(0, len(events))), data.draw(st.integers(0, len(events)))
    for number, (source, event) in enumerate(events):
        if number == changed_at:
            zone = zone.with_options(then)
            table.load(zone, left_out={EAST} if number < taken_at else ())
        if number == taken_at:
            table.load(zone)
        zone.apply(event, source)
        if data.draw(st.booleans()):
            table.change(zone.flush())
    if changed_at == len(events):
        zone = zone.with_options(then)
        table.load(zone)
    if taken_at == len(events):
        table.load(zone)
    table.change(zone.flush())
    wanted = published(then, *events)
    assert table == wanted
