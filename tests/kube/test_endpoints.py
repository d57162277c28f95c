"""Endpoints have the records of sections 2.4.1 and 2.4.2, however many slices, ports and addresses there are."""

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from pydns.dns import name
from pydns.dns.dashed import dashed
from pydns.dns.rrset import RRset, address_type, each_rrset, srv
from pydns.kube.objects import Endpoint, EndpointSlice, Port, Service
from pydns.kube.schema import Schema, service_rrsets

_SCHEMA = Schema(name.from_text("cluster.local"))
_OWNER = name.from_text("a.b.svc.cluster.local")
_ADDRESSES = st.sampled_from([bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([10, 0, 1, 1]), bytes(15) + b"\1"])
_ENDPOINTS = st.lists(st.builds(Endpoint, _ADDRESSES, st.sampled_from(["", "", "h", "i"])), max_size=3).map(tuple)
_PORT_LISTS = st.sampled_from(
    [
        (),
        (Port("x", "tcp", 80),),
        (Port("x", "tcp", 80), Port("y", "udp", 80), Port("", "tcp", 53)),
        tuple([Port("", "tcp", number) for number in range(1, 10)]),
    ]
)
_SLICES = st.lists(st.builds(EndpointSlice, st.just("b"), st.just("a-1"), st.just("a"), _PORT_LISTS, _ENDPOINTS))
_FULL = EndpointSlice(
    "b", "a-1", "a", (Port("x", "tcp", 80),), tuple([Endpoint(bytes([10, 1, 0, each]), "") for each in range(200)])
)


@given(slices=_SLICES)
@example(slices=[_FULL])
def test_an_endpoint_has_its_addresses_and_the_ports_of_its_slices(slices: Sequence[EndpointSlice]) -> None:
    service = Service("b", "a", (), False, None, ())  # without an address, it has no records of its own
    found = [_plain(each) for each in each_rrset(service_rrsets(_SCHEMA, service, slices))]
    assert sorted(found) == sorted(_expected(slices))


def _expected(slices: Sequence[EndpointSlice]) -> list[tuple[object, ...]]:
    """Return the records of all endpoints, made the obvious way."""
    pairs = [(each, endpoint) for each in slices for endpoint in each.endpoints]
    expected: list[tuple[object, ...]] = []
    for label in dict.fromkeys(endpoint.label or dashed(endpoint.address) for _, endpoint in pairs):
        of_label = [pair for pair in pairs if (pair[1].label or dashed(pair[1].address)) == label]
        owner = name.from_labels(label.encode())[:-1] + _OWNER
        addresses: dict[int, list[bytes]] = {}
        for address in sorted({endpoint.address for _, endpoint in of_label}):
            addresses.setdefault(address_type(address), []).append(address)
        hosts = [(owner, rtype, tuple(found), ()) for rtype, found in sorted(addresses.items())]
        ports = sorted({port.number for each, _ in of_label for port in each.ports})
        rdatas = [srv(0, 100 // len(ports), number, owner) for number in ports]
        expected += [*hosts, (owner, 33, tuple(rdatas), tuple(hosts))] if ports else hosts
    return expected


def _plain(rrset: RRset) -> tuple[object, ...]:
    """Return the parts of an RRset without its TTL. Its records are sorted."""
    return rrset.owner, rrset.rtype, tuple(sorted(rrset.rdatas)), tuple(sorted(map(_plain, rrset.additional)))
