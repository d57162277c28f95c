"""The answers of hosts and pointers, which are compiled without RRsets, equal the answers that `compile_answer` makes
of RRsets.
"""

from hypothesis import given
from hypothesis import strategies as st

from pydns.dns import name
from pydns.dns.compiled import compile_answer, compile_hosts, compile_pointers, question
from pydns.dns.rrset import PTR, Hosts, RRset, srv

_LABELS = st.text("ab-7", min_size=1, max_size=63).map(lambda text: bytes([len(text)]) + text.encode())
_ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
_NAMES = st.sampled_from([name.ROOT, name.from_text("a.svc.cluster.local"), name.from_text("x" * 63)])
_TTLS_S = st.integers(0, 2**31 - 1)


@given(
    hosts=st.builds(
        Hosts,
        _NAMES,
        _TTLS_S,
        st.dictionaries(_LABELS, _ADDRESSES, max_size=5).map(lambda found: list(found.items())),
        st.lists(st.integers(0, 0xFFFF), max_size=3, unique=True).map(
            lambda ports: tuple([srv(0, 100 // len(ports), port, b"") for port in ports])
        ),
    )
)
def test_answers_of_hosts_are_those_of_their_rrsets(hosts: Hosts) -> None:
    assert compile_hosts(hosts) == {question(each.owner, each.rtype): compile_answer(each) for each in hosts.rrsets()}


@given(named=st.dictionaries(_ADDRESSES, _NAMES, max_size=5), ttl_s=_TTLS_S)
def test_answers_of_pointers_are_those_of_their_rrsets(named: dict[bytes, bytes], ttl_s: int) -> None:
    rrsets = [RRset(name.reverse_name(address), PTR, ttl_s, (target,)) for address, target in named.items()]
    expected = {question(each.owner, PTR): compile_answer(each) for each in rrsets}
    assert compile_pointers(named.items(), ttl_s) == expected
