"""The responder gives the same answers as the slow, obvious responder, for any cluster and any ordinary question."""

from pathlib import Path
from tempfile import TemporaryDirectory

import dns.flags
import dns.message
import dns.rcode
from hypothesis import given, settings
from hypothesis import strategies as st

from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.rrset import SOA
from pydns.kube.events import Apply
from pydns.kube.kinds import Kind
from pydns.kube.objects import Endpoint, EndpointSlice, Namespace, Object, Observed, Pod, Port, Ref, Service
from pydns.kube.producer import ZoneOptions
from pydns.kube.zone import Zone
from tests.reference import Reference, Said
from tests.running import query
from tests.subject import InProcess

_OWN = bytes([10, 0, 0, 1])
_LABEL = st.sampled_from(["a", "b"])
_ADDRESS = st.sampled_from([_OWN, bytes([10, 0, 0, 2]), bytes([10, 0, 1, 1]), bytes(15) + b"\1"])
_ADDRESSES = st.lists(_ADDRESS, max_size=2, unique=True).map(tuple)
_PORTS = st.lists(
    st.builds(Port, st.sampled_from(["", "x"]), st.sampled_from(["tcp", "udp"]), st.integers(1, 3)), max_size=2
).map(tuple)
_TARGETS = st.sampled_from(
    [
        "a.a.svc.cluster.local",
        "B.a.svc.Cluster.local",
        "none.a.svc.cluster.local",
        "10-0-0-9.a.pod.cluster.local",
        "x.org",
    ]
).map(name.from_text)
_ENDPOINTS = st.lists(st.builds(Endpoint, _ADDRESS, st.sampled_from(["", "h"])), max_size=3).map(tuple)
_OBJECT: st.SearchStrategy[Namespace | Service | EndpointSlice | Pod] = st.one_of(
    st.builds(Service, _LABEL, _LABEL, _ADDRESSES, st.just(False), st.none(), _PORTS),
    st.builds(Service, _LABEL, _LABEL, st.just(()), st.just(True), st.none(), _PORTS),
    st.builds(Service, _LABEL, _LABEL, st.just(()), st.just(False), _TARGETS, _PORTS),
    st.builds(EndpointSlice, _LABEL, _LABEL, _LABEL, _PORTS, _ENDPOINTS),
    st.builds(Namespace, _LABEL),
    st.builds(Pod, _LABEL, _LABEL, _ADDRESSES),
)
_QNAME = st.one_of(
    st.tuples(
        st.lists(
            st.sampled_from(["a", "b", "h", "x", "_x", "_tcp", "_udp", "10-0-0-1", "10-0-0-9", "--1", "none", "1"]),
            max_size=4,
        ),
        st.sampled_from(["svc.", "pod.", "dns.", "ns.dns.", "dns-version.", "a.a.svc.", "a.svc.", "a.pod.", ""]),
        st.sampled_from(["cluster.local", "Cluster.LOCAL", "org"]),
    ).map(lambda parts: "".join(f"{each}." for each in parts[0]) + parts[1] + parts[2]),
    st.sampled_from(["10-0-0-1.a.pod.cluster.local", "10-0-1-1.b.pod.cluster.local", "a.pod.cluster.local"]),
    st.sampled_from(["1.0.0.10.in-addr.arpa", "0.10.in-addr.arpa", "1.1.0.10.IN-addr.arpa", "9.9.in-addr.arpa"]),
    st.sampled_from(["1." + "0." * 31 + "ip6.arpa", "0.0.ip6.arpa", "1.ip6.arpa", "in-addr.arpa"]),
)
_QTYPE = st.sampled_from([1, 2, 5, 6, 12, 15, 16, 28, 33, 65, 255])


def _ref(value: Namespace | Service | EndpointSlice | Pod) -> Ref:
    if isinstance(value, Namespace):
        return Ref(Kind.NAMESPACE, "", value.name)
    kind = {Service: Kind.SERVICE, EndpointSlice: Kind.ENDPOINT_SLICE, Pod: Kind.POD}[type(value)]
    return Ref(kind, value.namespace, value.name)


def _read(reply: bytes) -> Said:
    message = dns.message.from_wire(reply)
    records = frozenset(
        (rrset.name.to_digestable(), int(rrset.rdtype), b"" if rrset.rdtype == SOA else rdata.to_wire() or b"")
        for rrset in message.answer
        for rdata in rrset
    )
    return Said(
        dns.rcode.to_text(message.rcode()),
        bool(message.flags & dns.flags.AA),
        records,
        next((rrset.name.to_digestable() for rrset in message.authority if rrset.rdtype == SOA), None),
    )


@settings(max_examples=100, deadline=None)
@given(
    pods=st.sampled_from(PodsMode),
    objects=st.lists(_OBJECT, max_size=10).map(lambda found: {_ref(each): each for each in found}),
    questions=st.lists(st.tuples(_QNAME, _QTYPE), min_size=20, max_size=60),
)
def test_replies_equal_those_of_the_reference(
    pods: PodsMode, objects: dict[Ref, Object], questions: list[tuple[str, int]]
) -> None:
    zone = Zone(ZoneOptions(pods=pods, own_addresses=(_OWN,)))
    for ref, value in objects.items():
        zone.apply(Apply(Observed(ref, "", value)))
    reference = Reference(objects.values(), _OWN, pods)
    with TemporaryDirectory() as state_dir:
        subject = InProcess(Path(state_dir), zone)
        for qname_text, qtype in questions:
            plain = query(qname_text, qtype)
            with_edns = plain[:11] + b"\1" + plain[12:] + bytes.fromhex("00 0029 04d0 00000000 0000")
            for message in (plain, with_edns):
                reply = subject.ask(message, tcp=True)
                assert reply is not None
                assert _read(reply) == reference.answer(name.from_text(qname_text.lower()), qtype), qname_text
        subject.close()
