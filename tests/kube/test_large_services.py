"""Services with many endpoints and ports: their limits, and how a flush is split so that other Services don't wait."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.config.model import PlainZonal, ZonalOptions
from pydns.dns import name
from pydns.dns.compiled import decompile, question
from pydns.dns.rrset import PTR, SRV, A
from pydns.kube import zone as zone_module
from pydns.kube.events import Apply, Delete, Event
from pydns.kube.kinds import Kind
from pydns.kube.objects import Endpoint, EndpointSlice, Hints, Namespace, Observed, Port, Ref, Service, parse
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from pydns.table.client_classes import question_of
from tests.kube.test_zone import OWN, _steps, ref_of
from tests.kube.written import Written

_OPTIONS = ZoneOptions()


def _apply(value: Namespace | Service | EndpointSlice) -> Event:
    return Apply(Observed(ref_of(value), "", value))


def _headless(ports: int = 1) -> Service:
    return Service("tenant", "x", (), True, None, _ports(ports))


def _ports(count: int) -> tuple[Port, ...]:
    return tuple([Port(f"p{number}", "tcp", number + 1) for number in range(count)])


def _slice(endpoints: int, ports: int, number: int = 0) -> EndpointSlice:
    addresses = [bytes([10, number + 1, each >> 8, each & 255]) for each in range(endpoints)]
    found = tuple([Endpoint(address, "") for address in addresses])
    return EndpointSlice("tenant", f"x-{number}", "x", _ports(ports), found)


def _loaded(*values: Service | EndpointSlice) -> tuple[Zone, Written]:
    zone, table = Zone(_OPTIONS), Written()
    for value in values:
        zone.apply(_apply(value))
    table.change(zone.flush())
    return zone, table


@pytest.mark.parametrize(
    ("values", "most"),
    [
        pytest.param((_headless(), _slice(1000, 1000)), 32 << 20, id="1,000 endpoints × 1,000 ports"),
        pytest.param((_headless(10_000), _slice(10, 10_000)), 32 << 20, id="10,000 ports of a headless Service"),
        pytest.param(
            (_headless(), _slice(1000, 20_000)), 48 << 20, id="1,000 endpoints × 20,000 ports, the API's limits"
        ),
        pytest.param(
            (_headless(), *(_slice(1000, 500, number) for number in range(8))), 32 << 20, id="8 slices of 1,000 × 500"
        ),
        pytest.param(
            (
                _headless(),
                EndpointSlice(
                    "tenant",
                    "x-0",
                    "x",
                    _ports(300),
                    tuple([Endpoint(bytes([10, 1, each >> 8, each & 255]), "h") for each in range(20_000)]),
                ),
            ),
            32 << 20,
            id="20,000 addresses of one hostname × 300 ports",
        ),
    ],
)
def test_answers_of_a_service_fit_a_message_and_a_budget(
    values: tuple[Service | EndpointSlice, ...], most: int
) -> None:
    zone, table = _loaded(*values)
    assert max(map(len, table.answers.values())) < 65535 + 512
    assert sum(map(len, table.answers.values())) < most
    assert list(zone.cut) == [Ref(Kind.SERVICE, "tenant", "x")]


def test_with_5000_endpoints_and_four_ports_only_the_message_size_cuts_records() -> None:
    zone, table = _loaded(_headless(), *(_slice(1000, 4, number) for number in range(5)))
    owner = name.from_text("10-5-3-231.x.tenant.svc.cluster.local")
    rrset, extra = decompile(question(owner, SRV), table.answers[question(owner, SRV)])
    assert (len(rrset.rdatas), [each.rdatas for each in extra]) == (4, [(bytes([10, 5, 3, 231]),)])
    assert "no records" not in str(next(iter(zone.cut.values())))


def test_an_address_with_many_hostnames_gets_as_many_names_as_fit() -> None:
    address = bytes([10, 1, 1, 1])
    found = tuple([Endpoint(address, f"h{number}") for number in range(10_000)])
    _, table = _loaded(_headless(), EndpointSlice("tenant", "x-0", "x", _ports(1), found))
    reverse = name.reverse_name(address)
    assert 60_000 < len(table.answers[question(reverse, PTR)]) < 65535 + 512


def test_the_budget_of_client_classes_includes_their_keys() -> None:
    """Each of 40,000 nodes with a long name gets its own answer to a short question."""
    nodes = [tuple([f"{endpoint}-{at}-{'n' * 180}" for at in range(8)]) for endpoint in range(5000)]
    placed = _slice(5000, 0)._replace(hints=tuple([Hints("", (), each) for each in nodes]))
    zone, table = Zone(_OPTIONS._replace(zonal=ZonalOptions(plain=PlainZonal.HEADLESS))), Written()
    for value in _headless()._replace(follows_hints=True), placed:
        zone.apply(_apply(value))
    table.change(zone.flush())
    of_classes = {key: value for key, value in table.names.items() if question_of(key) is not None}
    assert len(of_classes) > 1000
    assert len({key[: 3 + key[2]] for key in of_classes}) <= 5000
    assert sum(map(len, [*of_classes, *of_classes.values()])) < 8 << 20


def test_endpoints_beyond_the_limit_have_no_records_and_are_counted() -> None:
    zone, _ = _loaded(_headless(), *(_slice(5000, 1, number) for number in range(5)))
    assert zone.cut[Ref(Kind.SERVICE, "tenant", "x")].left_out == 15_000
    for number in (2, 3, 4):
        zone.apply(_apply(_slice(0, 1, number)))
    zone.flush()
    assert zone.cut[Ref(Kind.SERVICE, "tenant", "x")].left_out == 0


def test_a_small_change_does_not_wait_for_a_large_service() -> None:
    zone, table = _loaded(_headless(), _slice(5000, 2))
    zone.apply(_apply(_slice(4999, 2)))
    first = zone.flush(500)
    assert zone.is_behind
    zone.apply(_apply(Service("shop", "web", (bytes([10, 96, 0, 1]),), False, None, ())))
    changes = zone.flush(500)
    assert zone.is_behind
    assert question(name.from_text("web.shop.svc.cluster.local"), A) in changes.answers
    flushes = 0
    table.change(first)
    table.change(changes)
    while zone.is_behind:
        table.change(zone.flush(500))
        flushes += 1
    assert flushes > 20
    fresh = Written()
    fresh.load(zone)
    assert (table.answers, table.names) == (fresh.answers, fresh.names)


def test_a_small_change_does_not_wait_for_many_names_of_another_producer() -> None:
    zone, _ = _loaded()
    for number in range(1000):
        zone.apply(_apply(Namespace(f"n{number}")))
    zone.apply(_apply(Service("shop", "web", (bytes([10, 96, 0, 1]),), False, None, ())))
    changes = zone.flush(10)
    assert zone.is_behind
    assert question(name.from_text("web.shop.svc.cluster.local"), A) in changes.answers


def test_remaining_names_of_a_large_service_are_served_during_a_change() -> None:
    before = _slice(3000, 2)
    after = before._replace(endpoints=before.endpoints[:0:-1])
    zone, table = _loaded(_headless(), before)
    stays = table.names.keys() & _loaded(_headless(), after)[1].names.keys()
    zone.apply(_apply(after))
    while zone.is_behind:
        table.change(zone.flush(500))
        assert stays <= table.names.keys()


def test_a_constantly_changing_service_gets_only_a_few_of_the_turns() -> None:
    zone, table = _loaded(_headless(), _slice(1000, 2))
    now, idle = 0.0, 0
    for number in range(200):
        zone.apply(_apply(_slice(999 + number % 2, 2)))
        table.change(zone.flush(1000, now))
        now += 0.1
        idle += not zone.is_due(now)
    assert 120 < idle < 200
    while zone.is_behind:
        table.change(zone.flush(None, now))
        now += 1
    fresh = Written()
    fresh.load(zone)
    assert (table.answers, table.names) == (fresh.answers, fresh.names)


def test_giant_services_do_not_delay_a_less_large_one() -> None:
    zone, table = _loaded(_headless(), _slice(8000, 2))
    zone.apply(_apply(_slice(7999, 2)))
    table.change(zone.flush(250))
    for number in range(3):  # more giant Services, which changed earlier
        zone.apply(_apply(Service("tenant", f"y{number}", (), True, None, ())))
        zone.apply(_apply(_slice(8000, 2, 10 + number)._replace(name=f"y{number}", service=f"y{number}")))
    zone.apply(_apply(Service("shop", "x", (), True, None, ())))
    zone.apply(_apply(_slice(500, 1, 5)._replace(namespace="shop")))
    wanted = question(name.from_text("x.shop.svc.cluster.local"), A)
    giants = [question(name.from_text(f"y{number}.tenant.svc.cluster.local"), A) for number in range(3)]
    while wanted not in table.answers:
        table.change(zone.flush(250))
    assert not any(each in table.answers for each in giants)


def test_a_waiting_giant_service_is_written_eventually() -> None:
    zone, table = _loaded()
    zone.apply(_apply(_headless()))
    zone.apply(_apply(_slice(8000, 2)))
    wanted = question(name.from_text("x.tenant.svc.cluster.local"), A)
    now = 0.0
    for number in range(100):
        zone.apply(_apply(Service("shop", f"x{number}", (), True, None, ())))
        zone.apply(_apply(_slice(500, 1, 5)._replace(namespace="shop", service=f"x{number}")))
        table.change(zone.flush(250, now))
        now += 1.0
        if wanted in table.answers:
            break
    assert wanted in table.answers


def test_the_first_commit_does_not_wait_for_giant_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_module, "_FIRST", 9000)
    zone, table = Zone(_OPTIONS), Written()
    for number, endpoints in enumerate((8000, 3000, 10)):
        zone.apply(_apply(Service("tenant", f"y{number}", (), True, None, ())))
        zone.apply(_apply(_slice(endpoints, 1, number)._replace(name=f"y{number}", service=f"y{number}")))
    table.load(zone)
    owners = [name.from_text(f"y{number}.tenant.svc.cluster.local") for number in range(3)]
    assert [question(each, A) in table.answers for each in owners] == [False, True, True]

    def unknown() -> list[bytes]:
        return [each.apex for each in zone.facts(serial=1, synced=True).zones if not each.is_known]

    assert unknown() == [owners[0]]
    while zone.is_behind:
        assert unknown() == [owners[0]]
        table.change(zone.flush(250))
    assert unknown() == []
    assert question(owners[0], A) in table.answers


def test_after_the_last_giant_service_is_deleted_all_zones_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zone_module, "_FIRST", 0)
    zone = Zone(_OPTIONS)
    zone.apply(_apply(_headless()))
    zone.apply(_apply(_slice(300, 1)))
    Written().load(zone)
    zone.apply(Delete(Ref(Kind.SERVICE, "tenant", "x")))
    assert zone.flush()
    assert all(each.is_known for each in zone.facts(serial=1, synced=True).zones)
    assert not zone.flush()


def test_ports_and_endpoints_above_the_limits_are_dropped_and_counted() -> None:
    endpoints = [
        {"addresses": [f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}" for at in range(each * 100, each * 100 + 100)]}
        for each in range(1000)
    ]
    ports = [{"name": f"p{number}", "port": number + 1} for number in range(20_000)]
    meta = {"name": "x-0", "namespace": "tenant", "labels": {"kubernetes.io/service-name": "x"}}
    found = parse(
        Kind.ENDPOINT_SLICE, {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}
    ).value
    assert isinstance(found, EndpointSlice)
    assert (len(found.endpoints), len(found.ports), found.left_out) == (10_000, 10_000, 100_000)
    spec = {"clusterIP": "10.96.0.1", "ports": ports}
    service = parse(Kind.SERVICE, {"metadata": {"name": "x", "namespace": "tenant"}, "spec": spec}).value
    assert isinstance(service, Service)
    assert (len(service.ports), service.left_out) == (10_000, 10_000)
    zone, _ = _loaded(service, found)
    assert zone.cut[Ref(Kind.SERVICE, "tenant", "x")].left_out == 110_000


def test_a_shortened_reverse_name_is_counted_for_all_its_services() -> None:
    address = bytes([10, 1, 1, 1])
    values: list[Service | EndpointSlice] = []
    for service, count in (("x", 3000), ("y", 1)):
        found = tuple([Endpoint(address, f"h{number}") for number in range(count)])
        values += [
            Service("tenant", service, (), True, None, ()),
            EndpointSlice("tenant", service, service, (), found),
        ]
    zone, table = _loaded(*values)
    assert {str(ref): cut.answers for ref, cut in zone.cut.items()} == {"Service tenant/x": 1, "Service tenant/y": 1}
    assert zone.cut is zone.cut
    fewer = EndpointSlice("tenant", "x", "x", (), (Endpoint(address, "h"),))
    zone.apply(_apply(fewer))
    table.change(zone.flush())
    assert zone.cut == {}


@settings(max_examples=300, deadline=None)
@given(
    steps=_steps(),
    most=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    loaded_at=st.integers(0, 8),
    ttl_at=st.integers(0, 8),
    first=st.sampled_from([0, 5, 1000]),
)
def test_after_divided_flushes_the_table_equals_that_of_the_final_objects(
    steps: list[list[Event]], most: list[int], loaded_at: int, ttl_at: int, first: int
) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(zone_module, "_FIRST", first)
    patch.setattr(zone_module, "_PIECE", 1)
    patch.setattr(zone_module, "_LARGE", 3)
    try:
        options = ZoneOptions(own_addresses=(OWN,))
        zone, table = Zone(options), Written()
        for number, events in enumerate(steps):
            for event in events:
                zone.apply(event)
            if number == loaded_at:
                table.load(zone)
            if number == ttl_at:
                revise = zone.change_ttl(9)
                table.answers = {key: revise(value) for key, value in table.answers.items()}
            table.change(zone.flush(most[number % len(most)], number / 10))
        now = float(len(steps))
        while zone.is_behind:
            now += 1  # the zone may pause large states, so time must pass
            table.change(zone.flush(most[0], now))
        fresh, wanted = Zone(options._replace(ttl_s=9 if ttl_at < len(steps) else 5)), Written()
        for event in [event for events in steps for event in events]:
            fresh.apply(event)
        wanted.load(fresh)
        while fresh.is_behind:
            wanted.change(fresh.flush())
        assert table.names == wanted.names
        assert table.answers == wanted.answers
        assert zone.cut == fresh.cut
        assert not zone.flush()
    finally:
        patch.undo()
