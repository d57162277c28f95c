"""Changes add up: after any sequence of changes, the table equals the compiled final objects."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.config.model import Nearness, PlainZonal, ZonalOptions
from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.kube.events import Apply, Delete, Event, Init, InitApply, InitDone
from pydns.kube.kinds import Kind
from pydns.kube.objects import (
    ConfigMap,
    Endpoint,
    EndpointSlice,
    Hints,
    Imported,
    Namespace,
    Object,
    Observed,
    Pod,
    Port,
    Ref,
    Service,
    Skipped,
)
from pydns.kube.producer import FIRST, ZoneOptions
from pydns.kube.producers.service_imports import ServiceImport
from pydns.kube.zone import Zone
from pydns.table.client_classes import ClientRange
from pydns.table.client_names import PodAddress, compose_slice
from tests.kube.written import Written

# There are only a few names and addresses, so that objects conflict. The same address may be a ClusterIP, an endpoint,
# and the server's own address.
_NAMES = st.sampled_from(["a", "b"])
OWN = bytes([10, 0, 0, 1])
_ADDRESS = st.sampled_from([OWN, bytes([10, 0, 0, 2]), bytes([10, 0, 1, 1]), bytes(15) + b"\1"])
_ADDRESSES = st.lists(_ADDRESS, max_size=2, unique=True).map(tuple)
_PORTS = st.lists(
    st.builds(Port, st.sampled_from(["", "x", "y"]), st.sampled_from(["tcp", "udp"]), st.integers(1, 3)), max_size=2
).map(tuple)
_SERVICE = st.one_of(
    st.builds(Service, _NAMES, _NAMES, _ADDRESSES, st.just(False), st.none(), _PORTS),
    st.builds(Service, _NAMES, _NAMES, st.just(()), st.just(True), st.none(), _PORTS),
    st.builds(
        Service, _NAMES, _NAMES, st.just(()), st.just(False), st.just(name.from_text("a.a.svc.cluster.local")), _PORTS
    ),
)
_ENDPOINTS = st.lists(st.builds(Endpoint, _ADDRESS, st.sampled_from(["", "h", "i"])), max_size=3).map(tuple)
_IMPORTED = st.none() | st.builds(Imported, _NAMES, st.sampled_from(["c", "c.d"]))
_SLICE = st.builds(
    EndpointSlice,
    _NAMES,
    _NAMES,
    st.sampled_from(["", "a", "b"]),
    _PORTS,
    _ENDPOINTS,
    imported=_IMPORTED,
    clients=st.just(b""),
)
_PLACES = st.sampled_from(["", "x", "X.y"])
_HINTS = st.builds(Hints, _PLACES, st.sampled_from([(), ("x",), ("x", "z")]), st.sampled_from([(), ("n",)]))
_PLACED_SLICE = _SLICE.flatmap(
    lambda found: st.builds(
        found._replace,
        hints=st.lists(_HINTS, min_size=len(found.endpoints), max_size=len(found.endpoints)).map(tuple),
        clients=st.lists(
            st.builds(PodAddress, st.sampled_from([OWN, bytes(4)]), st.sampled_from(["p", "q"]), _PLACES, _PLACES),
            max_size=2,
        ).map(compose_slice),
    )
)
_IMPORT = st.builds(
    ServiceImport,
    st.one_of(
        st.builds(Service, _NAMES, _NAMES, _ADDRESSES, st.just(False), st.none(), _PORTS),
        st.builds(Service, _NAMES, _NAMES, st.just(()), st.just(True), st.none(), _PORTS),
    ),
    st.booleans(),
)
CLUSTERSET = name.from_text("clusterset.local")
_POD = st.builds(Pod, _NAMES, _NAMES, _ADDRESSES, st.just(""), st.none())
Value = Namespace | Service | EndpointSlice | Pod | ServiceImport
OBJECT: st.SearchStrategy[Value] = st.one_of(
    _SERVICE.map(lambda service: service._replace(follows_hints=service.headless)),
    _SERVICE,
    _SLICE,
    _PLACED_SLICE,
    st.builds(Namespace, _NAMES),
    _POD,
    _IMPORT,
)
_BROKEN = Skipped("is broken")


def ref_of(value: Value) -> Ref:
    match value:
        case Namespace(found):
            return Ref(Kind.NAMESPACE, "", found)
        case Service():
            return Ref(Kind.SERVICE, value.namespace, value.name)
        case EndpointSlice():
            return Ref(Kind.ENDPOINT_SLICE, value.namespace, value.name)
        case Pod():
            return Ref(Kind.POD, value.namespace, value.name)
        case ServiceImport():
            return Ref(Kind.SERVICE_IMPORT, *value.key)
        case ConfigMap():
            return Ref(Kind.CONFIG_MAP, value.namespace, value.name)


@st.composite
def _steps(draw: st.DrawFn) -> list[list[Event]]:
    """Return the events between one flush and the next."""
    steps: list[list[Event]] = []
    for _ in range(draw(st.integers(1, 6))):
        events: list[Event] = []
        for _ in range(draw(st.integers(0, 5))):
            value = draw(OBJECT)
            ref = ref_of(value)
            match draw(st.sampled_from(["apply", "apply", "apply", "delete", "broken", "relist"])):
                case "apply":
                    events.append(Apply(Observed(ref, "", value)))
                case "delete":
                    events.append(Delete(ref))
                case "broken":
                    events.append(Apply(Observed(ref, "", _BROKEN)))
                case _:
                    listed = [each for each in draw(st.lists(OBJECT, max_size=3)) if ref_of(each).kind is ref.kind]
                    events.append(Init(ref.kind))
                    events += [InitApply(Observed(ref_of(each), "", each)) for each in listed]
                    if draw(st.booleans()):
                        # The object exists but is broken, so its last valid version is kept.
                        events.append(InitApply(Observed(ref, "", _BROKEN)))
                    if draw(st.booleans()):
                        events.append(Apply(Observed(ref, "", value)))
                    events.append(InitDone(ref.kind))
        steps.append(events)
    return steps


def _objects(events: list[Event]) -> dict[Ref, Object]:
    """Return the objects that remain after the events, according to the docstring of `events`."""
    known: dict[Ref, Object] = {}
    listed: set[Ref] = set()
    for event in events:
        match event:
            case Init():
                listed = set()
            case Apply(observed) | InitApply(observed):
                listed.add(observed.ref)
                if not isinstance(observed.value, Skipped):
                    known[observed.ref] = observed.value
            case Delete(ref):
                known.pop(ref, None)
            case InitDone(kind):
                known = {ref: value for ref, value in known.items() if ref.kind is not kind or ref in listed}
    return known


_ZONAL = st.builds(ZonalOptions, st.booleans(), st.sampled_from(PlainZonal), st.sampled_from(Nearness))


@settings(max_examples=400, deadline=None)
@given(
    steps=_steps(),
    loaded_at=st.integers(0, 6),
    pods=st.sampled_from(PodsMode),
    namespaces=st.sampled_from([None, frozenset({"a"})]),
    zonal=_ZONAL,
)
def test_after_changes_the_table_equals_that_of_the_final_objects(
    steps: list[list[Event]], loaded_at: int, pods: PodsMode, namespaces: frozenset[str] | None, zonal: ZonalOptions
) -> None:
    options = ZoneOptions(
        pods=pods, namespaces=namespaces, own_addresses=(OWN,), multicluster=(CLUSTERSET,), zonal=zonal
    )
    zone, table = Zone(options), Written()
    for number, events in enumerate(steps):
        for event in events:
            zone.apply(event)
        if number == loaded_at:
            table.load(zone)
        else:
            table.change(zone.flush())

        fresh, wanted = Zone(options), Written()
        for kind in zone.synced():
            fresh.apply(Init(kind))
            fresh.apply(InitDone(kind))
        for ref, value in _objects([event for before in steps[: number + 1] for event in before]).items():
            fresh.apply(Apply(Observed(ref, "", value)))
        wanted.load(fresh)
        assert table == wanted
    assert not zone.flush()


_OPTIONS = st.builds(
    ZoneOptions,
    domain=st.just(name.from_text("cluster.local")),
    reverse_zones=st.sampled_from([(), (name.from_text("10.in-addr.arpa"),)]),
    ttl_s=st.sampled_from([5, 30]),
    pods=st.sampled_from(PodsMode),
    namespaces=st.sampled_from([None, frozenset({"a"})]),
    own_addresses=st.just((OWN,)),
    zonal=_ZONAL,
    cluster_ranges=st.sampled_from([(), (ClientRange(bytes([10, 0, 0, 0]), 24),)]),
    external=st.just(()),  # test_external.py has objects for external zones
    multicluster=st.sampled_from([(), (CLUSTERSET,), (CLUSTERSET, name.from_text("imports.example"))]),
    has_endpoints=st.booleans(),
    hides_empty_services=st.booleans(),
    only_listed_namespaces=st.booleans(),
    cluster=st.just(FIRST),  # test_domains.py has several domains and clusters
    source=st.just(FIRST),
    further=st.just(()),
    exposed=st.just((FIRST,)),
    client_pods=st.just(False),  # test_client_names.py has Pods that name clients
)


@settings(max_examples=200, deadline=None)
@given(steps=_steps(), changed_at=st.integers(0, 5), first=_OPTIONS, then=_OPTIONS)
def test_changed_options_give_the_same_table_as_a_fresh_start(
    steps: list[list[Event]], changed_at: int, first: ZoneOptions, then: ZoneOptions
) -> None:
    zone, table = Zone(first), Written()
    fresh, wanted = Zone(then), Written()
    for number, events in enumerate(steps):
        if number == changed_at:
            zone = zone.with_options(then)
            table.load(zone)
        for event in events:
            zone.apply(event)
            fresh.apply(event)
        table.change(zone.flush())
    if changed_at >= len(steps):
        table.load(zone.with_options(then))
    wanted.load(fresh)
    assert table == wanted


@settings(max_examples=200, deadline=None)
@given(steps=_steps(), changed_at=st.integers(0, 5), options=_OPTIONS)
def test_changed_ttl_gives_the_same_table_as_a_fresh_start(
    steps: list[list[Event]], changed_at: int, options: ZoneOptions
) -> None:
    # If there are answers for classes, the controller doesn't use `change_ttl`, but makes all records again.
    options = options._replace(zonal=ZonalOptions(options.zonal.names))
    zone, table = Zone(options), Written()
    fresh, wanted = Zone(options._replace(ttl_s=9)), Written()
    for number, events in enumerate(steps):
        for event in events:
            zone.apply(event)
            fresh.apply(event)
        if number == changed_at or number == len(steps) - 1 < changed_at:
            revise = zone.change_ttl(9)
            table.answers = {key: revise(value) for key, value in table.answers.items()}
        table.change(zone.flush())
    wanted.load(fresh)
    assert table == wanted


def test_services_with_pydns_as_endpoint_are_found_by_their_addresses() -> None:
    zone = Zone(ZoneOptions(own_addresses=(OWN,)))
    cluster_ips = (bytes([10, 96, 0, 10]), bytes(15) + b"\x0a")
    for each in (
        Service("kube-system", "dns", cluster_ips, False, None, ()),
        EndpointSlice("kube-system", "dns-1", "dns", (), (Endpoint(OWN, ""),)),
        Service("shop", "web", (bytes([10, 96, 0, 11]),), False, None, ()),
        EndpointSlice("shop", "web-1", "web", (), (Endpoint(bytes([10, 0, 0, 2]), ""),)),
    ):
        zone.apply(Apply(Observed(ref_of(each), "", each)))
    assert zone.service_addresses() == ()  # nothing has been published
    zone.flush()
    assert zone.service_addresses() == cluster_ips


def test_a_flush_of_everything_leaves_nothing_to_do() -> None:
    # Compiled code that took an empty NamedTuple for true kept the controller busy forever.
    zone = Zone(ZoneOptions())
    assert not zone.is_due(0.0)
    service = Service("shop", "web", (bytes([10, 96, 0, 11]),), False, None, ())
    zone.apply(Apply(Observed(ref_of(service), "", service)))
    assert zone.is_due(0.0)
    zone.flush()
    assert not zone.is_due(0.0)
    assert not zone.is_behind
