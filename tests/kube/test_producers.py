"""The zone relies on these properties of every producer, for arbitrary objects."""

from hypothesis import given
from hypothesis import strategies as st

from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.kube.kinds import RECORD_KINDS
from pydns.kube.objects import EndpointSlice, Namespace, Pod, Service
from pydns.kube.producer import Change, MakeProducer, ZoneOptions
from tests.kube.test_zone import OBJECT, OWN

_MAKERS: list[MakeProducer] = list(dict.fromkeys(make for kind in RECORD_KINDS for make in kind.row.producers))
_KIND_OF = {Namespace: "Namespace", Service: "Service", EndpointSlice: "EndpointSlice", Pod: "Pod"}


@given(
    make=st.sampled_from(_MAKERS),
    values=st.lists(OBJECT, max_size=8),
    pods=st.sampled_from(PodsMode),
    namespaces=st.sampled_from([None, frozenset({"a"})]),
)
def test_states_have_distinct_records_and_the_addresses_of_their_pointers(
    make: MakeProducer,
    values: list[Namespace | Service | EndpointSlice | Pod],
    pods: PodsMode,
    namespaces: frozenset[str] | None,
) -> None:
    producer = make(ZoneOptions(pods=pods, namespaces=namespaces, own_addresses=(OWN,)))
    noted = set()
    known: dict[tuple[str, ...], Namespace | Service | EndpointSlice | Pod] = {}
    for value in values:
        kind = next(each for each in RECORD_KINDS if each.value == _KIND_OF[type(value)])
        if make in kind.row.producers:
            ref = (kind.value, getattr(value, "namespace", ""), value.name)
            noted |= set(producer.note(Change(known.get(ref), value)))
            known[ref] = value
    states = {key: producer.state(key) for key in producer.current_keys()}
    owners = []
    for state in states.values():
        if state is not None:
            assert set(producer.addresses(state)) == {address for address, _ in producer.pointers(state)}
            owners += [(rrset.owner.lower(), rrset.rtype) for rrset in producer.rrsets(state)]
            assert all(name.from_tree_key(tree) for tree in producer.names(state))
    assert states.keys() <= noted
    assert len(owners) == len(set(owners))
