"""The zone relies on these properties of every producer, for arbitrary objects."""

from hypothesis import given
from hypothesis import strategies as st

from pydns.config.settings import PodsMode
from pydns.dns import name
from pydns.dns.rrset import each_rrset
from pydns.kube.kinds import OPTIONAL_KINDS, RECORD_KINDS
from pydns.kube.objects import Ref
from pydns.kube.producer import Change, MakeProducer, ZoneOptions
from pydns.table.layout import is_tree_key
from tests.kube.test_zone import CLUSTERSET, OBJECT, OWN, Value, ref_of

_KINDS = RECORD_KINDS + OPTIONAL_KINDS
_MAKERS: list[MakeProducer] = list(dict.fromkeys(make for kind in _KINDS for make in kind.row.producers))


@given(
    make=st.sampled_from(_MAKERS),
    values=st.lists(OBJECT, max_size=8),
    pods=st.sampled_from(PodsMode),
    namespaces=st.sampled_from([None, frozenset({"a"})]),
)
def test_records_of_two_states_differ_and_addresses_match_pointers(
    make: MakeProducer,
    values: list[Value],
    pods: PodsMode,
    namespaces: frozenset[str] | None,
) -> None:
    producer = make(ZoneOptions(pods=pods, namespaces=namespaces, own_addresses=(OWN,), multicluster=(CLUSTERSET,)))
    noted = set()
    known: dict[Ref, Value] = {}
    for value in values:
        ref = ref_of(value)
        if make in ref.kind.row.producers:
            noted |= set(producer.note(Change(known.get(ref), value)))
            known[ref] = value
    states = {key: producer.state(key) for key in producer.current_keys()}
    owners = []
    for state in states.values():
        if state is not None:
            owners += [(rrset.owner.lower(), rrset.rtype) for rrset in each_rrset(producer.rrsets(state))]
            assert all(name.from_tree_key(key) for key in producer.names(state) if is_tree_key(key))
    assert states.keys() <= noted
    assert len(owners) == len(set(owners))
