"""The models of resolvers in `pydns.dns.walk` ask for the same names as the real resolvers, and have the same results.

walks.yaml and names.yaml describe what the real resolvers do, and test_clients.py checks this. Here, the same cluster
answers in this process. The answers of the same upstreams come from their data file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
import yaml

from pydns.config.resolv_conf import read_searching
from pydns.dns import name
from pydns.dns.rrset import AAAA, A
from pydns.dns.walk import End, Outcome, Resolver, Walk, walk
from pydns.zones.compile import combine
from pydns.zones.special import local_zones, special_zones
from tests.clients import table
from tests.subject import InProcess, load

HERE = Path(__file__).parent
UPSTREAMS: dict[str, Any] = {
    asked: answer
    for answers in yaml.safe_load((HERE / "upstream.yaml").read_text()).values()
    for asked, answer in answers.items()
}
UPSTREAM_NAMES = {asked.split()[0] for asked in UPSTREAMS}
SEARCHING = read_searching((HERE / "etc" / "resolv.conf").read_text())
OWN = "10.244.0.53"  # the address of the server in the EndpointSlice of kube-dns
DOMAIN = name.from_text("cluster.local")
DELEGATED = name.from_text("my.cluster.local")  # a route sends the names below it to other servers
TYPES = {"A": (A,), "AAAA": (AAAA,), "both": (A, AAAA)}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    files = sorted((HERE / "cluster").glob("*.yaml"))
    cluster = [each for file in files for each in yaml.safe_load_all(file.read_text()) if each]
    statics = combine({**special_zones(), **local_zones()}, (), [DOMAIN], (), ())
    subject = InProcess(tmp_path_factory.mktemp("state"), load(cluster, host=OWN), statics=statics)
    yield subject
    subject.close()


def _look_up(subject: InProcess, resolver: Resolver, lookup: str, qtypes: tuple[int, ...]) -> Walk:
    def ask(qname: bytes, qtype: int) -> Outcome:
        for _ in range(10):
            rtype = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(qtype))
            if not name.is_at_or_below(qname, DELEGATED):
                wire = subject.ask(dns.message.make_query(name.to_text(qname), rtype).to_wire(), tcp=True)
                assert wire is not None
                reply = dns.message.from_wire(wire)
                last = reply.answer[-1] if reply.answer else None
                if reply.rcode() == dns.rcode.REFUSED:
                    pass
                elif last is None or reply.authority:
                    exists = reply.rcode() == dns.rcode.NOERROR
                    return Outcome.NODATA if exists else Outcome.NXDOMAIN
                elif last.rdtype == qtype:
                    return Outcome.ANSWER
                else:
                    qname = name.from_text(str(last[0])).lower()  # a CNAME that leads out of the cluster
            denial = "NODATA" if name.to_text(qname) in UPSTREAM_NAMES else "NXDOMAIN"
            found = UPSTREAMS.get(f"{name.to_text(qname)} {rtype}", denial)
            if isinstance(found, str):
                return Outcome[found]
            records = [each.split() for text in found for each in table.expanded(text)]
            if any(each[2] == rtype for each in records):
                return Outcome.ANSWER
            qname = name.from_text(records[-1][-1])
        return Outcome.NODATA

    return walk(resolver, name.from_text(lookup).lower(), lookup.endswith("."), SEARCHING, qtypes, ask)


@pytest.mark.parametrize("resolver", Resolver)
def test_a_model_asks_for_the_names_that_its_resolver_asks_for(resolver: Resolver, subject: InProcess) -> None:
    for lookup, walks in table.read("walks.yaml").items():
        wanted = walks.get(resolver.value, walks["search list"])
        found = _look_up(subject, resolver, lookup, (A,))
        assert [name.to_text(each.qname) for each in found.asked] == wanted, lookup


@pytest.mark.parametrize("resolver", Resolver)
def test_a_model_ends_as_its_resolver_does(resolver: Resolver, subject: InProcess) -> None:
    different = []
    compared = 0
    for row in table.rows():
        for question in {"A", "AAAA", "both"} & set(row.questions(resolver.value)):
            wanted = row.expected(resolver.value, question)
            end = _look_up(subject, resolver, row.name, TYPES[question]).end
            failed = end in (End.TRY_AGAIN, End.FAILED)
            word = "" if end is End.FOUND else table.FAILED if failed else table.NONE
            if word != wanted.word:
                different.append((row.name, question, word, wanted.word))
            compared += 1
    assert different == []
    assert compared > 300
